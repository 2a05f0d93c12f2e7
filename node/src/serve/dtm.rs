//! Messages of other replicas: checked against who sent them, then queued for the driver of their device. With them comes which devices of
//! the sender are full.

use net::Incoming;

use types::wire::dtm::{self, EnvelopeError, Head};
use types::{Boot, DeviceId, NodeId};

use super::Node;

/// Takes one head of envelopes. What is not from who it says, or not for a device here, is dropped.
pub fn serve(node: &Node, incoming: Incoming) {
    if let Err(error) = node.take_head(incoming.from.node, incoming.from.boot, &incoming.head) {
        tracing::warn!(from = %incoming.from.node, %error, "a message of a peer is dropped");
    }
}

impl Node {
    /// Takes one head of envelopes of a process that the transport vouches for.
    pub fn take_head(&self, from: NodeId, boot: Boot, head: &[u8]) -> Result<(), EnvelopeError> {
        let Head { mut full, envelopes } = dtm::decode(head)?;
        let view = self.views.now();
        let of_sender = |id: &DeviceId| view.map.devices.get(id).is_some_and(|device| device.node == from);
        full.retain(of_sender);
        self.rooms.hear(from, &full, self.clock.moment());
        for envelope in envelopes {
            if !of_sender(&envelope.from) || envelope.boot != boot {
                tracing::debug!(%from, device = %envelope.from, "a message in another's name is dropped");
                continue;
            }
            if let Some(device) = self.devices.get(&envelope.to) {
                let bytes = envelope.message.bytes();
                device.inbox.offer_peer(envelope, bytes);
            }
        }
        Ok(())
    }
}
