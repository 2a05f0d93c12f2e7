//! Whom this daemon has met: the store of each other daemon, and how often that was opened when it was last heard of.
//!
//! A voter whose store was wiped or rolled back has forgotten votes and entries that it had promised, and Raft would take its word. It is
//! refused instead, with the reason: an operator has its node replaced (`ha node replace`), by which its store of before is nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;

use types::NodeId;
use types::codec::{decode, encode};

use super::disk::Disk;
use super::{Identity, sealed, unsealed};
use crate::error::StoreError;

/// The file.
pub const NAME: &str = "peers";
const MAGIC: &[u8; 8] = b"RDBTHAP1";

/// Store and incarnation of each daemon met.
type Met = BTreeMap<NodeId, (u128, u64)>;

/// The stores of the other daemons, durable.
pub struct Pins {
    inner: Mutex<(Met, Box<dyn Disk>)>,
    /// Stores that may never take part again, as the applied state has them.
    former: Mutex<BTreeSet<u128>>,
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
        let pins = Self { inner: Mutex::new((met, Box::new(disk))), former: Mutex::default() };
        pins.save(own).map_err(io)?;
        Ok(pins)
    }

    fn save(&self, own: u128) -> std::io::Result<()> {
        let mut inner = self.inner.lock().expect("nobody panics with the lock");
        let (met, disk) = &mut *inner;
        disk.put(NAME, &sealed(MAGIC, &encode(&(own, &*met))))
    }

    /// The store that a peer is known by; none where that is nobody's any more.
    pub fn known(&self, node: NodeId) -> Option<u128> {
        let known = self.inner.lock().expect("nobody panics with the lock").0.get(&node).map(|(store, _)| *store);
        known.filter(|store| !self.is_former(*store))
    }

    /// Stores of nodes that were replaced: whoever comes with one is refused, and another one may take its place.
    pub fn set_former(&self, stores: &BTreeSet<u128>) {
        let mut former = self.former.lock().expect("nobody panics with the lock");
        if *former != *stores {
            former.clone_from(stores);
        }
    }

    fn is_former(&self, store: u128) -> bool {
        self.former.lock().expect("nobody panics with the lock").contains(&store)
    }

    /// Whether that peer is the one met before; remembers it where it is new or was started again.
    pub fn check(&self, own: &Identity, peer: &Identity) -> Result<(), String> {
        if peer.cluster != own.cluster {
            return Err(format!("{} is of cluster {}, this one is {}", peer.node, peer.cluster, own.cluster));
        }
        if self.is_former(peer.store) {
            return Err(format!("the HA store of {} is that of before it was replaced: delete its directory", peer.node));
        }
        {
            let mut inner = self.inner.lock().expect("nobody panics with the lock");
            match inner.0.get(&peer.node) {
                Some((store, _)) if *store != peer.store && self.is_former(*store) => {
                    inner.0.insert(peer.node, (peer.store, peer.incarnation))
                }
                Some((store, _)) if *store != peer.store => {
                    return Err(format!(
                        "the HA store of {} is another one than before: where it was wiped or is new hardware, `ha node replace {}`",
                        peer.node, peer.node
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
