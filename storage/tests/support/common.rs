//! What the tests of a device share.
#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use storage::{Identity, OpenOptions};
use types::limits::{BLOCK_BYTES, CHUNK_BYTES};
use types::record::{Coordination, Outcome, Record};
use types::wire::request::UnitInfo;
use types::{CatalogueId, ClusterId, DeviceId, DtxId, Fid, GroupId, HaTime, Incarnation, Seq, SessionId, ViewNumber};

pub const CLUSTER: ClusterId = ClusterId(0xc1);
pub const DEVICE: DeviceId = DeviceId(3);

/// A request that was begun.
pub type Started<T> = Pin<Box<dyn Future<Output = T>>>;

pub fn identity(bytes: u64) -> Identity {
    Identity { uuid: 42, cluster: CLUSTER, device: DEVICE, incarnation: Incarnation(1), bytes }
}

pub fn options() -> OpenOptions {
    OpenOptions { meta_reserve_bytes: 0, ..OpenOptions::new(CLUSTER, DEVICE) }
}

pub fn fid(group: GroupId, counter: u64) -> Fid {
    Fid { group, session: SessionId(11), counter }
}

/// The bytes of a unit: different for each, and for each block of it.
pub fn payload(fid: Fid, unit: u32, blocks: u32) -> Vec<u8> {
    let mut bytes = vec![0; blocks as usize * BLOCK_BYTES];
    for (number, word) in bytes.chunks_mut(8).enumerate() {
        let mixed = (fid.counter << 32 | u64::from(unit) << 20 | number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&mixed.to_le_bytes());
    }
    bytes
}

pub fn unit_info(fid: Fid, unit: u32, blocks: u32) -> UnitInfo {
    let length = blocks * BLOCK_BYTES as u32;
    let unit_bytes = length.max(CHUNK_BYTES as u32);
    UnitInfo { fid, unit, data: 4, parity: 2, unit_bytes, length, catalogue: CatalogueId(1), routing: 77 }
}

pub fn record(seq: Seq) -> Record {
    Record {
        seq,
        view: ViewNumber(1),
        at: HaTime(5),
        dtx: DtxId { session: SessionId(1), counter: seq.0, at: HaTime(5) },
        writes: Vec::new(),
        outcome: Outcome::Done { version: seq, previous: vec![None], versioning: types::object::Versioning::Off },
        coordination: Coordination::Local,
    }
}

/// Goes on with a request as far as it goes without waiting.
pub fn step<T>(started: &mut Started<T>) -> Option<T> {
    match started.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// The outcome of a request that does not wait for anybody.
pub fn block_on<T>(request: impl Future<Output = T>) -> T {
    let mut request = Box::pin(request);
    match request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the request waits"),
    }
}
