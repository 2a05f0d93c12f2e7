//! What a sweep has to do, decided from rows and the cluster map alone: no I/O.

use types::keys::Key;
use types::limits::FIDS_RETIRED_APART_MAX;
use types::map::Slots;
use types::object::{DeadRow, ObjectRecord, PendingRow, Stored, VersionRow, Versioning};
use types::ops::{Condition, Op, UNFOLD_MAX};
use types::record::RowKey;
use types::upload::{PartRow, UploadId, UploadRow, UploadState};
use types::wire::request::ScanRow;
use types::{CatalogueId, DeviceId, Fid, HaTime, SessionId, Version};

/// Writes of one transaction that empties a catalogue, unless one object alone makes more.
const REMOVALS_MAX: usize = 256;

/// A dead fid that may be deleted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadFid {
    /// Its row.
    pub row: RowKey,
    /// The row's version: whoever changes the row first wins.
    pub version: Version,
    /// The fid.
    pub fid: Fid,
    /// What the row says.
    pub state: DeadRow,
}

/// An upload that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedUpload {
    /// The object's name.
    pub name: Vec<u8>,
    /// Which upload.
    pub upload: UploadId,
    /// Its row's version.
    pub version: Version,
}

/// The uploads that have ended. A row that cannot be read is left alone.
pub fn ended(rows: &[ScanRow]) -> Vec<EndedUpload> {
    let ended = rows.iter().filter_map(|scanned| {
        let Some(Key::Upload(name, upload)) = Key::parse(&scanned.key) else { return None };
        let row = UploadRow::from_value(&scanned.row.value).ok()?;
        let ended = EndedUpload { name: name.to_vec(), upload, version: scanned.row.version };
        (row.state != UploadState::Open).then_some(ended)
    });
    ended.collect()
}

/// The transactions that make pending fids of closed sessions dead. A row that cannot be read is left alone.
pub fn abandons(catalogue: CatalogueId, rows: &[ScanRow], is_closed: impl Fn(SessionId) -> bool) -> Vec<Op> {
    let dead = rows.iter().filter_map(|scanned| {
        let Some(Key::Pending(name, fid)) = Key::parse(&scanned.key) else { return None };
        let row = PendingRow::from_value(&scanned.row.value).ok()?;
        is_closed(row.session).then(|| Op::Abandon { catalogue, name: name.to_vec(), fid })
    });
    dead.collect()
}

/// The transactions that take rows of a dropped catalogue away, of bounded size: objects leave their fids as dead rows, which the sweep takes.
pub fn removals(catalogue: CatalogueId, rows: &[ScanRow]) -> Vec<Vec<Op>> {
    let mut all: Vec<Vec<Op>> = Vec::new();
    let mut room = 0;
    for scanned in rows {
        let row = RowKey { catalogue, key: scanned.key.clone() };
        let (op, writes) = match Key::parse(&scanned.key) {
            Some(Key::Object(name)) => match ObjectRecord::from_value(&scanned.row.value) {
                Ok(record) => {
                    let (condition, versioning) = (Condition::Always, Versioning::Off);
                    let delete = Op::DeleteObject { catalogue, name: name.to_vec(), condition, modified_ms: 0, versioning };
                    // One of very many parts leaves one row.
                    (delete, 1 + record.fids().take(FIDS_RETIRED_APART_MAX).count())
                }
                // What it refers to is not known any more.
                Err(_) => (Op::Delete { row, condition: Condition::Always }, 1),
            },
            // One that was committed or abandoned meanwhile refuses its own transaction only.
            Some(Key::Pending(name, fid)) => (Op::Abandon { catalogue, name: name.to_vec(), fid }, REMOVALS_MAX),
            Some(Key::Part(name, upload, number)) => match PartRow::from_value(&scanned.row.value) {
                Ok(part) => (Op::DiscardPart { catalogue, name: name.to_vec(), upload, number }, 1 + part.runs.len()),
                Err(_) => (Op::Delete { row, condition: Condition::Always }, 1),
            },
            Some(Key::Version(name, place)) => match VersionRow::from_value(&scanned.row.value) {
                Ok(row) => {
                    let fids =
                        if let Stored::Object(record) = &row.version { record.fids().take(FIDS_RETIRED_APART_MAX).count() } else { 0 };
                    (Op::DiscardVersion { catalogue, name: name.into_owned(), place }, 1 + fids)
                }
                Err(_) => (Op::Delete { row, condition: Condition::Always }, 1),
            },
            Some(Key::Retired(name, first)) => (Op::Unfold { catalogue, name: name.to_vec(), first }, 1 + UNFOLD_MAX),
            _ => (Op::Delete { row, condition: Condition::Always }, 1),
        };
        match all.last_mut() {
            Some(ops) if writes <= room => ops.push(op),
            _ => {
                all.push(vec![op]);
                room = REMOVALS_MAX;
            }
        }
        room = room.saturating_sub(writes);
    }
    all
}

