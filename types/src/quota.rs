//! How much a bucket or all buckets of an account may hold, and how much is in them.

use serde::{Deserialize, Serialize};

/// How much may be held. What is not said has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes, as they were put.
    pub bytes: Option<u64>,
    /// Objects, former versions among them.
    pub objects: Option<u64>,
}

/// How much is held: current objects, former versions, and parts of open uploads, which are no objects yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, as they were put.
    pub bytes: u64,
    /// Objects and former versions.
    pub objects: u64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), objects: self.objects.saturating_add(other.objects) }
    }

    /// What is left without the other.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(other.bytes), objects: self.objects.saturating_sub(other.objects) }
    }
}

impl Quota {
    /// Whether it bounds anything.
    pub fn is_set(self) -> bool {
        self != Self::default()
    }

    /// Whether that much may be held.
    pub fn allows(self, usage: Usage) -> bool {
        self.bytes.is_none_or(|most| usage.bytes <= most) && self.objects.is_none_or(|most| usage.objects <= most)
    }

    /// The text of a bucket's document: `bytes=N objects=N`, each where it has a bound.
    pub fn to_text(self) -> String {
        let word = |name: &str, bound: Option<u64>| bound.map(|bound| format!("{name}={bound}"));
        [word("bytes", self.bytes), word("objects", self.objects)].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// What a document says; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut quota = Self::default();
        for word in text.split_whitespace() {
            let (name, bound) = word.split_once('=')?;
            let place = match name {
                "bytes" => &mut quota.bytes,
                "objects" => &mut quota.objects,
                _ => return None,
            };
            *place = Some(bound.parse().ok()?);
        }
        Some(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_bounds_what_it_names() {
        let used = Usage { bytes: 10, objects: 2 };
        assert!(Quota::default().allows(Usage { bytes: u64::MAX, objects: u64::MAX }) && !Quota::default().is_set());
        for (bytes, objects, allowed) in
            [(Some(10), None, true), (Some(9), None, false), (None, Some(2), true), (None, Some(1), false), (Some(10), Some(1), false)]
        {
            let quota = Quota { bytes, objects };
            assert_eq!(quota.allows(used), allowed, "{quota:?}");
            assert_eq!(Quota::parse(&quota.to_text()), Some(quota));
        }
        assert_eq!(Quota::parse(""), Some(Quota::default()));
        for bad in ["bytes", "bytes=-1", "rows=1", "bytes=1 x"] {
            assert_eq!(Quota::parse(bad), None, "{bad}");
        }
    }
}
