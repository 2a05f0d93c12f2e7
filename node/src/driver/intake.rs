//! What a turn takes in: HA's news, leases, messages, transactions, time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dtm::{ClientId, Effect, Event, Identity, Lease, Placement, Replica};
use types::keys::kind;
use types::map::Group;
use types::object::Versioning;
use types::ops::Op;
use types::record::Write;
use types::state::DeviceState;
use types::wire::dtm::{Envelope, Message};
use types::wire::request::{Execute, Refusal};
use types::{DeviceId, Epoch, GroupId, NodeId, PoolId, ViewNumber};

use super::hosted::Hosted;
use super::store::{Change, Room, Store};
use super::{CALLS_MAX, ClientRequest, Driver, Post};
use crate::points;
use crate::view::ClusterView;

/// Not before any group.
const GROUP_LAST: GroupId = GroupId { pool: PoolId(u16::MAX), index: u32::MAX };

/// What HA's news mean for the device beside its machines.
#[derive(Default)]
pub struct News {
    /// Changes for the turn's batch; they need a sync.
    pub changes: Vec<(GroupId, Change<'static>)>,
    /// Views of erasure-coded groups that are durable after it.
    pub fences: Vec<(GroupId, ViewNumber)>,
    /// How far HA's log is taken in after it.
    pub index: Option<u64>,
}

impl<S: Store, P: Post> Driver<S, P> {
    /// Takes in the newest view of the cluster.
    pub(super) fn take_view(&mut self, effects: &mut Vec<(GroupId, Effect)>) -> News {
        let view = self.around.views.now();
        if view.index == self.taken_in.index {
            return News::default();
        }
        let mut news = News { index: Some(view.index), ..News::default() };
        if !Arc::ptr_eq(&view.map, &self.taken_in.map) {
            self.take_replicas(&view, &mut news, effects);
            self.take_fences(&view, &mut news);
        }
        self.taken_in = view;
        news
    }

    fn take_replicas(&mut self, view: &ClusterView, news: &mut News, effects: &mut Vec<(GroupId, Effect)>) {
        let registered = view.map.devices.get(&self.place.device).map_or(Epoch(0), |device| device.registered);
        let announced = |node: NodeId| view.recovering.iter().find(|a| a.node == node).map_or(Epoch(0), |a| a.epoch);
        let partial = |device: DeviceId| view.partial.contains(&device);
        for (group, group_view) in view.replicas_on(self.place.device) {
            let Some(placement) = Placement::of(&view.map, group, announced, partial) else { continue };
            if !self.replicas.contains_key(&group) {
                let me =
                    Identity { group, device: self.place.device, boot: self.place.boot, incarnation: self.place.incarnation, registered };
                let replica = Replica::new(me, self.config.clone(), &placement, group_view.created);
                news.changes.push((group, Change::State(replica.state().encode())));
                self.replicas.insert(group, Hosted::new(replica, self.around.permits.shown_of(self.place.device, group)));
                // It has not heard of the lease in hand.
                self.leases_seen = 0;
            }
        }
        let epoch_moved = view.map.epoch != self.taken_in.map.epoch;
        let now = self.now();
        for (group, hosted) in &mut self.replicas {
            let Some(placement) = Placement::of(&view.map, *group, announced, partial) else { continue };
            if is_news(hosted.placement.as_ref(), &placement) {
                hosted.placement = Some(placement.clone());
                hosted.hand(*group, Event::Placement(Box::new(placement)), now, effects, &mut self.turned);
            } else if epoch_moved {
                hosted.hand(*group, Event::Epoch(view.map.epoch), now, effects, &mut self.turned);
            }
        }
    }

    fn take_fences(&self, view: &ClusterView, news: &mut News) {
        for (group, of) in &view.map.groups {
            let Group::Erasure(slots) = of else { continue };
            let known = self.around.fences.view(self.place.device, *group);
            // A slot that went to another device is fenced too: its last writers do not know that yet.
            let concerns = known.0 != 0 || slots.slots.contains(&Some(self.place.device));
            if concerns && known < slots.number {
                news.changes.push((*group, Change::Fence(slots.number)));
                news.fences.push((*group, slots.number));
            }
        }
    }

