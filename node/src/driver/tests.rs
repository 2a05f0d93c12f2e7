//! A driver over a store in memory: a group of one, so that it is its own majority.

mod crossing;
mod watching;

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use ha_state::lease::Timing;
use types::map::{Catalogue, CatalogueKind, ClusterMap, Device, Group, GroupView, Node, Primary};
use types::ops::{Condition, Op};
use types::record::{Coordination, Outcome, Position, Record, Row, RowKey, Write};
use types::state::{DeviceState, ProcessState};
use types::wire::dtm::Message;
use types::{CatalogueId, DtxId, Epoch, HaTime, PoolId, Seq, SessionId, ViewNumber};

use super::store::{Change, Page, Room};
use super::turn::is_room_for;
use super::*;
use crate::report::HowEnded;
use crate::view::ClusterView;
use crate::watch::{HANG_MAX, Watch, Watched};

const GROUP: GroupId = GroupId { pool: PoolId(1), index: 0 };
const PLACE: Place = Place { node: NodeId(1), boot: Boot(2), device: DeviceId(1), incarnation: Incarnation(2) };
const OTHER: Place = Place { node: NodeId(2), boot: Boot(2), device: DeviceId(2), incarnation: Incarnation(2) };
const VIEW: ViewNumber = ViewNumber(3);

#[derive(Debug, thiserror::Error)]
#[error("the disk is gone")]
struct Gone;

#[derive(Default)]
struct Held {
    rows: BTreeMap<RowKey, Row>,
    log: BTreeMap<Seq, Record>,
    state: Vec<u8>,
    /// Records appended by batches that were synced, and not.
    appended: Vec<bool>,
    room: Option<Room>,
    /// A write waits at the first for the test, and at the second for its leave to go on.
    gate: Option<Arc<(Barrier, Barrier)>>,
    gone: bool,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Held>>);

impl Memory {
    fn held<R>(&self, look: impl FnOnce(&mut Held) -> R) -> R {
        look(&mut self.0.lock().expect("nobody panics with the lock"))
    }
}

impl Store for Memory {
    type Error = Gone;
    type Snapshot = BTreeMap<RowKey, Row>;

    fn room(&self) -> Result<Room, Gone> {
        self.held(|held| if held.gone { Err(Gone) } else { Ok(held.room.unwrap_or(Room::Free)) })
    }

    fn check(&self) -> Result<(), Gone> {
        self.held(|held| if held.gone { Err(Gone) } else { Ok(()) })
    }

    fn fail(&self, _reason: &str) {
        self.held(|held| held.gone = true);
    }

