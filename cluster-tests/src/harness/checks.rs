//! What must hold at the end of a run, each as one check with its verdict in words.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use types::keys;

use super::deploy::Deployment;
use super::scenario::{Checks, Errors, On, Process, Scenario, Verb};
use super::workload::{SharedName, Worked, kind, longest_gap, shared_number};
use crate::checkers::history::{Action, Answer, Moment, Operation};
use crate::checkers::{wgl, zone};
use crate::process::clients::get;
use crate::process::{Clients, Event, Kind, Signal};

/// How long a client of the checks tries.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long HA's daemons may take to have the same history.
const SAME: Duration = Duration::from_secs(10);
/// How long the sweep of what was deleted may take, above the age of dead units.
const SWEPT: Duration = Duration::from_secs(40);
/// How long fids may be pending after the load: a client that is gone has a lease of 30 s, and the sweep looks every second.
const DRAINED: Duration = Duration::from_secs(60);
/// Failing histories that go into the report.
const HISTORIES_MAX: usize = 10;

/// One thing that was checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it holds.
    pub is_ok: bool,
    /// What was looked at, or what is wrong.
    pub what: String,
}

/// A history that no order explains.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failing {
    /// Of which name.
    pub name: SharedName,
    /// Why.
    pub why: String,
    /// What was done to it.
    pub operations: Vec<Operation>,
}

/// The checks of a run as they come.
#[derive(Debug, Default)]
pub struct Checked {
    /// All of them.
    pub checks: Vec<Check>,
    /// Histories that no order explains.
    pub failing: Vec<Failing>,
}

impl Checked {
    /// Notes what a check came to.
    pub fn note(&mut self, name: impl Into<String>, result: Result<String>) {
        let (is_ok, what) = match result {
            Ok(what) => (true, what),
            Err(error) => (false, format!("{error:#}")),
        };
        self.checks.push(Check { name: name.into(), is_ok, what });
    }

    /// What is wrong, a line each.
    pub fn violations(&self) -> Vec<String> {
        self.checks.iter().filter(|check| !check.is_ok).map(|check| format!("{}: {}", check.name, check.what)).collect()
    }
}

/// Heals what is broken and waits until every process is ONLINE; how long that took.
pub fn heal(deployment: &Deployment, checks: &Checks) -> Result<String> {
    deployment.heal()?;
    let began = Instant::now();
    deployment.cluster().all_online(checks.heal.0)?;
    Ok(format!("all ONLINE {} ms after the end of the load", began.elapsed().as_millis()))
}

/// Everything else, on a cluster that is whole.
pub fn run(deployment: &Deployment, scenario: &Scenario, worked: &mut Worked, began: Instant, ended: Duration, checked: &mut Checked) {
    checked.note("promises kept under faults", none(&worked.violations, "no client saw a broken promise"));
    let clients = match deployment.clients(None, TIMEOUT) {
        Ok(clients) => clients,
        Err(error) => return checked.note("a client that was not there", Err(error)),
    };
    checked.note("acknowledged writes", durable(&clients, worked));
    let linearizable = linearizable(&clients, scenario, worked, began, &mut checked.failing);
    checked.note("linearizable", linearizable);
    progress(scenario, worked, ended, checked);
    checked.note("one history of HA", one_history(deployment));
    checked.note("no process panicked", none(&deployment.panics(), "no log says so"));
    if scenario.checks.replicas {
        checked.note("replicas equal", replicas(deployment, &clients, scenario.checks.heal.0));
    }
    if scenario.checks.pending {
        checked.note("nothing pending", pending(&clients));
    }
    if scenario.checks.space {
        checked.note("space conserved", space(&clients, scenario.topology.dead_age.0 + SWEPT));
    }
}

fn none(wrong: &[String], otherwise: &str) -> Result<String> {
    match wrong.first() {
        Some(first) => bail!("{first} ({} in all)", wrong.len()),
        None => Ok(otherwise.into()),
    }
}

