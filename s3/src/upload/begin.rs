//! CreateMultipartUpload: says what the object is to be.

use s3s::dto::{ChecksumAlgorithm, ChecksumType, CreateMultipartUploadInput, CreateMultipartUploadOutput};
use s3s::{S3Request, S3Result, s3_error};

use crate::Gateway;
use crate::access;
use crate::acl::headers_of_acl;
use crate::checksum::{Algorithm, Kind};
use crate::encryption::{Sealing, Told, customer_given};
use crate::error::{self, Of};
use crate::lock::lock_given;
use crate::metadata::{self, headers_given};
use crate::object::put;

/// Runs the verb.
pub async fn run(gateway: &Gateway, req: S3Request<CreateMultipartUploadInput>) -> S3Result<CreateMultipartUploadOutput> {
    let mut input = req.input;
    let bucket = gateway.bucket(&input.bucket).await?;
    let sealing = gateway.sealing(&bucket, &input.key, input.server_side_encryption.as_ref(), customer_given!(input)?)?;
    let Told { by_server, algorithm, key_md5 } = Sealing::told(sealing.as_ref());
    let lock = lock_given!(input).lock(&bucket)?;
    let checksum = checksum(input.checksum_algorithm.as_ref(), input.checksum_type.as_ref())?;
    let caller = access::caller(&req.extensions)?;
    let mut headers = headers_given!(input);
    headers.acl = gateway.acl_given(&input.bucket, &caller, &headers_of_acl!(input, object)).await?;
    put::check_user(&headers)?;
    let mut words = lock.set_in(&headers.to_words());
    words.extend(sealing.as_ref().map(Sealing::word));
    if let Some((algorithm, kind)) = checksum {
        words.push((super::ALGORITHM.to_owned(), algorithm.name().to_owned()));
        words.push((metadata::CHECKSUM_TYPE.to_owned(), kind.name().to_owned()));
    }
    let upload = gateway.client.begin_upload(&input.bucket, input.key.as_bytes(), words).await.map_err(|e| error::of(Of::Bucket, e))?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(metadata::hex(&upload.0)),
        server_side_encryption: by_server,
        sse_customer_algorithm: algorithm,
        sse_customer_key_md5: key_md5,
        checksum_algorithm: checksum.map(|(algorithm, _)| ChecksumAlgorithm::from(algorithm.name().to_ascii_uppercase())),
        checksum_type: checksum.map(|(_, kind)| ChecksumType::from_static(kind.name())),
        ..CreateMultipartUploadOutput::default()
    })
}

/// The checksum that the object is to have.
fn checksum(algorithm: Option<&ChecksumAlgorithm>, kind: Option<&ChecksumType>) -> S3Result<Option<(Algorithm, Kind)>> {
    let Some(algorithm) = algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => {
                Err(s3_error!(InvalidRequest, "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."))
            }
        };
    };
    let algorithm = Algorithm::parse(algorithm.as_str())?;
    let kind = match kind {
        None => algorithm.usual_kind(),
        Some(kind) => {
            Kind::parse(kind.as_str()).ok_or_else(|| s3_error!(InvalidRequest, "Value for x-amz-checksum-type header is invalid."))?
        }
    };
    if !algorithm.allows(kind) {
        let (kind, name) = (kind.name(), algorithm.name());
        return Err(s3_error!(InvalidRequest, "The {kind} checksum type cannot be used with the {name} checksum algorithm."));
    }
    Ok(Some((algorithm, kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_says_which_checksum_it_gets_and_how_it_is_made() {
        let of = |algorithm: Option<&str>, kind: Option<&'static str>| {
            let algorithm = algorithm.map(|name| ChecksumAlgorithm::from(name.to_owned()));
            checksum(algorithm.as_ref(), kind.map(ChecksumType::from_static).as_ref()).ok()
        };
        assert_eq!(of(None, None), Some(None));
        assert_eq!(of(None, Some("COMPOSITE")), None);
        assert_eq!(of(Some("CRC32"), None), Some(Some((Algorithm::Crc32, Kind::Composite))));
        assert_eq!(of(Some("CRC32"), Some("FULL_OBJECT")), Some(Some((Algorithm::Crc32, Kind::FullObject))));
        assert_eq!(of(Some("CRC64NVME"), None), Some(Some((Algorithm::Crc64Nvme, Kind::FullObject))));
        assert_eq!(of(Some("CRC64NVME"), Some("COMPOSITE")), None);
        assert_eq!(of(Some("SHA256"), Some("FULL_OBJECT")), None);
        assert_eq!(of(Some("MD4"), None), None);
    }
}
