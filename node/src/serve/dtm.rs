//! Messages of other replicas: checked against who sent them, then queued for the driver of their device. With them comes which devices of
//! the sender are full.

use std::time::Instant;

use net::Incoming;
use types::DeviceId;
use types::wire::dtm::{self, Head};

use super::Node;

/// Takes one head of envelopes. What is not from who it says, or not for a device here, is dropped.
pub fn serve(node: &Node, incoming: Incoming) {
    let Head { mut full, envelopes } = match dtm::decode(&incoming.head) {
        Ok(head) => head,
        Err(error) => {
            tracing::warn!(from = %incoming.from.node, %error, "a message of a peer is dropped");
            return;
        }
    };
    let view = node.views.now();
    let of_sender = |id: &DeviceId| view.map.devices.get(id).is_some_and(|device| device.node == incoming.from.node);
    full.retain(of_sender);
    node.rooms.hear(incoming.from.node, &full, Instant::now());
    for envelope in envelopes {
        if !of_sender(&envelope.from) || envelope.boot != incoming.from.boot {
            tracing::debug!(from = %incoming.from.node, device = %envelope.from, "a message in another's name is dropped");
            continue;
        }
        if let Some(device) = node.devices.get(&envelope.to) {
            let bytes = envelope.message.bytes();
            device.inbox.offer_peer(envelope, bytes);
        }
    }
}