/// Every name holds what was acknowledged, bit for bit, and a listing shows it; nothing that was deleted is there.
fn durable(clients: &Clients, worked: &Worked) -> Result<String> {
    let (mut names, mut bytes) = (0, 0);
    for kind in [Kind::Object, Kind::Key] {
        let ledger = worked.ledger(kind);
        for name in ledger.names() {
            let found = clients.wait(get(clients.client(), kind, name)).with_context(|| name.to_string())?;
            if !ledger.allows(name, found.as_deref()) {
                let length = found.map(|bytes| bytes.len());
                bail!("{kind:?} {name} holds {length:?} bytes, and may hold only {:?}", ledger.may_hold(name));
            }
            (names, bytes) = (names + 1, bytes + found.map_or(0, |found| found.len()));
        }
        let listed = clients.list(kind)?;
        if let Some(missing) = ledger.present().iter().find(|name| listed.binary_search(name).is_err()) {
            bail!("{kind:?} {missing} is there and not listed");
        }
        if let Some(back) = ledger.absent().iter().find(|name| listed.binary_search(name).is_ok()) {
            bail!("{kind:?} {back} is deleted and listed");
        }
    }
    Ok(format!("{names} names with {bytes} bytes are as acknowledged"))
}

/// The operations on each shared name, and a last read of it, can be put in one order.
fn linearizable(clients: &Clients, scenario: &Scenario, worked: &mut Worked, began: Instant, failing: &mut Vec<Failing>) -> Result<String> {
    let (mut names, mut operations, mut unsearched) = (0, 0, 0);
    for (name, history) in &mut worked.histories {
        let wish = &scenario.workload[name.entry].value;
        history.push(last_read(clients, kind(wish.on), &name.name, began)?);
        history.sort_by_key(|operation| operation.call);
        (names, operations) = (names + 1, operations + history.len());
        let has_deletes = wish.mix.get(&Verb::Delete).is_some_and(|parts| *parts > 0);
        let why = if has_deletes {
            match wgl::check(history) {
                wgl::Verdict::Linearizable => continue,
                wgl::Verdict::GaveUp => {
                    unsearched += 1;
                    continue;
                }
                wgl::Verdict::Violation { longest } => format!("no order of its {} operations goes past {longest}", history.len()),
            }
        } else {
            match zone::check(history) {
                Ok(()) => continue,
                Err(error) => error.to_string(),
            }
        };
        failing.push(Failing { name: name.clone(), why, operations: history.clone() });
    }
    if let Some(first) = failing.first() {
        let (count, words) = (failing.len(), format!("{}: {}", first.name.name, first.why));
        failing.truncate(HISTORIES_MAX);
        bail!("{count} of {names} shared names: {words}");
    }
    if names > 0 && unsearched == names {
        bail!("no history of {names} was short enough to search");
    }
    Ok(format!("{operations} operations on {names} shared names; {unsearched} of them were too much to search"))
}

fn last_read(clients: &Clients, kind: Kind, name: &str, began: Instant) -> Result<Operation> {
    let moment = || Moment::try_from(began.elapsed().as_nanos()).unwrap_or(Moment::MAX);
    let call = moment();
    let found = clients.wait(get(clients.client(), kind, name)).with_context(|| name.to_string())?;
    let value = match found {
        None => None,
        Some(bytes) => {
            Some(shared_number(&bytes).with_context(|| format!("{kind:?} {name} holds {} bytes that nobody wrote", bytes.len()))?)
        }
    };
    Ok(Operation { client: u32::MAX, row: 0, call, ret: moment(), action: Action::Read, answer: Answer::Read(value) })
}

/// The bounds of each entry of the workload.
fn progress(scenario: &Scenario, worked: &Worked, ended: Duration, checked: &mut Checked) {
    for (number, entry) in scenario.workload.iter().enumerate() {
        let wish = &entry.value;
        let what = if wish.on == On::Objects { "objects" } else { "rows" };
        let gap = longest_gap(&worked.steps, number, wish.clients, ended);
        if let Some(bound) = wish.gap {
            let words = format!("the longest time of a client without a success is {} ms of {} ms", gap.as_millis(), bound.0.as_millis());
            let result =
                if gap <= bound.0 { Ok(words) } else { Err(anyhow::anyhow!("{words}; CPU pressure {:.0} %", crate::process::pressure())) };
            checked.note(format!("progress of workload[{number}] ({what})"), result);
        }
        if wish.errors == Errors::None {
            let errors: Vec<String> = worked.errors.iter().filter(|(entry, _)| *entry == number).map(|(_, error)| error.clone()).collect();
            checked.note(format!("no errors of workload[{number}] ({what})"), none(&errors, "none"));
        }
    }
}

