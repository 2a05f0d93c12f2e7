//! DELETE of objects and of versions: what is not there is deleted already.

use std::collections::BTreeMap;

use client::{Condition, Error, ObjectInfo};
use futures::StreamExt;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition, ObjectIdentifier,
    Timestamp,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use types::records::Bucket;

use crate::Gateway;
use crate::access::{self, Act};
use crate::condition;
use crate::error::{self, Of};
use crate::lock;
use crate::metadata;
use crate::version;

/// Most objects in one request, as S3 has it.
const MANY_MAX: usize = 1000;
/// How many names are under way at once.
const AT_ONCE: usize = 16;
/// How often a conditional DELETE of an object is tried that is written all the time.
const TRIES_MAX: u32 = 10;

/// What a DELETE asks of what is deleted.
#[derive(Clone, Debug, Default)]
struct If {
    etag: Option<ETagCondition>,
    modified: Option<Timestamp>,
    size: Option<i64>,
}

impl If {
    fn is_any(&self) -> bool {
        self.etag.is_some() || self.modified.is_some() || self.size.is_some()
    }

    fn check(&self, info: &ObjectInfo) -> S3Result<()> {
        let etag = self.etag.as_ref().is_none_or(|etag| condition::holds(etag, &metadata::etag(info)));
        let modified = self.modified.as_ref().is_none_or(|at| condition::ms_of(at) / 1000 == info.modified_ms / 1000);
        let size = self.size.is_none_or(|size| u64::try_from(size) == Ok(info.size));
        if etag && modified && size {
            return Ok(());
        }
        Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"))
    }
}

/// What a DELETE came to.
#[derive(Debug, Default)]
struct Deleted {
    /// Whether a delete marker was made or removed.
    marker: bool,
    /// The version that was made or removed.
    version: Option<String>,
}

/// One of the things that are to be deleted.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    gateway: &'a Gateway,
    bucket: &'a Bucket,
    name: &'a str,
    bypass: bool,
}

/// Deletes one object.
pub async fn one(gateway: &Gateway, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
    let caller = access::caller(&req.extensions)?;
    let input = req.input;
    let bucket = gateway.bucket(&input.bucket).await?;
    let condition = If { etag: input.if_match, modified: input.if_match_last_modified_time, size: input.if_match_size };
    let bypass = input.bypass_governance_retention == Some(true)
        && gateway.allow(&caller, Act::bypass(&input.bucket, &input.key, input.version_id.as_deref())).await.is_ok();
    let wanted = Wanted { gateway, bucket: &bucket, name: &input.bucket, bypass };
    let deleted = wanted.delete(&input.key, input.version_id.as_deref(), &condition).await?;
    let output =
        DeleteObjectOutput { delete_marker: deleted.marker.then_some(true), version_id: deleted.version, ..DeleteObjectOutput::default() };
    Ok(S3Response::with_status(output, hyper::StatusCode::NO_CONTENT))
}

/// Deletes many; each has its own outcome.
pub async fn many(gateway: &Gateway, req: S3Request<DeleteObjectsInput>) -> S3Result<DeleteObjectsOutput> {
    let input = req.input;
    let caller = &access::caller(&req.extensions)?;
    let bucket = gateway.bucket(&input.bucket).await?;
    let objects = input.delete.objects;
    if objects.is_empty() || objects.len() > MANY_MAX {
        return Err(metadata::malformed());
    }
    let wanted = Wanted { gateway, bucket: &bucket, name: &input.bucket, bypass: false };
    let wants_bypass = input.bypass_governance_retention == Some(true);
    // Versions of one name go one after the other: they would only get in each other's way.
    let mut by_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, object) in objects.iter().enumerate() {
        by_key.entry(&object.key).or_default().push(number);
    }
    let (wanted, all) = (&wanted, &objects);
    let outcomes: Vec<Vec<(usize, S3Result<Deleted>)>> = futures::stream::iter(by_key.into_values())
        .map(|numbers| async move {
            let mut outcomes = Vec::with_capacity(numbers.len());
            for number in numbers {
                let object = &all[number];
                let outcome = match gateway.allow(caller, Act::delete(wanted.name, &object.key, object.version_id.as_deref())).await {
                    Ok(()) => {
                        let act = Act::bypass(wanted.name, &object.key, object.version_id.as_deref());
                        let bypass = wants_bypass && gateway.allow(caller, act).await.is_ok();
                        Wanted { bypass, ..*wanted }.delete_one_of(object).await
                    }
                    Err(error) => Err(error),
                };
                outcomes.push((number, outcome));
            }
            outcomes
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut outcomes: Vec<(usize, S3Result<Deleted>)> = outcomes.into_iter().flatten().collect();
    outcomes.sort_by_key(|(number, _)| *number);
    let quiet = input.delete.quiet.unwrap_or(false);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (object, (_, outcome)) in objects.into_iter().zip(outcomes) {
        match outcome {
            Ok(_) if quiet => {}
            Ok(done) => deleted.push(told(object, done)),
            Err(error) => errors.push(failed(object, &error)),
        }
    }
    Ok(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..DeleteObjectsOutput::default() })
}

