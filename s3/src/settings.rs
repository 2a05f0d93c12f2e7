//! What is set of a bucket about who gets in: what of lists and policies does not count, and who owns what others write.

use s3s::dto::PublicAccessBlockConfiguration;
use types::records::{Bucket, BucketDocument};

use crate::records::document;

/// What of lists and policies does not count because it lets everybody in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublicAccess {
    /// Lists that let everybody in are not taken.
    pub block_acls: bool,
    /// Nor are policies.
    pub block_policy: bool,
    /// What lists give to everybody does not count.
    pub ignore_acls: bool,
    /// What a policy gives to everybody counts for the owner only.
    pub restrict_buckets: bool,
}

impl PublicAccess {
    /// Of a bucket. What cannot be read is taken at its most.
    pub fn of(bucket: &Bucket) -> Self {
        match document::<PublicAccessBlockConfiguration>(bucket, BucketDocument::PublicAccessBlock) {
            Ok(None) => Self::default(),
            Ok(Some(block)) => Self {
                block_acls: block.block_public_acls.unwrap_or(false),
                block_policy: block.block_public_policy.unwrap_or(false),
                ignore_acls: block.ignore_public_acls.unwrap_or(false),
                restrict_buckets: block.restrict_public_buckets.unwrap_or(false),
            },
            Err(_) => Self { block_acls: true, block_policy: true, ignore_acls: true, restrict_buckets: true },
        }
    }
}
