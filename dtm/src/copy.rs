//! Full copy: how a replica that lacks what is in no log any more gets the group.
//!
//! A copy is `(boot of the source, s)`: all rows of the group, results among them, as one snapshot of the source's device shows them, which is
//! as of record s. The target takes everything away that it has and stops counting, takes the rows piece by piece, and from its begin on puts
//! every record above s into its log; it applies none of them and does not count before the last row is there. So the source may prune.
//!
//! ```text
//!            target                                       source, the active primary
//!   Gap{last}                        ------>
//!                                    <------   Refused{Pruned(floor)}: no log reaches back to it
//!   CopyRequest                      ------>   takes a snapshot: s is what it shows
//!   wipes, `copying`                 <------   CopyPiece{at: s, number: 0}
//!   CopyTaken{0}                     ------>   from now on also Redo of all above s, as to any member
//!   ...                              <------   CopyPiece{number: n, end}
//!   CopyTaken{n}                     ------>   lets the snapshot go
//!   `normal` = the view, as by any Redo that reaches the base: now it counts
//! ```
//! One piece is on its way at a time; it is sent again until it is taken. Nothing of an interrupted copy is gone on from: where the target
//! starts again, or follows another primary, it wipes and asks anew. Whoever counts in a view is wiped in it only where all that it holds was
//! pruned: its word that it counts was lost, or no log was kept for it while it was away. Of that word, late, the source takes no notice then.

use types::record::{Position, RowKey};
use types::{Boot, DeviceId};

use crate::event::Instant;

mod intake;
mod outgoing;

pub(crate) use intake::CopyPiece;
pub(crate) use outgoing::{end_copy, is_away, stop_copy};

/// A copy that comes in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CopyIn {
    pub(crate) source: DeviceId,
    /// Boot of the source; with the seq of `at`, the copy's name.
    pub(crate) boot: Boot,
    /// The record that it is as of.
    pub(crate) at: Position,
    /// The piece that comes next.
    pub(crate) next: u64,
    /// When to ask again.
    pub(crate) again_at: Instant,
}

/// A copy that goes out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CopyOut {
    /// The record that it is as of; none while the snapshot is being taken.
    pub(crate) at: Option<Position>,
    /// The piece that is being read, or on its way.
    pub(crate) number: u64,
    /// The last key of the piece before it.
    pub(crate) after: Option<RowKey>,
    /// Once the piece is on its way: its last key, and whether it is the last.
    pub(crate) sent: Option<(Option<RowKey>, bool)>,
    /// When it is read and sent again.
    pub(crate) again_at: Option<Instant>,
    pub(crate) wait_ms: u64,
    /// When the target was heard of last.
    pub(crate) heard_at: Instant,
}

impl CopyOut {
    /// Whether the target has begun to take it.
    pub(crate) fn is_begun(&self) -> bool {
        self.number > 0
    }
}

#[cfg(test)]
mod tests;
