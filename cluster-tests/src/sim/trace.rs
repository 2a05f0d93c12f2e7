//! The hash of a run and its recording: a run is the list of its events, and equal runs have equal hashes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use types::codec;

use super::heap::Micros;

/// Format of a recording, its first byte.
const FORMAT: u8 = 2;
/// Most bytes of the name of a world.
const WORLD_MAX: usize = 32;

/// A hash over everything that a run did, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl TraceHash {
    /// Takes bytes in.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut hash = self.0 ^ (bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x2127_599b_f432_5c37);
            hash ^= hash >> 29;
        }
        self.0 = hash;
    }

    /// The hash so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// A run that can be played again: the configuration of its world and every event with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording<C, E> {
    /// What the world was made from.
    pub config: C,
    /// What happened in it.
    pub events: Vec<(Micros, E)>,
}

impl<C: Serialize + DeserializeOwned, E: Serialize + DeserializeOwned> Recording<C, E> {
    /// Writes the file.
    pub fn save(&self, world: &str, path: &Path) -> Result<()> {
        let mut bytes = vec![FORMAT];
        bytes.extend(world.bytes().take(WORLD_MAX));
        bytes.push(0);
        bytes.extend(codec::encode(self));
        fs::write(path, bytes).with_context(|| format!("writing the recording {}", path.display()))
    }

    /// Reads a file of that world.
    pub fn load(world: &str, path: &Path) -> Result<Self> {
        let (found, bytes) = read(path)?;
        if found != world {
            bail!("{} is a recording of the world `{found}`, not of `{world}`", path.display());
        }
        codec::decode(&bytes).with_context(|| format!("decoding the recording {}", path.display()))
    }
}

/// Which world a file is of.
pub fn world_of(path: &Path) -> Result<String> {
    Ok(read(path)?.0)
}

fn read(path: &Path) -> Result<(String, Vec<u8>)> {
    let bytes = fs::read(path).with_context(|| format!("reading the recording {}", path.display()))?;
    match bytes.split_first() {
        Some((&FORMAT, rest)) => {
            let end = rest.iter().take(WORLD_MAX + 1).position(|byte| *byte == 0);
            let end = end.with_context(|| format!("{} does not say which world it is of", path.display()))?;
            Ok((String::from_utf8_lossy(&rest[..end]).into_owned(), rest[end + 1..].to_vec()))
        }
        Some((other, _)) => bail!("{} is a recording of format {other}, this build reads {FORMAT}", path.display()),
        None => bail!("{} is empty", path.display()),
    }
}
