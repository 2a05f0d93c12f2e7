//! Following HA's state: a snapshot, then every committed entry in order, none skipped, none twice.
//!
//! The follower holds the cursor. A daemon that ends, hangs or cuts a slow subscriber costs a reconnection, never an entry.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;

use super::{HaClient, Service};
use crate::pb::{self, notice_message};

/// Notices that wait for the subscriber; beyond, the daemon waits, and cuts who is too slow.
const NOTICES_MAX: usize = 64;
/// How long a daemon may be silent: it sends something at least every half second.
const SILENCE: Duration = Duration::from_millis(3000);
/// How long the first answer may take.
const OPEN: Duration = Duration::from_millis(2000);

/// One step of HA's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The whole state as of entry `index`; `ha_state::State::decode` reads it. Replaces whatever the subscriber has.
    Snapshot {
        /// The last entry in it.
        index: u64,
        /// Its bytes.
        state: Vec<u8>,
    },
    /// Entry `index`, the one after the last; `ha_state::Command::decode` reads it. Empty bytes are one of Raft's own entries:
    /// `State::pass`.
    Entry {
        /// Its index.
        index: u64,
        /// Its bytes.
        command: Vec<u8>,
    },
}

impl Notice {
    /// The cursor after it.
    pub fn index(&self) -> u64 {
        match self {
            Self::Snapshot { index, .. } | Self::Entry { index, .. } => *index,
        }
    }
}

/// A subscription; ends when it is dropped.
#[derive(Debug)]
pub struct Follower {
    notices: mpsc::Receiver<Notice>,
    task: JoinHandle<()>,
}

impl Follower {
    pub(super) fn start(client: HaClient, from_index: u64) -> Self {
        let (tx, notices) = mpsc::channel(NOTICES_MAX);
        let task = tokio::spawn(follow(client, from_index, tx));
        Self { notices, task }
    }

    /// The next step. Waits as long as it takes; may be dropped while it waits, and nothing is lost.
    pub async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }
}

impl Stream for Follower {
    type Item = Notice;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.notices.poll_recv(cx)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(client: HaClient, mut cursor: u64, out: mpsc::Sender<Notice>) {
    let factor = client.inner.options.factor;
    loop {
        for daemon in client.in_order().into_iter().rev() {
            let before = cursor;
            let ended = follow_one(daemon.service.clone(), &client.inner.options.name, factor, &mut cursor, &out).await;
            let Err(why) = ended else { return };
            tracing::debug!(daemon = daemon.address, cursor, why, "following ends");
            client.saw(cursor);
            if cursor == before {
                daemon.suspect(Some(std::time::Instant::now() + super::SUSPECT.mul_f64(factor)));
            }
            // From the top: the preferred daemon may be back, and one under suspicion comes last.
            if cursor != before {
                break;
            }
        }
        tokio::time::sleep(super::ROUND_PAUSE.mul_f64(factor)).await;
    }
}

/// `Ok` where nobody listens any more, else why the daemon is to be left.
async fn follow_one(mut service: Service, name: &str, factor: f64, cursor: &mut u64, out: &mpsc::Sender<Notice>) -> Result<(), String> {
    let request = pb::FollowRequest { from_index: *cursor, name: name.into() };
    let opened = tokio::time::timeout(OPEN.mul_f64(factor), service.follow(request)).await.map_err(|_| "no answer")?;
    let mut stream = opened.map_err(|e| e.message().to_string())?.into_inner();
    loop {
        let message = tokio::time::timeout(SILENCE.mul_f64(factor), stream.message()).await.map_err(|_| "silent")?;
        let message = message.map_err(|e| e.message().to_string())?.ok_or("the stream ended")?;
        let notice = match message.notice {
            Some(notice_message::Notice::Snapshot(body)) if body.index >= *cursor => {
                Notice::Snapshot { index: body.index, state: body.bytes }
            }
            Some(notice_message::Notice::Entry(body)) if body.index == *cursor + 1 => {
                Notice::Entry { index: body.index, command: body.bytes }
            }
            Some(notice_message::Notice::Idle(_)) => continue,
            Some(_) => return Err(format!("a notice out of order after {cursor}")),
            None => return Err("a notice of a kind that is not known".into()),
        };
        *cursor = notice.index();
        if out.send(notice).await.is_err() {
            return Ok(());
        }
    }
}
