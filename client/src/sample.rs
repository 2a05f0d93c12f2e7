//! A cluster map for tests: three nodes of two disk groups, the three pools of `redoubt dev`.

use std::collections::BTreeMap;

use types::map::{Catalogue, CatalogueKind, ClusterMap, Device, Group, GroupView, Node, Pool, Primary, Slots};
use types::scheme::{FailureDomain, Scheme};
use types::state::{DeviceState, ProcessState};
use types::{Boot, CatalogueId, DeviceId, DiskGroupId, Epoch, GroupId, Incarnation, NodeId, PoolId, ViewNumber};

/// The replicated pool.
pub const META: PoolId = PoolId(1);
/// The `4+2` pool.
pub const DATA: PoolId = PoolId(2);
/// The `2+2` pool; each group avoids one node.
pub const SECOND: PoolId = PoolId(3);
/// A bucket.
pub const BUCKET: CatalogueId = CatalogueId(1);
/// Groups of the replicated pool.
const META_GROUPS: u32 = 4;

fn node(id: u16) -> Node {
    Node {
        id: NodeId(id),
        name: format!("node-{id}"),
        storage_set: 1,
        rack: 1,
        ha_address: format!("127.0.0.1:{}", 1000 + id),
        fabric_address: format!("127.0.0.1:{}", 2000 + id),
        state: ProcessState::Online,
        boot: Boot(u64::from(id)),
        voter: true,
    }
}

fn device(id: u32) -> Device {
    Device {
        id: DeviceId(id),
        node: NodeId((id as u16 - 1) / 2 + 1),
        disk_group: DiskGroupId(id),
        state: DeviceState::Online,
        incarnation: Incarnation(1),
        registered: Epoch(1),
        bytes: 1 << 30,
        reason: String::new(),
    }
}

fn pool(id: PoolId, name: &str, scheme: Scheme, domain: FailureDomain, groups: u32, priority: u8) -> Pool {
    Pool { id, name: name.into(), scheme, failure_domain: domain, devices: (1..=6).map(DeviceId).collect(), groups, priority }
}

/// The map, everything ONLINE.
pub fn map() -> ClusterMap {
    let mut map = ClusterMap { index: 9, epoch: Epoch(9), ..ClusterMap::default() };
    map.nodes = (1..=3).map(|id| (NodeId(id), node(id))).collect();
    map.devices = (1..=6).map(|id| (DeviceId(id), device(id))).collect();
    let erasure = |data, parity| Scheme::Erasure { data, parity, spare: 0 };
    map.pools = [
        pool(META, "meta", Scheme::Replicated { copies: 3 }, FailureDomain::Node, META_GROUPS, 0),
        pool(DATA, "data", erasure(4, 2), FailureDomain::DiskGroup, 4, 1),
        pool(SECOND, "second", erasure(2, 2), FailureDomain::DiskGroup, 6, 2),
    ]
    .into_iter()
    .map(|p| (p.id, p))
    .collect();
    map.groups = groups();
    let bucket =
        Catalogue { id: BUCKET, name: "default".into(), kind: CatalogueKind::Bucket, pool: META, first_group: 1, width: META_GROUPS };
    map.catalogues = BTreeMap::from([(BUCKET, bucket)]);
    map
}

fn groups() -> BTreeMap<GroupId, Group> {
    let number = ViewNumber(5);
    let mut groups = BTreeMap::new();
    for index in 0..META_GROUPS {
        let members: Vec<DeviceId> = [1, 3, 5].map(DeviceId).to_vec();
        let primary = members[index as usize % 3];
        let boot = Boot(u64::from((primary.0 - 1) / 2 + 1));
        let view = GroupView {
            number,
            created: Epoch(1),
            primary: Some(Primary { device: primary, boot }),
            old: members.clone(),
            members,
            learners: Vec::new(),
            active: number,
        };
        groups.insert(GroupId { pool: META, index }, Group::Replicated(view));
    }
    for index in 0..4 {
        let slots = (0..6).map(|i| Some(DeviceId((i + index) % 6 + 1))).collect();
        groups.insert(GroupId { pool: DATA, index }, Group::Erasure(Slots { number, slots }));
    }
    for index in 0..6 {
        let avoided = index % 3;
        let slots = (1..=6).filter(|d| (d - 1) / 2 != avoided).map(|d| Some(DeviceId(d))).collect();
        groups.insert(GroupId { pool: SECOND, index }, Group::Erasure(Slots { number, slots }));
    }
    groups
}

/// The node's process and devices are away, and HA says so.
pub fn take_away(map: &mut ClusterMap, away: NodeId) {
    if let Some(node) = map.nodes.get_mut(&away) {
        node.state = ProcessState::Transient;
    }
    for device in map.devices.values_mut().filter(|d| d.node == away) {
        device.state = DeviceState::Transient;
    }
}
