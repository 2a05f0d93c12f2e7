//! The world of a whole cluster as the tools for recorded runs see it.

use types::wire::dtm;

use super::packet::{Happening, Packet, Reply, Request};
use super::world::ClusterWorld;
use crate::sim::dtm::shown::{between, message_words, short};
use crate::sim::network::NodeNumber;
use crate::sim::shown::{Arrow, Part, Shown};

fn packet_words(packet: &Packet) -> String {
    match packet {
        Packet::Ask { request, .. } => match request {
            Request::Register { .. } => "Register".into(),
            Request::Renew { boot, confirmed, .. } => format!("Renew {boot}, has {confirmed}"),
            Request::Report(change) => format!("Report {}", format!("{change:?}").split([' ', '(', '{']).next().unwrap_or_default()),
            Request::Map { .. } => "Map?".into(),
        },
        Packet::Answer { reply, .. } => match reply {
            Reply::Registered { registered, .. } => format!("Registered as {}", registered.boot),
            Reply::Granted { boot, epoch, .. } => format!("Granted {boot} as of {epoch}"),
            Reply::OldBoot { boot } => format!("OldBoot {boot}"),
            Reply::Snapshot(_) => "Snapshot".into(),
            Reply::Entries(entries) => format!("Entries, {}", entries.len()),
            Reply::Map(map, _) => format!("Map of {}", map.epoch),
        },
        Packet::Follow { after } => format!("Follow after {after}"),
        Packet::Append { term, committed } => format!("Append term {term}, committed {committed}"),
        Packet::Dtm { head, .. } => match dtm::decode(head) {
            Ok(head) => match head.envelopes.split_first() {
                Some((first, [])) => format!("{} {}", first.group, message_words(&first.message)),
                Some((first, rest)) => format!("{} {}, and {} more", first.group, message_words(&first.message), rest.len()),
                None => "an empty head".into(),
            },
            Err(error) => error.to_string(),
        },
        Packet::Execute { execute, .. } => format!("Execute {} v{}", execute.dtx, execute.view),
        Packet::Executed { reply, .. } => short(&format!("Executed: {reply:?}")),
        Packet::Read { read, .. } => format!("Read v{}", read.view),
        Packet::ReadDone { reply, .. } => short(&format!("ReadDone: {reply:?}")),
    }
}

fn packet_kind(packet: &Packet) -> u64 {
    match packet {
        Packet::Ask { request, .. } => match request {
            Request::Register { .. } => 0,
            Request::Renew { .. } => 1,
            Request::Report(_) => 2,
            Request::Map { .. } => 3,
        },
        Packet::Answer { reply, .. } => match reply {
            Reply::Registered { .. } => 10,
            Reply::Granted { .. } | Reply::OldBoot { .. } => 11,
            Reply::Snapshot(_) | Reply::Entries(_) => 12,
            Reply::Map(..) => 13,
        },
        Packet::Follow { .. } => 20,
        Packet::Append { .. } => 21,
        Packet::Dtm { .. } => 22,
        Packet::Execute { .. } => 23,
        Packet::Executed { .. } => 24,
        Packet::Read { .. } => 25,
        Packet::ReadDone { .. } => 26,
    }
}

impl Shown for ClusterWorld {
    fn part(event: &Happening) -> Part {
        let timer = |kind, of: u32| Part::Inner((kind, u64::from(of), 0));
        match event {
            Happening::Deliver { from, to, packet } => Part::Inner(between(*from, *to, packet_kind(packet))),
            Happening::Turn { node, device, .. } => Part::Inner((1, u64::from(*node), u64::from(device.0))),
            Happening::Deadline { node, device, .. } => Part::Inner((2, u64::from(*node), u64::from(device.0))),
            Happening::Renewal { node, .. } => timer(3, *node),
            Happening::Poll { node, .. } => timer(4, *node),
            Happening::Beat { node, .. } => timer(5, *node),
            Happening::Written { node, .. } => timer(6, *node),
            Happening::Confirmed { node, from, .. } => Part::Inner((7, u64::from(*node), u64::from(*from))),
            Happening::Look { node, .. } => timer(8, *node),
            Happening::Election { node, .. } => timer(9, *node),
            Happening::SeeEnd { node, .. } => timer(10, *node),
            Happening::Impatient { client, .. } => timer(11, *client),
            Happening::Refresh { client } => timer(12, *client),
            Happening::Begin { .. } => Part::Operation,
            Happening::Heal | Happening::Quiet | Happening::End => Part::Frame,
            Happening::Kill { .. }
            | Happening::PowerCut { .. }
            | Happening::Break { .. }
            | Happening::Blank { .. }
            | Happening::Room { .. }
            | Happening::Start { .. }
            | Happening::Pause { .. }
            | Happening::Resume { .. }
            | Happening::Cut { .. }
            | Happening::Mend { .. } => Part::Fault,
        }
    }