/// Every daemon tells the same history, and all of it.
fn one_history(deployment: &Deployment) -> Result<String> {
    let until = Instant::now() + SAME;
    loop {
        let histories = deployment.nodes().iter().map(|node| events_of(deployment, &node.ha)).collect::<Result<Vec<_>>>();
        let differs = histories.and_then(|histories| {
            let first = histories.first().context("there are daemons")?;
            match histories.iter().position(|other| other != first) {
                None => Ok(first.len()),
                Some(other) => Err(difference(first, &histories[other], &deployment.nodes()[other].name)),
            }
        });
        match differs {
            Ok(count) => return Ok(format!("{count} events, the same at all {} daemons", deployment.nodes().len())),
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn events_of(deployment: &Deployment, daemon: &str) -> Result<Vec<Event>> {
    let events = deployment.cluster().ha(&["events", "--limit", "100000", "--server", daemon])?;
    serde_json::from_value(events).context("`ha events` gives a list")
}

fn difference(first: &[Event], other: &[Event], name: &str) -> anyhow::Error {
    let at = first.iter().zip(other).position(|(a, b)| a != b).unwrap_or_else(|| first.len().min(other.len()));
    anyhow::anyhow!("the first daemon and that of {name} differ at event {at}: {:?} and {:?}", first.get(at), other.get(at))
}

type Rows = BTreeMap<(bool, String), u64>;

/// With each node away once, what is served is the same: whichever replica serves it.
fn replicas(deployment: &Deployment, clients: &Clients, heal: Duration) -> Result<String> {
    let whole = contents(clients).context("with all nodes there")?;
    for node in deployment.nodes() {
        let name = std::slice::from_ref(&node.name);
        deployment.end(name, Process::Storage, Signal::KILL)?;
        let without = contents(clients).with_context(|| format!("with {} away", node.name))?;
        deployment.start_node(&node.name, Process::Storage)?;
        if let Some(key) = whole.keys().chain(without.keys()).find(|key| whole.get(*key) != without.get(*key)) {
            bail!("{}: with all nodes there it holds {:x?}, with {} away {:x?}", key.1, whole.get(key), node.name, without.get(key));
        }
        deployment.cluster().all_online(heal)?;
    }
    Ok(format!("{} names, the same with each of {} nodes away", whole.len(), deployment.nodes().len()))
}

/// Every name with a digest of what it holds.
fn contents(clients: &Clients) -> Result<Rows> {
    let mut all = Rows::new();
    for (is_object, kind) in [(true, Kind::Object), (false, Kind::Key)] {
        for name in clients.list(kind)? {
            let bytes = clients.wait(get(clients.client(), kind, &name))?.with_context(|| format!("{name} is listed and not there"))?;
            all.insert((is_object, name), digest(&bytes));
        }
    }
    Ok(all)
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Waits until no fid is pending: whoever began it has committed it, given it up, or is gone and was swept up after.
fn pending(clients: &Clients) -> Result<String> {
    let (until, at_first) = (Instant::now() + DRAINED, clients.rows_of_kind(keys::kind::PENDING)?);
    // Whoever counts sees rows at all.
    let objects = clients.rows_of_kind(keys::kind::OBJECT)?;
    ensure!(objects > 0, "there is no object: the load did nothing that could be pending");
    loop {
        let left = clients.rows_of_kind(keys::kind::PENDING)?;
        if left == 0 {
            return Ok(format!("no fid is pending beside {objects} objects; {at_first} were after the load"));
        }
        if Instant::now() > until {
            bail!("{left} fids are pending {DRAINED:?} after the load");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Deletes all objects and waits until no device has a unit left: none without a record, and no space lost.
fn space(clients: &Clients, within: Duration) -> Result<String> {
    let before: u64 = clients.usage()?.iter().map(|device| device.units).sum();
    let deleted = clients.delete_all(Kind::Object)?;
    let until = Instant::now() + within;
    loop {
        let usage = clients.usage()?;
        let units: u64 = usage.iter().map(|device| device.units).sum();
        if units == 0 {
            if let Some(device) = usage.iter().find(|device| device.free != device.bytes) {
                bail!("{} has no unit, and {} of {} bytes free", device.device, device.free, device.bytes);
            }
            return Ok(format!("{before} units; none after {deleted} deletes, and all space free"));
        }
        if Instant::now() > until {
            bail!("{units} units are left {within:?} after everything was deleted: {usage:?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
