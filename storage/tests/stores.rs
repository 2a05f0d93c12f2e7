//! The metadata of the simulator and RocksDB are the same thing to the code above them.

use std::ops::ControlFlow;

use proptest::prelude::*;
use storage::meta::memory::MemoryImages;
use storage::meta::rocks::RocksStore;
use storage::meta::store::{Change, Family, MetaStore};

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![0u8..3, Just(0xff)], 1..4)
}

fn family() -> impl Strategy<Value = Family> {
    proptest::sample::select(&Family::ALL[..])
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (family(), key(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(f, k, v)| Change::Put(f, k, v)),
        2 => (family(), key()).prop_map(|(f, k)| Change::Delete(f, k)),
        1 => (family(), key(), key()).prop_map(|(f, a, b)| {
            let (from, end) = if a <= b { (a, b) } else { (b, a) };
            Change::DeleteRange(f, from, end)
        }),
    ]
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn collect(limit: usize, scan: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>)) -> Rows {
    let mut rows = Vec::new();
    scan(&mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn both_stores_show_the_same_after_any_batches_and_after_they_were_closed(
        batches in proptest::collection::vec((proptest::collection::vec(change(), 1..6), any::<bool>()), 1..12),
        asks in proptest::collection::vec((family(), key(), key(), 1usize..5), 1..12),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("meta");
        RocksStore::create(&path).expect("creates");
        let mut memory = MemoryImages::default();
        for round in 0..2 {
            let rocks = RocksStore::open(&path).expect("opens");
            if round == 0 {
                for (changes, sync) in &batches {
                    rocks.write(changes.clone(), *sync).expect("writes");
                    memory.write(changes.clone());
                }
            }
            for (family, from, end, limit) in &asks {
                prop_assert_eq!(rocks.get(*family, from).expect("reads"), memory.get(*family, from));
                let there = collect(*limit, |visit| rocks.scan(*family, from, end, visit).expect("scans"));
                let model = collect(*limit, |visit| memory.scan(*family, from, end, visit));
                prop_assert_eq!(there, model);
            }
        }
    }
}