    fn chosen(pending: Happening, recorded: &Happening) -> Happening {
        match (pending, recorded) {
            (Happening::Election { node, start, .. }, Happening::Election { silence, survive, .. }) => {
                Happening::Election { node, start, silence: *silence, survive: *survive }
            }
            (Happening::Turn { node, start, device, .. }, Happening::Turn { takes, .. }) => {
                Happening::Turn { node, start, device, takes: *takes }
            }
            (Happening::Deadline { node, start, device, .. }, Happening::Deadline { takes, .. }) => {
                Happening::Deadline { node, start, device, takes: *takes }
            }
            (pending, _) => pending,
        }
    }

    fn words(&self, event: &Happening) -> String {
        let names = self.names();
        let name = |number: &NodeNumber| names.get(*number as usize).cloned().unwrap_or_else(|| number.to_string());
        match event {
            Happening::Deliver { from, to, packet } => format!("{} -> {}: {}", name(from), name(to), packet_words(packet)),
            Happening::Turn { device, .. } => format!("the driver of {device} takes a turn"),
            Happening::Deadline { device, .. } => format!("a deadline of {device}"),
            Happening::Renewal { node, .. } => format!("{} renews its lease", name(node)),
            Happening::Poll { node, .. } => format!("{} asks for entries", name(node)),
            Happening::Beat { node, term } => format!("{} beats in term {term}", name(node)),
            Happening::Written { node, term, upto } => format!("a quorum has what {} wrote up to {upto} in term {term}", name(node)),
            Happening::Confirmed { node, from, read, .. } => format!("{} is confirmed for {}, read index {read}", name(node), name(from)),
            Happening::Look { node, term } => format!("{} looks what to propose in term {term}", name(node)),
            Happening::Election { node, silence, .. } => format!("{} stands for election after {silence} us of silence", name(node)),
            Happening::SeeEnd { node, boot, .. } => format!("{} sees that {boot} has ended", name(node)),
            Happening::Begin { client, intent } => format!("client {client} begins {:?} of row {}", intent.kind, intent.row),
            Happening::Impatient { client, .. } => format!("client {client} is impatient"),
            Happening::Refresh { client } => format!("client {client} asks for the map"),
            Happening::Kill { node, .. } => format!("{} is killed", name(node)),
            Happening::PowerCut { host, after: None } => format!("the power of host {} goes", host + 1),
            Happening::PowerCut { host, after: Some(after) } => {
                format!("the power of host {} goes after {after} writes and syncs", host + 1)
            }
            Happening::Break { device, writes } => format!("{} of {device} fail from now on", if *writes { "writes" } else { "syncs" }),
            Happening::Blank { device } => format!("{device} is replaced by an empty one"),
            Happening::Room { device, bytes } => format!("{device} has room for {bytes} bytes"),
            Happening::Start { node } => format!("{} starts", name(node)),
            Happening::Pause { node } => format!("{} stands still", name(node)),
            Happening::Resume { node } => format!("{} goes on", name(node)),
            Happening::Cut { pairs } => short(&format!("cut: {pairs:?}")),
            Happening::Mend { pairs } => short(&format!("mended: {pairs:?}")),
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
        let nodes = (1..=self.settings.nodes).map(|node| format!("node-{node}"));
        let daemons = (1..=self.settings.voters).map(|daemon| format!("daemon-{daemon}"));
        nodes.chain(daemons).chain((0..self.settings.clients).map(|client| format!("client {client}"))).collect()
    }

    fn states(&self) -> Vec<String> {
        let life = |down, paused| match (down, paused) {
            (true, _) => "down",
            (_, true) => "paused",
            _ => "up",
        };
        let processes = self.processes.iter().map(|process| {
            let boot = process.boot().map_or_else(|| "no boot".to_string(), |boot| boot.to_string());
            let machines = process.serving().into_iter().flat_map(|serving| serving.drivers.values()).flat_map(|driver| driver.machines());
            let machines: Vec<String> = machines.map(|(group, r)| format!("{group} v{} to {}", r.promised(), r.applied())).collect();
            let life = life(process.life.is_down(), process.life.is_paused());
            short(&format!("{life}, {boot}, has {}; {}", process.index(), machines.join(", ")))
        });
        let daemons = self.daemons.iter().map(|daemon| {
            let leads = daemon.term.as_ref().map_or_else(|| "follows".to_string(), |term| format!("leads {}", term.number()));
            format!("{}, {leads}, has {}", life(daemon.life.is_down(), daemon.life.is_paused()), daemon.state.index())
        });
        processes.chain(daemons).chain(self.clients.iter().map(|_| String::new())).collect()
    }
}
