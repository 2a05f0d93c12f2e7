//! Full copies that go out: the snapshots that a driver keeps for the machines of its replicas.
//!
//! What a snapshot is as of, its own copy of the replica's state says: whatever was committed meanwhile, rows and `applied` in it are of one
//! batch.

use std::collections::BTreeMap;

use dtm::{Effect, Event, ReplicaState};
use types::{DeviceId, GroupId};

use super::store::{Page, Store};
use super::{Driver, DriverError, Post};

/// The snapshots of a driver: for each group, and each device that it is copied to, one.
pub type Snapshots<S> = BTreeMap<(GroupId, DeviceId), S>;

/// Whether an effect is about a copy that goes out.
pub fn is_of_copy(effect: &Effect) -> bool {
    matches!(effect, Effect::OpenCopy { .. } | Effect::ReadCopy { .. } | Effect::CloseCopy { .. })
}

impl<S: Store, P: Post> Driver<S, P> {
    /// Carries out what is about copies, after the commit; gives what follows from it.
    pub(super) fn copy(&mut self, effects: Vec<(GroupId, Effect)>, next: &mut Vec<(GroupId, Effect)>) -> Result<(), DriverError<S::Error>> {
        for (group, effect) in effects {
            match effect {
                Effect::OpenCopy { target } => {
                    let Some((snapshot, state)) = self.readable(self.store.snapshot(group)) else { continue };
                    let state = ReplicaState::decode(&state).map_err(|error| DriverError::Replica { group, error })?;
                    tracing::info!(%group, %target, as_of = %state.applied, "a full copy begins to go out");
                    self.snapshots.insert((group, target), snapshot);
                    self.hand(group, Event::CopyOpened { target, applied: state.applied }, next);
                }
                Effect::ReadCopy { target, number, after, rows_max, bytes_max } => {
                    let Some(snapshot) = self.snapshots.get(&(group, target)) else { continue };
                    let page = self.store.page(snapshot, group, after.as_ref(), rows_max, bytes_max);
                    let Some(Page { rows, end }) = self.readable(page) else { continue };
                    drop(crate::points::COPY_BEFORE_SEND.pass());
                    self.hand(group, Event::CopyRead { target, number, rows, end }, next);
                }
                Effect::CloseCopy { target } => drop(self.snapshots.remove(&(group, target))),
                _ => unreachable!("only what is about copies comes here"),
            }
        }
        Ok(())
    }

    /// What was read for somebody else. An error of it is an error of the device, not its end: it may hold the only copy of the rest. Whoever
    /// waits asks again.
    pub(super) fn readable<T>(&self, read: Result<T, S::Error>) -> Option<T> {
        read.inspect_err(|error| self.around.reports.trouble(self.place.device, error.to_string())).ok()
    }
}