/// The dead fids that are old enough. A row that cannot be read is left alone.
pub fn ripe(catalogue: CatalogueId, rows: &[ScanRow], now: HaTime, age_ms: u64) -> Vec<DeadFid> {
    let ripe = rows.iter().filter_map(|scanned| {
        let Some(Key::Dead(_, fid)) = Key::parse(&scanned.key) else { return None };
        let state = DeadRow::from_value(&scanned.row.value).ok()?;
        if now.0 < state.since.0.saturating_add(age_ms) {
            return None;
        }
        let row = RowKey { catalogue, key: scanned.key.clone() };
        Some(DeadFid { row, version: scanned.row.version, fid, state })
    });
    ripe.collect()
}

/// The slots of a dead fid that have not confirmed, with the device of each; a slot without a device has nothing to confirm.
pub fn slots_left(state: &DeadRow, slots: &Slots) -> Vec<(u8, DeviceId)> {
    let with_device = (0u8..).zip(&slots.slots).filter_map(|(slot, device)| device.map(|device| (slot, device)));
    with_device.filter(|(slot, _)| state.slots_left.is_empty() || state.slots_left.contains(slot)).collect()
}

/// What becomes of the row once some slots have confirmed; `None` where nothing changed.
pub fn settle(dead: &DeadFid, asked: &[(u8, DeviceId)], confirmed: impl Fn(DeviceId) -> bool) -> Option<Op> {
    let left: Vec<u8> = asked.iter().filter(|(_, device)| !confirmed(*device)).map(|(slot, _)| *slot).collect();
    let condition = Condition::Version(dead.version);
    if left.is_empty() {
        return Some(Op::Delete { row: dead.row.clone(), condition });
    }
    if left.len() == asked.len() {
        return None;
    }
    let value = DeadRow { since: dead.state.since, slots_left: left }.to_value();
    Some(Op::Put { row: dead.row.clone(), value, condition })
}

