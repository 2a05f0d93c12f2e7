//! Uploads in parts, over the cluster in memory.

use super::*;
use crate::{PartInfo, UploadId, UploadToken};

const NAME: &[u8] = b"film";

async fn begin(client: &Client) -> UploadId {
    client.begin_upload(BUCKET, NAME, vec![("a".into(), "b".into())]).await.expect("begins")
}

async fn part(client: &Client, upload: UploadId, number: u16, bytes: &[u8]) -> Result<PartInfo, Error> {
    let words = || Some(vec![("n".to_owned(), number.to_string())]);
    client.put_part(BUCKET, NAME, upload, number, bytes, None, words).await
}

async fn parts(client: &Client, upload: UploadId) -> Vec<PartInfo> {
    client.parts(BUCKET, NAME, upload, 0, 1000).await.expect("lists").0
}

#[tokio::test(start_paused = true)]
async fn parts_in_any_order_become_an_object_whose_bytes_are_not_written_again() {
    let fake = Fake::new();
    let client = client(&fake).await;
    let upload = begin(&client).await;
    let bytes: Vec<Vec<u8>> = [5 * MIB + 3, 7 * MIB, 1, 0].into_iter().zip(1..).map(|(size, seed)| pattern(size, seed)).collect();
    for number in [3, 1, 4, 2] {
        part(&client, upload, number, &bytes[usize::from(number) - 1]).await.expect("puts");
    }
    part(&client, upload, 9, &pattern(100, 9)).await.expect("puts what is not used");
    part(&client, upload, 1, &bytes[0]).await.expect("puts part 1 again");
    let (dead, units) = (fake.rows_of_kind(kind::DEAD), fake.lock().units.len());
    assert_eq!(dead, 1, "of the first part 1");
    let all = parts(&client, upload).await;
    assert_eq!(all.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2, 3, 4, 9]);
    let (page, more) = client.parts(BUCKET, NAME, upload, 1, 2).await.expect("lists");
    assert_eq!((page.as_slice(), more), (&all[1..3], true));
    let seen = client.upload(BUCKET, NAME, upload).await.expect("is there").version;
    let done = client.complete_upload(BUCKET, NAME, upload, seen, &all[..4], Vec::new(), Condition::Absent).await.expect("completes");
    assert_eq!(done.expect("as it was seen").size, bytes.iter().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert!(get(&client, "film", None).await.expect("gets, and the checksum of the whole is right") == bytes.concat());
    let across = Some(Range::FromTo(5 * MIB as u64, 6 * MIB as u64));
    assert!(get(&client, "film", across).await.expect("gets") == bytes.concat()[5 * MIB..=6 * MIB]);
    assert_eq!((fake.rows_of_kind(kind::PENDING), fake.lock().units.len()), (0, units));
    assert!(matches!(client.upload(BUCKET, NAME, upload).await, Err(Error::NotFound(_))));
    assert!(matches!(part(&client, upload, 1, b"late").await, Err(Error::NotFound(_))));
    assert_eq!(fake.rows_of_kind(kind::PENDING), 0, "what came late was abandoned");
}

#[tokio::test(start_paused = true)]
async fn a_completion_is_bound_to_what_it_saw_and_to_its_condition() {
    let fake = Fake::new();
    let client = client(&fake).await;
    let upload = begin(&client).await;
    part(&client, upload, 1, b"one").await.expect("puts");
    let seen = client.upload(BUCKET, NAME, upload).await.expect("is there").version;
    let all = parts(&client, upload).await;
    part(&client, upload, 1, b"another").await.expect("puts");
    let complete =
        async |seen, parts: &[PartInfo], condition| client.complete_upload(BUCKET, NAME, upload, seen, parts, Vec::new(), condition).await;
    assert_eq!(complete(seen, &all, Condition::Always).await.expect("is refused"), None);
    assert!(matches!(get(&client, "film", None).await, Err(Error::NotFound(_))));
    let (seen, all) = (client.upload(BUCKET, NAME, upload).await.expect("is there").version, parts(&client, upload).await);
    assert!(matches!(complete(seen, &all, Condition::Present).await, Err(Error::Condition { .. })));
    assert!(complete(seen, &all, Condition::Always).await.expect("completes").is_some());
    assert_eq!(complete(seen, &all, Condition::Always).await.expect("once"), None);
    assert_eq!(get(&client, "film", None).await.expect("gets"), b"another");
    client.delete(BUCKET, NAME, Condition::Always).await.expect("deletes");
    assert_eq!(fake.rows_of_kind(kind::DEAD), 2);
}

