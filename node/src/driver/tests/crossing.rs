//! Transactions over several groups: a part goes out, and comes in.

use super::*;

const SECOND: GroupId = GroupId { pool: PoolId(1), index: 1 };

/// The cluster, and a second group that has its one member on the other node.
fn cluster_with_second_group() -> ClusterView {
    let mut view = cluster_with_two(PLACE.device);
    let mut map = ClusterMap::clone(&view.map);
    let mut groups = [GROUP, SECOND].map(|group| (group, map.view(GROUP).expect("it is there").clone()));
    groups[0].1.learners.clear();
    (groups[1].1.members, groups[1].1.old) = (vec![OTHER.device], vec![OTHER.device]);
    (groups[1].1.learners, groups[1].1.primary) = (Vec::new(), Some(Primary { device: OTHER.device, boot: OTHER.boot }));
    map.groups = groups.into_iter().map(|(group, view)| (group, Group::Replicated(view))).collect();
    view.map = Arc::new(map);
    view
}

fn from_second(to: GroupId, message: Message) -> Envelope {
    Envelope { group: to, from: OTHER.device, to: PLACE.device, boot: OTHER.boot, incarnation: OTHER.incarnation, message }
}

#[test]
fn a_part_goes_to_the_primary_of_its_group_and_the_client_waits_for_its_word() {
    let (store, (post, sent)) = (Memory::default(), mpsc::channel());
    let mut driver = driver_in(cluster_with_second_group(), &store, post);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    let (mut request, answer) = request(1, put(Condition::Absent));
    let writes = vec![Write::Put { row: row(), value: b"there".to_vec() }];
    request.execute.parts = vec![(SECOND, writes.clone())];
    driver.turn(vec![request], Vec::new()).expect("the device works");
    assert!(answer.try_recv().is_err(), "a part is not STABLE");
    let envelopes: Vec<Envelope> = sent.try_iter().flatten().collect();
    let [Envelope { group: SECOND, to, message: Message::Part { view: VIEW, part }, .. }] = &envelopes[..] else { panic!("{envelopes:?}") };
    assert_eq!((*to, part.coordinator, part.seq, &part.writes), (OTHER.device, GROUP, Seq(1), &writes));
    store.held(|held| assert!(held.rows.keys().any(|key| key.catalogue == ::dtm::crossing::UNFINISHED)));
    let said = from_second(GROUP, Message::PartStable { view: VIEW, participant: SECOND, seq: Seq(1) });
    driver.turn(Vec::new(), vec![said]).expect("the device works");
    assert!(matches!(answer.try_recv(), Ok(Ok(Outcome::Done { version: Seq(1), .. }))));
    store.held(|held| {
        assert_eq!(held.log[&Seq(2)].coordination, Coordination::Done { seq: Seq(1) });
        assert!(!held.rows.keys().any(|key| key.catalogue == ::dtm::crossing::UNFINISHED), "it is done");
    });
}

#[test]
fn a_part_is_done_and_said_but_for_what_a_drop_took_away() {
    let (store, (post, sent)) = (Memory::default(), mpsc::channel());
    let mut driver = driver_in(cluster_with_second_group(), &store, post);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    let gone = RowKey { catalogue: CatalogueId(2), ..row() };
    let part = types::wire::dtm::Part {
        dtx: DtxId { session: SessionId(5), counter: 1, at: HaTime(1000) },
        coordinator: SECOND,
        seq: Seq(7),
        low: Seq(7),
        writes: vec![Write::Put { row: row(), value: b"v".to_vec() }, Write::Put { row: gone.clone(), value: b"v".to_vec() }],
    };
    driver.turn(Vec::new(), vec![from_second(GROUP, Message::Part { view: VIEW, part })]).expect("the device works");
    let envelopes: Vec<Envelope> = sent.try_iter().flatten().collect();
    let [Envelope { group: SECOND, to, message, .. }] = &envelopes[..] else { panic!("{envelopes:?}") };
    assert_eq!((*to, message), (OTHER.device, &Message::PartStable { view: VIEW, participant: GROUP, seq: Seq(7) }));
    store.held(|held| assert!(held.rows.contains_key(&row()) && !held.rows.contains_key(&gone)));
}
