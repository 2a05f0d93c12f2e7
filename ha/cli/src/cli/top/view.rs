//! What the screen of `ha top` shows, and what keys do to it: pure.

use std::time::Instant;

use ha_api::seen::Seen;

use crate::exit::Failure;

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Leave.
    Quit,
    /// Another order of nodes and devices.
    Sort,
    /// Stand still, or go on.
    Pause,
    /// What keys there are.
    Help,
    /// Devices further down, or up.
    Scroll(isize),
}

impl Key {
    /// The keys of what a terminal sends: several, where somebody is fast. What means nothing is left out.
    pub fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut keys = Vec::new();
        while !bytes.is_empty() {
            let length = match bytes {
                [0x1b, b'[' | b'O', rest @ ..] => {
                    2 + rest.iter().position(|byte| (0x40..0x7f).contains(byte)).map_or(rest.len(), |at| at + 1)
                }
                _ => 1,
            };
            let (key, rest) = bytes.split_at(length);
            keys.extend(Self::of(key));
            bytes = rest;
        }
        keys
    }

    /// What a terminal sends for one key.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            b"q" | b"Q" | b"\x1b" | b"\x03" => Some(Self::Quit),
            b"s" => Some(Self::Sort),
            b"p" | b" " => Some(Self::Pause),
            b"h" | b"?" => Some(Self::Help),
            b"j" | b"\x1b[B" | b"\x1bOB" => Some(Self::Scroll(1)),
            b"k" | b"\x1b[A" | b"\x1bOA" => Some(Self::Scroll(-1)),
            b"\x1b[6~" => Some(Self::Scroll(10)),
            b"\x1b[5~" => Some(Self::Scroll(-10)),
            _ => None,
        }
    }
}

/// An order of nodes and devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By their names.
    #[default]
    Name,
    /// What is not ONLINE first.
    Trouble,
    /// The fullest first.
    Fullest,
    /// Nodes that are asked most first.
    Busiest,
}

impl Sort {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Trouble => "trouble",
            Self::Fullest => "fullest",
            Self::Busiest => "busiest",
        }
    }
}

/// How something goes on that ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    /// What there was most of since it began, and when that was, on the cluster's clock.
    most: u64,
    most_at_ms: u64,
    left: u64,
    at_ms: u64,
}

impl Course {
    fn go_on(&mut self, left: u64, at_ms: u64) {
        if left == 0 {
            *self = Self::default();
        } else if left >= self.most {
            *self = Self { most: left, most_at_ms: at_ms, left, at_ms };
        } else {
            (self.left, self.at_ms) = (left, at_ms);
        }
    }

    /// How much of it is done, from 0 to 1.
    pub fn done(&self) -> f64 {
        if self.most == 0 { 1.0 } else { (self.most - self.left) as f64 / self.most as f64 }
    }

    /// How long it takes if it goes on as it did since it was most.
    pub fn eta_ms(&self) -> Option<u64> {
        let passed = self.at_ms.saturating_sub(self.most_at_ms);
        self.left.saturating_mul(passed).checked_div(self.most - self.left)
    }
}

/// What is shown.
#[derive(Debug, Default)]
pub struct View {
    /// The last answer.
    pub seen: Option<Seen>,
    /// When it came.
    pub answered: Option<Instant>,
    /// Why the last question had none.
    pub failure: Option<String>,
    /// The order.
    pub sort: Sort,
    /// Whether what comes is not shown.
    pub paused: bool,
    /// Whether keys are explained.
    pub help: bool,
    /// How many devices are above the screen.
    pub scrolled: usize,
    /// Repair, in bytes.
    pub repair: Course,
    /// Rebalance, in places.
    pub rebalance: Course,
}

impl View {
    /// Takes an answer in, or that there is none.
    pub fn take(&mut self, answer: Result<Seen, Failure>) {
        match answer {
            Err(failure) => self.failure = Some(failure.message),
            Ok(seen) => {
                self.failure = None;
                if self.paused {
                    return;
                }
                self.answered = Some(Instant::now());
                self.repair.go_on(seen.repair.bytes_left, seen.unix_ms);
                let places = seen.rebalance.to_move.unwrap_or(0) + seen.rebalance.filling;
                self.rebalance.go_on(places as u64, seen.unix_ms);
                self.seen = Some(match self.seen.take() {
                    Some(before) => {
                        // Who has said nothing new since goes on as before.
                        let (seen, old) = (seen.since(&before), before);
                        keep_rates(seen, &old)
                    }
                    None => seen,
                });
            }
        }
    }

    /// A key was pressed; whether that is the end.
    pub fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Quit if self.help => self.help = false,
            Key::Quit => return true,
            Key::Sort => {
                self.scrolled = 0;
                self.sort = match self.sort {
                    Sort::Name => Sort::Trouble,
                    Sort::Trouble => Sort::Fullest,
                    Sort::Fullest => Sort::Busiest,
                    Sort::Busiest => Sort::Name,
                };
            }
            Key::Pause => self.paused = !self.paused,
            Key::Help => self.help = !self.help,
            Key::Scroll(by) => {
                let last = self.seen.as_ref().map_or(0, |seen| seen.devices.len().saturating_sub(1));
                self.scrolled = self.scrolled.saturating_add_signed(by).min(last);
            }
        }
        false
    }
}

fn keep_rates(mut seen: Seen, before: &Seen) -> Seen {
    for node in seen.nodes.iter_mut().filter(|node| node.rates.is_none() && node.load.is_some()) {
        node.rates = before.nodes.iter().find(|then| then.name == node.name && then.boot == node.boot).and_then(|then| then.rates.clone());
    }
    if seen.rates.is_none() && seen.nodes.iter().any(|node| node.rates.is_some()) {
        seen.rates = before.rates.clone();
    }
    seen
}
