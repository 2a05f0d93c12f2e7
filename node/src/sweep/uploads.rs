//! Uploads that have ended: the rows of their parts go, and the fids of those that no object has become dead; then the upload's own row goes.
//! Rows of many retired fids are unfolded into dead rows, some at a time.

use types::keys::{self, kind};
use types::ops::{Condition, Op};
use types::record::RowKey;

use super::{Place, ROWS_MAX, Sweep, key_after, plan};

impl Sweep {
    /// Takes the rows of uploads away that have ended.
    pub(super) async fn sweep_uploads(&self, place: Place) {
        let mut from = vec![kind::UPLOAD];
        while let Some(rows) = self.rows(place, &from, &[kind::UPLOAD], ROWS_MAX).await {
            let Some(last) = rows.last() else { return };
            from = key_after(&last.key);
            for ended in plan::ended(&rows) {
                if !self.take_away(place, &keys::parts(&ended.name, ended.upload)).await {
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

    /// Gives retired fids dead rows of their own.
    pub(super) async fn sweep_retired(&self, place: Place) {
        self.take_away(place, &[kind::RETIRED]).await;
    }
}
