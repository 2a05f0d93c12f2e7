//! The world of several groups as the tools for recorded runs see it: the replicas and the authority of each group side by side.

use types::wire::dtm::Message;

use super::{CrossingWorld, FOREIGN, Happening};
use crate::sim::dtm::packet::{Happening as InGroup, Packet};
use crate::sim::dtm::shown::message_words;
use crate::sim::dtm::world::GroupWorld;
use crate::sim::network::NodeNumber;
use crate::sim::shown::{Arrow, Part, Shown};

/// Members of each group's network that are shown: its replicas and its authority.
const PLACES: NodeNumber = super::REPLICAS + 1;
/// Kinds of lanes that one group's events have.
const LANES: u8 = 16;

/// From whom a message of another group comes: from a replica of the group that it speaks of.
fn foreign(packet: &Packet) -> Option<NodeNumber> {
    let Packet::Replica(envelope) = packet else { return None };
    let group = match &envelope.message {
        Message::Part { part, .. } => part.coordinator.index,
        Message::PartStable { participant, .. } => participant.index,
        _ => return None,
    };
    Some(group * PLACES + envelope.from.0.checked_sub(1)?)
}

impl Shown for CrossingWorld {
    fn part(event: &Happening) -> Part {
        match event {
            Happening::In { group, what } => match GroupWorld::part(what) {
                Part::Inner((kind, a, b)) => Part::Inner((*group as u8 * LANES + kind, a, b)),
                other => other,
            },
            Happening::Apart { .. } | Happening::Together { .. } => Part::Fault,
            Happening::End => Part::Frame,
        }
    }

    fn words(&self, event: &Happening) -> String {
        match event {
            Happening::In { group, what: InGroup::Deliver { from: FOREIGN, to, packet: Packet::Replica(envelope) } } => {
                format!("another group -> replica {to} of group {group}: {}", message_words(&envelope.message))
            }
            Happening::In { group, what } => format!("group {group}: {}", self.groups[*group as usize].words(what)),
            Happening::Apart { groups: (from, to) } => format!("nothing goes from group {from} to {to}"),
            Happening::Together { groups: (from, to) } => format!("group {from} reaches {to} again"),
            Happening::End => "everything is looked at".into(),
        }
    }

    fn arrow(event: &Happening) -> Option<Arrow> {
        let Happening::In { group, what } = event else { return None };
        let Arrow { from, to, label } = GroupWorld::arrow(what)?;
        let foreign = if let InGroup::Deliver { packet, .. } = what { foreign(packet) } else { None };
        let here = |number: NodeNumber| (number < PLACES).then_some(group * PLACES + number);
        Some(Arrow { from: if from == FOREIGN { foreign? } else { here(from)? }, to: here(to)?, label })
    }

    fn names(&self) -> Vec<String> {
        let of = |(number, group): (usize, &GroupWorld)| {
            let names = group.names().into_iter().take(PLACES as usize);
            names.map(move |name| format!("{name} of group {number}")).collect::<Vec<_>>()
        };
        self.groups.iter().enumerate().flat_map(of).collect()
    }

    fn states(&self) -> Vec<String> {
        let of = |group: &GroupWorld| group.states().into_iter().take(PLACES as usize).collect::<Vec<_>>();
        self.groups.iter().flat_map(of).collect()
    }
}
