//! Leases, views and the director together, in drawn interleavings with lagging processes, lost messages and changing leaders: never do two
//! processes hold themselves for the serving primary of one group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_state::director::{Observations, PlaceRequest, Placers, propose};
use ha_state::lease::{HeldLease, Leases, Timing};
use ha_state::{Change, Command, DeviceSpec, Done, Found, NodeSpec, PoolSpec, State, Topology};
use proptest::prelude::*;
use types::map::{ClusterMap, Group};
use types::scheme::FailureDomain;
use types::{Boot, ClusterId, DeviceId, DiskGroupId, Epoch, GroupId, HaTime, NodeId, PoolId, ViewNumber};

const NODES: u16 = 3;
const GROUPS: u32 = 3;

/// A storage process with what it has taken in.
#[derive(Default)]
struct Process {
    boot: Option<Boot>,
    applied: State,
    lease: HeldLease,
}

/// A renewal on its way.
struct Renewal {
    node: usize,
    boot: Boot,
    sent: Duration,
    granted: Option<Epoch>,
}

struct World {
    now: Duration,
    state: State,
    log: Vec<Command>,
    leases: Leases,
    ended: BTreeSet<Boot>,
    confirmed: BTreeMap<Boot, u64>,
    processes: Vec<Process>,
    renewals: Vec<Renewal>,
}

#[derive(Clone, Debug)]
enum Act {
    Wait(u64),
    Follow(usize, usize),
    Send(usize),
    Grant(usize),
    Receive(usize),
    Confirm(usize),
    Direct,
    Activate,
    Recover(usize),
    End(usize, bool),
    Start(usize),
    FailDevice(usize),
    Elect,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let node = || 0..usize::from(NODES);
    let one = prop_oneof![
        6 => (1u64..300).prop_map(Act::Wait),
        10 => (node(), 1usize..8).prop_map(|(n, k)| Act::Follow(n, k)),
        8 => node().prop_map(Act::Send),
        8 => (0usize..4).prop_map(Act::Grant),
        8 => (0usize..4).prop_map(Act::Receive),
        4 => node().prop_map(Act::Confirm),
        8 => Just(Act::Direct),
        4 => Just(Act::Activate),
        4 => node().prop_map(Act::Recover),
        1 => (node(), any::<bool>()).prop_map(|(n, seen)| Act::End(n, seen)),
        2 => node().prop_map(Act::Start),
        1 => node().prop_map(Act::FailDevice),
        1 => Just(Act::Elect),
    ];
    prop::collection::vec(one, 1..300)
}

