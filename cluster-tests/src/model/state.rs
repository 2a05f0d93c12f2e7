//! A state of the model: replicas, messages, HA, and what is known of the past.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use dtm::Config;
use types::Seq;
use types::record::Record;
use types::wire::dtm::{Envelope, Message};

use super::authority::Authority;
use super::node::Node;

/// As many duplicates as anybody wants.
pub const ENDLESS: u8 = u8::MAX;

/// Bounds of a world: what may happen in it, how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// Its name.
    pub name: String,
    /// Devices; those beyond the members are learners, filled to begin with.
    pub devices: usize,
    /// Members.
    pub members: usize,
    /// Transactions.
    pub operations: u8,
    /// Views beyond the first.
    pub views: u8,
    /// Crashes.
    pub crashes: u8,
    /// Devices that come back empty.
    pub blanks: u8,
    /// Devices that are away for so long that no log is kept for them.
    pub marks: u8,
    /// Replacements of a member by a learner.
    pub replacements: u8,
    /// Whether devices beyond the members hold nothing, become learners by HA's word, and are filled; without, they are learners that are
    /// filled to begin with. Members that were replaced forget the group, and may become learners again.
    pub fills: bool,
    /// Whether a removed member forgets the group before HA has recorded a view without it active: a bug that has to be found.
    pub forgets_early: bool,
    /// Whether HA replaces members of a view that it has not recorded active: a bug that has to be found.
    pub replaces_unsettled: bool,
    /// Messages that come once more; [`ENDLESS`] leaves every message there for ever.
    pub duplicates: u8,
    /// Leases end: so often. Without, every replica always has one, and reads are not looked at.
    pub lease_ends: u8,
    /// Whether reads are looked at and views wait for leases.
    pub leases: bool,
    /// Whether a replica that crashed is announced RECOVERING.
    pub recovery: bool,
    /// Whether logs are pruned.
    pub prune: bool,
    /// Whether a primary tells of a new `stable` without having anything else to say.
    pub notices: bool,
    /// Whether a Redo carries one record at most.
    pub short_redo: bool,
    /// Whether a driver reads copies from the rows as they are, in place of a snapshot: a bug that has to be found.
    pub torn_copies: bool,
    /// Whether a sync is a step of its own; without, what needs one has it at once, or crashes before it.
    pub lazy_sync: bool,
}

impl World {
    /// Three replicas, and nothing happens.
    pub const CALM: Self = Self {
        name: String::new(),
        devices: 3,
        members: 3,
        operations: 0,
        views: 0,
        crashes: 0,
        blanks: 0,
        marks: 0,
        replacements: 0,
        fills: false,
        forgets_early: false,
        replaces_unsettled: false,
        duplicates: 0,
        lease_ends: 0,
        leases: false,
        recovery: false,
        prune: false,
        notices: false,
        short_redo: false,
        torn_copies: false,
        lazy_sync: false,
    };

    /// A world of bounds as the command line gives them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut world = Self { name: text.to_string(), ..Self::CALM };
        for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
            let (name, number) = word.split_once('=').unwrap_or((word, "1"));
            let number: u8 = number.parse().map_err(|e| format!("{word}: {e}"))?;
            match name {
                "ops" => world.operations = number,
                "views" => world.views = number,
                "crashes" => world.crashes = number,
                "blanks" => world.blanks = number,
                "marks" => world.marks = number,
                "torn-copies" => world.torn_copies = true,
                "replacements" => (world.replacements, world.devices) = (number, world.members + usize::from(number)),
                "fills" => world.fills = true,
                "forgets-early" => world.forgets_early = true,
                "replaces-unsettled" => world.replaces_unsettled = true,
                "duplicates" => world.duplicates = number,
                "lease-ends" => world.lease_ends = number,
                "leases" => world.leases = true,
                "recovery" => world.recovery = true,
                "prune" => world.prune = true,
                "notices" => world.notices = true,
                "short-redo" => world.short_redo = true,
                "lazy" => world.lazy_sync = true,
                "five" => (world.members, world.devices) = (5, 5),
                _ => return Err(format!("{word} is no bound")),
            }
        }
        Ok(world)
    }

    /// The machine's configuration in it: time stands still, so nothing is sent again but by delivering it again.
    pub fn config(&self) -> Config {
        const NEVER_MS: u64 = 1 << 40;
        Config {
            resend_ms: NEVER_MS,
            resend_max_ms: NEVER_MS,
            heartbeat_ms: NEVER_MS,
            end_again_ms: NEVER_MS,
            copy_again_ms: NEVER_MS,
            copy_silence_ms: NEVER_MS,
            copy_rows_max: 1,
            stable_notice_ms: if self.notices { 0 } else { NEVER_MS },
            prune_records_min: if self.prune { 1 } else { u64::MAX },
            redo_records_max: if self.short_redo { 1 } else { Config::default().redo_records_max },
            ..Config::default()
        }
    }
}

