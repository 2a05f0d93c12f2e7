//! Fault points: named steps of our programs at which a test may have them fail, wait, hang or die.
//!
//! They act only where three things come together: the program was built with the feature `fault-points` (packages of `cargo xtask dist` are
//! not), its configuration names a socket (`fault_points`), and somebody has armed the point through it. Without the feature [`Point::pass`]
//! is nothing at all; without the socket it is one look at a flag.
//!
//! The socket is a Unix socket that its owner alone may use. Each line is a request, each answer ends with a line `ok` or `error: WHY`:
//! ```text
//! list                                          NAME<tab>PASSED<tab>ACTED<tab>ARMED<tab>WHAT IT IS, a line each
//! arm NAME error|crash|hang|delay=MS [skip=N] [times=N] [percent=N]
//! disarm NAME|all
//! ```
//! `skip` lets the first ones by, `times` is how often it acts (always, where not given), `percent` how often of those that it may. What
//! hangs goes on when its point is disarmed.

use std::fmt;

#[cfg(feature = "fault-points")]
mod armed;
#[cfg(feature = "fault-points")]
mod socket;

#[cfg(feature = "fault-points")]
pub use socket::serve;

/// A step at which a program may be told to fail.
#[derive(Debug)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// What has happened when it is passed, and what has not.
    pub about: &'static str,
    /// Whether an error can be had from it: elsewhere there is nobody to tell.
    pub fails: bool,
    #[cfg(feature = "fault-points")]
    counts: armed::Counts,
}

/// What a point that was told to fail gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected(pub &'static str);

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fault point {} is armed", self.0)
    }
}

impl std::error::Error for Injected {}

impl Point {
    const fn of(name: &'static str, about: &'static str, fails: bool) -> Self {
        Self {
            name,
            about,
            fails,
            #[cfg(feature = "fault-points")]
            counts: armed::Counts::new(),
        }
    }

    /// One that cannot fail.
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Self::of(name, about, false)
    }

    /// One that can.
    pub const fn failing(name: &'static str, about: &'static str) -> Self {
        Self::of(name, about, true)
    }

    /// Passes it on a thread that may wait.
    #[cfg(not(feature = "fault-points"))]
    #[inline(always)]
    pub fn pass(&'static self) -> Result<(), Injected> {
        Ok(())
    }

    /// Passes it in a task.
    #[cfg(not(feature = "fault-points"))]
    #[inline(always)]
    #[allow(clippy::unused_async, reason = "the same signature with and without the feature")]
    pub async fn pass_in_task(&'static self) -> Result<(), Injected> {
        Ok(())
    }
}

/// There is nothing to serve in this build, and a configuration that wants it is not for this build.
///
/// # Errors
/// Always.
#[cfg(not(feature = "fault-points"))]
pub fn serve(_path: &std::path::Path, _points: &'static [&'static Point]) -> std::io::Result<()> {
    Err(std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        "`fault_points` is set, and this build has none: it is without the feature `fault-points`",
    ))
}
