# The two commands of a newcomer: `make demo` and `make test`. Both set the machine up, build, and leave nothing running.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

# Product binaries. Built apart from the tests: cargo would else unify features, and the product has no switches of the model check.
PRODUCT := -p client -p node -p ha-daemon -p ha-cli
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help setup build test test-unit test-model test-process web-test scenarios s3-conformance hosts hosts-long soak fuzz bench-garage demo demo-short lint deny clean

help: ## what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

setup: ## install what is missing (Debian packages, Rust)
	@scripts/setup

build: setup ## build the product: redoubt, redoubt-node, redoubt-ha, ha
	cargo build $(PRODUCT)

test: test-unit test-model test-process scenarios s3-conformance ## set up and run all tests

test-unit: build ## unit and integration tests of every crate
	cargo test --workspace --exclude cluster-tests --exclude hosts

test-model: setup ## simulator, checkers, model check
	cargo test -p cluster-tests --lib --bins
	cargo test -p cluster-tests $(patsubst cluster-tests/tests/%.rs,--test %,$(wildcard cluster-tests/tests/*.rs))

test-process: build ## real processes with real faults
	cargo build --workspace --exclude cluster-tests --examples
	cargo test -p cluster-tests --test process -- --test-threads 1

web-test: build ## the page of every node in a headless browser (apt-get install chromium)
	cargo test -p cluster-tests --test process a_browser_shows_the_page -- --ignored

scenarios: build ## scenarios of real processes in networks of their own (docs/harness.md)
	cargo test -p cluster-tests --test scenarios -- --test-threads 1

# Clients of S3 from PyPI, in versions that are pinned; made once, used offline.
PYTHON := $(TARGET)/python
$(PYTHON)/made: cluster-tests/conformance/requirements.txt | setup
	rm -rf $(PYTHON)
	python3 -m venv $(PYTHON)
	$(PYTHON)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

CASES ?=
s3-conformance: build $(PYTHON)/made ## what S3 users ask, case by case, of a cluster of 3 nodes; CASES="AREA AREA:words" for some
	$(PYTHON)/bin/python cluster-tests/conformance/run.py --redoubt $(TARGET)/debug/redoubt --json $(TARGET)/s3-conformance.json $(CASES)

HOSTS_READY = scripts/setup-hosts > /dev/null && cargo build -p hosts && cargo xtask dist --bin $(TARGET)/debug
hosts: build ## ansible on booted hosts: deploy, power cut, stop and start, destroy (docs/operations.md)
	$(HOSTS_READY)
	cd ansible && PATH=$$(../scripts/setup-hosts)/bin:$$PATH ansible-lint -q
	cd docs/monitoring && promtool check rules redoubt.rules.yml && promtool test rules redoubt.rules.test.yml
	cargo test -p hosts -- --test-threads 1 --nocapture

hosts-long: build ## the same with what takes longer: upgrade under load
	$(HOSTS_READY)
	cargo test -p hosts -- --test-threads 1 --nocapture --ignored

SECONDS_OF_CPU ?= 600
fuzz: build ## what S3's callers send: SECONDS_OF_CPU=n of what reads it, then as long at the sockets of a cluster; from a new seed (docs/s3.md)
	REDOUBT_FUZZ_CPU_SECONDS=$(SECONDS_OF_CPU) cargo test -p s3 --lib fuzz -- --ignored --nocapture
	REDOUBT_FUZZ_SECONDS=$(SECONDS_OF_CPU) cargo test -p cluster-tests --test process s3_fuzz -- --ignored --nocapture

bench-garage: build ## Redoubt and Garage under the same load of S3, as ratios (docs/performance.md); builds Garage at first
	scripts/bench-garage --redoubt $(TARGET)/debug/redoubt

HOURS ?= 1
soak: build fuzz ## scenarios with fresh seeds and the simulation for HOURS=n; adds a row to docs/soak.md
	cargo build -p cluster-tests --bin cluster-tests
	$(TARGET)/debug/cluster-tests soak --hours $(HOURS)

demo: build ## a cluster of 3 nodes, 1 GiB of files, one node killed and back: ten minutes, one page
	cargo build -p cluster-tests --bin redoubt-demo
	$(TARGET)/debug/redoubt-demo

demo-short: build ## the same in a minute
	cargo build -p cluster-tests --bin redoubt-demo
	$(TARGET)/debug/redoubt-demo --mebibytes 64 --files 200

lint: setup ## rustfmt, clippy, tidy; changes nothing
	cargo fmt --all --check
	cargo xtask tidy
	cargo clippy --workspace --all-targets -- -D warnings

deny: setup ## licences, bans and sources of the dependencies
	scripts/deny

clean: ## remove what was built
	cargo clean