/// What may still happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// Views.
    pub views: u8,
    /// Crashes.
    pub crashes: u8,
    /// Blank devices.
    pub blanks: u8,
    /// Devices that no log is kept for.
    pub marks: u8,
    /// Replacements.
    pub replacements: u8,
    /// Messages that come once more.
    pub duplicates: u8,
    /// Ends of leases.
    pub lease_ends: u8,
}

/// What is known of the past, by which the present is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Past {
    /// Every record that was ever applied anywhere, from the first.
    pub applied: Vec<Arc<Record>>,
    /// Transactions that a client was told are done, with their seq.
    pub answered: BTreeMap<u64, u64>,
    /// Views that were reported active.
    pub active: Vec<types::ViewNumber>,
    /// Learners that were reported filled, each with its format.
    pub filled: Vec<(usize, types::Incarnation)>,
}

/// A state.
#[derive(Clone, Debug)]
pub struct State {
    /// Replicas.
    pub nodes: Vec<Arc<Node>>,
    /// Every message ever sent, in the order of their hashes.
    pub messages: Arc<Vec<(u64, Arc<Envelope>)>>,
    /// HA.
    pub authority: Arc<Authority>,
    /// What may still happen.
    pub left: Left,
    /// The past.
    pub past: Arc<Past>,
}

impl State {
    /// The first state of a world.
    pub fn first(world: &World, config: &Arc<Config>) -> Result<Self, String> {
        let mut authority = Authority::new(world.devices, world.members);
        if world.fills {
            authority.learners.clear();
            authority.said.clear();
            authority.say();
        }
        let left = Left {
            views: world.views,
            crashes: world.crashes,
            blanks: world.blanks,
            marks: world.marks,
            replacements: world.replacements,
            duplicates: world.duplicates,
            lease_ends: world.lease_ends,
        };
        let mut state = Self {
            nodes: Vec::new(),
            messages: Arc::new(Vec::new()),
            authority: Arc::new(authority),
            left,
            past: Arc::new(Past::default()),
        };
        for number in 0..world.devices {
            let member = &state.authority.devices[number];
            let placement = &state.authority.said[0];
            let node = Node::start(number, member, Default::default(), config, placement, 1, Default::default())?;
            let mut node = node.with_torn_copies(world.torn_copies);
            let mut came = super::node::Came::default();
            if world.fills && number >= world.members {
                node.absent = true;
            } else {
                node.turn(vec![dtm::Event::Placement(Box::new((**placement).clone())), node.lease(state.authority.epoch)], &mut came);
                node.sync(&mut came);
            }
            for message in came.sent {
                state.send(message, world.prune);
            }
            state.nodes.push(Arc::new(node));
        }
        state.settle(world)?;
        Ok(state)
    }

    /// Delivers everything until nothing is left to be said: the first view is active, and nothing is on its way.
    fn settle(&mut self, world: &World) -> Result<(), String> {
        for _ in 0..100 {
            let messages = std::mem::take(&mut self.messages);
            if messages.is_empty() {
                return Ok(());
            }
            for (_, envelope) in messages.iter() {
                let node = Arc::make_mut(&mut self.nodes[envelope.to.0 as usize - 1]);
                let mut came = super::node::Came::default();
                node.turn(vec![dtm::Event::Message((**envelope).clone())], &mut came);
                while node.wants_sync() {
                    node.sync(&mut came);
                }
                came.sent.into_iter().for_each(|message| self.send(message, world.prune));
            }
        }
        Err("the first view does not come to rest".into())
    }

    /// A message is on its way, for ever. What nobody looks at in it does not make it another message: the participant's `stable` in an
    /// acknowledgement, and, where nothing is pruned, how much could be.
    pub fn send(&mut self, mut message: Envelope, prune: bool) {
        match &mut message.message {
            Message::Persistent { stable, .. } => *stable = Seq(0),
            Message::Redo { all_persistent, .. } if !prune => *all_persistent = Seq(0),
            _ => {}
        }
        let hash = hash_of(&message);
        if let Err(place) = self.messages.binary_search_by_key(&hash, |(hash, _)| *hash) {
            Arc::make_mut(&mut self.messages).insert(place, (hash, Arc::new(message)));
        }
    }

    /// A hash of the state. Equal states have equal ones; that different states have different ones is very likely.
    pub fn hash(&self) -> u128 {
        let mut low = DefaultHasher::new();
        let mut high = DefaultHasher::new();
        1u8.hash(&mut high);
        let rest = hash_of(&(&*self.authority, &self.left, &*self.past));
        for part in self.nodes.iter().map(|node| node.hash()).chain([rest]).chain(self.messages.iter().map(|(hash, _)| *hash)) {
            low.write_u64(part);
            high.write_u64(part);
        }
        u128::from(low.finish()) << 64 | u128::from(high.finish())
    }
}

fn hash_of<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
