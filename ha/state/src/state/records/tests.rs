//! Rules of catalogues.

use super::*;
use crate::command::Change;
use crate::sample::{GROUPS, Log};

#[test]
fn catalogues_have_one_name_and_never_the_same_id() {
    let mut log = Log::running();
    let epoch = log.state.epoch();
    let create = |name: &str| Change::CreateCatalogue { name: name.into(), kind: CatalogueKind::Bucket, pool: None, width: 0 };
    let Ok(Done::Catalogue { id, created: true }) = log.put(create("photos")) else { panic!("not created") };
    assert_eq!(log.put(create("photos")), Ok(Done::Catalogue { id, created: false }));
    assert_eq!(log.state.map().catalogues[&id].width, GROUPS, "no wider than the pool");
    assert_eq!(log.put(Change::DropCatalogue { id }), Ok(Done::Changed));
    assert_eq!(log.put(Change::DropCatalogue { id }), Ok(Done::AlreadySo));
    let Ok(Done::Catalogue { id: again, created: true }) = log.put(create("photos")) else { panic!("not created") };
    assert_ne!(id, again);
    assert_eq!(log.put(create("")), Err(Refused::Name));
    assert_eq!(log.put(create(&"x".repeat(256))), Err(Refused::Name));
    assert_eq!(log.put(Change::DropCatalogue { id: CatalogueId(1 << 40) }), Err(Refused::NoCatalogue(CatalogueId(1 << 40))));
    let other = Change::CreateCatalogue { name: "b".into(), kind: CatalogueKind::Index, pool: Some(PoolId(2)), width: 1 };
    assert_eq!(log.put(other), Err(Refused::NoPool(PoolId(2))), "an erasure-coded pool holds no catalogues");
    assert_eq!(Log::created().put(create("early")), Err(Refused::NoGroups));
    assert_eq!(log.state.epoch(), epoch, "global records do not move the epoch");
}

#[test]
fn a_bucket_is_there_from_the_start_and_can_be_dropped_for_good() {
    let mut log = Log::running();
    let default = log.state.map().catalogue_named(CatalogueKind::Bucket, DEFAULT_BUCKET).expect("from the start").id;
    assert_eq!(log.put(Change::DropCatalogue { id: default }), Ok(Done::Changed));
    log.start(1);
    log.recover(1);
    assert!(log.state.map().catalogues.is_empty());
}

#[test]
fn a_dropped_catalogue_is_there_until_the_primary_of_each_group_has_seen_it_empty() {
    let mut log = Log::running();
    let create = Change::CreateCatalogue { name: "people".into(), kind: CatalogueKind::Index, pool: None, width: 3 };
    let Ok(Done::Catalogue { id, .. }) = log.put(create.clone()) else { panic!("not created") };
    assert_eq!(log.put(Change::DropCatalogue { id }), Ok(Done::Changed));
    let at = log.state.index();
    assert!(!log.state.map().catalogues.contains_key(&id), "nobody finds it any more");
    assert!(matches!(log.put(create), Ok(Done::Catalogue { created: true, .. })), "its name is free");
    assert_eq!(log.put(Change::DropCatalogue { id }), Ok(Done::AlreadySo));
    let left: Vec<GroupId> = log.state.dropped()[&id].left.iter().copied().collect();
    assert_eq!((left.len(), log.state.dropped()[&id].at), (3, at));

    let said = |log: &Log, group: GroupId| {
        let view = log.state.map().view(group).expect("a view");
        (view.primary.expect("a primary").boot, view.number)
    };
    let (boot, view) = said(&log, left[0]);
    let emptied = |boot, group, view| Change::CataloguesEmptied { boot, emptied: vec![(id, group, view)] };
    assert_eq!(log.put(emptied(boot, left[0], ViewNumber(view.0 - 1))), Ok(Done::AlreadySo), "of an older view");
    let other = log.state.map().nodes.values().map(|n| n.boot).find(|b| *b != boot).expect("another process");
    assert_eq!(log.put(emptied(other, left[0], view)), Ok(Done::AlreadySo), "not its primary");
    assert_eq!(log.put(emptied(Boot(1), left[0], view)), Err(Refused::OldBoot { boot: Boot(1) }));
    assert_eq!(log.state.dropped()[&id].left.len(), 3);
    for group in left {
        assert!(log.state.dropped().contains_key(&id));
        let (boot, view) = said(&log, group);
        assert_eq!(log.put(emptied(boot, group, view)), Ok(Done::Changed));
        assert_eq!(log.put(emptied(boot, group, view)), Ok(Done::AlreadySo));
    }
    assert!(log.state.dropped().is_empty());
    assert!(log.state.events().any(|e| e.subject == Subject::Catalogue(id) && e.what == "gone"));
}
