//! What is kept to be told of an operation on an object.

use super::{Op, OpsError, record_error};
use crate::event::EventRow;
use crate::object::{ObjectRecord, Versioning};
use crate::record::{RowKey, Write};
use crate::{Seq, Version, keys};

/// Adds the rows of events. `previous` has the versions that the rows of all operations before had.
pub(super) fn effects(op: &Op, ops: &[Op], seq: Seq, previous: &[Option<Version>], writes: &mut Vec<Write>) -> Result<(), OpsError> {
    let Op::Notify { catalogue, name, of, happening, bucket, at_ms, wishes } = op else { return Ok(()) };
    let (mut size, mut etag) = (None, None);
    let version = match ops.get(usize::from(*of)) {
        Some(Op::PutObject { versioning, .. } | Op::CompleteUpload { versioning, .. }) => {
            let row = RowKey { catalogue: *catalogue, key: keys::object(name) };
            let Some(Write::Put { value, .. }) = writes.iter().rev().find(|write| *write.row() == row) else { return Ok(()) };
            let record = ObjectRecord::from_value(value).map_err(|e| record_error(name, &e))?;
            (size, etag) = (Some(record.plain_bytes()), Some(record.etag(seq)));
            (*versioning != Versioning::Off).then_some(record.id)
        }
        // Nothing was there, and nothing is made.
        Some(Op::DeleteObject { versioning: Versioning::Off, .. }) if previous.get(usize::from(*of)).is_none_or(Option::is_none) => {
            return Ok(());
        }
        Some(Op::DeleteObject { versioning, .. }) => (*versioning != Versioning::Off).then(|| versioning.id(seq)),
        Some(Op::DeleteVersion { id, .. }) => Some(*id),
        _ => return Ok(()),
    };
    for wish in wishes {
        let event = EventRow {
            happening: *happening,
            bucket: bucket.clone(),
            rule: wish.rule.clone(),
            at_ms: *at_ms,
            size,
            etag: etag.clone(),
            version,
        };
        // One number is one event: those of other targets lie elsewhere.
        let row = RowKey { catalogue: *catalogue, key: keys::event(&wish.target, seq, *of, name) };
        writes.push(Write::Put { row, value: event.to_value() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CAT, World};
    use super::*;
    use crate::VersionId;
    use crate::event::{Cause, Happening, Wish};
    use crate::object::Content;
    use crate::ops::Condition;
    use crate::record::Outcome;

    fn put(bytes: &[u8], versioning: Versioning, condition: Condition) -> Op {
        let content = Content::Inline(bytes.to_vec());
        let (size, user_metadata) = (bytes.len() as u64, vec![(crate::object::ETAG.to_owned(), "tag".to_owned())]);
        let record = ObjectRecord { size, checksum: 0, modified_ms: 0, content, user_metadata, id: VersionId::Null };
        Op::PutObject { catalogue: CAT, name: b"n".to_vec(), record: record.to_value(), pending: Vec::new(), condition, versioning }
    }

    fn delete(versioning: Versioning) -> Op {
        Op::DeleteObject { catalogue: CAT, name: b"n".to_vec(), condition: Condition::Always, modified_ms: 1, versioning }
    }

    /// The operation, and that two targets want to know.
    fn told(op: Op, cause: Cause) -> Vec<Op> {
        let (catalogue, name, happening) = op.happening(cause).expect("it does something");
        let wish = |target: &str| Wish { target: target.into(), rule: format!("of {target}") };
        let (wishes, name) = (vec![wish("a"), wish("b")], name.to_vec());
        let notify = Op::Notify { catalogue, name, of: 0, happening, bucket: "bucket".into(), at_ms: 9, wishes };
        vec![op, notify]
    }

    fn event(world: &World, target: &str, seq: u64) -> Option<EventRow> {
        let row = world.0.get(&RowKey { catalogue: CAT, key: keys::event(target, Seq(seq), 0, b"n") })?;
        EventRow::from_value(&row.value).ok()
    }

    #[test]
    fn an_event_is_there_exactly_when_the_change_is() {
        let mut world = World::default();
        assert!(matches!(world.run(&told(put(b"12345", Versioning::Off, Condition::Absent), Cause::Copy)), Outcome::Done { .. }));
        let made = event(&world, "a", 1).expect("it happened");
        assert_eq!((made.happening, made.size, made.etag.as_deref(), made.version), (Happening::Copy, Some(5), Some("tag"), None));
        assert_eq!((made.bucket.as_str(), made.rule.as_str(), made.at_ms), ("bucket", "of a", 9));
        assert_eq!(event(&world, "b", 1).expect("both are told").rule, "of b");
        assert!(matches!(world.run(&told(put(b"6", Versioning::Off, Condition::Absent), Cause::Asked)), Outcome::Refused { op: 0, .. }));
        assert_eq!(event(&world, "a", 2), None);
        let Outcome::Done { previous, .. } = world.run(&told(delete(Versioning::Off), Cause::Asked)) else { panic!("it is there") };
        assert_eq!(previous, [Some(Seq(1))], "whoever asked is told of what it asked alone");
        let gone = event(&world, "a", 3).expect("it happened");
        assert_eq!((gone.happening, gone.size, gone.etag, gone.version), (Happening::Deleted, None, None, None));
        world.run(&told(delete(Versioning::Off), Cause::Asked));
        assert_eq!(event(&world, "a", 4), None, "nothing was there");
    }

    #[test]
    fn events_of_versions_name_them() {
        let mut world = World::default();
        let happened = |world: &World, seq| event(world, "a", seq).map(|event| (event.happening, event.version));
        let at = |seq| Some(VersionId::At(Seq(seq)));
        world.run(&told(put(b"1", Versioning::Enabled, Condition::Always), Cause::Form));
        assert_eq!(happened(&world, 1), Some((Happening::Post, at(1))));
        world.run(&told(delete(Versioning::Enabled), Cause::Rule));
        assert_eq!(happened(&world, 2), Some((Happening::ExpiredMarked, at(2))));
        let remove = Op::DeleteVersion {
            catalogue: CAT,
            name: b"n".to_vec(),
            id: VersionId::At(Seq(2)),
            seen: Seq(2),
            next: Some(VersionId::At(Seq(1))),
        };
        world.run(&told(remove, Cause::Asked));
        assert_eq!(happened(&world, 3), Some((Happening::Deleted, at(2))));
        world.run(&told(put(b"1", Versioning::Suspended, Condition::Always), Cause::Asked));
        assert_eq!(happened(&world, 4), Some((Happening::Put, Some(VersionId::Null))));
    }
}
