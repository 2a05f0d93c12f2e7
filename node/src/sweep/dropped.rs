//! Dropped catalogues: their rows go, in bounded batches, objects by way of dead fids; HA is told of each group in which nothing is left.
//!
//! No write of a dropped catalogue is admitted by this process since it has taken the drop in, and HA's log names the view of its primary: so
//! what is seen empty after a transaction of our own stays so.

use types::keys::{self, kind};
use types::ops::{Condition, Op};
use types::record::RowKey;

use super::{ClusterView, Place, Sweep};

/// What is taken away, in this order: an upload's row tells which of its parts an object has, and what goes may leave retired rows.
const KINDS: [u8; 7] = [kind::USER, kind::OBJECT, kind::VERSION, kind::PENDING, kind::PART, kind::UPLOAD, kind::RETIRED];

impl Sweep {
    /// Takes rows of a dropped catalogue away in one group, so many in a round.
    pub(super) async fn empty(&self, view: &ClusterView, place: Place) {
        if !view.dropped.get(&place.catalogue).is_some_and(|dropped| dropped.left.contains(&place.group)) {
            return;
        }
        for kind in KINDS {
            if !self.take_away(place, &[kind]).await {
                return;
            }
        }
        // Events are told first, or are over some time after ([`super::events`]); dead fids age first: then the sweep takes them away.
        if !self.is_empty(place).await {
            return;
        }
        // What was admitted before the drop was taken in is applied before this is: it stands in front of it in the inbox or the log.
        let nothing = RowKey { catalogue: place.catalogue, key: keys::user(&[]) };
        if self.execute(place, vec![Op::Delete { row: nothing, condition: Condition::Always }]).await && self.is_empty(place).await {
            self.node.reports.emptied(place.catalogue, place.group, place.view);
        }
    }

    async fn is_empty(&self, place: Place) -> bool {
        for kind in KINDS.into_iter().chain([kind::DEAD, kind::EVENT]) {
            if self.rows(place, &[kind], &[kind], 1).await.is_none_or(|rows| !rows.is_empty()) {
                return false;
            }
        }
        true
    }
}
