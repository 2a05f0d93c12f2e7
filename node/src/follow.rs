//! Following HA: a snapshot, then every entry of its log in order, applied with the same code as HA's own and published for the process.

use std::sync::Arc;

use futures::FutureExt;
use ha_api::{Follower, Notice};
use ha_state::{Command, State};
use tokio::sync::watch;
use types::state::ProcessState;
use types::{Boot, NodeId};

use crate::driver::DriverInbox;
use crate::view::{Folder, Views};

/// Entries that are applied before the result is published: the process sees each state late by that many at most.
const ENTRIES_MAX: usize = 256;

/// Applies HA's log and publishes what comes of it.
pub struct Following {
    me: NodeId,
    follower: Follower,
    folder: Option<Folder>,
    views: Arc<Views>,
    /// The drivers to wake, once there are any.
    inboxes: watch::Receiver<Vec<Arc<DriverInbox>>>,
}

impl Following {
    /// Begins with the follower's first notice, which is a snapshot.
    pub fn new(me: NodeId, follower: Follower, views: Arc<Views>, inboxes: watch::Receiver<Vec<Arc<DriverInbox>>>) -> Self {
        Self { me, follower, folder: None, views, inboxes }
    }

    /// Follows until HA's log says that this start of the process is over, or cannot be read; gives the reason.
    pub async fn run(mut self, boot: watch::Receiver<Option<Boot>>) -> String {
        loop {
            let Some(first) = self.follower.next().await else { return "the subscription to HA ended".into() };
            let mut notice = Some(first);
            let mut taken = 0;
            while let Some(next) = notice.take() {
                if let Err(error) = self.apply(next) {
                    return format!("HA's log cannot be read: {error}");
                }
                taken += 1;
                if taken < ENTRIES_MAX {
                    notice = self.follower.next().now_or_never().flatten();
                }
            }
            if let Some(folder) = &self.folder {
                self.views.publish(folder.view());
                self.inboxes.borrow().iter().for_each(|inbox| inbox.ring());
            }
            let boot = *boot.borrow();
            if let Some(why) = boot.and_then(|boot| self.is_over(boot)) {
                return why;
            }
        }
    }

    fn apply(&mut self, notice: Notice) -> Result<(), types::codec::CodecError> {
        match notice {
            Notice::Snapshot { state, .. } => self.folder = Some(Folder::new(self.me, State::decode(&state)?)),
            Notice::Entry { index, command } => {
                let command = if command.is_empty() { None } else { Some(Command::decode(&command)?) };
                if let Some(folder) = &mut self.folder {
                    folder.apply(index, command.as_ref());
                }
            }
        }
        Ok(())
    }

    /// Whether HA gave this start of the process up.
    fn is_over(&self, boot: Boot) -> Option<String> {
        let view = self.views.now();
        if view.index < boot.0 {
            return None;
        }
        let node = view.map.nodes.get(&self.me)?;
        let live = matches!(node.state, ProcessState::Recovering | ProcessState::Online);
        (node.boot != boot || !live).then(|| format!("{} is {} as {}, not as {boot}", self.me, node.state, node.boot))
    }
}
