//! The replicated state of HA: what the cluster is, the commands that change it, and the rules by which the leader decides them.
//!
//! Pure: no I/O, no clock, no entropy. The same commands in the same order give the same state on every node, so a subscriber that has a
//! snapshot and every entry after it has what HA has. Raft itself, leases' traffic and sockets are `ha-daemon`'s.
//!
//! - [`State`] with [`State::apply`]: total and deterministic. A decision that is no longer true is refused, not applied.
//! - [`Command`]: one change, its epoch and its time.
//! - [`director`]: what a leader should propose, given the state and what it observes.
//! - [`lease`]: the arithmetic of leases, for both ends.
//! - [`term`]: what one term of leadership has granted and seen.

pub mod command;
pub mod director;
pub mod event;
pub mod lease;
pub mod outcome;
#[cfg(test)]
mod sample;
pub mod state;
pub mod term;
pub mod topology;

pub use command::{Change, ClusterWish, Command, DeviceWish, Found, GroupSlots, LossReason, MemberChange, NodeWish, ViewChange};
pub use event::{Event, Subject};
pub use outcome::{Done, Outcome, Refused, Registered, Verdict};
pub use state::State;
pub use topology::{DeviceSpec, NodeSpec, PoolSpec, Topology, TopologyError};
