//! What a leader should propose next. Pure: it looks at the state and at what the leader observes, and says which commands follow.
//!
//! Nothing is remembered here: a command whose proposal was lost is proposed again, one that another leader made already is refused or
//! changes nothing. The rules that no state machine can check, because they are about clocks and processes, are kept here:
//!
//! - a process is declared lost only when it was seen to end or its lease is surely over ([`Leases::is_over`]), so that the primaries that
//!   are named in the same command may be active at once;
//! - a primary that lives gives up first (a view without one), and the next is appointed when the old one's process has confirmed that
//!   entry, has ended, or holds no lease of before ([`Leases::is_over_before`]).
//!
//! Both need a new leader to wait one lease from its election, which [`Leases`] does.

pub mod give_up;
pub mod members;
mod primaries;
pub mod rebalance;
pub mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::map::ClusterMap;
use types::records::{RecordChange, Seal};
use types::state::DeviceState;
use types::{Boot, DeviceId, GroupId, HaTime, PoolId, SessionId};

use rebalance::Memo;

use crate::command::{Change, Command, LossReason};
use crate::lease::Leases;
use crate::state::{State, is_live};
use crate::topology::PoolSpec;

/// Errors of a device in one incarnation after which it is given up: a disk that fails this often will not get better.
pub const DEVICE_ERRORS_MAX: u64 = 1000;
/// Sessions closed by one round: the rest follow in the next.
pub const SESSIONS_A_ROUND_MAX: usize = 1000;
/// Longest that HA time runs ahead of what is committed, in milliseconds: what a new leader may go back by.
pub const HA_TIME_AHEAD_MS_MAX: u64 = 2000;
/// How long the first groups wait for devices that are not there, in milliseconds after the last change of a process, before they do
/// without.
pub const PLACEMENT_GRACE_MS: u64 = 60_000;
/// How long it may take to decide whether a bucket goes, in milliseconds of HA time: whoever sealed it has ended by then, and writers wait.
pub const SEALED_MS_MAX: u64 = 10_000;

/// Computes the groups of a pool; `layout::place` behind a plain function, so that this crate need not know it.
pub type Placer<'a> = &'a dyn Fn(&ClusterMap, &PlaceRequest) -> Result<Vec<Vec<Option<DeviceId>>>, String>;

/// Chooses the device that takes a member's place, by `layout` behind a plain function; `None` where there is none.
pub type Substitute<'a> = &'a dyn Fn(&ClusterMap, &SubstituteRequest<'_>) -> Option<DeviceId>;

/// What the leader computes with `layout`.
#[derive(Clone, Copy)]
pub struct Placers<'a> {
    /// The groups of a pool that has none.
    pub groups: Placer<'a>,
    /// Who takes a member's place.
    pub substitute: Substitute<'a>,
}

impl std::fmt::Debug for Placers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placers").finish_non_exhaustive()
    }
}

/// Which member wants its place taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubstituteRequest<'a> {
    /// Of which group.
    pub group: GroupId,
    /// Which member.
    pub out: DeviceId,
    /// Devices that are not to be taken.
    pub not: &'a BTreeSet<DeviceId>,
}

/// Which pool wants its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceRequest {
    /// The pool.
    pub pool: PoolId,
    /// How many groups; 0 leaves it to the placer.
    pub groups: u32,
    /// Whether a third of the groups avoid each node.
    pub avoid_node: bool,
    /// Whether new groups are made; without, those that there are are spread anew, each place that may stay does.
    pub grow: bool,
}

/// What only the leader sees.
#[derive(Clone, Copy, Debug)]
pub struct Observations<'a> {
    /// Monotonic time, of the same origin as the leases'.
    pub now: Duration,
    /// HA time now, at the leader.
    pub ha_time: HaTime,
    /// The wall clock in milliseconds since 1970, for display.
    pub wall_ms: u64,
    /// Leases granted to processes in this term.
    pub leases: &'a Leases,
    /// Boots whose process was seen to end.
    pub ended: &'a BTreeSet<Boot>,
    /// The log index that each process has confirmed: it has taken in the log up to there, and acts on it.
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
    /// Members and slots that a rebalance still has to move, as far as it was looked at.
    pub to_move: Option<usize>,
}

/// The commands that follow from `state` and `seen`.
pub fn propose(state: &State, seen: &Observations<'_>, place: Placers<'_>) -> Proposals {
    propose_with(state, seen, place, &mut Memo::default())
}

