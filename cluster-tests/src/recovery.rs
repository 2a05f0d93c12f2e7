//! Recovery in figures, each with the aim of the design and a limit beside it: how soon each group takes writes again after a kill, how fast
//! what was missed is redone, and what clients have meanwhile. `cluster-tests bench recovery` prints them; tests hold them to the limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use client::{CatalogueKind, Client, Condition};
use serde::Serialize;
use types::map::ClusterMap;
use types::{GroupId, NodeId};

use crate::process::{Clients, Cluster, INDEX, Signal, pressure, say, send};

const ONLINE: Duration = Duration::from_secs(30);
/// How long redoing may take before it is given up.
const REDONE: Duration = Duration::from_secs(600);
/// How long the load goes on before and after a kill.
const BEFORE: Duration = Duration::from_millis(1500);
const AFTER: Duration = Duration::from_secs(4);
/// Pause of a writer: about as long as a write takes, so that a gap shows.
const PAUSE: Duration = Duration::from_millis(5);
/// What is killed, and after how many milliseconds each affected group should take writes again (p99).
const KILLS: [(Killed, &str, f64); 3] =
    [(Killed::Process, "process", 1000.0), (Killed::Node, "node", 2000.0), (Killed::Leader, "node with HA's leader", 3000.0)];
/// What clients of groups that are not affected should see at most, in milliseconds.
const AIM_OTHERS_MS: f64 = 50.0;
/// What redoing and clients should have of the normal rate, in per cent.
const AIM_PERCENT: f64 = 50.0;
/// How long 100,000 missed records should take, in seconds.
const AIM_REDONE_S: f64 = 5.0;
/// Limits are aims times this, or an aim by this: for machines that do other things too.
const SLACK: f64 = 3.0;
/// Limit of what a machine that does other things makes of 100,000 records.
const LIMIT_REDONE_S: f64 = 180.0;
/// What a storage process says when it begins to copy a group.
const COPY_BEGINS: &str = "a full copy begins to go out";
/// Clients that write as fast as they can.
const WRITERS: usize = 32;
/// Keys of each of them.
const KEYS: usize = 1000;
/// Bytes of a row.
const VALUE: [u8; 100] = [7; 100];

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    Process,
    Node,
    Leader,
}

/// A figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What it is of.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What the design aims at; nothing where it is there for comparison.
    pub aim: Option<f64>,
    /// What it is held to.
    pub limit: Option<f64>,
    /// Whether more is better.
    pub more_is_better: bool,
    /// How busy the machine was, in per cent of time in which something waited for a processor.
    pub cpu_pressure: f64,
}

impl Figure {
    fn at_most(what: String, value: f64, unit: &'static str, aim: f64, limit: f64) -> Self {
        Self { what, value, unit, aim: Some(aim), limit: Some(limit), more_is_better: false, cpu_pressure: pressure() }
    }

    fn at_least(what: String, value: f64, unit: &'static str, aim: f64) -> Self {
        Self { what, value, unit, aim: Some(aim), limit: Some(aim / SLACK), more_is_better: true, cpu_pressure: pressure() }
    }

    fn plain(what: String, value: f64, unit: &'static str) -> Self {
        Self { what, value, unit, aim: None, limit: None, more_is_better: true, cpu_pressure: pressure() }
    }

    fn reaches(&self, bound: Option<f64>) -> bool {
        bound.is_none_or(|bound| if self.more_is_better { self.value >= bound } else { self.value <= bound })
    }

    /// Whether it is what the design aims at.
    pub fn meets_its_aim(&self) -> bool {
        self.reaches(self.aim)
    }

    /// Whether it is within its limit.
    pub fn is_within_its_limit(&self) -> bool {
        self.reaches(self.limit)
    }

    /// A line of a table.
    pub fn row(&self) -> String {
        let bound = |bound: Option<f64>| {
            let word = if self.more_is_better { "at least" } else { "at most" };
            bound.map_or_else(String::new, |bound| format!("{word} {bound:.0}"))
        };
        let verdict = match (self.aim, self.meets_its_aim(), self.is_within_its_limit()) {
            (None, ..) => "",
            (_, true, _) => "met",
            (_, false, true) => "**not met**",
            (_, false, false) => "**beyond its limit**",
        };
        let Self { what, value, unit, .. } = self;
        format!("| {what} | {value:.0} {unit} | {} | {} | {verdict} | {:.0} |", bound(self.aim), bound(self.limit), self.cpu_pressure)
    }
}

/// Heads of the table.
pub const HEADS: &str = "| what | figure | aim | limit | | CPU pressure % |\n|---|---|---|---|---|---|";