/// The key after `key` in the order of keys.
pub fn key_after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::keys;
    use types::object::{Content, Part};
    use types::record::Row;
    use types::{GroupId, PoolId, Seq, VersionId, ViewNumber};

    const CAT: CatalogueId = CatalogueId(3);

    fn fid(session: u64) -> Fid {
        Fid { group: GroupId { pool: PoolId(2), index: 1 }, session: SessionId(session), counter: 1 }
    }

    fn scanned(key: Vec<u8>, value: Vec<u8>) -> ScanRow {
        ScanRow { key, row: Row { version: Seq(8), value } }
    }

    fn dead_row(slots_left: Vec<u8>) -> ScanRow {
        scanned(keys::dead(b"n", fid(1)), DeadRow { since: HaTime(1000), slots_left }.to_value())
    }

    #[test]
    fn only_pending_fids_of_closed_sessions_are_abandoned() {
        let pending = |session| {
            let row = PendingRow { session: SessionId(session), slots: 6 };
            scanned(keys::pending(b"n", fid(session)), row.to_value())
        };
        let rows = [pending(1), pending(2), scanned(keys::pending(b"n", fid(1)), vec![99])];
        let ops = abandons(CAT, &rows, |session| session == SessionId(1));
        assert_eq!(ops, [Op::Abandon { catalogue: CAT, name: b"n".to_vec(), fid: fid(1) }]);
    }

    #[test]
    fn what_is_dropped_goes_in_transactions_of_bounded_size() {
        let object = |name: &[u8], parts: u64| {
            let part = |counter| Part { offset: counter, length: 1, fid: Fid { counter, ..fid(1) }, data: 4, parity: 2, unit_bytes: 4096 };
            let content = Content::Parts((0..parts).map(part).collect());
            scanned(
                keys::object(name),
                ObjectRecord { size: parts, checksum: 0, modified_ms: 0, content, user_metadata: Vec::new(), id: VersionId::Null }
                    .to_value(),
            )
        };
        let sizes = |rows: &[ScanRow]| removals(CAT, rows).iter().map(Vec::len).collect::<Vec<_>>();
        let users: Vec<ScanRow> = (0..300u16).map(|key| scanned(keys::user(&key.to_be_bytes()), Vec::new())).collect();
        assert_eq!(sizes(&users), [256, 44]);
        assert_eq!(sizes(&[object(b"a", 100), object(b"b", 100), object(b"c", 100), object(b"d", 1000), object(b"e", 1)]), [2, 1, 1, 1]);
        let pending = |session| scanned(keys::pending(b"n", fid(session)), PendingRow { session: SessionId(session), slots: 6 }.to_value());
        assert_eq!(sizes(&[pending(1), pending(2)]), [1, 1]);
        let unreadable = removals(CAT, &[scanned(keys::object(b"x"), vec![99])]);
        assert!(matches!(unreadable[0][..], [Op::Delete { .. }]), "{unreadable:?}");
    }

    #[test]
    fn only_uploads_that_have_ended_are_taken_away_and_their_parts_in_bounded_transactions() {
        let upload = UploadId([4; 16]);
        let row = |state| scanned(keys::upload(b"n", upload), UploadRow { began_ms: 0, user_metadata: Vec::new(), state }.to_value());
        let found =
            ended(&[row(UploadState::Open), row(UploadState::Ended { kept: vec![1] }), scanned(keys::upload(b"n", upload), vec![99])]);
        assert_eq!(found, [EndedUpload { name: b"n".to_vec(), upload, version: Seq(8) }]);
        let part = |number: u16| {
            let run = |counter| Part { offset: 0, length: 1, fid: Fid { counter, ..fid(1) }, data: 4, parity: 2, unit_bytes: 4096 };
            let runs = (0..63).map(run).collect();
            let row = PartRow { size: 63, checksum: 0, modified_ms: 0, runs, user_metadata: Vec::new() };
            scanned(keys::part(b"n", upload, number), row.to_value())
        };
        let ops = removals(CAT, &(1..=5).map(part).collect::<Vec<_>>());
        assert_eq!(ops.iter().map(Vec::len).collect::<Vec<_>>(), [4, 1]);
        assert!(matches!(ops[1][..], [Op::DiscardPart { number: 5, .. }]), "{ops:?}");
    }

    #[test]
    fn a_dead_fid_waits_for_its_age() {
        let rows = [dead_row(Vec::new())];
        assert!(ripe(CAT, &rows, HaTime(1999), 1000).is_empty());
        assert_eq!(ripe(CAT, &rows, HaTime(2000), 1000).len(), 1);
    }

    #[test]
    fn a_row_keeps_the_slots_that_have_not_confirmed_and_goes_with_the_last() {
        let slots = Slots { number: ViewNumber(4), slots: vec![Some(DeviceId(1)), None, Some(DeviceId(3))] };
        let dead = ripe(CAT, &[dead_row(Vec::new())], HaTime(9000), 0).remove(0);
        let asked = slots_left(&dead.state, &slots);
        assert_eq!(asked, [(0, DeviceId(1)), (2, DeviceId(3))]);
        assert_eq!(settle(&dead, &asked, |_| false), None);
        let Some(Op::Put { value, condition, .. }) = settle(&dead, &asked, |d| d == DeviceId(1)) else { panic!("one is left") };
        assert_eq!(condition, Condition::Version(Seq(8)));
        let state = DeadRow::from_value(&value).expect("our own row");
        assert_eq!(slots_left(&state, &slots), [(2, DeviceId(3))]);
        let dead = DeadFid { state, ..dead };
        let asked = slots_left(&dead.state, &slots);
        assert!(matches!(settle(&dead, &asked, |_| true), Some(Op::Delete { .. })));
    }
}
