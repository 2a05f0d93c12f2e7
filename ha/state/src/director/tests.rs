//! What the leader proposes, and what it does not propose yet.

use types::GroupId;
use types::state::{DeviceState, ProcessState};

use super::*;
use crate::command::{DeviceWish, MemberChange};
use crate::lease::Timing;
use crate::outcome::Done;
use crate::sample::{GROUPS, Log, META, PLACERS, topology};

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

    fn seen(&self, ha_time: HaTime) -> Observations<'_> {
        Observations {
            now: self.now,
            ha_time,
            wall_ms: 0,
            leases: &self.leases,
            ended: &self.ended,
            confirmed: &self.confirmed,
            sessions_over: &self.sessions_over,
        }
    }

    fn propose(&self, log: &Log) -> Proposals {
        let seen = self.seen(HaTime(log.state.ha_time().0 + 1));
        propose(&log.state, &seen, PLACERS)
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
    let seen = leader.seen(log.state.ha_time());
    let out = propose(&log.state, &seen, Placers { groups: &|_, _| Err("too few nodes".into()), ..PLACERS });
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

fn view_of(log: &Log, index: u32) -> types::map::GroupView {
    log.state.map().view(GroupId { pool: META, index }).expect("a view").clone()
}

/// Leader, processes and primaries go on until nothing is left to do; at each step at most so many learners there were.
fn settle(leader: &mut Leader, log: &mut Log) -> usize {
    let mut most = 0;
    for _ in 0..100 {
        leader.confirmed = (1..=3).map(|node| (log.boot(node), log.state.index())).collect();
        let acted = !leader.act(log).is_empty();
        log.activate();
        let learners: Vec<(u32, DeviceId)> = (0..GROUPS).filter_map(|i| Some((i, *view_of(log, i).learners.first()?))).collect();
        most = most.max(learners.len());
        for (index, learner) in &learners {
            log.fill(*index, *learner).expect("filled");
        }
        if !acted && learners.is_empty() {
            return most;
        }
    }
    panic!("it does not come to rest");
}

fn groups_on(log: &Log, device: DeviceId) -> usize {
    (0..GROUPS).filter(|i| view_of(log, *i).members.contains(&device)).count()
}

#[test]
fn the_groups_of_a_failed_device_move_to_others_one_member_at_a_time() {
    let (mut log, mut leader) = (Log::running(), Leader::elected());
    let failed = DeviceId(1);
    let had = groups_on(&log, failed);
    let incarnation = log.state.map().devices[&failed].incarnation;
    log.put(Change::DeviceFailed { device: failed, incarnation, ended: true, reason: "sync failed".into() }).expect("failed");
    assert_eq!(groups_on(&log, failed), had, "not before they are filled");
    let at_once = settle(&mut leader, &mut log);
    assert!(had > 0 && at_once > 0 && at_once <= members::REPLACEMENTS_MAX);
    assert_eq!(groups_on(&log, failed), 0);
    for index in 0..GROUPS {
        let view = view_of(&log, index);
        let nodes: BTreeSet<_> = view.members.iter().map(|m| log.state.map().devices[m].node).collect();
        assert_eq!((nodes.len(), view.active), (3, view.number), "{view:?}");
        assert!(view.primary.is_some());
    }
    assert!(leader.act(&mut log).is_empty());
    // The groups of 4+2 are on all six devices: nobody is left for a slot.
    let warnings = leader.propose(&log).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("the slots of dev-1"), "{warnings:?}");
}

#[test]
fn a_device_that_is_to_be_replaced_serves_until_another_has_what_it_has() {
    let (mut log, mut leader) = (Log::running(), Leader::elected());
    let index = (0..GROUPS).find(|i| view_of(&log, *i).primary.is_some()).expect("a group");
    let device = view_of(&log, index).primary.expect("a primary").device;
    let incarnation = log.state.map().devices[&device].incarnation;
    let ask = |wish| Change::AskDevice { device, incarnation, wish };
    assert_eq!(log.put(ask(DeviceWish::Replace)), Ok(Done::Changed));
    assert_eq!(log.put(ask(DeviceWish::Replace)), Ok(Done::AlreadySo));
    leader.act(&mut log);
    let filling = view_of(&log, index);
    assert_eq!(filling.primary.map(|p| p.device), Some(device), "it is the primary still");
    assert_eq!(filling.learners.len(), 1);
    settle(&mut leader, &mut log);
    assert_eq!(groups_on(&log, device), 0);
    assert!(log.state.leaving().contains(&device));
    // Kept again, it stays without; another device that fails may have it as a place.
    assert_eq!(log.put(ask(DeviceWish::Keep)), Ok(Done::Changed));
    settle(&mut leader, &mut log);
    assert_eq!(groups_on(&log, device), 0);
}

/// A device fails, and a group that had it gets a learner: which group, on which device, of which node.
fn learner_after(failed: DeviceId, log: &mut Log, leader: &mut Leader) -> (u32, DeviceId, u16) {
    let change = fail(log, failed);
    log.put(change).expect("failed");
    leader.act(log);
    log.activate();
    let index = (0..GROUPS).find(|i| !view_of(log, *i).learners.is_empty()).expect("a learner");
    let learner = view_of(log, index).learners[0];
    (index, learner, log.state.map().devices[&learner].node.0)
}

