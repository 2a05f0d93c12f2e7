//! The time-outs of a link.

use std::time::Duration;

/// When a link counts as what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A side that said nothing for so long says so.
    pub heartbeat: Duration,
    /// A side of which nothing was heard for so long is dead.
    pub dead: Duration,
    /// A link that does not stand after so long is given up.
    pub connect: Duration,
    /// A server that was told to cancel has so long to confirm before its link is closed.
    pub cancel_grace: Duration,
    /// After a failed attempt to connect, calls fail for so long without another.
    pub reconnect_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            dead: Duration::from_secs(2),
            connect: Duration::from_secs(1),
            cancel_grace: Duration::from_millis(500),
            reconnect_pause: Duration::from_millis(50),
        }
    }
}
