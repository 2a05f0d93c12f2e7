//! What can happen in a state, and the state that follows.

use std::fmt;
use std::sync::Arc;

use dtm::{ClientId, Config, Event, Report};
use types::ops::{Condition, Op};
use types::record::Outcome;
use types::wire::dtm::{Envelope, Message, Reason};
use types::{DtxId, HaTime, Incarnation, SessionId, ViewNumber};

use super::authority::{Authority, device};
use super::node::{Came, LEASE_MS, Node};
use super::state::{ENDLESS, State, World};
use crate::sim::dtm::client::row_key;

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the words on a variant tell its fields")]
pub enum Action {
    /// The message of that hash is delivered; where `crash`, its receiver dies before the sync that follows; where `again`, it may come once
    /// more.
    Deliver { message: u64, crash: bool, again: bool },
    /// A client asks a replica for a transaction.
    Execute { operation: u8, at: usize, crash: bool },
    /// A replica hears what HA said.
    Hear { at: usize, index: usize, crash: bool },
    /// A replica syncs.
    Sync { at: usize },
    /// A replica dies; so many of its batches that are not synced are kept. It starts again at once.
    Crash { at: usize, kept: usize },
    /// A replica's device comes back empty.
    Blank { at: usize },
    /// HA says that a replica is away, and that no log is kept for it.
    Mark { at: usize },
    /// HA issues a view with this primary, or with none.
    View { primary: Option<usize> },
    /// HA replaces a member by a learner, with this primary.
    Replace { out: usize, into: usize, primary: usize },
    /// HA makes a device a learner.
    Learn { into: usize },
    /// A removed member forgets the group.
    Forget { at: usize },
    /// HA records the present view active.
    Record,
    /// HA learns that a replica has recovered.
    Online { at: usize },
    /// A replica's lease ends.
    LeaseEnds { at: usize },
    /// A replica gets a new lease.
    Renew { at: usize },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Everything that can happen.
pub fn enabled(state: &State, world: &World) -> Vec<Action> {
    let mut out = Vec::new();
    let may_crash = state.left.crashes > 0 && !world.lazy_sync;
    let with_crash = |out: &mut Vec<Action>, action: &dyn Fn(bool) -> Action| {
        out.push(action(false));
        if may_crash {
            out.push(action(true));
        }
    };
    for (message, _) in state.messages.iter() {
        with_crash(&mut out, &|crash| Action::Deliver { message: *message, crash, again: false });
        if state.left.duplicates > 0 && state.left.duplicates < ENDLESS {
            out.push(Action::Deliver { message: *message, crash: false, again: true });
        }
    }
    for (at, node) in state.nodes.iter().enumerate() {
        for index in node.heard..state.authority.said.len() {
            with_crash(&mut out, &|crash| Action::Hear { at, index, crash });
        }
        if node.replica.is_primary() {
            for operation in 0..world.operations {
                with_crash(&mut out, &|crash| Action::Execute { operation, at, crash });
            }
        }
    }
    for (at, node) in state.nodes.iter().enumerate() {
        if world.lazy_sync && node.wants_sync() {
            out.push(Action::Sync { at });
        }
        if world.fills && may_forget(state, world, at) {
            out.push(Action::Forget { at });
        }
        if node.absent {
            continue;
        }
        if state.left.crashes > 0 {
            out.extend((0..=node.unsynced.len()).map(|kept| Action::Crash { at, kept }));
        }
        if state.left.blanks > 0 {
            out.push(Action::Blank { at });
        }
        if state.left.marks > 0 && !state.authority.devices[at].marked {
            out.push(Action::Mark { at });
        }
        if world.leases && state.authority.devices[at].lease && state.left.lease_ends > 0 {
            out.push(Action::LeaseEnds { at });
        }
        if world.leases && (!state.authority.devices[at].lease || state.authority.fenced.is_some_and(|(n, ..)| n == at)) {
            out.push(Action::Renew { at });
        }
        if state.authority.devices[at].recovering.is_some_and(|(epoch, _)| node.replica.ended() == Some(epoch)) {
            out.push(Action::Online { at });
        }
    }
    views(state, world, &mut out);
    out
}

fn views(state: &State, world: &World, out: &mut Vec<Action>) {
    let authority = &state.authority;
    if !authority.settled && state.past.active.contains(&authority.view) {
        out.push(Action::Record);
    }
    if state.left.views == 0 {
        return;
    }
    if world.leases && authority.primary.is_some() {
        // By way of a view without a primary, so that the one before can be waited for.
        out.push(Action::View { primary: None });
    } else if is_fenced_over(state) {
        out.extend(authority.members.iter().map(|n| Action::View { primary: Some(*n) }));
    }
    let settled = authority.settled || world.replaces_unsettled;
    if world.fills && state.left.replacements > 0 && authority.settled && authority.learners.is_empty() {
        let others = (0..state.nodes.len()).filter(|n| !authority.members.contains(n) && !authority.old.contains(n));
        out.extend(others.map(|into| Action::Learn { into }));
    }
    if state.left.replacements > 0 && settled && !world.leases {
        let is_filled = |n: &&usize| !world.fills || state.past.filled.contains(&(**n, authority.devices[**n].incarnation));
        for out_going in &authority.members {
            for into in authority.learners.iter().filter(is_filled) {
                for primary in authority.members.iter().filter(|n| *n != out_going).chain([into]) {
                    out.push(Action::Replace { out: *out_going, into: *into, primary: *primary });
                }
            }
        }
    }
}

/// Whether a replica may be forgotten: it is in no set of the present view, and HA has recorded one without it active.
fn may_forget(state: &State, world: &World, at: usize) -> bool {
    let authority = &state.authority;
    let gone = !authority.members.contains(&at) && !authority.learners.contains(&at);
    !state.nodes[at].absent && gone && (authority.settled || !authority.old.contains(&at) || world.forgets_early)
}

/// Whether the deposed primary has surely ended: another boot, its lease of before over, or it knows.
fn is_fenced_over(state: &State) -> bool {
    let Some((node, boot, since)) = state.authority.fenced else { return true };
    let member = &state.authority.devices[node];
    let knows = state.nodes[node].heard > 0 && state.authority.said[state.nodes[node].heard - 1].epoch >= since;
    member.boot != boot || !member.lease || knows
}

/// The state after; `None` where nothing changes. An error is a violation.
pub fn step(state: &State, world: &World, config: &Arc<Config>, action: Action) -> Result<Option<State>, String> {
    let mut next = state.clone();
    match action {
        Action::Deliver { message, crash, again } => {
            let Ok(place) = state.messages.binary_search_by_key(&message, |(hash, _)| *hash) else { return Ok(None) };
            let envelope = (*state.messages[place].1).clone();
            if again {
                next.left.duplicates -= 1;
            } else if next.left.duplicates < ENDLESS {
                Arc::make_mut(&mut next.messages).remove(place);
            }
            let at = envelope.to.0 as usize - 1;
            next.react(world, config, at, crash, |_| vec![Event::Message(envelope)])?;
        }
        Action::Execute { operation, at, crash } => next.react(world, config, at, crash, |node| vec![execute(node, operation)])?,
        Action::Hear { at, index, crash } => {
            let placement = &state.authority.said[index];
            let names = placement.members.iter().chain(&placement.learners).any(|d| *d == device(at));
            let member = state.authority.devices[at].clone();
            next.react(world, config, at, crash, |node| {
                node.heard = index + 1;
                if node.absent && names {
                    node.join(at, &member, config, placement);
                }
                vec![Event::Placement(Box::new((**placement).clone()))]
            })?;
        }
        Action::Sync { at } => {
            let mut came = Came::default();
            Arc::make_mut(&mut next.nodes[at]).sync(&mut came);
            next.take(world, at, came)?;
        }
        Action::Forget { at } => {
            let member = &state.authority.devices[at];
            let placement = &state.authority.said[state.authority.said.len() - 1];
            let node = Arc::make_mut(&mut next.nodes[at]);
            node.forget(at, member, config, placement)?;
            node.heard = state.authority.said.len();
            // What it was told of as filled is no longer there.
            Arc::make_mut(&mut next.past).filled.retain(|(n, _)| *n != at);
        }
        Action::Crash { at, kept } => next.crash(world, config, at, kept)?,
        Action::Blank { at } => next.blank(world, config, at)?,
        Action::LeaseEnds { at } => {
            next.left.lease_ends -= 1;
            Arc::make_mut(&mut next.authority).devices[at].lease = false;
            let node = Arc::make_mut(&mut next.nodes[at]);
            node.clock = node.clock.after_ms(LEASE_MS);
            node.touched();
        }
        Action::Renew { at } => {
            let epoch = state.authority.epoch;
            Arc::make_mut(&mut next.authority).devices[at].lease = true;
            let authority = Arc::make_mut(&mut next.authority);
            // What it had of before is as good as over: a lease that names a later epoch replaces it.
            authority.fenced = authority.fenced.filter(|(n, ..)| *n != at);
            next.react(world, config, at, false, |node| vec![node.lease(epoch)])?;
        }
        _ => next.authority_acts(action),
    }
    if config.rules == dtm::Rules::default() {
        next.forget_refused();
    }
    Ok((next.hash() != state.hash()).then_some(next))
}

/// A client's transaction: they write two rows in turn, another value each.
fn execute(node: &Node, operation: u8) -> Event {
    let row = row_key(u64::from(operation % 2));
    let rows = node.current.rows.get(&row).map(|found| (row.clone(), found.clone())).into_iter().collect();
    let ops = vec![Op::Put { row, value: vec![operation], condition: Condition::Always }];
    let dtx = DtxId { session: SessionId(1), counter: u64::from(operation), at: HaTime(0) };
    Event::Execute(dtm::Execute {
        client: ClientId(u64::from(operation)),
        view: node.replica.promised(),
        dtx,
        ops,
        parts: Vec::new(),
        rows,
    })
}

impl State {
    /// Takes messages away that their receivers refuse whatever happens: of a view below what they have durably promised.
    fn forget_refused(&mut self) {
        let promised: Vec<ViewNumber> = self.nodes.iter().map(|n| n.synced.state.as_ref().map_or(ViewNumber(0), |s| s.promised)).collect();
        let refused = |envelope: &Envelope| {
            let told = matches!(&envelope.message, Message::Refused { reason, .. } if !matches!(reason, Reason::Pruned(_)));
            told || promised.get(envelope.to.0 as usize - 1).is_some_and(|promised| envelope.message.view() < *promised)
        };
        if self.messages.iter().any(|(_, envelope)| refused(envelope)) {
            Arc::make_mut(&mut self.messages).retain(|(_, envelope)| !refused(envelope));
        }
    }

