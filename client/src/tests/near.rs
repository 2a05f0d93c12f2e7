//! Reads from members that are near.

use super::*;

async fn near(fake: &Arc<Fake>, node: Option<NodeId>) -> Client {
    let options = Options { timeout: Duration::from_secs(10), read: ReadFrom::Nearest, near: node, ..Options::default() };
    let client = Client::with(fake.clone(), fake.clone(), options).await.expect("connects");
    client.ensure(CatalogueKind::Index, "people").await.expect("there");
    client.index_put("people", b"k", b"v", Condition::Always).await.expect("puts");
    client
}

async fn get(client: &Client) -> Option<Vec<u8>> {
    client.index_get("people", b"k").await.expect("reads").map(|entry| entry.value)
}

#[tokio::test(start_paused = true)]
async fn a_member_at_the_clients_own_node_is_asked_and_else_any_by_turns() {
    let fake = Fake::new();
    let client = near(&fake, None).await;
    for _ in 0..40 {
        assert_eq!(get(&client).await, Some(b"v".to_vec()));
    }
    let asked: std::collections::BTreeSet<_> = fake.lock().read_near.drain(..).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    let here = *asked.iter().next().expect("one");
    let node = fake.lock().map.node_of(here).expect("a node").id;
    let client = near(&fake, Some(node)).await;
    for _ in 0..10 {
        assert_eq!(get(&client).await, Some(b"v".to_vec()));
    }
    assert!(fake.lock().read_near.iter().all(|device| *device == here));
}

#[tokio::test(start_paused = true)]
async fn where_no_member_can_the_primary_is_read() {
    let fake = Fake::new();
    let client = near(&fake, None).await;
    let devices: Vec<_> = fake.lock().map.devices.keys().copied().collect();
    fake.lock().lagging.extend(devices);
    for _ in 0..10 {
        assert_eq!(get(&client).await, Some(b"v".to_vec()));
    }
    assert_eq!(fake.lock().read_near.len(), 10);
}
