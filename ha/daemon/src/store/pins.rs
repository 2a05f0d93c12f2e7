//! Whom this daemon has met: the store of each other daemon, and how often that was opened when it was last heard of.
//!
//! A voter whose store was wiped or rolled back has forgotten votes and entries that it had promised, and Raft would take its word. It is
//! refused instead, with the reason: it has to rejoin under a new number.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use types::NodeId;
use types::codec::{decode, encode};

use super::disk::Disk;
use super::{Identity, sealed, unsealed};
use crate::error::StoreError;

const NAME: &str = "peers";
const MAGIC: &[u8; 8] = b"RDBTHAP1";

/// Store and incarnation of each daemon met.
type Met = BTreeMap<NodeId, (u128, u64)>;

/// The stores of the other daemons, durable.
pub struct Pins {
    inner: Mutex<(Met, Box<dyn Disk>)>,
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pins").finish_non_exhaustive()
    }
}

impl Pins {
    /// Reads what this store knows of others.
    pub fn open(disk: impl Disk, own: u128) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { what: NAME.into(), source };
        let damaged = |problem: String| StoreError::Damaged { file: NAME.into(), problem };
        let mut met = Met::new();
        if disk.list().map_err(io)?.iter().any(|n| n == NAME) {
            let bytes = disk.read(NAME).map_err(io)?;
            let (of, found): (u128, Met) =
                decode(unsealed(MAGIC, &bytes).map_err(|e| damaged(e.into()))?).map_err(|e| damaged(e.to_string()))?;
            // A file that another store has left knows other stores.
            if of == own {
                met = found;
            }
        }
        let pins = Self { inner: Mutex::new((met, Box::new(disk))) };
        pins.save(own).map_err(io)?;
        Ok(pins)
    }

    fn save(&self, own: u128) -> std::io::Result<()> {
        let mut inner = self.inner.lock().expect("nobody panics with the lock");
        let (met, disk) = &mut *inner;
        disk.put(NAME, &sealed(MAGIC, &encode(&(own, &*met))))
    }

    /// The store that a peer is known by.
    pub fn known(&self, node: NodeId) -> Option<u128> {
        self.inner.lock().expect("nobody panics with the lock").0.get(&node).map(|(store, _)| *store)
    }

    /// Whether that peer is the one met before; remembers it where it is new or was started again.
    pub fn check(&self, own: &Identity, peer: &Identity) -> Result<(), String> {
        if peer.cluster != own.cluster {
            return Err(format!("{} is of cluster {}, this one is {}", peer.node, peer.cluster, own.cluster));
        }
        {
            let mut inner = self.inner.lock().expect("nobody panics with the lock");
            match inner.0.get(&peer.node) {
                Some((store, _)) if *store != peer.store => {
                    return Err(format!(
                        "the HA store of {} is another one than before: a wiped daemon has to rejoin under a new node number",
                        peer.node
                    ));
                }
                Some((_, incarnation)) if *incarnation > peer.incarnation => {
                    return Err(format!(
                        "the HA store of {} was opened {} times before and now {}: a copy that was rolled back may not take part",
                        peer.node, incarnation, peer.incarnation
                    ));
                }
                Some((_, incarnation)) if *incarnation == peer.incarnation => return Ok(()),
                _ => inner.0.insert(peer.node, (peer.store, peer.incarnation)),
            };
        }
        self.save(own.store).map_err(|e| format!("{NAME}: {e}"))
    }
}
