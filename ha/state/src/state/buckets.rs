//! Buckets' records: who owns one, what is set of it, and how it is decided whether it goes. They move the log, not the epoch.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use types::CatalogueId;
use types::limits::BUCKET_DOCUMENT_BYTES_MAX;
use types::map::CatalogueKind;
use types::object::Versioning;
use types::records::{Bucket, BucketDocument, RecordChange, RecordDone, Seal};

use super::State;
use crate::event::Subject;
use crate::outcome::{Done, Outcome, Refused};

impl State {
    pub(super) fn change_record(&mut self, change: &RecordChange) -> Outcome {
        match change {
            RecordChange::CreateBucket { name, owner, documents } => self.create_bucket(name, owner, documents),
            RecordChange::SetDocument { bucket, document, text } => self.set_document(*bucket, *document, text.as_deref()),
            RecordChange::SealBucket { bucket } => self.seal_bucket(*bucket),
            RecordChange::ReopenBucket { bucket, seal } => self.reopen_bucket(*bucket, *seal),
            RecordChange::RemoveBucket { bucket, seal } => self.remove_bucket(*bucket, *seal),
            RecordChange::CreateAccount { name, display_name, email } => self.create_account(name, display_name, email),
            RecordChange::SetAccountDisabled { name, disabled } => self.set_account_disabled(name, *disabled),
            RecordChange::DeleteAccount { name } => self.delete_account(name),
            RecordChange::PutKey { account, key, sealed_secret } => self.put_key(account, key, sealed_secret),
            RecordChange::DeleteKey { account, key } => self.delete_key(account, key),
            RecordChange::SetAccountQuota { name, quota } => self.set_account_quota(name, *quota),
            RecordChange::PutTarget { name, target } => self.put_target(name, target),
            RecordChange::DeleteTarget { name } => self.delete_target(name),
        }
    }

    /// Buckets' records.
    pub fn buckets(&self) -> &BTreeMap<CatalogueId, Bucket> {
        &self.buckets
    }

    /// The record of a bucket that was made a moment ago.
    pub(super) fn note_bucket(&mut self, id: CatalogueId, owner: &str, documents: &BTreeMap<BucketDocument, String>) {
        let record = Bucket { id, owner: owner.into(), created_ms: self.wall_ms, seal: None, documents: documents.clone() };
        self.buckets.insert(id, record);
    }

    fn create_bucket(&mut self, name: &str, owner: &str, documents: &BTreeMap<BucketDocument, String>) -> Outcome {
        documents.values().try_for_each(|text| check_document(text))?;
        match self.create_catalogue(name, CatalogueKind::Bucket, None, 0)? {
            Done::Catalogue { id, created } => {
                if created {
                    self.note_bucket(id, owner, documents);
                }
                Ok(Done::Record(RecordDone::Bucket { id, created }))
            }
            other => Ok(other),
        }
    }

    fn set_document(&mut self, id: CatalogueId, document: BucketDocument, text: Option<&str>) -> Outcome {
        text.map_or(Ok(()), check_document)?;
        let bucket = self.buckets.get_mut(&id).ok_or(Refused::NoCatalogue(id))?;
        if contradicts(bucket, document, text) {
            return Ok(Done::Record(RecordDone::Contradicts));
        }
        match text {
            Some(text) => bucket.documents.insert(document, text.into()),
            None => bucket.documents.remove(&document),
        };
        Ok(Done::Record(RecordDone::Done))
    }

    fn seal_bucket(&mut self, id: CatalogueId) -> Outcome {
        let seal = Seal { at: self.map.index, since: self.map.ha_time };
        let bucket = self.buckets.get_mut(&id).ok_or(Refused::NoCatalogue(id))?;
        // Who asks while another one looks, looks under the same seal: either may find it empty.
        let seal = bucket.seal.get_or_insert(seal).at;
        Ok(Done::Record(RecordDone::Sealed(seal)))
    }

    fn reopen_bucket(&mut self, id: CatalogueId, seal: u64) -> Outcome {
        let bucket = self.buckets.get_mut(&id).ok_or(Refused::NoCatalogue(id))?;
        if bucket.seal.is_some_and(|present| present.at == seal) {
            bucket.seal = None;
        }
        Ok(Done::Record(RecordDone::Done))
    }

    fn remove_bucket(&mut self, id: CatalogueId, seal: u64) -> Outcome {
        let is_sealed = |bucket: &Bucket| bucket.seal.is_some_and(|present| present.at == seal);
        if self.buckets.get(&id).is_some_and(|bucket| !is_sealed(bucket)) {
            return Ok(Done::Record(RecordDone::Reopened));
        }
        self.drop_catalogue(id)?;
        Ok(Done::Record(RecordDone::Done))
    }

    /// Buckets that were sealed before `since`: whoever did has given up without a word.
    pub fn sealed_before(&self, since: types::HaTime) -> impl Iterator<Item = (CatalogueId, Seal)> {
        self.buckets.values().filter_map(move |bucket| Some((bucket.id, bucket.seal.filter(|seal| seal.since < since)?)))
    }

    pub(super) fn note_account(&mut self, what: &str, name: &str) {
        self.note(Subject::Cluster, what, name);
    }
}

/// A bucket with locks keeps versions. It is decided here, where one change comes after the other: gateways look at what they know, which may be
/// about to change.
fn contradicts(bucket: &Bucket, document: BucketDocument, text: Option<&str>) -> bool {
    match document {
        BucketDocument::Versioning => {
            let is_kept = text.and_then(Versioning::parse) == Some(Versioning::Enabled);
            !is_kept && bucket.documents.contains_key(&BucketDocument::ObjectLock)
        }
        BucketDocument::ObjectLock => text.is_some() && bucket.versioning() != Versioning::Enabled,
        _ => false,
    }
}

fn check_document(text: &str) -> Result<(), Refused> {
    if text.len() > BUCKET_DOCUMENT_BYTES_MAX {
        return Err(Refused::TooLarge { what: "document of a bucket".into(), bytes: text.len(), max: BUCKET_DOCUMENT_BYTES_MAX });
    }
    Ok(())
}
