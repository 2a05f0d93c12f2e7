//! Reading scenario files: whatever is wrong is one error that names the file, the line and the field.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde_saphyr::{Location, Spanned};

use super::points::process_of;
use super::scenario::{DiskCall, DiskError, Fault, FaultKind, Random, Scenario, Verb, Where, Workload};

/// Most nodes of a scenario: they are all on one machine.
const NODES_MAX: u16 = 9;
/// Most clients of a scenario.
const CLIENTS_MAX: u32 = 512;
/// Words that stand for nodes.
const WHOM: &[&str] = &["any", "leader", "all"];

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Scenario> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    parse(&path.display().to_string(), &text)
}

/// Reads and checks the text of a file.
pub fn parse(file: &str, text: &str) -> Result<Scenario> {
    let scenario: Scenario = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |at| at.line());
        anyhow!("{file}:{line}: {}", error.without_snippet())
    })?;
    check(&scenario).map_err(|wrong| anyhow!("{file}:{}: {}: {}", wrong.line, wrong.field, wrong.what))?;
    Ok(scenario)
}

/// What is wrong, and where.
struct Wrong {
    line: u64,
    field: String,
    what: String,
}

fn wrong<T>(at: &Location, field: impl Into<String>, what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { line: at.line(), field: field.into(), what: what.into() })
}

fn check(scenario: &Scenario) -> Result<(), Wrong> {
    let name = &scenario.name;
    let is_good = !name.value.is_empty() && name.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_good {
        return wrong(&name.referenced, "name", format!("`{}`: say lower-case letters, digits and `-`", name.value));
    }
    topology(scenario)?;
    if scenario.duration.value.0.is_zero() {
        return wrong(&scenario.duration.referenced, "duration", "is not zero");
    }
    if scenario.workload.is_empty() {
        return wrong(&name.referenced, "workload", "say at least one entry");
    }
    for (number, entry) in scenario.workload.iter().enumerate() {
        workload(number, entry)?;
    }
    let clients: u32 = scenario.workload.iter().map(|entry| entry.value.clients).sum();
    if clients > CLIENTS_MAX {
        return wrong(&name.referenced, "workload", format!("{clients} clients: at most {CLIENTS_MAX}"));
    }
    for (number, entry) in scenario.faults.iter().enumerate() {
        fault(scenario, number, entry)?;
    }
    scenario.random.as_ref().map_or(Ok(()), |entry| random(scenario, entry))
}

fn topology(scenario: &Scenario) -> Result<(), Wrong> {
    let topology = &scenario.topology;
    if !(3..=NODES_MAX).contains(&topology.nodes.value) {
        return wrong(&topology.nodes.referenced, "topology.nodes", format!("{}: say 3 to {NODES_MAX}", topology.nodes.value));
    }
    if !(2..=8).contains(&topology.disk_groups.value) {
        return wrong(&topology.disk_groups.referenced, "topology.disk_groups", format!("{}: say 2 to 8", topology.disk_groups.value));
    }
    if topology.device.value.0 < 16 << 20 {
        return wrong(&topology.device.referenced, "topology.device", "a device has at least 16MiB");
    }
    if !(0.1..=100.0).contains(&topology.factor) {
        return wrong(&scenario.name.referenced, "topology.factor", "say 0.1 to 100");
    }
    for pool in &topology.pools {
        if let Err(what) = pool.value.scheme.parse::<types::scheme::Scheme>() {
            return wrong(&pool.referenced, "topology.pools.scheme", what);
        }
    }
    Ok(())
}

