//! The world of one group as the tools for recorded runs see it.

use types::wire::dtm::Message;

use super::packet::{Happening, Packet};
use super::world::{GroupWorld, summary};
use crate::sim::network::NodeNumber;
use crate::sim::shown::{Arrow, Lane, Part, Shown};

/// A message of replicas in a few words.
pub fn message_words(message: &Message) -> String {
    let view = message.view();
    match message {
        Message::Redo { records, stable, .. } => match (records.first(), records.last()) {
            (Some(first), Some(last)) => format!("Redo {}..{} v{view} stable {stable}", first.seq, last.seq),
            _ => format!("Redo - v{view} stable {stable}"),
        },
        Message::Persistent { upto, .. } => format!("Persistent {upto} v{view}"),
        Message::Gap { last, .. } => format!("Gap after {last} v{view}"),
        Message::Peer { .. } => format!("Peer v{view}"),
        Message::PeerState { last, stable, .. } => format!("PeerState {} stable {stable} v{view}", last.seq),
        Message::Fetch { after, .. } => format!("Fetch after {after} v{view}"),
        Message::Fetched { records, .. } => format!("Fetched {} records v{view}", records.len()),
        Message::End { epoch, .. } => format!("End of {epoch} v{view}"),
        Message::Refused { reason, .. } => format!("Refused v{view}: {reason:?}"),
        Message::CopyRequest { .. } => format!("CopyRequest v{view}"),
        Message::CopyPiece { at, number, rows, end, .. } => {
            format!("CopyPiece {number} of {}, {} rows{}", at.seq, rows.len(), if *end { ", the last" } else { "" })
        }
        Message::CopyTaken { number, at, .. } => format!("CopyTaken {number} of {at}"),
        Message::Part { part, .. } => format!("Part {} of {}, all below {} done", part.seq, part.coordinator, part.low),
        Message::PartStable { participant, seq, .. } => format!("PartStable {seq} in {participant}"),
    }
}

/// The beginning of a long text.
pub fn short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    if text.chars().count() <= CHARACTERS_MAX { text.into() } else { text.chars().take(CHARACTERS_MAX).chain("...".chars()).collect() }
}

fn packet_words(packet: &Packet) -> String {
    match packet {
        Packet::Replica(envelope) => message_words(&envelope.message),
        Packet::Execute { view, dtx, ops, .. } => format!("Execute {dtx} v{view}, {} operations", ops.len()),
        Packet::Executed { reply, .. } => short(&format!("Executed: {reply:?}")),
        Packet::Read { view, .. } => format!("Read v{view}"),
        Packet::ReadDone { reply: Ok(row), .. } => format!("ReadDone: {:?}", row.as_ref().map(|row| row.version)),
        Packet::ReadDone { reply: Err(refusal), .. } => short(&format!("ReadDone: {refusal:?}")),
        Packet::ReadPoint { view, .. } => format!("ReadPoint v{view}"),
        Packet::Point { reply: Ok(point), .. } => format!("Point {point}"),
        Packet::Point { reply: Err(refusal), .. } => short(&format!("Point: {refusal:?}")),
        Packet::ReadNear { point, .. } => format!("ReadNear at {point}"),
        Packet::Register { blank, .. } => format!("Register{}", if *blank { ", blank" } else { "" }),
        Packet::Registered { boot, .. } => format!("Registered as {boot}"),
        Packet::Renew { boot, epoch, .. } => format!("Renew {boot} at {epoch}"),
        Packet::Lease { epoch, .. } => format!("Lease as of {epoch}"),
        Packet::Lost { boot } => format!("Lost {boot}"),
        Packet::Placement(placement) => format!("Placement v{}, {}", placement.number, placement.epoch),
        Packet::Active { view } => format!("Active v{view}"),
        Packet::Recovered { epoch, .. } => format!("Recovered from {epoch}"),
        Packet::NeedsCopy { device, .. } => format!("NeedsCopy {device}"),
        Packet::Map => "Map?".into(),
    }
}

/// Which kind of packet it is.
fn packet_kind(packet: &Packet) -> u64 {
    match packet {
        Packet::Replica(envelope) => match &envelope.message {
            Message::Redo { .. } => 0,
            Message::Persistent { .. } => 1,
            Message::Gap { .. } => 2,
            Message::Peer { .. } => 3,
            Message::PeerState { .. } => 4,
            Message::Fetch { .. } => 5,
            Message::Fetched { .. } => 6,
            Message::End { .. } => 7,
            Message::Refused { .. } => 8,
            Message::CopyRequest { .. } => 9,
            Message::CopyPiece { .. } => 10,
            Message::CopyTaken { .. } => 11,
            Message::Part { .. } => 12,
            Message::PartStable { .. } => 13,
        },
        Packet::Execute { .. } => 20,
        Packet::Executed { .. } => 21,
        Packet::Read { .. } => 22,
        Packet::ReadDone { .. } => 23,
        Packet::Register { .. } => 24,
        Packet::Registered { .. } => 25,
        Packet::Renew { .. } => 26,
        Packet::Lease { .. } => 27,
        Packet::Lost { .. } => 28,
        Packet::Placement(_) => 29,
        Packet::Active { .. } => 30,
        Packet::Recovered { .. } => 31,
        Packet::NeedsCopy { .. } => 32,
        Packet::Map => 33,
        Packet::ReadPoint { .. } => 34,
        Packet::Point { .. } => 35,
        Packet::ReadNear { .. } => 36,
    }
}

