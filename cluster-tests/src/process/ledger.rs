//! What the names of a cluster may hold, by what was acknowledged: the oracle of every test under faults.

use std::collections::BTreeMap;

use super::Pattern;

/// What one name holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// There is no such name.
    Nothing,
    /// So many bytes made from that seed.
    Bytes {
        /// Of the pattern.
        seed: u64,
        /// How many.
        length: usize,
    },
}

impl Holds {
    /// Whether that is what was found.
    pub fn is(self, found: Option<&[u8]>) -> bool {
        match (self, found) {
            (Self::Nothing, None) => true,
            (Self::Bytes { seed, length }, Some(bytes)) => bytes.len() == length && bytes == Pattern(seed).bytes(length),
            _ => false,
        }
    }
}

/// What each name may hold: one thing after a change that was acknowledged, several while the outcome of one is not known.
///
/// A name has one writer, so what it may hold does not depend on the order of others.
#[derive(Clone, Debug, Default)]
pub struct Ledger(BTreeMap<String, Vec<Holds>>);

impl Ledger {
    /// A change was acknowledged: whatever was in doubt before is over.
    pub fn acknowledged(&mut self, name: &str, holds: Holds) {
        self.0.insert(name.into(), vec![holds]);
    }

    /// A change may have happened.
    pub fn in_doubt(&mut self, name: &str, holds: Holds) {
        self.0.entry(name.into()).or_insert_with(|| vec![Holds::Nothing]).push(holds);
    }

    /// Whether a reader may find that. A name that was never written holds nothing.
    pub fn allows(&self, name: &str, found: Option<&[u8]>) -> bool {
        self.may_hold(name).iter().any(|holds| holds.is(found))
    }

    /// Everything that a name may hold.
    pub fn may_hold(&self, name: &str) -> &[Holds] {
        self.0.get(name).map_or(&[Holds::Nothing], Vec::as_slice)
    }

    /// All names that were ever written.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Names that hold something for certain.
    pub fn present(&self) -> Vec<String> {
        let present = |all: &[Holds]| all.iter().all(|holds| *holds != Holds::Nothing);
        self.0.iter().filter(|(_, all)| present(all)).map(|(name, _)| name.clone()).collect()
    }

    /// Names that hold nothing for certain.
    pub fn absent(&self) -> Vec<String> {
        let absent = |all: &[Holds]| all.iter().all(|holds| *holds == Holds::Nothing);
        self.0.iter().filter(|(_, all)| absent(all)).map(|(name, _)| name.clone()).collect()
    }

    /// Takes in the names of another writer.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_is_the_only_thing_allowed_and_doubt_ends_with_the_next_acknowledgement() {
        let (one, two) = (Holds::Bytes { seed: 1, length: 10 }, Holds::Bytes { seed: 2, length: 10 });
        let (first, second) = (Pattern(1).bytes(10), Pattern(2).bytes(10));
        let mut ledger = Ledger::default();
        assert!(ledger.allows("a", None) && !ledger.allows("a", Some(&first)));
        ledger.acknowledged("a", one);
        assert!(ledger.allows("a", Some(&first)) && !ledger.allows("a", Some(&first[..9])) && !ledger.allows("a", None));
        ledger.in_doubt("a", two);
        assert!(ledger.allows("a", Some(&first)) && ledger.allows("a", Some(&second)) && !ledger.allows("a", None));
        assert_eq!(ledger.present(), ["a"]);
        ledger.acknowledged("a", Holds::Nothing);
        assert!(ledger.allows("a", None) && !ledger.allows("a", Some(&second)));
        assert_eq!(ledger.absent(), ["a"]);
    }
}
