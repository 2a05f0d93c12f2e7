//! From bare hosts to a cluster and back, by the playbooks, on hosts that boot: `make hosts`.
//!
//! Where the machine permits no booted hosts the tests say so and pass, or fail where `REDOUBT_HOSTS=must`. They take the packages of
//! `cargo xtask dist` from `dist` in the target directory, and ansible from where `scripts/setup-hosts` puts it. Run one at a time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hosts::{Host, Set, host, permit};
use serde_json::Value;

/// `must`: a machine that does not permit booted hosts is a failure.
const ENFORCED: &str = "REDOUBT_HOSTS";
/// How long a cluster may take until it is whole again.
const WHOLE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(500);
/// Small devices, and what hosts that share a kernel may not do.
const VARIABLES: &str = "redoubt_device_bytes: 268435456
redoubt_device_extra_bytes: 268435456
redoubt_manage_chrony: false
redoubt_manage_sysctl: false
redoubt_memory_mib_min: 256
redoubt_cluster_name: trial
redoubt_factor: 2.0
redoubt_storage_set: 1
";

/// Hosts that are gone when it is.
struct Trial {
    set: Set,
    ansible: PathBuf,
    began: Instant,
}

impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("REDOUBT_KEEP").is_some() {
            eprintln!("the hosts stay for a look: `redoubt-hosts --set {} down` ends them", self.set.name);
        } else {
            self.set.down();
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The directory that the product and the packages are built into.
fn target() -> Result<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("a target directory")?;
    Ok(dir.to_path_buf())
}

impl Trial {
    /// Booted hosts; `None` where this machine does not permit them.
    fn begin(name: &str, count: u8) -> Result<Option<Self>> {
        if let Some(why) = permit::refusal() {
            if std::env::var(ENFORCED).is_ok_and(|value| value == "must") {
                bail!("no booted hosts here, and {ENFORCED} says that there must be: {why}");
            }
            eprintln!("SKIPPED: no booted hosts here: {why}");
            return Ok(None);
        }
        let setup = Command::new(root().join("scripts/setup-hosts")).output().context("scripts/setup-hosts")?;
        ensure!(setup.status.success(), "scripts/setup-hosts: {}", String::from_utf8_lossy(&setup.stderr));
        let ansible = PathBuf::from(String::from_utf8(setup.stdout)?.trim()).join("bin/ansible-playbook");
        let set = Set::up(&format!("{name}{}", std::process::id()), count)?;
        let trial = Self { set, ansible, began: Instant::now() };
        let packages = target()?.join("dist");
        let command = target()?.join("debug/ha");
        let variables = format!("{VARIABLES}redoubt_packages_dir: {}\nredoubt_ha_command: {}\n", packages.display(), command.display());
        std::fs::write(trial.set.dir().join("hosts.yml"), trial.set.inventory())?;
        std::fs::write(trial.set.dir().join("variables.yml"), variables)?;
        trial.note("the hosts are up");
        Ok(Some(trial))
    }

    fn note(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Runs a playbook; gives whether it succeeded, and what it printed.
    fn play(&self, playbook: &str, more: &[&str]) -> Result<(bool, String)> {
        let dir = self.set.dir();
        let out = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.set.switch()))
            .arg("--")
            .arg(&self.ansible)
            .arg("-i")
            .arg(dir.join("hosts.yml"))
            .arg("-e")
            .arg(format!("@{}", dir.join("variables.yml").display()))
            .args(more)
            .arg(root().join(format!("ansible/playbooks/{playbook}.yml")))
            .env("ANSIBLE_CONFIG", root().join("ansible/ansible.cfg"))
            .env("ANSIBLE_SSH_CONTROL_PATH_DIR", dir.join("ssh"))
            .env("ANSIBLE_NOCOLOR", "1")
            .output()
            .context("ansible-playbook")?;
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        self.note(&format!("{playbook} {}: {}", more.join(" "), if out.status.success() { "done" } else { "refused" }));
        Ok((out.status.success(), said))
    }

    /// The same, where it has to succeed; gives how many tasks changed something.
    fn played(&self, playbook: &str, more: &[&str]) -> Result<u32> {
        let (done, said) = self.play(playbook, more)?;
        ensure!(done, "{playbook}: {said}");
        changes(&said)
    }

    fn on(&self, name: &str, line: &str) -> Result<String> {
        self.set.ssh(self.set.host(name)?, &[&format!(". /etc/profile.d/redoubt.sh; {line}")])
    }

    fn status(&self, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.on(name, "ha status --output json")?)?)
    }

    fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let end = Instant::now() + WHOLE;
        loop {
            match self.status(name) {
                Ok(status) if holds(&status) => break,
                other if Instant::now() >= end => bail!("{what} does not come: {other:?}"),
                _ => std::thread::sleep(LOOK),
            }
        }
        self.note(what);
        Ok(())
    }

    fn node(&self, id: usize) -> Result<&Host> {
        self.set.hosts.get(id - 1).context("a host")
    }
}

