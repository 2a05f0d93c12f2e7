//! A unit on its way to a device: admitted, given space, written, committed.

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;
use types::Fid;
use types::buf::IoBuf;
use types::checksum::first_bad_chunk;
use types::wire::request::UnitInfo;

use super::commit::{Commit, Put};
use super::core::{Core, closed};
use crate::StorageError;
use crate::alloc::Extent;
use crate::buf::{is_aligned, restore};
use crate::io::{Transfer, Way};
use crate::meta::store::Family;
use crate::unit::{UnitRecord, check_info, stored_bytes};

/// What becomes of a write before anything is written.
enum Admission {
    /// The same unit is there already.
    There,
    /// The same unit is on its way: its end decides.
    UnderWay,
    /// It has its space.
    Begun(UnitRecord),
}

pub(super) async fn write_unit<B: IoBuf>(
    core: &Arc<Core>,
    info: UnitInfo,
    checksums: Vec<u32>,
    data: B,
    restored: bool,
) -> Result<B, StorageError> {
    core.health.check()?;
    let length = check_request(&info, &checksums, data.bytes())?;
    let permit = Arc::clone(&core.permits).acquire_owned().await.map_err(|_| closed())?;
    let record = loop {
        let settled = core.settled.notified();
        tokio::pin!(settled);
        // From here on no end of a unit is missed.
        settled.as_mut().enable();
        match admit(core, &info, &checksums, restored)? {
            Admission::There => return Ok(data),
            Admission::UnderWay => settled.await,
            Admission::Begun(record) => break record,
        }
    };
    let (reply, answer) = oneshot::channel();
    let put = Put { record, replaces: None, restored, data: Box::new(data), reply, permit };
    begin(core, put, 0..length);
    answer.await.unwrap_or_else(|_| Err(closed())).map(restore)
}

/// Writes a unit that is there anew, in another place. The old place is free when the new one is durable.
pub(super) async fn rewrite_unit<B: IoBuf>(core: &Arc<Core>, fid: Fid, unit: u32, data: B) -> Result<B, StorageError> {
    core.health.check()?;
    let permit = Arc::clone(&core.permits).acquire_owned().await.map_err(|_| closed())?;
    let old = core.find(fid, unit)?.ok_or(StorageError::NoUnit { fid, unit })?;
    let length = check_request(&old.info, &old.checksums, data.bytes())?;
    if !core.space().under_way.insert((fid, unit)) {
        return Err(StorageError::Invalid(format!("unit {unit} of {fid} is being written")));
    }
    let mut record = old.clone();
    match core.meta.admit().and_then(|()| extents(core, &old.info)) {
        Ok(extents) => record.extents = extents,
        Err(error) => {
            core.settle([(fid, unit)], &[], 0);
            return Err(error);
        }
    }
    let (reply, answer) = oneshot::channel();
    begin(core, Put { record, replaces: Some(old), restored: false, data: Box::new(data), reply, permit }, 0..length);
    answer.await.unwrap_or_else(|_| Err(closed())).map(restore)
}

fn check_request(info: &UnitInfo, checksums: &[u32], data: &[u8]) -> Result<usize, StorageError> {
    let invalid = |why: String| StorageError::Invalid(format!("unit {} of {}: {why}", info.unit, info.fid));
    check_info(info, checksums).map_err(invalid)?;
    let length = info.length as usize;
    let bytes = data.get(..length).ok_or_else(|| invalid(format!("{} bytes of {length} came", data.len())))?;
    if !is_aligned(bytes) {
        return Err(invalid("its buffer does not begin at a block's boundary".into()));
    }
    match first_bad_chunk(info.fid, info.unit, 0, bytes, checksums) {
        Some(chunk) => Err(StorageError::BadChecksum { fid: info.fid, unit: info.unit, chunk }),
        None => Ok(length),
    }
}

fn admit(core: &Core, info: &UnitInfo, checksums: &[u32], restored: bool) -> Result<Admission, StorageError> {
    let name = (info.fid, info.unit);
    if !core.space().under_way.insert(name) {
        return Ok(Admission::UnderWay);
    }
    // The name is ours now: nobody else writes this unit until it is settled.
    let admission = place(core, info, checksums, restored);
    if !matches!(admission, Ok(Admission::Begun(_))) {
        core.settle([name], &[], 0);
    }
    admission
}

fn place(core: &Core, info: &UnitInfo, checksums: &[u32], restored: bool) -> Result<Admission, StorageError> {
    if core.is_fenced(info.fid, restored)? {
        return Err(StorageError::Fenced(info.fid));
    }
    let mut record = UnitRecord { info: info.clone(), checksums: checksums.to_vec(), extents: Vec::new() };
    let key = record.key();
    if let Some(value) = core.meta.store().get(Family::Units, &key)? {
        // Its record may be in memory only, of a commit whose sync has failed meanwhile.
        core.health.check()?;
        let there = UnitRecord::from_value(&key, &value)?;
        let same = there.info == record.info && there.checksums == record.checksums;
        return if same { Ok(Admission::There) } else { Err(StorageError::Conflict { fid: info.fid, unit: info.unit }) };
    }
    core.meta.admit()?;
    record.extents = extents(core, info)?;
    Ok(Admission::Begun(record))
}

/// Space for a unit.
fn extents(core: &Core, info: &UnitInfo) -> Result<Vec<Extent>, StorageError> {
    let bytes = stored_bytes(info);
    let mut space = core.space();
    let extents = space.alloc.allocate(bytes);
    extents.ok_or_else(|| StorageError::Full(format!("{bytes} bytes are wanted, {} are free", space.alloc.free())))
}

fn begin(core: &Arc<Core>, put: Put, range: Range<usize>) {
    let Put { record, replaces, restored, data, reply, permit } = put;
    let header = record.header(&core.identity);
    let runs = record.runs(range, true);
    let then = Arc::clone(core);
    let work = core.pulse.begin();
    let done = Box::new(move |finished: crate::io::Finished| {
        drop(work);
        match finished.result {
            Ok(()) => then.commits.push(Commit::Put(Box::new(Put { record, replaces, restored, data: finished.data, reply, permit }))),
            Err(error) => {
                then.abandon(&record);
                let what = format!("writing unit {} of {}", record.info.unit, record.info.fid);
                drop(reply.send(Err(StorageError::io(what, &error))));
            }
        }
    });
    core.io.submit(Transfer { way: Way::Write, runs, header: Some(header), data, done });
}
