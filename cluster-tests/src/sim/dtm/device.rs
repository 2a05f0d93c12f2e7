//! What a replica has on its simulated disk: the effects of [`dtm`] carried out on plain maps, one batch at a time.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use dtm::{Config, Effect, Identity, Placement, Replica, ReplicaState, Restore};
use types::record::{Record, Row, RowKey, Write};
use types::wire::dtm::row_bytes;
use types::{CatalogueId, Epoch, Seq};

use crate::sim::disk::Durable;

/// State, log and rows of one group on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Device {
    /// The replica's state; none before its first write.
    pub state: Option<ReplicaState>,
    /// Its log.
    pub log: BTreeMap<Seq, Arc<Record>>,
    /// Its rows, results among them.
    pub rows: BTreeMap<RowKey, Row>,
}

impl Durable for Device {
    /// The device effects of one turn: one atomic batch.
    type Write = Arc<Vec<Effect>>;

    fn write(&mut self, batch: &Self::Write) {
        for effect in batch.iter() {
            match effect {
                Effect::Append { records, .. } => self.log.extend(records.iter().map(|r| (r.seq, Arc::clone(r)))),
                Effect::Cut { after, .. } => drop(self.log.split_off(&after.next())),
                Effect::SaveState { state, .. } => self.state = Some(state.clone()),
                Effect::Apply { records, dropped, .. } => self.apply(records, *dropped),
                Effect::Note { rows, .. } => {
                    for (key, row) in rows {
                        match row {
                            Some(row) => drop(self.rows.insert(key.clone(), row.clone())),
                            None => drop(self.rows.remove(key)),
                        }
                    }
                }
                Effect::Prune { upto, .. } => self.log = self.log.split_off(&upto.next()),
                Effect::Wipe { .. } => {
                    self.log.clear();
                    self.rows.clear();
                }
                Effect::Fill { rows, .. } => self.rows.extend(rows.iter().cloned()),
                _ => {}
            }
        }
    }
}

impl Device {
    fn apply(&mut self, records: &[Arc<Record>], (first, last): (Seq, Seq)) {
        for record in records {
            for write in &record.writes {
                match write {
                    Write::Put { row, value } => {
                        self.rows.insert(row.clone(), Row { version: record.seq, value: value.clone() });
                    }
                    Write::Delete { row } => drop(self.rows.remove(row)),
                }
            }
            let (key, row) = dtm::result_row(record);
            self.rows.insert(key, row);
        }
        for seq in first.0..=last.0 {
            self.rows.remove(&dtm::result_key(Seq(seq)));
        }
    }

    /// Records from `from` to `upto`, at most so many bytes, one at least.
    pub fn read_log(&self, from: Seq, upto: Seq, bytes_max: usize) -> Vec<Arc<Record>> {
        let mut bytes = 0;
        let mut out: Vec<Arc<Record>> = Vec::new();
        if from > upto {
            return out;
        }
        for record in self.log.range(from..=upto).map(|(_, record)| record) {
            bytes += record.bytes();
            if bytes > bytes_max && !out.is_empty() {
                break;
            }
            out.push(Arc::clone(record));
        }
        out
    }

    /// Everything up to here is in the rows; nothing, while a copy of them is coming in.
    pub fn applied(&self) -> Seq {
        self.state.as_ref().filter(|state| !state.copying).map_or(Seq(0), |state| state.applied)
    }

    /// Rows after a key, at most so many and so many bytes, one at least; and whether none follows.
    pub fn page(&self, after: Option<&RowKey>, rows_max: usize, bytes_max: usize) -> (Vec<(RowKey, Row)>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = self.rows.range::<RowKey, _>((from, Bound::Unbounded)).peekable();
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some((key, row)) = rows.peek() {
            bytes += row_bytes(key, row);
            if page.len() >= rows_max || (bytes > bytes_max && !page.is_empty()) {
                break;
            }
            page.push(((*key).clone(), (*row).clone()));
            rows.next();
        }
        (page, rows.peek().is_none())
    }

    /// The machine that the device holds, or a new one where it holds none.
    pub fn restore(&self, me: Identity, config: Arc<Config>, placement: &Placement, created: Epoch) -> Result<Replica, String> {
        let Some(state) = &self.state else { return Ok(Replica::new(me, config, placement, created)) };
        let mut restore = Restore::new(me, config, state.clone());
        let results = self.rows.range(RowKey { catalogue: results_catalogue(), key: Vec::new() }..);
        for (key, row) in results {
            let seq = key.key.as_slice().try_into().map_err(|_| format!("a results row is named {key:?}"))?;
            restore.result(Seq(u64::from_be_bytes(seq)), &row.value).map_err(|e| e.to_string())?;
        }
        let machine = RowKey { catalogue: dtm::crossing::PARTS, key: Vec::new() };
        for (key, row) in self.rows.range(machine..).filter(|(key, _)| key.catalogue != results_catalogue()) {
            restore.crossing(key, row).map_err(|e| e.to_string())?;
        }
        for record in self.log.values() {
            restore.record(Arc::clone(record)).map_err(|e| e.to_string())?;
        }
        restore.finish().map_err(|e| e.to_string())
    }
}

fn results_catalogue() -> CatalogueId {
    dtm::result_key(Seq(0)).catalogue
}
