//! What the clock does: heartbeats, links that are dead or do not come up, cancellations that are not confirmed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use types::wire::frame::{FrameHeader, FrameKind};

use super::Shard;
use crate::fabric::link::{LinkId, LinkSide, LinkState, Message};

/// A gap between two ticks that says that this process itself stood still: then nobody else is to blame for silence.
const STANDSTILL: Duration = Duration::from_millis(1000);

impl Shard {
    pub(super) fn tick(&mut self, now: Instant) {
        if now.duration_since(self.last_tick) > STANDSTILL {
            for link in self.links.values_mut() {
                link.heard = now;
            }
        }
        self.last_tick = now;
        let timing = self.parts.timing;
        let mut dead: Vec<(LinkId, String)> = Vec::new();
        let mut silent: Vec<LinkId> = Vec::new();
        for (id, link) in &self.links {
            if link.state != LinkState::Up {
                if now.duration_since(link.born) > timing.connect {
                    dead.push((*id, format!("no HELLO within {:?}", timing.connect)));
                }
            } else if now.duration_since(link.heard) > timing.dead {
                dead.push((*id, format!("nothing was heard for {:?}", timing.dead)));
            } else if now.checked_sub(timing.heartbeat).is_some_and(|then| link.is_silent_since(then)) {
                silent.push(*id);
            }
        }
        for call in self.calls.values() {
            if call.cancel_by.is_some_and(|by| by <= now) && !dead.iter().any(|(id, _)| *id == call.link) {
                dead.push((call.link, "a cancellation was not confirmed, and lent memory must come back".to_owned()));
            }
        }
        for (id, reason) in dead {
            if let Some(link) = self.links.get(&id)
                && let LinkSide::Caller(address, role) = &link.side
            {
                tracing::info!(component = "net.fabric", peer = %address, ?role, %reason, "link given up");
            }
            self.close_link(id, &reason);
        }
        for id in silent {
            if let Some(link) = self.links.get_mut(&id) {
                link.push_control(Message::new(FrameHeader::new(FrameKind::Heartbeat), Bytes::new()));
            }
            self.list(id);
        }
        self.peers.retain(|_, links| {
            links.control.is_some() || links.bulk.is_some() || links.failed.as_ref().is_some_and(|(until, _)| *until > now)
        });
    }
}
