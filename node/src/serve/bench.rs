//! What benches of the network ask for: no device is touched.

use std::sync::Arc;

use net::Incoming;
use types::wire::request::Refusal;

use super::{Node, answer, refuse};

/// Largest piece that is moved at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// The answer is the question.
pub fn echo(incoming: Incoming) {
    let head = incoming.head.clone();
    incoming.reply(head);
}

/// Pulls everything and forgets it.
pub async fn sink(node: Arc<Node>, incoming: Incoming) {
    moved(node, incoming, false).await;
}

/// Fills all the room with whatever there is.
pub async fn source(node: Arc<Node>, incoming: Incoming) {
    moved(node, incoming, true).await;
}

async fn moved(node: Arc<Node>, mut incoming: Incoming, push: bool) {
    match move_all(&node, &mut incoming, push).await {
        Ok(()) => answer(incoming, &Ok(())),
        Err(refusal) => refuse(incoming, refusal),
    }
}

async fn move_all(node: &Node, incoming: &mut Incoming, push: bool) -> Result<(), Refusal> {
    let Some((length, _)) = incoming.lend() else { return Err(Refusal::Invalid("nothing was lent".into())) };
    let failed = |error: net::NetError| Refusal::Busy(error.to_string());
    let mut left = length;
    while left > 0 {
        let piece = left.min(PIECE_BYTES);
        let buf = node.transport()?.pool().take(piece).await.map_err(failed)?;
        if push {
            incoming.push(buf, piece).await.map_err(failed)?;
        } else {
            incoming.pull(buf).await.map_err(failed)?;
        }
        left -= piece;
    }
    Ok(())
}
