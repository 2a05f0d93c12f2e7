//! Quotas: what would be more than a bucket, or all buckets of its owner, may hold is refused before anything of it is read.
//!
//! What a bucket holds is found by counting its records, here at each gateway, behind the requests; nobody keeps a sum that a crash could make
//! wrong. Between two counts a gateway adds what it lets in itself, so it never lets more in than there is room for by what it knows. What
//! others let in meanwhile it learns with the next count: all gateways but one may together go over a quota by what they take between two
//! counts, and by what has no length before it has come. `docs/decisions/0034-…` says why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use s3s::{S3Error, S3ErrorCode, S3Result};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use types::CatalogueId;
use types::quota::{Quota, Usage};
use types::records::{Bucket, Records};

use crate::Gateway;
use crate::access::owner_of;

/// After so long what was counted is counted anew, if it is asked for.
const AGAIN: Duration = Duration::from_secs(30);
/// The same where a write would be refused: something may have been deleted.
const AGAIN_BEFORE_REFUSAL: Duration = Duration::from_secs(1);
/// A bucket is not counted for more than one part in so many of the time.
const REST: u32 = 10;
/// How long a write waits for a count that it needs. A bucket that takes longer at first is written to meanwhile.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What is known of a bucket.
#[derive(Debug, Default)]
struct Known {
    /// As it was counted last.
    counted: Option<Usage>,
    /// What was let in here and written since that count began: it may have seen some of it.
    added: Usage,
    /// What was let in here and is being written.
    under_way: Usage,
    /// When the last count ended, and how long it took.
    ended: Option<(Instant, Duration)>,
    /// The count that is under way: what it will have seen, and where its end is told.
    running: Option<(Usage, watch::Receiver<bool>)>,
}

impl Known {
    fn total(&self) -> Usage {
        self.counted.unwrap_or_default().plus(self.added).plus(self.under_way)
    }

    fn is_older(&self, than: Duration, now: Instant) -> bool {
        self.ended.is_none_or(|(ended, took)| now.saturating_duration_since(ended) >= than.max(took * REST))
    }

    fn begin(&mut self, end: watch::Receiver<bool>) {
        self.running = Some((self.added, end));
    }

    fn end(&mut self, found: Option<Usage>, began: Instant, now: Instant) {
        let seen = self.running.take().map(|(seen, _)| seen).unwrap_or_default();
        if let Some(usage) = found {
            self.counted = Some(usage);
            self.added = self.added.minus(seen);
        }
        self.ended = Some((now, now.saturating_duration_since(began)));
    }
}

/// What a gateway knows of how much is in buckets.
#[derive(Debug)]
pub struct Usages {
    known: Mutex<BTreeMap<CatalogueId, Known>>,
    /// One bucket is counted at a time.
    turn: Arc<Semaphore>,
}

