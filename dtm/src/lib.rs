//! DTM0: the redo-only log that keeps the replicas of a placement group the same, as a pure machine.
//!
//! One [`Replica`] for each (group, device). It takes [`Event`]s and says [`Effect`]s; it reads no clock, does no I/O and draws no random
//! numbers. Product, simulator and model check run this same code. Formats of what it keeps: `docs/formats/dtm-log.md`.
//!
//! # What a driver does
//! One driver owns a device with all its replicas. One turn of its loop:
//! ```text
//! 1. take what is ready: messages, calls, placements, the lease, deadlines that are over (`Tick`), and what the last turn owes
//!    (`Committed`, `Persisted`, `LogRead`, `CopyOpened`, `CopyRead`). For a call, read the rows that its ops name from the device *now*, just before handing it in.
//! 2. hand each in:                     replica.handle(event, now, &mut effects)
//! 3. to each replica that had any:     replica.handle(Event::Flush, now, &mut effects)
//! 4. put every effect with a ticket into ONE batch, in order: Append, Cut, SaveState, Apply, Note, Prune, Wipe, Fill
//! 5. send what names no ticket (`Send { after: None }`, `SendPart`), tell refusals (`Complete { after: None }`)
//! 6. commit the batch, with a sync if any effect `needs_sync()`, else without; one commit for all replicas of the device
//! 7. send and complete what waited, in order; do each `ReadLog`, `OpenCopy`, `ReadCopy`, `CloseCopy`;
//!    pass on each `Report`
//! 8. for each replica in the batch, `Persisted(its greatest ticket)` after a sync, `Committed(..)` otherwise: the first events of the next
//!    turn, which comes at once
//! ```
//! - A batch is atomic. If its commit or sync fails, the device is over in this incarnation: drop its replicas, send nothing that waited.
//! - `Send { after: Some(t) }` goes out only after t is *synced*; the machine names only tickets that have a sync coming.
//!   `Complete { after: Some(t) }` only after t is *committed*.
//! - `Complete { before: Some(until) }` is not said at or after `until`: the client is told `Refusal::Busy` instead.
//! - A send may be lost, late, doubled or out of order; it may not be changed, nor come from another boot or incarnation than it says. The
//!   receiver hands in only envelopes whose sender's boot and incarnation its link has proved.
//! - `Effect::Apply`: for each record, its writes at version = its seq, and the row of [`result_row`]; then the results rows of `dropped`
//!   go ([`result_key`] of each seq from first to last). Results rows lie in the group's catalogue [`results::CATALOGUE`].
//! - `Effect::SendPart`: the driver makes the envelope, for the device that its map has as primary of that group; it comes back by
//!   [`crossing`]'s messages, which may be from a replica on the same device.
//! - A snapshot that `OpenCopy` takes shows everything committed before it, rows and state of one moment; it is kept until its `CloseCopy` or
//!   the end of the process. `Wipe` takes all rows of the group away and its whole log; a log may begin anywhere after it.
//! - `Event::Placement` whenever anything about the group or its devices changes ([`Placement::of`]); `Event::Epoch` for every other entry
//!   that moves the epoch; both *before* the `Lease` that names that epoch. `Event::Lease` at each renewal.
//! - Call [`Replica::next_deadline`] after each turn; hand in `Tick` when it is over.
//! - Reports: `Active` and `NeedsCopy` and `Amnesia` go to HA; `Recovered` is collected until every group of the process that has a member
//!   here has one of the epoch in hand (or see [`Replica::ended`]), then HA is told once; `Diverged` is logged as an error.
//!
//! # Coming back
//! A device gives, for each group with a saved [`ReplicaState`]: the state, its results rows in order, its rows of [`crossing`], its log in order.
//! ```
//! # use std::sync::Arc;
//! # use dtm::{Config, DtmError, Identity, Replica, ReplicaState, Restore};
//! # use types::{Seq, record::{Record, Row, RowKey}};
//! fn bring_back(
//!     me: Identity,
//!     config: Arc<Config>,
//!     state: &[u8],
//!     results: impl Iterator<Item = (Seq, Vec<u8>)>,
//!     crossings: impl Iterator<Item = (RowKey, Row)>,
//!     log: impl Iterator<Item = Arc<Record>>,
//! ) -> Result<Replica, DtmError> {
//!     let mut restore = Restore::new(me, config, ReplicaState::decode(state)?);
//!     for (seq, value) in results {
//!         restore.result(seq, &value)?;
//!     }
//!     for (key, row) in crossings {
//!         restore.crossing(&key, &row)?;
//!     }
//!     for record in log {
//!         restore.record(record)?;
//!     }
//!     restore.finish()
//! }
//! ```
//! Of a group whose state says `copying`, results and log are not read: that copy is over, and the first event wipes what is there of it.
//! The log is read from the state's `floor` + 1 to its end. What is STABLE and not applied is applied with the first event. A group of which
//! the device holds nothing begins with [`Replica::new`], which tells first members from blank ones.
//!
//! # Serving reads
//! [`Replica::read`] gives a [`ReadPermit`], the rows are then read from the device, and the answer is sent only before the permit's
//! `until`. `read = nearest`: the primary takes a permit and gives its `stable`; the member asks [`Replica::read_nearest`] with it, reads,
//! and answers before *its* `until`; the primary's permit has to have been taken after the client asked.

pub mod config;
mod copy;
pub mod crossing;
mod dedupe;
pub mod effect;
pub mod error;
pub mod event;
mod lease;
mod log;
mod merge;
#[cfg(feature = "model")]
mod model;
mod originator;
mod participant;
pub mod placement;
mod primary;
mod prune;
mod recovery;
pub mod replica;
pub mod restore;
pub mod results;
mod role;
pub mod state;
#[cfg(test)]
mod testing;
mod throttle;
mod view_change;

pub use config::Config;
#[cfg(feature = "model")]
pub use config::Rules;
pub use effect::{Effect, Reader, Report, Ticket};
pub use error::DtmError;
pub use event::{ClientId, Event, Execute, Instant, Lease};
pub use lease::ReadPermit;
pub use placement::{Peer, Placement};
pub use replica::{Identity, Replica, Why};
pub use restore::Restore;
pub use results::{StoredResult, result_key, result_row};
pub use state::ReplicaState;
