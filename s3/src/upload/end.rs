//! AbortMultipartUpload: the parts go.

use s3s::dto::{AbortMultipartUploadInput, AbortMultipartUploadOutput};
use s3s::{S3Request, S3Response, S3Result};

use crate::Gateway;
use crate::error::{self, Of};
use crate::object::put::refuse_if;

/// Runs the verb.
pub async fn run(gateway: &Gateway, req: S3Request<AbortMultipartUploadInput>) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = req.input;
    refuse_if(input.if_match_initiated_time.is_some())?;
    gateway.check_bucket(&input.bucket).await?;
    let upload = super::id(&input.upload_id)?;
    gateway.client.end_upload(&input.bucket, input.key.as_bytes(), upload).await.map_err(|e| error::of(Of::Upload, e))?;
    Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), hyper::StatusCode::NO_CONTENT))
}
