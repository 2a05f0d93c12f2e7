//! What must hold of a whole cluster, as one who sees everything sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_state::State;
use types::map::{ClusterMap, Group};
use types::record::{Row, RowKey};
use types::state::{DeviceState, ProcessState};
use types::{DeviceId, GroupId, Seq};

use super::client::{place_of, value_of};
use super::process::Process;
use crate::checkers::history::{Action, Answer, Moment, Operation, by_row};
use crate::checkers::one_history::OneHistory;
use crate::checkers::{replicas_equal, wgl, zone};
use crate::sim::network::NodeNumber;
use crate::sim::trace::TraceHash;

/// States of daemons are compared at every so manieth entry.
const COMPARED: u64 = 16;

/// More rows than any run writes, and more bytes.
const ROWS_MAX: usize = 100_000;
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the oracle remembers.
#[derive(Default)]
pub struct Oracle {
    /// What was applied, in each group.
    histories: BTreeMap<GroupId, OneHistory>,
    applied: BTreeMap<(DeviceId, GroupId), Seq>,
    states: BTreeMap<u64, u64>,
    /// The first thing that went wrong.
    pub violation: Option<String>,
}

impl Oracle {
    /// Notes that something is wrong.
    pub fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// A daemon has come to that state.
    pub fn same_state(&mut self, daemon: NodeNumber, state: &State) {
        if !state.index().is_multiple_of(COMPARED) {
            return;
        }
        let mut hash = TraceHash::default();
        hash.add(&state.encode());
        if *self.states.entry(state.index()).or_insert(hash.value()) != hash.value() {
            self.fail(format!("HA: daemon {daemon} has another state at {} than others", state.index()));
        }
    }

    /// Devices of a process have been opened anew: what they had applied and not synced may be gone.
    pub fn forget(&mut self, device: DeviceId) {
        self.applied.retain(|(of, _), _| *of != device);
    }

    /// A driver has taken a turn: whatever it applied is of the one history.
    pub fn look(&mut self, device: DeviceId, process: &Process) {
        let Some(serving) = process.serving() else { return };
        let Some(driver) = serving.drivers.get(&device) else { return };
        let store = &serving.node.devices[&device].store;
        for (group, replica) in driver.machines() {
            let now = replica.applied();
            let known = self.applied.entry((device, group)).or_insert(now);
            if now == *known {
                continue;
            }
            let from = std::mem::replace(known, now).next();
            let history = self.histories.entry(group).or_default();
            if now < from {
                continue;
            }
            // What was pruned meanwhile, or came by full copy, is not in its log.
            let Ok(records) = store.meta().log(group, from..=now, BYTES_MAX) else { continue };
            if let Some(first) = records.first() {
                history.restart(device, Seq(first.seq.0 - 1));
            }
            for record in records {
                if let Err(error) = history.apply(device, &Arc::new(record)) {
                    self.violation.get_or_insert(format!("{error} ({group})"));
                }
            }
        }
    }

    /// What is not well yet, in words.
    pub fn ailment(map: &ClusterMap, processes: &[Process]) -> Option<String> {
        for (number, process) in processes.iter().enumerate() {
            let known = &map.nodes[&super::settings::node_of(number as u32)];
            if known.state != ProcessState::Online || process.boot() != Some(known.boot) {
                return Some(format!("node {number} is {}, {} to HA and {:?} to itself", known.state, known.boot, process.boot()));
            }
        }
        if map.catalogues.is_empty() {
            return Some("there is no catalogue".into());
        }
        for (group, view) in map.groups.iter().filter_map(|(id, group)| match group {
            Group::Replicated(view) => Some((*id, view)),
            Group::Erasure(_) => None,
        }) {
            if view.primary.is_none() || view.active != view.number || !view.learners.is_empty() {
                return Some(format!("group {group}: {view:?}"));
            }
            let mut ends = Vec::new();
            for member in view.members.iter().filter(|m| map.devices[*m].state != DeviceState::Failed) {
                let machine = |process: &Process| {
                    let driver = process.serving()?.drivers.get(member)?;
                    driver.machines().find(|(of, _)| *of == group).map(|(_, replica)| (replica.applied(), replica.log_range().1))
                };
                let Some((applied, last)) = processes.iter().find_map(machine) else {
                    return Some(format!("group {group} has no machine on {member}"));
                };
                ends.push((*member, applied, last));
            }
            if ends.iter().any(|(_, applied, last)| applied != last || *applied != ends[0].1) {
                return Some(format!("group {group} is not the same everywhere: {ends:?}"));
            }
        }
        None
    }

    /// Everything is over and well: all that can only be said at the end.
    pub fn finish(&mut self, map: &ClusterMap, processes: &[Process], rows: u64, moment: Moment, history: &mut Vec<Operation>) {
        if let Err(error) = Self::equal(map, processes) {
            self.fail(error);
        }
        // The last read of every row is part of its history: so nothing acknowledged is lost, and nothing deleted came back.
        for row in 0..rows {
            let Some((group, key)) = place_of(map, row) else { continue };
            let Some(primary) = map.view(group).and_then(|view| view.primary) else { continue };
            let device = processes.iter().find_map(|p| p.serving()?.node.devices.get(&primary.device));
            let Some(device) = device else { continue };
            let found = match device.store.meta().row(group, &key) {
                Ok(found) => found.as_ref().map(value_of),
                Err(error) => return self.fail(format!("durability: row {row} does not read: {error}")),
            };
            let read =
                Operation { client: u32::MAX, row, call: moment + 1, ret: moment + 2, action: Action::Read, answer: Answer::Read(found) };
            history.push(read);
        }
        for row in by_row(history) {
            let plain = row.iter().all(|o| !matches!(o.action, Action::Delete(_)));
            let why = if plain {
                zone::check(&row).err().map(|error| error.to_string())
            } else {
                let verdict = wgl::check(&row);
                matches!(verdict, wgl::Verdict::Violation { .. }).then(|| format!("{verdict:?}"))
            };
            if let Some(why) = why {
                self.fail(format!("row {} is not linearizable: {why}: {row:?}", row[0].row));
            }
        }
    }

    fn equal(map: &ClusterMap, processes: &[Process]) -> Result<(), String> {
        for (group, view) in map.groups.keys().filter_map(|id| Some((*id, map.view(*id)?))) {
            let mut all: BTreeMap<DeviceId, (Seq, BTreeMap<RowKey, Row>)> = BTreeMap::new();
            for member in view.members.iter().filter(|m| map.devices[*m].state != DeviceState::Failed) {
                let Some(serving) = processes.iter().filter_map(Process::serving).find(|s| s.drivers.contains_key(member)) else {
                    return Err(format!("replicas equal: nobody has {member}"));
                };
                let applied = serving.drivers[member].machines().find(|(of, _)| *of == group).map(|(_, replica)| replica.applied());
                let snapshot = serving.node.devices[member].store.meta().snapshot().map_err(|error| error.to_string())?;
                let page = snapshot.rows(group, None, ROWS_MAX, BYTES_MAX).map_err(|error| error.to_string())?;
                all.insert(*member, (applied.unwrap_or_default(), page.rows.into_iter().collect()));
            }
            let all = all.iter().map(|(device, (seq, rows))| (*device, (*seq, rows))).collect();
            replicas_equal::check(&all).map_err(|error| format!("{error} ({group})"))?;
        }
        Ok(())
    }
}