/// When writes to one group were acknowledged.
type Acknowledged = BTreeMap<GroupId, Vec<Instant>>;

/// A key of the index for each group.
fn keys(map: &ClusterMap) -> Result<BTreeMap<GroupId, String>> {
    let index = map.catalogue_named(CatalogueKind::Index, INDEX).context("the index is there")?;
    let pool = map.pools.get(&index.pool).context("an index has a pool")?;
    let mut keys = BTreeMap::new();
    for number in 0.. {
        if keys.len() >= index.width as usize {
            break;
        }
        let key = format!("recovery/{number}");
        keys.entry(types::routing::group_of(index, pool, key.as_bytes())).or_insert(key);
    }
    Ok(keys)
}

async fn write_on(client: Client, key: String, stop: Arc<AtomicBool>) -> Vec<Instant> {
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if client.index_put(INDEX, key.as_bytes(), b"value", Condition::Always).await.is_ok() {
            acknowledged.push(Instant::now());
        }
        tokio::time::sleep(PAUSE).await;
    }
    acknowledged
}

/// Writes to every group while something happens.
fn write_meanwhile<T>(clients: &Clients, keys: &BTreeMap<GroupId, String>, what: impl FnOnce() -> Result<T>) -> Result<(T, Acknowledged)> {
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        keys.iter().map(|(group, key)| (*group, clients.spawn(write_on(clients.client().clone(), key.clone(), stop.clone())))).collect();
    let done = what();
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    for (group, writer) in writers {
        acknowledged.insert(group, clients.wait(writer)?);
    }
    Ok((done?, acknowledged))
}

fn percentile(times: &mut [Duration], share: usize) -> f64 {
    times.sort_unstable();
    let time = times.get(times.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
    time.as_secs_f64() * 1000.0
}

/// The longest time between two acknowledgements, one of them after the kill.
fn gap(acknowledged: &[Instant], killed: Instant, ended: Instant) -> Duration {
    let before = acknowledged.iter().rev().find(|at| **at <= killed).copied().unwrap_or(killed);
    let after = acknowledged.iter().copied().filter(|at| *at > killed).chain([ended]);
    let mut last = before;
    after.map(|at| at.duration_since(std::mem::replace(&mut last, at))).max().unwrap_or_default()
}

fn primaries(map: &ClusterMap, node: NodeId) -> Vec<GroupId> {
    let on_it = |group: &GroupId| map.view(*group).and_then(|view| view.primary).and_then(|p| map.node_of(p.device)).map(|n| n.id);
    map.groups.keys().copied().filter(|group| on_it(group) == Some(node)).collect()
}

/// A node that is not HA's leader, or that is.
fn chosen(cluster: &Cluster, is_leader: bool) -> Result<String> {
    let leader = cluster.leader(ONLINE)?;
    let mut nodes = cluster.nodes()?.into_iter();
    nodes.find(|node| (*node == leader) == is_leader).context("there is such a node")
}

/// From SIGKILL to the first acknowledged write of each affected group, and what clients of the others see.
pub fn first_writes(cluster: &Cluster, clients: &Clients) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (killed, what, aim) in KILLS {
        let node = chosen(cluster, killed == Killed::Leader)?;
        // Primaries come back to whoever was killed before, in time.
        let until = Instant::now() + ONLINE;
        let (map, affected) = loop {
            let map = clients.wait(clients.client().map(Duration::ZERO))?;
            let id = map.nodes.values().find(|known| known.name == node).context("the node is in the map")?.id;
            let affected = primaries(&map, id);
            if !affected.is_empty() || Instant::now() > until {
                break (map, affected);
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let ((at, ended), acknowledged) = write_meanwhile(clients, &keys(&map)?, || {
            std::thread::sleep(BEFORE);
            let pids = cluster.pids_of(&node)?;
            let pids = if killed == Killed::Process { vec![pids.node.context("it runs")?] } else { pids.both() };
            let at = send(&pids, Signal::KILL)?.at;
            std::thread::sleep(AFTER);
            Ok((at, Instant::now()))
        })?;
        cluster.start(&node)?;
        cluster.all_online(ONLINE)?;
        let of = |is_affected: bool| -> Vec<Duration> {
            let wanted = acknowledged.iter().filter(|(group, _)| affected.contains(group) == is_affected);
            wanted.map(|(_, times)| gap(times, at, ended)).collect()
        };
        let (mut hit, mut spared) = (of(true), of(false));
        ensure!(!hit.is_empty() && !spared.is_empty(), "{} groups affected, {} not", hit.len(), spared.len());
        figures.extend([
            Figure::plain(format!("{what} killed: first write of {} groups, p50", hit.len()), percentile(&mut hit, 50), "ms"),
            Figure::at_most(format!("{what} killed: first write, p99"), percentile(&mut hit, 99), "ms", aim, aim * SLACK),
            // Whoever has the other groups has the processors of one machine with them.
            Figure::at_most(
                format!("{what} killed: longest gap of {} other groups", spared.len()),
                percentile(&mut spared, 100),
                "ms",
                AIM_OTHERS_MS,
                aim * SLACK,
            ),
        ]);
    }
    Ok(figures)
}

async fn write_fast(client: Client, writer: usize, stop: Arc<AtomicBool>) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        count += usize::from(client.index_put(INDEX, key(writer, count).as_bytes(), &VALUE, Condition::Always).await.is_ok());
    }
    count
}