impl Default for Usages {
    fn default() -> Self {
        Self { known: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Usages {
    fn known(&self) -> MutexGuard<'_, BTreeMap<CatalogueId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write that was let in. It counts as long as it is under way, and where it was done.
#[must_use]
#[derive(Debug, Default)]
pub struct Admitted(Option<(Arc<Usages>, CatalogueId, Usage)>);

impl Admitted {
    /// It was written, and so many bytes were added by it.
    pub fn done(mut self, bytes: u64) {
        if let Some((usages, id, more)) = self.0.take() {
            let mut known = usages.known();
            let of = known.entry(id).or_default();
            of.under_way = of.under_way.minus(more);
            of.added = of.added.plus(Usage { bytes, ..more });
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some((usages, id, more)) = self.0.take() {
            let mut known = usages.known();
            let of = known.entry(id).or_default();
            of.under_way = of.under_way.minus(more);
        }
    }
}

/// Quotas that a write has to keep, each with the buckets that count for it.
struct Bounds {
    quotas: Vec<(Quota, Vec<(CatalogueId, String)>)>,
}

impl Bounds {
    fn of(name: &str, bucket: &Bucket, records: &Records) -> Self {
        let owner = owner_of(bucket);
        let of_account = records.quotas.get(owner).copied().unwrap_or_default();
        let mut quotas = Vec::new();
        if bucket.quota().is_set() {
            quotas.push((bucket.quota(), vec![(bucket.id, name.to_owned())]));
        }
        if of_account.is_set() {
            let owned = records.buckets.iter().filter(|(_, other)| owner_of(other) == owner);
            quotas.push((of_account, owned.map(|(name, bucket)| (bucket.id, name.clone())).collect()));
        }
        Self { quotas }
    }

    fn buckets(&self) -> BTreeMap<CatalogueId, String> {
        self.quotas.iter().flat_map(|(_, buckets)| buckets.iter().cloned()).collect()
    }

    /// Whether so much more is within all of them. What is not added to is not looked at: who holds too much already may complete or replace.
    fn allow(&self, known: &BTreeMap<CatalogueId, Known>, more: Usage) -> bool {
        self.quotas.iter().all(|(quota, buckets)| {
            let held = buckets.iter().filter_map(|(id, _)| known.get(id)).fold(more, |sum, of| sum.plus(of.total()));
            let quota = Quota { bytes: quota.bytes.filter(|_| more.bytes > 0), objects: quota.objects.filter(|_| more.objects > 0) };
            quota.allows(held)
        })
    }
}

fn exceeded() -> S3Error {
    let mut error =
        S3Error::with_message(S3ErrorCode::Custom("QuotaExceeded".into()), "The quota of the bucket or of its owner is exceeded.");
    error.set_status_code(hyper::StatusCode::FORBIDDEN);
    error
}

impl Gateway {
    /// Lets a write in that adds so much to a bucket.
    ///
    /// # Errors
    /// `QuotaExceeded`, and those of looking at the bucket.
    pub(crate) async fn admit(&self, name: &str, more: Usage) -> S3Result<Admitted> {
        let (bucket, records) = (self.bucket(name).await?, self.records().await?);
        let bounds = Bounds::of(name, &bucket, &records);
        if bounds.quotas.is_empty() {
            return Ok(Admitted::default());
        }
        let buckets = bounds.buckets();
        let end = Instant::now() + WAIT_MAX;
        self.count(&records, &buckets, AGAIN, |known| known.counted.is_none(), end).await;
        if let Some(admitted) = self.reserve(&bounds, bucket.id, more) {
            return Ok(admitted);
        }
        self.count(&records, &buckets, AGAIN_BEFORE_REFUSAL, |_| true, end).await;
        self.reserve(&bounds, bucket.id, more).ok_or_else(exceeded)
    }

    fn reserve(&self, bounds: &Bounds, id: CatalogueId, more: Usage) -> Option<Admitted> {
        let mut known = self.usages.known();
        if !bounds.allow(&known, more) {
            return None;
        }
        let of = known.entry(id).or_default();
        of.under_way = of.under_way.plus(more);
        Some(Admitted(Some((self.usages.clone(), id, more))))
    }

    /// Sees to it that buckets are counted whose last count is older than that, and waits for those counts that matter.
    async fn count(
        &self,
        records: &Records,
        buckets: &BTreeMap<CatalogueId, String>,
        than: Duration,
        matters: impl Fn(&Known) -> bool,
        end: Instant,
    ) {
        let mut waits = Vec::new();
        {
            let mut known = self.usages.known();
            if known.len() > records.buckets.len() + buckets.len() {
                let there: std::collections::BTreeSet<CatalogueId> = records.buckets.values().map(|bucket| bucket.id).collect();
                known.retain(|id, of| there.contains(id) || of.running.is_some());
            }
            for (id, name) in buckets {
                let of = known.entry(*id).or_default();
                if of.running.is_none() && of.is_older(than, Instant::now()) {
                    let (told, ended) = watch::channel(false);
                    of.begin(ended);
                    tokio::spawn(self.clone().count_one(*id, name.clone(), told));
                }
                if matters(of) {
                    waits.extend(of.running.as_ref().map(|(_, ended)| ended.clone()));
                }
            }
        }
        for mut ended in waits {
            // A count that was given up has ended, too.
            if timeout_at(end, ended.wait_for(|ended| *ended)).await.is_err() {
                tracing::debug!("a count takes long; it is not waited for");
                return;
            }
        }
    }

    async fn count_one(self, id: CatalogueId, name: String, told: watch::Sender<bool>) {
        let turn = self.usages.turn.clone().acquire_owned().await;
        let began = Instant::now();
        let found = self.client.count(&name).await;
        drop(turn);
        if let Err(error) = &found {
            tracing::warn!(bucket = name, %error, "a bucket could not be counted");
        }
        if let Some(of) = self.usages.known().get_mut(&id) {
            of.end(found.ok(), began, Instant::now());
        }
        told.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u64, objects: u64) -> Usage {
        Usage { bytes, objects }
    }

    fn begun(known: &mut Known) {
        known.begin(watch::channel(false).1);
    }

    #[test]
    fn what_was_written_before_a_count_began_is_in_it_and_what_came_later_is_added() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.added = of(10, 1);
        known.under_way = of(5, 1);
        begun(&mut known);
        // One that was under way is done while it is counted: seen or not, it counts.
        known.under_way = Usage::default();
        known.added = known.added.plus(of(5, 1));
        known.end(Some(of(110, 11)), now, now);
        assert_eq!(known.total(), of(115, 12));
        begun(&mut known);
        known.end(Some(of(115, 12)), now, now);
        assert_eq!(known.total(), of(115, 12));
        begun(&mut known);
        known.added = of(1, 1);
        known.end(None, now, now);
        assert_eq!(known.total(), of(116, 13), "a count that failed says nothing");
    }

    #[test]
    fn a_bucket_that_takes_long_to_count_is_counted_less_often() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert!(known.is_older(AGAIN, now), "it never was");
        begun(&mut known);
        known.end(Some(of(0, 0)), now, now + Duration::from_secs(20));
        let later = |seconds: u64| now + Duration::from_secs(20 + seconds);
        assert!(!known.is_older(AGAIN_BEFORE_REFUSAL, later(199)) && known.is_older(AGAIN_BEFORE_REFUSAL, later(200)));
        begun(&mut known);
        known.end(Some(of(0, 0)), later(0), later(0));
        assert!(!known.is_older(AGAIN, later(29)) && known.is_older(AGAIN, later(30)) && known.is_older(AGAIN_BEFORE_REFUSAL, later(1)));
    }

    #[test]
    fn a_write_counts_from_when_it_is_let_in_and_no_more_where_it_failed() {
        let (usages, id) = (Arc::new(Usages::default()), CatalogueId(7));
        let bounds = |bytes, objects| Bounds { quotas: vec![(Quota { bytes, objects }, vec![(id, "b".into())])] };
        let admit = |more: Usage| {
            let mut known = usages.known();
            let of = known.entry(id).or_default();
            of.under_way = of.under_way.plus(more);
            Admitted(Some((usages.clone(), id, more)))
        };
        let allows = |bounds: &Bounds, more| bounds.allow(&usages.known(), more);
        assert!(allows(&bounds(Some(10), None), of(10, 1)) && !allows(&bounds(Some(10), None), of(11, 1)));
        let first = admit(of(6, 1));
        assert!(!allows(&bounds(Some(10), None), of(5, 1)));
        drop(first);
        assert!(allows(&bounds(Some(10), None), of(5, 1)));
        admit(of(0, 1)).done(9);
        assert_eq!(usages.known()[&id].total(), of(9, 1), "its length came with it");
        assert!(!allows(&bounds(None, Some(1)), of(0, 1)) && allows(&bounds(None, Some(1)), of(5, 0)), "a part is no object");
        assert!(allows(&bounds(Some(1), Some(2)), of(0, 1)), "a completion adds no bytes");
    }
}
