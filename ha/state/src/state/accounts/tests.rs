//! Rules of accounts.

use super::*;
use crate::command::Change;
use crate::sample::Log;
use types::records::RecordChange;

fn record(log: &mut Log, change: RecordChange) -> Result<RecordDone, Refused> {
    match log.put(Change::Record(change)) {
        Ok(Done::Record(done)) => Ok(done),
        Ok(other) => panic!("{other:?}"),
        Err(refused) => Err(refused),
    }
}

fn create(name: &str) -> RecordChange {
    RecordChange::CreateAccount { name: name.into(), display_name: "A. N. N.".into(), email: "ann@example.com".into() }
}

fn put(account: &str, key: &str, secret: &[u8]) -> RecordChange {
    RecordChange::PutKey { account: account.into(), key: key.into(), sealed_secret: secret.to_vec() }
}

#[test]
fn an_account_is_made_once_and_a_key_belongs_to_one_account() {
    let mut log = Log::running();
    assert_eq!(record(&mut log, create("ann")), Ok(RecordDone::Done));
    assert_eq!(record(&mut log, create("ann")), Ok(RecordDone::Exists));
    record(&mut log, create("bob")).expect("made");
    assert_eq!(record(&mut log, put("ann", "AK1", b"sealed")), Ok(RecordDone::Done));
    assert_eq!(record(&mut log, put("ann", "AK1", b"sealed")), Ok(RecordDone::Done), "sent twice");
    assert_eq!(record(&mut log, put("ann", "AK1", b"other")), Ok(RecordDone::Exists));
    assert_eq!(record(&mut log, put("bob", "AK1", b"sealed")), Ok(RecordDone::Exists));
    assert_eq!(record(&mut log, put("eve", "AK2", b"sealed")), Err(Refused::NoAccount("eve".into())));
    record(&mut log, RecordChange::DeleteKey { account: "ann".into(), key: "AK1".into() }).expect("deleted");
    assert!(log.state.accounts()["ann"].keys.is_empty());
    for number in 0..ACCOUNT_KEYS_MAX {
        record(&mut log, put("ann", &format!("K{number}"), b"s")).expect("room");
    }
    assert!(matches!(record(&mut log, put("ann", "more", b"s")), Err(Refused::TooMany { .. })));
}

#[test]
fn an_account_that_owns_buckets_stays_and_bad_names_are_refused() {
    let mut log = Log::running();
    record(&mut log, create("ann")).expect("made");
    let bucket = RecordChange::CreateBucket { name: "photos".into(), owner: "ann".into(), documents: BTreeMap::new() };
    record(&mut log, bucket).expect("made");
    let delete = RecordChange::DeleteAccount { name: "ann".into() };
    assert_eq!(record(&mut log, delete.clone()), Err(Refused::OwnsBuckets("ann".into())));
    let id = log.state.map().catalogue_named(types::map::CatalogueKind::Bucket, "photos").expect("there").id;
    log.put(Change::DropCatalogue { id }).expect("dropped");
    assert_eq!(record(&mut log, delete.clone()), Ok(RecordDone::Done));
    assert_eq!(record(&mut log, delete), Ok(RecordDone::Done), "asked twice");
    for name in ["", "a b", "a/b", &"x".repeat(ACCOUNT_NAME_BYTES_MAX + 1)] {
        assert_eq!(record(&mut log, create(name)), Err(Refused::AccountName), "{name}");
    }
}

#[test]
fn a_disabled_account_says_so_until_it_is_enabled() {
    let mut log = Log::running();
    record(&mut log, create("ann")).expect("made");
    let set = |disabled| RecordChange::SetAccountDisabled { name: "ann".into(), disabled };
    record(&mut log, set(true)).expect("disabled");
    assert!(log.state.accounts()["ann"].disabled);
    record(&mut log, set(false)).expect("enabled");
    assert!(!log.state.accounts()["ann"].disabled);
}

#[test]
fn an_account_has_the_quota_that_was_set_last() {
    let mut log = Log::running();
    let set = |bytes| RecordChange::SetAccountQuota { name: "ann".into(), quota: Quota { bytes, objects: None } };
    assert_eq!(record(&mut log, set(Some(1))), Err(Refused::NoAccount("ann".into())));
    record(&mut log, create("ann")).expect("made");
    for bytes in [Some(1), Some(2), None] {
        record(&mut log, set(bytes)).expect("set");
        assert_eq!(log.state.quotas().get("ann").and_then(|quota| quota.bytes), bytes);
    }
    record(&mut log, set(Some(3))).expect("set");
    record(&mut log, RecordChange::DeleteAccount { name: "ann".into() }).expect("deleted");
    assert!(log.state.quotas().is_empty());
}

#[test]
fn the_name_of_a_deleted_account_is_given_to_no_other_one() {
    let mut log = Log::running();
    record(&mut log, create("ann")).expect("made");
    record(&mut log, RecordChange::DeleteAccount { name: "ann".into() }).expect("deleted");
    assert_eq!(record(&mut log, create("ann")), Err(Refused::FormerAccount("ann".into())));
    assert_eq!(record(&mut log, RecordChange::DeleteAccount { name: "bob".into() }), Ok(RecordDone::Done), "who was never there");
    assert_eq!(record(&mut log, create("bob")), Ok(RecordDone::Done));
    let again = crate::State::decode(&log.state.encode()).expect("reads");
    assert_eq!(again, log.state);
}