    /// Tells every machine of a lease that was renewed since the last turn.
    pub(super) fn take_lease(&mut self, effects: &mut Vec<(GroupId, Effect)>) {
        let Some((number, grant)) = self.around.lease.latest(self.leases_seen) else { return };
        if grant.epoch > self.taken_in.map.epoch {
            // A lease counts only after the news that it names; until these are here, the one before goes on.
            return;
        }
        self.leases_seen = number;
        let now = self.now();
        let ha_time = self.around.lease.ha_time(self.clock.moment());
        let lease = Lease { until: self.clock.now(grant.until), epoch: grant.epoch, ha_time };
        for (group, hosted) in &mut self.replicas {
            hosted.hand(*group, Event::Lease(lease), now, effects, &mut self.turned);
        }
    }

    /// Takes a client's transaction, with the rows that decide it.
    pub(super) fn take_request(&mut self, request: ClientRequest, room: Room, effects: &mut Vec<(GroupId, Effect)>) {
        let ClientRequest { execute, caller } = request;
        if caller.is_over() {
            return;
        }
        if self.calls.len() >= CALLS_MAX {
            return caller.answer(Err(Refusal::Busy(format!("{CALLS_MAX} transactions wait at this device"))));
        }
        let Execute { group, view, dtx, mut ops, parts, cause } = execute;
        if let Err(injected) = points::before(&ops) {
            return caller.answer(Err(Refusal::Busy(injected.to_string())));
        }
        // Whoever asks need not know: what counts is what holds where the transaction gets its place.
        ops.iter_mut().for_each(|op| op.set_versioning(|catalogue| self.taken_in.versioning(catalogue)));
        ops.extend(self.taken_in.notices(&ops, cause, wall_ms()));
        let Some(hosted) = self.replicas.get(&group) else {
            return caller.answer(Err(Refusal::Invalid(format!("{} has no replica of group {group}", self.place.device))));
        };
        // Who admitted it may not have known yet. What takes rows away is let pass: so is a dropped catalogue emptied.
        let of_parts = parts.iter().flat_map(|(_, writes)| writes).map(|write| write.row().catalogue);
        let mut written = ops.iter().filter(|op| grows(op)).flat_map(Op::rows).map(|row| row.catalogue).chain(of_parts);
        if let Some(gone) = written.find(|catalogue| self.taken_in.is_gone(*catalogue)) {
            return caller.answer(Err(Refusal::Gone(gone)));
        }
        if let Some(sealed) = ops.iter().filter(|op| grows(op)).flat_map(Op::rows).find(|row| self.taken_in.sealed.contains(&row.catalogue))
            && !hosted.replica.knows(&dtx)
        {
            return caller.answer(Err(Refusal::Busy(format!("it is being decided whether {} goes", sealed.catalogue))));
        }
        // One that was executed before is answered, however full the device is by now.
        let full = self.full_device(hosted, room, &ops).or_else(|| self.full_in_parts(&parts));
        if let Some(device) = full
            && !hosted.replica.knows(&dtx)
        {
            return caller.answer(Err(Refusal::Full(device)));
        }
        let mut rows = Vec::new();
        for key in ops.iter().flat_map(Op::rows) {
            match self.store.row(group, &key) {
                Ok(Some(row)) => rows.push((key, row)),
                Ok(None) => {}
                Err(error) => {
                    self.around.reports.trouble(self.place.device, error.to_string());
                    let refusal = Refusal::Device { device: self.place.device, reason: error.to_string() };
                    return caller.answer(Err(refusal));
                }
            }
        }
        self.next_call += 1;
        let client = ClientId(self.next_call);
        self.calls.insert(client, caller);
        self.hand(group, Event::Execute(dtm::Execute { client, view, dtx, ops, parts, rows }), effects);
    }

