//! Buckets' records and accounts: changed by HA, one change at a time, and taken in by every process when a change returns; and how a bucket
//! goes only where it is empty.

use std::collections::BTreeMap;

use tokio::time::Instant;
use types::keys::{self, kind};
use types::map::{Catalogue, CatalogueKind, Pool};
use types::ops::{Condition, Op};
use types::record::RowKey;
use types::records::{BucketDocument, RecordChange, RecordDone};
use types::{CatalogueId, Epoch, GroupId, routing};

use crate::control::ControlError;
use crate::name::check_catalogue_name;
use crate::retry::Attempts;
use crate::{Client, Error};

/// The kinds of rows that keep a bucket from going. Uploads that nobody completed go with it.
/// In this order: under a seal a version may still become the object, and never the other way round.
const KINDS_THAT_STAY: [u8; 2] = [kind::VERSION, kind::OBJECT];
/// Names that are tried to find one for each group: with so many none is left out, whatever the width.
const NAMES_MAX: u32 = 100_000;

impl Client {
    /// A change of the global records. When it returns, no gateway acts on the old ones any more.
    pub async fn change_record(&self, what: &str, change: &RecordChange) -> Result<RecordDone, Error> {
        let mut attempts = Attempts::new(what, self.inner.options.timeout);
        let mut perhaps = false;
        loop {
            match tokio::time::timeout_at(attempts.deadline(), self.inner.control.change_record(change)).await {
                // An earlier attempt of this call may have made it.
                Ok(Ok(RecordDone::Bucket { id, created })) => return Ok(RecordDone::Bucket { id, created: created || perhaps }),
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(ControlError::NotFound(what))) => return Err(Error::NotFound(what)),
                Ok(Err(ControlError::Refused(reason))) => return Err(Error::Refused(format!("{what}: {reason}"))),
                Ok(Err(error)) => {
                    perhaps |= matches!(error, ControlError::Unknown(_));
                    attempts.failed(error);
                }
                Err(_) => return Err(attempts.unknown()),
            }
            attempts.pause().await?;
        }
    }

    /// Makes a bucket that belongs to an account, with its first settings; gives its id, and whether it was not there.
    pub async fn create_bucket(
        &self,
        name: &str,
        owner: &str,
        documents: BTreeMap<BucketDocument, String>,
    ) -> Result<(CatalogueId, bool), Error> {
        check_catalogue_name("the name of the bucket", name)?;
        let (what, began) = (format!("create bucket `{name}`"), Instant::now());
        let change = RecordChange::CreateBucket { name: name.into(), owner: owner.into(), documents };
        match self.change_record(&what, &change).await? {
            RecordDone::Bucket { id, created } => {
                self.inner.learn(Epoch(0), began, began + self.inner.options.timeout).await;
                Ok((id, created))
            }
            other => Err(Error::Refused(format!("{what}: HA answered {other:?}"))),
        }
    }

    /// Sets a document of a bucket, or removes it. `Condition` where it does not go with what is set of the bucket already.
    pub async fn set_bucket_document(&self, bucket: CatalogueId, document: BucketDocument, text: Option<String>) -> Result<(), Error> {
        let what = format!("set {document:?} of {bucket}");
        match self.change_record(&what, &RecordChange::SetDocument { bucket, document, text }).await? {
            RecordDone::Contradicts => Err(Error::Condition { what, current: None }),
            _ => Ok(()),
        }
    }

    /// Sees to it that this client knows that bucket under its name: the name may have been another's a moment ago.
    pub async fn know_bucket(&self, name: &str, id: CatalogueId) {
        let known = self.inner.map.latest().catalogues.get(&id).is_some_and(|bucket| bucket.name == name);
        if !known {
            let began = Instant::now();
            self.inner.learn(Epoch(0), began, began + self.inner.options.timeout).await;
        }
    }

    /// Removes a bucket if there is nothing in it; whether it is gone. No write of it that is acknowledged is lost, and none is admitted once
    /// this has returned true: the bucket is sealed, what was admitted before is waited for, and then it is looked at.
    pub async fn remove_empty_bucket(&self, name: &str, id: CatalogueId) -> Result<bool, Error> {
        let what = format!("remove bucket `{name}`");
        let seal = match self.change_record(&what, &RecordChange::SealBucket { bucket: id }).await? {
            RecordDone::Sealed(seal) => seal,
            other => return Err(Error::Refused(format!("{what}: HA answered {other:?}"))),
        };
        let change = match self.is_empty_under_seal(&what, name).await {
            Ok(true) => RecordChange::RemoveBucket { bucket: id, seal },
            // Where this fails, HA reopens it after a while.
            Ok(false) => return self.change_record(&what, &RecordChange::ReopenBucket { bucket: id, seal }).await.map(|_| false),
            Err(error) => {
                self.change_record(&what, &RecordChange::ReopenBucket { bucket: id, seal }).await?;
                return Err(error);
            }
        };
        let began = Instant::now();
        match self.change_record(&what, &change).await? {
            // Somebody found something in it, or took too long.
            RecordDone::Reopened => Ok(false),
            _ => {
                self.inner.learn(Epoch(0), began, began + self.inner.options.timeout).await;
                Ok(true)
            }
        }
    }

    async fn is_empty_under_seal(&self, what: &str, name: &str) -> Result<bool, Error> {
        let (catalogue, pool) = self.inner.catalogue(CatalogueKind::Bucket, name).await?;
        let barriers = a_name_for_each_group(&catalogue, &pool).into_iter().map(|(group, key)| async move {
            // There is no such row. The answer comes when all that was admitted before is STABLE.
            let row = RowKey { catalogue: catalogue.id, key: keys::user(key.as_bytes()) };
            self.inner.execute(what, group, vec![Op::Delete { row, condition: Condition::Present }]).await
        });
        futures::future::try_join_all(barriers).await?;
        for kind in KINDS_THAT_STAY {
            let found = self.inner.scan(what, catalogue.id, &[kind], &[kind], 1, false).await?;
            if !found.rows.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A name that routes to each group of a catalogue.
fn a_name_for_each_group(catalogue: &Catalogue, pool: &Pool) -> BTreeMap<GroupId, String> {
    let mut names = BTreeMap::new();
    let groups = catalogue.width.clamp(1, pool.groups.max(1)) as usize;
    for number in 0..NAMES_MAX {
        let name = number.to_string();
        names.entry(routing::group_of(catalogue, pool, name.as_bytes())).or_insert(name);
        if names.len() == groups {
            break;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_group_of_a_bucket_has_a_name() {
        let map = sample::map();
        let bucket = &map.catalogues[&sample::BUCKET];
        let pool = &map.pools[&bucket.pool];
        let names = a_name_for_each_group(bucket, pool);
        assert_eq!(names.len(), bucket.width as usize);
        assert!(names.iter().all(|(group, name)| routing::group_of(bucket, pool, name.as_bytes()) == *group));
    }
}
