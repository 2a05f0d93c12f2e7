//! Envelopes: who opens which.

use std::collections::BTreeMap;

use super::*;
use types::CatalogueId;

fn customer(seed: u8) -> Customer {
    let key = [seed; client::KEY_BYTES];
    let text = base64_simd::STANDARD.encode_to_string(key);
    let md5 = base64_simd::STANDARD.encode_to_string(Md5::digest(key));
    Customer::of(Some(AES256), Some(&text), Some(&md5)).ok().flatten().expect("a key")
}

fn bucket(id: u64, encrypts: bool) -> Bucket {
    let documents: BTreeMap<_, _> = encrypts.then(|| (BucketDocument::Encryption, "<x/>".to_owned())).into_iter().collect();
    Bucket { id: CatalogueId(id), owner: String::new(), created_ms: 0, seal: None, documents }
}

fn cluster() -> ClusterKey {
    ClusterKey::parse(&ClusterKey::drawn()).expect("a key")
}

fn code<T>(result: S3Result<T>) -> Option<String> {
    result.err().map(|error| error.code().as_str().to_owned())
}

#[test]
fn the_words_of_a_key_come_all_or_not_at_all() {
    let key = base64_simd::STANDARD.encode_to_string([0; client::KEY_BYTES]);
    let md5 = base64_simd::STANDARD.encode_to_string(Md5::digest([0; client::KEY_BYTES]));
    let of = |algorithm, key, md5| code(Customer::of(algorithm, key, md5));
    let invalid = Some("InvalidArgument".to_owned());
    assert_eq!((of(None, None, None), of(Some(AES256), Some(&key), Some(&md5))), (None, None));
    assert_eq!(of(Some(AES256), Some(&key), Some("AAAAAAAAAAAAAAAAAAAAAA==")), invalid);
    assert_eq!((of(None, Some(&key), Some(&md5)), of(Some(AES256), None, Some(&md5))), (invalid.clone(), invalid.clone()));
    assert_eq!((of(Some(AES256), Some(&key), None), of(Some(AES256), Some("c2hvcnQ="), Some(&md5))), (invalid.clone(), invalid));
    assert_eq!(of(Some("AES1"), Some(&key), Some(&md5)).as_deref(), Some("InvalidEncryptionAlgorithmError"));
}

#[test]
fn what_a_customer_encrypts_his_key_opens_and_no_other() {
    let plain = bucket(1, false);
    let made = sealing(None, &plain, "k", None, Some(customer(1))).ok().flatten().expect("encrypted");
    let words = [made.word()];
    let open = |bucket: &Bucket, key: &str, customer: Option<Customer>, what| {
        sealed(Some(&cluster()), bucket, key, &words, customer.as_ref(), what)
            .map(|sealing| sealing.map(|known| known.data_key.bytes().to_vec()))
    };
    assert_eq!(open(&plain, "k", Some(customer(1)), What::Object).ok().flatten().as_deref(), Some(made.data_key.bytes()));
    let wrong = open(&plain, "k", Some(customer(2)), What::Object).expect_err("another key");
    assert_eq!((wrong.code().as_str(), wrong.status_code().map(|status| status.as_u16())), ("AccessDenied", Some(400)));
    assert_eq!(code(open(&plain, "k", Some(customer(2)), What::Upload)).as_deref(), Some("InvalidRequest"));
    assert_eq!(code(open(&plain, "k", None, What::Object)).as_deref(), Some("InvalidRequest"));
    assert_eq!(
        code(open(&plain, "other", Some(customer(1)), What::Object)).as_deref(),
        Some("AccessDenied"),
        "the record of another object"
    );
    assert_eq!(code(open(&bucket(2, false), "k", Some(customer(1)), What::Object)).as_deref(), Some("AccessDenied"), "of another bucket");
    let told = Sealing::told(Some(&made));
    assert_eq!((told.by_server, told.algorithm.as_deref(), told.key_md5), (None, Some(AES256), Some(customer(1).md5)));
}