    /// A replica takes events; then syncs, or dies before it, or leaves the sync for later.
    fn react(
        &mut self,
        world: &World,
        config: &Arc<Config>,
        at: usize,
        crash: bool,
        events: impl FnOnce(&mut Node) -> Vec<Event>,
    ) -> Result<(), String> {
        let mut came = Came::default();
        let node = Arc::make_mut(&mut self.nodes[at]);
        let events = events(node);
        node.turn(events, &mut came);
        if crash {
            self.take(world, at, came)?;
            return self.crash(world, config, at, 0);
        }
        while !world.lazy_sync && self.nodes[at].wants_sync() {
            Arc::make_mut(&mut self.nodes[at]).sync(&mut came);
        }
        self.take(world, at, came)
    }

    /// Takes in what came of a replica's turn.
    fn take(&mut self, world: &World, at: usize, came: Came) -> Result<(), String> {
        for message in came.sent {
            self.send(message, world.prune);
        }
        for record in came.applied {
            self.applied(at, &record)?;
        }
        for (operation, reply) in came.answered {
            if let Ok(outcome) = reply {
                self.answered(operation, &outcome)?;
            }
        }
        for report in came.reports {
            self.reported(at, &report)?;
        }
        super::check::replica(self, at)
    }

    fn applied(&mut self, at: usize, record: &Arc<types::record::Record>) -> Result<(), String> {
        let place = record.seq.0 as usize - 1;
        match self.past.applied.get(place) {
            Some(before) if before == record => Ok(()),
            Some(before) => Err(format!("one history: {} applied {:?} where {:?} was", device(at), record.position(), before.position())),
            None if place == self.past.applied.len() => {
                if self.past.applied.iter().any(|before| before.dtx == record.dtx) {
                    return Err(format!("idempotence: {} was executed twice", record.dtx));
                }
                Arc::make_mut(&mut self.past).applied.push(Arc::clone(record));
                Ok(())
            }
            None => Err(format!("one history: {} applied {} after {}", device(at), record.seq, self.past.applied.len())),
        }
    }

