//! The operations on objects and their versions, decided.
//!
//! ```text
//!              PUT, DELETE                        DELETE of the current version
//!   current ───────────────► version      version ─────────────────────────────► current
//! ```
//! What is current lies in a row of its own: the object under the object's key, or a delete marker. All other versions lie beside it, in
//! the order in which they were made. A bucket that keeps no versions has none of them, and pays nothing for those that do.

use super::{Condition, Op, OpsError, Step, Verdict, record_error, retire};
use crate::keys::Place;
use crate::object::{ObjectRecord, Stored, VersionRow, Versioning};
use crate::record::{Row, RowKey, Write};
use crate::{CatalogueId, Version, VersionId, keys};

/// What an operation on an object does.
pub(super) fn effects(op: &Op, step: &Step<'_>, effects: &mut Vec<Write>) -> Result<Verdict, OpsError> {
    match op {
        Op::PutObject { catalogue, name, record, pending, condition, versioning } => {
            let current = (step.now)(&RowKey { catalogue: *catalogue, key: keys::object(name) });
            for fid in pending {
                let row = RowKey { catalogue: *catalogue, key: keys::pending(name, *fid) };
                if (step.now)(&row).is_none() {
                    return Ok(Verdict::Refused(current.map(|row| row.version)));
                }
                effects.push(Write::Delete { row });
            }
            set(*catalogue, name, record, *versioning, current.as_ref(), step, effects)?;
            Ok(Verdict::If(*condition, current))
        }
        Op::DeleteObject { catalogue, name, condition, modified_ms, versioning } => {
            let row = RowKey { catalogue: *catalogue, key: keys::object(name) };
            let current = (step.now)(&row);
            let rows = Rows { catalogue: *catalogue, name, step };
            if *versioning == Versioning::Off {
                if let Some(current) = &current {
                    retire(*catalogue, name, &rows.record(current)?, step.at, effects);
                }
            } else {
                rows.set_aside(*versioning, current.as_ref(), *modified_ms, effects)?;
                let id = versioning.id(step.seq);
                let version = Stored::Marker { modified_ms: *modified_ms };
                let marker = VersionRow { id, order: step.seq, replaced_ms: 0, version };
                effects.push(Write::Put { row: rows.key(Place::Marker), value: marker.to_value() });
            }
            effects.push(Write::Delete { row });
            Ok(Verdict::If(*condition, current))
        }
        Op::DescribeObject { catalogue, name, words, of, condition } => {
            Rows { catalogue: *catalogue, name, step }.describe(*of, words, *condition, effects)
        }
        Op::DeleteVersion { catalogue, name, id, seen, next } => {
            Rows { catalogue: *catalogue, name, step }.delete(*id, *seen, *next, effects)
        }
        Op::DiscardVersion { catalogue, name, place } => {
            let rows = Rows { catalogue: *catalogue, name, step };
            let row = rows.key(*place);
            let Some(current) = (step.now)(&row) else { return Ok(Verdict::Refused(None)) };
            rows.retire(&rows.version(&current)?, effects);
            effects.push(Write::Delete { row });
            Ok(Verdict::If(Condition::Present, Some(current)))
        }
        other => unreachable!("{other:?} is not about an object"),
    }
}

/// Makes a record the current object of its name, in the place of `current`.
pub(super) fn set(
    catalogue: CatalogueId,
    name: &[u8],
    record: &[u8],
    versioning: Versioning,
    current: Option<&Row>,
    step: &Step<'_>,
    effects: &mut Vec<Write>,
) -> Result<(), OpsError> {
    let rows = Rows { catalogue, name, step };
    let row = RowKey { catalogue, key: keys::object(name) };
    if versioning == Versioning::Off {
        if let Some(current) = current {
            retire(catalogue, name, &rows.record(current)?, step.at, effects);
        }
        effects.push(Write::Put { row, value: record.to_vec() });
        return Ok(());
    }
    let mut record = ObjectRecord::from_value(record).map_err(|e| record_error(name, &e))?;
    record.id = versioning.id(step.seq);
    if rows.set_aside(versioning, current, record.modified_ms, effects)? {
        effects.push(Write::Delete { row: rows.key(Place::Marker) });
    }
    effects.push(Write::Put { row, value: record.to_value() });
    Ok(())
}

/// The rows of one name.
struct Rows<'a> {
    catalogue: CatalogueId,
    name: &'a [u8],
    step: &'a Step<'a>,
}