#[test]
fn the_cluster_encrypts_where_it_is_asked_to_and_by_default() {
    let key = cluster();
    let aes = ServerSideEncryption::from_static(AES256);
    assert!(sealing(Some(&key), &bucket(1, false), "k", None, None).is_ok_and(|none| none.is_none()));
    for (bucket, asked) in [(bucket(1, false), Some(&aes)), (bucket(1, true), None), (bucket(1, true), Some(&aes))] {
        let made = sealing(Some(&key), &bucket, "k", asked, None).ok().flatten().expect("encrypted");
        let opened = sealed(Some(&key), &bucket, "k", &[made.word()], None, What::Object).ok().flatten().expect("opens");
        assert_eq!(opened.data_key.bytes(), made.data_key.bytes());
        assert_eq!(told_of_server(&[made.word()]), Some(aes.clone()));
        assert_eq!(
            code(sealed(Some(&key), &bucket, "k", &[made.word()], Some(&customer(1)), What::Object)).as_deref(),
            Some("InvalidRequest")
        );
        assert_eq!(code(sealed(Some(&cluster()), &bucket, "k", &[made.word()], None, What::Object)).as_deref(), Some("InternalError"));
        assert_eq!(code(sealing(None, &bucket, "k", asked, None)).as_deref(), Some("NotImplemented"), "without a key nothing is promised");
    }
    let own = sealing(Some(&key), &bucket(1, true), "k", None, Some(customer(1))).ok().flatten().expect("encrypted");
    assert!(own.customer_md5.is_some(), "a key of the customer's goes before the default");
    assert_eq!(code(sealing(Some(&key), &bucket(1, false), "k", Some(&aes), Some(customer(1)))).as_deref(), Some("InvalidArgument"));
    let kms = ServerSideEncryption::from_static("aws:kms");
    assert_eq!(code(sealing(Some(&key), &bucket(1, false), "k", Some(&kms), None)).as_deref(), Some("NotImplemented"));
}

#[test]
fn a_key_for_what_is_not_encrypted_is_refused() {
    for what in [What::Object, What::Upload] {
        assert_eq!(code(sealed(None, &bucket(1, false), "k", &[], Some(&customer(1)), what)).as_deref(), Some("InvalidRequest"));
    }
    assert!(sealed(None, &bucket(1, false), "k", &[], None, What::Object).is_ok_and(|none| none.is_none()));
}

#[test]
fn a_word_of_the_users_with_that_name_is_no_envelope() {
    let words = [(ENCRYPTION.to_owned(), "gpg".to_owned())];
    assert!(sealed(None, &bucket(1, false), "k", &words, None, What::Object).is_ok_and(|none| none.is_none()));
    assert_eq!(told_of_server(&words), None);
}

#[test]
fn the_etag_of_what_a_customer_encrypts_tells_nothing_of_the_bytes() {
    let sums = Sums { bytes: 7, md5: [0xab; 16], ..Sums::default() };
    let etag = |sealing: &Sealing, name| find(&words_of(&sums, Some((sealing, name))), metadata::ETAG).map(str::to_owned);
    let of_customer = || sealing(None, &bucket(1, false), "k", None, Some(customer(1))).ok().flatten().expect("encrypted");
    let (one, two) = (of_customer(), of_customer());
    let md5 = Some("ab".repeat(16));
    assert_ne!(etag(&one, PieceName::WHOLE), md5);
    assert_ne!(etag(&one, PieceName::WHOLE), etag(&two, PieceName::WHOLE));
    let of_cluster = sealing(Some(&cluster()), &bucket(1, true), "k", None, None).ok().flatten().expect("encrypted");
    assert_eq!(etag(&of_cluster, PieceName::WHOLE), md5);
    let name = Sealing::part(9);
    let words = words_of(&sums, Some((&one, name)));
    assert_eq!((types::object::plain_bytes(23, &words), name_of_part(9, &words)), (7, Some(name)));
}
