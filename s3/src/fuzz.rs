//! Fuzzing of what reads bytes of callers, and rows that a gateway reads: each target takes any bytes, and must neither panic nor take long, and
//! what it makes of them has to hold what the target says of it.
//!
//! `s3/corpus/TARGET/` has inputs: those that a caller would send, and those that once found something. CI runs them and a short walk from them;
//! the walk goes on for longer by `make fuzz`. A walk keeps whatever comes to an outcome that none before it came to, and goes on from there,
//! so no instrumented build is needed: it is an ordinary test, of the toolchain that everything else has. A walk is its seed's.

mod forms;
mod http;
mod mutate;
mod records;
mod texts;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mutate::Random;

/// What is fuzzed. It gives the outcome in a few words, by which inputs are told apart.
type Target = fn(&[u8]) -> String;

const TARGETS: [(&str, Target); 7] = [
    ("request", http::request),
    ("chunks", http::chunks),
    ("form", forms::form),
    ("form-policy", forms::policy),
    ("policy", texts::policy),
    ("xml", texts::xml),
    ("records", records::records),
];

/// Processor time that one input may take: many times what any does, here at `opt-level` 1 on a busy machine.
const INPUT_MAX: Duration = Duration::from_secs(2);
/// Longest input that a walk makes.
const BYTES_MAX: usize = 256 * 1024;
/// Most inputs that a walk goes on from.
const POOL_MAX: usize = 4000;
/// Most memory that a walk of all targets may come to, with all that the test has loaded.
const MEMORY_MAX: u64 = 1 << 30;
/// Steps of each target's walk in CI.
const STEPS: u64 = 1500;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("a folder of each target").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("it can be read"))).collect()
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says it");
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

/// Runs one input; leaves it in a file where it fails.
fn run(name: &str, target: Target, input: &[u8]) -> String {
    let began = cpu();
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    let took = cpu() - began;
    let wrong = match outcome {
        Ok(outcome) if took <= INPUT_MAX => return outcome,
        Ok(_) => format!("took {took:?}"),
        Err(_) => "panicked".to_owned(),
    };
    let kept = std::env::temp_dir().join(format!("redoubt-fuzz-{name}-{}", std::process::id()));
    std::fs::write(&kept, input).expect("a file for the input");
    panic!("{name} {wrong}; the input is {} and belongs into s3/corpus/{name}", kept.display());
}

/// Goes on from inputs until that much processor time is used, or so many steps are made; says how many inputs and outcomes there were.
fn walk(name: &str, target: Target, seed: u64, steps: u64, lasts: Duration) -> (u64, usize) {
    let mut random = Random::new(seed);
    let mut pool: Vec<Vec<u8>> = Vec::new();
    let mut seen = HashSet::new();
    for (_, input) in corpus(name) {
        seen.insert(run(name, target, &input));
        pool.push(input);
    }
    let (began, mut step) = (cpu(), 0);
    while step < steps && (!step.is_multiple_of(64) || cpu() - began < lasts) {
        let mut input = mutate::from(&mut random, &pool);
        input.truncate(BYTES_MAX);
        if seen.insert(run(name, target, &input)) {
            let at = if pool.len() < POOL_MAX { pool.len() } else { random.below(POOL_MAX) };
            if at == pool.len() { pool.push(input) } else { pool[at] = input }
        }
        step += 1;
    }
    (step, seen.len())
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it says this, too");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

#[test]
fn nothing_that_a_caller_sends_stops_or_holds_up_what_reads_it() {
    for (name, target) in TARGETS {
        let (_, outcomes) = walk(name, target, 1, STEPS, Duration::from_secs(20));
        assert!(outcomes > 3, "{name}: the walk gets nowhere: {outcomes} outcomes");
    }
    assert!(peak() < MEMORY_MAX, "{} bytes", peak());
}

#[test]
fn the_corpus_reaches_what_it_is_meant_to_reach() {
    let good = [
        ("request", "200"),
        ("chunks", "200"),
        ("form", "form"),
        ("form-policy", "policy"),
        ("policy", "policy"),
        ("xml", "read"),
        ("records", "read"),
    ];
    for (name, wanted) in good {
        let target = TARGETS.iter().find(|(known, _)| *known == name).expect("it is there").1;
        let outcomes: Vec<String> = corpus(name).iter().map(|(_, input)| run(name, target, input)).collect();
        assert!(outcomes.iter().any(|outcome| outcome.starts_with(wanted)), "{name}: {outcomes:?}");
    }
}

/// For `make fuzz` and the soak: `REDOUBT_FUZZ_CPU_SECONDS` of processor time, shared by all targets, from a seed of now or `REDOUBT_SEED`.
#[test]
#[ignore = "takes minutes: make fuzz"]
fn a_long_walk_finds_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("REDOUBT_FUZZ_CPU_SECONDS").unwrap_or(600);
    let seed = number("REDOUBT_SEED").unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()));
    let each = Duration::from_secs(seconds) / TARGETS.len() as u32;
    println!("seed {seed}");
    for (name, target) in TARGETS {
        let (began, peak_before) = (cpu(), peak());
        let (steps, outcomes) = walk(name, target, seed, u64::MAX, each);
        println!(
            "{name}: {steps} inputs, {outcomes} outcomes, {:.0} CPU-s, memory {} to {} MiB",
            (cpu() - began).as_secs_f64(),
            peak_before >> 20,
            peak() >> 20
        );
    }
    assert!(peak() < MEMORY_MAX, "{} bytes", peak());
}
