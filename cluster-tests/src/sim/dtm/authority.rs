//! The simulated HA, as far as one group sees it: boots, states, leases and views. One place that never fails and forgets nothing; that it is
//! a Raft group is another simulation's business.
//!
//! A new primary is named only when the one before has surely ended: its process was seen to die or registered again, it has taken in the
//! view that deposes it, or its lease of before is over.

use std::collections::BTreeMap;

use dtm::{Peer, Placement};
use types::state::DeviceState;
use types::{Boot, DeviceId, Epoch, HaTime, Incarnation, ViewNumber};

use super::node::CREATED;
use super::packet::Packet;
use super::settings::LEASE;
use crate::sim::heap::Micros;
use crate::sim::network::NodeNumber;

#[derive(Clone, Debug, Default)]
struct Known {
    boot: Boot,
    start: u64,
    incarnation: Incarnation,
    registered: Epoch,
    /// Its device was formatted anew and has not recovered since.
    blank: bool,
    /// It was away for so long that no log is kept for it.
    marked: bool,
    state: DeviceState,
    recovering: Option<Epoch>,
    /// When the last lease granted to it is over, on the authority's clock.
    lease_over: Micros,
    confirmed: Epoch,
}

/// A primary that was deposed and may not know it.
#[derive(Clone, Copy, Debug)]
struct Deposed {
    node: NodeNumber,
    boot: Boot,
    since: Epoch,
    lease_over: Micros,
}

/// The authority.
#[derive(Clone, Debug)]
pub struct Authority {
    epoch: Epoch,
    view: ViewNumber,
    primary: Option<(NodeNumber, Boot)>,
    deposed: Option<Deposed>,
    prefer: NodeNumber,
    nodes: BTreeMap<NodeNumber, Known>,
    drift_ppm: i64,
    /// The last view recorded active.
    pub active: ViewNumber,
}

