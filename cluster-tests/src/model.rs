//! The model check: explicit-state search of small worlds of the shipped machine.
//!
//! A state is every replica with its disk, the set of all messages ever sent, and what HA has decided. Messages are never taken out of the
//! set: each may be delivered at any time, any number of times, or never, so loss, delay, repetition and reordering are all there. A crash
//! takes what is not synced. The search is breadth-first, so a trace that it finds is a shortest one; walks go deeper at random.
//!
//! What it leaves out: time (leases are flags). Transactions over several groups have a model of their own ([`crossing`]).

pub mod authority;
pub mod breadth;
pub mod check;
pub mod crossing;
pub mod node;
pub mod script;
pub mod search;
pub mod state;
pub mod step;
pub mod worlds;
