//! The world of HA as the tools for recorded runs see it.

use super::packet::{Happening, Packet, Reply, Request};
use super::settings::HOSTS;
use super::world::HaWorld;
use crate::sim::dtm::shown::{between, short};
use crate::sim::network::NodeNumber;
use crate::sim::shown::{Arrow, Part, Shown};

fn name(number: NodeNumber) -> String {
    if number < HOSTS { format!("node-{}", number + 1) } else { format!("daemon-{}", number % HOSTS + 1) }
}

fn packet_words(packet: &Packet) -> String {
    let change = |change: &ha_state::Change| {
        let text = format!("{change:?}");
        text.split([' ', '(', '{']).next().unwrap_or_default().to_string()
    };
    match packet {
        Packet::Ask { request, .. } => match request {
            Request::Register { nonce, .. } => format!("Register {nonce:x}"),
            Request::Renew { boot, confirmed, .. } => format!("Renew {boot}, has {confirmed}"),
            Request::Report(report) => format!("Report {}", change(report)),
        },
        Packet::Answer { reply, .. } => match reply {
            Reply::Registered { boot, .. } => format!("Registered as {boot}"),
            Reply::Granted { boot, epoch, .. } => format!("Granted {boot} as of {epoch}"),
            Reply::OldBoot { boot } => format!("OldBoot {boot}"),
            Reply::Snapshot(_) => "Snapshot".into(),
            Reply::Entries(entries) => format!("Entries, {}", entries.len()),
        },
        Packet::Follow { after } => format!("Follow after {after}"),
        Packet::Append { term, committed } => format!("Append term {term}, committed {committed}"),
    }
}

fn packet_kind(packet: &Packet) -> u64 {
    match packet {
        Packet::Ask { request: Request::Register { .. }, .. } => 0,
        Packet::Ask { request: Request::Renew { .. }, .. } => 1,
        Packet::Ask { request: Request::Report(_), .. } => 2,
        Packet::Answer { reply: Reply::Registered { .. }, .. } => 3,
        Packet::Answer { reply: Reply::Granted { .. } | Reply::OldBoot { .. }, .. } => 4,
        Packet::Answer { .. } => 5,
        Packet::Follow { .. } => 6,
        Packet::Append { .. } => 7,
    }
}

impl Shown for HaWorld {
    fn part(event: &Happening) -> Part {
        let timer = |kind, of: u32| Part::Inner((kind, u64::from(of), 0));
        match event {
            Happening::Deliver { from, to, packet } => Part::Inner(between(*from, *to, packet_kind(packet))),
            Happening::Renewal { node, .. } => timer(1, *node),
            Happening::Poll { node, .. } => timer(2, *node),
            Happening::Beat { node, .. } => timer(3, *node),
            Happening::Written { node, .. } => timer(4, *node),
            Happening::Confirm { node, from, .. } => Part::Inner((5, u64::from(*node), u64::from(*from))),
            Happening::Confirmed { node, from, .. } => Part::Inner((6, u64::from(*node), u64::from(*from))),
            Happening::Look { node, .. } => timer(7, *node),
            Happening::Election { node, .. } => timer(8, *node),
            Happening::SeeEnd { node, .. } => timer(9, *node),
            Happening::Heal | Happening::End => Part::Frame,
            Happening::Kill { .. }
            | Happening::Start { .. }
            | Happening::Pause { .. }
            | Happening::Resume { .. }
            | Happening::Cut { .. }
            | Happening::Mend { .. }
            | Happening::Do { .. }
            | Happening::Play { .. } => Part::Fault,
        }
    }

    fn chosen(pending: Happening, recorded: &Happening) -> Happening {
        match (pending, recorded) {
            (Happening::Election { node, start, .. }, Happening::Election { silence, survive, .. }) => {
                Happening::Election { node, start, silence: *silence, survive: *survive }
            }
            (Happening::Confirm { node, term, from, via, request, .. }, Happening::Confirm { back, .. }) => {
                Happening::Confirm { node, term, from, via, request, back: *back }
            }
            (pending, _) => pending,
        }
    }

    fn words(&self, event: &Happening) -> String {
        match event {
            Happening::Deliver { from, to, packet } => format!("{} -> {}: {}", name(*from), name(*to), packet_words(packet)),
            Happening::Renewal { node, .. } => format!("{} renews its lease", name(*node)),
            Happening::Poll { node, .. } => format!("{} asks for entries", name(*node)),
            Happening::Beat { node, term } => format!("{} beats in term {term}", name(*node)),
            Happening::Written { node, term, upto } => format!("a quorum has what {} wrote up to {upto} in term {term}", name(*node)),
            Happening::Confirm { node, from, .. } => format!("{} asks a quorum for {}", name(*node), name(*from)),
            Happening::Confirmed { node, from, read, .. } => format!("{} is confirmed for {}, read index {read}", name(*node), name(*from)),
            Happening::Look { node, term } => format!("{} looks what to propose in term {term}", name(*node)),
            Happening::Election { node, silence, survive, .. } => {
                format!("{} stands for election after {silence} us of silence, {survive} entries survive", name(*node))
            }
            Happening::SeeEnd { node, boot, .. } => format!("{} sees that {boot} has ended", name(*node)),
            Happening::Kill { node, .. } => format!("{} is killed", name(*node)),
            Happening::Start { node } => format!("{} starts", name(*node)),
            Happening::Pause { node } => format!("{} stands still", name(*node)),
            Happening::Resume { node } => format!("{} goes on", name(*node)),
            Happening::Cut { pairs } => short(&format!("cut: {pairs:?}")),
            Happening::Mend { pairs } => short(&format!("mended: {pairs:?}")),
            Happening::Do { whim, choice } => format!("{whim:?} ({choice})"),
            Happening::Play { scene, choice } => format!("scene {scene:?} ({choice})"),
            Happening::Heal => "everything is healed".into(),
            Happening::End => "everything is looked at".into(),
        }
    }

    fn arrow(event: &Happening) -> Option<Arrow> {
        let Happening::Deliver { from, to, packet } = event else { return None };
        Some(Arrow { from: *from, to: *to, label: packet_words(packet) })
    }

    fn names(&self) -> Vec<String> {
        (0..2 * HOSTS).map(name).collect()
    }

    fn states(&self) -> Vec<String> {
        let life = |down, paused| match (down, paused) {
            (true, _) => "down",
            (_, true) => "paused",
            _ => "up",
        };
        let processes = self.processes.iter().map(|process| {
            let boot = process.boot.map_or_else(|| "no boot".to_string(), |boot| boot.to_string());
            format!("{}, {boot}, has {}", life(process.life.is_down(), process.life.is_paused()), process.state.index())
        });
        let daemons = self.daemons.iter().map(|daemon| {
            let leads =
                daemon.term.as_ref().map_or_else(|| format!("follows {:?}", daemon.known.1.map(name)), |t| format!("leads {}", t.number()));
            format!("{}, {leads}, has {}", life(daemon.life.is_down(), daemon.life.is_paused()), daemon.state.index())
        });
        processes.chain(daemons).collect()
    }
}
