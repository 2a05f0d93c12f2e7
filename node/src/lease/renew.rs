//! Renewing the lease, through the local HA daemon or, when that does not answer, another; only while nothing hangs ([`crate::watch`]).
//!
//! Each renewal also confirms how far every device has taken HA's log in: once that is confirmed, nobody here serves by an older view.

use std::sync::Arc;
use std::time::Instant;

use ha_api::{HaClient, HaError};
use types::load::NodeLoad;
use types::{Boot, NodeId};

use super::Lease;
use crate::driver::DriverInbox;
use crate::fences::Fences;
use crate::view::Views;
use crate::watch::Watch;

/// Who renews, and what for.
pub struct Renewal {
    /// HA.
    pub ha: HaClient,
    /// This node.
    pub node: NodeId,
    /// This start of its process.
    pub boot: Boot,
    /// The lease.
    pub lease: Arc<Lease>,
    /// What the process knows of HA's log.
    pub views: Arc<Views>,
    /// How far the devices have taken it in.
    pub fences: Arc<Fences>,
    /// What the process says of itself.
    pub load: Box<dyn Fn() -> NodeLoad + Send + Sync>,
    /// The drivers to wake.
    pub inboxes: Vec<Arc<DriverInbox>>,
    /// Who says whether anything hangs.
    pub watch: Watch,
}

impl Renewal {
    /// Renews until HA says that this start of the process is over; gives what HA said.
    pub async fn run(mut self) -> String {
        let mut beat = tokio::time::interval(self.lease.timing().renewal);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_lost = false;
        loop {
            beat.tick().await;
            if let Err(why) = self.watch.look(Instant::now()) {
                note_loss(&mut was_lost, &why);
                continue;
            }
            if let Some(device) = self.watch.woken() {
                self.lease.revoke();
                return format!("{device}, which hung, answers again: the process starts again to use it");
            }
            let confirmed = self.views.now().index.min(self.fences.all_taken_in());
            let sent = Instant::now();
            let load = (self.load)();
            let asked = self.ha.renew(self.node, self.boot, std::process::id(), confirmed, &load);
            // One that takes longer than the lease lasts is of no use.
            match tokio::time::timeout(self.lease.timing().lease, asked).await {
                Ok(Ok(grant)) => {
                    self.lease.granted(sent, grant.epoch);
                    self.lease.set_time(grant.ha_time, Instant::now());
                    self.inboxes.iter().for_each(|inbox| inbox.ring());
                    if std::mem::take(&mut was_lost) {
                        tracing::info!("the lease is renewed again");
                    }
                }
                Ok(Err(HaError::OldBoot(why))) => {
                    self.lease.revoke();
                    return why;
                }
                Ok(Err(error)) => note_loss(&mut was_lost, &error.to_string()),
                Err(_) => note_loss(&mut was_lost, "no HA daemon answered in time"),
            }
        }
    }
}

fn note_loss(was_lost: &mut bool, why: &str) {
    if !std::mem::replace(was_lost, true) {
        tracing::warn!(why, "the lease was not renewed");
    }
}
