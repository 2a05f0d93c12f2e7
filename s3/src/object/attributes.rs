//! GetObjectAttributes: what is known of an object, as much as the caller asks for.

use client::ObjectInfo;
use s3s::dto::{
    Checksum, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts, ObjectAttributes, ObjectPart, StorageClass,
};
use s3s::{S3Request, S3Result, s3_error};

use crate::Gateway;
use crate::checksum::Algorithm;
use crate::condition;
use crate::encryption::customer_given;
use crate::metadata::{self, PartSizes};
use crate::version;

/// Most parts in one answer, as S3 has it.
const PARTS_MAX: i32 = 1000;

/// Runs the verb.
pub async fn run(gateway: &Gateway, req: S3Request<GetObjectAttributesInput>) -> S3Result<GetObjectAttributesOutput> {
    let input = req.input;
    let customer = customer_given!(input)?;
    let bucket = gateway.bucket(&input.bucket).await?;
    let wanted_version = version::wanted(input.version_id.as_deref())?;
    let known = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
    let names: Vec<&str> = input.object_attributes.iter().flat_map(|names| names.as_str().split(',')).map(str::trim).collect();
    if names.is_empty() || names.iter().any(|name| !known.contains(name)) {
        return Err(s3_error!(InvalidArgument, "Invalid attribute name specified."));
    }
    let wants = |attribute: &str| names.contains(&attribute);
    let found = gateway.client.stat_version(&input.bucket, input.key.as_bytes(), wanted_version).await;
    let info = match found {
        Ok(info) => info,
        Err(failure) => return Err(gateway.missing(&req.extensions, &input.bucket, version::missing(wanted_version, failure)).await?),
    };
    gateway.may_show(&req.extensions, &info).await?;
    gateway.told(&bucket, &input.key, &info, customer.as_ref())?;
    Ok(GetObjectAttributesOutput {
        version_id: version::shown(bucket.versioning(), info.id),
        last_modified: Some(condition::modified(&info)),
        e_tag: wants(ObjectAttributes::ETAG).then(|| metadata::etag(&info)),
        checksum: wants(ObjectAttributes::CHECKSUM).then(|| checksum(&info)).flatten(),
        object_size: wants(ObjectAttributes::OBJECT_SIZE).then(|| i64::try_from(info.size).unwrap_or(i64::MAX)),
        storage_class: wants(ObjectAttributes::STORAGE_CLASS).then(|| match metadata::word(&info, metadata::STORAGE_CLASS) {
            Some(class) => StorageClass::from(class.to_owned()),
            None => StorageClass::from_static(StorageClass::STANDARD),
        }),
        object_parts: wants(ObjectAttributes::OBJECT_PARTS)
            .then(|| parts(&info, input.part_number_marker.unwrap_or(0), input.max_parts.unwrap_or(PARTS_MAX)))
            .flatten(),
        ..GetObjectAttributesOutput::default()
    })
}

fn checksum(info: &ObjectInfo) -> Option<Checksum> {
    let sums = metadata::checksums(info);
    Algorithm::any_of(&sums)?;
    // The number of parts is told beside it.
    let mut told = Checksum { checksum_type: Some(metadata::checksum_type(info)), ..Checksum::default() };
    for one in Algorithm::all_of(&sums) {
        one.put(&mut told, one.of(&sums).map(|sum| sum.split('-').next().unwrap_or_default().to_owned()));
    }
    Some(told)
}

/// The parts of an object that was uploaded in parts: their number, and, where each has a checksum, what they are.
fn parts(info: &ObjectInfo, after: i32, limit: i32) -> Option<GetObjectAttributesParts> {
    let sizes = PartSizes::read(info)?;
    let count = i32::try_from(sizes.count()).ok()?;
    let total = GetObjectAttributesParts { total_parts_count: Some(count), ..GetObjectAttributesParts::default() };
    let Some((sums, algorithm)) = metadata::word(info, metadata::PART_SUMS).zip(Algorithm::any_of(&metadata::checksums(info))) else {
        return Some(total);
    };
    let (after, limit) = (after.clamp(0, count), limit.clamp(0, PARTS_MAX));
    let last = after.saturating_add(limit).min(count);
    let part = |((place, sum), size): ((i32, &str), u64)| {
        let mut told = Checksum::default();
        algorithm.put(&mut told, Some(sum.to_owned()));
        ObjectPart {
            part_number: Some(place),
            size: i64::try_from(size).ok(),
            checksum_crc32: told.checksum_crc32,
            checksum_crc32c: told.checksum_crc32c,
            checksum_crc64nvme: told.checksum_crc64nvme,
            checksum_sha1: told.checksum_sha1,
            checksum_sha256: told.checksum_sha256,
        }
    };
    let page =
        (1..).zip(sums.split(',')).zip(sizes.iter()).skip(after.unsigned_abs() as usize).take((last - after).unsigned_abs() as usize);
    Some(GetObjectAttributesParts {
        is_truncated: Some(last < count),
        max_parts: Some(limit),
        part_number_marker: Some(after),
        next_part_number_marker: Some(last),
        parts: Some(page.map(part).collect()),
        ..total
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Seq;

    fn info(words: &[(&str, &str)]) -> ObjectInfo {
        let user_metadata = words.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ObjectInfo {
            name: vec![1],
            size: 18,
            checksum: 0,
            version: Seq(1),
            id: types::VersionId::Null,
            modified_ms: 0,
            parts: vec![],
            user_metadata,
        }
    }

    #[test]
    fn parts_are_told_in_pages_where_each_has_a_checksum() {
        assert_eq!(parts(&info(&[]), 0, 10), None);
        let counted = parts(&info(&[(metadata::PART_SIZES, "8*2,2")]), 0, 10).expect("has parts");
        assert_eq!((counted.total_parts_count, counted.parts), (Some(3), None));
        let words = [(metadata::PART_SIZES, "8*2,2"), (metadata::PART_SUMS, "AA==,BB==,CC=="), ("x-amz-checksum-crc32", "ZZ==-3")];
        let all = info(&words);
        let page = parts(&all, 1, 1).expect("has parts");
        let told = page.parts.expect("each has a checksum");
        assert_eq!((told.len(), told[0].part_number, told[0].size, told[0].checksum_crc32.as_deref()), (1, Some(2), Some(8), Some("BB==")));
        assert_eq!((page.is_truncated, page.next_part_number_marker), (Some(true), Some(2)));
        let page = parts(&all, 2, 1000).expect("has parts");
        assert_eq!((page.is_truncated, page.parts.map(|parts| parts.len())), (Some(false), Some(1)));
        assert_eq!(checksum(&all).and_then(|sums| sums.checksum_crc32).as_deref(), Some("ZZ=="));
    }
}
