//! Protection schemes and failure domains of pools.

use crate::limits::{SCHEME_DATA_MAX, SCHEME_PARITY_MAX};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a pool protects what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scheme {
    /// `data` units, `parity` units, and `spare` units' worth of free space kept for rebuilding.
    Erasure {
        /// N.
        data: u8,
        /// K.
        parity: u8,
        /// S; may be 0 and differs from K.
        spare: u8,
    },
    /// `copies` = 2f+1 whole copies.
    Replicated {
        /// 2f+1.
        copies: u8,
    },
}

impl Scheme {
    /// Slots of one group.
    pub fn width(self) -> usize {
        match self {
            Self::Erasure { data, parity, .. } => usize::from(data) + usize::from(parity),
            Self::Replicated { copies } => usize::from(copies),
        }
    }

    /// How many slots of a group may be lost without losing data.
    pub fn tolerance(self) -> usize {
        match self {
            Self::Erasure { parity, .. } => usize::from(parity),
            Self::Replicated { copies } => usize::from(copies / 2),
        }
    }

    /// Why the scheme cannot be, if so.
    pub fn validate(self) -> Result<(), String> {
        match self {
            Self::Erasure { data, parity, .. } => {
                if data == 0 || usize::from(data) > SCHEME_DATA_MAX || usize::from(parity) > SCHEME_PARITY_MAX {
                    return Err(format!("scheme {self}: N is 1 to {SCHEME_DATA_MAX}, K is 0 to {SCHEME_PARITY_MAX}"));
                }
            }
            Self::Replicated { copies } => {
                if copies % 2 == 0 || copies > 7 {
                    return Err(format!("scheme {self}: copies are 1, 3, 5 or 7"));
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Scheme {
    /// `4+2`, `4+2+1` with spare, `1+2` for three copies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Erasure { data, parity, spare: 0 } => f.pad(&format!("{data}+{parity}")),
            Self::Erasure { data, parity, spare } => f.pad(&format!("{data}+{parity}+{spare}")),
            Self::Replicated { copies } => f.pad(&format!("1+{}", copies.saturating_sub(1))),
        }
    }
}

impl FromStr for Scheme {
    type Err = String;

    /// `N+K` or `N+K+S`; `1+K` is replicated.
    fn from_str(s: &str) -> Result<Self, String> {
        let parts: Vec<u8> = s
            .split('+')
            .map(|p| p.parse::<u8>().map_err(|e| format!("`{s}` is not a scheme: {e}; say N+K, N+K+S or 1+2f")))
            .collect::<Result<_, _>>()?;
        let scheme = match parts[..] {
            [1, more] | [1, more, _] => Self::Replicated { copies: more.saturating_add(1) },
            [data, parity] => Self::Erasure { data, parity, spare: 0 },
            [data, parity, spare] => Self::Erasure { data, parity, spare },
            _ => return Err(format!("`{s}` is not a scheme: say N+K, N+K+S or 1+2f")),
        };
        scheme.validate()?;
        Ok(scheme)
    }
}

/// What may fail as one: no group has more slots in one of these than it can lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureDomain {
    /// One device.
    Device,
    /// The devices of a node that share a controller or an enclosure half.
    DiskGroup,
    /// One node.
    Node,
    /// 3 to 5 nodes that hold whole groups between them.
    StorageSet,
    /// One rack.
    Rack,
}

impl fmt::Display for FailureDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Device => "device",
            Self::DiskGroup => "disk-group",
            Self::Node => "node",
            Self::StorageSet => "storage-set",
            Self::Rack => "rack",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_read_as_they_are_written() {
        for text in ["4+2", "2+2", "8+2+2", "1+2", "1+0"] {
            assert_eq!(text.parse::<Scheme>().map(|s| s.to_string()), Ok(text.to_string()));
        }
        for bad in ["", "4", "0+2", "17+1", "4+5", "1+1", "1+3", "a+b", "4+2+0+0"] {
            assert!(bad.parse::<Scheme>().is_err(), "{bad}");
        }
    }
}