fn workload(number: usize, entry: &Spanned<Workload>) -> Result<(), Wrong> {
    let (at, load) = (&entry.referenced, &entry.value);
    let field = |name: &str| format!("workload[{number}].{name}");
    if load.clients == 0 || load.names == 0 {
        return wrong(at, field("clients"), "clients and names are at least 1");
    }
    if load.mix.values().sum::<u32>() == 0 {
        return wrong(at, field("mix"), "says no verb: give parts, as {put: 3, get: 1}");
    }
    if load.sizes.is_empty() {
        return wrong(at, field("sizes"), "say at least one size");
    }
    if load.shared && load.sizes.iter().any(|size| size.0 < 8) {
        return wrong(at, field("sizes"), "shared names need 8 bytes at least: each value is unique");
    }
    if load.shared && load.mix.contains_key(&Verb::Scan) {
        return wrong(at, field("mix"), "a scan of shared names compares with nothing: leave it out");
    }
    if load.on == super::scenario::On::Rows && load.sizes.iter().any(|size| size.0 > 64 << 10) {
        return wrong(at, field("sizes"), "a row has at most 64KiB");
    }
    if load.rate.is_some_and(|rate| rate <= 0.0) {
        return wrong(at, field("rate"), "is above 0");
    }
    Ok(())
}

fn is_node(scenario: &Scenario, name: &str) -> bool {
    let number = name.strip_prefix("node-").and_then(|number| number.parse::<u16>().ok());
    number.is_some_and(|number| (1..=scenario.topology.nodes.value).contains(&number))
}

fn fault(scenario: &Scenario, number: usize, entry: &Spanned<Fault>) -> Result<(), Wrong> {
    let (at, fault) = (&entry.referenced, &entry.value);
    let field = |name: &str| format!("faults[{number}].{name}");
    if fault.at > scenario.duration.value {
        return wrong(at, field("at"), "is after the end of the scenario");
    }
    if let Some(name) = fault.nodes.iter().find(|name| !is_node(scenario, name) && !WHOM.contains(&name.as_str())) {
        return wrong(
            at,
            field("nodes"),
            format!("there is no `{name}`: say node-1 to node-{}, any, leader or all", scenario.topology.nodes.value),
        );
    }
    let needs = |is_there: bool, name: &str, what: &str| if is_there { Ok(()) } else { wrong(at, field(name), what) };
    let whom = || needs(!fault.nodes.is_empty(), "nodes", "is missing: say whom");
    let how_long = || needs(fault.lasts.is_some(), "for", "is missing: say how long until it is healed");
    network(scenario, fault.kind, at, &field("do"))?;
    match fault.kind {
        FaultKind::Kill | FaultKind::Freeze | FaultKind::Wipe => whom().and(how_long()),
        FaultKind::Restart | FaultKind::Rot | FaultKind::Replace => whom(),
        FaultKind::Storm => whom().and(needs(fault.times.is_some(), "times", "is missing: say how often")),
        FaultKind::PowerLoss => Ok(()),
        FaultKind::Partition | FaultKind::Flap => sides(scenario, fault, at, &field("sides")).and(how_long()),
        FaultKind::Links => whom().and(how_long()).and(needs(fault.packets.is_some(), "packets", "is missing: say what happens to them")),
        FaultKind::Starve => whom().and(how_long()).and(needs(
            fault.percent.is_some_and(|percent| (1..=100).contains(&percent)),
            "percent",
            "is missing: say what is left of a processor, 1 to 100",
        )),
        FaultKind::Disk => whom()
            .and(how_long())
            .and(needs(fault.call.is_some(), "call", "is missing: say sync, write or read"))
            .and(needs(fault.error.is_some(), "error", "is missing: say io, full, lie, slow or tear"))
            .and(needs(
                !(fault.error == Some(DiskError::Lie) && fault.call != Some(DiskCall::Sync)),
                "error",
                "only a sync can lie: whoever is told that bytes were written or read counts them",
            ))
            .and(needs(fault.error != Some(DiskError::Tear) || fault.call == Some(DiskCall::Write), "error", "only a write can be torn")),
        FaultKind::Clock => whom().and(needs(fault.seconds.is_some(), "seconds", "is missing: say by how many the clock is off")),
        FaultKind::Squeeze => whom().and(how_long()).and(needs(fault.memory.is_some(), "memory", "is missing: say what is left")),
        FaultKind::Point => whom()
            .and(needs(!fault.points.is_empty(), "points", "is missing: say which steps of the product"))
            .and(needs(fault.points.iter().all(|name| process_of(name).is_some()), "points", "there is no such step"))
            .and(needs(fault.action.is_some(), "action", "is missing: say error, crash, hang or delay")),
    }
}