    fn write(&self, changes: &[(GroupId, Change<'_>)], sync: bool) -> Result<(), Gone> {
        if let Some(gate) = self.held(|held| held.gate.clone()) {
            gate.0.wait();
            gate.1.wait();
        }
        self.held(|held| {
            for (_, change) in changes {
                match change {
                    Change::Append(record) => {
                        held.appended.push(sync);
                        held.log.insert(record.seq, (*record).clone());
                    }
                    Change::Put { key, version, value } => {
                        held.rows.insert(key.clone().into_owned(), Row { version: *version, value: value.to_vec() });
                    }
                    Change::Delete(key) => drop(held.rows.remove(key)),
                    Change::State(state) => held.state.clone_from(state),
                    Change::Wipe => held.rows.clear(),
                    Change::Forget => {
                        held.rows.clear();
                        held.log.clear();
                        held.state.clear();
                    }
                    Change::Cut(_) | Change::Prune(_) | Change::Fence(_) => {}
                }
            }
            if held.gone { Err(Gone) } else { Ok(()) }
        })
    }

    fn row(&self, _group: GroupId, key: &RowKey) -> Result<Option<Row>, Gone> {
        self.held(|held| Ok(held.rows.get(key).cloned()))
    }

    fn log(&self, _group: GroupId, from: Seq, upto: Seq, _bytes_max: usize) -> Result<Vec<Record>, Gone> {
        self.held(|held| Ok(held.log.range(from..=upto).map(|(_, record)| record.clone()).collect()))
    }

    fn snapshot(&self, _group: GroupId) -> Result<(Self::Snapshot, Vec<u8>), Gone> {
        self.held(|held| Ok((held.rows.clone(), held.state.clone())))
    }

    fn page(
        &self,
        snapshot: &Self::Snapshot,
        _group: GroupId,
        after: Option<&RowKey>,
        rows_max: usize,
        _bytes_max: usize,
    ) -> Result<Page, Gone> {
        let mut rest = snapshot.iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        let rows = rest.by_ref().take(rows_max).map(|(key, row)| (key.clone(), row.clone())).collect();
        Ok(Page { rows, end: rest.next().is_none() })
    }
}

/// A group of one has nobody to write to.
struct Nobody;

impl Post for Nobody {
    fn send(&self, envelopes: Vec<Envelope>) {
        assert_eq!(envelopes, []);
    }
}

/// Another replica, which never answers.
struct Somebody;

impl Post for Somebody {
    fn send(&self, _envelopes: Vec<Envelope>) {}
}

impl Post for mpsc::Sender<Vec<Envelope>> {
    fn send(&self, envelopes: Vec<Envelope>) {
        Self::send(self, envelopes).expect("the test listens");
    }
}

struct Waiter(mpsc::Sender<ExecuteReply>);

impl Caller for Waiter {
    fn answer(self: Box<Self>, reply: ExecuteReply) {
        self.0.send(reply).expect("the test waits");
    }
}

fn cluster() -> ClusterView {
    let node = Node {
        id: PLACE.node,
        name: "node-1".into(),
        storage_set: 0,
        rack: 0,
        ha_address: String::new(),
        fabric_address: String::new(),
        state: ProcessState::Online,
        boot: PLACE.boot,
        voter: true,
    };
    let device = Device {
        id: PLACE.device,
        node: PLACE.node,
        disk_group: types::DiskGroupId(1),
        state: DeviceState::Online,
        incarnation: PLACE.incarnation,
        registered: Epoch(2),
        bytes: 1,
        reason: String::new(),
    };
    let view = GroupView {
        number: VIEW,
        created: Epoch(3),
        primary: Some(Primary { device: PLACE.device, boot: PLACE.boot }),
        members: vec![PLACE.device],
        old: vec![PLACE.device],
        learners: Vec::new(),
        active: ViewNumber(0),
    };
    let id = row().catalogue;
    let catalogue = Catalogue { id, name: "people".into(), kind: CatalogueKind::Index, pool: PoolId(1), first_group: 0, width: 1 };
    let map = ClusterMap {
        index: 3,
        epoch: Epoch(3),
        nodes: [(PLACE.node, node)].into(),
        devices: [(PLACE.device, device)].into(),
        groups: [(GROUP, Group::Replicated(view))].into(),
        catalogues: [(catalogue.id, catalogue)].into(),
        ..ClusterMap::default()
    };
    ClusterView { index: 3, map: Arc::new(map), ..ClusterView::default() }
}

/// The group has two members, of which that one is primary; one is enough for its quorum only where the other is a learner.
fn cluster_with_two(primary: DeviceId) -> ClusterView {
    let mut view = cluster();
    let mut map = ClusterMap::clone(&view.map);
    let (node, device) = (map.nodes[&PLACE.node].clone(), map.devices[&PLACE.device].clone());
    map.nodes.insert(OTHER.node, Node { id: OTHER.node, boot: OTHER.boot, ..node });
    map.devices.insert(OTHER.device, Device { id: OTHER.device, node: OTHER.node, incarnation: OTHER.incarnation, ..device });
    let learner = if primary == PLACE.device { OTHER.device } else { PLACE.device };
    let boot = if primary == PLACE.device { PLACE.boot } else { OTHER.boot };
    if let Some(Group::Replicated(view)) = map.groups.get_mut(&GROUP) {
        (view.members, view.old, view.learners) = (vec![primary], vec![primary], vec![learner]);
        view.primary = Some(Primary { device: primary, boot });
    }
    view.map = Arc::new(map);
    view
}

/// What the primary of the other process sends.
fn redo() -> Envelope {
    let done = Outcome::Done { version: Seq(1), previous: vec![None], versioning: types::object::Versioning::Off };
    let dtx = DtxId { session: SessionId(1), counter: 9, at: HaTime(1000) };
    let writes = vec![Write::Put { row: row(), value: b"v".to_vec() }];
    let record = Record { seq: Seq(1), view: VIEW, at: HaTime(1000), dtx, writes, outcome: done, coordination: Coordination::Local };
    let (base, prev, stable, all_persistent) = (Seq(0), Position::default(), Seq(0), Seq(0));
    let message = Message::Redo { view: VIEW, base, prev, records: vec![Arc::new(record)], stable, all_persistent };
    Envelope { group: GROUP, from: OTHER.device, to: PLACE.device, boot: OTHER.boot, incarnation: OTHER.incarnation, message }
}

/// A driver that has taken the cluster in and has a lease.
fn driver(store: &Memory) -> Driver<Memory, Nobody> {
    driver_in(cluster(), store, Nobody)
}

fn driver_in<P: Post>(view: ClusterView, store: &Memory, post: P) -> Driver<Memory, P> {
    let around = Surroundings {
        views: Arc::default(),
        fences: Arc::new(Fences::new([PLACE.device])),
        permits: Arc::default(),
        lease: Arc::new(Lease::new(Timing::scaled(100.0))),
        rooms: Arc::default(),
        reports: Reports::default(),
    };
    around.views.publish(view);
    around.lease.set_time(HaTime(1000), Instant::now());
    around.lease.granted(Instant::now(), Epoch(3));
    Driver::new(PLACE, store.clone(), post, around, Arc::default(), Vec::new())
}

fn request(counter: u64, ops: Vec<Op>) -> (ClientRequest, mpsc::Receiver<ExecuteReply>) {
    let (tx, rx) = mpsc::channel();
    let dtx = DtxId { session: SessionId(1), counter, at: HaTime(1000) };
    (
        ClientRequest {
            execute: Execute { group: GROUP, view: VIEW, dtx, ops, parts: Vec::new(), cause: Default::default() },
            caller: Box::new(Waiter(tx)),
        },
        rx,
    )
}

fn row() -> RowKey {
    RowKey { catalogue: CatalogueId(1), key: types::keys::user(b"k") }
}

fn put(condition: Condition) -> Vec<Op> {
    vec![Op::Put { row: row(), value: b"v".to_vec(), condition }]
}

#[test]
fn a_turn_takes_the_news_in_and_then_serves_reads() {
    let store = Memory::default();
    let mut driver = driver(&store);
    let around = driver.around.clone();
    assert!(!around.permits.holds(PLACE.device, GROUP, VIEW));
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    assert!(around.permits.holds(PLACE.device, GROUP, VIEW));
    assert_eq!(around.fences.taken_in(PLACE.device), Epoch(3));
    assert_eq!(around.reports.with(|pending| pending.active.clone()), [(GROUP, VIEW)].into());
}

#[test]
fn a_transaction_is_synced_and_applied_before_its_answer() {
    let store = Memory::default();
    let mut driver = driver(&store);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    let (first, answer) = request(1, put(Condition::Absent));
    let (second, refused) = request(2, put(Condition::Absent));
    driver.turn(vec![first, second], Vec::new()).expect("the device works");
    assert!(matches!(answer.try_recv(), Ok(Ok(Outcome::Done { version: Seq(1), .. }))));
    assert!(matches!(refused.try_recv(), Ok(Ok(Outcome::Refused { current: Some(Seq(1)), .. }))), "it saw the one before it in its batch");
    store.held(|held| {
        assert!(!held.appended.is_empty() && held.appended.iter().all(|synced| *synced));
        assert_eq!(held.rows.get(&row()).map(|row| row.version), Some(Seq(1)));
    });
}

#[test]
fn what_was_let_in_before_a_drop_does_not_grow_the_catalogue_after_it() {
    let store = Memory::default();
    let mut driver = driver(&store);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    let (first, answer) = request(1, put(Condition::Always));
    driver.turn(vec![first], Vec::new()).expect("the device works");
    assert!(matches!(answer.try_recv(), Ok(Ok(Outcome::Done { .. }))));
    let mut view = cluster();
    view.map = Arc::new(ClusterMap { index: 4, catalogues: BTreeMap::new(), ..ClusterMap::clone(&view.map) });
    driver.around.views.publish(ClusterView { index: 4, ..view });
    let (late, refused) = request(2, put(Condition::Always));
    let (shrinks, done) = request(3, vec![Op::Delete { row: row(), condition: Condition::Always }]);
    driver.turn(vec![late, shrinks], Vec::new()).expect("the device works");
    assert!(matches!(refused.try_recv(), Ok(Err(Refusal::Gone(CatalogueId(1))))));
    assert!(matches!(done.try_recv(), Ok(Ok(Outcome::Done { .. }))), "it is emptied");
}

#[test]
fn a_full_device_refuses_what_grows_and_lets_go_of_rows() {
    let store = Memory::default();
    let mut driver = driver(&store);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    let (first, answer) = request(1, put(Condition::Always));
    driver.turn(vec![first], Vec::new()).expect("the device works");
    assert!(matches!(answer.try_recv(), Ok(Ok(Outcome::Done { version: Seq(1), .. }))));
    store.held(|held| held.room = Some(Room::Full));
    let (grows, full) = request(2, put(Condition::Always));
    let (again, known) = request(1, put(Condition::Always));
    let (shrinks, done) = request(3, vec![Op::Delete { row: row(), condition: Condition::Always }]);
    driver.turn(vec![grows, again, shrinks], Vec::new()).expect("the device works");
    let known = known.try_recv();
    assert!(matches!(known, Ok(Ok(Outcome::Done { version: Seq(1), .. }))), "what was done before is answered, not refused: {known:?}");
    assert_eq!(full.try_recv(), Ok(Err(Refusal::Full(PLACE.device))));
    assert!(matches!(done.try_recv(), Ok(Ok(Outcome::Done { .. }))));
    assert_eq!(driver.around.rooms.full_here(), [PLACE.device], "others are told");
}

#[test]
fn a_transaction_that_nobody_waits_for_any_more_is_not_begun() {
    struct Gone;
    impl Caller for Gone {
        fn answer(self: Box<Self>, reply: ExecuteReply) {
            panic!("answered with {reply:?}");
        }

        fn is_over(&self) -> bool {
            true
        }
    }
    let store = Memory::default();
    let mut driver = driver(&store);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    let (request, _) = request(1, put(Condition::Always));
    driver.turn(vec![ClientRequest { caller: Box::new(Gone), ..request }], Vec::new()).expect("the device works");
    store.held(|held| assert!(held.log.is_empty() && held.rows.is_empty()));
}

#[test]
fn a_full_device_of_another_process_refuses_what_grows_in_its_groups() {
    let store = Memory::default();
    let mut driver = driver_in(cluster_with_two(PLACE.device), &store, Somebody);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    driver.around.rooms.hear(OTHER.node, &[OTHER.device], Instant::now());
    let (grows, full) = request(1, put(Condition::Always));
    let (shrinks, done) = request(2, vec![Op::Delete { row: row(), condition: Condition::Always }]);
    driver.turn(vec![grows, shrinks], Vec::new()).expect("the device works");
    assert_eq!(full.try_recv(), Ok(Err(Refusal::Full(OTHER.device))));
    assert!(matches!(done.try_recv(), Ok(Ok(Outcome::Done { .. }))));
    driver.around.rooms.hear(OTHER.node, &[], Instant::now());
    let (grows, done) = request(3, put(Condition::Always));
    driver.turn(vec![grows], Vec::new()).expect("the device works");
    assert!(matches!(done.try_recv(), Ok(Ok(Outcome::Done { .. }))), "room was made");
}

#[test]
fn a_device_that_is_out_of_room_takes_deletes_and_what_a_change_of_view_needs() {
    let store = Memory::default();
    let mut driver = driver(&store);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    store.held(|held| held.room = Some(Room::Out));
    let (grows, full) = request(1, put(Condition::Always));
    let (shrinks, done) = request(2, vec![Op::Delete { row: row(), condition: Condition::Always }]);
    driver.turn(vec![grows, shrinks], Vec::new()).expect("the device works");
    assert_eq!(full.try_recv(), Ok(Err(Refusal::Full(PLACE.device))));
    assert!(matches!(done.try_recv(), Ok(Ok(Outcome::Done { .. }))));

    let redo_of = |write: Write| match redo().message {
        Message::Redo { view, base, prev, records, stable, all_persistent } => {
            let records = records.iter().map(|record| Arc::new(Record { writes: vec![write.clone()], ..(**record).clone() })).collect();
            Message::Redo { view, base, prev, records, stable, all_persistent }
        }
        other => panic!("{other:?}"),
    };
    let dead = RowKey { key: vec![types::keys::kind::DEAD, 1], ..row() };
    let Message::Redo { records, .. } = redo().message else { panic!("it is one") };
    let messages = [
        redo_of(Write::Put { row: row(), value: Vec::new() }),
        redo_of(Write::Put { row: dead, value: Vec::new() }),
        redo_of(Write::Delete { row: row() }),
        Message::Fetched { view: VIEW, prev: Position::default(), records, last: Position::default() },
        Message::CopyPiece { view: VIEW, at: Position::default(), number: 0, rows: Vec::new(), end: true },
        Message::Peer { view: VIEW },
    ];
    let taken = |room| messages.iter().map(|message| is_room_for(message, room)).collect::<Vec<_>>();
    assert_eq!(taken(Room::Full), [true; 6]);
    assert_eq!(taken(Room::Out), [false, true, true, true, false, true]);
    assert_eq!(taken(Room::Spent), [false, false, false, false, false, true]);
}

#[test]
fn a_device_whose_reserve_is_spent_takes_no_records_and_does_not_fail_of_them() {
    let store = Memory::default();
    let mut driver = driver_in(cluster_with_two(OTHER.device), &store, Somebody);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    store.held(|held| held.room = Some(Room::Spent));
    driver.turn(Vec::new(), vec![redo()]).expect("the device works");
    store.held(|held| assert!(held.log.is_empty(), "its reserve is for what it holds already"));
    let (asks, full) = request(1, vec![Op::Delete { row: row(), condition: Condition::Always }]);
    driver.turn(vec![asks], Vec::new()).expect("the device works");
    assert_eq!(full.try_recv(), Ok(Err(Refusal::Full(PLACE.device))), "a delete is a record too");
    store.held(|held| held.room = Some(Room::Full));
    driver.turn(Vec::new(), vec![redo()]).expect("the device works");
    store.held(|held| assert_eq!(held.log.len(), 1, "a full one goes on with its log"));
}

#[test]
fn a_failed_device_answers_nobody_well_and_is_reported() {
    let store = Memory::default();
    let mut driver = driver(&store);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    store.held(|held| held.gone = true);
    let (around, inbox) = (driver.around.clone(), driver.inbox.clone());
    let (waiting, answer) = request(1, put(Condition::Always));
    inbox.offer_client(waiting).expect("there is room");
    driver.run();
    assert!(answer.try_recv().is_err(), "a batch in hand is lost with its device; its caller asks elsewhere");
    let (late, _) = request(2, put(Condition::Always));
    assert!(inbox.offer_client(late).is_err());
    assert!(!around.permits.holds(PLACE.device, GROUP, VIEW));
    assert!(around.reports.with(|pending| pending.failed.get(&PLACE.device).is_some_and(|end| end.how == HowEnded::Broke)));
}

#[test]
fn a_removed_member_forgets_its_group_once_a_view_without_it_is_recorded_active() {
    let store = Memory::default();
    let mut driver = driver_in(cluster_with_two(OTHER.device), &store, Somebody);
    driver.turn(Vec::new(), vec![redo()]).expect("the device works");
    assert!(store.held(|held| !held.state.is_empty()) && driver.replicas.contains_key(&GROUP));
    let tell = |driver: &mut Driver<Memory, Somebody>, old: Vec<DeviceId>, active: u64| {
        let mut view = ClusterView::clone(&driver.around.views.now());
        let map = Arc::make_mut(&mut view.map);
        (view.index, map.epoch) = (view.index + 1, Epoch(map.epoch.0 + 1));
        if let Some(Group::Replicated(group)) = map.groups.get_mut(&GROUP) {
            (group.number, group.active) = (ViewNumber(9), ViewNumber(active));
            (group.members, group.old, group.learners) = (vec![OTHER.device], old, Vec::new());
        }
        driver.around.views.publish(view);
        driver.turn(Vec::new(), Vec::new()).expect("the device works");
    };
    tell(&mut driver, vec![PLACE.device, OTHER.device], 3);
    assert!(driver.replicas.contains_key(&GROUP), "a change of view may ask it for what it holds");
    tell(&mut driver, vec![PLACE.device, OTHER.device], 9);
    assert!(driver.replicas.is_empty(), "nothing of it is left");
    assert!(store.held(|held| held.state.is_empty() && held.log.is_empty() && held.rows.is_empty()));
    driver.turn(Vec::new(), vec![redo()]).expect("what comes late is of no consequence");
    assert!(store.held(|held| held.state.is_empty() && held.log.is_empty()));
}

#[test]
fn what_the_rows_show_is_said_before_any_answer_and_taken_back_before_a_wipe() {
    let store = Memory::default();
    let mut driver = driver(&store);
    let permits = driver.around.permits.clone();
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    assert_eq!(permits.shown(PLACE.device, GROUP), Some(Seq(0)));
    struct Looks(Arc<Permits>, mpsc::Sender<Option<Seq>>);
    impl Caller for Looks {
        fn answer(self: Box<Self>, _: ExecuteReply) {
            self.1.send(self.0.shown(PLACE.device, GROUP)).expect("the test waits");
        }
    }
    let (looks, seen) = mpsc::channel();
    let (request, _) = request(1, put(Condition::Always));
    let request = ClientRequest { caller: Box::new(Looks(permits.clone(), looks)), ..request };
    driver.turn(vec![request], Vec::new()).expect("the device works");
    assert_eq!(seen.try_recv(), Ok(Some(Seq(1))));
    permits.withdraw(PLACE.device);
    assert_eq!(permits.shown(PLACE.device, GROUP), None, "the device failed");
}
