//! Transactions over keys of several groups.

use super::*;

const INDEX: &str = "people";

async fn value(client: &Client, key: &[u8]) -> Option<Vec<u8>> {
    client.index_get(INDEX, key).await.expect("reads").map(|entry| entry.value)
}

#[tokio::test(start_paused = true)]
async fn puts_and_deletes_of_many_groups_are_done_together() {
    let client = client(&Fake::new()).await;
    client.create(CatalogueKind::Index, INDEX, None).await.expect("creates");
    let keys: Vec<Vec<u8>> = (0..20u8).map(|n| vec![b'k', n]).collect();
    let mut transaction = Transaction::new();
    for key in &keys {
        transaction.put(INDEX, key, b"first");
    }
    let committed = client.commit(&transaction).await.expect("commits");
    assert_eq!((committed.changes, committed.groups), (20, 4), "the fake's indices are four groups wide");
    let mut transaction = Transaction::new();
    transaction.delete(INDEX, &keys[0]).put(INDEX, &keys[1], b"second").delete(INDEX, b"nobody");
    client.commit(&transaction).await.expect("commits");
    assert_eq!((value(&client, &keys[0]).await, value(&client, &keys[1]).await), (None, Some(b"second".to_vec())));
    assert_eq!(value(&client, &keys[2]).await, Some(b"first".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_does_not_hold_leaves_all_groups_as_they_are() {
    let client = client(&Fake::new()).await;
    client.create(CatalogueKind::Index, INDEX, None).await.expect("creates");
    let mut transaction = Transaction::new();
    for n in 0..20u8 {
        transaction.put(INDEX, &[b'k', n], b"v");
    }
    transaction.put_if(INDEX, b"there", b"v", Condition::Present);
    match client.commit(&transaction).await {
        Err(Error::Condition { what, current: None }) => assert!(what.contains("key there of index people"), "{what}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(value(&client, &[b'k', 3]).await, None);
    client.index_put(INDEX, b"there", b"v", Condition::Always).await.expect("puts");
    client.commit(&transaction).await.expect("commits");
    assert_eq!(value(&client, &[b'k', 3]).await, Some(b"v".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn conditions_in_two_groups_nothing_and_too_much_are_refused() {
    let client = client(&Fake::new()).await;
    client.create(CatalogueKind::Index, INDEX, None).await.expect("creates");
    let mut transaction = Transaction::new();
    for n in 0..20u8 {
        transaction.put_if(INDEX, &[b'k', n], b"v", Condition::Absent);
    }
    assert!(matches!(client.commit(&transaction).await, Err(Error::Invalid(what)) if what.contains("different groups")));
    assert!(matches!(client.commit(&Transaction::new()).await, Err(Error::Invalid(_))));
    let mut transaction = Transaction::new();
    for n in 0..30u8 {
        transaction.put(INDEX, &[b'k', n], &[0; 60_000]);
    }
    assert!(matches!(client.commit(&transaction).await, Err(Error::Invalid(what)) if what.contains("at most")));
    assert!(matches!(client.commit(Transaction::new().put("nope", b"k", b"v")).await, Err(Error::NotFound(_))));
}
