//! The second half of a turn: carrying out what the machines want, with at most one sync for a round.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use dtm::{Effect, Event, Reader, Report};
use service::points::Injected;
use types::keys::kind;
use types::record::Write;
use types::wire::dtm::{Envelope, Message, Part};
use types::wire::request::{ExecuteReply, Refusal};
use types::{GroupId, Seq, ViewNumber};

use super::copy::is_of_copy;
use super::hosted::HeldAnswer;
use super::store::{Change, Room, Store};
use super::{ClientRequest, Driver, DriverError, Place, Post};
use crate::points;
use crate::report::{DeviceEnd, HowEnded};

/// A page of a log that a machine asked for.
struct LogWanted {
    group: GroupId,
    reader: Reader,
    from: Seq,
    upto: Seq,
    bytes_max: usize,
}

impl<S: Store, P: Post> Driver<S, P> {
    /// One turn of the loop.
    pub(super) fn turn(&mut self, clients: Vec<ClientRequest>, peers: Vec<Envelope>) -> Result<(), DriverError<S::Error>> {
        // Whoever else uses the device may have seen it fail.
        let room = self.store.room()?;
        let mut effects = Vec::new();
        let mut news = self.take_view(&mut effects);
        self.take_lease(&mut effects);
        self.around.rooms.tell(self.place.device, room != Room::Free);
        for envelope in peers {
            if !is_room_for(&envelope.message, room) {
                // As if it were lost: its sender sends it again, and meanwhile takes nothing more from clients.
                continue;
            }
            self.take_message(envelope, &mut effects);
        }
        for request in clients {
            self.take_request(request, room, &mut effects);
        }
        self.take_time(&mut effects);
        self.flush(&mut effects);
        let mut changes = std::mem::take(&mut news.changes);
        loop {
            effects = self.round(effects, std::mem::take(&mut changes))?;
            self.flush(&mut effects);
            if effects.is_empty() {
                break;
            }
            // A long log is applied in many rounds.
            self.inbox.goes_on();
        }
        // Permits first: whoever sees that the news are taken in must not find an older permit.
        self.end_turn();
        if let Some(index) = news.index {
            self.forget_removed()?;
            self.around.fences.raise(self.place.device, &news.fences);
            self.around.fences.advance(self.place.device, index);
        }
        Ok(())
    }

    /// Forgets groups in which another device has taken this one's place. At the end of a turn: whoever waited at one of them is answered.
    fn forget_removed(&mut self) -> Result<(), DriverError<S::Error>> {
        let device = self.place.device;
        let map = self.taken_in.map.clone();
        let gone: Vec<GroupId> =
            self.replicas.keys().copied().filter(|group| map.view(*group).is_some_and(|view| view.has_let_go(device))).collect();
        if gone.is_empty() {
            return Ok(());
        }
        for group in &gone {
            tracing::info!(%group, %device, "another device has taken this one's place: the group is forgotten");
            if let Some(at) = self.replicas.remove(group).and_then(|hosted| hosted.deadline) {
                self.deadlines.remove(&(at, *group));
            }
            self.unsynced.remove(group);
            self.around.permits.set(device, *group, None);
            let shown = self.around.permits.shown_of(device, *group);
            shown.set(None);
            shown.set_unfinished(0);
        }
        self.snapshots.retain(|(group, _), _| !gone.contains(group));
        let changes: Vec<_> = gone.into_iter().map(|group| (group, Change::Forget)).collect();
        Ok(self.store.write(&changes, true)?)
    }

    fn flush(&mut self, effects: &mut Vec<(GroupId, Effect)>) {
        let now = self.now();
        for group in &self.turned {
            if let Some(hosted) = self.replicas.get_mut(group) {
                hosted.flush(*group, now, effects);
            }
        }
    }

