//! What each side of a partition serves: every group that a side can serve it serves in time, and nothing else is served by anybody.
//!
//! A side can serve a group where it has a majority of HA's voters and `f+1` of the group's members.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::{CatalogueKind, Condition, Error};
use serde::{Deserialize, Serialize};
use types::GroupId;
use types::map::{ClusterMap, Group};

use super::deploy::Deployment;
use super::scenario::{Fault, FaultKind, Scenario};
use super::schedule::places;
use crate::process::{Clients, INDEX};

/// How long one write may take, once a side has had its time.
const PROBE: Duration = Duration::from_secs(1);
/// So long before the partition ends no write is begun any more.
const MARGIN: Duration = Duration::from_millis(1800);
/// Keys that are tried until every group has one.
const KEYS_MAX: u32 = 100_000;

/// One side, with somebody on it who asks.
struct Side {
    place: String,
    clients: Clients,
    /// Groups that it can serve.
    serves: BTreeSet<GroupId>,
    /// A key of its own for each group.
    keys: BTreeMap<GroupId, String>,
}

/// The sides of one partition.
pub struct Probe {
    begin: Duration,
    end: Duration,
    sides: Vec<Side>,
}

/// What the sides of a partition served.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Served {
    /// How often each group was asked on each side.
    pub rounds: u32,
    /// Writes that were acknowledged where they should be.
    pub served: usize,
    /// Writes that were refused where they should be.
    pub refused: usize,
    /// Groups that no side could serve.
    pub nowhere: usize,
    /// What was otherwise.
    pub violations: Vec<String>,
    /// The last acknowledged value of each key.
    #[serde(skip)]
    pub acknowledged: BTreeMap<String, String>,
}

impl Probe {
    /// Gets ready for every partition of the schedule, where the scenario wants that.
    pub fn prepare(scenario: &Scenario, deployment: &Deployment, faults: &[Fault]) -> Result<Vec<Self>> {
        let Some(within) = scenario.checks.sides else { return Ok(Vec::new()) };
        let partitions = faults.iter().filter(|fault| fault.kind == FaultKind::Partition && !fault.one_way);
        partitions.map(|fault| Self::of(scenario, deployment, fault, within.0)).collect()
    }

    fn of(scenario: &Scenario, deployment: &Deployment, fault: &Fault, within: Duration) -> Result<Self> {
        let first = deployment.clients(None, PROBE)?;
        let map = first.wait(first.client().map(Duration::ZERO))?;
        let mut sides = Vec::new();
        for side in &fault.sides {
            let place = places(scenario).into_iter().find(|place| side.contains(place));
            let place = place.with_context(|| format!("`checks.sides` needs the `from` of a workload on the side {side:?}"))?;
            let keys = keys(&map, &place)?;
            let serves = keys.keys().copied().filter(|group| can_serve(&map, *group, side)).collect();
            sides.push(Side { clients: deployment.clients(Some(&place), PROBE)?, place, serves, keys });
        }
        let end = (fault.at.0 + fault.lasts.map_or(Duration::ZERO, |lasts| lasts.0)).saturating_sub(MARGIN);
        let begin = fault.at.0 + within;
        if begin >= end {
            bail!("a partition of {:?} is too short to ask {within:?} after its begin", fault.lasts);
        }
        Ok(Self { begin, end, sides })
    }

    /// Asks every side about every group, round after round, until shortly before the partition ends.
    pub fn run(&self, began: Instant) -> Served {
        let everywhere = self.sides.iter().flat_map(|side| side.keys.keys()).collect::<BTreeSet<_>>();
        let nowhere = everywhere.into_iter().filter(|group| self.sides.iter().all(|side| !side.serves.contains(group))).count();
        let mut all = Served { nowhere, ..Served::default() };
        std::thread::sleep((began + self.begin).saturating_duration_since(Instant::now()));
        while began.elapsed() < self.end {
            all.rounds += 1;
            let round = all.rounds;
            let answers: Vec<_> = std::thread::scope(|scope| {
                let asked: Vec<_> = self.sides.iter().map(|side| scope.spawn(move || ask(side, round))).collect();
                asked.into_iter().map(|asked| asked.join().expect("asking does not panic")).collect()
            });
            for (side, answers) in self.sides.iter().zip(answers) {
                judge(side, round, answers, began.elapsed(), &mut all);
            }
        }
        if all.rounds == 0 {
            all.violations.push("sides: nobody was asked while the partition lasted".into());
        }
        all
    }

