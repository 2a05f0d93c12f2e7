//! The global records as the gateway reads them: as the process has taken them in, at each request anew. There is no other cache. A document is
//! the XML of the protocol, unless its kind says otherwise.

use std::sync::Arc;
use std::time::Duration;

use client::CatalogueKind;
use s3s::xml::{Deserialize, Deserializer, Serialize, Serializer};
use s3s::{S3Result, s3_error};
use tokio::time::Instant;
use types::records::{Bucket, BucketDocument, Records};

use crate::Gateway;
use crate::error::{self, Of};

/// How long a request waits until the process knows where it stands, as after a loss of its lease.
const KNOWN_MAX: Duration = Duration::from_secs(5);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(10);

/// Where the records come from.
pub trait Source: Send + Sync + 'static {
    /// The records as of now; `None` while the process does not know whether it has heard of all changes.
    fn now(&self) -> Option<Arc<Records>>;
}

impl Gateway {
    /// The records as of now.
    ///
    /// # Errors
    /// `ServiceUnavailable` where the process is cut off.
    pub(crate) async fn records(&self) -> S3Result<Arc<Records>> {
        let end = Instant::now() + KNOWN_MAX;
        loop {
            if let Some(records) = self.source.now() {
                return Ok(records);
            }
            if Instant::now() >= end {
                return Err(s3_error!(ServiceUnavailable, "Please reduce your request rate."));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What is kept of a bucket.
    ///
    /// # Errors
    /// `NoSuchBucket` where there is none of that name.
    pub(crate) async fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        let mut bucket = self.records().await?.buckets.get(name).cloned();
        if bucket.is_none() {
            // One that was made otherwise than through a gateway may not have been heard of here.
            self.client.catalogue(CatalogueKind::Bucket, name).await.map_err(|e| error::of(Of::Bucket, e))?;
            let end = Instant::now() + KNOWN_MAX;
            while bucket.is_none() {
                if Instant::now() >= end {
                    return Err(s3_error!(NoSuchBucket, "The specified bucket does not exist"));
                }
                tokio::time::sleep(LOOK).await;
                bucket = self.records().await?.buckets.get(name).cloned();
            }
        }
        let bucket = bucket.expect("it was found");
        self.client.know_bucket(name, bucket.id).await;
        self.writes.know_bucket(name, bucket.id).await;
        Ok(bucket)
    }

    /// Refuses what is about a bucket that is not there.
    pub(crate) async fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        self.bucket(bucket).await.map(drop)
    }

    /// Sets a document of a bucket, or removes it. When it returns, every gateway acts on it.
    pub(crate) async fn set_document(&self, bucket: &Bucket, document: BucketDocument, text: Option<String>) -> S3Result<()> {
        self.client.set_bucket_document(bucket.id, document, text).await.map_err(|failure| match failure {
            // What the gateway knew of the bucket when it looked was changed meanwhile.
            client::Error::Condition { .. } => {
                s3_error!(InvalidBucketState, "The request is not valid with the current state of the bucket.")
            }
            other => error::of(Of::Bucket, other),
        })
    }
}

/// The text of a document: the protocol's own XML.
pub(crate) fn document_of<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::new(&mut bytes)).expect("memory takes all that is written");
    String::from_utf8(bytes).expect("XML is text")
}

/// What a document says; `None` where it is not set.
///
/// # Errors
/// `InternalError` where its text cannot be read.
pub(crate) fn document<T: for<'xml> Deserialize<'xml>>(bucket: &Bucket, document: BucketDocument) -> S3Result<Option<T>> {
    let Some(text) = bucket.document(document) else { return Ok(None) };
    let mut deserializer = Deserializer::new(text.as_bytes());
    T::deserialize(&mut deserializer).map(Some).map_err(|error| {
        tracing::error!(bucket = %bucket.id, ?document, %error, "a setting of a bucket cannot be read");
        s3_error!(InternalError, "We encountered an internal error. Please try again.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::dto::{Tag, Tagging};

    #[test]
    fn a_document_is_read_as_it_was_set() {
        let tag = Tag { key: Some("a&b".into()), value: Some("<1>".into()) };
        let tagging = Tagging { tag_set: vec![tag] };
        let documents = [(BucketDocument::Tagging, document_of(&tagging)), (BucketDocument::Cors, "no XML".into())].into();
        let bucket = Bucket { id: types::CatalogueId(1), owner: String::new(), created_ms: 0, seal: None, documents };
        assert_eq!(document::<Tagging>(&bucket, BucketDocument::Tagging).ok().flatten(), Some(tagging));
        assert!(document::<Tagging>(&bucket, BucketDocument::Versioning).is_ok_and(|none| none.is_none()));
        assert!(document::<Tagging>(&bucket, BucketDocument::Cors).is_err());
    }
}
