//! A failing run made smaller: faults, operations and then everything else is taken away, as much as can be while what is left still fails
//! in the same way (delta debugging).

use super::heap::Micros;
use super::play::{Played, Step, play};
use super::shown::{Part, Shown, kind_of};

/// What was left.
#[derive(Clone, Debug)]
pub struct Shrunk<E> {
    /// Its events: a recording.
    pub events: Vec<(Micros, E)>,
    /// How it fails.
    pub violation: String,
    /// How often something was tried.
    pub plays: u32,
    /// Whether nothing more could be taken away, and not only nothing more be tried.
    pub is_least: bool,
}

/// Counts of what a list of events is made of: faults, operations, all.
pub fn counts<W: Shown>(events: &[(Micros, W::Event)]) -> (usize, usize, usize) {
    let of = |part| events.iter().filter(|(_, event)| W::part(event) == part).count();
    (of(Part::Fault), of(Part::Operation), events.len())
}

struct Search<'a, W: Shown> {
    make: &'a dyn Fn() -> W,
    kind: String,
    plays: u32,
    plays_max: u32,
    events: Vec<(Micros, W::Event)>,
    violation: String,
}

fn plain<E>(steps: Vec<Step<E>>) -> Vec<(Micros, E)> {
    steps.into_iter().map(|step| (step.at, step.event)).collect()
}

impl<W: Shown> Search<'_, W> {
    /// Keeps what is left without those, if it fails as it should.
    fn attempt(&mut self, without: &[usize]) -> bool {
        self.plays += 1;
        let mut gone = without.iter().copied().peekable();
        let left: Vec<_> = self.events.iter().enumerate().filter(|(n, _)| gone.next_if_eq(n).is_none()).map(|(_, e)| e.clone()).collect();
        let Played { outcome, steps, .. } = play(&mut (self.make)(), &left, |_, _| {});
        let Some(violation) = outcome.violation.filter(|violation| kind_of(violation) == self.kind) else { return false };
        if steps.len() >= self.events.len() {
            return false;
        }
        (self.events, self.violation) = (plain(steps), violation);
        true
    }

    /// Takes away what it can of the events that are `wanted`, in ever smaller pieces; whether that was anything.
    fn pass(&mut self, wanted: impl Fn(Part) -> bool) -> bool {
        let candidates = |search: &Self| -> Vec<usize> {
            search.events.iter().enumerate().filter(|(_, (_, event))| wanted(W::part(event))).map(|(n, _)| n).collect()
        };
        let (mut any, mut size) = (false, candidates(self).len().div_ceil(2).max(1));
        loop {
            let mut at = 0;
            loop {
                let places = candidates(self);
                if at >= places.len() || self.plays >= self.plays_max {
                    break;
                }
                // From the end: what lies after the failure's cause goes first.
                let last = places.len() - at;
                if self.attempt(&places[last.saturating_sub(size)..last]) {
                    any = true;
                } else {
                    at += size;
                }
            }
            if size == 1 || self.plays >= self.plays_max {
                return any;
            }
            size = size.div_ceil(2);
        }
    }
}

/// Shrinks a failing recording, in so many plays at most. An error says why there is nothing to shrink.
pub fn shrink<W: Shown>(make: impl Fn() -> W, events: &[(Micros, W::Event)], plays_max: u32) -> Result<Shrunk<W::Event>, String> {
    let Played { outcome, steps, .. } = play(&mut make(), events, |_, _| {});
    let Some(violation) = outcome.violation else { return Err("the recording shows nothing wrong".into()) };
    let mut search = Search { make: &make, kind: kind_of(&violation), plays: 1, plays_max, events: plain(steps), violation };
    loop {
        let mut any = search.pass(|part| part == Part::Fault);
        any |= search.pass(|part| part == Part::Operation);
        any |= search.pass(|part| matches!(part, Part::Inner(_) | Part::Frame));
        if !any || search.plays >= plays_max {
            break;
        }
    }
    let Search { plays, events, violation, .. } = search;
    Ok(Shrunk { events, violation, plays, is_least: plays < plays_max })
}
