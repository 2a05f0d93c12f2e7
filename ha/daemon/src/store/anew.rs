//! A store that is to begin anew when it opens next: HA made again from it, or set aside because HA was made again from another one.
//!
//! ```text
//! DIR/anew   what is wished for; removed last, so that whatever was broken off is done again
//! ```
//! A store of a former HA is kept beside, in `DIR/before-N`: nobody reads it again, but an operator may want to look at it.

use std::fs;
use std::path::Path;

use ha_state::state::ANEW_ENTRIES;
use ha_state::{Command, State};
use serde::{Deserialize, Serialize};
use types::HaTime;
use types::codec::{decode, encode};

use super::disk::Disk;
use super::record::{Members, Payload, Place, Record, SnapshotHead};
use super::snapshot::{Snapshot, Snapshots};
use super::{Identity, sealed, unsealed};
use crate::error::StoreError;

const NAME: &str = "anew";
const MAGIC: &[u8; 8] = b"RDBTHAN1";
/// How far terms go on.
const ANEW_TERMS: u64 = 1 << 20;
/// How far HA time goes on beyond what the clock says, in milliseconds: leaders run ahead of what is committed by less.
const ANEW_TIME_MS: u64 = 10_000;
/// What a store consists of.
const PARTS: [&str; 4] = ["identity", "peers", "log", "state"];

/// What a store is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// The only voter of a new group, with the state that is in it.
    Lead {
        /// The generation of that.
        generation: u64,
        /// The wall clock in milliseconds since 1970.
        wall_ms: u64,
    },
    /// Blank: HA was made anew elsewhere.
    Follow {
        /// The generation of that.
        generation: u64,
    },
}

/// Writes down what a store is to become: durable when it returns.
pub fn wish_for(disk: &mut impl Disk, wish: Wish) -> Result<(), StoreError> {
    disk.put(NAME, &sealed(MAGIC, &encode(&wish))).map_err(|source| StoreError::Io { what: NAME.into(), source })
}

/// What a store is to become, if that was wished for.
pub fn wished(disk: &impl Disk) -> Result<Option<Wish>, StoreError> {
    let io = |source| StoreError::Io { what: NAME.into(), source };
    let damaged = |problem: String| StoreError::Damaged { file: NAME.into(), problem };
    if !disk.list().map_err(io)?.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let bytes = disk.read(NAME).map_err(io)?;
    let body = unsealed(MAGIC, &bytes).map_err(|e| damaged(e.into()))?;
    decode(body).map(Some).map_err(|e| damaged(e.to_string()))
}

/// It is done.
pub fn done(disk: &mut impl Disk) -> Result<(), StoreError> {
    disk.remove(NAME).map_err(|source| StoreError::Io { what: NAME.into(), source })
}

/// Puts everything that a store consists of aside.
pub fn set_aside(dir: &Path, generation: u64) -> Result<(), StoreError> {
    let aside = dir.join(format!("before-{generation}"));
    let io = |source| StoreError::Io { what: aside.display().to_string(), source };
    fs::create_dir_all(&aside).map_err(io)?;
    for part in PARTS {
        let (from, to) = (dir.join(part), aside.join(part));
        if from.exists() && !to.exists() {
            fs::rename(&from, &to).map_err(io)?;
        }
    }
    fs::File::open(&aside).and_then(|file| file.sync_all()).map_err(io)?;
    fs::File::open(dir).and_then(|file| file.sync_all()).map_err(io)
}

/// Makes a group of one from a store: a snapshot with everything that is in its log, agreed on by a majority or not, and a log that goes on
/// behind it, far from where it was. Gives the records to be written.
pub fn lead(records: &[Record], snapshots: &Snapshots, identity: &Identity, wall_ms: u64) -> Result<Vec<Record>, StoreError> {
    let damaged = |problem: String| StoreError::Damaged { file: "the log".into(), problem };
    let (mut state, mut last) = (State::new(), None);
    if let Some(snapshot) = snapshots.last() {
        state = State::decode(&snapshot.state).map_err(|e| damaged(e.to_string()))?;
        last = snapshot.head.last;
    }
    let mut entries = std::collections::BTreeMap::new();
    let mut term = last.map_or(0, |place| place.term);
    for record in records {
        match record {
            Record::Vote { term: of, .. } => term = term.max(*of),
            Record::Entry(place, payload) => drop(entries.insert(place.index, (place, payload))),
            Record::Truncate(from) => drop(entries.split_off(from)),
            Record::Purge(upto) => entries = entries.split_off(&(upto.index + 1)),
        }
    }
    for (index, (place, payload)) in entries.split_off(&last.map_or(0, |place| place.index + 1)) {
        match payload {
            // What the state refuses it refused before.
            Payload::Command(bytes) => drop(state.apply(index, &Command::decode(bytes).map_err(|e| damaged(e.to_string()))?)),
            Payload::Blank | Payload::Members(_) => state.pass(index),
        }
        last = Some(*place);
    }
    let from = last.ok_or_else(|| damaged("nothing was ever agreed on here".into()))?;
    let index = from.index.saturating_add(ANEW_ENTRIES);
    let passed = wall_ms.saturating_sub(state.wall_ms()) + ANEW_TIME_MS;
    let at = HaTime(state.ha_time().0.saturating_add(passed));
    state.made_anew(index, at, wall_ms, identity.node).map_err(|e| damaged(e.to_string()))?;
    let address = state.topology().and_then(|t| t.nodes.iter().find(|n| n.id == identity.node)).map(|n| n.ha_address.clone());
    let own = u64::from(identity.node.0);
    let place = Place { term: term.max(from.term).saturating_add(ANEW_TERMS), leader: own, index };
    let members = Members { voters: vec![[own].into()], nodes: [(own, address.unwrap_or_default())].into() };
    let id = format!("{}-{}-{}", place.term, place.leader, place.index);
    let head = SnapshotHead { last: Some(place), members_at: Some(place), members, id };
    snapshots.save(Snapshot { head, state: state.encode() })?;
    Ok(vec![Record::Vote { term: place.term, node: own, committed: false }, Record::Purge(place)])
}
