//! How objects of a bucket are encrypted where nobody says it: a document of its record.

use s3s::dto::{
    DeleteBucketEncryptionInput, DeleteBucketEncryptionOutput, GetBucketEncryptionInput, GetBucketEncryptionOutput,
    PutBucketEncryptionInput, PutBucketEncryptionOutput, ServerSideEncryption, ServerSideEncryptionConfiguration,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use types::records::BucketDocument;

use crate::Gateway;
use crate::metadata::malformed;
use crate::object::put::refuse_if;
use crate::records::{document, document_of};

/// What is set.
pub async fn get(gateway: &Gateway, req: S3Request<GetBucketEncryptionInput>) -> S3Result<GetBucketEncryptionOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let set = document::<ServerSideEncryptionConfiguration>(&bucket, BucketDocument::Encryption)?;
    let none = || {
        let code = S3ErrorCode::Custom("ServerSideEncryptionConfigurationNotFoundError".into());
        let mut error = S3Error::with_message(code, "The server side encryption configuration was not found");
        error.set_status_code(hyper::StatusCode::NOT_FOUND);
        error
    };
    Ok(GetBucketEncryptionOutput { server_side_encryption_configuration: Some(set.ok_or_else(none)?) })
}

/// Sets it: from now on every object is encrypted under the cluster's key, but those that come with one of their own.
pub async fn put(gateway: &Gateway, req: S3Request<PutBucketEncryptionInput>) -> S3Result<PutBucketEncryptionOutput> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    let wanted = req.input.server_side_encryption_configuration;
    check(&wanted)?;
    gateway.check_cluster_key()?;
    gateway.set_document(&bucket, BucketDocument::Encryption, Some(document_of(&wanted))).await?;
    Ok(PutBucketEncryptionOutput {})
}

/// One rule, and the one algorithm: what cannot be kept is not promised.
fn check(wanted: &ServerSideEncryptionConfiguration) -> S3Result<()> {
    let [rule] = &wanted.rules[..] else { return Err(malformed()) };
    let default = rule.apply_server_side_encryption_by_default.as_ref().ok_or_else(malformed)?;
    let method = default.sse_algorithm.as_str();
    if ![ServerSideEncryption::AES256, ServerSideEncryption::AWS_KMS, ServerSideEncryption::AWS_KMS_DSSE].contains(&method) {
        return Err(malformed());
    }
    if method == ServerSideEncryption::AES256 && default.kms_master_key_id.is_some() {
        let words = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse";
        return Err(S3Error::with_message(S3ErrorCode::InvalidArgument, words));
    }
    refuse_if(method != ServerSideEncryption::AES256)
}

/// Takes it away: what is written from now on is encrypted where its request says so.
pub async fn delete(gateway: &Gateway, req: S3Request<DeleteBucketEncryptionInput>) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
    let bucket = gateway.bucket(&req.input.bucket).await?;
    gateway.set_document(&bucket, BucketDocument::Encryption, None).await?;
    Ok(S3Response::with_status(DeleteBucketEncryptionOutput {}, hyper::StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::dto::{ServerSideEncryptionByDefault, ServerSideEncryptionRule};

    fn with(method: &'static str, key: Option<&str>, count: usize) -> Option<String> {
        let sse_algorithm = ServerSideEncryption::from_static(method);
        let default = ServerSideEncryptionByDefault { kms_master_key_id: key.map(str::to_owned), sse_algorithm };
        let rule = ServerSideEncryptionRule { apply_server_side_encryption_by_default: Some(default), ..Default::default() };
        let rules = vec![rule; count];
        check(&ServerSideEncryptionConfiguration { rules }).err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn a_bucket_is_set_to_what_can_be_kept() {
        assert_eq!(with("AES256", None, 1), None);
        assert_eq!(with("aws:kms", Some("k"), 1).as_deref(), Some("NotImplemented"));
        assert_eq!(with("AES256", Some("k"), 1).as_deref(), Some("InvalidArgument"));
        for bad in [with("rot13", None, 1), with("AES256", None, 0), with("AES256", None, 2)] {
            assert_eq!(bad.as_deref(), Some("MalformedXML"));
        }
    }
}
