//! Rules of buckets' records.

use super::*;
use crate::command::Change;
use crate::sample::Log;
use types::HaTime;

fn record(log: &mut Log, change: RecordChange) -> Result<RecordDone, Refused> {
    match log.put(Change::Record(change)) {
        Ok(Done::Record(done)) => Ok(done),
        Ok(other) => panic!("{other:?}"),
        Err(refused) => Err(refused),
    }
}

fn create(name: &str, owner: &str) -> RecordChange {
    RecordChange::CreateBucket { name: name.into(), owner: owner.into(), documents: [(BucketDocument::Acl, "private".into())].into() }
}

fn made(log: &mut Log, name: &str) -> CatalogueId {
    match record(log, create(name, "ann")) {
        Ok(RecordDone::Bucket { id, created: true }) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bucket_has_an_owner_a_date_and_settings_and_keeps_them_when_it_is_made_again() {
    let mut log = Log::running();
    let id = made(&mut log, "photos");
    let (wall_ms, epoch) = (log.entries.last().expect("an entry").1.wall_ms, log.state.epoch());
    assert_eq!(record(&mut log, create("photos", "bob")), Ok(RecordDone::Bucket { id, created: false }));
    let bucket = log.state.buckets()[&id].clone();
    assert_eq!((bucket.owner.as_str(), bucket.created_ms, bucket.document(BucketDocument::Acl)), ("ann", wall_ms, Some("private")));
    let set = |text: Option<&str>| RecordChange::SetDocument { bucket: id, document: BucketDocument::Policy, text: text.map(Into::into) };
    assert_eq!(record(&mut log, set(Some("{}"))), Ok(RecordDone::Done));
    assert_eq!(log.state.buckets()[&id].document(BucketDocument::Policy), Some("{}"));
    assert_eq!(record(&mut log, set(None)), Ok(RecordDone::Done));
    assert_eq!(log.state.buckets()[&id], bucket);
    let large = "x".repeat(BUCKET_DOCUMENT_BYTES_MAX + 1);
    assert!(matches!(record(&mut log, set(Some(&large))), Err(Refused::TooLarge { .. })));
    assert_eq!(log.state.epoch(), epoch, "global records do not move the epoch");
    log.put(Change::DropCatalogue { id }).expect("dropped");
    assert_eq!(record(&mut log, set(Some("{}"))), Err(Refused::NoCatalogue(id)));
    assert!(!log.state.buckets().contains_key(&id));
}

#[test]
fn a_bucket_that_is_made_as_a_catalogue_has_a_record_too() {
    let mut log = Log::running();
    let change = Change::CreateCatalogue { name: "plain".into(), kind: CatalogueKind::Bucket, pool: None, width: 0 };
    let Ok(Done::Catalogue { id, .. }) = log.put(change) else { panic!("not created") };
    assert_eq!(log.state.buckets()[&id].owner, "");
    let index = Change::CreateCatalogue { name: "plain".into(), kind: CatalogueKind::Index, pool: None, width: 0 };
    let Ok(Done::Catalogue { id, .. }) = log.put(index) else { panic!("not created") };
    assert!(!log.state.buckets().contains_key(&id));
}

#[test]
fn a_bucket_is_removed_only_under_the_seal_that_it_was_found_empty_under() {
    let mut log = Log::running();
    let bucket = made(&mut log, "photos");
    let Ok(RecordDone::Sealed(first)) = record(&mut log, RecordChange::SealBucket { bucket }) else { panic!("not sealed") };
    assert_eq!(record(&mut log, RecordChange::SealBucket { bucket }), Ok(RecordDone::Sealed(first)), "one seal for all who ask");
    assert_eq!(record(&mut log, RecordChange::ReopenBucket { bucket, seal: first }), Ok(RecordDone::Done));
    assert_eq!(record(&mut log, RecordChange::RemoveBucket { bucket, seal: first }), Ok(RecordDone::Reopened));
    let Ok(RecordDone::Sealed(second)) = record(&mut log, RecordChange::SealBucket { bucket }) else { panic!("not sealed") };
    assert_eq!(record(&mut log, RecordChange::ReopenBucket { bucket, seal: first }), Ok(RecordDone::Done));
    assert_eq!(log.state.buckets()[&bucket].seal.map(|seal| seal.at), Some(second), "another's seal stays");
    assert_eq!(record(&mut log, RecordChange::RemoveBucket { bucket, seal: first }), Ok(RecordDone::Reopened));
    assert_eq!(record(&mut log, RecordChange::RemoveBucket { bucket, seal: second }), Ok(RecordDone::Done));
    assert!(!log.state.map().catalogues.contains_key(&bucket) && log.state.dropped().contains_key(&bucket));
    assert_eq!(record(&mut log, RecordChange::RemoveBucket { bucket, seal: second }), Ok(RecordDone::Done), "asked twice");
}

#[test]
fn a_seal_that_nobody_takes_away_is_found_after_its_time() {
    let mut log = Log::running();
    let bucket = made(&mut log, "photos");
    record(&mut log, RecordChange::SealBucket { bucket }).expect("sealed");
    let since = log.state.ha_time();
    let found = |log: &Log, at: u64| log.state.sealed_before(HaTime(at)).map(|(id, _)| id).collect::<Vec<_>>();
    assert!(found(&log, since.0).is_empty());
    assert_eq!(found(&log, since.0 + 1), [bucket]);
}

#[test]
fn a_bucket_with_locks_keeps_versions_whichever_is_set_first() {
    let set = |log: &mut Log, bucket, document, text: Option<&str>| {
        record(log, RecordChange::SetDocument { bucket, document, text: text.map(Into::into) })
    };
    let (versioning, lock) = (BucketDocument::Versioning, BucketDocument::ObjectLock);
    let mut log = Log::running();
    let bucket = made(&mut log, "photos");
    assert_eq!(set(&mut log, bucket, lock, Some("on")), Ok(RecordDone::Contradicts), "it keeps none yet");
    set(&mut log, bucket, versioning, Some("Suspended")).expect("set");
    assert_eq!(set(&mut log, bucket, lock, Some("on")), Ok(RecordDone::Contradicts));
    set(&mut log, bucket, versioning, Some("Enabled")).expect("set");
    assert_eq!(set(&mut log, bucket, lock, Some("on")), Ok(RecordDone::Done));
    for text in [Some("Suspended"), Some("?"), None] {
        assert_eq!(set(&mut log, bucket, versioning, text), Ok(RecordDone::Contradicts), "{text:?}");
    }
    assert_eq!(set(&mut log, bucket, versioning, Some("Enabled")), Ok(RecordDone::Done));
    assert_eq!(log.state.buckets()[&bucket].versioning(), types::object::Versioning::Enabled);
    assert_eq!(set(&mut log, bucket, lock, None), Ok(RecordDone::Done));
    assert_eq!(set(&mut log, bucket, versioning, Some("Suspended")), Ok(RecordDone::Done));
}