#[tokio::test(start_paused = true)]
async fn uploads_are_listed_until_they_end() {
    let client = client(&Fake::new()).await;
    let mut all = Vec::new();
    for name in [&b"a/1"[..], b"a/2", b"b", b"b", b"c/1"] {
        all.push((name.to_vec(), client.begin_upload(BUCKET, name, Vec::new()).await.expect("begins")));
    }
    all.sort();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = client.uploads(BUCKET, b"", None, after, 2).await.expect("lists");
        assert!(page.uploads.len() <= 2);
        seen.extend(page.uploads.into_iter().map(|upload| (upload.name, upload.upload)));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(seen, all);
    client.end_upload(BUCKET, &all[2].0, all[2].1).await.expect("ends");
    assert!(matches!(client.end_upload(BUCKET, &all[2].0, all[2].1).await, Err(Error::NotFound(_))));
    let page = client.uploads(BUCKET, b"", Some(b"/"), None, 2).await.expect("lists");
    assert_eq!((page.prefixes.as_slice(), page.uploads.len()), (&[b"a/".to_vec()][..], 1));
    assert_eq!(page.next, Some(UploadToken { name: b"b".to_vec(), upload: Some(all[3].1) }));
    let page = client.uploads(BUCKET, b"", Some(b"/"), page.next, 2).await.expect("lists");
    assert_eq!((page.prefixes.as_slice(), page.uploads.len(), page.next), (&[b"c/".to_vec()][..], 0, None));
}

#[tokio::test(start_paused = true)]
async fn parts_that_are_encrypted_are_joined_as_they_lie() {
    use types::object::{ENCRYPTION, PLAIN_BYTES};
    let fake = Fake::new();
    let client = client(&fake).await;
    let upload = begin(&client).await;
    let bytes = [pattern(MIB + 3, 1), pattern(100, 2)];
    let encrypted = |bytes: &str| vec![(ENCRYPTION.to_owned(), "cluster x".to_owned()), (PLAIN_BYTES.to_owned(), bytes.to_owned())];
    for (number, bytes) in (1..).zip(&bytes) {
        let words = || Some(encrypted("10"));
        client.put_part(BUCKET, NAME, upload, number, &bytes[..], None, words).await.expect("puts");
    }
    let all = parts(&client, upload).await;
    assert_eq!(all.iter().map(|part| part.size).collect::<Vec<_>>(), [10, 10]);
    let seen = client.upload(BUCKET, NAME, upload).await.expect("is there").version;
    let words = encrypted("20");
    let done = client.complete_upload(BUCKET, NAME, upload, seen, &all, words, Condition::Always).await.expect("completes");
    assert_eq!(done.expect("as it was seen").size, 20);
    let stored = client.get_stored(BUCKET, NAME, None).await.expect("opens").bytes().await.expect("reads, and the checksum is right");
    assert!(stored == bytes.concat());
}

#[tokio::test(start_paused = true)]
async fn what_the_system_says_of_many_parts_keeps_nobody_from_changing_the_rest() {
    use types::object::{OF_PARTS, PART_SUMS};
    let fake = Fake::new();
    let client = client(&fake).await;
    let upload = begin(&client).await;
    part(&client, upload, 1, b"one").await.expect("puts");
    let seen = client.upload(BUCKET, NAME, upload).await.expect("is there").version;
    // As many as ten thousand parts have.
    let of_parts = OF_PARTS.map(|name| (name.to_owned(), "x".repeat(250_000)));
    let all = parts(&client, upload).await;
    client.complete_upload(BUCKET, NAME, upload, seen, &all, of_parts.to_vec(), Condition::Always).await.expect("completes");
    let describe = async |more: Vec<(String, String)>| {
        let words = of_parts.iter().cloned().chain(more).collect();
        client.describe(BUCKET, NAME, words, Condition::Always).await
    };
    describe(vec![("lock".to_owned(), "x".repeat(60_000))]).await.expect("words about an object of many parts are set");
    let found = client.stat(BUCKET, NAME).await.expect("is there").user_metadata;
    assert_eq!(found.iter().map(|(_, word)| word.len()).collect::<Vec<_>>(), [250_000, 250_000, 250_000, 60_000]);
    assert!(matches!(describe(vec![("lock".to_owned(), "x".repeat(70_000))]).await, Err(Error::Invalid(_))));
    assert!(matches!(describe(vec![(PART_SUMS.to_owned(), "x".repeat(500_000))]).await, Err(Error::Invalid(_))));
}
