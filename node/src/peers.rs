//! Messages between replicas: from a driver to the drivers of other devices, in this process or over the fabric.
//!
//! One head carries what one round of a driver has for one process, and which devices here are full. Nothing here waits: what a full queue or a broken link loses, the
//! protocol sends again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use net::{Operation, Peer, Transport};
use types::limits::MESSAGE_HEAD_BYTES_MAX;
use types::wire::dtm::{self, ENVELOPES_MAX, Envelope};
use types::{DeviceId, NodeId};

use crate::driver::DriverInbox;
use crate::rooms::Rooms;
use crate::view::{ClusterView, Views};

/// Room in a head for what the sizes of messages do not count.
const HEAD_ROOM_BYTES: usize = 128 * 1024;
/// What the address of an envelope takes, beside its message.
const ENVELOPE_BYTES: usize = 64;

/// Where a driver's messages go.
pub struct Peers {
    transport: Arc<dyn Transport>,
    views: Arc<Views>,
    rooms: Arc<Rooms>,
    local: HashMap<DeviceId, Arc<DriverInbox>>,
}

impl Peers {
    /// `local` are the drivers of this process.
    pub fn new(transport: Arc<dyn Transport>, views: Arc<Views>, rooms: Arc<Rooms>, local: HashMap<DeviceId, Arc<DriverInbox>>) -> Self {
        Self { transport, views, rooms, local }
    }

    /// Sends each envelope to the process that has its device now.
    pub fn send(&self, envelopes: Vec<Envelope>) {
        if envelopes.is_empty() {
            return;
        }
        let view = self.views.now();
        let mut remote: BTreeMap<NodeId, Vec<Envelope>> = BTreeMap::new();
        for envelope in envelopes {
            if let Some(inbox) = self.local.get(&envelope.to) {
                let bytes = envelope.message.bytes();
                inbox.offer_peer(envelope, bytes);
            } else if let Some(device) = view.map.devices.get(&envelope.to) {
                remote.entry(device.node).or_default().push(envelope);
            }
        }
        for (node, batch) in remote {
            self.post(&view, node, batch);
        }
    }

    fn post(&self, view: &ClusterView, node: NodeId, batch: Vec<Envelope>) {
        let Some(node) = view.map.nodes.get(&node).filter(|node| node.boot.0 != 0) else { return };
        let peer = Peer::node(node.fabric_address.clone(), node.id, Some(node.boot));
        for head in heads(&self.rooms.full_here(), &batch) {
            if let Err(error) = self.transport.post(&peer, Operation::Dtm, head.into()) {
                tracing::debug!(node = %node.id, %error, "a message to a peer is lost");
                return;
            }
        }
    }
}

/// The heads of a batch, each within the limits of a message.
fn heads(full: &[DeviceId], batch: &[Envelope]) -> Vec<Vec<u8>> {
    let mut heads = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (index, envelope) in batch.iter().enumerate() {
        let more = ENVELOPE_BYTES + envelope.message.bytes();
        if index > first && (bytes + more > MESSAGE_HEAD_BYTES_MAX - HEAD_ROOM_BYTES || index - first == ENVELOPES_MAX) {
            heads.push(dtm::encode(full, &batch[first..index]));
            (first, bytes) = (index, 0);
        }
        bytes += more;
    }
    if first < batch.len() {
        heads.push(dtm::encode(full, &batch[first..]));
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::{Coordination, Outcome, Position, Record, RowKey, Write};
    use types::wire::dtm::Message;
    use types::{Boot, CatalogueId, DtxId, GroupId, HaTime, Incarnation, Seq, ViewNumber};

    fn envelope(value_bytes: usize) -> Envelope {
        let row = RowKey { catalogue: CatalogueId(1), key: vec![1] };
        let record = Record {
            seq: Seq(1),
            view: ViewNumber(1),
            at: HaTime(1),
            dtx: DtxId::default(),
            writes: vec![Write::Put { row, value: vec![0; value_bytes] }],
            outcome: Outcome::Done { version: Seq(1), previous: vec![None], versioning: types::object::Versioning::Off },
            coordination: Coordination::Local,
        };
        let message = Message::Redo {
            view: ViewNumber(1),
            base: Seq(0),
            prev: Position::default(),
            records: vec![Arc::new(record)],
            stable: Seq(0),
            all_persistent: Seq(0),
        };
        Envelope { group: GroupId::default(), from: DeviceId(1), to: DeviceId(2), boot: Boot(1), incarnation: Incarnation(1), message }
    }

    #[test]
    fn a_batch_is_split_into_heads_that_a_message_can_carry_in_order() {
        let batch: Vec<Envelope> = [10, 1_000_000, 900_000, 900_000, 5].map(envelope).into();
        let heads = heads(&[DeviceId(9)], &batch);
        assert!(heads.len() > 1 && heads.iter().all(|head| head.len() <= MESSAGE_HEAD_BYTES_MAX));
        let back: Vec<Envelope> = heads.iter().flat_map(|head| dtm::decode(head).expect("our own").envelopes).collect();
        assert_eq!(back, batch);
    }
}