fn network(scenario: &Scenario, kind: FaultKind, at: &Location, field: &str) -> Result<(), Wrong> {
    if kind.is_of_network() && scenario.topology.network == Where::Loopback {
        return wrong(at, field, format!("`{}` needs `topology.network: own`", kind.word()));
    }
    Ok(())
}

fn sides(scenario: &Scenario, fault: &Fault, at: &Location, field: &str) -> Result<(), Wrong> {
    if fault.sides.len() < 2 {
        return wrong(at, field, "say at least two");
    }
    let mut seen = BTreeSet::new();
    for name in fault.sides.iter().flatten() {
        let is_place = scenario.workload.iter().any(|entry| entry.value.from == *name);
        if !is_node(scenario, name) && !is_place {
            return wrong(at, field, format!("`{name}` is no node and no `from` of a workload"));
        }
        if !seen.insert(name) {
            return wrong(at, field, format!("`{name}` stands on two sides"));
        }
    }
    Ok(())
}

fn random(scenario: &Scenario, entry: &Spanned<Random>) -> Result<(), Wrong> {
    let (at, random) = (&entry.referenced, &entry.value);
    if random.kinds.is_empty() {
        return wrong(at, "random.kinds", "say at least one");
    }
    if random.kinds.contains(&FaultKind::Point) {
        return wrong(at, "random.kinds", "`point` is not drawn: say which in `faults`");
    }
    if random.kinds.contains(&FaultKind::Replace) {
        return wrong(at, "random.kinds", "`replace` is not drawn: groups that move and a node that is away are more than a cluster bears");
    }
    for kind in &random.kinds {
        network(scenario, *kind, at, "random.kinds")?;
    }
    if random.lasts[0] > random.lasts[1] {
        return wrong(at, "random.for", "the least is above the most");
    }
    if random.pause[0] > random.pause[1] {
        return wrong(at, "random.pause", "the least is above the most");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
name: one-kill
about: A node is killed.
duration: 5s
workload:
  - on: rows
    mix: {put: 1}
    sizes: [100]
faults:
  - at: 1s
    do: kill
    nodes: [node-2]
    for: 1s
";

    fn error(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        parse("one.yaml", &GOOD.replace(from, to)).expect_err(to).to_string()
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_field() {
        parse("one.yaml", GOOD).expect("the good one");
        for (from, to, says) in [
            ("    nodes: [node-2]\n", "    nodes: [node-4]\n", "one.yaml:9: faults[0].nodes: there is no `node-4`"),
            ("    for: 1s\n", "", "one.yaml:9: faults[0].for: is missing"),
            ("    sizes: [100]\n", "    sizes: []\n", "one.yaml:5: workload[0].sizes"),
            ("duration: 5s", "duration: 5 parsecs", "one.yaml:3: "),
            ("do: kill", "do: kil", "one.yaml:10: "),
            ("about:", "abut:", "one.yaml:2: "),
            ("mix: {put: 1}", "mix: {put: 1, put: 2}", "one.yaml:6: "),
            ("name: one-kill", "name: One Kill", "one.yaml:1: name: `One Kill`"),
            ("do: kill\n", "do: point\n    points: [batch-synced]\n", "one.yaml:9: faults[0].action: is missing"),
            ("do: kill\n", "do: point\n    action: crash\n    points: [no-step]\n", "one.yaml:9: faults[0].points: there is no such step"),
        ] {
            let error = error(from, to);
            assert!(error.starts_with(says) && error.lines().count() == 1, "{error}");
        }
        assert!(error("do: kill", "do: kil").contains("kil"));
        assert!(error("about:", "abut:").contains("abut"));
    }
}
