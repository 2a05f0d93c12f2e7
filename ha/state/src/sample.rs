//! A small cluster for tests: three nodes of two disk groups with a device each, and the three default pools.

use types::map::ClusterMap;
use types::state::DeviceState;
use types::{Boot, ClusterId, DeviceId, DiskGroupId, Epoch, GroupId, HaTime, NodeId, PoolId, ViewNumber};

use crate::director::{PlaceRequest, Placers, SubstituteRequest};
use crate::{Change, Command, DeviceSpec, Done, Found, LossReason, NodeSpec, Outcome, PoolSpec, Registered, State, Topology};

pub(crate) const META: PoolId = PoolId(1);
pub(crate) const GROUPS: u32 = 6;

pub(crate) fn topology() -> Topology {
    let node = |id: u16| NodeSpec {
        id: NodeId(id),
        name: format!("node-{id}"),
        storage_set: 0,
        rack: 0,
        ha_address: format!("127.0.0.1:{}", 7000 + id),
        fabric_address: format!("127.0.0.1:{}", 8000 + id),
        voter: true,
    };
    let device =
        |id: u32| DeviceSpec { id: DeviceId(id), node: NodeId((id as u16).div_ceil(2)), disk_group: DiskGroupId(id), bytes: 1 << 30 };
    let pool = |id: u16, name: &str, scheme: &str, groups| PoolSpec {
        id: PoolId(id),
        name: name.into(),
        scheme: scheme.parse().expect("a scheme"),
        failure_domain: types::scheme::FailureDomain::DiskGroup,
        devices: vec![],
        groups,
        priority: id as u8,
        avoid_node: false,
    };
    Topology {
        cluster: ClusterId(7),
        nodes: (1..=3).map(node).collect(),
        devices: (1..=6).map(device).collect(),
        pools: vec![pool(1, "meta", "1+2", GROUPS), pool(2, "data", "4+2", 4)],
    }
}

/// Devices of a node.
pub(crate) fn devices(node: u16) -> [DeviceId; 2] {
    [DeviceId(u32::from(node) * 2 - 1), DeviceId(u32::from(node) * 2)]
}

/// Turns around the devices: enough for the sample.
#[allow(clippy::unnecessary_wraps, reason = "it stands for a function that may fail")]
pub(crate) fn place(map: &ClusterMap, request: &PlaceRequest) -> Result<Vec<Vec<Option<DeviceId>>>, String> {
    let width = map.pools[&request.pool].scheme.width() as u32;
    let step = if width == 3 { 2 } else { 1 };
    Ok((0..request.groups).map(|g| (0..width).map(|s| Some(DeviceId((g + s * step) % 6 + 1))).collect()).collect())
}

/// The first device of a node that has no other member.
pub(crate) fn substitute(map: &ClusterMap, request: &SubstituteRequest<'_>) -> Option<DeviceId> {
    let view = map.view(request.group)?;
    let has = |node: NodeId| view.members.iter().any(|m| *m != request.out && map.devices[m].node == node);
    let may =
        |d: &&types::map::Device| d.state == DeviceState::Online && d.id != request.out && !request.not.contains(&d.id) && !has(d.node);
    map.devices.values().find(may).map(|d| d.id)
}

pub(crate) const PLACERS: Placers<'static> = Placers { groups: &place, substitute: &substitute };

/// A state with its log.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) state: State,
    pub(crate) entries: Vec<(u64, Command)>,
}

impl Log {
    pub(crate) fn created() -> Self {
        let mut log = Self::default();
        log.put(Change::Bootstrap(topology())).expect("a good topology");
        log
    }

    /// All processes ONLINE, groups created, each active.
    pub(crate) fn running() -> Self {
        let mut log = Self::created();
        for node in 1..=3 {
            log.start(node);
        }
        for node in 1..=3 {
            log.recover(node);
        }
        for pool in [PoolId(1), PoolId(2)] {
            let groups = if pool == META { GROUPS } else { 4 };
            let groups = place(log.state.map(), &PlaceRequest { pool, groups, avoid_node: false, grow: true }).expect("groups");
            log.put(Change::CreateGroups { pool, groups }).expect("created");
        }
        log.activate();
        log
    }

    pub(crate) fn put(&mut self, change: Change) -> Outcome {
        let at = HaTime(self.state.ha_time().0 + 10);
        self.put_at(at, change)
    }

    pub(crate) fn put_at(&mut self, at: HaTime, change: Change) -> Outcome {
        let index = self.state.index() + 1;
        let command = Command { epoch: self.state.epoch(), at, wall_ms: at.0, change };
        self.entries.push((index, command.clone()));
        self.state.apply(index, &command)
    }

    /// The process of a node starts and finds its devices as they were.
    pub(crate) fn start(&mut self, node: u16) -> Registered {
        let found = devices(node).map(|id| (id, self.as_known(id)));
        self.start_with(node, &found)
    }

    pub(crate) fn as_known(&self, id: DeviceId) -> Found {
        match self.state.map().devices[&id].incarnation {
            incarnation if incarnation.0 == 0 => Found::Blank,
            incarnation => Found::Formatted { uuid: u128::from(id.0), incarnation },
        }
    }

    pub(crate) fn start_with(&mut self, node: u16, found: &[(DeviceId, Found)]) -> Registered {
        let nonce = self.state.index();
        let change = Change::RegisterProcess { node: NodeId(node), pid: 100, nonce, devices: found.to_vec() };
        match self.put(change) {
            Ok(Done::Registered(registered)) => registered,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn boot(&self, node: u16) -> Boot {
        self.state.map().nodes[&NodeId(node)].boot
    }

    pub(crate) fn lose(&mut self, node: u16) -> Outcome {
        let boot = self.boot(node);
        self.put(Change::ProcessLost { node: NodeId(node), boot, reason: LossReason::Ended })
    }

    pub(crate) fn recover(&mut self, node: u16) {
        let (boot, epoch): (Boot, Epoch) = (self.boot(node), self.state.process(NodeId(node)).expect("it").announced);
        self.put(Change::Recovered { boot, epoch }).expect("recovered");
    }

    /// Every primary that there is reports that it is active.
    pub(crate) fn activate(&mut self) {
        let nodes: Vec<u16> = self.state.map().nodes.keys().map(|id| id.0).collect();
        for node in nodes {
            let boot = self.boot(node);
            let groups: Vec<(GroupId, ViewNumber)> = (0..GROUPS)
                .map(|index| GroupId { pool: META, index })
                .filter_map(|g| Some((g, self.state.map().view(g)?)))
                .filter(|(_, v)| v.primary.is_some_and(|p| p.boot == boot))
                .map(|(g, v)| (g, v.number))
                .collect();
            if !groups.is_empty() {
                self.put(Change::Active { boot, groups }).expect("active");
            }
        }
    }

    /// The primary of a group reports that a learner is filled.
    pub(crate) fn fill(&mut self, index: u32, learner: DeviceId) -> Outcome {
        let group = GroupId { pool: META, index };
        let view = self.state.map().view(group).expect("a view");
        let (number, boot) = (view.number, view.primary.expect("a primary").boot);
        let incarnation = self.state.map().devices[&learner].incarnation;
        self.put(Change::Filled { boot, groups: vec![(group, number, learner, incarnation)] })
    }

    pub(crate) fn node_of_primary(&self, index: u32) -> Option<u16> {
        let primary = self.state.map().view(GroupId { pool: META, index })?.primary?;
        Some(self.state.map().devices[&primary.device].node.0)
    }
}