/// The same, with what the last look has computed.
pub fn propose_with(state: &State, seen: &Observations<'_>, place: Placers<'_>, memo: &mut Memo) -> Proposals {
    let mut changes = Vec::new();
    let (mut warnings, mut to_move) = (Vec::new(), None);
    if state.topology().is_some() {
        if state.repair_is_paused() {
            warnings.push("repair is paused: `ha repair resume` ends that".into());
        }
        if state.rebalance().is_some_and(|rebalance| rebalance.paused) {
            warnings.push("a rebalance is paused: `ha rebalance resume` ends that".into());
        }
        lost_processes(state, seen, &mut changes);
        worn_devices(state, &mut changes);
        // A loss names primaries itself: what is left without one is seen in the next round.
        if changes.is_empty() {
            changes.extend(primaries::appoint(state, seen));
        }
        // What follows is no hurry: it waits until nothing of the above is left to decide.
        if changes.is_empty() {
            new_groups(state, seen, place.groups, &mut changes, &mut warnings);
            let aims = rebalance::aims(state, seen.ha_time, place, memo, &mut warnings);
            to_move = state.rebalance().filter(|rebalance| !rebalance.paused && !aims.waits).map(|_| aims.count(state.map()));
            changes.extend(members::replace(state, seen, place, &aims, &mut warnings));
            changes.extend(slots::move_slots(state, place, &aims, &mut warnings));
            changes.extend(rebalance::ended(state, &aims));
            changes.extend(give_up::give_up(state, seen, place, &mut warnings));
            give_up::remind(state, seen, &mut warnings);
        }
        if changes.is_empty() {
            changes.extend(state.removing().iter().find(|node| state.holds_still(**node).is_none()).map(|node| Change::RemoveNode(*node)));
        }
        if changes.is_empty() {
            changes.extend(primaries::balance(state, seen));
        }
        changes.extend(
            seen.sessions_over
                .iter()
                .filter(|s| state.session_is_open(**s))
                .take(SESSIONS_A_ROUND_MAX)
                .map(|s| Change::CloseSession { session: *s }),
        );
        let sealed_since = HaTime(seen.ha_time.0.saturating_sub(SEALED_MS_MAX));
        let reopen = |(bucket, seal): (_, Seal)| Change::Record(RecordChange::ReopenBucket { bucket, seal: seal.at });
        changes.extend(state.sealed_before(sealed_since).map(reopen));
        if changes.is_empty() && seen.ha_time.0 >= state.ha_time().0.saturating_add(HA_TIME_AHEAD_MS_MAX) {
            changes.push(Change::AdvanceTime);
        }
    }
    let command = |change| Command { epoch: state.epoch(), at: seen.ha_time, wall_ms: seen.wall_ms, change };
    Proposals { commands: changes.into_iter().map(command).collect(), warnings, to_move }
}

fn lost_processes(state: &State, seen: &Observations<'_>, out: &mut Vec<Change>) {
    for node in state.map().nodes.values().filter(|n| is_live(n)) {
        let reason = if seen.ended.contains(&node.boot) {
            LossReason::Ended
        } else if seen.leases.is_over(node.boot, seen.now) {
            LossReason::LeaseExpired
        } else {
            continue;
        };
        out.push(Change::ProcessLost { node: node.id, boot: node.boot, reason });
    }
}

fn worn_devices(state: &State, out: &mut Vec<Change>) {
    for device in state.map().devices.values().filter(|d| d.state != DeviceState::Failed) {
        let errors = state.device(device.id).map_or(0, |extra| extra.errors);
        if errors >= DEVICE_ERRORS_MAX {
            let reason = format!("{errors} errors, at most {DEVICE_ERRORS_MAX} are borne");
            out.push(Change::DeviceFailed { device: device.id, incarnation: device.incarnation, ended: false, reason });
        }
    }
}

/// Groups for the pools that have none: when all their devices are ONLINE (so their processes have formatted them, and a device that has
/// to be formatted again later is known to have missed something), or no more came for a while and the rest is enough.
fn new_groups(state: &State, seen: &Observations<'_>, place: Placer<'_>, out: &mut Vec<Change>, warnings: &mut Vec<String>) {
    let map = state.map();
    let specs: &[PoolSpec] = state.topology().map_or(&[], |t| &t.pools);
    for spec in specs {
        let Some(pool) = map.pools.get(&spec.id) else { continue };
        let is_missing = |id: &DeviceId| map.devices.get(id).is_none_or(|d| !d.state.is_readable() && d.state != DeviceState::Failed);
        let missing: Vec<DeviceId> = pool.devices.iter().copied().filter(is_missing).collect();
        if pool.groups > 0 {
            continue;
        }
        let last = map.nodes.keys().filter_map(|n| state.process(*n)).map(|p| p.since.0).max().unwrap_or(0);
        if !missing.is_empty() && seen.ha_time.0 < last.saturating_add(PLACEMENT_GRACE_MS) {
            warnings.push(format!("pool `{}` waits for {} devices to be ONLINE: {}", pool.name, missing.len(), some_of(&missing)));
            continue;
        }
        let request = PlaceRequest { pool: pool.id, groups: spec.groups, avoid_node: spec.avoid_node, grow: true };
        match place(map, &request) {
            Ok(groups) => out.push(Change::CreateGroups { pool: pool.id, groups }),
            Err(problem) => warnings.push(problem),
        }
    }
}

fn some_of(devices: &[DeviceId]) -> String {
    let shown: Vec<String> = devices.iter().take(5).map(ToString::to_string).collect();
    let rest = if devices.len() > shown.len() { ", …" } else { "" };
    format!("{}{rest}", shown.join(", "))
}
