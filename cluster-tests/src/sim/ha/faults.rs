//! The faults of a run, all of them drawn before it begins.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::packet::{Happening, Whim};
use super::settings::{HOSTS, Settings};
use crate::sim::heap::{MILLISECOND, Micros};
use crate::sim::network::NodeNumber;
use crate::sim::swarm::{FaultKind, log_uniform};

/// The longest that a daemon takes to see that the process beside it has ended.
pub const SEEN_MAX: Micros = 100 * MILLISECOND;
/// All of them: the last two are about what is away.
const WHIMS: [Whim; 10] = [
    Whim::Elect,
    Whim::BreakDevice,
    Whim::BlankDevice,
    Whim::HangDevice,
    Whim::Leave,
    Whim::Learn,
    Whim::Replace,
    Whim::StepDown,
    Whim::Away,
    Whim::Maintain,
];

/// When there is a leader, mostly, and the choice of a whim that has nodes given up after 200 ms.
const FIRST_POLICY: Micros = 1000 * MILLISECOND;
const FIRST_CHOICE: u32 = super::settings::GROUPS;

/// What happens to begin with.
pub fn first(settings: &Settings, rng: &mut ChaCha8Rng) -> Vec<(Micros, Happening)> {
    let mut first: Vec<(Micros, Happening)> = (0..2 * HOSTS).map(|node| (0, Happening::Start { node })).collect();
    for (kind, interval) in settings.swarm.faults.clone() {
        let mut at = settings.quiet + rng.random_range(0..=2 * interval);
        while at < settings.faulty {
            fault(settings, kind, at, rng, &mut first);
            at += rng.random_range(1..=2 * interval);
        }
    }
    if settings.away {
        // To begin with a node is waited for for a moment only.
        let at = settings.quiet.max(FIRST_POLICY);
        first.push((at, Happening::Do { whim: Whim::Away, choice: FIRST_CHOICE }));
    }
    first.extend(settings.scenes.iter().map(|(at, scene, choice)| (*at, Happening::Play { scene: *scene, choice: *choice })));
    first.push((settings.faulty, Happening::Heal));
    first.push((settings.faulty, Happening::End));
    first
}

fn fault(settings: &Settings, kind: FaultKind, at: Micros, rng: &mut ChaCha8Rng, out: &mut Vec<(Micros, Happening)>) {
    let until = at + log_uniform(rng, MILLISECOND, settings.swarm.duration_max);
    let node = rng.random_range(0..2 * HOSTS);
    let host = node % HOSTS;
    let mut cut = |pairs: Vec<(NodeNumber, NodeNumber)>| {
        out.push((at, Happening::Cut { pairs: pairs.clone() }));
        out.push((until, Happening::Mend { pairs }));
    };
    match kind {
        FaultKind::Kill => {
            out.push((at, Happening::Kill { node, seen: rng.random_range(MILLISECOND..=SEEN_MAX) }));
            out.push((until, Happening::Start { node }));
        }
        FaultKind::PowerCut => {
            for node in 0..2 * HOSTS {
                out.push((at, Happening::Kill { node, seen: SEEN_MAX }));
                out.push((rng.random_range(at..=until), Happening::Start { node }));
            }
        }
        // A device that comes back empty is a whim of the world.
        FaultKind::Wipe => {}
        FaultKind::Pause => {
            out.push((at, Happening::Pause { node }));
            out.push((until, Happening::Resume { node }));
        }
        FaultKind::Partition => {
            cut((0..HOSTS).filter(|other| *other != host).flat_map(|other| [(host, other), (other, host)]).collect());
        }
        FaultKind::PairCut | FaultKind::OneWayCut => {
            let other = (host + rng.random_range(1..HOSTS)) % HOSTS;
            let both = kind == FaultKind::PairCut;
            cut([(host, other), (other, host)].into_iter().take(1 + usize::from(both)).collect());
        }
        FaultKind::ViewChange => {
            let whims = if settings.away { WHIMS.len() } else { WHIMS.len() - 2 };
            let whim = WHIMS[rng.random_range(0..whims)];
            out.push((at, Happening::Do { whim, choice: rng.random_range(0..1000) }));
        }
    }
}
