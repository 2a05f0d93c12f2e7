//! Units are read here, and never returned without their checksums being right.

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;
use types::buf::IoBuf;
use types::checksum::first_bad_chunk;
use types::limits::{BLOCK_BYTES, CHUNK_BYTES};
use types::wire::request::UnitInfo;
use types::{Fid, GroupId};

use super::core::{Core, closed};
use crate::StorageError;
use crate::buf::{AlignedBuf, AnyBuf, is_aligned, restore};
use crate::io::{Finished, Transfer, Way};
use crate::meta::sealed::{self, after};
use crate::meta::store::Family;
use crate::unit::{UnitRecord, check_range, group_prefix};

pub(super) async fn read_unit<B: IoBuf>(
    core: &Arc<Core>,
    fid: Fid,
    unit: u32,
    offset: u32,
    length: u32,
    buf: B,
) -> Result<(B, Vec<u32>), StorageError> {
    let invalid = |why: String| StorageError::Invalid(format!("unit {unit} of {fid}: {why}"));
    let mut data: Box<dyn AnyBuf> = Box::new(buf);
    loop {
        let record = core.find(fid, unit)?.ok_or(StorageError::NoUnit { fid, unit })?;
        let range = check_range(&record.info, offset, length).map_err(invalid)?;
        match data.bytes().get(..range.len()) {
            None => return Err(invalid(format!("no room for {} bytes", range.len()))),
            Some(room) if !is_aligned(room) => return Err(invalid("its buffer does not begin at a block's boundary".into())),
            Some(_) => {}
        }
        let finished = transfer(core, &record, &range, data).await?;
        let damage = match &finished.result {
            Err(error) => Some(StorageError::io(format!("reading unit {unit} of {fid}"), error)),
            Ok(()) => damage(core, &record, &range, &finished).map(|chunk| StorageError::Corrupt { fid, unit, chunk }),
        };
        let Some(error) = damage else { return Ok((restore(finished.data), record.checksums_of(&range).to_vec())) };
        // Deleted or written anew while it was read, its space may hold another unit by now: that is no damage.
        if core.find(fid, unit)?.as_ref() == Some(&record) {
            return Err(error);
        }
        data = finished.data;
    }
}

/// Reads a range of a unit.
async fn transfer(core: &Core, record: &UnitRecord, range: &Range<usize>, data: Box<dyn AnyBuf>) -> Result<Finished, StorageError> {
    let permit = Arc::clone(&core.permits).acquire_owned().await.map_err(|_| closed())?;
    // Whoever reads a unit from its begin reads its header too: damage to it is found as any other.
    let header = (range.start == 0).then(|| AlignedBuf::zeroed(BLOCK_BYTES));
    let runs = record.runs(range.clone(), header.is_some());
    let (reply, answer) = oneshot::channel::<Finished>();
    let work = core.pulse.begin();
    let done = Box::new(move |finished| {
        drop(work);
        // The permit is given back when the memory is, whether anybody waits or not.
        drop(permit);
        drop(reply.send(finished));
    });
    core.io.submit(Transfer { way: Way::Read, runs, header, data, done });
    answer.await.map_err(|_| closed())
}

/// The first chunk that is not what was written; 0 where the header is not.
fn damage(core: &Core, record: &UnitRecord, range: &Range<usize>, finished: &Finished) -> Option<u32> {
    if let Some(header) = &finished.header
        && UnitRecord::from_header(IoBuf::bytes(header), &core.identity).as_ref() != Some(record)
    {
        return Some(0);
    }
    let first = u32::try_from(range.start / CHUNK_BYTES).expect("a unit is at most a few chunks");
    let bytes = &finished.data.bytes()[..range.len()];
    first_bad_chunk(record.info.fid, record.info.unit, first, bytes, record.checksums_of(range))
}

pub(super) fn units(core: &Core, group: GroupId, from: Option<(Fid, u32)>, limit: usize) -> Result<Vec<UnitInfo>, StorageError> {
    let prefix = group_prefix(group);
    let start = match from {
        Some((fid, unit)) => [&sealed::unit(fid, unit)[..], &[0]].concat(),
        None => prefix.clone(),
    };
    let mut units = Vec::new();
    if limit == 0 {
        return Ok(units);
    }
    core.meta.each(Family::Units, &start, &after(&prefix), |key, value| {
        units.push(UnitRecord::from_value(key, value)?.info);
        Ok(units.len() < limit)
    })?;
    Ok(units)
}

/// The groups of which there are units.
pub(super) fn unit_groups(core: &Core) -> Result<Vec<GroupId>, StorageError> {
    let (mut groups, mut start) = (Vec::new(), Vec::new());
    loop {
        let mut found = None;
        core.meta.each(Family::Units, &start, &after(&[]), |key, _| {
            found = sealed::group_of(key);
            Ok(false)
        })?;
        let Some(group) = found else { return Ok(groups) };
        groups.push(group);
        start = after(&group_prefix(group));
    }
}
