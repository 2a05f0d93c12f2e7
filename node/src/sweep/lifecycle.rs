//! What goes by itself: objects, versions, delete markers and uploads that a rule of their bucket is over.
//!
//! Each goes by an ordinary transaction, bound to the row as it was seen: what is written or locked meanwhile stays. Ages are those of the
//! records' own times on the wall clock of this process.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use client::Lock;
use futures::StreamExt;
use s3::Lifecycle;
use types::keys::{Key, Place as At, kind};
use types::object::{ObjectRecord, Stored, VersionRow, Versioning};
use types::ops::{Condition, Op};
use types::upload::{UploadRow, UploadState};
use types::wire::request::ScanRow;
use types::{CatalogueId, Version, VersionId};

use super::{ClusterView, Place, ROWS_MAX, Sweep, key_after};

/// Transactions under way at once.
const AT_ONCE: usize = 16;

impl Sweep {
    /// Follows the rules of all buckets in the groups whose primary is here.
    pub(super) async fn follow_rules(&self, view: &ClusterView, places: &[Place]) {
        let of = |bucket: &std::sync::Arc<types::records::Bucket>| Some((bucket.id, Lifecycle::of(bucket, self.options.day_ms)?));
        let rules: BTreeMap<CatalogueId, Lifecycle> = view.records.buckets.values().filter_map(of).collect();
        if rules.is_empty() {
            return;
        }
        for place in places {
            let Some(rules) = rules.get(&place.catalogue) else { continue };
            let Some(now_ms) = wall_ms() else { return };
            for kind in [kind::OBJECT, kind::VERSION, kind::UPLOAD] {
                let mut looked = Looked { catalogue: place.catalogue, rules, now_ms, name: None };
                let mut from = vec![kind];
                let mut whole = false;
                while let Some(rows) = self.rows(*place, &from, &[kind], ROWS_MAX).await {
                    let Some(last) = rows.last() else {
                        whole = true;
                        break;
                    };
                    from = key_after(&last.key);
                    let ops: Vec<Op> = rows.iter().flat_map(|row| looked.at(row)).collect();
                    self.run_all(*place, ops).await;
                }
                // Of a name that was not read to its end nothing is known.
                if whole {
                    self.run_all(*place, looked.end()).await;
                }
            }
        }
    }

    async fn run_all(&self, place: Place, ops: Vec<Op>) {
        // One that was refused was changed meanwhile: the next round looks at it again.
        let run = |op| async move {
            self.execute(place, vec![op]).await;
        };
        futures::stream::iter(ops).for_each_concurrent(AT_ONCE, run).await;
    }
}

pub(super) fn wall_ms() -> Option<u64> {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// What has been looked at, row by row in the order of keys.
struct Looked<'a> {
    catalogue: CatalogueId,
    rules: &'a Lifecycle,
    now_ms: u64,
    name: Option<Versions>,
}

/// The versions of one name that are not its current object, so far.
struct Versions {
    name: Vec<u8>,
    /// The delete marker that is current: its version, that of its row, and when it was made.
    marker: Option<(VersionId, Version, u64)>,
    /// The null version, until its place has come.
    null: Option<(VersionRow, Version)>,
    /// How many there were, the current one aside.
    kept: u64,
}

