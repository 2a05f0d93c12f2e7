//! Tests that take long say how far they are; bounds on time know whether the machine could have kept them.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};

/// Measurements taken where the machine is too busy to say anything.
const ATTEMPTS: u32 = 3;
/// Per cent of the last 10 s in which something waited for a processor, above which a bound that was missed proves nothing.
const PRESSURE_MAX: f64 = 50.0;

/// Says how far a test is, at once: not kept back until it fails, as what tests print is.
pub fn say(words: impl std::fmt::Display) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "    {words}");
}

/// Measures, and fails where the result is above `bound`.
///
/// On a machine whose processors are overloaded (`/proc/pressure/cpu`) a missed bound is measured again, twice at most, and says so; the last
/// one counts, whatever the load.
pub fn within(what: &str, bound: Duration, mut measure: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    for attempt in 1.. {
        let took = measure()?;
        let pressure = pressure();
        say(format!("{what}: {} ms of {} ms (CPU pressure {pressure:.0} %)", took.as_millis(), bound.as_millis()));
        if took <= bound {
            return Ok(took);
        }
        if attempt == ATTEMPTS || pressure < PRESSURE_MAX {
            bail!("{what}: {took:?}, which is more than {bound:?}; CPU pressure {pressure:.0} %, attempt {attempt} of {ATTEMPTS}");
        }
        say(format!("{what}: the machine is overloaded, measuring again"));
    }
    unreachable!("the last attempt returns")
}

/// Per cent of the last 10 s in which something waited for a processor; 0 where the kernel does not say.
pub fn pressure() -> f64 {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let figure = text.split_whitespace().find_map(|word| word.strip_prefix("avg10="));
    figure.and_then(|figure| figure.parse().ok()).unwrap_or(0.0)
}
