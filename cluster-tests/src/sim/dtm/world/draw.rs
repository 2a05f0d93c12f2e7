//! What is drawn for a run: its faults, and what its clients want.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{ASK_END, GroupWorld, LOOK, SERVICE};
use crate::sim::dtm::client::{Intent, Kind, When};
use crate::sim::dtm::packet::Happening;
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::network::NodeNumber;
use crate::sim::swarm::{FaultKind, log_uniform};

impl GroupWorld {
    /// What happens to begin with: starts, clients, every fault of the run.
    pub fn first(&mut self, rng: &mut ChaCha8Rng) -> Vec<(Micros, Happening)> {
        let mut first: Vec<(Micros, Happening)> = (0..self.settings.replicas).map(|node| (0, Happening::Start { node })).collect();
        first.push((LOOK, Happening::Look));
        for client in 0..self.settings.clients {
            first.push((MILLISECOND, Happening::Begin { client, intent: self.intent(rng) }));
        }
        for (kind, interval) in self.settings.swarm.faults.clone() {
            let mut at = rng.random_range(0..=2 * interval);
            while at < self.settings.faulty {
                self.fault(kind, at, rng, &mut first);
                at += rng.random_range(1..=2 * interval);
            }
        }
        let healed = self.settings.faulty;
        first.push((healed, Happening::Heal));
        first.push((healed + SERVICE, Happening::Quiet));
        first.push((healed + SERVICE + ASK_END, Happening::End));
        first
    }

    fn fault(&self, kind: FaultKind, at: Micros, rng: &mut ChaCha8Rng, out: &mut Vec<(Micros, Happening)>) {
        let nodes = self.settings.replicas;
        let until = at + log_uniform(rng, MILLISECOND, self.settings.swarm.duration_max);
        let node = rng.random_range(0..nodes);
        let kept_per_mille = if rng.random_bool(0.3) { 0 } else { rng.random_range(0..=1000) };
        let mut cut = |pairs: Vec<(NodeNumber, NodeNumber)>| {
            out.push((at, Happening::Cut { pairs: pairs.clone() }));
            out.push((until, Happening::Mend { pairs }));
        };
        match kind {
            FaultKind::Kill => {
                let seen = rng.random_bool(0.7);
                out.push((at, Happening::Kill { node, kept_per_mille, seen }));
                out.push((until, Happening::Start { node }));
            }
            FaultKind::PowerCut => {
                for node in 0..nodes {
                    let kept_per_mille = if rng.random_bool(0.5) { 0 } else { rng.random_range(0..=1000) };
                    out.push((at, Happening::Kill { node, kept_per_mille, seen: false }));
                    out.push((rng.random_range(at..=until), Happening::Start { node }));
                }
            }
            FaultKind::Pause => {
                out.push((at, Happening::Pause { node }));
                out.push((until, Happening::Resume { node }));
            }
            FaultKind::Partition => {
                // The authority is on one of the sides too.
                let sides: Vec<bool> = (0..=nodes).map(|_| rng.random_bool(0.5)).collect();
                let all = || (0..=nodes).flat_map(|a| (0..=nodes).map(move |b| (a, b)));
                cut(all().filter(|(a, b)| sides[*a as usize] != sides[*b as usize]).collect());
            }
            FaultKind::PairCut | FaultKind::OneWayCut => {
                let other = (node + rng.random_range(1..=nodes)) % (nodes + 1);
                let both = kind == FaultKind::PairCut;
                cut([(node, other), (other, node)].into_iter().take(1 + usize::from(both)).collect());
            }
            FaultKind::Wipe => {
                out.push((at, Happening::Wipe { node }));
                out.push((until, Happening::Start { node }));
            }
            FaultKind::ViewChange => out.push((at, Happening::MoveView { steps: rng.random_range(1..nodes) })),
        }
    }

    pub(super) fn intent(&self, rng: &mut ChaCha8Rng) -> Intent {
        let conditional = rng.random_range(0..100) < self.settings.conditional_percent;
        let when = match rng.random_range(0..4) {
            _ if !conditional => When::Always,
            0 => When::Absent,
            1 => When::Present,
            _ => When::AsSeen,
        };
        let delete = conditional && rng.random_bool(0.3);
        let read = rng.random_range(0..100) < self.settings.reads_percent;
        let near = self.settings.near_percent;
        let kind = if read && near > 0 && rng.random_range(0..100) < near {
            Kind::ReadNear(rng.random_range(0..self.settings.replicas))
        } else if read {
            Kind::Read
        } else if self.settings.groups > 1 && rng.random_range(0..100) < self.settings.crossing_percent {
            let others = rng.random_range(1..1u8 << self.settings.groups) & !(1 << self.number);
            if others == 0 { Kind::Put(When::Always) } else { Kind::Cross(others) }
        } else if delete {
            Kind::Delete(when)
        } else {
            Kind::Put(when)
        };
        Intent {
            row: rng.random_range(0..self.settings.rows),
            kind,
            patience: log_uniform(rng, 10 * MILLISECOND, 3000 * MILLISECOND),
            again: log_uniform(rng, 2 * MILLISECOND, 200 * MILLISECOND),
        }
    }
}