/// How many tasks changed something, from the last lines of a play.
fn changes(said: &str) -> Result<u32> {
    let recap = said.split("PLAY RECAP").nth(1).with_context(|| format!("no recap: {said}"))?;
    let counts = recap.split_whitespace().filter_map(|word| word.strip_prefix("changed="));
    counts.map(|count| count.parse::<u32>().context("a number")).sum()
}

fn is_healthy(status: &Value) -> bool {
    status["health"] == "healthy"
}

#[test]
fn bare_hosts_become_a_cluster_that_survives_a_power_cut_and_a_stop_and_grows_and_are_bare_again() -> Result<()> {
    let Some(trial) = Trial::begin("trial", 4)? else { return Ok(()) };
    let inventory = trial.set.dir().join("hosts.yml");
    std::fs::write(&inventory, trial.set.inventory_of(&trial.set.hosts[..3]))?;
    refused_before_anything_changes(&trial)?;
    ensure!(trial.played("site", &[])? > 0, "a deployment changes something");
    ensure!(is_healthy(&trial.status("node-2")?), "the playbook waits until the cluster is healthy");
    trial.on("node-1", "redoubt obj put /usr/bin/redoubt-node first")?;

    let plain = trial.on("node-1", "env -u REDOUBT_TLS ha status --timeout 2; test $? = 5 && echo refused")?;
    ensure!(plain.trim() == "refused", "who shows no certificate is not answered: {plain}");

    metrics_are_as_prometheus_wants_them(&trial)?;

    ensure!(trial.played("site", &[])? == 0, "a second run changes nothing");

    host::cut_power(&trial.set, trial.node(3)?)?;
    trial.until("node-1", "the loss of node-3 is seen", |status| !is_healthy(status))?;
    let same = "redoubt obj get first - | cmp - /usr/bin/redoubt-node";
    trial.on("node-2", same)?;
    trial.on("node-2", "redoubt obj put /usr/bin/redoubt-ha second")?;
    host::boot(&trial.set, trial.node(3)?)?;
    trial.set.wait_for(trial.node(3)?)?;
    trial.until("node-1", "node-3 is back, by itself", is_healthy)?;

    trial.played("stop", &[])?;
    for host in &trial.set.hosts[..3] {
        let states = trial.set.ssh(host, &["systemctl is-active redoubt-ha redoubt-node || true"])?;
        ensure!(states.split_whitespace().eq(["inactive", "inactive"]), "{}: {states}", host.name);
    }
    trial.played("start", &[])?;
    trial.on("node-3", same)?;
    trial.on("node-3", "redoubt obj get second - | cmp - /usr/bin/redoubt-ha")?;

    std::fs::write(&inventory, trial.set.inventory())?;
    ensure!(trial.played("add-node", &[])? > 0, "a host that is new in the inventory joins");
    ensure!(trial.played("add-node", &[])? == 0, "a second run changes nothing");
    let slots = trial.on("node-4", "ha device show dev-193 --output json")?;
    ensure!(serde_json::from_str::<Value>(&slots)?["slots"].as_u64() > Some(0), "the new node has its share: {slots}");
    trial.on("node-4", same)?;

    let (done, _) = trial.play("destroy", &["-e", "redoubt_destroy=another"])?;
    ensure!(!done && is_healthy(&trial.status("node-1")?), "a wrong name destroys nothing");
    trial.played("destroy", &["-e", "redoubt_destroy=trial"])?;
    for host in &trial.set.hosts {
        let left = "ls -d /etc/redoubt /var/lib/redoubt/ha /usr/bin/redoubt* 2>/dev/null; ls -A /var/lib/redoubt/devices/* | grep -v :; pgrep redoubt; true";
        let left = trial.set.ssh(host, &[left])?;
        ensure!(left.trim().is_empty(), "{}: {left}", host.name);
    }
    Ok(())
}

