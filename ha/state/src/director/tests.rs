//! What the leader proposes, and what it does not propose yet.

use types::GroupId;
use types::state::{DeviceState, ProcessState};

use super::*;
use crate::command::MemberChange;
use crate::lease::Timing;
use crate::outcome::Done;
use crate::sample::{GROUPS, Log, META, place, topology};

/// A leader with its observations; time stands unless moved.
struct Leader {
    now: Duration,
    leases: Leases,
    ended: BTreeSet<Boot>,
    confirmed: BTreeMap<Boot, u64>,
    sessions_over: BTreeSet<SessionId>,
}

const MS: Duration = Duration::from_millis(1);

impl Leader {
    fn elected() -> Self {
        Self {
            now: 100 * MS,
            leases: Leases::elected(Timing::default(), 100 * MS),
            ended: BTreeSet::new(),
            confirmed: BTreeMap::new(),
            sessions_over: BTreeSet::new(),
        }
    }

    fn propose(&self, log: &Log) -> Proposals {
        let seen = Observations {
            now: self.now,
            ha_time: HaTime(log.state.ha_time().0 + 1),
            wall_ms: 0,
            leases: &self.leases,
            ended: &self.ended,
            confirmed: &self.confirmed,
            sessions_over: &self.sessions_over,
        };
        propose(&log.state, &seen, &place)
    }

    fn act(&self, log: &mut Log) -> Vec<Change> {
        let proposals = self.propose(log);
        for command in &proposals.commands {
            log.put_at(command.at, command.change.clone()).expect("what a leader proposes on the present state is applied");
        }
        proposals.commands.into_iter().map(|c| c.change).collect()
    }

    fn renew(&mut self, log: &Log, nodes: &[u16]) {
        for node in nodes {
            self.leases.grant(log.boot(*node), log.state.epoch(), self.now);
        }
    }
}

fn without_primary(log: &Log) -> usize {
    (0..GROUPS).filter(|i| log.state.map().view(GroupId { pool: META, index: *i }).is_some_and(|v| v.primary.is_none())).count()
}

#[test]
fn a_cluster_that_is_well_needs_nothing() {
    let log = Log::running();
    assert_eq!(Leader::elected().propose(&log), Proposals::default());
    assert_eq!(Leader::elected().propose(&Log::default()), Proposals::default());
}

#[test]
fn groups_are_created_when_all_devices_are_online_and_only_then() {
    let mut log = Log::created();
    let leader = Leader::elected();
    assert_eq!(leader.propose(&log).warnings.len(), 2);
    for node in 1..=3 {
        log.start(node);
    }
    for node in 1..=2 {
        log.recover(node);
    }
    let early = leader.propose(&log);
    assert!(early.commands.is_empty() && early.warnings[0].contains("waits for 2 devices"));
    log.recover(3);
    assert_eq!(leader.act(&mut log).len(), 2);
    assert_eq!(log.state.map().pools[&META].groups, GROUPS);
    assert_eq!(without_primary(&log), 0);
    assert!(leader.act(&mut log).is_empty());
}

#[test]
fn groups_do_without_a_device_that_does_not_come() {
    let mut log = Log::created();
    for node in 1..=3 {
        log.start(node);
        log.recover(node);
    }
    log.lose(3).expect("lost");
    let leader = Leader::elected();
    assert!(leader.act(&mut log).is_empty());
    let later = HaTime(log.state.ha_time().0 + PLACEMENT_GRACE_MS + 10);
    log.put_at(later, Change::AdvanceTime).expect("applied");
    assert_eq!(leader.act(&mut log).len(), 2);
}

#[test]
fn a_pool_that_cannot_be_placed_is_a_warning() {
    let mut log = Log::created();
    for node in 1..=3 {
        log.start(node);
        log.recover(node);
    }
    let leader = Leader::elected();
    let seen = Observations {
        now: leader.now,
        ha_time: log.state.ha_time(),
        wall_ms: 0,
        leases: &leader.leases,
        ended: &leader.ended,
        confirmed: &leader.confirmed,
        sessions_over: &leader.sessions_over,
    };
    let out = propose(&log.state, &seen, &|_, _| Err("too few nodes".into()));
    assert_eq!((out.commands.len(), out.warnings), (0, vec!["too few nodes".to_string(); topology().pools.len()]));
}

