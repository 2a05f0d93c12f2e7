//! Messages of other replicas: checked against who sent them, then queued for the driver of their device.

use net::Incoming;
use types::wire::dtm;

use super::Node;

/// Takes one head of envelopes. What is not from who it says, or not for a device here, is dropped.
pub fn serve(node: &Node, incoming: Incoming) {
    let envelopes = match dtm::decode(&incoming.head) {
        Ok(envelopes) => envelopes,
        Err(error) => {
            tracing::warn!(from = %incoming.from.node, %error, "a message of a peer is dropped");
            return;
        }
    };
    let view = node.views.now();
    for envelope in envelopes {
        let of_sender = view.map.devices.get(&envelope.from).is_some_and(|device| device.node == incoming.from.node);
        if !of_sender || envelope.boot != incoming.from.boot {
            tracing::debug!(from = %incoming.from.node, device = %envelope.from, "a message in another's name is dropped");
            continue;
        }
        if let Some(device) = node.devices.get(&envelope.to) {
            let bytes = envelope.message.bytes();
            device.inbox.offer_peer(envelope, bytes);
        }
    }
}
