//! Whole groups of replicas under loss, reordering, repetition, crashes with lost writes, and changes of view; then healed.
//!
//! Checked throughout: applied histories agree, nothing applied is replaced. At the end: all replicas are equal, every answered transaction
//! is there once with the outcome that was told, every process has its `End`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

use dtm::{
    ClientId, Config, Effect, Event, Execute, Identity, Instant, Lease, Peer, Placement, Reader, Replica, ReplicaState, Report, Restore,
    StoredResult, Ticket, result_row, results,
};
use types::ops::{Condition, Op};
use types::record::{Outcome, Record, Row, RowKey, Write};
use types::state::DeviceState;
use types::wire::dtm::{Envelope, decode, encode};
use types::wire::request::{ExecuteReply, Refusal};
use types::{Boot, CatalogueId, DeviceId, DtxId, Epoch, GroupId, HaTime, Incarnation, Seq, SessionId, ViewNumber};

/// Whether to tell everything on standard error.
fn trace() -> bool {
    static TRACE: OnceLock<bool> = OnceLock::new();
    *TRACE.get_or_init(|| std::env::var_os("CHAOS_TRACE").is_some())
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[derive(Clone, Default)]
struct Disk {
    state: Option<ReplicaState>,
    log: BTreeMap<Seq, Arc<Record>>,
    rows: BTreeMap<RowKey, Row>,
    results: BTreeMap<Seq, Vec<u8>>,
}

impl Disk {
    fn take(&mut self, effect: &Effect) {
        match effect {
            Effect::Append { records, .. } => {
                for r in records {
                    assert!(self.log.insert(r.seq, r.clone()).is_none());
                }
            }
            Effect::Cut { after, .. } => drop(self.log.split_off(&after.next())),
            Effect::SaveState { state, .. } => self.state = Some(state.clone()),
            Effect::Prune { upto, .. } => self.log = self.log.split_off(&upto.next()),
            Effect::Apply { records, dropped, .. } => {
                for r in records {
                    for w in &r.writes {
                        match w {
                            Write::Put { row, value } => drop(self.rows.insert(row.clone(), Row { version: r.seq, value: value.clone() })),
                            Write::Delete { row } => drop(self.rows.remove(row)),
                        }
                    }
                    let (key, row) = result_row(r);
                    assert_eq!(key.catalogue, results::CATALOGUE);
                    self.results.insert(r.seq, row.value);
                }
                for seq in dropped.0.0..=dropped.1.0 {
                    assert!(self.results.remove(&Seq(seq)).is_some());
                }
            }
            _ => {}
        }
    }
}

struct Node {
    id: DeviceId,
    boot: Boot,
    replica: Option<Replica>,
    live: Disk,
    durable: Disk,
    owed: VecDeque<Event>,
    placements: VecDeque<Placement>,
    recovered: Option<Epoch>,
}

struct World {
    random: Random,
    config: Arc<Config>,
    now: u64,
    epoch: u64,
    placement: Placement,
    nodes: Vec<Node>,
    network: Vec<Envelope>,
    faults: bool,
    history: BTreeMap<Seq, Arc<Record>>,
    calls: BTreeMap<ClientId, (usize, DtxId, Vec<Op>)>,
    /// Calls whose transaction was given a place in the log.
    executed: BTreeSet<ClientId>,
    answered: BTreeMap<DtxId, Outcome>,
    next_call: u64,
    open: BTreeMap<DtxId, Vec<Op>>,
}

const GROUP: GroupId = GroupId { pool: types::PoolId(1), index: 0 };

impl World {
    fn new(seed: u64, members: usize) -> Self {
        let mut random = Random(seed);
        let ids: Vec<DeviceId> = (1..=members as u32).map(DeviceId).collect();
        let peer = |boot: u64| Peer { state: DeviceState::Online, boot: Boot(boot), incarnation: Incarnation(1), ..Peer::default() };
        let placement = Placement {
            epoch: Epoch(10),
            number: ViewNumber(10),
            primary: Some((DeviceId(1), Boot(1))),
            members: ids.clone(),
            old: ids.clone(),
            learners: Vec::new(),
            peers: ids.iter().map(|d| (*d, peer(u64::from(d.0)))).collect(),
        };
        let config = Config {
            cache_bytes_max: [0, 200, 1 << 20][random.below(3)],
            redo_records_max: [1, 3, 1024][random.below(3)],
            redo_window_messages: [1, 16][random.below(2)],
            prune_records_min: [1, 5, 64][random.below(3)],
            window_ms: [2000, 600_000][random.below(2)],
            #[cfg(feature = "model")]
            rules: std::env::var("CHAOS_WITHOUT")
                .map_or_else(|_| dtm::Rules::default(), |name| dtm::Rules::without(&name).expect("a rule")),
            ..Config::default()
        };
        let config = Arc::new(config);
        let mut world = Self {
            random,
            config,
            now: 0,
            epoch: 10,
            placement,
            nodes: Vec::new(),
            network: Vec::new(),
            faults: true,
            history: BTreeMap::new(),
            calls: BTreeMap::new(),
            executed: BTreeSet::new(),
            answered: BTreeMap::new(),
            next_call: 0,
            open: BTreeMap::new(),
        };
        for id in ids {
            let boot = Boot(u64::from(id.0));
            let replica = Some(Replica::new(world.identity(id, boot), world.config.clone(), &world.placement, Epoch(10)));
            let (live, durable) = (Disk::default(), Disk::default());
            let placements = VecDeque::from([world.placement.clone()]);
            world.nodes.push(Node { id, boot, replica, live, durable, owed: VecDeque::new(), placements, recovered: None });
        }
        world
    }

    fn identity(&self, device: DeviceId, boot: Boot) -> Identity {
        Identity { group: GROUP, device, boot, incarnation: Incarnation(1), registered: Epoch(1) }
    }

    /// One turn of a node's driver.
    fn turn(&mut self, n: usize, mut events: Vec<Event>) {
        let node = &mut self.nodes[n];
        let Some(replica) = &mut node.replica else { return };
        let mut effects = Vec::new();
        let mut all: Vec<Event> = node.owed.drain(..).collect();
        all.append(&mut events);
        for mut event in all {
            if let Event::Execute(execute) = &mut event {
                let keys: BTreeSet<RowKey> = execute.ops.iter().flat_map(Op::rows).collect();
                execute.rows = keys.into_iter().filter_map(|k| node.live.rows.get(&k).map(|r| (k.clone(), r.clone()))).collect();
            }
            if trace() {
                eprintln!("{} {} <- {event:?}", self.now, node.id);
            }
            let caller = if let Event::Execute(execute) = &event { Some(execute.client) } else { None };
            let (before, last) = (effects.len(), replica.log_range().1);
            replica.handle(event, Instant(self.now), &mut effects);
            // Events of one turn are not merged here: what grew the log is this call.
            self.executed.extend(caller.filter(|_| replica.log_range().1 > last));
            if trace() {
                effects[before..].iter().for_each(|e| eprintln!("    -> {e:?}"));
            }
        }
        if replica.next_deadline().is_some_and(|(at, _)| at.0 <= self.now) {
            replica.handle(Event::Tick, Instant(self.now), &mut effects);
        }
        replica.handle(Event::Flush, Instant(self.now), &mut effects);
        self.carry_out(n, effects);
    }

    fn carry_out(&mut self, n: usize, effects: Vec<Effect>) {
        let sync = effects.iter().any(Effect::needs_sync);
        let ticket = effects.iter().filter_map(Effect::ticket).max();
        // A crash in the middle of the turn: what waits for nothing may be out, nothing else happens.
        let torn = self.faults && self.random.chance(1);
        for effect in &effects {
            match effect {
                Effect::Send { envelope, after: None } => self.network.push(envelope.clone()),
                _ if torn => {}
                Effect::Apply { records, .. } => {
                    for r in records {
                        let seen = self.history.entry(r.seq).or_insert_with(|| r.clone());
                        assert_eq!(seen, r, "one history");
                    }
                    self.nodes[n].live.take(effect);
                }
                _ => self.nodes[n].live.take(effect),
            }
        }
        if torn {
            return self.crash(n);
        }
        if sync {
            self.nodes[n].durable = self.nodes[n].live.clone();
        }
        if let Some(ticket) = ticket {
            self.nodes[n].owed.push_back(if sync { Event::Persisted(ticket) } else { Event::Committed(ticket) });
        }
        let synced: fn(&Ticket) -> bool = |_| true;
        for effect in effects {
            match effect {
                Effect::Send { envelope, after: Some(after) } if synced(&after) => self.network.push(envelope),
                Effect::Complete { client, reply, .. } => self.complete(client, reply),
                Effect::ReadLog { reader, from, upto, bytes_max } => self.read_log(n, reader, from, upto, bytes_max),
                Effect::Report(report) => self.report(n, report),
                _ => {}
            }
        }
    }

    fn read_log(&mut self, n: usize, reader: Reader, from: Seq, upto: Seq, bytes_max: usize) {
        let mut bytes = 0;
        let log = &self.nodes[n].live.log;
        let fits = |r: &&Arc<Record>| {
            bytes += r.bytes();
            bytes <= bytes_max.max(r.bytes())
        };
        let records = if from > upto { Vec::new() } else { log.range(from..=upto).map(|(_, r)| r).take_while(fits).cloned().collect() };
        self.nodes[n].owed.push_back(Event::LogRead { reader, from, records });
    }

    fn report(&mut self, n: usize, report: Report) {
        match report {
            Report::Active { view } => assert!(view <= self.placement.number),
            Report::Recovered { epoch, boot } => {
                let device = self.nodes[n].id;
                let peer = self.placement.peers[&device];
                self.nodes[n].recovered = Some(epoch);
                if peer.recovering == Some(epoch) && peer.boot == boot {
                    self.placement.peers.insert(device, Peer { recovering: None, state: DeviceState::Online, ..peer });
                    self.announce(false);
                }
            }
            other => panic!("nothing here forgets, diverges or is left behind: {other:?}"),
        }
    }

    fn complete(&mut self, client: ClientId, reply: ExecuteReply) {
        let Some((_, dtx, ops)) = self.calls.remove(&client) else { panic!("answered twice") };
        let denies = !matches!(reply, Ok(_) | Err(Refusal::OutcomeUnknown | Refusal::InDoubt { .. }));
        assert!(!denies || !self.executed.contains(&client), "{dtx} was executed for a caller who was told that it was not: {reply:?}");
        match reply {
            Ok(outcome) => {
                let told = self.answered.entry(dtx).or_insert_with(|| outcome.clone());
                assert_eq!(*told, outcome, "one outcome for {dtx}");
                self.open.remove(&dtx);
            }
            Err(Refusal::OutcomeUnknown) => drop(self.open.remove(&dtx)),
            Err(_) if self.answered.contains_key(&dtx) => {}
            Err(_) => drop(self.open.insert(dtx, ops)),
        }
    }

    fn announce(&mut self, new_view: bool) {
        self.epoch += 1;
        self.placement.epoch = Epoch(self.epoch);
        if new_view {
            self.placement.number = ViewNumber(self.epoch);
        }
        for node in &mut self.nodes {
            node.placements.push_back(self.placement.clone());
        }
    }

    fn crash(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.replica.take().is_none() {
            return;
        }
        // What was committed and not synced is lost, or not.
        if trace() {
            eprintln!("{} {} crashes", self.now, node.id);
        }
        if self.random.chance(70) {
            node.live = node.durable.clone();
        } else {
            node.durable = node.live.clone();
        }
        node.owed.clear();
        let id = node.id;
        let peer = self.placement.peers[&id];
        self.placement.peers.insert(id, Peer { state: DeviceState::Transient, recovering: None, ..peer });
        self.appoint();
        self.announce(true);
        // Calls that the node had are over for their clients, who do not know what became of them.
        self.calls.retain(|_, (at, _, _)| *at != n);
    }

    fn appoint(&mut self) {
        let fit = |w: &Self, online: bool| -> Vec<(DeviceId, Boot)> {
            let ok = |p: &Peer| if online { p.state == DeviceState::Online } else { p.state == DeviceState::Recovering };
            w.placement.peers.iter().filter(|(_, p)| ok(p)).map(|(d, p)| (*d, p.boot)).collect()
        };
        let mut fitting = fit(self, true);
        if fitting.is_empty() {
            fitting = fit(self, false);
        }
        self.placement.primary = if fitting.is_empty() { None } else { Some(fitting[self.random.below(fitting.len())]) };
    }

    fn start(&mut self, n: usize) {
        if self.nodes[n].replica.is_some() {
            return;
        }
        self.epoch += 1;
        let boot = Boot(self.epoch);
        let id = self.nodes[n].id;
        let me = self.identity(id, boot);
        let peer = Peer {
            state: DeviceState::Recovering,
            boot,
            incarnation: Incarnation(1),
            recovering: Some(Epoch(self.epoch + 1)),
            ..Peer::default()
        };
        self.placement.peers.insert(id, peer);
        let live = self.placement.primary.is_some_and(|(d, b)| self.placement.peers[&d].boot == b && d != id);
        if !live {
            self.appoint();
        }
        self.announce(true);
        let node = &mut self.nodes[n];
        node.boot = boot;
        node.recovered = None;
        node.live = node.durable.clone();
        node.placements.clear();
        node.placements.push_back(self.placement.clone());
        node.replica = Some(match &node.live.state {
            None => Replica::new(me, self.config.clone(), &self.placement, Epoch(10)),
            Some(state) => {
                let saved = ReplicaState::decode(&state.encode()).expect("its own bytes");
                let mut restore = Restore::new(me, self.config.clone(), saved);
                for (seq, value) in &node.live.results {
                    restore.result(*seq, value).expect("results in order");
                }
                for record in node.live.log.values() {
                    restore.record(record.clone()).expect("records in order");
                }
                restore.finish().expect("what was synced is whole")
            }
        });
    }

    /// Gives the node what HA has said, or part of it, and a lease that counts only for who has taken in everything.
    fn notify(&mut self, n: usize) {
        let count = if self.faults { self.random.below(2) } else { usize::MAX };
        let mut events = Vec::new();
        for _ in 0..count.min(self.nodes[n].placements.len()) {
            let placement = self.nodes[n].placements.pop_front().expect("counted");
            events.push(Event::Placement(Box::new(placement)));
        }
        let lease = Lease { until: Instant(self.now + 50), epoch: Epoch(self.epoch), ha_time: HaTime(1_000_000 + self.now) };
        events.push(Event::Lease(lease));
        self.turn(n, events);
    }

    fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let at = if self.faults { self.random.below(self.network.len()) } else { 0 };
        if self.faults && self.random.chance(10) {
            drop(self.network.swap_remove(at));
            return;
        }
        let envelope = if self.faults && self.random.chance(5) { self.network[at].clone() } else { self.network.remove(at) };
        let envelope = decode(&encode(&[], &[envelope])).expect("our own bytes").envelopes.remove(0);
        let Some(n) = self.nodes.iter().position(|x| x.id == envelope.to) else { return };
        let mut events = vec![Event::Message(envelope)];
        // Sometimes several messages are ready at once.
        while self.random.chance(40) && !self.network.is_empty() {
            let at = if self.faults { self.random.below(self.network.len()) } else { 0 };
            if self.network[at].to != self.nodes[n].id {
                break;
            }
            events.push(Event::Message(self.network.remove(at)));
        }
        self.turn(n, events);
    }

    fn call(&mut self) {
        let retry = if self.open.is_empty() { None } else { self.open.keys().nth(self.random.below(self.open.len())).copied() };
        let (dtx, ops) = match retry.filter(|_| !self.faults || self.random.chance(60)) {
            Some(dtx) => (dtx, self.open[&dtx].clone()),
            None => {
                self.next_call += 1;
                let dtx = DtxId { session: SessionId(1), counter: self.next_call, at: HaTime(1_000_000 + self.now) };
                let row = RowKey { catalogue: CatalogueId(1), key: vec![1, self.random.below(4) as u8] };
                let value = self.next_call.to_be_bytes().to_vec();
                let condition = [Condition::Always, Condition::Absent, Condition::Present][self.random.below(3)];
                let op = if self.random.chance(70) { Op::Put { row, value, condition } } else { Op::Delete { row, condition } };
                (dtx, vec![op])
            }
        };
        let Some((device, _)) = self.placement.primary else { return };
        let n = self.nodes.iter().position(|x| x.id == device).expect("a member");
        if self.nodes[n].replica.is_none() {
            return;
        }
        self.next_call += 1;
        let client = ClientId(self.next_call);
        self.calls.insert(client, (n, dtx, ops.clone()));
        self.open.insert(dtx, ops.clone());
        let execute = Execute { client, view: self.placement.number, dtx, ops, parts: Vec::new(), rows: Vec::new() };
        self.turn(n, vec![Event::Execute(execute)]);
    }

    fn step(&mut self) {
        self.now += self.random.below(4) as u64;
        let n = self.random.below(self.nodes.len());
        match self.random.below(1000) {
            0..600 => self.deliver(),
            600..800 => self.call(),
            800..950 => self.notify(n),
            950..953 => self.crash(n),
            953..965 => self.start(n),
            965..968 => {
                // A change of primary with nobody hurt: everybody's lease is over first.
                self.now += 100;
                self.appoint();
                self.announce(true);
            }
            968..969 if self.random.chance(30) => {
                for n in 0..self.nodes.len() {
                    self.crash(n);
                }
            }
            _ => self.turn(n, Vec::new()),
        }
    }

    /// Everything is up and connected: the group must come to rest, equal everywhere.
    fn heal(&mut self) {
        self.faults = false;
        for n in 0..self.nodes.len() {
            self.start(n);
        }
        if self.placement.primary.is_none() {
            self.appoint();
            self.announce(true);
        }
        for round in 0..1000 {
            self.now += 5;
            for n in 0..self.nodes.len() {
                self.notify(n);
            }
            let waiting = self.network.len();
            for _ in 0..waiting {
                self.deliver();
            }
            for _ in 0..self.open.len().min(10) {
                self.call();
            }
            if round > 20 && self.open.is_empty() && self.at_rest() {
                return;
            }
        }
        let report: Vec<_> = self.nodes.iter().map(|n| n.replica.as_ref().map(|r| (r.promised(), r.state(), r.is_active()))).collect();
        panic!("no rest: open {}, {:?} {report:?}", self.open.len(), self.placement);
    }

    fn at_rest(&self) -> bool {
        let last = self.nodes[0].replica.as_ref().expect("all are up").log_range().1;
        self.placement.peers.values().all(|p| p.recovering.is_none())
            && self.nodes.iter().all(|n| {
                let r = n.replica.as_ref().expect("all are up");
                r.log_range().1 == last && r.applied() == last && r.normal() == Some(self.placement.number)
            })
    }

    fn check(&self) {
        let first = &self.nodes[0].live;
        for node in &self.nodes[1..] {
            assert_eq!(node.live.rows, first.rows, "replicas are equal");
            assert_eq!(node.live.results, first.results, "results are equal");
        }
        let mut done: BTreeMap<DtxId, Outcome> = BTreeMap::new();
        for record in self.history.values() {
            assert!(done.insert(record.dtx, record.outcome.clone()).is_none(), "{} happened twice", record.dtx);
        }
        for (dtx, outcome) in &self.answered {
            assert_eq!(done.get(dtx), Some(outcome), "{dtx} was answered and is lost");
        }
        for (seq, value) in &first.results {
            let result = StoredResult::decode(value).expect("a result");
            assert_eq!(self.history[seq].dtx, result.dtx);
        }
    }
}