fn fail(log: &Log, device: DeviceId) -> Change {
    let incarnation = log.state.map().devices[&device].incarnation;
    Change::DeviceFailed { device, incarnation, ended: true, reason: "EIO".into() }
}

#[test]
fn a_learner_that_fails_or_is_away_for_long_or_is_not_wanted_any_more_is_given_up() {
    let (mut log, mut leader) = (Log::running(), Leader::elected());
    let failed = DeviceId(1);
    let (index, learner, node) = learner_after(failed, &mut log, &mut leader);
    log.lose(node).expect("lost");
    leader.act(&mut log);
    log.activate();
    assert_eq!(view_of(&log, index).learners, [learner], "it is waited for");
    let later = HaTime(log.state.ha_time().0 + members::LEARNER_AWAY_MS + 10);
    log.put_at(later, Change::AdvanceTime).expect("applied");
    leader.act(&mut log);
    assert!(view_of(&log, index).learners.is_empty(), "not for ever");
    log.start(node);
    log.recover(node);
    log.activate();
    settle(&mut leader, &mut log);
    assert_eq!(groups_on(&log, failed), 0);
    // The only other place is gone, too: an operator hears of it.
    let change = fail(&log, DeviceId(2));
    log.put(change).expect("failed");
    settle(&mut leader, &mut log);
    let warnings = leader.propose(&log).warnings;
    assert!(warnings.iter().any(|w| w.contains("no device is left that could take the groups of dev-2")), "{warnings:?}");
}

#[test]
fn a_learner_that_its_process_serves_without_is_given_up_at_once() {
    let (mut log, mut leader) = (Log::running(), Leader::elected());
    let (index, learner, node) = learner_after(DeviceId(1), &mut log, &mut leader);
    log.lose(node).expect("lost");
    leader.act(&mut log);
    let found = crate::sample::devices(node).map(|id| (id, if id == learner { crate::Found::Unusable } else { log.as_known(id) }));
    log.start_with(node, &found);
    log.recover(node);
    log.activate();
    assert_eq!(log.state.map().devices[&learner].state, DeviceState::Transient);
    leader.act(&mut log);
    assert!(view_of(&log, index).learners.is_empty(), "{:?}", view_of(&log, index));
}

#[test]
fn what_is_away_for_too_long_is_given_up_one_at_a_time_and_only_where_another_could_take_its_place() {
    let (mut log, mut leader) = (Log::running(), Leader::elected());
    log.put(Change::AskCluster(crate::ClusterWish::NodeAway(5000))).expect("taken");
    log.lose(1).expect("lost");
    let later = HaTime(log.state.ha_time().0 + 5000);
    log.put_at(later, Change::AdvanceTime).expect("applied");
    settle(&mut leader, &mut log);
    // Groups of 4+2 are on all six devices.
    let proposals = leader.propose(&log);
    assert!(proposals.commands.is_empty(), "{proposals:?}");
    assert!(proposals.warnings.iter().any(|w| w.contains("dev-1, dev-2 stay away for too long, and no device could")), "{proposals:?}");
    let anywhere = |_: &ClusterMap, _: &SubstituteRequest<'_>| Some(DeviceId(9));
    let seen = leader.seen(log.state.ha_time());
    let proposals = propose(&log.state, &seen, Placers { substitute: &anywhere, ..PLACERS });
    let given_up: Vec<_> = proposals.commands.iter().map(|c| &c.change).collect();
    let incarnation = log.state.map().devices[&DeviceId(1)].incarnation;
    assert_eq!(given_up, [&Change::GiveUp { device: DeviceId(1), incarnation }]);
}

#[test]
fn primaries_leave_a_node_in_maintenance_take_no_place_there_and_return_after_it() {
    let (mut log, mut leader) = (Log::running(), Leader::elected());
    let at_home = |log: &Log| (0..GROUPS).filter(|i| log.node_of_primary(*i) == Some(1)).count();
    let had = at_home(&log);
    assert!(had > 0);
    let later = |log: &mut Log, ms| {
        let at = HaTime(log.state.ha_time().0 + ms);
        log.put_at(at, Change::AdvanceTime).expect("applied");
    };
    later(&mut log, primaries::BALANCE_AFTER_MS);
    log.put(Change::AskNode { node: types::NodeId(1), wish: crate::NodeWish::StartMaintenance }).expect("taken");
    settle(&mut leader, &mut log);
    assert_eq!((at_home(&log), without_primary(&log)), (0, 0));
    assert!(leader.propose(&log).warnings.is_empty());
    later(&mut log, give_up::MAINTENANCE_MS);
    let warnings = leader.propose(&log).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("node-1 is in maintenance for 24 h"), "{warnings:?}");
    log.put(Change::AskNode { node: types::NodeId(1), wish: crate::NodeWish::EndMaintenance }).expect("taken");
    settle(&mut leader, &mut log);
    assert_eq!(at_home(&log), had);
}
