//! DELETE of objects: what is not there is deleted already.

use client::{Condition, Error};
use futures::StreamExt;
use s3s::dto::{DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ObjectIdentifier};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::Gateway;
use crate::error::{self, Of};

/// Most objects in one request, as S3 has it.
const MANY_MAX: usize = 1000;
/// How many of them are under way at once.
const AT_ONCE: usize = 16;

/// Deletes one object.
pub async fn one(gateway: &Gateway, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = req.input;
    gateway.check_bucket(&input.bucket).await?;
    if input.if_match.is_some() || input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented"));
    }
    delete(gateway, &input.bucket, &input.key, input.version_id.as_deref()).await?;
    Ok(S3Response::with_status(DeleteObjectOutput::default(), hyper::StatusCode::NO_CONTENT))
}

/// Deletes many; each has its own outcome.
pub async fn many(gateway: &Gateway, req: S3Request<DeleteObjectsInput>) -> S3Result<DeleteObjectsOutput> {
    let input = req.input;
    gateway.check_bucket(&input.bucket).await?;
    if input.delete.objects.is_empty() || input.delete.objects.len() > MANY_MAX {
        return Err(s3_error!(MalformedXML, "The XML you provided was not well-formed or did not validate against our published schema"));
    }
    let bucket = &input.bucket;
    let outcomes: Vec<(ObjectIdentifier, S3Result<()>)> = futures::stream::iter(input.delete.objects)
        .map(|object| async move {
            let is_conditional = object.e_tag.is_some() || object.last_modified_time.is_some() || object.size.is_some();
            let outcome = if is_conditional {
                Err(s3_error!(NotImplemented, "Conditional deletes are not implemented"))
            } else {
                delete(gateway, bucket, &object.key, object.version_id.as_deref()).await
            };
            (object, outcome)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let quiet = input.delete.quiet.unwrap_or(false);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (object, outcome) in outcomes {
        match outcome {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(DeletedObject { key: Some(object.key), version_id: object.version_id, ..DeletedObject::default() }),
            Err(error) => errors.push(s3s::dto::Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                key: Some(object.key),
                version_id: object.version_id,
            }),
        }
    }
    Ok(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..DeleteObjectsOutput::default() })
}

async fn delete(gateway: &Gateway, bucket: &str, key: &str, version: Option<&str>) -> S3Result<()> {
    if version.is_some_and(|version| version != "null") {
        return Err(s3_error!(NoSuchVersion, "The specified version does not exist."));
    }
    match gateway.client.delete(bucket, key.as_bytes(), Condition::Always).await {
        Ok(()) | Err(Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error::of(Of::Object, error)),
    }
}