impl Authority {
    /// A cluster in which nobody has registered.
    pub fn new(nodes: u32, drift_ppm: i64) -> Self {
        Self {
            epoch: CREATED,
            view: ViewNumber(CREATED.0),
            primary: None,
            deposed: None,
            prefer: 0,
            nodes: (0..nodes).map(|n| (n, Known { incarnation: Incarnation(1), registered: CREATED, ..Known::default() })).collect(),
            drift_ppm,
            active: ViewNumber(CREATED.0),
        }
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether everybody is ONLINE and the present view has been recorded active.
    pub fn is_well(&self) -> bool {
        self.active == self.view && self.primary.is_some() && self.nodes.values().all(|n| n.state == DeviceState::Online)
    }

    fn clock(&self, now: Micros) -> Micros {
        now.saturating_add_signed(now as i64 * self.drift_ppm / 1_000_000)
    }

    fn raise(&mut self) -> Epoch {
        self.epoch = self.epoch.next();
        self.epoch
    }

    /// What it says of the group.
    pub fn placement(&self) -> Placement {
        let device = |n: NodeNumber| DeviceId(n + 1);
        let members: Vec<DeviceId> = self.nodes.keys().map(|n| device(*n)).collect();
        let peer = |known: &Known| Peer {
            state: known.state,
            boot: known.boot,
            incarnation: known.incarnation,
            recovering: known.recovering,
            copy: known.marked,
        };
        Placement {
            epoch: self.epoch,
            number: self.view,
            primary: self.primary.map(|(n, boot)| (device(n), boot)),
            old: members.clone(),
            members,
            learners: Vec::new(),
            peers: self.nodes.iter().map(|(n, known)| (device(*n), peer(known))).collect(),
        }
    }

    /// A message for it; its answers to the sender.
    pub fn receive(&mut self, from: NodeNumber, packet: &Packet, now: Micros) -> Vec<Packet> {
        match packet {
            Packet::Register { start, blank } => {
                vec![self.register(from, *start, *blank, now), Packet::Placement(Box::new(self.placement()))]
            }
            Packet::Renew { boot, sent, epoch } => self.renew(from, *boot, *sent, *epoch, now),
            Packet::Active { view } => {
                if *view == self.view {
                    self.active = *view;
                }
                Vec::new()
            }
            Packet::Recovered { epoch, boot } => {
                if let Some(known) = self.nodes.get_mut(&from)
                    && known.boot == *boot
                    && known.recovering == Some(*epoch)
                {
                    known.recovering = None;
                    known.state = DeviceState::Online;
                    (known.blank, known.marked) = (false, false);
                    self.raise();
                    self.appoint(now);
                }
                Vec::new()
            }
            Packet::NeedsCopy { device, incarnation } => {
                self.mark(device.0 - 1, *incarnation);
                Vec::new()
            }
            Packet::Map => vec![Packet::Placement(Box::new(self.placement()))],
            _ => Vec::new(),
        }
    }

    /// Gives up to keep a log for a device that is away; as long as f+1 are whole without it.
    fn mark(&mut self, node: NodeNumber, incarnation: Incarnation) {
        let spared = self.spared();
        let Some(known) = self.nodes.get_mut(&node) else { return };
        if known.incarnation == incarnation && known.state == DeviceState::Transient && !known.marked && spared {
            known.marked = true;
            self.raise();
        }
    }

    /// Whether a replica is not whole, as far as this knows.
    pub fn is_partial(&self, node: NodeNumber) -> bool {
        self.nodes.get(&node).is_some_and(|known| known.blank || known.marked)
    }

    /// Whether one more replica may be done without.
    fn spared(&self) -> bool {
        let partial = self.nodes.values().filter(|known| known.blank || known.marked).count();
        partial < (self.nodes.len() - 1) / 2
    }

    fn register(&mut self, node: NodeNumber, start: u64, blank: bool, now: Micros) -> Packet {
        let mut known = self.nodes.get(&node).cloned().unwrap_or_default();
        if known.start == start && is_live(&known) {
            let Known { boot, incarnation, registered, .. } = known;
            return Packet::Registered { start, boot, incarnation, registered };
        }
        let epoch = self.raise();
        let boot = Boot(epoch.0);
        let lease_over = self.clock(now) + LEASE;
        let recovering = Some(epoch);
        if blank {
            (known.incarnation, known.registered, known.blank) = (Incarnation(epoch.0), epoch, true);
        }
        let Known { incarnation, registered, .. } = known;
        let state = DeviceState::Recovering;
        self.nodes.insert(node, Known { boot, start, state, recovering, lease_over, confirmed: Epoch(0), ..known });
        self.depose(node, true);
        self.appoint(now);
        if self.primary.is_some() && self.view.0 < epoch.0 {
            // `End` comes only from a view at or after the announcement.
            self.view = ViewNumber(self.raise().0);
        }
        Packet::Registered { start, boot, incarnation, registered }
    }

    fn renew(&mut self, node: NodeNumber, boot: Boot, sent: Micros, epoch: Epoch, now: Micros) -> Vec<Packet> {
        let (clock, present) = (self.clock(now), self.epoch);
        let Some(known) = self.nodes.get_mut(&node) else { return Vec::new() };
        if known.boot != boot || !is_live(known) {
            return vec![Packet::Lost { boot }];
        }
        known.lease_over = clock + LEASE;
        known.confirmed = known.confirmed.max(epoch);
        self.appoint(now);
        let mut out = vec![Packet::Lease { boot, sent, epoch: present, ha_time: HaTime(clock / 1000) }];
        if epoch < self.epoch {
            out.push(Packet::Placement(Box::new(self.placement())));
        }
        out
    }

    /// A process was seen to die.
    pub fn died(&mut self, node: NodeNumber, start: u64, now: Micros) {
        if self.nodes.get(&node).is_some_and(|known| known.start == start && is_live(known)) {
            self.lose(node, true);
            self.appoint(now);
        }
    }

    /// Looks at its clock: whose lease is over is given up.
    pub fn look(&mut self, now: Micros) {
        let clock = self.clock(now);
        let over: Vec<NodeNumber> = self.nodes.iter().filter(|(_, k)| is_live(k) && k.lease_over <= clock).map(|(n, _)| *n).collect();
        for node in over {
            self.lose(node, true);
        }
        self.appoint(now);
    }

    /// Moves the primary to another live process.
    pub fn move_view(&mut self, steps: u32, now: Micros) {
        let Some((node, _)) = self.primary else { return };
        self.prefer = (node + steps) % self.nodes.len() as u32;
        if self.prefer != node {
            self.depose(node, false);
            self.appoint(now);
        }
    }

    fn lose(&mut self, node: NodeNumber, surely: bool) {
        self.raise();
        if let Some(known) = self.nodes.get_mut(&node) {
            known.state = DeviceState::Transient;
            known.recovering = None;
        }
        self.depose(node, surely);
    }

    fn depose(&mut self, node: NodeNumber, ended: bool) {
        if ended {
            self.deposed = self.deposed.filter(|d| d.node != node);
        }
        let Some((primary, boot)) = self.primary.filter(|(n, _)| *n == node) else { return };
        let since = self.raise();
        self.view = ViewNumber(since.0);
        self.primary = None;
        if !ended {
            let lease_over = self.nodes.get(&primary).map_or(0, |known| known.lease_over);
            self.deposed = Some(Deposed { node: primary, boot, since, lease_over });
        }
    }

    fn appoint(&mut self, now: Micros) {
        if self.primary.is_some() {
            return;
        }
        let clock = self.clock(now);
        if let Some(deposed) = self.deposed {
            let known = self.nodes.get(&deposed.node);
            let knows = known.is_some_and(|k| k.boot != deposed.boot || k.confirmed >= deposed.since);
            if !knows && deposed.lease_over > clock {
                return;
            }
            self.deposed = None;
        }
        let count = self.nodes.len() as u32;
        let order = (0..count).map(|i| (self.prefer + i) % count);
        let whole = |k: &Known| !k.blank && !k.marked;
        let of = |state: DeviceState| order.clone().find(|n| self.nodes.get(n).is_some_and(|k| k.state == state && whole(k)));
        let Some(node) = of(DeviceState::Online).or_else(|| of(DeviceState::Recovering)) else { return };
        let boot = self.nodes.get(&node).map_or(Boot(0), |k| k.boot);
        self.view = ViewNumber(self.raise().0);
        self.primary = Some((node, boot));
    }
}

fn is_live(known: &Known) -> bool {
    matches!(known.state, DeviceState::Online | DeviceState::Recovering)
}
