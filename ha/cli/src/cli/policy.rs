//! `ha policy show|set`: for how long what is away is waited for, before it is given up and rebuilt elsewhere.

use std::time::Duration;

use ha_api::Status;
use ha_api::pb::ClusterWish;
use serde_json::json;

use crate::connect::Ha;
use crate::exit::Failure;
use crate::output::{Cell, Format, fields, show};
use crate::time::span;

/// Shortest that may be asked for, in seconds: a process that starts again takes some.
const SECONDS_MIN: u64 = 5;
/// Longest that may be asked for; beyond it, `never` is meant.
const DAYS_MAX: u64 = 365;

/// `ha policy ...`.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Verb {
    /// What is in force
    Show,
    /// Change it from now on; what is not named stays as it is
    #[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
    Set {
        /// For how long a device is waited for whose process lives, as 90s, 15m, 2h or 1d; or `never` to give none up
        #[arg(long, group = "what", value_name = "TIME", value_parser = time)]
        device_away: Option<Duration>,
        /// For how long a node is waited for
        #[arg(long, group = "what", value_name = "TIME", value_parser = time)]
        node_away: Option<Duration>,
        /// Say what would be, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// A time as people write it; zero is never.
fn time(text: &str) -> Result<Duration, String> {
    if text == "never" {
        return Ok(Duration::ZERO);
    }
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)];
    let known = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let seconds = known.and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(*seconds));
    match seconds {
        None | Some(0) => Err(format!("`{text}` is no time: say 90s, 15m, 2h, 1d or never")),
        Some(seconds) if seconds < SECONDS_MIN => Err(format!("`{text}` is less than {SECONDS_MIN}s, in which a process may come back")),
        Some(seconds) if seconds > DAYS_MAX * 24 * 3600 => Err(format!("`{text}` is more than {DAYS_MAX} days: say never")),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

/// Runs the verb.
pub async fn run(ha: &Ha, format: Format, verb: &Verb) -> Result<(), Failure> {
    let mut status = super::status::ask(ha).await?;
    if let Verb::Set { device_away, node_away, dry_run } = verb {
        let ms = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        for (wish, time) in [(ClusterWish::DeviceAway, device_away), (ClusterWish::NodeAway, node_away)] {
            let Some(ms) = time.as_ref().map(ms) else { continue };
            match (dry_run, wish) {
                (false, _) => ha.ask(async |client| client.ask_cluster(wish, ms).await).await?,
                (true, ClusterWish::DeviceAway) => status.device_away_ms = ms,
                (true, _) => status.node_away_ms = ms,
            }
        }
        if !dry_run {
            status = super::status::ask(ha).await?;
        }
    }
    let value = json!({ "device_away_ms": status.device_away_ms, "node_away_ms": status.node_away_ms });
    show(format, &value, |coloured| fields(&rows(&status), coloured))
}

fn rows(status: &Status) -> [(&'static str, Cell); 2] {
    let words = |ms: u64| Cell::from(if ms == 0 { "never".to_owned() } else { format!("after {}", span(ms)) });
    [("devices that are away are given up", words(status.device_away_ms)), ("nodes that are away are given up", words(status.node_away_ms))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood_and_what_is_none_is_refused() {
        assert_eq!(["90s", "15m", "2h", "1d", "never"].map(|text| time(text).expect(text).as_secs()), [90, 900, 7200, 86_400, 0]);
        for text in ["", "m", "15", "-1s", "0s", "1s", "4s", "15 m", "1w", "366d", "99999999999999999999h", "s15", "1\u{e9}"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
