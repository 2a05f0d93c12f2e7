//! How much a gateway does at once: requests, and bytes of bodies that have to be held in memory whole, of all callers and of one account. What is
//! beyond is told to come again, at once: nobody waits in a line that nobody sees. What streams is bounded by the memory of the clients that
//! write and read, and is not counted here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::HeaderMap;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::http::Extensions;
use s3s::{S3Error, S3Result, s3_error};

/// Requests at once.
const REQUESTS_MAX: usize = 1024;
/// Bytes that are held at once.
const HELD_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The share of one account is so many quarters of that: there is room for others.
const QUARTERS_OF_AN_ACCOUNT: u64 = 3;
/// In how many seconds somebody who was sent away may come again.
const AGAIN_S: HeaderValue = HeaderValue::from_static("1");

/// The bounds, and what is under way.
#[derive(Debug)]
pub struct Limits {
    most: Load,
    now: Mutex<Now>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    requests: usize,
    held_bytes: u64,
}

#[derive(Debug, Default)]
struct Now {
    all: Load,
    accounts: BTreeMap<String, Load>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(REQUESTS_MAX, HELD_BYTES_MAX)
    }
}

impl Limits {
    fn new(requests: usize, held_bytes: u64) -> Self {
        Self { most: Load { requests, held_bytes }, now: Mutex::default() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a request.
    ///
    /// # Errors
    /// `SlowDown` where there is none.
    pub fn enter(self: &Arc<Self>) -> S3Result<Arc<Slot>> {
        let mut now = self.now();
        if now.all.requests >= self.most.requests {
            return Err(slow_down());
        }
        now.all.requests += 1;
        Ok(Arc::new(Slot { limits: self.clone(), own: Mutex::default() }))
    }

    fn of_account(&self) -> Load {
        let share = |most: u64| most * QUARTERS_OF_AN_ACCOUNT / 4;
        Load { requests: share(self.most.requests as u64) as usize, held_bytes: share(self.most.held_bytes) }
    }
}

/// The place of a request, until its answer has gone out. Lies in its extensions.
#[derive(Debug)]
pub struct Slot {
    limits: Arc<Limits>,
    /// The account, once it is known, and what the request holds.
    own: Mutex<(Option<String>, u64)>,
}

impl Slot {
    fn own(&self) -> MutexGuard<'_, (Option<String>, u64)> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes that it holds.
    pub fn held(&self) -> u64 {
        self.own().1
    }

    /// Counts the request as one of an account; nobody who signed is one, too.
    ///
    /// # Errors
    /// `SlowDown` where the account has as many as it may.
    fn count_for(&self, account: Option<&str>) -> S3Result<()> {
        let (mut own, most) = (self.own(), self.limits.of_account());
        if own.0.is_some() {
            return Ok(());
        }
        let name = account.unwrap_or_default();
        let mut now = self.limits.now();
        let load = now.accounts.get(name).copied().unwrap_or_default();
        if load.requests >= most.requests || load.held_bytes + own.1 > most.held_bytes {
            return Err(slow_down());
        }
        let load = Load { requests: load.requests + 1, held_bytes: load.held_bytes + own.1 };
        now.accounts.insert(name.to_owned(), load);
        own.0 = Some(name.to_owned());
        Ok(())
    }

    /// Whether so many bytes may be held instead of those that the request holds now.
    pub fn hold(&self, bytes: u64) -> bool {
        let (mut own, of_account) = (self.own(), self.limits.of_account());
        let mut now = self.limits.now();
        let fits = |held: u64, most: u64| held - own.1 + bytes <= most;
        if bytes > own.1 {
            let account = own.0.as_ref().and_then(|name| now.accounts.get(name));
            if !fits(now.all.held_bytes, self.limits.most.held_bytes)
                || !account.is_none_or(|load| fits(load.held_bytes, of_account.held_bytes))
            {
                return false;
            }
        }
        now.all.held_bytes = now.all.held_bytes - own.1 + bytes;
        if let Some(load) = own.0.as_ref().and_then(|name| now.accounts.get_mut(name)) {
            load.held_bytes = load.held_bytes - own.1 + bytes;
        }
        own.1 = bytes;
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (account, held) = std::mem::take(&mut *self.own());
        let mut now = self.limits.now();
        now.all = Load { requests: now.all.requests - 1, held_bytes: now.all.held_bytes - held };
        let Some(name) = account else { return };
        let Some(load) = now.accounts.get_mut(&name) else { return };
        *load = Load { requests: load.requests - 1, held_bytes: load.held_bytes - held };
        if load.requests == 0 {
            now.accounts.remove(&name);
        }
    }
}

/// Counts a request as one of whoever signed it.
///
/// # Errors
/// `SlowDown`.
pub fn count_for(extensions: &Extensions, account: Option<&str>) -> S3Result<()> {
    // What comes in by another way than the server has no place, and needs none.
    extensions.get::<Arc<Slot>>().map_or(Ok(()), |slot| slot.count_for(account))
}

/// That there is too much to do.
pub fn slow_down() -> S3Error {
    let mut error = s3_error!(SlowDown, "Please reduce your request rate.");
    error.set_headers(HeaderMap::from_iter([(RETRY_AFTER, AGAIN_S)]));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_leaves_room_for_others_and_all_that_was_taken_comes_back() {
        let limits = Arc::new(Limits::new(8, 80));
        let ann: Vec<_> = (0..6).map(|_| limits.enter().expect("room")).collect();
        ann.iter().for_each(|slot| slot.count_for(Some("ann")).expect("its share"));
        let seventh = limits.enter().expect("room");
        assert_eq!(seventh.count_for(Some("ann")).expect_err("its share is taken").code(), &s3s::S3ErrorCode::SlowDown);
        seventh.count_for(Some("bob")).expect("somebody else");
        seventh.count_for(Some("ann")).expect("it is counted once");
        let eighth = limits.enter().expect("room");
        eighth.count_for(None).expect("nobody");
        let refused = limits.enter().expect_err("all is taken");
        assert!(refused.headers().is_some_and(|headers| headers.contains_key(RETRY_AFTER)));
        drop(eighth);
        drop(limits.enter().expect("room again"));
        drop((ann, seventh));
        let now = limits.now();
        assert!(now.all == Load::default() && now.accounts.is_empty(), "{now:?}");
    }

    #[test]
    fn bytes_are_held_up_to_a_bound_of_all_and_of_an_account() {
        let limits = Arc::new(Limits::new(8, 80));
        let (first, second, other) = (limits.enter().expect("room"), limits.enter().expect("room"), limits.enter().expect("room"));
        assert!(first.hold(10), "before it is known whose it is");
        first.count_for(Some("ann")).expect("few");
        second.count_for(Some("ann")).expect("few");
        assert!(first.hold(60) && !first.hold(61), "three quarters");
        assert!(!second.hold(1) && other.hold(20) && !other.hold(21));
        assert!(first.hold(5) && second.hold(55), "what is given back is there for others");
        drop((first, second));
        assert!(other.hold(80));
        drop(other);
        assert_eq!(limits.now().all, Load::default());
    }
}