    /// Carries out effects and gives those that follow from them.
    fn round(
        &mut self,
        effects: Vec<(GroupId, Effect)>,
        changes: Vec<(GroupId, Change<'static>)>,
    ) -> Result<Vec<(GroupId, Effect)>, DriverError<S::Error>> {
        let (device, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(|(_, effect)| effect.ticket().is_some());
        let (copies, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, effect)| is_of_copy(effect));
        let (wanted, reports) = self.before_commit(rest);
        let mut next = Vec::new();
        if !device.is_empty() || !changes.is_empty() {
            let sync = !changes.is_empty() || device.iter().any(|(_, effect)| effect.needs_sync());
            self.commit(&device, changes, sync)?;
            self.after_commit(&device, sync, &mut next);
        }
        for (group, report) in reports {
            self.report(group, report);
        }
        self.copy(copies, &mut next)?;
        for LogWanted { group, reader, from, upto, bytes_max } in wanted {
            let records = self.store.log(group, from, upto, bytes_max);
            let records = match reader {
                // Without its own log this replica cannot go on.
                Reader::Apply => records?,
                Reader::Redo(..) | Reader::Fetch(..) => match self.readable(records) {
                    Some(records) => records,
                    None => continue,
                },
            };
            let records = records.into_iter().map(Arc::new).collect();
            self.hand(group, Event::LogRead { reader, from, records }, &mut next);
        }
        Ok(next)
    }

    /// Sends and answers what need not wait, keeps what must, and gives the log pages and the reports that come after the commit.
    fn before_commit(&mut self, effects: Vec<(GroupId, Effect)>) -> (Vec<LogWanted>, Vec<(GroupId, Report)>) {
        let (mut out, mut wanted, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for (group, effect) in effects {
            let Some(hosted) = self.replicas.get_mut(&group) else { continue };
            match effect {
                Effect::Send { envelope, after: Some(after) } if after > hosted.synced => hosted.sends.push((after, envelope)),
                Effect::Send { envelope, .. } => out.push(envelope),
                Effect::SendPart { group, part } => out.extend(self.part_envelope(group, part)),
                Effect::Complete { client, reply, after: Some(after), before } if after > hosted.committed => {
                    hosted.answers.push(HeldAnswer { after, client, reply, before });
                }
                Effect::Complete { client, reply, before, .. } => self.answer(client, reply, before),
                Effect::ReadLog { reader, from, upto, bytes_max } => wanted.push(LogWanted { group, reader, from, upto, bytes_max }),
                Effect::Report(report) => reports.push((group, report)),
                _ => unreachable!("changes of the device and copies went the other way"),
            }
        }
        points::before_send(&mut out);
        self.post.send(out);
        (wanted, reports)
    }

    /// A part of a transaction on its way to the primary of its group; it is sent again until that has answered.
    fn part_envelope(&self, group: GroupId, part: Part) -> Option<Envelope> {
        let view = self.taken_in.map.view(group)?;
        let Place { device: from, boot, incarnation, .. } = self.place;
        let message = Message::Part { view: view.number, part };
        Some(Envelope { group, from, to: view.primary?.device, boot, incarnation, message })
    }

    fn commit(
        &self,
        effects: &[(GroupId, Effect)],
        changes: Vec<(GroupId, Change<'static>)>,
        sync: bool,
    ) -> Result<(), DriverError<S::Error>> {
        let mut batch: Vec<(GroupId, Change<'_>)> = changes;
        for (group, effect) in effects {
            if let (Effect::Wipe { .. }, Some(hosted)) = (effect, self.replicas.get(group)) {
                // Whoever is reading asks again what they show, and must not take none of them for all.
                hosted.shown.set(None);
            }
            put(*group, effect, &mut batch);
        }
        if let Err(injected) = pass_before(effects, sync) {
            self.store.fail(&injected.to_string());
        }
        self.store.write(&batch, sync)?;
        pass_after(effects, sync);
        // It may have taken so long that the device was given up meanwhile: then nothing is said of what was written.
        Ok(self.store.check()?)
    }

    /// Tells the machines, and sends and answers what waited.
    fn after_commit(&mut self, effects: &[(GroupId, Effect)], sync: bool, next: &mut Vec<(GroupId, Effect)>) {
        for (group, effect) in effects {
            if let (Some(hosted), Some(ticket)) = (self.replicas.get_mut(group), effect.ticket()) {
                hosted.committed = hosted.committed.max(ticket);
            }
        }
        let now = self.now();
        let (mut out, mut answers) = (Vec::new(), Vec::new());
        let changed = effects.iter().map(|(group, _)| *group);
        let groups = if sync {
            // One sync is a sync of everything that was committed before it, of whichever group.
            self.unsynced.extend(changed);
            std::mem::take(&mut self.unsynced)
        } else {
            let changed: BTreeSet<GroupId> = changed.collect();
            self.unsynced.extend(&changed);
            changed
        };
        for group in groups {
            let Some(hosted) = self.replicas.get_mut(&group) else { continue };
            let event = if sync {
                hosted.synced = hosted.committed;
                out.append(&mut hosted.released_sends());
                Event::Persisted(hosted.synced)
            } else {
                Event::Committed(hosted.committed)
            };
            hosted.hand(group, event, now, next, &mut self.turned);
            hosted.show(now);
            answers.append(&mut hosted.released_answers());
        }
        self.post.send(out);
        for HeldAnswer { client, reply, before, .. } in answers {
            self.answer(client, reply, before);
        }
    }

    fn answer(&mut self, client: dtm::ClientId, reply: ExecuteReply, before: Option<dtm::Instant>) {
        let Some(caller) = self.calls.remove(&client) else { return };
        let over = before.is_some_and(|end| self.now() >= end);
        let in_doubt = || Refusal::InDoubt { reason: "the process has no lease".into(), epoch: self.taken_in.map.epoch };
        caller.answer(if over { Err(in_doubt()) } else { reply });
    }

    fn report(&mut self, group: GroupId, report: Report) {
        let reports = &self.around.reports;
        match report {
            Report::Active { view } => {
                drop(points::ACTIVE_BEFORE_REPORT.pass());
                reports.active(group, view);
            }
            Report::Recovered { epoch, boot } if boot == self.place.boot => reports.ended(group, epoch),
            Report::Recovered { .. } => {}
            Report::Amnesia { device, incarnation, had, has } => {
                let reason = format!("amnesia: it had group {group} up to {had}, it has it up to {has}");
                reports.failed(device, DeviceEnd { incarnation: Some(incarnation), how: HowEnded::Forgot, reason });
            }
            Report::Filled { view, device, incarnation } => reports.filled(group, view, device, incarnation),
            Report::NeedsCopy { device, incarnation } => {
                reports.lags(device, incarnation, format!("no log of group {group} is kept for it any longer"));
            }
            Report::Diverged { device, view, seq } => {
                tracing::error!(%group, %device, %view, %seq, "a peer's log contradicts what is STABLE here");
            }
        }
    }

    /// Says what the machines of this turn may do now, and when they want to be called.
    pub(super) fn end_turn(&mut self) {
        let now = self.now();
        for group in std::mem::take(&mut self.turned) {
            let Some(hosted) = self.replicas.get_mut(&group) else { continue };
            // The lease in it may be over by the time of a read: who reads asks for that again.
            let view = hosted.replica.promised();
            let view: Option<ViewNumber> = hosted.replica.read(view, now).is_ok().then_some(view);
            self.around.permits.set(self.place.device, group, view);
            hosted.show(now);
            let deadline = hosted.next_deadline();
            if deadline != hosted.deadline {
                let before = std::mem::replace(&mut hosted.deadline, deadline);
                if let Some(at) = before {
                    self.deadlines.remove(&(at, group));
                }
                self.deadlines.extend(deadline.map(|at| (at, group)));
            }
        }
    }
}

/// Passes the fault points before a batch is written.
fn pass_before(effects: &[(GroupId, Effect)], sync: bool) -> Result<(), Injected> {
    let has = |is: fn(&Effect) -> bool| effects.iter().any(|(_, effect)| is(effect));
    if has(is_state) {
        points::VIEW_BEFORE_SAVE.pass()?;
    }
    if has(is_fill) {
        points::COPY_BEFORE_FILL.pass()?;
    }
    if sync { points::BATCH_BEFORE_SYNC.pass() } else { Ok(()) }
}

/// Passes those after it was.
fn pass_after(effects: &[(GroupId, Effect)], sync: bool) {
    let has = |is: fn(&Effect) -> bool| effects.iter().any(|(_, effect)| is(effect));
    let of = [(has(is_state), &points::VIEW_SAVED), (has(is_fill), &points::COPY_FILLED), (sync, &points::BATCH_SYNCED)];
    for (_, point) in of.into_iter().filter(|(is_passed, _)| *is_passed) {
        // None of them fails.
        drop(point.pass());
    }
}

fn is_state(effect: &Effect) -> bool {
    matches!(effect, Effect::SaveState { .. })
}

fn is_fill(effect: &Effect) -> bool {
    matches!(effect, Effect::Fill { .. })
}

/// Whether a message may be taken in. What a change of view needs and what deletes is, for longer than what fills the device.
pub(super) fn is_room_for(message: &Message, room: Room) -> bool {
    let takes_nothing = match message {
        Message::Redo { records, .. } | Message::Fetched { records, .. } => records.is_empty(),
        Message::CopyPiece { .. } | Message::Part { .. } => false,
        _ => true,
    };
    let is_needed = match message {
        Message::Redo { records, .. } => records.iter().flat_map(|record| &record.writes).all(|write| !is_growth(write)),
        Message::Fetched { .. } => true,
        Message::Part { part, .. } => part.writes.iter().all(|write| !is_growth(write)),
        _ => false,
    };
    match room {
        Room::Free | Room::Full => true,
        Room::Out => takes_nothing || is_needed,
        Room::Spent => takes_nothing,
    }
}

/// Whether a write takes room for good; see [`super::intake`].
fn is_growth(write: &Write) -> bool {
    match write {
        Write::Put { row, .. } => row.key.first() != Some(&kind::DEAD),
        Write::Delete { .. } => false,
    }
}

/// The changes of one effect.
fn put<'a>(group: GroupId, effect: &'a Effect, batch: &mut Vec<(GroupId, Change<'a>)>) {
    match effect {
        Effect::Append { records, .. } => batch.extend(records.iter().map(|record| (group, Change::Append(record)))),
        Effect::Cut { after, .. } => batch.push((group, Change::Cut(*after))),
        Effect::SaveState { state, .. } => batch.push((group, Change::State(state.encode()))),
        Effect::Prune { upto, .. } => batch.push((group, Change::Prune(*upto))),
        Effect::Apply { records, dropped: (first, last), .. } => {
            for record in records {
                batch.extend(record.writes.iter().map(|write| match write {
                    Write::Put { row, value } => {
                        (group, Change::Put { key: Cow::Borrowed(row), version: record.seq, value: Cow::Borrowed(value.as_slice()) })
                    }
                    Write::Delete { row } => (group, Change::Delete(Cow::Borrowed(row))),
                }));
                let (key, row) = dtm::result_row(record);
                batch.push((group, Change::Put { key: Cow::Owned(key), version: row.version, value: Cow::Owned(row.value) }));
            }
            for seq in first.0..=last.0 {
                batch.push((group, Change::Delete(Cow::Owned(dtm::result_key(Seq(seq))))));
            }
        }
        Effect::Note { rows, .. } => batch.extend(rows.iter().map(|(key, row)| match row {
            Some(row) => (group, Change::Put { key: Cow::Borrowed(key), version: row.version, value: Cow::Borrowed(row.value.as_slice()) }),
            None => (group, Change::Delete(Cow::Borrowed(key))),
        })),
        Effect::Wipe { .. } => batch.push((group, Change::Wipe)),
        Effect::Fill { rows, .. } => batch.extend(rows.iter().map(|(key, row)| {
            (group, Change::Put { key: Cow::Borrowed(key), version: row.version, value: Cow::Borrowed(row.value.as_slice()) })
        })),
        _ => {}
    }
}
