//! Subscribers: each reads the applied log from its own cursor, at its own pace; nothing is queued for it.
//!
//! Who is so slow that the log has moved on without it is cut, and begins again with a snapshot. Silence is broken twice a second, so that
//! a subscriber knows that its daemon is there; a daemon without word of a leader sends its subscribers elsewhere.

use std::sync::Arc;
use std::time::Duration;

use ha_api::HaError;
use ha_api::pb::{Body, NoticeMessage, notice_message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::core::Core;
use crate::machine::Step;

/// Messages between the reader of the log and the connection.
const MESSAGES_MAX: usize = 16;
/// How often something is sent at least, before scaling.
const IDLE: Duration = Duration::from_millis(500);
/// How long a subscriber may take nothing before it is cut, before scaling.
const SLOW: Duration = Duration::from_millis(5000);

type Message = Result<NoticeMessage, Status>;

/// The stream of a subscriber that has the log up to `cursor`.
pub fn follow(core: Arc<Core>, cursor: u64, name: String) -> ReceiverStream<Message> {
    let (out, stream) = mpsc::channel(MESSAGES_MAX);
    tokio::spawn(async move {
        tracing::debug!(name, cursor, "follows");
        if let Err(why) = feed(&core, cursor, &out).await {
            tracing::debug!(name, why, "follows no more");
            // Where nobody listens there is nobody to be told.
            drop(out.try_send(Err(HaError::Unavailable(why).into())));
        }
    });
    ReceiverStream::new(stream)
}

async fn feed(core: &Core, mut cursor: u64, out: &mpsc::Sender<Message>) -> Result<(), String> {
    let mut applied = core.machine.index();
    let (idle, slow) = (IDLE.mul_f64(core.factor), SLOW.mul_f64(core.factor));
    let mut first = true;
    loop {
        applied.mark_unchanged();
        let step = core.machine.after(cursor, first);
        let messages = match step {
            Step::Wait => {
                if !core.in_touch() {
                    return Err(format!("{} has no word of a leader", core.node()));
                }
                match tokio::time::timeout(idle, applied.changed()).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(_)) => return Ok(()),
                    Err(_) => vec![notice_message::Notice::Idle(cursor)],
                }
            }
            Step::Snapshot(..) if !first => return Err("too slow: begin again with a snapshot".into()),
            Step::Snapshot(index, bytes) => {
                cursor = index;
                vec![notice_message::Notice::Snapshot(Body { index, bytes })]
            }
            Step::Entries(entries) => {
                cursor = entries.last().map_or(cursor, |(index, _)| *index);
                entries.into_iter().map(|(index, bytes)| notice_message::Notice::Entry(Body { index, bytes: bytes.to_vec() })).collect()
            }
        };
        first = first && matches!(messages[..], [notice_message::Notice::Idle(_)]);
        for notice in messages {
            let message = Ok(NoticeMessage { notice: Some(notice) });
            match tokio::time::timeout(slow, out.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err("too slow".into()),
            }
        }
    }
}