/// Every page passes promtool, and the leader's says that all nodes are ONLINE.
fn metrics_are_as_prometheus_wants_them(trial: &Trial) -> Result<()> {
    let mut online = 0;
    for host in &trial.set.hosts[..3] {
        for port in [7001, 7101] {
            let page = trial.on("node-1", &format!("curl -sf http://{}:{port}/metrics", host.address))?;
            let mut promtool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn().context("promtool")?;
            promtool.stdin.take().context("a pipe")?.write_all(page.as_bytes())?;
            ensure!(promtool.wait()?.success(), "{}, port {port}: {page}", host.name);
            if page.contains("redoubt_raft_leader 1\n") {
                online +=
                    page.lines().filter(|line| line.contains("state=\"ONLINE\"} 1") && line.starts_with("redoubt_node_state")).count();
            }
        }
    }
    ensure!(online == 3, "the leader's page has {online} nodes ONLINE");
    Ok(())
}

/// Each of these is refused, and no task changed anything.
fn refused_before_anything_changes(trial: &Trial) -> Result<()> {
    let file = "mkdir -p /var/lib/redoubt/devices/2 && touch /var/lib/redoubt/devices/2/mine";
    trial.set.ssh(trial.node(2)?, &[file])?;
    let (done, said) = trial.play("site", &[])?;
    ensure!(!done && said.contains("in use: it is not empty"), "a directory that somebody uses is refused: {said}");
    ensure!(changes(&said)? == 0, "nothing was changed before: {said}");
    trial.set.ssh(trial.node(2)?, &["rm -r /var/lib/redoubt"]).map(|_| ())
}

#[test]
#[ignore = "takes some minutes: make hosts-long"]
fn a_cluster_is_upgraded_one_node_after_the_other_while_clients_go_on() -> Result<()> {
    let Some(trial) = Trial::begin("upgrade", 3)? else { return Ok(()) };
    trial.played("site", &[])?;
    let load = "systemd-run --unit load --setenv=REDOUBT_HA=$REDOUBT_HA --setenv=REDOUBT_TLS=$REDOUBT_TLS bash -c 'n=0; while redoubt --timeout 60 obj put /usr/bin/ha load-$((n % 20)) \
                && redoubt --timeout 60 obj get load-$((n % 20)) - | cmp - /usr/bin/ha; do n=$((n + 1)); echo $n > /run/load; done'";
    trial.on("node-1", load)?;
    let dist = Command::new("cargo")
        .args(["xtask", "dist", "--version", "0.1.0+upgraded", "--bin"])
        .arg(target()?.join("debug"))
        .arg("--out")
        .arg(trial.set.dir().join("dist"))
        .current_dir(root())
        .output()?;
    ensure!(dist.status.success(), "{}", String::from_utf8_lossy(&dist.stderr));
    let packages = format!("redoubt_packages_dir={}", trial.set.dir().join("dist").display());
    let (done, said) = trial.play("site", &["-e", &packages])?;
    ensure!(!done && said.contains("the playbook `upgrade`"), "site changes no version: {said}");
    let before: u64 = trial.on("node-1", "cat /run/load")?.trim().parse()?;
    trial.played("upgrade", &["-e", &packages])?;
    for host in &trial.set.hosts {
        let version = trial.set.ssh(host, &["dpkg-query -W -f '${Version}' redoubt-node; readlink /proc/$(pgrep -x redoubt-node)/exe"])?;
        ensure!(version.starts_with("0.1.0+upgraded") && !version.contains("deleted"), "{}: {version}", host.name);
    }
    let after: u64 = trial.on("node-1", "cat /run/load")?.trim().parse()?;
    let state = trial.on("node-1", "systemctl is-active load")?;
    ensure!(state.trim() == "active" && after > before, "clients go on without an error: {before} to {after}, {state}");
    ensure!(trial.played("upgrade", &["-e", &packages])? == 0, "a second run changes nothing");
    Ok(())
}
