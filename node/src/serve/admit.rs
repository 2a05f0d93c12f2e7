//! What a client may ask for: rows of catalogues that exist, of the kinds that are a client's to write, in the group that they belong to.
//!
//! Whatever passes here is replicated and applied everywhere without being looked at again.

use types::keys::Key;
use types::limits::NAME_BYTES_MAX;
use types::map::CatalogueKind;
use types::object::PendingRow;
use types::ops::{self, Op};
use types::record::RowKey;
use types::upload::{UploadRow, UploadState};
use types::wire::request::{Execute, Refusal};
use types::{CatalogueId, GroupId, routing};

use crate::view::ClusterView;

/// Refuses a transaction that no client may ask for.
pub fn admit(execute: &Execute, view: &ClusterView) -> Result<(), Refusal> {
    ops::validate_with(&execute.ops, &execute.parts)?;
    for op in &execute.ops {
        for row in op.rows() {
            admit_row(execute.group, &row, view)?;
        }
        admit_kind(op)?;
    }
    for (group, write) in execute.parts.iter().flat_map(|(group, writes)| writes.iter().map(move |write| (*group, write))) {
        admit_row(group, write.row(), view)?;
        // Nothing holds a part back once its transaction is STABLE. A bucket's seal has to: so none is written by a part.
        let index = view.map.catalogues.get(&write.row().catalogue).is_some_and(|catalogue| catalogue.kind == CatalogueKind::Index);
        if !index || !matches!(Key::parse(&write.row().key), Some(Key::User(_))) {
            return Err(Refusal::Invalid("a part of a transaction writes keys of indices only".into()));
        }
    }
    Ok(())
}

fn admit_row(of: GroupId, row: &RowKey, view: &ClusterView) -> Result<(), Refusal> {
    admit_catalogue(row.catalogue, view)?;
    let map = &view.map;
    // One that was created a moment ago may not have been heard of here yet: its client asks again.
    let unknown = || Refusal::Busy(format!("{} is not known here yet", row.catalogue));
    let catalogue = map.catalogues.get(&row.catalogue).ok_or_else(unknown)?;
    let key = Key::parse(&row.key).ok_or_else(|| Refusal::Invalid("a key is of no kind that there is".into()))?;
    let length = key.routing().len();
    if length > NAME_BYTES_MAX {
        return Err(Refusal::Invalid(format!("a name or key has at most {NAME_BYTES_MAX} bytes, this one has {length}")));
    }
    let pool = map.pools.get(&catalogue.pool).ok_or_else(|| Refusal::Busy(format!("{} is not known here yet", catalogue.pool)))?;
    let group = routing::group_of(catalogue, pool, key.routing());
    if group != of {
        return Err(Refusal::Invalid(format!("a key of group {group} is sent to {of}")));
    }
    Ok(())
}

/// Refuses what concerns a catalogue that was dropped.
pub fn admit_catalogue(catalogue: CatalogueId, view: &ClusterView) -> Result<(), Refusal> {
    if view.is_gone(catalogue) { Err(Refusal::Gone(catalogue)) } else { Ok(()) }
}

