//! CompleteMultipartUpload: the parts that the caller names become the object, once, whoever asks how often.

use client::{Error, ObjectInfo, PartInfo, UploadId, UploadInfo};
use s3s::dto::{Checksum, ChecksumType, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, ETagCondition};
use s3s::{S3Request, S3Result, s3_error};
use types::object::{PIECES, PLAIN_BYTES};
use types::quota::Usage;

use crate::Gateway;
use crate::access::facts::Peer;
use crate::checksum::{Algorithm, Kind, checksums_given, etag_of_parts};
use crate::condition;
use crate::encryption;
use crate::error::{self, Of};
use crate::metadata::{self, PartSizes};
use crate::version;

/// Smallest part but the last, as S3 has it.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
/// How often a completion is tried that parts come in between of.
const TRIES_MAX: u32 = 10;

/// What the caller says of the object to be.
struct Wanted {
    parts: Vec<CompletedPart>,
    checksums: Checksum,
    kind: Option<ChecksumType>,
    size: Option<u64>,
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
}

/// Runs the verb.
pub async fn run(gateway: &Gateway, req: S3Request<CompleteMultipartUploadInput>) -> S3Result<CompleteMultipartUploadOutput> {
    let host = req.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let scheme = if req.extensions.get::<Peer>().is_some_and(|peer| peer.is_secure) { "https" } else { "http" };
    let input = req.input;
    // The key of a customer is not needed: nothing is encrypted or decrypted here.
    gateway.check_bucket(&input.bucket).await?;
    let upload = super::id(&input.upload_id)?;
    let checksums = checksums_given!(input);
    let wanted = Wanted {
        parts: input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default(),
        checksums,
        kind: input.checksum_type,
        size: input.mpu_object_size.and_then(|size| u64::try_from(size).ok()),
        if_match: input.if_match,
        if_none_match: input.if_none_match,
    };
    wanted.check_order()?;
    let info = complete(gateway, &input.bucket, &input.key, upload, &wanted).await?;
    let sums = metadata::checksums(&info);
    Ok(CompleteMultipartUploadOutput {
        location: Some(format!("{scheme}://{host}/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(metadata::etag(&info)),
        version_id: version::made(info.id),
        server_side_encryption: encryption::told_of_server(&info.user_metadata),
        checksum_type: Algorithm::any_of(&sums).map(|_| metadata::checksum_type(&info)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..CompleteMultipartUploadOutput::default()
    })
}

async fn complete(gateway: &Gateway, bucket: &str, key: &str, upload: UploadId, wanted: &Wanted) -> S3Result<ObjectInfo> {
    let mut admitted = None;
    for _ in 0..TRIES_MAX {
        let of = match gateway.client.upload(bucket, key.as_bytes(), upload).await {
            Ok(of) => of,
            Err(Error::NotFound(_)) => return completed_before(gateway, bucket, key, upload).await,
            Err(error) => return Err(error::of(Of::Upload, error)),
        };
        if admitted.is_none() {
            // The bytes are there with the parts.
            admitted = Some(gateway.admit(bucket, Usage { bytes: 0, objects: 1 }).await?);
        }
        let found = gateway.client.parts(bucket, key.as_bytes(), upload, 0, usize::from(super::PARTS_MAX)).await;
        let parts = wanted.chosen(found.map_err(|e| error::of(Of::Upload, e))?.0, &of)?;
        let words = wanted.words(&of, &parts)?;
        let condition = condition::of_put(gateway, bucket, key, wanted.if_match.as_ref(), wanted.if_none_match.as_ref()).await?;
        let done = gateway.client.complete_upload(bucket, key.as_bytes(), upload, of.version, &parts, words, condition).await;
        if let Some(info) = done.map_err(|e| error::of(Of::Upload, e))? {
            admitted.into_iter().for_each(|admitted| admitted.done(0));
            return Ok(info);
        }
    }
    Err(s3_error!(
        OperationAborted,
        "A conflicting conditional operation is currently in progress against this resource. Please try again."
    ))
}

/// The object of an upload that was completed already, as long as it is there.
async fn completed_before(gateway: &Gateway, bucket: &str, key: &str, upload: UploadId) -> S3Result<ObjectInfo> {
    match gateway.client.stat(bucket, key.as_bytes()).await {
        Ok(info) if metadata::word(&info, metadata::UPLOAD) == Some(metadata::hex(&upload.0).as_str()) => Ok(info),
        Ok(_) | Err(Error::NotFound(_) | Error::Marker { .. }) => Err(super::no_such_upload()),
        Err(error) => Err(error::of(Of::Object, error)),
    }
}

impl Wanted {
    fn check_order(&self) -> S3Result<()> {
        if self.parts.is_empty() || self.parts.iter().any(|part| part.part_number.is_none() || part.e_tag.is_none()) {
            return Err(s3_error!(
                MalformedXML,
                "The XML you provided was not well-formed or did not validate against our published schema"
            ));
        }
        if self.parts.windows(2).any(|pair| pair[0].part_number >= pair[1].part_number) {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order. The parts list must be specified in order by part number."
            ));
        }
        Ok(())
    }

    /// The parts that are named, of those that are there.
    fn chosen(&self, mut there: Vec<PartInfo>, of: &UploadInfo) -> S3Result<Vec<PartInfo>> {
        let invalid = || {
            s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may \
                 not match the part's entity tag."
            )
        };
        let composite = super::checksum_of(&of.user_metadata).filter(|(_, kind)| *kind == Kind::Composite);
        let mut chosen = Vec::with_capacity(self.parts.len());
        for named in &self.parts {
            let number = named.part_number.and_then(|number| u16::try_from(number).ok()).ok_or_else(invalid)?;
            let at = there.binary_search_by_key(&number, |part| part.number).map_err(|_| invalid())?;
            let etag = named.e_tag.as_ref().map(|etag| etag.value().trim_matches('"'));
            let (given, known) = (checksums_given!(named), metadata::checksums_of(&there[at].user_metadata));
            let differs = |one: &Algorithm| one.of(&given).is_some_and(|sum| one.of(&known).is_some_and(|known| known != sum));
            if etag != Some(super::etag_of(&there[at])) || Algorithm::ALL.iter().any(differs) {
                return Err(invalid());
            }
            if let Some((algorithm, _)) = composite.filter(|(algorithm, _)| algorithm.of(&given).is_none()) {
                let name = algorithm.name();
                return Err(s3_error!(
                    InvalidRequest,
                    "The upload was created using a {name} checksum. The complete request must include the checksum for each part. It was \
                     missing for part {number} in the request."
                ));
            }
            // What is before it is not named any more: the numbers rise.
            let rest = there.split_off(at + 1);
            chosen.extend(there.pop());
            there = rest;
        }
        let small = chosen.split_last().is_some_and(|(_, others)| others.iter().any(|part| part.size < PART_BYTES_MIN));
        if small {
            return Err(s3_error!(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size"));
        }
        Ok(chosen)
    }

    /// The words of the object's record.
    fn words(&self, of: &UploadInfo, parts: &[PartInfo]) -> S3Result<Vec<(String, String)>> {
        let size: u64 = parts.iter().map(|part| part.size).sum();
        if let Some(wanted) = self.size.filter(|wanted| *wanted != size) {
            return Err(s3_error!(
                InvalidRequest,
                "The provided 'x-amz-mp-object-size' header value {wanted} does not match what was computed: {size}"
            ));
        }
        let is_kept = |(name, _): &&(String, String)| name != super::ALGORITHM;
        let mut words: Vec<(String, String)> = of.user_metadata.iter().filter(is_kept).cloned().collect();
        let etag = etag_of_parts(parts.iter().map(super::etag_of));
        let lost = || s3_error!(InternalError, "We encountered an internal error. Please try again.");
        let mut say = |name: &str, value: String| words.push((name.to_owned(), value));
        say(metadata::ETAG, etag.ok_or_else(lost)?);
        say(metadata::UPLOAD, metadata::hex(&of.upload.0));
        if types::object::encryption(&of.user_metadata).is_some() {
            let names = parts.iter().map(|part| encryption::name_of_part(part.number, &part.user_metadata));
            let names = names.collect::<Option<Vec<_>>>().ok_or_else(lost)?;
            say(PIECES, encryption::pieces_word(names.into_iter()));
            say(PLAIN_BYTES, size.to_string());
        }
        say(metadata::PART_SIZES, PartSizes::of(parts.iter().map(|part| part.size)).to_word());
        if let Some((algorithm, kind)) = super::checksum_of(&of.user_metadata) {
            let known: Vec<Checksum> = parts.iter().map(|part| metadata::checksums_of(&part.user_metadata)).collect();
            let sums = known.iter().zip(parts).map(|(sums, part)| Some((algorithm.of(sums)?.as_str(), part.size)));
            let sums = sums.collect::<Option<Vec<_>>>().ok_or_else(lost)?;
            let whole = algorithm.of_parts(kind, &sums).ok_or_else(lost)?;
            self.check_sum(algorithm, kind, &whole)?;
            say(metadata::PART_SUMS, sums.iter().map(|(sum, _)| *sum).collect::<Vec<_>>().join(","));
            say(&algorithm.header(), whole);
        }
        Ok(words)
    }

    /// Whether the checksum of the whole is what the caller says.
    fn check_sum(&self, algorithm: Algorithm, kind: Kind, whole: &str) -> S3Result<()> {
        let name = algorithm.name();
        if let Some(wanted) = &self.kind
            && wanted.as_str() != kind.name()
        {
            let (wanted, kind) = (wanted.as_str(), kind.name());
            return Err(s3_error!(
                InvalidRequest,
                "The upload was created using the {kind} checksum mode. The complete request must use the same checksum mode, not {wanted}."
            ));
        }
        // A composite one may be given without the number of parts.
        let is_right = |said: &String| said == whole || whole.split_once('-').is_some_and(|(sum, _)| sum == said);
        match algorithm.of(&self.checksums) {
            Some(said) if !is_right(said) => Err(s3_error!(BadDigest, "The {name} you specified did not match the calculated checksum.")),
            _ => Ok(()),
        }
    }
}