fn told(object: ObjectIdentifier, done: Deleted) -> DeletedObject {
    DeletedObject {
        key: Some(object.key),
        version_id: object.version_id,
        delete_marker: done.marker.then_some(true),
        delete_marker_version_id: done.version.filter(|_| done.marker),
    }
}

fn failed(object: ObjectIdentifier, error: &S3Error) -> s3s::dto::Error {
    s3s::dto::Error {
        code: Some(error.code().as_str().to_owned()),
        message: error.message().map(str::to_owned),
        key: Some(object.key),
        version_id: object.version_id,
    }
}

impl Wanted<'_> {
    async fn delete_one_of(&self, object: &ObjectIdentifier) -> S3Result<Deleted> {
        let etag = object.e_tag.clone().map(ETagCondition::ETag);
        let condition = If { etag, modified: object.last_modified_time.clone(), size: object.size };
        self.delete(&object.key, object.version_id.as_deref(), &condition).await
    }

    async fn delete(&self, key: &str, named: Option<&str>, condition: &If) -> S3Result<Deleted> {
        let client = &self.gateway.client;
        let Some(id) = version::wanted(named)? else { return self.delete_current(key, condition).await };
        if condition.is_any() {
            match client.stat_version(self.name, key.as_bytes(), Some(id)).await {
                Ok(info) => condition.check(&info)?,
                Err(Error::NotFound(_) | Error::Marker { .. }) => {}
                Err(error) => return Err(error::of(Of::Object, error)),
            }
        }
        let removed = lock::remove(self.gateway, self.bucket, self.name, key, id, self.bypass).await?;
        let marker = removed.is_some_and(|removed| removed.object.is_none());
        Ok(Deleted { marker, version: Some(id.to_string()) })
    }

    async fn delete_current(&self, key: &str, condition: &If) -> S3Result<Deleted> {
        let client = &self.gateway.client;
        for _ in 0..TRIES_MAX {
            let bound = if condition.is_any() {
                match client.stat(self.name, key.as_bytes()).await {
                    Ok(info) => {
                        condition.check(&info)?;
                        Condition::Version(info.version)
                    }
                    Err(Error::NotFound(_) | Error::Marker { .. }) if condition.etag.as_ref().is_some_and(ETagCondition::is_any) => {
                        return Err(s3_error!(NoSuchKey, "The specified key does not exist."));
                    }
                    // What is not there is deleted already.
                    Err(Error::NotFound(_) | Error::Marker { .. }) => return Ok(Deleted::default()),
                    Err(error) => return Err(error::of(Of::Object, error)),
                }
            } else {
                Condition::Always
            };
            match client.delete(self.name, key.as_bytes(), bound).await {
                Ok(deleted) => return Ok(Deleted { marker: deleted.marker.is_some(), version: deleted.marker.map(|id| id.to_string()) }),
                Err(Error::NotFound(_)) => return Ok(Deleted::default()),
                Err(Error::Condition { .. }) => {}
                Err(error) => return Err(error::of(Of::Object, error)),
            }
        }
        Err(s3_error!(
            OperationAborted,
            "A conflicting conditional operation is currently in progress against this resource. Please try again."
        ))
    }
}