fn admit_kind(op: &Op) -> Result<(), Refusal> {
    let allowed = match op {
        Op::Put { row, value, .. } => match Key::parse(&row.key) {
            Some(Key::User(_)) => true,
            Some(Key::Pending(..)) => PendingRow::from_value(value).is_ok(),
            Some(Key::Upload(..)) => UploadRow::from_value(value).is_ok_and(|upload| upload.state == UploadState::Open),
            _ => false,
        },
        Op::Delete { row, .. } => matches!(Key::parse(&row.key), Some(Key::User(_))),
        Op::PutObject { .. }
        | Op::DeleteObject { .. }
        | Op::Abandon { .. }
        | Op::DescribeObject { .. }
        | Op::PutPart { .. }
        | Op::CompleteUpload { .. }
        | Op::EndUpload { .. }
        | Op::DeleteVersion { .. } => true,
        // The sweep's own.
        Op::DiscardPart { .. } | Op::Unfold { .. } | Op::DiscardVersion { .. } | Op::Notify { .. } => false,
    };
    if allowed { Ok(()) } else { Err(Refusal::Invalid("a client does not write keys of that kind".into())) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use types::keys::{self, kind};

    use types::map::{Catalogue, ClusterMap, Pool};
    use types::ops::Condition;
    use types::record::Write;
    use types::scheme::{FailureDomain, Scheme};
    use types::{DtxId, Fid, GroupId, PoolId, SessionId, ViewNumber};

    use super::*;

    const CATALOGUE: CatalogueId = CatalogueId(5);

    fn view() -> ClusterView {
        let id = CATALOGUE;
        let scheme = Scheme::Replicated { copies: 3 };
        let pool = Pool {
            id: PoolId(3),
            name: "meta".into(),
            scheme,
            failure_domain: FailureDomain::Node,
            devices: Vec::new(),
            groups: 2,
            priority: 0,
        };
        let catalogue = Catalogue { id, name: "people".into(), kind: CatalogueKind::Index, pool: pool.id, first_group: 0, width: 1 };
        let map = ClusterMap { pools: [(pool.id, pool)].into(), catalogues: [(id, catalogue)].into(), ..ClusterMap::default() };
        ClusterView { index: 7, map: Arc::new(map), ..ClusterView::default() }
    }

    fn put(catalogue: CatalogueId, key: Vec<u8>, value: Vec<u8>) -> Op {
        Op::Put { row: RowKey { catalogue, key }, value, condition: Condition::Always }
    }

    fn asked(group: u32, op: Op) -> Result<(), Refusal> {
        let group = GroupId { pool: PoolId(3), index: group };
        admit(
            &Execute { group, view: ViewNumber(1), dtx: DtxId::default(), ops: vec![op], parts: Vec::new(), cause: Default::default() },
            &view(),
        )
    }

    #[test]
    fn a_client_writes_its_own_rows_and_announces_what_it_writes() {
        let fid = Fid { group: GroupId { pool: PoolId(1), index: 0 }, session: SessionId(5), counter: 0 };
        let pending = PendingRow { session: SessionId(5), slots: 6 }.to_value();
        assert_eq!(asked(0, put(CATALOGUE, keys::user(b"key"), b"value".to_vec())), Ok(()));
        assert_eq!(asked(0, put(CATALOGUE, keys::pending(b"name", fid), pending.clone())), Ok(()));
        assert_eq!(
            asked(0, Op::EndUpload { catalogue: CATALOGUE, name: b"name".to_vec(), upload: types::upload::UploadId([0; 16]) }),
            Ok(())
        );
        let refused = [
            put(CATALOGUE, keys::pending(b"name", fid), b"no such row".to_vec()),
            put(CATALOGUE, keys::dead(b"name", fid), pending),
            put(CATALOGUE, keys::object(b"name"), Vec::new()),
            put(CATALOGUE, vec![0x77, 1], Vec::new()),
            put(CATALOGUE, Vec::new(), Vec::new()),
            put(CATALOGUE, keys::user(&[b'k'; NAME_BYTES_MAX + 1]), Vec::new()),
            Op::Delete { row: RowKey { catalogue: CATALOGUE, key: vec![kind::OBJECT, 1] }, condition: Condition::Always },
        ];
        for op in refused {
            assert!(matches!(asked(0, op.clone()), Err(Refusal::Invalid(_))), "{op:?}");
        }
    }

    #[test]
    fn a_part_of_a_transaction_writes_keys_of_indices_and_of_its_group_only() {
        let bucket = CatalogueId(4);
        let mut view = view();
        let mut map = (*view.map).clone();
        let photos = Catalogue { id: bucket, name: "photos".into(), kind: CatalogueKind::Bucket, ..map.catalogues[&CATALOGUE].clone() };
        map.catalogues.insert(bucket, photos);
        map.catalogues.insert(CatalogueId(3), Catalogue { id: CatalogueId(3), first_group: 1, ..map.catalogues[&CATALOGUE].clone() });
        view.map = Arc::new(map);
        let asked = |index: u32, catalogue, key: Vec<u8>| {
            let group = |index| GroupId { pool: PoolId(3), index };
            let ops = vec![put(CATALOGUE, keys::user(b"here"), Vec::new())];
            let parts = vec![(group(index), vec![Write::Put { row: RowKey { catalogue, key }, value: Vec::new() }])];
            admit(&Execute { group: group(0), view: ViewNumber(1), dtx: DtxId::default(), ops, parts, cause: Default::default() }, &view)
        };
        assert_eq!(asked(1, CatalogueId(3), keys::user(b"there")), Ok(()));
        for (index, catalogue, key) in [
            (0, bucket, keys::user(b"there")),
            (0, bucket, keys::object(b"there")),
            (1, CatalogueId(3), keys::object(b"there")),
            (0, CatalogueId(3), keys::user(b"there")),
        ] {
            assert!(matches!(asked(index, catalogue, key.clone()), Err(Refusal::Invalid(_))), "{index} {catalogue} {key:?}");
        }
    }

    #[test]
    fn the_machines_own_catalogue_one_that_is_gone_and_another_group_are_refused() {
        let unknown = |id| asked(0, put(id, keys::user(b"key"), Vec::new()));
        assert!(matches!(unknown(CatalogueId(u64::MAX)), Err(Refusal::Busy(_))));
        assert!(matches!(unknown(CatalogueId(8)), Err(Refusal::Busy(_))), "younger than what is known here");
        assert_eq!(unknown(CatalogueId(6)), Err(Refusal::Gone(CatalogueId(6))), "dropped");
        assert!(matches!(asked(1, put(CATALOGUE, keys::user(b"key"), Vec::new())), Err(Refusal::Invalid(_))));
    }
}
