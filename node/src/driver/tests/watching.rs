//! What watches over drivers: devices that hang, pauses, a fabric that stands.

use super::*;

fn watched(place: Place, inbox: &Arc<DriverInbox>, store: &Memory) -> Watched {
    let fails = store.clone();
    let fail = Box::new(move |reason: &str| Store::fail(&fails, reason));
    Watched { device: place.device, incarnation: place.incarnation, inbox: inbox.clone(), busy_since: Box::new(|| None), fail }
}

#[test]
fn a_pause_of_the_process_and_a_stall_of_everything_fail_no_device() {
    let store = Memory::default();
    let around = driver(&store).around.clone();
    let busy = |place| {
        let since = Instant::now();
        Watched { busy_since: Box::new(move || Some(since)), ..watched(place, &Arc::default(), &store) }
    };
    let idle = watched(OTHER, &Arc::default(), &store);
    let start = Instant::now();
    let mut paused = Watch::new(around.clone(), vec![busy(PLACE), idle], 1.0, Box::new(Vec::new));
    assert_eq!(paused.look(start), Ok(()));
    assert_eq!(paused.look(start + 3 * HANG_MAX), Ok(()), "it did not run all that time");
    let mut stalled = Watch::new(around.clone(), vec![busy(PLACE), busy(OTHER)], 1.0, Box::new(Vec::new));
    for second in 0..HANG_MAX.as_secs() {
        assert_eq!(stalled.look(start + Duration::from_secs(second)), Ok(()));
    }
    assert!(stalled.look(start + HANG_MAX + Duration::from_secs(1)).is_err(), "the lease is not renewed");
    assert!(around.reports.with(|pending| pending.failed.is_empty()));
}

#[test]
fn a_device_that_hangs_is_given_up_alone_and_says_nothing_when_it_wakes() {
    let (store, (post, sent)) = (Memory::default(), mpsc::channel());
    let mut driver = driver_in(cluster_with_two(OTHER.device), &store, post);
    driver.turn(Vec::new(), Vec::new()).expect("the device works");
    let gate = Arc::new((Barrier::new(2), Barrier::new(2)));
    store.held(|held| held.gate = Some(gate.clone()));
    let (around, inbox) = (driver.around.clone(), driver.inbox.clone());
    assert!(inbox.offer_peer(redo(), 1));
    let thread = std::thread::spawn(move || driver.run());
    gate.0.wait();
    let (waiting, answer) = request(2, put(Condition::Always));
    inbox.offer_client(waiting).expect("there is room");
    let other = Arc::<DriverInbox>::default();
    let devices = vec![watched(PLACE, &inbox, &store), watched(OTHER, &other, &Memory::default())];
    let mut watch = Watch::new(around.clone(), devices, 1.0, Box::new(Vec::new));
    let given_up = || around.reports.with(|pending| pending.failed.iter().map(|(id, end)| (*id, end.how)).collect::<Vec<_>>());
    let start = Instant::now();
    for second in 0..HANG_MAX.as_secs() {
        assert_eq!((watch.look(start + Duration::from_secs(second)), given_up()), (Ok(()), Vec::new()));
    }
    let late = start + HANG_MAX + Duration::from_secs(1);
    assert_eq!((watch.look(late), given_up()), (Ok(()), vec![(PLACE.device, HowEnded::Hangs)]), "and the lease is renewed for the others");
    assert!(matches!(answer.try_recv(), Ok(Err(Refusal::Busy(_)))));
    assert!(inbox.offer_client(request(3, put(Condition::Always)).0).is_err());
    assert!(other.offer_client(request(4, put(Condition::Always)).0).is_ok());
    assert_eq!(watch.woken(), None, "it hangs still");
    gate.1.wait();
    thread.join().expect("it ends");
    assert!(store.held(|held| !held.log.is_empty()), "it was written after all");
    assert_eq!(given_up(), vec![(PLACE.device, HowEnded::Hangs)], "its end is no other failure");
    assert_eq!(watch.woken(), None, "HA has not said that it is away");
    let mut view = ClusterView::clone(&around.views.now());
    Arc::make_mut(&mut view.map).devices.get_mut(&PLACE.device).expect("it").state = DeviceState::Transient;
    around.views.publish(view);
    assert_eq!(watch.woken(), Some(PLACE.device), "whoever starts again can use it");
    let said: Vec<Message> = sent.try_iter().flatten().map(|envelope| envelope.message).collect();
    assert!(!said.iter().any(|message| matches!(message, Message::Persistent { upto: Seq(1), .. })), "{said:?}");
}

#[test]
fn a_fabric_that_makes_no_turns_is_not_vouched_for() {
    let around = driver(&Memory::default()).around.clone();
    let turns = Arc::new(Mutex::new(vec![1, 1]));
    let seen = turns.clone();
    let mut watch = Watch::new(around.clone(), Vec::new(), 1.0, Box::new(move || seen.lock().expect("a lock").clone()));
    let (now, lease) = (Instant::now(), around.lease.timing().lease);
    assert_eq!(watch.look(now), Ok(()));
    *turns.lock().expect("a lock") = vec![1, 2];
    assert_eq!(watch.look(now + lease), Ok(()));
    let stands = watch.look(now + lease + Duration::from_millis(1)).expect_err("the first shard stands");
    assert!(stands.contains("shard 0"), "{stands}");
    *turns.lock().expect("a lock") = vec![2, 2];
    assert_eq!(watch.look(now + lease + Duration::from_millis(2)), Ok(()));
}
