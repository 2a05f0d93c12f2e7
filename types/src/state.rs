//! States of processes and devices, as HA decides them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// State of a process.
///
/// ```text
/// UNKNOWN --register--> RECOVERING --recovered--> ONLINE --lease over, died--> TRANSIENT --register--> RECOVERING
///                            `----------lease over, died------------------------^     `--policy, operator--> FAILED
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProcessState {
    /// Configured and never seen.
    #[default]
    Unknown,
    /// Started; catching up. Writable, serves no reads.
    Recovering,
    /// Has everything and serves.
    Online,
    /// Away, expected back.
    Transient,
    /// Given up. Final for its boot.
    Failed,
}

/// State of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeviceState {
    /// Configured and never seen.
    #[default]
    Unknown,
    /// Its process catches up.
    Recovering,
    /// Serves.
    Online,
    /// Away with its process, or briefly in error; expected back.
    Transient,
    /// Given up. Final for its incarnation.
    Failed,
    /// Its contents are being rebuilt elsewhere.
    Repairing,
    /// Its contents are rebuilt elsewhere.
    Repaired,
    /// Contents come back to it.
    Rebalancing,
}

macro_rules! display_upper {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{self:?}").to_uppercase())
            }
        }
    )*};
}

display_upper!(ProcessState, DeviceState);

impl DeviceState {
    /// Whether the device takes writes: units, records and answers in a change of view.
    pub fn is_writable(self) -> bool {
        matches!(self, Self::Online | Self::Recovering | Self::Rebalancing)
    }

    /// Whether reads may be served from the device.
    pub fn is_readable(self) -> bool {
        matches!(self, Self::Online | Self::Rebalancing)
    }
}