    /// A device of the group that has no room for what is asked: every member has to hold it, so each is asked, not the primary's alone.
    fn full_device(&self, hosted: &Hosted, room: Room, ops: &[Op]) -> Option<DeviceId> {
        if room == Room::Spent {
            return Some(self.place.device);
        }
        if !ops.iter().any(grows) {
            return None;
        }
        if room != Room::Free {
            return Some(self.place.device);
        }
        let now = self.clock.moment();
        let Placement { members, learners, peers, .. } = hosted.placement.as_ref()?;
        let counts = |device: &&DeviceId| peers.get(device).is_none_or(|peer| peer.state != DeviceState::Failed);
        members.iter().chain(learners).filter(counts).copied().find(|device| self.around.rooms.is_full(*device, now))
    }

    /// The same of the groups that have parts of it: what is begun has to be done there.
    fn full_in_parts(&self, parts: &[(GroupId, Vec<Write>)]) -> Option<DeviceId> {
        let now = self.clock.moment();
        let grows = |write: &&Write| matches!(write, Write::Put { .. });
        let groups = parts
            .iter()
            .filter(|(_, writes)| writes.iter().any(|write| grows(&write)))
            .filter_map(|(group, _)| self.taken_in.map.view(*group));
        groups.flat_map(|view| view.members.iter().chain(&view.learners)).copied().find(|device| self.around.rooms.is_full(*device, now))
    }

    /// Takes a message of a peer.
    pub(super) fn take_message(&mut self, mut envelope: Envelope, effects: &mut Vec<(GroupId, Effect)>) {
        if let Message::Part { part, .. } = &mut envelope.message {
            // A catalogue may have been dropped since its transaction was admitted: what is written into it now nobody would take away.
            part.writes.retain(|write| !self.taken_in.is_gone(write.row().catalogue));
        }
        self.hand(envelope.group, Event::Message(envelope), effects);
    }

    /// Tells machines whose time has come.
    pub(super) fn take_time(&mut self, effects: &mut Vec<(GroupId, Effect)>) {
        let now = self.now();
        let due = self.deadlines.range(..=(now, GROUP_LAST)).map(|(_, group)| *group);
        // What this turn has changed is not among the deadlines yet.
        let candidates: BTreeSet<GroupId> = due.chain(self.turned.iter().copied()).collect();
        for group in candidates {
            let Some(hosted) = self.replicas.get_mut(&group) else { continue };
            if hosted.next_deadline().is_some_and(|at| at <= now) {
                hosted.hand(group, Event::Tick, now, effects, &mut self.turned);
            }
        }
    }
}

/// The wall clock, in milliseconds since 1970: shown to those who are told of a change.
fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whether an operation takes room for good. What deletes, abandons or sweeps does not: it is done on a full device too.
fn grows(op: &Op) -> bool {
    match op {
        Op::Put { row, .. } => row.key.first() != Some(&kind::DEAD),
        Op::PutObject { .. } | Op::PutPart { .. } | Op::CompleteUpload { .. } | Op::DescribeObject { .. } => true,
        // Without, nothing takes the place of what is deleted.
        Op::DeleteObject { versioning, .. } => *versioning != Versioning::Off,
        Op::Delete { .. }
        | Op::DeleteVersion { .. }
        | Op::DiscardVersion { .. }
        | Op::Abandon { .. }
        | Op::EndUpload { .. }
        | Op::DiscardPart { .. }
        | Op::Unfold { .. }
        // Small, and gone when it was told.
        | Op::Notify { .. } => false,
    }
}

/// Whether a placement says more than that time went on.
fn is_news(known: Option<&Placement>, placement: &Placement) -> bool {
    known.is_none_or(|known| {
        let Placement { epoch: _, number, primary, members, old, learners, peers } = placement;
        (&known.number, &known.primary, &known.members, &known.old, &known.learners, &known.peers)
            != (number, primary, members, old, learners, peers)
    })
}
