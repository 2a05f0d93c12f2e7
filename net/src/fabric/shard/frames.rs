//! What a message does, by its kind and by how far the link is.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use types::codec;
use types::wire::frame::{FrameHeader, FrameKind};
use types::wire::hello::{Hello, LinkRole, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN, Refuse, RefuseReason};

use super::Shard;
use crate::fabric::link::{LinkId, LinkSide, LinkState, Message};
use crate::{Lend, NetError, PeerIdentity, Reply};

impl Shard {
    /// An endpoint is connected.
    pub(super) fn on_connected(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let (LinkSide::Caller(_, role), LinkState::Connecting) = (&link.side, link.state) {
            let role = *role;
            link.state = LinkState::Greeting;
            self.greet(id, role);
        }
    }

    fn greet(&mut self, id: LinkId, role: LinkRole) {
        let identity = self.parts.identity;
        let instance = self.parts.instance;
        let Some(link) = self.links.get_mut(&id) else { return };
        let hello = Hello {
            version_min: PROTOCOL_VERSION_MIN,
            version_max: PROTOCOL_VERSION_MAX,
            features: 0,
            cluster: identity.cluster,
            node: identity.node,
            boot: identity.boot,
            instance,
            nonce: rand::random(),
            role,
            slots: link.receive_slots(),
            proof_kind: 0,
            proof: Vec::new(),
        };
        link.push_control(Message::new(FrameHeader::new(FrameKind::Hello), codec::encode(&hello).into()));
        self.list(id);
    }

    /// A whole message has come.
    pub(super) fn on_message(&mut self, id: LinkId, header: FrameHeader, head: Bytes) {
        let Some(link) = self.links.get(&id) else { return };
        let link_is_up = link.state == LinkState::Up;
        let server = link.side == LinkSide::Server;
        self.list(id);
        match (header.kind, link_is_up, server) {
            (FrameKind::Hello, false, _) => self.on_hello(id, &head),
            (FrameKind::Refuse, false, false) => {
                let reason = match codec::decode::<Refuse>(&head) {
                    Ok(refuse) => format!("it refuses us: {}", refuse.reason),
                    Err(error) => format!("it refuses us, and {error}"),
                };
                self.close_link(id, &reason);
            }
            (FrameKind::Credit | FrameKind::Heartbeat, true, _) => {}
            (FrameKind::Request, true, true) => self.on_request(id, header, head),
            (FrameKind::Post, true, true) => self.on_incoming_post(id, header, head),
            (FrameKind::Cancel, true, true) => self.on_incoming_cancel(id, header.call),
            (FrameKind::Reply | FrameKind::Failed | FrameKind::Cancelled, true, false) => self.on_reply(id, header, head),
            (kind, ..) => self.refuse_frame(id, &format!("a {kind:?} where none may come")),
        }
    }

    fn on_hello(&mut self, id: LinkId, head: &[u8]) {
        let (hello, agreed) = match codec::decode::<Hello>(head) {
            Ok(hello) => {
                let agreed = hello.agree(self.parts.identity.cluster);
                (Some(hello), agreed)
            }
            Err(_) => (None, Err(RefuseReason::Malformed)),
        };
        let (Some(hello), Ok(_)) = (&hello, &agreed) else {
            return self.refuse(id, agreed.err().unwrap_or(RefuseReason::Malformed));
        };
        let found = PeerIdentity { node: hello.node, boot: hello.boot, instance: hello.instance };
        let Some(link) = self.links.get_mut(&id) else { return };
        link.grant(hello.slots);
        if link.side == LinkSide::Server {
            self.end_older_starts(&found);
            self.greet(id, hello.role);
        }
        self.on_greeted(id, found);
    }

    /// A node that was started anew: what its former start had here is of no use, and might be taken for the new one.
    fn end_older_starts(&mut self, found: &PeerIdentity) {
        let older: Vec<LinkId> = (self.links.iter())
            .filter(|(_, link)| link.side == LinkSide::Server)
            .filter(|(_, link)| link.peer.is_some_and(|p| p.node == found.node && p.node.0 != 0 && p.boot < found.boot))
            .map(|(id, _)| *id)
            .collect();
        for id in older {
            self.close_link(id, "the peer was started anew");
        }
    }

    fn refuse(&mut self, id: LinkId, reason: RefuseReason) {
        let Some(link) = self.links.get_mut(&id) else { return };
        tracing::warn!(component = "net.fabric", link = id, %reason, "a HELLO is not accepted");
        if link.side == LinkSide::Server {
            link.push_control(Message::new(FrameHeader::new(FrameKind::Refuse), codec::encode(&Refuse { reason }).into()));
            // One try: whoever does not hear it sees the link end.
            if let Err(error) = link.pump(std::time::Instant::now()) {
                tracing::debug!(%error, "a refusal could not be sent");
            }
        }
        self.close_link(id, &format!("its HELLO is not accepted: {reason}"));
    }

    /// The answer to a call, or the end of a cancelled one.
    fn on_reply(&mut self, id: LinkId, header: FrameHeader, head: Bytes) {
        match self.calls.get(&header.call) {
            Some(call) if call.link == id => {}
            // Cancelled, and nothing was lent; or confirmed after its answer.
            _ => return,
        }
        let Some(mut call) = self.calls.remove(&header.call) else { return };
        let peer = call.peer.clone();
        let result = match header.kind {
            FrameKind::Reply => {
                let (lent, pushed) = match call.lend.take() {
                    Some(Lend::Room(buf)) => {
                        let pushed = (header.amount as usize).min(buf.len());
                        (Some(buf), pushed)
                    }
                    Some(Lend::Give(buf)) => (Some(buf), 0),
                    None => (None, 0),
                };
                Ok(Reply { head, lent, pushed })
            }
            FrameKind::Failed => Err(NetError::NoAnswer { peer, reason: String::from_utf8_lossy(&head).into_owned() }),
            _ => Err(NetError::TimedOut { peer, operation: call.operation }),
        };
        call.finish(result);
    }

    /// The other side gives a request up: says so to the service, and confirms once nothing touches the lent memory.
    fn on_incoming_cancel(&mut self, id: LinkId, number: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut idle = Vec::new();
        let mut confirm = true;
        if let Some(served) = link.serving.get_mut(&number) {
            served.cancelled.store(true, Ordering::Relaxed);
            idle = link.transfers.stop(number);
            served.transfers -= idle.len();
            confirm = served.transfers == 0;
        }
        for job in idle {
            job.fail(NetError::CallerGone);
        }
        if confirm {
            self.end_served(id, number);
            self.confirm_cancel(id, number);
        }
    }

    pub(super) fn confirm_cancel(&mut self, id: LinkId, number: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            let header = FrameHeader { call: number, ..FrameHeader::new(FrameKind::Cancelled) };
            link.push_control(Message::new(header, Bytes::new()));
        }
        self.list(id);
    }
}