impl Looked<'_> {
    /// What goes, now that this row is seen.
    fn at(&mut self, scanned: &ScanRow) -> Vec<Op> {
        let (version, value) = (scanned.row.version, &scanned.row.value);
        match Key::parse(&scanned.key) {
            Some(Key::Object(name)) => {
                ObjectRecord::from_value(value).ok().and_then(|record| self.object(name, version, &record)).into_iter().collect()
            }
            Some(Key::Upload(name, upload)) => {
                let Ok(row) = UploadRow::from_value(value) else { return Vec::new() };
                let goes = row.state == UploadState::Open && self.rules.upload_goes(name, row.began_ms, self.now_ms);
                goes.then(|| Op::EndUpload { catalogue: self.catalogue, name: name.to_vec(), upload }).into_iter().collect()
            }
            Some(Key::Version(name, place)) => {
                let Ok(row) = VersionRow::from_value(value) else { return Vec::new() };
                self.version(&name, place, row, version)
            }
            _ => Vec::new(),
        }
    }

    fn object(&self, name: &[u8], version: Version, record: &ObjectRecord) -> Option<Op> {
        let (at_ms, _) = self.rules.expiry(name, record.plain_bytes(), &record.user_metadata, record.modified_ms)?;
        (at_ms <= self.now_ms).then(|| Op::DeleteObject {
            catalogue: self.catalogue,
            name: name.to_vec(),
            condition: Condition::Version(version),
            modified_ms: self.now_ms,
            // The originator says it.
            versioning: Versioning::Off,
        })
    }

    fn version(&mut self, name: &[u8], place: At, row: VersionRow, version: Version) -> Vec<Op> {
        let mut ops = if self.name.as_ref().is_some_and(|of| of.name == name) { Vec::new() } else { self.end() };
        let of = self.name.get_or_insert_with(|| Versions { name: name.to_vec(), marker: None, null: None, kept: 0 });
        if place == At::Marker {
            if let Stored::Marker { modified_ms } = row.version {
                of.marker = Some((row.id, version, modified_ms));
            }
            return ops;
        }
        if row.id == VersionId::Null {
            of.null = Some((row, version));
            return ops;
        }
        let null = of.null.take_if(|(null, _)| null.order > row.order);
        for (row, version) in null.into_iter().chain([(row, version)]) {
            ops.extend(self.kept(row, version));
        }
        ops
    }

    /// What becomes of the next version of the name that is looked at.
    fn kept(&mut self, row: VersionRow, seen: Version) -> Option<Op> {
        let of = self.name.as_mut()?;
        let newer = of.kept;
        of.kept += 1;
        let goes = match &row.version {
            Stored::Object(record) => {
                let words = &record.user_metadata;
                self.rules.noncurrent_goes(&of.name, record.plain_bytes(), words, row.replaced_ms, newer, self.now_ms)
                    && !Lock::of(words).keeps(self.now_ms, false)
            }
            Stored::Marker { .. } => self.rules.noncurrent_marker_goes(&of.name, row.replaced_ms, newer, self.now_ms),
        };
        goes.then(|| Op::DeleteVersion { catalogue: self.catalogue, name: of.name.clone(), id: row.id, seen, next: None })
    }

    /// What goes, now that all versions of the name are seen.
    fn end(&mut self) -> Vec<Op> {
        let null = self.name.as_mut().and_then(|of| of.null.take());
        let mut ops: Vec<Op> = null.and_then(|(row, version)| self.kept(row, version)).into_iter().collect();
        let Some(of) = self.name.take() else { return ops };
        if let Some((id, seen, modified_ms)) = of.marker.filter(|_| of.kept == 0)
            && self.rules.marker_goes(&of.name, modified_ms, self.now_ms)
        {
            // Alone as long as its row is as it was seen: versions go meanwhile, and none comes.
            ops.push(Op::DeleteVersion { catalogue: self.catalogue, name: of.name, id, seen, next: None });
        }
        ops
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use types::object::Content;
    use types::record::Row;
    use types::records::{Bucket, BucketDocument};
    use types::{Seq, keys};

    const CAT: CatalogueId = CatalogueId(3);

    fn rules(xml: &str) -> Lifecycle {
        let text = format!(
            "<LifecycleConfiguration><Rule><ID>r</ID><Prefix></Prefix><Status>Enabled</Status>{xml}</Rule></LifecycleConfiguration>"
        );
        let documents = [(BucketDocument::Lifecycle, text)].into();
        let bucket = Arc::new(Bucket { id: CAT, owner: String::new(), created_ms: 0, seal: None, documents });
        Lifecycle::of(&bucket, 1000).expect("it can be read")
    }

    fn record(modified_ms: u64, words: Vec<(String, String)>) -> ObjectRecord {
        let content = Content::Inline(Vec::new());
        ObjectRecord { size: 0, checksum: 0, modified_ms, content, user_metadata: words, id: VersionId::Null }
    }

    fn scanned(key: Vec<u8>, version: u64, value: Vec<u8>) -> ScanRow {
        ScanRow { key, row: Row { version: Seq(version), value } }
    }

    fn kept(order: u64, id: VersionId, version: Stored) -> ScanRow {
        let value = VersionRow { id, order: Seq(order), replaced_ms: 1000, version }.to_value();
        scanned(keys::version(b"n", At::Kept(id)), 70 + order, value)
    }

    fn look(rules: &Lifecycle, now_ms: u64, rows: &[ScanRow]) -> Vec<Op> {
        let mut looked = Looked { catalogue: CAT, rules, now_ms, name: None };
        let mut ops: Vec<Op> = rows.iter().flat_map(|row| looked.at(row)).collect();
        ops.extend(looked.end());
        ops
    }

    fn removed(ops: &[Op]) -> Vec<(VersionId, u64)> {
        ops.iter().map(|op| if let Op::DeleteVersion { id, seen, .. } = op { (*id, seen.0) } else { panic!("{op:?}") }).collect()
    }

    #[test]
    fn an_object_goes_when_its_days_are_over_and_only_as_it_was_seen() {
        let rules = rules("<Expiration><Days>2</Days></Expiration>");
        let row = scanned(keys::object(b"n"), 9, record(500, Vec::new()).to_value());
        assert_eq!(look(&rules, 2499, std::slice::from_ref(&row)), []);
        let ops = look(&rules, 2500, &[row]);
        assert!(matches!(&ops[..], [Op::DeleteObject { condition: Condition::Version(Seq(9)), .. }]), "{ops:?}");
    }

    #[test]
    fn noncurrent_versions_go_but_for_the_newest_and_the_locked_ones() {
        let rules = rules(
            "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>1</NewerNoncurrentVersions>\
             </NoncurrentVersionExpiration>",
        );
        let object = |words| Stored::Object(record(1, words));
        let hold = Lock { hold: Some(true), ..Lock::default() }.to_words();
        let at = |seq| VersionId::At(Seq(seq));
        // The null version was made between the two others.
        let rows = [
            kept(6, VersionId::Null, object(Vec::new())),
            kept(8, at(8), object(Vec::new())),
            kept(5, at(5), object(hold)),
            kept(4, at(4), Stored::Marker { modified_ms: 1 }),
        ];
        assert_eq!(look(&rules, 1999, &rows), []);
        assert_eq!(removed(&look(&rules, 2000, &rows)), [(VersionId::Null, 76), (at(4), 74)]);
    }

    #[test]
    fn of_a_name_that_was_not_read_to_its_end_nothing_goes() {
        let rules = rules("<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>");
        let marker = VersionRow { id: VersionId::At(Seq(9)), order: Seq(9), replaced_ms: 0, version: Stored::Marker { modified_ms: 1 } };
        let mut looked = Looked { catalogue: CAT, rules: &rules, now_ms: 5, name: None };
        assert_eq!(looked.at(&scanned(keys::version(b"n", At::Marker), 9, marker.to_value())), [], "there may be versions behind it");
        assert_eq!(removed(&looked.end()), [(VersionId::At(Seq(9)), 9)]);
    }

    #[test]
    fn sizes_of_rules_are_those_of_the_bytes_that_were_put() {
        let text = "<LifecycleConfiguration><Rule><ID>r</ID><Filter><ObjectSizeLessThan>10</ObjectSizeLessThan></Filter><Status>Enabled</Status>\
                    <Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
        let documents = [(BucketDocument::Lifecycle, text.to_owned())].into();
        let rules = Lifecycle::of(&Bucket { id: CAT, owner: String::new(), created_ms: 0, seal: None, documents }, 1000).expect("rules");
        let row = |words| scanned(keys::object(b"n"), 9, ObjectRecord { size: 25, ..record(0, words) }.to_value());
        let word = |name: &str, word: &str| (name.to_owned(), word.to_owned());
        let encrypted = vec![word(types::object::ENCRYPTION, "cluster x"), word(types::object::PLAIN_BYTES, "9")];
        assert_eq!((look(&rules, 9000, &[row(Vec::new())]).len(), look(&rules, 9000, &[row(encrypted)]).len()), (0, 1));
    }

    #[test]
    fn a_delete_marker_goes_once_it_is_alone() {
        let rules = rules("<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>");
        let marker = VersionRow { id: VersionId::At(Seq(9)), order: Seq(9), replaced_ms: 0, version: Stored::Marker { modified_ms: 1 } };
        let marker = scanned(keys::version(b"n", At::Marker), 9, marker.to_value());
        assert_eq!(removed(&look(&rules, 5, std::slice::from_ref(&marker))), [(VersionId::At(Seq(9)), 9)]);
        assert_eq!(look(&rules, 5, &[marker.clone(), kept(4, VersionId::At(Seq(4)), Stored::Object(record(1, Vec::new())))]), []);
        assert_eq!(look(&rules, 5, &[marker, kept(4, VersionId::Null, Stored::Object(record(1, Vec::new())))]), []);
    }
}
