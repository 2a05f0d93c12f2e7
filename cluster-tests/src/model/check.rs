//! The invariants of a state of the model.

use std::collections::BTreeMap;

use types::Seq;
use types::record::{RowKey, Write};

use super::authority::device;
use super::state::State;
use crate::sim::dtm::device::Device;

/// How many copies a STABLE record has at least: f+1, less the devices that came back empty.
fn copies_min(state: &State, blanks_used: usize) -> usize {
    (state.authority.members.len() / 2 + 1).saturating_sub(blanks_used)
}

/// Devices that were formatted after the group was created.
fn blanks_used(state: &State) -> usize {
    state.authority.devices.iter().filter(|d| d.registered > super::authority::CREATED).count()
}

/// Whether a record is durable at enough devices.
pub fn held(state: &State, seq: u64) -> Result<(), String> {
    let Some(record) = state.past.applied.get(seq as usize - 1) else { return Ok(()) };
    let holds = |node: &&std::sync::Arc<super::node::Node>| match node.synced.log.get(&Seq(seq)) {
        Some(found) => found.position() == record.position(),
        None => Seq(seq) <= node.synced.applied(),
    };
    let holders = state.nodes.iter().filter(holds).count();
    let least = copies_min(state, blanks_used(state));
    if holders < least {
        return Err(format!("durability: {seq} is applied or answered, and {holders} hold it durably; {least} should"));
    }
    Ok(())
}

/// What one replica could have broken by what it did.
pub fn replica(state: &State, at: usize) -> Result<(), String> {
    let replica = &state.nodes[at].replica;
    let (stable, last) = (replica.stable(), replica.log_range().1);
    if stable > last {
        return Err(format!("{} calls {stable} STABLE and has {last}", device(at)));
    }
    for disk in [&state.nodes[at].current, &state.nodes[at].synced] {
        shows_the_history(state, at, disk)?;
        if let Some(state) = disk.state.as_ref().filter(|state| state.floor.seq > state.applied) {
            return Err(format!("{} pruned up to {} and has applied {}", device(at), state.floor.seq, state.applied));
        }
    }
    // What is STABLE is in every log the same: what this one calls so has to fit what was applied.
    for (seq, record) in &state.nodes[at].current.log {
        let applied = state.past.applied.get(seq.0 as usize - 1);
        if *seq <= stable && applied.is_some_and(|applied| applied.position() != record.position()) {
            return Err(format!("one history: {} holds another record as STABLE {seq} than was applied", device(at)));
        }
    }
    Ok(())
}

/// The rows of a device are what the records up to its `applied` make of nothing, and each of these has its result.
fn shows_the_history(state: &State, at: usize, disk: &Device) -> Result<(), String> {
    if disk.state.as_ref().is_some_and(|state| state.copying) {
        return Ok(());
    }
    let applied = disk.applied().0 as usize;
    let mut rows: BTreeMap<&RowKey, (Seq, &[u8])> = BTreeMap::new();
    for record in state.past.applied.iter().take(applied) {
        for write in &record.writes {
            match write {
                Write::Put { row, value } => drop(rows.insert(row, (record.seq, value))),
                Write::Delete { row } => drop(rows.remove(row)),
            }
        }
    }
    let held = disk.rows.iter().filter(|(key, _)| !dtm::crossing::is_of_machine(key.catalogue));
    if rows != held.map(|(key, row)| (key, (row.version, row.value.as_slice()))).collect() {
        return Err(format!("full copy: the rows of {} at {applied} are not what the history makes", device(at)));
    }
    let results = disk.rows.keys().filter(|key| key.catalogue == dtm::results::CATALOGUE).count();
    if results != applied {
        return Err(format!("full copy: {} has {results} results and has applied {applied}", device(at)));
    }
    Ok(())
}

/// A replica has recovered: it holds everything that was answered before it was announced RECOVERING.
pub fn recovered(state: &State, at: usize, answered: u64) -> Result<(), String> {
    let disk = &state.nodes[at].synced;
    for seq in 1..=answered {
        let here = disk.log.get(&Seq(seq)).map_or(disk.applied() >= Seq(seq), |found| {
            state.past.applied.get(seq as usize - 1).is_some_and(|record| record.position() == found.position())
        });
        if !here {
            return Err(format!("recovery completeness: {} recovered without {seq}, which was answered before", device(at)));
        }
    }
    Ok(())
}

/// What has to be true of a whole state.
pub fn state(state: &State, leases: bool) -> Result<(), String> {
    for seq in 1..=state.past.applied.len() as u64 {
        held(state, seq)?;
    }
    if leases { reads(state) } else { Ok(()) }
}

/// Whoever may serve a read shows everything that was answered, and nobody else may show more at the same moment.
fn reads(state: &State) -> Result<(), String> {
    let answered = state.past.answered.values().copied().max().unwrap_or(0);
    for (at, node) in state.nodes.iter().enumerate() {
        let Ok(permit) = node.replica.read(node.replica.promised(), node.clock) else { continue };
        let shown = node.current.applied().0;
        if shown < answered {
            return Err(format!("stale read: {} may serve reads and shows {shown}, {answered} was answered", device(at)));
        }
        for (other, near) in state.nodes.iter().enumerate().filter(|(other, _)| *other != at) {
            if near.replica.read_nearest(permit.stable, near.clock).is_ok() {
                let near_shows = near.current.applied().0;
                if near_shows < answered || near_shows > shown {
                    return Err(format!(
                        "nearest read: {} shows {near_shows}, the primary {} shows {shown}, {answered} was answered",
                        device(other),
                        device(at)
                    ));
                }
            }
        }
    }
    Ok(())
}