fn key(writer: usize, number: usize) -> String {
    format!("redo/{writer}/{}", number % KEYS)
}

/// Writes so many rows as fast as it goes; how many a second.
fn rate(clients: &Clients, count: usize) -> Result<f64> {
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let client = clients.client().clone();
            clients.spawn(async move {
                for number in 0..count.div_ceil(WRITERS) {
                    client.index_put(INDEX, key(writer, number).as_bytes(), &VALUE, Condition::Always).await?;
                }
                Ok::<_, client::Error>(())
            })
        })
        .collect();
    for writer in writers {
        clients.wait(writer)??;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Full copies that storage processes say they have begun: none is meant to be needed.
fn copies(cluster: &Cluster) -> Result<usize> {
    let mut count = 0;
    for node in cluster.nodes()? {
        let log = std::fs::read(cluster.dir.join(&node).join("redoubt-node.log")).with_context(|| format!("the log of {node}"))?;
        count += String::from_utf8_lossy(&log).matches(COPY_BEGINS).count();
    }
    Ok(count)
}

/// A node misses so many records and comes back while clients write on: how fast it has them, and what clients have meanwhile.
pub fn catch_up(cluster: &Cluster, clients: &Clients, records: usize) -> Result<Vec<Figure>> {
    let node = chosen(cluster, false)?;
    let normal = rate(clients, (records / 10).max(WRITERS))?;
    say(format!("{normal:.0} writes a second with all nodes there"));
    send(&cluster.pids_of(&node)?.both(), Signal::KILL)?;
    cluster.wait_state(&node, "TRANSIENT", ONLINE)?;
    let degraded = rate(clients, records)?;
    say(format!("{degraded:.0} a second with one away; it comes back"));
    let (before, began) = (copies(cluster)?, Instant::now());
    cluster.start(&node)?;
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Vec<_> = (0..WRITERS).map(|writer| clients.spawn(write_fast(clients.client().clone(), writer, stop.clone()))).collect();
    let online = cluster.wait_state(&node, "ONLINE", REDONE);
    let took = began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let mut meanwhile = 0;
    for count in counts {
        meanwhile += clients.wait(count)?;
    }
    online?;
    let (redone, kept) = (records as f64 / took, meanwhile as f64 / took);
    let (scale, copies) = (records as f64 / 100_000.0, copies(cluster)? - before);
    Ok(vec![
        Figure::plain("normal writes, 32 clients, 100 B".into(), normal, "/s"),
        Figure::plain("writes with one node away".into(), degraded, "/s"),
        Figure::at_most(
            format!("{records} missed records: ONLINE after"),
            took,
            "s",
            AIM_REDONE_S * scale,
            (LIMIT_REDONE_S * scale).max(ONLINE.as_secs_f64()),
        ),
        Figure::plain("redone while clients write".into(), redone, "/s"),
        Figure::at_most("groups that were copied instead".into(), copies as f64, "", 0.0, 0.0),
        Figure::at_least("redone, of the normal rate".into(), redone / normal * 100.0, "%", AIM_PERCENT),
        Figure::at_least("clients meanwhile, of the normal rate".into(), kept / normal * 100.0, "%", AIM_PERCENT),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_to_its_limit_from_the_right_side() {
        let late = |value| Figure::at_most("a kill".into(), value, "ms", 1000.0, 3000.0);
        assert!(late(900.0).meets_its_aim() && !late(1100.0).meets_its_aim());
        assert!(late(2900.0).is_within_its_limit() && !late(3100.0).is_within_its_limit());
        let share = |value| Figure::at_least("redone".into(), value, "%", 60.0);
        assert!(share(61.0).meets_its_aim() && !share(59.0).meets_its_aim());
        assert!(share(21.0).is_within_its_limit() && !share(19.0).is_within_its_limit());
        assert!(share(19.0).row().contains("| 19 % | at least 60 | at least 20 | **beyond its limit** |"), "{}", share(19.0).row());
    }
}
