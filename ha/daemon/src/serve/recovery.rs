//! HA made anew by this daemon alone, where a majority of the voters is lost for good and an operator says so.

use ha_api::HaError;

use crate::core::Core;
use crate::raft::Consensus;

/// Begins it, where no majority is there; gives the generation of the new HA. The daemon starts anew then.
pub fn begin(core: &Core) -> Result<u64, HaError> {
    if core.in_touch() {
        return Err(HaError::Unavailable(format!("{} has just heard of a leader: nothing is lost yet", core.node())));
    }
    let voters = core.group.status().voters;
    let reachable = core.reachable.lock().expect("nobody panics with the lock").clone();
    let there = voters.iter().filter(|id| **id == core.node() || reachable.contains(id)).count();
    if there > voters.len() / 2 {
        return Err(HaError::Refused(format!("{there} of {} voters are there: they elect a leader by themselves", voters.len())));
    }
    if core.machine.read(|state| state.topology().is_none()) {
        return Err(HaError::Refused(format!("{} has nothing to make HA from", core.node())));
    }
    let generation = core.peers.identity.generation + 1;
    tracing::warn!(generation, "HA is made anew from what this daemon has: an operator asked for it");
    core.recovery.send_replace(generation);
    Ok(generation)
}