fn run(seed: u64, members: usize, steps: usize) -> usize {
    let mut world = World::new(seed, members);
    for _ in 0..steps {
        world.step();
    }
    world.heal();
    world.check();
    world.answered.len()
}

#[test]
#[ignore = "replays one seed: CHAOS_SEED, CHAOS_MEMBERS"]
fn replay() {
    let number = |name: &str| std::env::var(name).expect("set").parse().expect("a number");
    run(number("CHAOS_SEED"), number("CHAOS_MEMBERS") as usize, 3000);
}

fn runs(first: u64, count: u64, members: usize) {
    let mut answered = 0;
    for seed in first..first + count {
        let result = std::panic::catch_unwind(|| run(seed, members, 3000));
        answered += result.unwrap_or_else(|e| {
            eprintln!("seed {seed}, {members} members");
            std::panic::resume_unwind(e)
        });
    }
    assert!(answered as u64 > 20 * count, "the world does something: {answered}");
}

#[test]
fn three_replicas_survive_everything() {
    let count = std::env::var("CHAOS_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    runs(1, count, 3);
}

#[test]
fn five_replicas_survive_everything() {
    runs(100_000, 50, 5);
}

#[test]
fn one_replica_alone_survives_everything() {
    runs(200_000, 50, 1);
}