#[test]
fn a_process_that_was_seen_to_end_is_lost_at_once() {
    let mut log = Log::running();
    let mut leader = Leader::elected();
    leader.ended.insert(log.boot(2));
    assert_eq!(leader.act(&mut log).len(), 1);
    assert_eq!(log.state.map().nodes[&types::NodeId(2)].state, ProcessState::Transient);
    assert_eq!(without_primary(&log), 0);
}

#[test]
fn a_new_leader_waits_a_whole_lease_before_it_declares_anybody_lost() {
    let mut log = Log::running();
    let mut leader = Leader::elected();
    leader.now += 999 * MS;
    assert!(leader.act(&mut log).is_empty());
    leader.renew(&log, &[1, 3]);
    leader.now += MS;
    assert!(matches!(leader.act(&mut log)[..], [Change::ProcessLost { reason: LossReason::LeaseExpired, .. }]));
    assert_eq!(log.state.map().nodes[&types::NodeId(2)].state, ProcessState::Transient);
    leader.now += 998 * MS;
    assert!(leader.act(&mut log).is_empty(), "the others renewed 999 ms ago");
}

#[test]
fn primaries_go_back_to_a_process_that_has_settled_by_way_of_a_view_without_one() {
    let mut log = Log::running();
    let mut leader = Leader::elected();
    let at_home: Vec<u32> = (0..GROUPS).filter(|i| log.node_of_primary(*i) == Some(1)).collect();
    log.lose(1).expect("lost");
    log.start(1);
    log.recover(1);
    log.activate();
    assert!(leader.act(&mut log).is_empty(), "not settled yet");
    let later = HaTime(log.state.ha_time().0 + primaries::BALANCE_AFTER_MS);
    log.put_at(later, Change::AdvanceTime).expect("applied");
    leader.renew(&log, &[1, 2, 3]);
    assert_eq!(leader.act(&mut log).len(), 1);
    assert_eq!(without_primary(&log), at_home.len());
    assert!(leader.act(&mut log).is_empty(), "the old ones may still serve");
    for node in 2..=3 {
        leader.confirmed.insert(log.boot(node), log.state.index());
    }
    assert!(
        matches!(&leader.act(&mut log)[..], [Change::ChangeViews(c)] if c.iter().all(|c| matches!(c.change, MemberChange::Appoint(_))))
    );
    for i in at_home {
        assert_eq!(log.node_of_primary(i), Some(1));
    }
    log.activate();
    assert!(leader.act(&mut log).is_empty());
}

#[test]
fn a_deposed_primary_that_does_not_confirm_is_waited_for_until_its_lease_of_before_is_over() {
    let mut log = Log::running();
    let mut leader = Leader::elected();
    let old = log.boot(log.node_of_primary(0).expect("a primary"));
    leader.now += 2000 * MS;
    leader.renew(&log, &[1, 2, 3]);
    let view = log.state.map().view(GroupId { pool: META, index: 0 }).expect("a view").clone();
    let id = view.primary.expect("a primary").device;
    let incarnation = log.state.map().devices[&id].incarnation;
    log.put(Change::DeviceFailed { device: id, incarnation, ended: false, reason: "operator".into() }).expect("failed");
    for _ in 0..5 {
        leader.now += 190 * MS;
        // It goes on renewing, on the new epoch: those grants it uses only knowing that it is deposed.
        leader.renew(&log, &[1, 2, 3]);
        assert!(leader.act(&mut log).is_empty());
    }
    leader.now += 50 * MS;
    assert_eq!(leader.act(&mut log).len(), 1);
    assert!(log.state.live(old).is_some());
    assert_eq!(without_primary(&log), 0);
}

#[test]
fn a_worn_device_is_given_up() {
    let mut log = Log::running();
    let leader = Leader::elected();
    let device = DeviceId(1);
    let incarnation = log.state.map().devices[&device].incarnation;
    let count = DEVICE_ERRORS_MAX as u32;
    log.put(Change::DeviceError { device, incarnation, count, error: "EIO".into(), report: 1 }).expect("counted");
    leader.act(&mut log);
    assert_eq!(log.state.map().devices[&device].state, DeviceState::Failed);
}

#[test]
fn sessions_whose_lease_is_over_are_closed() {
    let mut log = Log::running();
    let mut leader = Leader::elected();
    let Ok(Done::Session(id)) = log.put(Change::OpenSession { nonce: 1, name: "a".into() }) else { panic!("not opened") };
    leader.sessions_over.insert(id);
    assert_eq!(leader.act(&mut log), [Change::CloseSession { session: id }]);
    assert!(leader.act(&mut log).is_empty());
}