fn topology() -> Topology {
    let node = |id: u16| NodeSpec {
        id: NodeId(id),
        name: format!("node-{id}"),
        storage_set: 0,
        rack: 0,
        ha_address: format!("h:{id}"),
        fabric_address: format!("f:{id}"),
        voter: true,
    };
    let pool = PoolSpec {
        id: PoolId(1),
        name: "meta".into(),
        scheme: "1+2".parse().expect("a scheme"),
        failure_domain: FailureDomain::Node,
        devices: vec![],
        groups: GROUPS,
        priority: 0,
        avoid_node: false,
    };
    let device = |id: u16| DeviceSpec { id: DeviceId(id.into()), node: NodeId(id), disk_group: DiskGroupId(id.into()), bytes: 1 };
    Topology {
        cluster: ClusterId(1),
        nodes: (1..=NODES).map(node).collect(),
        devices: (1..=NODES).map(device).collect(),
        pools: vec![pool],
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it stands for a function that may fail")]
fn place(_: &ClusterMap, _: &PlaceRequest) -> Result<Vec<Vec<Option<DeviceId>>>, String> {
    Ok((0..GROUPS).map(|g| (0..3).map(|s| Some(DeviceId((g + s) % 3 + 1))).collect()).collect())
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: Duration::from_secs(10),
            state: State::new(),
            log: vec![],
            leases: Leases::elected(Timing::default(), Duration::from_secs(10)),
            ended: BTreeSet::new(),
            confirmed: BTreeMap::new(),
            processes: (0..NODES).map(|_| Process::default()).collect(),
            renewals: vec![],
        };
        world.commit(Change::Bootstrap(topology())).expect("a good topology");
        for node in 0..usize::from(NODES) {
            world.start(node);
            world.recover(node);
        }
        world.direct();
        world.activate();
        world
    }

    fn ha_time(&self) -> HaTime {
        HaTime(self.now.as_millis() as u64)
    }

    fn commit(&mut self, change: Change) -> ha_state::Outcome {
        let command = Command { epoch: self.state.epoch(), at: self.ha_time(), wall_ms: 0, change };
        self.log.push(command.clone());
        self.state.apply(self.log.len() as u64, &command)
    }

    fn direct(&mut self) {
        let seen = Observations {
            now: self.now,
            ha_time: self.ha_time(),
            wall_ms: 0,
            leases: &self.leases,
            ended: &self.ended,
            confirmed: &self.confirmed,
            sessions_over: &BTreeSet::new(),
        };
        for command in propose(&self.state, &seen, Placers { groups: &place, substitute: &|_, _| None }).commands {
            self.commit(command.change).expect("what a leader proposes on the present state is applied");
        }
    }

    /// The process starts, or starts anew under the same pid: it drops its lease before it asks for a boot.
    fn start(&mut self, node: usize) {
        let id = NodeId(node as u16 + 1);
        let device = DeviceId(node as u32 + 1);
        let incarnation = self.state.map().devices[&device].incarnation;
        let found = if incarnation.0 == 0 { Found::Blank } else { Found::Formatted { uuid: 1, incarnation } };
        self.processes[node] = Process::default();
        let nonce = self.log.len() as u64;
        let registered = match self.commit(Change::RegisterProcess { node: id, pid: 1, nonce, devices: vec![(device, found)] }) {
            Ok(Done::Registered(registered)) => registered,
            other => panic!("{other:?}"),
        };
        self.processes[node].boot = Some(registered.boot);
        // As a leader does for a process that has just registered.
        self.leases.grant(registered.boot, self.state.epoch(), self.now);
    }

    fn recover(&mut self, node: usize) {
        let announced = self.state.process(NodeId(node as u16 + 1)).map_or(Epoch(0), |p| p.announced);
        if let Some(boot) = self.processes[node].boot {
            let _ = self.commit(Change::Recovered { boot, epoch: announced });
        }
    }

    fn activate(&mut self) {
        let mut active: BTreeMap<Boot, Vec<(GroupId, ViewNumber)>> = BTreeMap::new();
        for (id, group) in &self.state.map().groups {
            if let Group::Replicated(view) = group
                && let Some(primary) = view.primary
                && view.active != view.number
            {
                active.entry(primary.boot).or_default().push((*id, view.number));
            }
        }
        for (boot, groups) in active {
            self.commit(Change::Active { boot, groups }).expect("recorded");
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Wait(ms) => self.now += Duration::from_millis(*ms),
            Act::Follow(node, count) => {
                let process = &mut self.processes[*node];
                let from = process.applied.index() as usize;
                for (i, command) in self.log.iter().enumerate().skip(from).take(*count) {
                    let _ = process.applied.apply(i as u64 + 1, command);
                }
            }
            Act::Send(node) => {
                if let (Some(boot), true) = (self.processes[*node].boot, self.renewals.len() < 8) {
                    self.renewals.push(Renewal { node: *node, boot, sent: self.now, granted: None });
                }
            }
            Act::Grant(which) => {
                let epoch = self.state.epoch();
                let waiting = self.renewals.iter_mut().filter(|r| r.granted.is_none()).nth(*which);
                if let Some(renewal) = waiting
                    && self.state.live(renewal.boot).is_some()
                {
                    self.leases.grant(renewal.boot, epoch, self.now);
                    renewal.granted = Some(epoch);
                }
            }
            Act::Receive(which) => {
                if *which < self.renewals.len() {
                    let renewal = self.renewals.remove(*which);
                    let process = &mut self.processes[renewal.node];
                    if let (Some(epoch), true) = (renewal.granted, process.boot == Some(renewal.boot)) {
                        process.lease.granted(&Timing::default(), renewal.sent, epoch);
                    }
                }
            }
            Act::Confirm(node) => {
                if let Some(boot) = self.processes[*node].boot {
                    self.confirmed.insert(boot, self.processes[*node].applied.index());
                }
            }
            Act::Direct => self.direct(),
            Act::Activate => self.activate(),
            Act::Recover(node) => self.recover(*node),
            Act::End(node, seen) => {
                if let (Some(boot), true) = (self.processes[*node].boot.take(), *seen) {
                    self.ended.insert(boot);
                }
            }
            Act::Start(node) => self.start(*node),
            Act::FailDevice(node) => {
                let device = DeviceId(*node as u32 + 1);
                let incarnation = self.state.map().devices[&device].incarnation;
                let _ = self.commit(Change::DeviceFailed { device, incarnation, ended: false, reason: "operator".into() });
            }
            Act::Elect => {
                self.leases = Leases::elected(Timing::default(), self.now);
                self.ended.clear();
                self.confirmed.clear();
            }
        }
    }

    /// The nodes that would answer a read of the group now.
    fn serving(&mut self, group: GroupId) -> Vec<usize> {
        let now = self.now;
        let serves = |process: &mut Process| {
            let view = process.applied.map().view(group)?;
            let boot = process.boot?;
            (view.primary?.boot == boot && process.lease.holds(now, process.applied.epoch())).then_some(())
        };
        self.processes.iter_mut().enumerate().filter_map(|(i, p)| serves(p).map(|()| i)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_do_two_processes_serve_one_group(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
            for index in 0..GROUPS {
                let serving = world.serving(GroupId { pool: PoolId(1), index });
                prop_assert!(serving.len() <= 1, "after {:?}: {:?} serve group {}", act, serving, index);
            }
        }
    }
}

#[test]
fn a_world_left_alone_serves_every_group_from_its_preferred_member() {
    let mut world = World::new();
    world.act(&Act::End(0, true));
    world.act(&Act::Direct);
    world.act(&Act::Start(0));
    for _ in 0..30 {
        for node in 0..usize::from(NODES) {
            for act in [Act::Follow(node, 100), Act::Send(node), Act::Grant(0), Act::Receive(0), Act::Confirm(node), Act::Recover(node)] {
                world.act(&act);
            }
        }
        for act in [Act::Direct, Act::Activate, Act::Wait(100)] {
            world.act(&act);
        }
    }
    for index in 0..GROUPS {
        let group = GroupId { pool: PoolId(1), index };
        assert_eq!(world.serving(group), [index as usize], "group {index}");
    }
}
