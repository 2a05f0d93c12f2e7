//! What a daemon keeps on disk: who it is, its log, its snapshot, and whom it has met.
//!
//! ```text
//! DIR/identity     cluster, node, uuid of the store, how often it was opened
//! DIR/lock         held while a daemon uses the store
//! DIR/peers        stores of the other daemons, as first met
//! DIR/log/*.wal    votes and entries, see `wal`
//! DIR/state/snapshot
//! DIR/anew         only where it is to begin anew, see `anew`
//! ```
//! A store of another cluster or node, a damaged one, and one in use do not open. Form and crash cases: `docs/formats/ha-store.md`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use types::checksum::crc32c;
use types::codec::{decode, encode};
use types::{ClusterId, NodeId};

use crate::error::StoreError;
use anew::Wish;
use disk::{Disk, FsDisk};
use log::Log;
use snapshot::Snapshots;
use wal::{SEGMENT_BYTES, Wal};

pub mod anew;
pub mod disk;
pub mod log;
pub mod pins;
pub mod record;
pub mod snapshot;
pub mod wal;

const IDENTITY: &str = "identity";
/// First bytes of the identity.
const MAGIC: &[u8; 8] = b"RDBTHAI1";

/// Who a daemon is. Sent with every message between daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its node.
    pub node: NodeId,
    /// Uuid of its store: another one means that the store was wiped.
    pub store: u128,
    /// How often the store was opened: a smaller one than before means that it was rolled back.
    pub incarnation: u64,
    /// How often HA was made anew, as it knows: what is of another generation is not listened to.
    pub generation: u64,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// Who it makes the daemon.
    pub identity: Identity,
    /// Raft's log.
    pub log: Log,
    /// The snapshot.
    pub snapshots: Snapshots,
    /// Whom the daemon has met.
    pub pins: pins::Pins,
    /// Held as long as the store is open.
    pub lock: Lock,
}

/// The right to use a store: given up with the last clone, one of which the log's thread has.
#[derive(Clone, Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] Arc<File>);

impl Store {
    /// Opens the store in `dir`, or makes one.
    pub fn open(dir: &Path, cluster: ClusterId, node: NodeId) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { what: dir.display().to_string(), source };
        let mut top = FsDisk::open(dir).map_err(io)?;
        let lock = File::create(dir.join("lock")).map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| StoreError::InUse(dir.into()))?;
        let wish = anew::wished(&top)?;
        let generation = match wish {
            Some(Wish::Follow { generation }) => {
                anew::set_aside(dir, generation)?;
                generation
            }
            _ => 0,
        };
        let files = FsDisk::open(&dir.join("log")).map_err(io)?;
        let mut state = FsDisk::open(&dir.join("state")).map_err(io)?;
        let lock = Lock(Arc::new(lock));
        let found = top.list().map_err(io)?.iter().any(|n| n == IDENTITY);
        let (mut identity, mut wal, mut records) = if found {
            let before = parse(&top.read(IDENTITY).map_err(io)?)?;
            if (before.cluster, before.node) != (cluster, node) {
                return Err(StoreError::Other {
                    dir: dir.into(),
                    found: format!("{} of cluster {}", before.node, before.cluster),
                    expected: format!("{node} of cluster {cluster}"),
                });
            }
            let (wal, records) = Wal::open(files, before.store, SEGMENT_BYTES)?;
            (Identity { incarnation: before.incarnation + 1, ..before }, wal, records)
        } else {
            // The identity comes last: without one, what lies here is from an attempt that never served.
            let store = rand::random();
            state.remove(snapshot::NAME).map_err(io)?;
            (Identity { cluster, node, store, incarnation: 1, generation }, Wal::create(files, store, SEGMENT_BYTES)?, Vec::new())
        };
        let snapshots = Snapshots::open(state, identity.store)?;
        if let Some(Wish::Lead { generation, wall_ms }) = wish {
            let more = anew::lead(&records, &snapshots, &identity, wall_ms)?;
            wal.write(&more)?;
            records.extend(more);
            // Whom it met before has nothing to say any more.
            top.remove(pins::NAME).map_err(io)?;
            identity.generation = generation;
        }
        let log = Log::start(wal, records, lock.clone())?;
        top.put(IDENTITY, &bytes_of(&identity)).map_err(io)?;
        if wish.is_some() {
            anew::done(&mut top)?;
        }
        let pins = pins::Pins::open(top, identity.store)?;
        Ok(Self { identity, log, snapshots, pins, lock })
    }
}

fn bytes_of(identity: &Identity) -> Vec<u8> {
    sealed(MAGIC, &encode(identity))
}

fn parse(bytes: &[u8]) -> Result<Identity, StoreError> {
    let damaged = |problem: String| StoreError::Damaged { file: IDENTITY.into(), problem };
    decode(unsealed(MAGIC, bytes).map_err(|e| damaged(e.into()))?).map_err(|e| damaged(e.to_string()))
}

/// A small file: magic, checksum, body.
fn sealed(magic: &[u8; 8], body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&crc32c(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn unsealed<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let (head, body) = bytes.split_at_checked(12).ok_or("it is too short")?;
    if head[..8] != *magic {
        return Err("it begins with other bytes than it should");
    }
    if head[8..] != crc32c(body).to_le_bytes() {
        return Err("its checksum is wrong");
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
