//! The harness that proves Redoubt: the simulator and its checkers, the model check, and real processes with real faults.
//!
//! It may know every crate; nothing imports it.

pub mod checkers;
pub mod harness;
pub mod model;
pub mod process;
pub mod recovery;
pub mod sim;