    fn answered(&mut self, operation: u64, outcome: &Outcome) -> Result<(), String> {
        let Some(place) = self.past.applied.iter().position(|r| r.dtx.counter == operation) else {
            return Err(format!("transaction {operation} was answered and not applied"));
        };
        let record = &self.past.applied[place];
        if record.outcome != *outcome {
            return Err(format!("transaction {operation} was answered {outcome:?}, its record says {:?}", record.outcome));
        }
        Arc::make_mut(&mut self.past).answered.insert(operation, place as u64 + 1);
        super::check::held(self, place as u64 + 1)
    }

    fn reported(&mut self, at: usize, report: &Report) -> Result<(), String> {
        match report {
            Report::Active { view } => {
                let past = Arc::make_mut(&mut self.past);
                if !past.active.contains(view) {
                    past.active.push(*view);
                }
                Ok(())
            }
            Report::Recovered { epoch, boot } => {
                let member = &self.authority.devices[at];
                match member.recovering {
                    Some((announced, answered)) if announced == *epoch && member.boot == *boot => {
                        super::check::recovered(self, at, answered)
                    }
                    _ => Ok(()),
                }
            }
            Report::NeedsCopy { .. } => Ok(()),
            Report::Filled { device, incarnation, .. } => {
                let filled = (device.0 as usize - 1, *incarnation);
                if !self.past.filled.contains(&filled) {
                    Arc::make_mut(&mut self.past).filled.push(filled);
                }
                Ok(())
            }
            Report::Amnesia { .. } | Report::Diverged { .. } => Err(format!("{} reports {report:?}, and no disk lied", device(at))),
        }
    }

