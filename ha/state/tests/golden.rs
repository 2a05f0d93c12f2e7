//! The byte forms of commands and snapshots: what is in a log or a snapshot of an older build must read the same for life.
//!
//! `tests/golden/ha-v1.txt` holds one line a value, `name hex`. A change of these lines is a new version. `REDOUBT_BLESS=1` writes the file.

use std::fmt::Write;

use ha_state::state::AwayPolicy;
use ha_state::{
    Change, ClusterWish, Command, DeviceSpec, DeviceWish, Found, GroupSlots, LossReason, MemberChange, NodeSpec, NodeWish, PoolSpec, State,
    Topology, ViewChange,
};
use types::map::CatalogueKind;
use types::quota::Quota;
use types::records::{BucketDocument, RecordChange, Target};
use types::scheme::FailureDomain;
use types::{
    Boot, CatalogueId, ClusterId, DeviceId, DiskGroupId, Epoch, GroupId, HaTime, Incarnation, NodeId, PoolId, SessionId, ViewNumber,
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ha-v1.txt");

fn topology() -> Topology {
    Topology {
        cluster: ClusterId(0x0102_0304),
        nodes: vec![NodeSpec {
            id: NodeId(1),
            name: "node-1".into(),
            storage_set: 2,
            rack: 3,
            ha_address: "h:1".into(),
            fabric_address: "f:1".into(),
            voter: true,
        }],
        devices: vec![DeviceSpec { id: DeviceId(1), node: NodeId(1), disk_group: DiskGroupId(4), bytes: 1 << 33 }],
        pools: vec![PoolSpec {
            id: PoolId(1),
            name: "meta".into(),
            scheme: "1+0".parse().expect("a scheme"),
            failure_domain: FailureDomain::Node,
            devices: vec![DeviceId(1)],
            groups: 2,
            priority: 5,
            avoid_node: false,
        }],
    }
}

fn changes() -> Vec<(&'static str, Change)> {
    let group = GroupId { pool: PoolId(1), index: 300 };
    let view = |change| ViewChange { group, from: ViewNumber(7), change };
    vec![
        ("bootstrap", Change::Bootstrap(topology())),
        (
            "register-process",
            Change::RegisterProcess {
                node: NodeId(1),
                pid: 4711,
                nonce: u64::MAX,
                devices: vec![
                    (DeviceId(1), Found::Blank),
                    (DeviceId(2), Found::Formatted { uuid: 9, incarnation: Incarnation(300) }),
                    (DeviceId(3), Found::Unusable),
                ],
            },
        ),
        (
            "register-process-refused",
            Change::RegisterProcess {
                node: NodeId(1),
                pid: 4711,
                nonce: 1,
                devices: vec![(DeviceId(1), Found::OtherCluster), (DeviceId(2), Found::OtherDevice), (DeviceId(3), Found::Newer)],
            },
        ),
        ("process-lost-ended", Change::ProcessLost { node: NodeId(1), boot: Boot(5), reason: LossReason::Ended }),
        ("process-lost-lease-expired", Change::ProcessLost { node: NodeId(1), boot: Boot(5), reason: LossReason::LeaseExpired }),
        ("process-lost-stopped", Change::ProcessLost { node: NodeId(1), boot: Boot(5), reason: LossReason::Stopped }),
        ("recovered", Change::Recovered { boot: Boot(5), epoch: Epoch(6) }),
        ("active", Change::Active { boot: Boot(5), groups: vec![(group, ViewNumber(7))] }),
        (
            "change-views",
            Change::ChangeViews(vec![
                view(MemberChange::StepDown),
                view(MemberChange::Appoint(DeviceId(1))),
                view(MemberChange::Learners(vec![DeviceId(2)])),
                view(MemberChange::Replace { from: DeviceId(1), to: DeviceId(2) }),
            ]),
        ),
        ("create-groups", Change::CreateGroups { pool: PoolId(1), groups: vec![vec![Some(DeviceId(1)), None]] }),
        ("set-placement", Change::SetPlacement(vec![GroupSlots { group, from: ViewNumber(7), slots: vec![None, Some(DeviceId(2))] }])),
        (
            "device-error",
            Change::DeviceError { device: DeviceId(1), incarnation: Incarnation(3), count: 2, error: "EIO".into(), report: 4 },
        ),
        ("device-failed", Change::DeviceFailed { device: DeviceId(1), incarnation: Incarnation(3), ended: true, reason: "sync".into() }),
        (
            "create-catalogue",
            Change::CreateCatalogue { name: "photos".into(), kind: CatalogueKind::Index, pool: Some(PoolId(1)), width: 16 },
        ),
        ("drop-catalogue", Change::DropCatalogue { id: CatalogueId(9) }),
        ("open-session", Change::OpenSession { nonce: 1, name: "redoubt".into() }),
        ("close-session", Change::CloseSession { session: SessionId(9) }),
        ("advance-time", Change::AdvanceTime),
        ("set-voters", Change::SetVoters(vec![NodeId(1), NodeId(2)])),
        ("catalogues-emptied", Change::CataloguesEmptied { boot: Boot(5), emptied: vec![(CatalogueId(9), group, ViewNumber(7))] }),
        ("device-hangs", Change::DeviceHangs { device: DeviceId(1), incarnation: Incarnation(3), reason: "20 s".into() }),
        ("filled", Change::Filled { boot: Boot(5), groups: vec![(group, ViewNumber(7), DeviceId(2), Incarnation(3))] }),
        ("add-node", Change::AddNode { node: topology().nodes.remove(0), devices: topology().devices }),
        ("balanced", Change::Balanced(Epoch(6))),
        ("ask-node-remove", Change::AskNode { node: NodeId(1), wish: NodeWish::Remove }),
        ("ask-node-keep", Change::AskNode { node: NodeId(1), wish: NodeWish::Keep }),
        ("remove-node", Change::RemoveNode(NodeId(1))),
        ("ask-node-replace", Change::AskNode { node: NodeId(1), wish: NodeWish::Replace }),
        ("node-out", Change::NodeOut { node: NodeId(1), store: Some(300) }),
        ("node-replaced", Change::NodeReplaced(NodeId(1))),
        ("ask-rebalance", Change::AskCluster(ClusterWish::Rebalance)),
        ("ask-pause-rebalance", Change::AskCluster(ClusterWish::PauseRebalance)),
        ("ask-resume-rebalance", Change::AskCluster(ClusterWish::ResumeRebalance)),
        ("ask-device-fail", Change::AskDevice { device: DeviceId(1), incarnation: Incarnation(3), wish: DeviceWish::Fail }),
        ("ask-device-replace", Change::AskDevice { device: DeviceId(1), incarnation: Incarnation(3), wish: DeviceWish::Replace }),
        ("ask-device-keep", Change::AskDevice { device: DeviceId(1), incarnation: Incarnation(3), wish: DeviceWish::Keep }),
        (
            "record-create-bucket",
            Change::Record(RecordChange::CreateBucket {
                name: "photos".into(),
                owner: "ann".into(),
                documents: [(BucketDocument::Policy, "{}".into())].into(),
            }),
        ),
        (
            "record-set-document",
            Change::Record(RecordChange::SetDocument { bucket: CatalogueId(9), document: BucketDocument::Quota, text: None }),
        ),
        ("record-seal", Change::Record(RecordChange::SealBucket { bucket: CatalogueId(9) })),
        ("record-reopen", Change::Record(RecordChange::ReopenBucket { bucket: CatalogueId(9), seal: 300 })),
        ("record-remove", Change::Record(RecordChange::RemoveBucket { bucket: CatalogueId(9), seal: 300 })),
        (
            "record-create-account",
            Change::Record(RecordChange::CreateAccount { name: "ann".into(), display_name: "A".into(), email: "a@b".into() }),
        ),
        ("record-disable", Change::Record(RecordChange::SetAccountDisabled { name: "ann".into(), disabled: true })),
        ("record-delete-account", Change::Record(RecordChange::DeleteAccount { name: "ann".into() })),
        ("record-put-key", Change::Record(RecordChange::PutKey { account: "ann".into(), key: "AK".into(), sealed_secret: vec![1, 2] })),
        ("record-delete-key", Change::Record(RecordChange::DeleteKey { account: "ann".into(), key: "AK".into() })),
        (
            "record-account-quota",
            Change::Record(RecordChange::SetAccountQuota { name: "ann".into(), quota: Quota { bytes: Some(1 << 30), objects: None } }),
        ),
        (
            "record-put-target",
            Change::Record(RecordChange::PutTarget {
                name: "audit".into(),
                target: Target { url: "https://audit.example.com/events".into(), sealed_token: Some(vec![1, 2]) },
            }),
        ),
        ("record-delete-target", Change::Record(RecordChange::DeleteTarget { name: "audit".into() })),
        ("ask-device-scrub", Change::AskDevice { device: DeviceId(1), incarnation: Incarnation(3), wish: DeviceWish::Scrub }),
        ("slots-filled", Change::SlotsFilled { boot: Boot(5), slots: vec![(group, ViewNumber(7), 3, DeviceId(2), Incarnation(3))] }),
        ("ask-cluster-pause-repair", Change::AskCluster(ClusterWish::PauseRepair)),
        ("ask-cluster-resume-repair", Change::AskCluster(ClusterWish::ResumeRepair)),
        ("ask-cluster-device-away", Change::AskCluster(ClusterWish::DeviceAway(900_000))),
        ("ask-cluster-node-away", Change::AskCluster(ClusterWish::NodeAway(0))),
        ("give-up", Change::GiveUp { device: DeviceId(1), incarnation: Incarnation(3) }),
        ("ask-node-start-maintenance", Change::AskNode { node: NodeId(1), wish: NodeWish::StartMaintenance }),
        ("ask-node-end-maintenance", Change::AskNode { node: NodeId(1), wish: NodeWish::EndMaintenance }),
        ("device-lags", Change::DeviceLags { device: DeviceId(1), incarnation: Incarnation(3), reason: "log full".into() }),
    ]
}

fn command(change: Change) -> Command {
    Command { epoch: Epoch(1), at: HaTime(1000), wall_ms: 1_795_260_479_123, change }
}

/// A state with something of everything.
fn state() -> State {
    let mut state = State::new();
    let slots = vec![Some(DeviceId(1))];
    let steps = [
        Change::Bootstrap(topology()),
        Change::RegisterProcess { node: NodeId(1), pid: 1, nonce: 2, devices: vec![(DeviceId(1), Found::Blank)] },
        Change::Recovered { boot: Boot(2), epoch: Epoch(2) },
        Change::CreateGroups { pool: PoolId(1), groups: vec![slots.clone(), slots] },
        Change::Active { boot: Boot(2), groups: vec![(GroupId { pool: PoolId(1), index: 0 }, ViewNumber(4))] },
        Change::CreateCatalogue { name: "photos".into(), kind: CatalogueKind::Bucket, pool: None, width: 0 },
        Change::OpenSession { nonce: 1, name: "redoubt".into() },
        Change::DeviceError { device: DeviceId(1), incarnation: Incarnation(2), count: 2, error: "EIO".into(), report: 4 },
        Change::Record(RecordChange::CreateAccount { name: "ann".into(), display_name: "A".into(), email: "a@b".into() }),
        Change::Record(RecordChange::SealBucket { bucket: CatalogueId(4) }),
        Change::AskNode { node: NodeId(1), wish: NodeWish::StartMaintenance },
    ];
    for (index, change) in (1..).zip(steps) {
        state.apply(index, &command(change)).expect("applied");
    }
    state
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

#[test]
fn commands_and_snapshots_have_the_bytes_that_they_always_had() {
    let mut lines: Vec<String> = changes().into_iter().map(|(name, c)| format!("{name} {}", hex(&command(c).encode()))).collect();
    lines.push(format!("snapshot {}", hex(&state().encode())));
    let made = lines.join("\n") + "\n";
    if std::env::var_os("REDOUBT_BLESS").is_some() {
        std::fs::write(FILE, &made).expect("written");
    }
    let kept = std::fs::read_to_string(FILE).expect("the golden file");
    for (kept, made) in kept.lines().zip(made.lines()) {
        assert_eq!(kept, made);
    }
    assert_eq!(kept, made);
}

#[test]
fn golden_bytes_read_back_as_what_they_were() {
    let kept = std::fs::read_to_string(FILE).expect("the golden file");
    let bytes = |name: &str| {
        let line = kept.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).expect("the line");
        unhex(line)
    };
    for (name, change) in changes() {
        assert_eq!(Command::decode(&bytes(name)), Ok(command(change)), "{name}");
    }
    assert_eq!(State::decode(&bytes("snapshot")), Ok(state()));
}

/// As software before version 2 wrote it: no dropped catalogues, no missing units, and no bucket that nobody made.
#[test]
fn a_snapshot_of_version_1_is_read() {
    let kept = include_str!("golden/ha-snapshot-v1.txt");
    let state = State::decode(&unhex(kept.trim())).expect("reads");
    assert_eq!(state.map().catalogues.values().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["photos"]);
    assert!(state.dropped().is_empty() && state.units_missing().is_empty());
    assert_eq!(State::decode(&state.encode()), Ok(state));
}

/// As software before version 3 wrote it: no learner is filled, and nobody wants a device replaced.
#[test]
fn a_snapshot_of_version_2_is_read() {
    let kept = include_str!("golden/ha-snapshot-v2.txt");
    let state = State::decode(&unhex(kept.trim())).expect("reads");
    assert!(state.leaving().is_empty() && !state.map().groups.is_empty());
    assert_eq!(State::decode(&state.encode()), Ok(state));
}

/// As software before version 4 wrote it: buckets have no owner and no settings, and there are no accounts.
#[test]
fn a_snapshot_of_version_3_is_read() {
    let kept = include_str!("golden/ha-snapshot-v3.txt");
    let state = State::decode(&unhex(kept.trim())).expect("reads");
    assert!(state.accounts().is_empty());
    let buckets: Vec<_> = state.map().catalogues.values().filter(|c| c.kind == CatalogueKind::Bucket).map(|c| c.id).collect();
    assert_eq!(state.buckets().keys().copied().collect::<Vec<_>>(), buckets);
    assert_eq!(State::decode(&state.encode()), Ok(state));
}

/// As software before version 5 wrote it: no rebalance goes on, what is away is waited for as by default, and no node is in maintenance.
#[test]
fn a_snapshot_of_version_4_is_read() {
    let kept = include_str!("golden/ha-snapshot-v4.txt");
    let state = State::decode(&unhex(kept.trim())).expect("reads");
    assert_eq!((state.rebalance(), state.topology().is_some()), (None, true));
    assert!(state.maintenance().is_empty() && state.away_policy() == AwayPolicy::default());
    assert_eq!(State::decode(&state.encode()), Ok(state));
}

#[test]
fn every_truncation_of_a_golden_value_is_an_error() {
    for (name, change) in changes() {
        let bytes = command(change).encode();
        for cut in 0..bytes.len() {
            assert!(Command::decode(&bytes[..cut]).is_err(), "{name} cut at {cut}");
        }
    }
    let bytes = state().encode();
    for cut in 0..bytes.len() {
        assert!(State::decode(&bytes[..cut]).is_err());
    }
}
