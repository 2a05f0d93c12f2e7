//! The faults of a run, in time: those that the scenario gives and those that the seed draws.

use std::time::Duration;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::amount::Span;
use super::scenario::{DiskCall, DiskError, Fault, FaultKind, Packets, Process, Random, Scenario};

/// Everything that is to be done, in the order of time. `leader` is left to the moment itself.
pub fn draw(scenario: &Scenario, seed: u64) -> Vec<Fault> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let nodes: Vec<String> = (1..=scenario.topology.nodes.value).map(|number| format!("node-{number}")).collect();
    let mut faults: Vec<Fault> = scenario.faults.iter().map(|fault| fault.value.clone()).collect();
    if let Some(wish) = &scenario.random {
        faults.extend(drawn(&wish.value, scenario.duration.value.0, &nodes, &places(scenario), &mut random));
    }
    for fault in &mut faults {
        settle(fault, &nodes, &mut random);
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// Where clients are, each place once.
pub fn places(scenario: &Scenario) -> Vec<String> {
    let mut places: Vec<String> = scenario.workload.iter().map(|entry| entry.value.from.clone()).collect();
    places.sort();
    places.dedup();
    places
}

/// `any` and `all` become names.
fn settle(fault: &mut Fault, nodes: &[String], random: &mut ChaCha8Rng) {
    let mut settled: Vec<String> = Vec::new();
    for name in &fault.nodes {
        match name.as_str() {
            "all" => settled.extend(nodes.iter().cloned()),
            "any" => {
                let others: Vec<&String> = nodes.iter().filter(|node| !settled.contains(node)).collect();
                settled.extend(others.choose(random).map(|node| (*node).clone()));
            }
            _ => settled.push(name.clone()),
        }
    }
    fault.nodes = settled;
}

/// One after the other, so that never more is broken than a cluster promises to bear; the last is healed before the end.
fn drawn(wish: &Random, duration: Duration, nodes: &[String], places: &[String], random: &mut ChaCha8Rng) -> Vec<Fault> {
    let mut kinds = wish.kinds.clone();
    if wish.swarm {
        kinds.shuffle(random);
        let most = kinds.len();
        kinds.truncate(random.random_range(1..=most));
    }
    let between = |[least, most]: [Span; 2], random: &mut ChaCha8Rng| random.random_range(least.0..=most.0);
    let mut faults = Vec::new();
    let mut at = between(wish.pause, random);
    while at < duration {
        let lasts = between(wish.lasts, random);
        let Some(kind) = kinds.choose(random) else { break };
        faults.push(one(*kind, at, lasts, nodes, places, random));
        at += lasts + between(wish.pause, random).max(Duration::from_millis(1));
    }
    faults
}

fn one(kind: FaultKind, at: Duration, lasts: Duration, nodes: &[String], places: &[String], random: &mut ChaCha8Rng) -> Fault {
    let node = nodes.choose(random).cloned().unwrap_or_default();
    let process =
        *[Process::Storage, Process::Storage, Process::Daemon, Process::Both, Process::Both].choose(random).expect("there are some");
    // One node away from all others, and from the clients: that is what every cluster bears.
    let others: Vec<String> = nodes.iter().filter(|other| **other != node).chain(places).cloned().collect();
    let is_cut = matches!(kind, FaultKind::Partition | FaultKind::Flap);
    Fault {
        at: Span(at),
        kind,
        lasts: Some(Span(lasts)),
        nodes: if kind == FaultKind::PowerLoss { Vec::new() } else { vec![node.clone()] },
        process,
        times: Some(random.random_range(2..6)),
        every: Some(Span(Duration::from_millis(random.random_range(50..400)))),
        sides: if is_cut { vec![vec![node], others] } else { Vec::new() },
        one_way: random.random_bool(0.3),
        packets: (kind == FaultKind::Links).then(|| packets(random)),
        percent: Some(random.random_range(3..40)),
        // What ends a device, or needs a word of the scenario's, is not drawn.
        call: Some(DiskCall::Sync),
        error: Some(DiskError::Slow),
        seconds: Some(random.random_range(-100_000..100_000)),
        memory: Some(super::amount::Bytes(512 << 20)),
        points: Vec::new(),
        action: None,
        hits: None,
        skip: None,
    }
}

fn packets(random: &mut ChaCha8Rng) -> Packets {
    let ms = |most: u64, random: &mut ChaCha8Rng| Span(Duration::from_millis(random.random_range(1..=most)));
    let mut packets = Packets::default();
    match random.random_range(0..4) {
        0 => packets.delay = ms(50, random),
        1 => (packets.delay, packets.jitter) = (ms(5, random), ms(20, random)),
        2 => packets.loss = random.random_range(1.0..10.0),
        _ => packets.bandwidth = Some(super::amount::Bytes(random.random_range(1 << 20..20 << 20))),
    }
    packets.double = if random.random_bool(0.3) { random.random_range(0.5..3.0) } else { 0.0 };
    packets.spoil = if random.random_bool(0.2) { random.random_range(0.1..1.0) } else { 0.0 };
    packets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::read::parse;

    const RANDOM: &str = "\
name: drawn
about: Faults from the seed.
duration: 60s
workload:
  - {on: rows, mix: {put: 1}, sizes: [100]}
faults:
  - {at: 1s, do: freeze, nodes: [any, any], for: 1s}
random:
  kinds: [kill, partition, links, storm]
  for: [200ms, 2s]
  pause: [1s, 2s]
  swarm: true
";

    #[test]
    fn a_seed_decides_all_and_no_two_drawn_faults_overlap() {
        let scenario = parse("drawn.yaml", RANDOM).expect("is one");
        let text = |seed| format!("{:?}", draw(&scenario, seed));
        assert_eq!(text(4), text(4));
        assert_ne!(text(4), text(5));
        let kinds: std::collections::BTreeSet<FaultKind> = (0..20).flat_map(|seed| draw(&scenario, seed)).map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), 5, "each kind is drawn by some seed: {kinds:?}");
        for seed in 0..20 {
            let mut faults = draw(&scenario, seed);
            let given = faults.iter().position(|fault| fault.kind == FaultKind::Freeze).expect("is given");
            let given = faults.remove(given);
            assert!(given.nodes.len() == 2 && given.nodes[0] != given.nodes[1], "{given:?}");
            for pair in faults.windows(2) {
                assert!(pair[0].at.0 + pair[0].lasts.expect("lasts").0 < pair[1].at.0, "{pair:?}");
            }
        }
    }
}
