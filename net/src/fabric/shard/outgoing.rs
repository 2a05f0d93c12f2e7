//! The caller's side: links to peers, calls and posts on them, cancellation.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use types::wire::Operation;
use types::wire::frame::{FrameHeader, FrameKind, LendAccess, LendDescriptor};
use types::wire::hello::LinkRole;

use super::Shard;
use crate::fabric::command::{CallCommand, PostCommand};
use crate::fabric::link::{Link, LinkId, LinkSide, LinkState, Message};
use crate::transport::{Fit, judge, wrong_peer};
use crate::{Lend, NetError, Peer, PeerIdentity, Reply};

/// The links to one address.
#[derive(Default)]
pub(in super::super) struct PeerLinks {
    pub(super) control: Option<LinkId>,
    pub(super) bulk: Option<LinkId>,
    /// Until when no new attempt is made, and why the last one failed.
    pub(super) failed: Option<(Instant, String)>,
}

impl PeerLinks {
    fn slot(&mut self, role: LinkRole) -> &mut Option<LinkId> {
        match role {
            LinkRole::Control => &mut self.control,
            LinkRole::Bulk => &mut self.bulk,
        }
    }
}

/// A call that waits for its answer.
pub(in super::super) struct Call {
    pub(super) link: LinkId,
    pub(super) peer: String,
    pub(super) operation: Operation,
    /// The memory that the other side may reach.
    pub(super) lend: Option<Lend>,
    /// Who waits; nobody once it was cancelled.
    pub(super) done: Option<oneshot::Sender<Result<Reply, NetError>>>,
    /// When the link is closed if the other side does not confirm the cancellation.
    pub(super) cancel_by: Option<Instant>,
    /// Given back when the call is over.
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Call {
    /// Ends it. Its buffer returns to the pool here, unless a reply took it.
    pub(super) fn finish(mut self, result: Result<Reply, NetError>) {
        self.lend = None;
        if let Some(done) = self.done.take() {
            // Whoever asked may have gone.
            let _ = done.send(result);
        }
    }
}

impl Shard {
    pub(super) fn on_call(&mut self, command: CallCommand) {
        let CallCommand { call, peer, operation, head, lend, deadline_ms, permit, done } = command;
        if done.is_closed() {
            return;
        }
        let role = if lend.is_some() { LinkRole::Bulk } else { LinkRole::Control };
        let link = match self.link_to(&peer, role) {
            Ok(link) => link,
            Err(error) => {
                // Nobody may wait any more.
                let _ = done.send(Err(error));
                return;
            }
        };
        let header = FrameHeader {
            call,
            operation: operation as u16,
            amount: deadline_ms,
            lend: lend.as_ref().map(|lend| self.describe(lend)),
            ..FrameHeader::new(FrameKind::Request)
        };
        let address = peer.address.clone();
        let message = Message::new(header, head).to(peer, None);
        self.calls.insert(call, Call { link, peer: address, operation, lend, done: Some(done), cancel_by: None, _permit: permit });
        self.enqueue(link, message);
    }

    pub(super) fn on_post(&mut self, command: PostCommand) {
        let PostCommand { peer, operation, head, permit } = command;
        match self.link_to(&peer, LinkRole::Control) {
            Ok(link) => {
                let header = FrameHeader { operation: operation as u16, ..FrameHeader::new(FrameKind::Post) };
                self.enqueue(link, Message::new(header, head).to(peer, Some(permit)));
            }
            Err(error) => tracing::debug!(peer = %peer.address, ?operation, %error, "a post is lost"),
        }
    }

    fn enqueue(&mut self, link: LinkId, message: Message) {
        if let Some(link) = self.links.get_mut(&link) {
            link.push(message);
        }
        self.list(link);
    }

    fn describe(&self, lend: &Lend) -> LendDescriptor {
        LendDescriptor {
            address: self.memory.remote_address(lend.buf().offset()),
            key: self.memory.key(),
            length: lend.buf().len() as u32,
            access: if matches!(lend, Lend::Give(_)) { LendAccess::Read } else { LendAccess::Write },
            checksum: 0,
        }
    }

