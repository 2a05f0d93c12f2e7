//! The operations on uploads, decided: what each does to the rows, given what is there.

use super::{Condition, Op, OpsError, Step, Verdict, dead_row, object, record_error};
use crate::object::DeadRow;
use crate::record::{Row, RowKey, Write};
use crate::upload::{PartRow, RetiredRow, UploadId, UploadRow, UploadState};
use crate::{CatalogueId, HaTime, Version, keys};

/// Most fids that get dead rows in one [`Op::Unfold`].
pub const UNFOLD_MAX: usize = 256;

type Rows<'a> = dyn Fn(&RowKey) -> Option<Row> + 'a;

/// What an operation on an upload does.
pub(super) fn effects(op: &Op, step: &Step<'_>, effects: &mut Vec<Write>) -> Result<Verdict, OpsError> {
    let (at, now) = (step.at, step.now);
    match op {
        Op::PutPart { catalogue, name, upload, number, part, pending } => {
            let Some((row, version, open)) = open_upload(*catalogue, name, *upload, now)? else { return Ok(Verdict::Refused(None)) };
            for fid in pending {
                let row = RowKey { catalogue: *catalogue, key: keys::pending(name, *fid) };
                if now(&row).is_none() {
                    return Ok(Verdict::Refused(Some(version)));
                }
                effects.push(Write::Delete { row });
            }
            let key = RowKey { catalogue: *catalogue, key: keys::part(name, *upload, *number) };
            let old = now(&key);
            if let Some(old) = &old {
                kill_part(*catalogue, name, old, at, effects)?;
            }
            effects.push(Write::Put { row: key, value: part.clone() });
            effects.push(Write::Put { row, value: open.to_value() });
            Ok(Verdict::If(Condition::Always, old))
        }
        Op::CompleteUpload { catalogue, name, upload, seen, kept, record, condition, versioning } => {
            let current = now(&RowKey { catalogue: *catalogue, key: keys::object(name) });
            let found = open_upload(*catalogue, name, *upload, now)?.filter(|(_, version, _)| version == seen);
            let Some((row, _, open)) = found else { return Ok(Verdict::Refused(current.map(|row| row.version))) };
            object::set(*catalogue, name, record, *versioning, current.as_ref(), step, effects)?;
            let ended = UploadRow { state: UploadState::Ended { kept: kept.clone() }, ..open };
            effects.push(Write::Put { row, value: ended.to_value() });
            Ok(Verdict::If(*condition, current))
        }
        Op::EndUpload { catalogue, name, upload } => {
            let Some((row, _, open)) = open_upload(*catalogue, name, *upload, now)? else { return Ok(Verdict::Refused(None)) };
            let ended = UploadRow { state: UploadState::Ended { kept: Vec::new() }, ..open };
            let current = now(&row);
            effects.push(Write::Put { row, value: ended.to_value() });
            Ok(Verdict::If(Condition::Present, current))
        }
        Op::DiscardPart { catalogue, name, upload, number } => {
            let row = RowKey { catalogue: *catalogue, key: keys::part(name, *upload, *number) };
            let Some(part) = now(&row) else { return Ok(Verdict::Refused(None)) };
            if !is_kept(*catalogue, name, *upload, *number, now)? {
                kill_part(*catalogue, name, &part, at, effects)?;
            }
            effects.push(Write::Delete { row });
            Ok(Verdict::If(Condition::Present, Some(part)))
        }
        Op::Unfold { catalogue, name, first } => {
            let row = RowKey { catalogue: *catalogue, key: keys::retired(name, *first) };
            let Some(current) = now(&row) else { return Ok(Verdict::Refused(None)) };
            let mut retired = RetiredRow::from_value(&current.value).map_err(|e| record_error(name, &e))?;
            let rest = retired.fids.split_off(retired.fids.len().min(UNFOLD_MAX));
            let value = DeadRow { since: retired.since, slots_left: Vec::new() }.to_value();
            let dead = |fid: &crate::Fid| RowKey { catalogue: *catalogue, key: keys::dead(name, *fid) };
            effects.extend(retired.fids.iter().map(|fid| Write::Put { row: dead(fid), value: value.clone() }));
            effects.push(if rest.is_empty() {
                Write::Delete { row }
            } else {
                Write::Put { row, value: RetiredRow { since: retired.since, fids: rest }.to_value() }
            });
            Ok(Verdict::If(Condition::Present, Some(current)))
        }
        other => unreachable!("{other:?} is not about an upload"),
    }
}

/// The upload's row and its version, where it takes parts.
fn open_upload(
    catalogue: CatalogueId,
    name: &[u8],
    upload: UploadId,
    now: &Rows<'_>,
) -> Result<Option<(RowKey, Version, UploadRow)>, OpsError> {
    let row = RowKey { catalogue, key: keys::upload(name, upload) };
    let Some(current) = now(&row) else { return Ok(None) };
    let state = UploadRow::from_value(&current.value).map_err(|e| record_error(name, &e))?;
    Ok((state.state == UploadState::Open).then_some((row, current.version, state)))
}

fn is_kept(catalogue: CatalogueId, name: &[u8], upload: UploadId, number: u16, now: &Rows<'_>) -> Result<bool, OpsError> {
    let Some(current) = now(&RowKey { catalogue, key: keys::upload(name, upload) }) else { return Ok(false) };
    let state = UploadRow::from_value(&current.value).map_err(|e| record_error(name, &e))?.state;
    Ok(matches!(state, UploadState::Ended { kept } if kept.binary_search(&number).is_ok()))
}