    fn restart(&mut self, world: &World, config: &Arc<Config>, at: usize, disk: crate::sim::dtm::device::Device) -> Result<(), String> {
        let authority = Arc::make_mut(&mut self.authority);
        authority.say();
        // It has to hear at least what HA says of its start.
        let (heard, placement) = (authority.said.len() - 1, Arc::clone(&authority.said[authority.said.len() - 1]));
        let (member, epoch) = (authority.devices[at].clone(), authority.epoch);
        let clock = self.nodes[at].clock;
        let named = placement.members.iter().chain(&placement.learners).any(|d| *d == device(at));
        let absent = world.fills && disk.state.is_none() && !named;
        let node = Node::start(at, &member, disk, config, &placement, heard, clock)?;
        let (mut node, mut came) = (node.with_torn_copies(world.torn_copies), Came::default());
        if world.fills && node.current.state.is_none() {
            node.join(at, &member, config, &placement);
            node.absent = absent;
        }
        node.turn(vec![node.lease(epoch)], &mut came);
        while !world.lazy_sync && node.wants_sync() {
            node.sync(&mut came);
        }
        self.nodes[at] = Arc::new(node);
        self.take(world, at, came)
    }

    fn crash(&mut self, world: &World, config: &Arc<Config>, at: usize, kept: usize) -> Result<(), String> {
        self.left.crashes -= 1;
        let disk = self.nodes[at].crashed(kept);
        let answered = self.past.answered.values().copied().max().unwrap_or(0);
        let authority = Arc::make_mut(&mut self.authority);
        let epoch = authority.raise();
        let member = &mut authority.devices[at];
        member.boot = types::Boot(epoch.0);
        (member.lease, member.away) = (true, false);
        if world.recovery {
            member.recovering = Some((epoch, answered));
            // `End` comes only from a view at or after the announcement.
            if let Some((primary, _)) = authority.primary.filter(|(n, _)| *n != at) {
                authority.issue(Some(primary));
            }
        }
        self.restart(world, config, at, disk)
    }

    fn blank(&mut self, world: &World, config: &Arc<Config>, at: usize) -> Result<(), String> {
        self.left.blanks -= 1;
        let authority = Arc::make_mut(&mut self.authority);
        let epoch = authority.raise();
        let member = &mut authority.devices[at];
        member.boot = types::Boot(epoch.0);
        member.incarnation = Incarnation(epoch.0);
        member.registered = epoch;
        (member.lease, member.away) = (true, false);
        self.restart(world, config, at, Default::default())
    }

    fn authority_acts(&mut self, action: Action) {
        let authority: &mut Authority = Arc::make_mut(&mut self.authority);
        match action {
            Action::View { primary } => {
                if primary.is_some() {
                    self.left.views -= 1;
                    authority.fenced = None;
                }
                let before = authority.primary;
                authority.issue(primary);
                if primary.is_none() {
                    authority.fenced = before.map(|(n, boot)| (n, boot, authority.epoch));
                }
            }
            Action::Replace { out, into, primary } => {
                self.left.views -= 1;
                self.left.replacements -= 1;
                authority.old = authority.members.clone();
                authority.members = authority.members.iter().map(|n| if *n == out { into } else { *n }).collect();
                authority.learners.retain(|n| *n != into);
                authority.settled = false;
                authority.issue(Some(primary));
            }
            Action::Learn { into } => {
                authority.learners.push(into);
                let primary = authority.primary.map(|(n, _)| n);
                authority.issue(primary);
            }
            Action::Record => {
                authority.settled = true;
                authority.old = authority.members.clone();
            }
            Action::Mark { at } => {
                self.left.marks -= 1;
                let member = &mut authority.devices[at];
                (member.away, member.marked) = (true, true);
                authority.raise();
                authority.say();
            }
            Action::Online { at } => {
                authority.devices[at].marked = false;
                authority.devices[at].recovering = None;
                authority.raise();
                authority.say();
            }
            _ => {}
        }
    }
}
