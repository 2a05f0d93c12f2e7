//! What HA saw, and when: its history, as `ha events` shows it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::Cluster;

/// One line of HA's history. Its time is the wall clock of the leader that proposed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The entry of HA's log.
    pub index: u64,
    /// When, in milliseconds since 1970.
    #[serde(rename = "unix_ms")]
    pub wall_ms: u64,
    /// To whom: `node-2`, `dev-3`.
    pub subject: String,
    /// What.
    pub what: String,
    /// Why.
    pub cause: String,
}

impl Cluster {
    /// HA's history after that entry of its log.
    pub fn events_after(&self, index: u64) -> Result<Vec<Event>> {
        let after = index.to_string();
        serde_json::from_value(self.ha(&["events", "--after", &after, "--limit", "100000"])?).context("`ha events` gives a list")
    }

    /// The last entry of HA's log that is in its history.
    pub fn last_event(&self) -> Result<u64> {
        Ok(self.events_after(0)?.last().map_or(0, |event| event.index))
    }

    /// Waits for the first event after that entry that `is_it`.
    pub fn event(&self, after: u64, what: &str, within: Duration, is_it: impl Fn(&Event) -> bool) -> Result<Event> {
        let began = Instant::now();
        loop {
            let events = self.events_after(after)?;
            if let Some(event) = events.iter().find(|event| is_it(event)) {
                return Ok(event.clone());
            }
            if began.elapsed() > within {
                bail!("no event `{what}` within {within:?}, but {events:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the change of a node to that state.
    pub fn event_of_state(&self, after: u64, node: &str, state: &str, within: Duration) -> Result<Event> {
        let end = format!("-> {state}");
        self.event(after, &format!("{node} {end}"), within, |event| event.subject == node && event.what.ends_with(&end))
    }
}
