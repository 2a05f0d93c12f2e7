//! What the tools that look at a recorded run need of a world beside running it: which events come from outside, what everything is called,
//! how everybody is.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::heap::Micros;
use super::network::NodeNumber;
use super::run::World;

/// Names what an event inside the world is the next one of: messages of one kind from one to another, the timers of one process.
pub type Lane = (u8, u64, u64);

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A fault, or the end of one.
    Fault,
    /// What a client wants.
    Operation,
    /// The frame of a run: its phases, looks at the clock.
    Frame,
    /// Something in the world had it happen.
    Inner(Lane),
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// From whom.
    pub from: NodeNumber,
    /// At whom.
    pub to: NodeNumber,
    /// What, in a few words.
    pub label: String,
}

/// A world that can be looked at.
pub trait Shown: World {
    /// Where an event comes from.
    fn part(event: &Self::Event) -> Part;

    /// What is done where `recorded` was recorded and `pending` is what the world has waiting in its place: of two that differ in what
    /// chance drew for them alone, what was drawn then.
    fn chosen(pending: Self::Event, recorded: &Self::Event) -> Self::Event {
        let _ = recorded;
        pending
    }

    /// An event in words.
    fn words(&self, event: &Self::Event) -> String;

    /// The message that arrives by an event.
    fn arrow(event: &Self::Event) -> Option<Arrow>;

    /// What members of the network are called, by number.
    fn names(&self) -> Vec<String>;

    /// How everybody is, in words, by the same numbers; nothing for who has no state of interest.
    fn states(&self) -> Vec<String>;
}

/// A world whose runs are files.
pub trait Recorded: Shown<Event: DeserializeOwned + Debug> {
    /// What a world is made from.
    type Config: Serialize + DeserializeOwned + Clone;
    /// What the world is called in a file.
    const WORLD: &'static str;

    /// The world, in which nothing has happened.
    fn of(config: &Self::Config) -> Self;

    /// The same, but for a network that loses nothing by chance, and doubles everything where it doubled anything: what arrives, and how
    /// often, a recording says.
    fn without_chance(config: &Self::Config) -> Self::Config;
}

/// The kind of a violation: two of a kind differ in numbers and in what follows the first colon.
pub fn kind_of(violation: &str) -> String {
    let head = violation.split(':').next().unwrap_or_default();
    let mut kind = String::new();
    for character in head.chars() {
        match (character.is_ascii_digit(), kind.ends_with('#')) {
            (true, true) => {}
            (true, false) => kind.push('#'),
            (false, _) => kind.push(character),
        }
    }
    kind
}

/// Simulated time for people.
pub fn time(at: Micros) -> String {
    format!("{:.3} ms", at as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_of_a_kind_differ_in_numbers_and_details_only() {
        assert_eq!(kind_of("d1.22 at 5 is called STABLE, and 1 of 3 hold it"), kind_of("d3.4 at 17 is called STABLE, and 0 of 5 hold it"));
        assert_eq!(kind_of("row 3 is not linearizable: x"), kind_of("row 11 is not linearizable: y"));
        assert_ne!(kind_of("progress: a"), kind_of("full copy: a"));
    }
}
