//! The operations on rows and objects, one after the other.

use super::*;
use crate::object::{Content, Part};
use crate::{GroupId, PoolId, SessionId};
use std::collections::BTreeMap;

pub(super) const CAT: CatalogueId = CatalogueId(1);

pub(super) fn fid(counter: u64) -> Fid {
    Fid { group: GroupId { pool: PoolId(1), index: 0 }, session: SessionId(1), counter }
}

pub(super) fn record(fid: Fid) -> Vec<u8> {
    let part = Part { offset: 0, length: 1, fid, data: 4, parity: 2, unit_bytes: 4096 };
    let content = Content::Parts(vec![part]);
    ObjectRecord { size: 1, checksum: 0, modified_ms: 0, content, user_metadata: Vec::new(), id: VersionId::Null }.to_value()
}

#[derive(Default)]
pub(super) struct World(pub(super) BTreeMap<RowKey, Row>, pub(super) u64);

impl World {
    pub(super) fn run(&mut self, ops: &[Op]) -> Outcome {
        self.1 += 1;
        validate(ops).expect("within bounds");
        let (writes, outcome) = decide(ops, Seq(self.1), HaTime(7), &|row| self.0.get(row).cloned()).expect("decides");
        for write in writes {
            match write {
                Write::Put { row, value } => drop(self.0.insert(row, Row { version: Seq(self.1), value })),
                Write::Delete { row } => drop(self.0.remove(&row)),
            }
        }
        outcome
    }

    pub(super) fn has(&self, key: Vec<u8>) -> bool {
        self.0.contains_key(&RowKey { catalogue: CAT, key })
    }

    pub(super) fn version(&self, key: &[u8]) -> Version {
        self.0[&RowKey { catalogue: CAT, key: key.to_vec() }].version
    }
}

fn put(key: &[u8], condition: Condition) -> Op {
    Op::Put { row: RowKey { catalogue: CAT, key: keys::user(key) }, value: b"v".to_vec(), condition }
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let mut world = World::default();
    assert!(matches!(world.run(&[put(b"a", Condition::Absent)]), Outcome::Done { version: Seq(1), .. }));
    let both = [put(b"b", Condition::Always), put(b"a", Condition::Absent)];
    assert_eq!(world.run(&both), Outcome::Refused { op: 1, current: Some(Seq(1)) });
    assert!(!world.has(keys::user(b"b")));
    assert!(matches!(world.run(&[put(b"a", Condition::Version(Seq(1)))]), Outcome::Done { .. }));
}

#[test]
fn a_replaced_objects_fids_become_dead_and_its_pending_rows_go() {
    let mut world = World::default();
    let name = b"photo".to_vec();
    for counter in 1..=2 {
        let commit = Op::PutObject {
            catalogue: CAT,
            name: name.clone(),
            record: record(fid(counter)),
            pending: vec![fid(counter)],
            condition: Condition::Always,
            versioning: Versioning::Off,
        };
        assert!(matches!(world.run(std::slice::from_ref(&commit)), Outcome::Refused { .. }), "no pending row, no commit");
        world.run(&[Op::Put {
            row: RowKey { catalogue: CAT, key: keys::pending(&name, fid(counter)) },
            value: Vec::new(),
            condition: Condition::Absent,
        }]);
        assert!(matches!(world.run(&[commit]), Outcome::Done { .. }));
        assert!(!world.has(keys::pending(&name, fid(counter))));
    }
    assert!(world.has(keys::dead(&name, fid(1))) && !world.has(keys::dead(&name, fid(2))));
    let condition = Condition::Present;
    let delete = Op::DeleteObject { catalogue: CAT, name: name.clone(), condition, modified_ms: 0, versioning: Versioning::Off };
    world.run(&[delete]);
    assert!(world.has(keys::dead(&name, fid(2))) && !world.has(keys::object(&name)));
}

#[test]
fn an_object_that_is_described_keeps_its_fids() {
    let mut world = World::default();
    let name = b"photo".to_vec();
    let describe =
        |condition| Op::DescribeObject { catalogue: CAT, name: name.clone(), words: vec![("a".into(), "b".into())], of: None, condition };
    assert_eq!(world.run(&[describe(Condition::Always)]), Outcome::Refused { op: 0, current: None });
    let row = RowKey { catalogue: CAT, key: keys::object(&name) };
    world.run(&[Op::Put { row: row.clone(), value: record(fid(1)), condition: Condition::Always }]);
    assert!(matches!(world.run(&[describe(Condition::Version(Seq(1)))]), Outcome::Refused { current: Some(Seq(2)), .. }));
    assert!(matches!(world.run(&[describe(Condition::Version(Seq(2)))]), Outcome::Done { .. }));
    let now = ObjectRecord::from_value(&world.0[&row].value).expect("a record");
    assert_eq!(now.user_metadata, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(ObjectRecord { user_metadata: Vec::new(), ..now }.to_value(), record(fid(1)));
    assert!(!world.has(keys::dead(&name, fid(1))));
}

#[test]
fn an_abandoned_fid_cannot_be_committed() {
    let mut world = World::default();
    let name = b"n".to_vec();
    let row = RowKey { catalogue: CAT, key: keys::pending(&name, fid(1)) };
    world.run(&[Op::Put { row, value: Vec::new(), condition: Condition::Always }]);
    let abandon = Op::Abandon { catalogue: CAT, name: name.clone(), fid: fid(1) };
    assert!(matches!(world.run(std::slice::from_ref(&abandon)), Outcome::Done { .. }));
    assert!(matches!(world.run(&[abandon]), Outcome::Refused { .. }));
    let (pending, condition, versioning) = (vec![fid(1)], Condition::Always, Versioning::Off);
    let commit = Op::PutObject { catalogue: CAT, name, record: record(fid(1)), pending, condition, versioning };
    assert!(matches!(world.run(&[commit]), Outcome::Refused { .. }));
}
