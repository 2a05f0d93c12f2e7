//! The verbs of a client on a cluster in memory, whole and broken.

use std::sync::Arc;
use std::time::Duration;

use types::keys::kind;
use types::state::{DeviceState, ProcessState};
use types::wire::request::Refusal;
use types::{Epoch, NodeId};

use crate::fake::{Fake, Health};
use crate::*;

mod near;
mod transactions;
mod uploads;

const BUCKET: &str = "default";
const MIB: usize = 1024 * 1024;

async fn client(fake: &Arc<Fake>) -> Client {
    let options = Options { timeout: Duration::from_secs(10), memory_bytes: 64 * MIB, ..Options::default() };
    Client::with(fake.clone(), fake.clone(), options).await.expect("connects")
}

fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

async fn put(client: &Client, name: &str, bytes: &[u8]) -> Result<ObjectInfo, Error> {
    client.put(BUCKET, name.as_bytes(), bytes, Some(bytes.len() as u64), &PutOptions::default()).await
}

async fn get(client: &Client, name: &str, range: Option<Range>) -> Result<Vec<u8>, Error> {
    client.get(BUCKET, name.as_bytes(), range).await?.bytes().await
}

#[tokio::test(start_paused = true)]
async fn every_size_comes_back_equal_whether_its_length_was_known_or_not() {
    let fake = Fake::new();
    let client = client(&fake).await;
    for size in [0, 1, 4095, 65_536, 65_537, 262_144, MIB, MIB + 1, 5 * MIB + 3, 17 * MIB + 4097] {
        let bytes = pattern(size, size as u32);
        let known = put(&client, "known", &bytes).await.expect("puts");
        let unknown = client.put(BUCKET, b"unknown", &bytes[..], None, &PutOptions::default()).await.expect("puts");
        assert_eq!((known.size, known.checksum), (unknown.size, unknown.checksum));
        assert_eq!(known.parts.is_empty(), size <= 65_536, "small objects lie in their record");
        assert!(get(&client, "known", None).await.expect("gets") == bytes, "{size}");
        assert!(get(&client, "unknown", None).await.expect("gets") == bytes, "{size}");
    }
    assert_eq!(fake.rows_of_kind(kind::PENDING), 0, "a commit takes the pending rows away");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_pool_is_an_error_whatever_the_size() {
    let client = client(&Fake::new()).await;
    for size in [0, 10, 100_000] {
        let put = async |pool: &str| {
            let options = PutOptions { pool: Some(pool.into()), ..PutOptions::default() };
            client.put(BUCKET, b"a", &pattern(size, 1)[..], Some(size as u64), &options).await
        };
        assert!(matches!(put("nope").await, Err(Error::NotFound(_))), "{size}");
        assert!(matches!(put("meta").await, Err(Error::Invalid(_))), "{size}");
        put("second").await.expect("is there");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_several_parts_comes_back_equal() {
    let fake = Fake::new();
    let client = client(&fake).await;
    let bytes = pattern(130 * MIB + 5, 1);
    let info = put(&client, "large", &bytes).await.expect("puts");
    assert_eq!(info.parts.len(), 3);
    assert!(get(&client, "large", None).await.expect("gets") == bytes);
}

#[tokio::test(start_paused = true)]
async fn ranges_are_exact() {
    let fake = Fake::new();
    let client = client(&fake).await;
    let bytes = pattern(5 * MIB + 3, 9);
    put(&client, "a", &bytes).await.expect("puts");
    for (first, last) in [(0, 0), (65_535, 65_536), (1, MIB), (4 * MIB - 1, 4 * MIB), (5 * MIB, 5 * MIB + 2), (100_000, 5_200_000)] {
        let range = Some(Range::FromTo(first as u64, last as u64));
        assert!(get(&client, "a", range).await.expect("gets") == bytes[first..=last], "{first}-{last}");
        fake.set(2, Some(Health::Down));
        assert!(get(&client, "a", range).await.expect("gets degraded") == bytes[first..=last], "{first}-{last}");
        fake.set(2, None);
    }
    assert!(matches!(get(&client, "a", Some(Range::From(bytes.len() as u64))).await, Err(Error::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn a_write_goes_on_in_the_second_pool_when_a_node_freezes_in_the_middle() {
    for after in [0, 1, 7, 20] {
        let fake = Fake::new();
        // The metadata's primaries stay reachable: what is frozen here serves units only.
        fake.lock().map.devices.get_mut(&types::DeviceId(3)).expect("is there").node = NodeId(2);
        move_primaries_away(&fake, NodeId(2));
        let client = client(&fake).await;
        fake.lock().freeze_after_units = Some((NodeId(2), after));
        let bytes = pattern(40 * MIB + 11, 3);
        let began = tokio::time::Instant::now();
        let info = put(&client, "a", &bytes).await.expect("puts");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert!(info.pools().contains(&sample::SECOND), "{:?}", info.parts);
        assert!(get(&client, "a", None).await.expect("gets") == bytes);
        assert_eq!(fake.rows_of_kind(kind::PENDING), 0, "what was left behind was abandoned");
    }
}

fn move_primaries_away(fake: &Fake, from: NodeId) {
    let mut world = fake.lock();
    let devices: Vec<_> = world.map.devices.values().filter(|d| d.node != from).map(|d| d.id).collect();
    for group in world.map.groups.values_mut() {
        if let types::map::Group::Replicated(view) = group
            && let Some(primary) = &mut view.primary
            && !devices.contains(&primary.device)
        {
            primary.device = devices[0];
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reads_go_on_while_a_node_is_away_frozen_or_lies() {
    let fake = Fake::new();
    move_primaries_away(&fake, NodeId(2));
    let client = client(&fake).await;
    let bytes = pattern(9 * MIB, 4);
    put(&client, "a", &bytes).await.expect("puts");
    for health in [Health::Down, Health::Frozen] {
        fake.set(2, Some(health));
        let began = tokio::time::Instant::now();
        assert!(get(&client, "a", None).await.expect("gets") == bytes);
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    fake.set(2, None);
    fake.lock().damaged = [1, 4].map(types::DeviceId).into();
    assert!(get(&client, "a", None).await.expect("gets") == bytes);
}

#[tokio::test(start_paused = true)]
async fn more_damage_than_the_scheme_rebuilds_is_an_error_and_never_a_wrong_byte() {
    let fake = Fake::new();
    let client = client(&fake).await;
    put(&client, "a", &pattern(9 * MIB, 4)).await.expect("puts");
    fake.lock().damaged = [1, 2, 4].map(types::DeviceId).into();
    assert!(matches!(get(&client, "a", None).await, Err(Error::Corrupt { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_under_the_same_id() {
    let fake = Fake::new();
    let client = client(&fake).await;
    client.create(CatalogueKind::Index, "people", None).await.expect("creates");
    for node in 1..=3 {
        fake.set(node, Some(Health::Mute));
    }
    let (put, ()) = tokio::join!(client.index_put("people", b"ada", b"1815", Condition::Absent), async {
        tokio::time::sleep(Duration::from_millis(1600)).await;
        (1..=3).for_each(|node| fake.set(node, None));
    });
    put.expect("the first attempt's outcome, not a refusal of the second");
    assert_eq!(client.index_get("people", b"ada").await.expect("gets").expect("is there").value, b"1815");
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_goes_on_soon_when_its_primaries_are_cut_off_and_others_took_over() {
    let fake = Fake::new();
    let client = client(&fake).await;
    put(&client, "a", b"one").await.expect("puts");
    fake.set(2, Some(Health::Frozen));
    fake.lock().map.index += 1;
    move_primaries_away(&fake, NodeId(2));
    let soon = Duration::from_millis(400);
    let began = tokio::time::Instant::now();
    let puts = (0..8).map(|number| {
        let (client, name) = (&client, format!("b{number}"));
        async move { put(client, &name, b"two").await }
    });
    for done in futures::future::join_all(puts).await {
        done.expect("puts");
    }
    assert!(began.elapsed() < soon, "{:?}", began.elapsed());

    // One that is waiting when others take over goes on when it learns of it.
    fake.set(1, Some(Health::Mute));
    let began = tokio::time::Instant::now();
    let request = ListRequest::default();
    let (lists, ()) = tokio::join!(client.list(BUCKET, &request), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        fake.lock().map.index += 1;
        move_primaries_away(&fake, NodeId(1));
        fake.lock().health.clear();
    });
    assert_eq!(lists.expect("lists").objects.len(), 9);
    assert!(began.elapsed() < Duration::from_millis(700) + soon, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_when_its_primary_was_replaced_is_asked_for_again_or_unknown() {
    let fake = Fake::new();
    let client = client(&fake).await;
    client.create(CatalogueKind::Index, "people", None).await.expect("creates");
    let in_doubt = || Refusal::InDoubt { reason: "the view has ended".into(), epoch: Epoch(0) };
    fake.lock().then_told.push_back(in_doubt());
    let put = client.index_put("people", b"ada", b"1815", Condition::Absent).await;
    put.expect("the first attempt's outcome, not a refusal of the second");

    // Nobody can say any more: it is not said that nothing happened.
    fake.lock().then_told.push_back(in_doubt());
    let (put, ()) = tokio::join!(client.index_put("people", b"bob", b"1", Condition::Always), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        fake.lock().all_told = Some(Refusal::Busy("the view is being taken up".into()));
    });
    assert!(matches!(put, Err(Error::OutcomeUnknown { .. })), "{put:?}");
    let put = client.index_put("people", b"eve", b"1", Condition::Always).await;
    assert!(matches!(put, Err(Error::Unavailable { .. })), "one that was only ever refused has changed nothing: {put:?}");

    // A session that was closed meanwhile does not have it done twice under another name.
    fake.lock().all_told = None;
    fake.lock().then_told.push_back(in_doubt());
    let (put, ()) = tokio::join!(client.index_put("people", b"joe", b"1", Condition::Always), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let sessions = fake.lock().sessions;
        fake.lock().all_told = Some(Refusal::Fenced(types::SessionId(sessions)));
    });
    assert!(matches!(put, Err(Error::OutcomeUnknown { .. })), "{put:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_past_its_deadline() {
    let fake = Fake::new();
    let client = client(&fake).await;
    let bytes = pattern(3 * MIB, 1);
    put(&client, "a", &bytes).await.expect("puts");
    client.ensure(CatalogueKind::Index, "people").await.expect("creates");
    for health in [Health::Down, Health::Frozen] {
        (1..=3).for_each(|node| fake.set(node, Some(health)));
        let began = tokio::time::Instant::now();
        let results = tokio::join!(
            async { put(&client, "b", &bytes).await.map(drop) },
            async { get(&client, "a", None).await.map(drop) },
            async { client.stat(BUCKET, b"a").await.map(drop) },
            client.delete(BUCKET, b"a", Condition::Always),
            async { client.list(BUCKET, &ListRequest::default()).await.map(drop) },
            async { client.index_put("people", b"k", b"v", Condition::Always).await.map(drop) },
        );
        let all = [results.0, results.1, results.2, results.3.map(drop), results.4, results.5];
        assert!(began.elapsed() <= Duration::from_secs(25), "{:?}", began.elapsed());
        for result in all {
            let error = result.expect_err("nobody serves");
            assert!(matches!(error, Error::Unavailable { .. } | Error::OutcomeUnknown { .. }), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn conditions_of_puts_and_deletes_hold() {
    let fake = Fake::new();
    let client = client(&fake).await;
    let bytes = pattern(200_000, 1);
    let absent = PutOptions { condition: Condition::Absent, ..PutOptions::default() };
    let first = client.put(BUCKET, b"a", &bytes[..], None, &absent).await.expect("puts");
    let again = client.put(BUCKET, b"a", &bytes[..], None, &absent).await;
    assert!(matches!(again, Err(Error::Condition { current: Some(version), .. }) if version == first.version));
    assert_eq!(fake.rows_of_kind(kind::PENDING), 0, "a clean failure abandons its fids");
    assert_eq!(fake.rows_of_kind(kind::DEAD), 1);
    let wrong = Condition::Version(types::Seq(first.version.0 + 1));
    assert!(matches!(client.delete(BUCKET, b"a", wrong).await, Err(Error::Condition { .. })));
    client.delete(BUCKET, b"a", Condition::Version(first.version)).await.expect("deletes");
    assert!(matches!(client.delete(BUCKET, b"a", Condition::Always).await, Err(Error::NotFound(_))));
    assert!(matches!(client.stat(BUCKET, b"a").await, Err(Error::NotFound(_))));
    assert!(matches!(client.stat("nowhere", b"a").await, Err(Error::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_closed_is_replaced() {
    let fake = Fake::new();
    let client = client(&fake).await;
    let bytes = pattern(3 * MIB, 1);
    put(&client, "a", &bytes).await.expect("puts");
    fake.lock().closed.insert(types::SessionId(1));
    put(&client, "a", &bytes).await.expect("puts in another session");
    assert_eq!(fake.lock().sessions, 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_after_a_while_and_not_before_what_is_written_in_it() {
    let fake = Fake::new();
    let client = client(&fake).await;
    put(&client, "a", &pattern(3 * MIB, 1)).await.expect("puts");
    let (mut slow, source) = tokio::io::duplex(64 * 1024);
    let writer = {
        let client = client.clone();
        tokio::spawn(async move { client.put(BUCKET, b"slow", source, None, &PutOptions::default()).await })
    };
    for _ in 0..10 {
        tokio::io::AsyncWriteExt::write_all(&mut slow, &pattern(MIB, 2)).await.expect("takes them");
        tokio::time::sleep(Duration::from_secs(200)).await;
    }
    put(&client, "b", &pattern(3 * MIB, 3)).await.expect("puts");
    assert_eq!(fake.lock().sessions, 2, "another one for new work");
    assert_eq!(fake.lock().closed, std::collections::BTreeSet::new(), "and the first goes on");
    drop(slow);
    writer.await.expect("ends").expect("puts");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(fake.lock().closed.contains(&types::SessionId(1)), "nobody writes in the first any more");
    tokio::time::sleep(Duration::from_secs(2000)).await;
    assert!(fake.lock().closed.contains(&types::SessionId(2)), "also where nothing new is written");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_replaced_while_it_is_read_fails_loudly() {
    let fake = Fake::new();
    let client = client(&fake).await;
    let bytes = pattern(70 * MIB, 1);
    put(&client, "a", &bytes).await.expect("puts");
    let mut reader = client.get(BUCKET, b"a", None).await.expect("opens");
    reader.next().await.expect("reads").expect("has bytes");
    let old: Vec<_> = reader.info().parts.iter().map(|part| part.fid).collect();
    put(&client, "a", &bytes[..100_000]).await.expect("puts");
    fake.lock().units.retain(|(_, fid, _), _| !old.contains(fid));
    assert!(matches!(reader.bytes().await, Err(Error::Replaced(_))));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_is_used_again() {
    let fake = Fake::new();
    move_primaries_away(&fake, NodeId(2));
    sample::take_away(&mut fake.lock().map, NodeId(2));
    let client = client(&fake).await;
    let bytes = pattern(MIB, 1);
    assert_eq!(put(&client, "a", &bytes).await.expect("puts").pools(), [sample::SECOND]);
    {
        let mut world = fake.lock();
        world.map.nodes.get_mut(&NodeId(2)).expect("is there").state = ProcessState::Online;
        world.map.devices.values_mut().for_each(|d| d.state = DeviceState::Online);
        world.map.index += 1;
        world.map.epoch = Epoch(10);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    put(&client, "b", &bytes).await.expect("puts");
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(put(&client, "c", &bytes).await.expect("puts").pools(), [sample::DATA]);
}

#[tokio::test(start_paused = true)]
async fn listings_go_through_pages_and_roll_up() {
    let fake = Fake::new();
    let client = client(&fake).await;
    let names = ["a/1", "a/2", "a/b/3", "b", "c/4", "d", "d0", "e/", "e/f"];
    for name in names {
        put(&client, name, name.as_bytes()).await.expect("puts");
    }
    for limit in 1..=10 {
        let mut request = ListRequest { limit, ..ListRequest::default() };
        let mut seen = Vec::new();
        loop {
            let page = client.list(BUCKET, &request).await.expect("lists");
            assert!(page.objects.len() <= limit);
            seen.extend(page.objects.into_iter().map(|info| String::from_utf8(info.name).expect("text")));
            match page.next {
                Some(token) => request.after = Some(token),
                None => break,
            }
        }
        assert_eq!(seen, names, "limit {limit}");
        let mut request = ListRequest { limit, delimiter: Some(b"/".to_vec()), ..ListRequest::default() };
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        loop {
            let page = client.list(BUCKET, &request).await.expect("lists");
            assert!(page.objects.len() + page.prefixes.len() <= limit);
            objects.extend(page.objects.into_iter().map(|info| String::from_utf8(info.name).expect("text")));
            prefixes.extend(page.prefixes.into_iter().map(|prefix| String::from_utf8(prefix).expect("text")));
            match page.next {
                Some(token) => request.after = Some(token),
                None => break,
            }
        }
        assert_eq!((objects, prefixes), (vec!["b".into(), "d".into(), "d0".into()], vec!["a/".into(), "c/".into(), "e/".into()]));
    }
    let below =
        client.list(BUCKET, &ListRequest { prefix: b"a/".to_vec(), delimiter: Some(b"/".to_vec()), ..ListRequest::default() }).await;
    let below = below.expect("lists");
    assert_eq!((below.objects.len(), below.prefixes), (2, vec![b"a/b/".to_vec()]));
}

#[tokio::test(start_paused = true)]
async fn indices_keep_keys_and_conditions() {
    let fake = Fake::new();
    let client = client(&fake).await;
    client.create(CatalogueKind::Index, "people", None).await.expect("creates");
    assert!(matches!(client.create(CatalogueKind::Index, "people", None).await, Err(Error::Exists(_))));
    let version = client.index_put("people", b"ada", b"1815", Condition::Absent).await.expect("puts");
    assert!(matches!(client.index_put("people", b"ada", b"0", Condition::Absent).await, Err(Error::Condition { .. })));
    client.index_put("people", b"ada", b"1816", Condition::Version(version)).await.expect("puts");
    client.index_put("people", b"alan", b"1912", Condition::Always).await.expect("puts");
    let page = client.index_scan("people", &ScanRequest { limit: 1, ..ScanRequest::default() }).await.expect("scans");
    assert_eq!((page.entries.len(), page.next.as_deref()), (1, Some(&b"ada\0"[..])));
    let rest = ScanRequest { from: page.next.expect("has more"), ..ScanRequest::default() };
    assert_eq!(client.index_scan("people", &rest).await.expect("scans").entries[0].key, b"alan");
    client.index_delete("people", b"ada", Condition::Always).await.expect("deletes");
    assert_eq!(client.index_get("people", b"ada").await.expect("gets"), None);
    assert!(matches!(client.index_put("people", &[b'k'; 1025], b"", Condition::Always).await, Err(Error::Invalid(_))));
    assert!(matches!(client.index_put("people", b"k", &[0; 65_537], Condition::Always).await, Err(Error::Invalid(_))));
    client.remove(CatalogueKind::Index, "people").await.expect("drops");
    assert!(matches!(client.index_get("people", b"alan").await, Err(Error::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn what_is_encrypted_is_as_large_as_it_was_and_read_by_those_only_who_can_decrypt_it() {
    use types::object::{ENCRYPTION, PLAIN_BYTES};
    let fake = Fake::new();
    let client = client(&fake).await;
    for size in [100, MIB] {
        let bytes = pattern(size, 5);
        let word = |name: &str, value: String| (name.to_owned(), value);
        let options = PutOptions { user_metadata: vec![word(ENCRYPTION, "cluster x".into())], ..PutOptions::default() };
        let at_end = || Some(vec![word(PLAIN_BYTES, "77".into())]);
        let put = client.put_described(BUCKET, b"a", &bytes[..], None, &options, at_end).await.expect("puts");
        assert_eq!((put.size, put.is_encrypted()), (77, true));
        assert_eq!(client.stat(BUCKET, b"a").await.expect("is there").size, 77);
        assert!(matches!(get(&client, "a", None).await, Err(Error::Refused(_))));
        let mut stored = client.get_stored(BUCKET, b"a", None).await.expect("opens");
        assert_eq!((stored.stored(), stored.left()), (size as u64, size as u64));
        stored.narrow(Range::FromTo(90, 99)).expect("a range of what lies there");
        assert!(stored.bytes().await.expect("reads") == bytes[90..100]);
        assert!(client.get_stored(BUCKET, b"a", None).await.expect("opens").bytes().await.expect("reads") == bytes);
    }
}