    /// The link to a peer, made if there is none.
    fn link_to(&mut self, peer: &Peer, role: LinkRole) -> Result<LinkId, NetError> {
        let now = Instant::now();
        let unreachable = |reason: String| NetError::Unreachable { peer: peer.address.clone(), reason };
        let links = self.peers.entry(peer.address.clone()).or_default();
        if let Some(id) = *links.slot(role) {
            let found = self.links.get(&id).and_then(|link| link.peer);
            match found.map(|found| (found, judge(peer, &found))) {
                None | Some((_, Fit::Fits)) => return Ok(id),
                Some((found, Fit::Wrong)) => return Err(wrong_peer(peer, &found)),
                Some((_, Fit::Older)) => self.close_link(id, "the peer was started anew"),
            }
        }
        let links = self.peers.entry(peer.address.clone()).or_default();
        if let Some((until, reason)) = &links.failed
            && *until > now
        {
            return Err(unreachable(reason.clone()));
        }
        let address: SocketAddr = peer.address.parse().map_err(|_| unreachable("its address is not IP:port".to_owned()))?;
        let side = LinkSide::Caller(peer.address.clone(), role);
        let made = self.new_link_id().and_then(|id| Link::connect(&self.domain, id, address, side, now));
        let links = self.peers.entry(peer.address.clone()).or_default();
        match made {
            Ok(link) => {
                let id = link.id;
                *links.slot(role) = Some(id);
                self.adopt(link);
                Ok(id)
            }
            Err(error) => {
                links.failed = Some((now + self.parts.timing.reconnect_pause, error.to_string()));
                Err(unreachable(error.to_string()))
            }
        }
    }

    /// A link to a peer has ended: fails its calls.
    pub(super) fn forget_outgoing(&mut self, id: LinkId, address: &str, role: LinkRole, was_up: bool, reason: &str, unsent: &[Message]) {
        if let Some(links) = self.peers.get_mut(address) {
            if *links.slot(role) == Some(id) {
                *links.slot(role) = None;
            }
            if !was_up {
                links.failed = Some((Instant::now() + self.parts.timing.reconnect_pause, reason.to_owned()));
            } else if links.control.is_none() && links.bulk.is_none() {
                self.peers.remove(address);
            }
        }
        let ours: Vec<u64> = self.calls.iter().filter(|(_, call)| call.link == id).map(|(number, _)| *number).collect();
        for number in ours {
            let Some(call) = self.calls.remove(&number) else { continue };
            let peer = address.to_owned();
            let reason = reason.to_owned();
            let sent = was_up && !unsent.iter().any(|message| message.header.call == number && message.header.kind == FrameKind::Request);
            call.finish(Err(if sent { NetError::Disconnected { peer, reason } } else { NetError::Unreachable { peer, reason } }));
        }
    }

    /// The caller does not wait any more. What was lent must come back first.
    pub(super) fn on_cancel(&mut self, number: u64) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.done = None;
        let Some(link) = self.links.get_mut(&call.link) else {
            self.calls.remove(&number);
            return;
        };
        if call.lend.is_none() || link.withdraw(number) {
            // Never sent, or nothing lent: a late answer finds nobody.
            link.withdraw(number);
            self.calls.remove(&number);
            return;
        }
        call.cancel_by = Some(Instant::now() + self.parts.timing.cancel_grace);
        // Behind the request, never ahead of a piece of it.
        let header = FrameHeader { call: number, ..FrameHeader::new(FrameKind::Cancel) };
        link.push(Message::new(header, Bytes::new()));
        let id = call.link;
        self.list(id);
    }

    pub(super) fn on_disconnect(&mut self, address: &str) {
        let Some(links) = self.peers.get_mut(address) else { return };
        links.failed = None;
        let ids = [links.control, links.bulk];
        for id in ids.into_iter().flatten() {
            self.close_link(id, "it was told to end");
        }
        if let Some(links) = self.peers.get_mut(address) {
            links.failed = None;
        }
    }

    /// The peer said who it is: whatever was meant for somebody else fails, the rest is sent.
    pub(super) fn on_greeted(&mut self, id: LinkId, found: PeerIdentity) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.peer = Some(found);
        link.state = LinkState::Up;
        let wrong = link.withdraw_if(|peer| judge(peer, &found) != Fit::Fits);
        for number in wrong {
            if let Some(call) = self.calls.remove(&number) {
                let peer = Peer::at(call.peer.clone());
                call.finish(Err(wrong_peer(&peer, &found)));
            }
        }
        self.list(id);
    }
}
