//! Uploads that have ended: the rows of their parts go, and the fids of those that no object has become dead; then the upload's own row goes.
//! Rows of many retired fids are unfolded into dead rows, some at a time.

use types::keys::{self, kind};
use types::ops::{Condition, Op};
use types::record::RowKey;

use super::{Place, Sweep, key_after, plan};

/// Rows looked at together: that of an upload may have the numbers of ten thousand parts.
const ROWS_MAX: usize = 64;

impl Sweep {
    /// Takes the rows of uploads away that have ended.
    pub(super) async fn sweep_uploads(&self, place: Place) {
        let mut from = vec![kind::UPLOAD];
        while let Some(rows) = self.rows(place, &from, &[kind::UPLOAD], ROWS_MAX).await {
            let Some(last) = rows.last() else { return };
            from = key_after(&last.key);
            for ended in plan::ended(&rows) {
                if !self.discard_parts(place, &keys::parts(&ended.name, ended.upload)).await {
                    return;
                }
                // Nobody writes it any more: an upload that has ended stays so.
                let row = RowKey { catalogue: place.catalogue, key: keys::upload(&ended.name, ended.upload) };
                if !self.execute(place, vec![Op::Delete { row, condition: Condition::Version(ended.version) }]).await {
                    return;
                }
            }
        }
    }

    /// Takes the rows of an upload's parts away; whether none is left.
    async fn discard_parts(&self, place: Place, prefix: &[u8]) -> bool {
        while let Some(rows) = self.rows(place, prefix, prefix, ROWS_MAX).await {
            if rows.is_empty() {
                return true;
            }
            for ops in plan::removals(place.catalogue, &rows) {
                if !self.execute(place, ops).await {
                    return false;
                }
            }
        }
        false
    }

    /// Gives retired fids dead rows of their own.
    pub(super) async fn sweep_retired(&self, place: Place) {
        while let Some(rows) = self.rows(place, &[kind::RETIRED], &[kind::RETIRED], ROWS_MAX).await {
            if rows.is_empty() {
                return;
            }
            for ops in plan::removals(place.catalogue, &rows) {
                if !self.execute(place, ops).await {
                    return;
                }
            }
        }
    }
}