    /// Once all is healed, with no operator: every side serves every group, and what was acknowledged is there.
    pub fn all_agree(&self, served: &Served, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        for side in &self.sides {
            for (key, value) in &served.acknowledged {
                let found = side.clients.wait(side.clients.client().index_get(INDEX, key.as_bytes()))?;
                let found = found.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
                if found.as_ref() != Some(value) {
                    bail!("{key} holds {found:?} at {} after healing, and {value} was acknowledged", side.place);
                }
            }
        }
        for side in &self.sides {
            loop {
                let refused = ask(side, u32::MAX).into_iter().find_map(|(group, answer)| answer.err().map(|error| (group, error)));
                let Some((group, error)) = refused else { break };
                if Instant::now() > until {
                    bail!("{group} is not served at {} {within:?} after healing: {error}", side.place);
                }
            }
        }
        Ok(())
    }
}

/// A write to every group, all at once.
fn ask(side: &Side, round: u32) -> Vec<(GroupId, Result<(), Error>)> {
    let client = side.clients.client();
    let value = round.to_string();
    let all = side.keys.iter().map(|(group, key)| {
        let put = client.index_put(INDEX, key.as_bytes(), value.as_bytes(), Condition::Always);
        async move { (*group, put.await.map(drop)) }
    });
    side.clients.wait(futures::future::join_all(all))
}

/// What the answers of a side come to.
fn judge(side: &Side, round: u32, answers: Vec<(GroupId, Result<(), Error>)>, at: Duration, all: &mut Served) {
    for (group, answer) in answers {
        match (side.serves.contains(&group), answer) {
            (true, Ok(())) => {
                all.served += 1;
                all.acknowledged.insert(side.keys[&group].clone(), round.to_string());
            }
            (false, Err(_)) => all.refused += 1,
            (true, Err(error)) => {
                all.violations.push(format!("sides: at {:.1} s {group} should be served at {}: {error}", at.as_secs_f64(), side.place));
            }
            (false, Ok(())) => all.violations.push(format!(
                "sides: at {:.1} s {group} was served at {}, which has no majority of it",
                at.as_secs_f64(),
                side.place
            )),
        }
    }
}

/// A key of the index for each of its groups, for one place.
fn keys(map: &ClusterMap, place: &str) -> Result<BTreeMap<GroupId, String>> {
    let index = map.catalogue_named(CatalogueKind::Index, INDEX).context("the index is there")?;
    let pool = map.pools.get(&index.pool).context("an index has a pool")?;
    let mut keys = BTreeMap::new();
    for number in 0..KEYS_MAX {
        let key = format!("probe/{place}/{number}");
        keys.entry(types::routing::group_of(index, pool, key.as_bytes())).or_insert(key);
        if keys.len() >= index.width as usize {
            return Ok(keys);
        }
    }
    bail!("{KEYS_MAX} keys do not reach all groups")
}

fn can_serve(map: &ClusterMap, group: GroupId, side: &[String]) -> bool {
    let here = |name: &str| side.iter().any(|other| other == name);
    let voters: Vec<_> = map.nodes.values().filter(|node| node.voter).collect();
    let own = voters.iter().filter(|node| here(&node.name)).count();
    let Some(Group::Replicated(view)) = map.groups.get(&group) else { return false };
    let members = view.members.iter().filter(|device| map.node_of(**device).is_some_and(|node| here(&node.name))).count();
    own > voters.len() / 2 && members >= view.quorum()
}