/// The lane of what goes from one to another.
pub fn between(from: NodeNumber, to: NodeNumber, kind: u64) -> Lane {
    (0, u64::from(from) << 32 | u64::from(to), kind)
}

impl Shown for GroupWorld {
    fn part(event: &Happening) -> Part {
        let timer = |kind, of: u32| Part::Inner((kind, u64::from(of), 0));
        match event {
            Happening::Deliver { from, to, packet } => Part::Inner(between(*from, *to, packet_kind(packet))),
            Happening::Turn { node, .. } => timer(1, *node),
            Happening::Synced { node, .. } => timer(2, *node),
            Happening::Deadline { node, .. } => timer(3, *node),
            Happening::Renewal { node, .. } => timer(4, *node),
            Happening::Impatient { client, .. } => timer(5, *client),
            Happening::Begin { .. } => Part::Operation,
            Happening::Look | Happening::Heal | Happening::Quiet | Happening::End => Part::Frame,
            Happening::Kill { .. }
            | Happening::Wipe { .. }
            | Happening::Start { .. }
            | Happening::Pause { .. }
            | Happening::Resume { .. }
            | Happening::Cut { .. }
            | Happening::Mend { .. }
            | Happening::MoveView { .. } => Part::Fault,
        }
    }

    fn words(&self, event: &Happening) -> String {
        let names = self.names();
        let name = |number: &NodeNumber| names.get(*number as usize).cloned().unwrap_or_else(|| number.to_string());
        match event {
            Happening::Deliver { from, to, packet } => format!("{} -> {}: {}", name(from), name(to), packet_words(packet)),
            Happening::Turn { node, .. } => format!("{} takes a turn", name(node)),
            Happening::Synced { node, ticket, .. } => format!("sync {ticket} of {} ends", name(node)),
            Happening::Deadline { node, .. } => format!("a deadline of {}", name(node)),
            Happening::Renewal { node, .. } => format!("{} renews its lease", name(node)),
            Happening::Begin { client, intent } => format!("client {client} begins {:?} of row {}", intent.kind, intent.row),
            Happening::Impatient { client, .. } => format!("client {client} is impatient"),
            Happening::Kill { node, kept_per_mille, seen } => {
                format!("{} is killed, {kept_per_mille} of 1000 unsynced writes stay{}", name(node), if *seen { ", seen" } else { "" })
            }
            Happening::Wipe { node } => format!("the device of {} is replaced by an empty one", name(node)),
            Happening::Start { node } => format!("{} starts", name(node)),
            Happening::Pause { node } => format!("{} stands still", name(node)),
            Happening::Resume { node } => format!("{} goes on", name(node)),
            Happening::Cut { pairs } => short(&format!("cut: {pairs:?}")),
            Happening::Mend { pairs } => short(&format!("mended: {pairs:?}")),
            Happening::MoveView { steps } => format!("the primary is moved by {steps}"),
            Happening::Look => "the authority looks at its clock".into(),
            Happening::Heal => "everything is healed".into(),
            Happening::Quiet => "clients stop".into(),
            Happening::End => "everything is looked at".into(),
        }
    }

    fn arrow(event: &Happening) -> Option<Arrow> {
        let Happening::Deliver { from, to, packet } = event else { return None };
        Some(Arrow { from: *from, to: *to, label: packet_words(packet) })
    }

    fn names(&self) -> Vec<String> {
        let processes = self.processes.iter().map(|process| process.device().to_string());
        let clients = (0..self.clients.len()).map(|client| format!("client {client}"));
        processes.chain(["authority".to_string()]).chain(clients).collect()
    }

    fn states(&self) -> Vec<String> {
        let of = |process: &super::node::Process| {
            let life = if process.life.is_down() {
                "down"
            } else if process.life.is_paused() {
                "paused"
            } else {
                "up"
            };
            match &process.replica {
                Some(replica) => format!("{life}, {}, {} unsynced", summary(replica), process.disk.unsynced()),
                None => life.to_string(),
            }
        };
        let authority = || format!("{}, well: {}", self.authority.epoch(), self.authority.is_well());
        self.processes.iter().map(of).chain([authority()]).chain(self.clients.iter().map(|_| String::new())).collect()
    }
}
