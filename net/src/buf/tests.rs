//! Tests of the pool.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const MIB: usize = 1024 * 1024;

#[test]
fn a_buffer_is_page_aligned_and_as_long_as_asked_for() {
    let pool = BufPool::new(4 * MIB).unwrap();
    for length in [0, 1, 4096, 65536, 65537, 262_145, MIB, 2 * MIB] {
        let mut buf = pool.try_take(length).unwrap();
        assert_eq!(buf.len(), length);
        assert_eq!(buf.bytes().as_ptr() as usize % 4096, 0);
        buf.bytes_mut().fill(7);
    }
    assert_eq!(pool.free_bytes(), 4 * MIB);
}

#[test]
fn buffers_do_not_overlap() {
    let pool = BufPool::new(4 * MIB).unwrap();
    let mut held = Vec::new();
    for (mark, length) in [60_000, 200_000, MIB, 60_000, 200_000, MIB].into_iter().enumerate() {
        let mut buf = pool.try_take(length).unwrap();
        buf.fill(mark as u8);
        held.push(buf);
    }
    for (mark, buf) in held.iter().enumerate() {
        assert!(buf.iter().all(|byte| *byte == mark as u8));
    }
}

#[test]
fn a_pool_gives_no_more_than_it_has_and_takes_it_back() {
    let pool = BufPool::new(2 * MIB).unwrap();
    let small: Vec<_> = (0..32).map(|_| pool.try_take(64 * 1024).unwrap()).collect();
    assert!(pool.try_take(1).is_none());
    drop(small);
    assert!(pool.try_take(2 * MIB).is_some());
    assert!(pool.try_take(3 * MIB).is_none());
}

#[tokio::test]
async fn a_large_taker_is_not_starved_by_small_ones() {
    let pool = BufPool::new(2 * MIB).unwrap();
    let held = pool.try_take(1).unwrap();
    let large = tokio::spawn({
        let pool = pool.clone();
        async move { pool.take(2 * MIB).await.unwrap().len() }
    });
    tokio::task::yield_now().await;
    assert!(pool.try_take(1).is_none(), "nobody passes the one who waits");
    drop(held);
    assert_eq!(large.await.unwrap(), 2 * MIB);
    assert_eq!(pool.free_bytes(), 2 * MIB);
}

#[tokio::test]
async fn a_taker_that_gives_up_does_not_hold_up_the_next() {
    let pool = BufPool::new(2 * MIB).unwrap();
    let held = pool.try_take(1).unwrap();
    let large = tokio::spawn({
        let pool = pool.clone();
        async move { pool.take(2 * MIB).await.map(drop) }
    });
    tokio::task::yield_now().await;
    let small = tokio::spawn({
        let pool = pool.clone();
        async move { pool.take(MIB).await.unwrap().len() }
    });
    tokio::task::yield_now().await;
    large.abort();
    assert_eq!(small.await.unwrap(), MIB);
    drop(held);
    assert_eq!(pool.free_bytes(), 2 * MIB);
}

#[test]
fn more_than_any_buffer_is_an_error() {
    let pool = BufPool::new(64 * MIB).unwrap();
    assert!(pool.try_take(BUF_BYTES_MAX + 1).is_none());
    assert!(pool.try_take(BUF_BYTES_MAX).is_some());
    let mut buf = pool.try_take(10).unwrap();
    assert!(buf.set_len(65536).is_ok());
    assert!(matches!(buf.set_len(65537), Err(NetError::TooLarge { .. })));
}
