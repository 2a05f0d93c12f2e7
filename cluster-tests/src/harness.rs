//! The harness of real processes: a scenario file says what cluster, what load, what faults and what checks; a run of it starts the product's own
//! binaries, breaks them, checks what must hold, and leaves a result and a page about it.
//!
//! `docs/harness.md` is its manual. A seed decides everything that is drawn; what the machine's scheduler does is not repeated.

pub mod amount;
pub mod checks;
mod clock;
pub mod deploy;
pub mod faults;
mod inject;
pub mod network;
pub mod plan;
mod points;
pub mod read;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod sides;
pub mod soak;
mod starve;
mod tear;
pub mod workload;