fn kill_part(catalogue: CatalogueId, name: &[u8], part: &Row, at: HaTime, effects: &mut Vec<Write>) -> Result<(), OpsError> {
    let part = PartRow::from_value(&part.value).map_err(|e| record_error(name, &e))?;
    effects.extend(part.fids().map(|fid| dead_row(catalogue, name, fid, at)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CAT, World, fid, record};
    use super::*;
    use crate::object::{Content, ObjectRecord, Part, Versioning};
    use crate::record::Outcome;
    use crate::upload::UPLOAD_ID_BYTES;
    use crate::{Fid, Seq, VersionId, limits};

    const UPLOAD: UploadId = UploadId([7; UPLOAD_ID_BYTES]);

    fn name() -> Vec<u8> {
        b"film".to_vec()
    }

    fn run(fid: Fid) -> Part {
        Part { offset: 0, length: 1, fid, data: 4, parity: 2, unit_bytes: 4096 }
    }

    fn begin(world: &mut World) {
        let row = RowKey { catalogue: CAT, key: keys::upload(&name(), UPLOAD) };
        let value = UploadRow { began_ms: 1, user_metadata: Vec::new(), state: UploadState::Open }.to_value();
        assert!(is_done(&world.run(&[Op::Put { row, value, condition: Condition::Absent }])));
    }

    fn put(world: &mut World, number: u16, fid: Fid) -> Outcome {
        let row = RowKey { catalogue: CAT, key: keys::pending(&name(), fid) };
        world.run(&[Op::Put { row, value: Vec::new(), condition: Condition::Absent }]);
        let part = PartRow { size: 1, checksum: 0, modified_ms: 0, runs: vec![run(fid)], user_metadata: Vec::new() }.to_value();
        world.run(&[Op::PutPart { catalogue: CAT, name: name(), upload: UPLOAD, number, part, pending: vec![fid] }])
    }

    fn complete(world: &mut World, seen: Version, kept: Vec<u16>, fid: Fid) -> Outcome {
        let (condition, versioning, record) = (Condition::Always, Versioning::Off, record(fid));
        world.run(&[Op::CompleteUpload { catalogue: CAT, name: name(), upload: UPLOAD, seen, kept, record, condition, versioning }])
    }

    fn discard(world: &mut World, number: u16) -> Outcome {
        world.run(&[Op::DiscardPart { catalogue: CAT, name: name(), upload: UPLOAD, number }])
    }

    fn is_done(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Done { .. })
    }

    #[test]
    fn a_completed_upload_keeps_the_fids_of_its_parts_and_no_others() {
        let mut world = World::default();
        begin(&mut world);
        for (number, counter) in [(1, 1), (2, 2), (1, 3)] {
            assert!(is_done(&put(&mut world, number, fid(counter))));
            assert!(!world.has(keys::pending(&name(), fid(counter))));
        }
        assert!(world.has(keys::dead(&name(), fid(1))), "part 1 was put again");
        let stale = Seq(world.1 - 1);
        assert!(!is_done(&complete(&mut world, stale, vec![1], fid(3))), "a part came after it was looked at");
        let seen = world.version(&keys::upload(&name(), UPLOAD));
        assert!(is_done(&complete(&mut world, seen, vec![1], fid(3))));
        assert!(world.has(keys::object(&name())));
        assert!(!is_done(&complete(&mut world, seen, vec![1], fid(3))), "once");
        assert!(!is_done(&put(&mut world, 4, fid(9))), "it takes no parts any more");
        assert!(is_done(&discard(&mut world, 1)) && is_done(&discard(&mut world, 2)));
        assert!(!is_done(&discard(&mut world, 2)));
        assert!(!world.has(keys::dead(&name(), fid(3))), "it is the object's");
        assert!(world.has(keys::dead(&name(), fid(2))));
    }

    #[test]
    fn an_upload_that_is_given_up_leaves_dead_fids_only() {
        let mut world = World::default();
        begin(&mut world);
        put(&mut world, 1, fid(1));
        let end = [Op::EndUpload { catalogue: CAT, name: name(), upload: UPLOAD }];
        assert!(is_done(&world.run(&end)));
        assert_eq!(world.run(&end), Outcome::Refused { op: 0, current: None });
        let seen = world.version(&keys::upload(&name(), UPLOAD));
        assert!(!is_done(&complete(&mut world, seen, vec![1], fid(1))));
        assert!(is_done(&discard(&mut world, 1)));
        assert!(world.has(keys::dead(&name(), fid(1))) && !world.has(keys::object(&name())));
    }

    #[test]
    fn an_object_of_very_many_parts_is_retired_in_one_row_and_unfolded_in_steps() {
        let mut world = World::default();
        let count = limits::FIDS_RETIRED_APART_MAX as u64 + 300;
        let content = Content::Parts((0..count).map(|counter| Part { offset: counter, ..run(fid(counter)) }).collect());
        let value =
            ObjectRecord { size: count, checksum: 0, modified_ms: 0, content, user_metadata: Vec::new(), id: VersionId::Null }.to_value();
        let row = RowKey { catalogue: CAT, key: keys::object(&name()) };
        world.run(&[Op::Put { row, value, condition: Condition::Always }]);
        let (condition, versioning) = (Condition::Present, Versioning::Off);
        world.run(&[Op::DeleteObject { catalogue: CAT, name: name(), condition, modified_ms: 0, versioning }]);
        assert!(world.has(keys::retired(&name(), fid(0))) && !world.has(keys::dead(&name(), fid(0))));
        let unfold = [Op::Unfold { catalogue: CAT, name: name(), first: fid(0) }];
        let mut steps = 0;
        while is_done(&world.run(&unfold)) {
            steps += 1;
        }
        assert_eq!(steps, count.div_ceil(UNFOLD_MAX as u64));
        assert!((0..count).all(|counter| world.has(keys::dead(&name(), fid(counter)))));
    }
}