impl Rows<'_> {
    fn key(&self, place: Place) -> RowKey {
        RowKey { catalogue: self.catalogue, key: keys::version(self.name, place) }
    }

    fn record(&self, row: &Row) -> Result<ObjectRecord, OpsError> {
        ObjectRecord::from_value(&row.value).map_err(|e| record_error(self.name, &e))
    }

    fn version(&self, row: &Row) -> Result<VersionRow, OpsError> {
        VersionRow::from_value(&row.value).map_err(|e| record_error(self.name, &e))
    }

    fn retire(&self, version: &VersionRow, effects: &mut Vec<Write>) {
        if let Stored::Object(record) = &version.version {
            retire(self.catalogue, self.name, record, self.step.at, effects);
        }
    }

    /// Makes a version of what is current, unless another null version comes in the place of the one that there is; whether a delete marker
    /// was current, whose row is to go or to be written anew.
    fn set_aside(
        &self,
        versioning: Versioning,
        current: Option<&Row>,
        replaced_ms: u64,
        effects: &mut Vec<Write>,
    ) -> Result<bool, OpsError> {
        let marker = (self.step.now)(&self.key(Place::Marker));
        let object = match current {
            Some(row) => {
                let record = self.record(row)?;
                let (id, order) = (record.id, if let VersionId::At(seq) = record.id { seq } else { row.version });
                Some(VersionRow { id, order, replaced_ms, version: Stored::Object(record) })
            }
            None => None,
        };
        let marked = marker.as_ref().map(|row| self.version(row)).transpose()?;
        let goes = |id| versioning == Versioning::Suspended && id == VersionId::Null;
        for version in object.into_iter().chain(marked) {
            if goes(version.id) {
                self.retire(&version, effects);
            } else {
                let version = VersionRow { replaced_ms, ..version };
                effects.push(Write::Put { row: self.key(Place::Kept(version.id)), value: version.to_value() });
            }
        }
        let null = self.key(Place::Kept(VersionId::Null));
        if goes(VersionId::Null)
            && let Some(row) = (self.step.now)(&null)
        {
            self.retire(&self.version(&row)?, effects);
            effects.push(Write::Delete { row: null });
        }
        Ok(marker.is_some())
    }

    fn describe(
        &self,
        of: Option<VersionId>,
        words: &[(String, String)],
        condition: Condition,
        effects: &mut Vec<Write>,
    ) -> Result<Verdict, OpsError> {
        let object = RowKey { catalogue: self.catalogue, key: keys::object(self.name) };
        if let Some(row) = (self.step.now)(&object) {
            let old = self.record(&row)?;
            if of.is_none_or(|id| id == old.id) {
                let record = ObjectRecord { user_metadata: words.to_vec(), ..old };
                effects.push(Write::Put { row: object, value: record.to_value() });
                return Ok(Verdict::If(condition, Some(row)));
            }
        }
        let Some(key) = of.map(|id| self.key(Place::Kept(id))) else { return Ok(Verdict::Refused(None)) };
        let Some(row) = (self.step.now)(&key) else { return Ok(Verdict::Refused(None)) };
        let old = self.version(&row)?;
        let Stored::Object(record) = old.version else { return Ok(Verdict::Refused(None)) };
        let version = Stored::Object(ObjectRecord { user_metadata: words.to_vec(), ..record });
        effects.push(Write::Put { row: key, value: VersionRow { version, ..old }.to_value() });
        Ok(Verdict::If(condition, Some(row)))
    }

    fn delete(&self, id: VersionId, seen: Version, next: Option<VersionId>, effects: &mut Vec<Write>) -> Result<Verdict, OpsError> {
        let object = RowKey { catalogue: self.catalogue, key: keys::object(self.name) };
        let condition = Condition::Version(seen);
        if let Some(row) = (self.step.now)(&object) {
            let record = self.record(&row)?;
            if record.id == id {
                retire(self.catalogue, self.name, &record, self.step.at, effects);
                effects.push(Write::Delete { row: object });
                let promoted = self.promote(next, effects)?;
                return Ok(if promoted { Verdict::If(condition, Some(row)) } else { Verdict::Refused(Some(row.version)) });
            }
        }
        let marker = self.key(Place::Marker);
        if let Some(row) = (self.step.now)(&marker)
            && self.version(&row)?.id == id
        {
            effects.push(Write::Delete { row: marker });
            let promoted = self.promote(next, effects)?;
            return Ok(if promoted { Verdict::If(condition, Some(row)) } else { Verdict::Refused(Some(row.version)) });
        }
        let key = self.key(Place::Kept(id));
        let Some(row) = (self.step.now)(&key) else { return Ok(Verdict::Refused(None)) };
        self.retire(&self.version(&row)?, effects);
        effects.push(Write::Delete { row: key });
        Ok(Verdict::If(condition, Some(row)))
    }

    /// Makes a version the current one; whether it is there.
    fn promote(&self, next: Option<VersionId>, effects: &mut Vec<Write>) -> Result<bool, OpsError> {
        let Some(id) = next else { return Ok(true) };
        let row = self.key(Place::Kept(id));
        let Some(current) = (self.step.now)(&row) else { return Ok(false) };
        let version = self.version(&current)?;
        effects.push(Write::Delete { row });
        effects.push(match version.version {
            Stored::Object(record) => {
                let row = RowKey { catalogue: self.catalogue, key: keys::object(self.name) };
                Write::Put { row, value: record.to_value() }
            }
            Stored::Marker { .. } => {
                let marker = VersionRow { replaced_ms: 0, ..version };
                Write::Put { row: self.key(Place::Marker), value: marker.to_value() }
            }
        });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CAT, World, fid, record};
    use super::*;
    use crate::keys::{Key, kind};
    use crate::record::Outcome;
    use crate::{Fid, Seq};

    const NAME: &[u8] = b"photo";

    /// What a name is, as a user thinks of it: its versions from the newest on, each an object's fid or a delete marker.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Model(Vec<(VersionId, Option<Fid>)>);

    impl Model {
        fn add(&mut self, versioning: Versioning, seq: u64, what: Option<Fid>) {
            let id = versioning.id(Seq(seq));
            if id == VersionId::Null {
                self.0.retain(|(known, _)| *known != VersionId::Null);
            }
            if versioning != Versioning::Off || what.is_some() {
                self.0.insert(0, (id, what));
            }
        }
    }

    fn key(key: Vec<u8>) -> RowKey {
        RowKey { catalogue: CAT, key }
    }

    /// The versions that the rows hold, with the version of the row of each.
    fn versions(world: &World) -> Vec<(VersionId, Option<Fid>, Seq)> {
        let mut all: Vec<(Seq, VersionId, Option<Fid>, Seq)> = Vec::new();
        for (row, value) in &world.0 {
            match Key::parse(&row.key) {
                Some(Key::Object(_)) => {
                    let record = ObjectRecord::from_value(&value.value).expect("a record");
                    all.push((Seq(u64::MAX), record.id, record.fids().next(), value.version));
                }
                Some(Key::Version(_, place)) => {
                    let row = VersionRow::from_value(&value.value).expect("a row");
                    let fid = if let Stored::Object(record) = &row.version { record.fids().next() } else { None };
                    assert!(place != Place::Marker || row.replaced_ms == 0, "what is current was not replaced");
                    assert!(place == Place::Kept(row.id) || place == Place::Marker && fid.is_none());
                    all.push((if place == Place::Marker { Seq(u64::MAX) } else { row.order }, row.id, fid, value.version));
                }
                _ => {}
            }
        }
        all.sort_by_key(|(order, ..)| std::cmp::Reverse(*order));
        assert!(all.iter().filter(|(order, ..)| order.0 == u64::MAX).count() == usize::from(!all.is_empty()), "one is current: {all:?}");
        all.into_iter().map(|(_, id, fid, version)| (id, fid, version)).collect()
    }

    fn put(world: &mut World, versioning: Versioning, fid: Fid, condition: Condition) -> Outcome {
        world.run(&[Op::Put { row: key(keys::pending(NAME, fid)), value: Vec::new(), condition: Condition::Absent }]);
        let (name, record, pending) = (NAME.to_vec(), record(fid), vec![fid]);
        world.run(&[Op::PutObject { catalogue: CAT, name, record, pending, condition, versioning }])
    }

    fn delete(world: &mut World, versioning: Versioning) -> Outcome {
        let condition = Condition::Always;
        world.run(&[Op::DeleteObject { catalogue: CAT, name: NAME.to_vec(), condition, modified_ms: 5, versioning }])
    }

    fn remove(world: &mut World, id: VersionId, seen: Seq, next: Option<VersionId>) -> Outcome {
        world.run(&[Op::DeleteVersion { catalogue: CAT, name: NAME.to_vec(), id, seen, next }])
    }

    fn is_dead(world: &World, fid: Fid) -> bool {
        world.has(keys::dead(NAME, fid))
    }

    #[test]
    fn the_rows_are_the_versions_that_a_user_thinks_of_whatever_is_done() {
        for seed in 0..300u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut draw = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            let (mut world, mut model, mut mode) = (World::default(), Model::default(), Versioning::Off);
            let mut written = Vec::new();
            for step in 1..=60 {
                match draw(8) {
                    0 => mode = if draw(2) == 0 && mode != Versioning::Off { Versioning::Suspended } else { Versioning::Enabled },
                    1..=3 => {
                        written.push(fid(step));
                        assert!(
                            matches!(put(&mut world, mode, fid(step), Condition::Always), Outcome::Done { versioning, .. } if versioning == mode)
                        );
                        model.add(mode, world.1, Some(fid(step)));
                    }
                    4 => {
                        delete(&mut world, mode);
                        model.add(mode, world.1, None);
                    }
                    _ if model.0.is_empty() => {}
                    _ => {
                        let which = draw(model.0.len() as u64) as usize;
                        let (id, _, seen) = versions(&world)[which];
                        let next = if which == 0 { model.0.get(1).map(|(id, _)| *id) } else { None };
                        assert!(matches!(remove(&mut world, id, seen, next), Outcome::Done { .. }), "seed {seed}");
                        model.0.remove(which);
                    }
                }
                let rows: Vec<_> = versions(&world).into_iter().map(|(id, fid, _)| (id, fid)).collect();
                assert_eq!(rows, model.0, "seed {seed} step {step}");
                for fid in &written {
                    let kept = model.0.iter().any(|(_, known)| known.as_ref() == Some(fid));
                    assert_eq!(is_dead(&world, *fid), !kept, "seed {seed}: a fid is an object's or dead");
                }
            }
        }
    }

    #[test]
    fn a_delete_of_the_current_version_is_bound_to_what_was_seen_of_it_and_of_the_next() {
        let mut world = World::default();
        for counter in 1..=3 {
            put(&mut world, Versioning::Enabled, fid(counter), Condition::Always);
        }
        let [(third, _, seen), (second, _, of_second), (first, ..)] = versions(&world)[..] else { panic!("three versions") };
        assert!(matches!(remove(&mut world, second, of_second, None), Outcome::Done { .. }));
        assert_eq!(remove(&mut world, third, seen, Some(second)), Outcome::Refused { op: 0, current: Some(seen) });
        assert_eq!(remove(&mut world, second, of_second, None), Outcome::Refused { op: 0, current: None });
        assert!(matches!(remove(&mut world, third, Seq(1), Some(first)), Outcome::Refused { current: Some(_), .. }));
        assert!(!is_dead(&world, fid(3)) && is_dead(&world, fid(2)));
        assert!(matches!(remove(&mut world, third, seen, Some(first)), Outcome::Done { .. }));
        assert_eq!(versions(&world).iter().map(|(id, fid, _)| (*id, *fid)).collect::<Vec<_>>(), [(first, Some(fid(1)))]);
        assert!(world.has(keys::object(NAME)));
    }

    #[test]
    fn conditions_are_about_what_is_current() {
        let mut world = World::default();
        let enabled = Versioning::Enabled;
        assert!(matches!(put(&mut world, enabled, fid(1), Condition::Absent), Outcome::Done { .. }));
        assert!(matches!(put(&mut world, enabled, fid(2), Condition::Absent), Outcome::Refused { .. }));
        delete(&mut world, enabled);
        assert!(matches!(put(&mut world, enabled, fid(3), Condition::Present), Outcome::Refused { .. }), "a delete marker is no object");
        assert!(matches!(put(&mut world, enabled, fid(4), Condition::Absent), Outcome::Done { .. }));
    }

    #[test]
    fn words_are_said_of_a_version_and_stay_with_it() {
        let mut world = World::default();
        put(&mut world, Versioning::Off, fid(1), Condition::Always);
        put(&mut world, Versioning::Enabled, fid(2), Condition::Always);
        let describe = |of, condition| Op::DescribeObject {
            catalogue: CAT,
            name: NAME.to_vec(),
            words: vec![("a".into(), "b".into())],
            of,
            condition,
        };
        assert!(matches!(world.run(&[describe(Some(VersionId::Null), Condition::Version(Seq(9)))]), Outcome::Refused { .. }));
        assert!(matches!(world.run(&[describe(Some(VersionId::Null), Condition::Always)]), Outcome::Done { .. }));
        assert_eq!(world.run(&[describe(Some(VersionId::At(Seq(99))), Condition::Always)]), Outcome::Refused { op: 0, current: None });
        let [(current, _, seen), ..] = versions(&world)[..] else { panic!("two versions") };
        remove(&mut world, current, seen, Some(VersionId::Null));
        let record = ObjectRecord::from_value(&world.0[&key(keys::object(NAME))].value).expect("a record");
        assert_eq!((record.id, &record.user_metadata[..]), (VersionId::Null, &[("a".to_owned(), "b".to_owned())][..]));
    }

    #[test]
    fn what_a_dropped_bucket_kept_is_discarded_row_by_row() {
        let mut world = World::default();
        put(&mut world, Versioning::Enabled, fid(1), Condition::Always);
        delete(&mut world, Versioning::Enabled);
        let rows: Vec<RowKey> = world.0.keys().filter(|row| row.key[0] == kind::VERSION).cloned().collect();
        assert_eq!(rows.len(), 2);
        for row in rows {
            let Some(Key::Version(name, place)) = Key::parse(&row.key) else { panic!("a version") };
            let discard = [Op::DiscardVersion { catalogue: CAT, name: name.to_vec(), place }];
            assert!(matches!(world.run(&discard), Outcome::Done { .. }));
            assert!(matches!(world.run(&discard), Outcome::Refused { .. }));
        }
        assert!(is_dead(&world, fid(1)) && versions(&world).is_empty());
    }
}
