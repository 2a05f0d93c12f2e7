//! Whom a bucket's events are told to: a document of its record.

use s3s::dto::{
    GetBucketNotificationConfigurationInput, GetBucketNotificationConfigurationOutput, NotificationConfiguration,
    PutBucketNotificationConfigurationInput, PutBucketNotificationConfigurationOutput,
};
use s3s::{S3Request, S3Result};
use types::records::BucketDocument;

use crate::Gateway;
use crate::notify::checked;
use crate::records::{document, document_of};

/// What is set; nothing is as well an answer.
pub async fn get(
    gateway: &Gateway,
    req: S3Request<GetBucketNotificationConfigurationInput>,
) -> S3Result<GetBucketNotificationConfigurationOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let set = document::<NotificationConfiguration>(&bucket, BucketDocument::Notification)?;
    let queue_configurations = set.and_then(|set| set.queue_configurations);
    Ok(GetBucketNotificationConfigurationOutput { queue_configurations, ..Default::default() })
}

/// Replaces it; one that says nothing takes it away.
pub async fn put(
    gateway: &Gateway,
    req: S3Request<PutBucketNotificationConfigurationInput>,
) -> S3Result<PutBucketNotificationConfigurationOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let wanted = checked(req.input.notification_configuration, &gateway.records().await?.targets)?;
    let is_set = wanted.queue_configurations.as_ref().is_some_and(|queues| !queues.is_empty());
    let text = is_set.then(|| document_of(&wanted));
    gateway.set_document(&bucket, BucketDocument::Notification, text).await?;
    Ok(PutBucketNotificationConfigurationOutput {})
}
