//! Uploads in parts: an object that comes in pieces, in any order, from several callers, and is there when somebody says so.
//!
//! Each part is written as an object is, under fids of its own, and committed to the upload. Completion names parts; the object's record
//! takes over their chunks, so that nothing is copied, in the one transaction that ends the upload. What is not named goes with the sweep.

use tokio::io::AsyncRead;
use types::checksum::crc32c_joined;
use types::limits::{FID_BYTES_MAX, PARTS_OF_UPLOAD_MAX, SCAN_KEYS_MAX};
use types::object::{Content, ObjectRecord, Part, Versioning, plain_bytes};
use types::ops::{Condition, Op};
use types::record::{Outcome, Row, RowKey};
use types::upload::{PartRow, UPLOAD_ID_BYTES, UploadId, UploadRow, UploadState};
use types::{GroupId, Version, VersionId, keys};

use super::ObjectInfo;
use super::part::OpenPart;
use super::put::{Put, PutOptions, check_metadata, now_ms};
use super::record::{Target, check_parts};
use super::source::Source;
use crate::inner::Inner;
use crate::{Client, Error};

/// Most bytes of one part.
const PART_BYTES_MAX: u64 = 128 * FID_BYTES_MAX;

/// An upload that takes parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadInfo {
    /// The object's name.
    pub name: Vec<u8>,
    /// Which upload of it.
    pub upload: UploadId,
    /// The version of its row: a new one with each part.
    pub version: Version,
    /// Wall clock of who began it, in milliseconds since 1970.
    pub began_ms: u64,
    /// The words that it began with.
    pub user_metadata: Vec<(String, String)>,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// Its number.
    pub number: u16,
    /// Bytes in it, as its writer gave them.
    pub size: u64,
    /// CRC32C of all of it, as it lies.
    pub checksum: u32,
    /// Wall clock of its writer, in milliseconds since 1970.
    pub modified_ms: u64,
    /// Words about it.
    pub user_metadata: Vec<(String, String)>,
    /// Bytes in it, as they lie.
    stored: u64,
    runs: Vec<Part>,
}

impl PartInfo {
    fn new(number: u16, row: PartRow) -> Self {
        let PartRow { size: stored, checksum, modified_ms, runs, user_metadata } = row;
        Self { number, size: plain_bytes(stored, &user_metadata), checksum, modified_ms, user_metadata, stored, runs }
    }
}

impl Client {
    /// Begins an upload with words about the object to be.
    pub async fn begin_upload(&self, bucket: &str, name: &[u8], user_metadata: Vec<(String, String)>) -> Result<UploadId, Error> {
        check_metadata(&user_metadata)?;
        let target = Target::find(&self.inner, bucket, name).await?;
        let began_ms = now_ms();
        // Uploads of one name sort by their begin.
        let mut id = [0; UPLOAD_ID_BYTES];
        id[..8].copy_from_slice(&began_ms.to_be_bytes());
        id[8..].copy_from_slice(&rand::random::<u64>().to_be_bytes());
        let upload = UploadId(id);
        let value = UploadRow { began_ms, user_metadata, state: UploadState::Open }.to_value();
        let op = Op::Put { row: target.upload_row(upload), value, condition: Condition::Absent };
        let what = format!("begin an upload of {}", target.shown());
        match self.inner.execute(&what, target.group(), vec![op]).await? {
            Outcome::Done { .. } => Ok(upload),
            Outcome::Refused { current, .. } => Err(Error::Condition { what, current }),
        }
    }

    /// An upload that takes parts. `NotFound` where there is none, or it has ended.
    pub async fn upload(&self, bucket: &str, name: &[u8], upload: UploadId) -> Result<UploadInfo, Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let what = format!("look for an upload of {}", target.shown());
        let row = self.inner.read(&what, target.group(), vec![target.upload_row(upload)]).await?.pop().flatten();
        let info = row.map(|row| read_upload(name, upload, &row)).transpose()?.flatten();
        info.ok_or_else(|| target.no_upload())
    }

    /// Writes a part from `source`: exactly `length` bytes of it, or all it gives where `None`. One with that number is replaced.
    /// `words_at_end` gives the words about it when all of `source` was read; `None` says that it was not.
    #[expect(clippy::too_many_arguments, reason = "what is written, where, and as what")]
    pub async fn put_part<R: AsyncRead + Unpin + Send>(
        &self,
        bucket: &str,
        name: &[u8],
        upload: UploadId,
        number: u16,
        source: R,
        length: Option<u64>,
        words_at_end: impl FnOnce() -> Option<Vec<(String, String)>> + Send,
    ) -> Result<PartInfo, Error> {
        if length.is_some_and(|length| length > PART_BYTES_MAX) {
            return Err(Error::Invalid(format!("a part has at most {PART_BYTES_MAX} bytes: upload it as several")));
        }
        let target = Target::find(&self.inner, bucket, name).await?;
        let mut source = Source::new(target.shown(), source, length);
        let unit_bytes = layout::stripe::unit_bytes_for(length);
        let mut put = Put::new(self.inner.clone(), target.clone(), PutOptions::default(), unit_bytes);
        let result = match put.run(&mut source).await {
            Ok(()) => {
                let unread = || Error::Invalid(format!("the source of {} was not read to its end", target.shown()));
                match words_at_end().ok_or_else(unread).and_then(|words| check_metadata(&words).map(|()| words)) {
                    Ok(user_metadata) => {
                        let runs = put.parts.iter().map(OpenPart::to_part).collect();
                        let (size, checksum) = (put.durable(), put.checksum.finish());
                        let row = PartRow { size, checksum, modified_ms: now_ms(), runs, user_metadata };
                        self.commit_part(&target, upload, number, row).await
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        put.abandon(&result).await;
        result
    }

    async fn commit_part(&self, target: &Target, upload: UploadId, number: u16, row: PartRow) -> Result<PartInfo, Error> {
        let what = format!("write part {number} of {}", target.shown());
        let op = Op::PutPart {
            catalogue: target.bucket.0.id,
            name: target.name.clone(),
            upload,
            number,
            part: row.to_value(),
            pending: row.fids().collect(),
        };
        match self.inner.execute(&what, target.group(), vec![op]).await? {
            Outcome::Done { .. } => Ok(PartInfo::new(number, row)),
            Outcome::Refused { current: None, .. } => Err(target.no_upload()),
            Outcome::Refused { .. } => {
                let reason = "its fids were swept meanwhile: the session was closed".to_string();
                Err(Error::Unavailable { what, reason, waited: self.inner.options.timeout })
            }
        }
    }

    /// Parts of an upload in the order of their numbers, after one, at most so many; and whether there are more.
    pub async fn parts(
        &self,
        bucket: &str,
        name: &[u8],
        upload: UploadId,
        after: u16,
        limit: usize,
    ) -> Result<(Vec<PartInfo>, bool), Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let what = format!("list the parts of {}", target.shown());
        let (prefix, group) = (keys::parts(name, upload), target.group());
        let mut found = Vec::new();
        let mut next = after.checked_add(1);
        while let Some(number) = next
            && found.len() < limit
        {
            let from = keys::part(name, upload, number);
            let wanted = (limit - found.len()).min(SCAN_KEYS_MAX) as u32;
            let page = self.inner.scan_of(&what, target.bucket.0.id, |of| of == group, &from, &prefix, wanted, true).await?;
            for row in &page.rows {
                let Some(keys::Key::Part(_, _, number)) = keys::Key::parse(&row.key) else { continue };
                found.push(read_part(&target, number, &row.row)?);
            }
            next = found.last().filter(|_| page.more).and_then(|last: &PartInfo| last.number.checked_add(1));
        }
        Ok((found, next.is_some()))
    }

    /// Makes the object of these parts, in their order, as they were when the upload had the version `seen`. Nothing happens, and `None` is
    /// said, where it has another one now or has ended. `Condition` where the object that is replaced is not as `condition` says.
    #[expect(clippy::too_many_arguments, reason = "what becomes which object, and if what")]
    pub async fn complete_upload(
        &self,
        bucket: &str,
        name: &[u8],
        upload: UploadId,
        seen: Version,
        parts: &[PartInfo],
        user_metadata: Vec<(String, String)>,
        condition: Condition,
    ) -> Result<Option<ObjectInfo>, Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let what = format!("complete an upload of {}", target.shown());
        let record = joined(parts, user_metadata, &target)?;
        let op = Op::CompleteUpload {
            catalogue: target.bucket.0.id,
            name: target.name.clone(),
            upload,
            seen,
            kept: parts.iter().map(|part| part.number).collect(),
            record: record.to_value(),
            condition,
            versioning: Versioning::Off,
        };
        match self.inner.execute(&what, target.group(), vec![op]).await? {
            Outcome::Done { version, versioning, .. } => {
                let record = ObjectRecord { id: versioning.id(version), ..record };
                Ok(Some(ObjectInfo::new(&target.name, version, record).0))
            }
            Outcome::Refused { current, .. } => match self.upload(bucket, name, upload).await {
                Ok(now) if now.version == seen => Err(Error::Condition { what, current }),
                Ok(_) | Err(Error::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Gives an upload up. `NotFound` where there is none, or it has ended.
    pub async fn end_upload(&self, bucket: &str, name: &[u8], upload: UploadId) -> Result<(), Error> {
        let target = Target::find(&self.inner, bucket, name).await?;
        let what = format!("give up an upload of {}", target.shown());
        let op = Op::EndUpload { catalogue: target.bucket.0.id, name: target.name.clone(), upload };
        match self.inner.execute(&what, target.group(), vec![op]).await? {
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused { .. } => Err(target.no_upload()),
        }
    }
}

impl Target {
    fn group(&self) -> GroupId {
        Inner::group_of(&self.bucket, &self.name)
    }

    fn upload_row(&self, upload: UploadId) -> RowKey {
        RowKey { catalogue: self.bucket.0.id, key: keys::upload(&self.name, upload) }
    }

    fn no_upload(&self) -> Error {
        Error::NotFound(format!("the upload of object {}", self.shown()))
    }
}

/// The upload of a row, unless it has ended.
pub(super) fn read_upload(name: &[u8], upload: UploadId, row: &Row) -> Result<Option<UploadInfo>, Error> {
    let corrupt = |e: types::object::RowError| Error::Corrupt { what: "the record of an upload".into(), reason: e.to_string() };
    let UploadRow { began_ms, user_metadata, state } = UploadRow::from_value(&row.value).map_err(corrupt)?;
    let info = UploadInfo { name: name.to_vec(), upload, version: row.version, began_ms, user_metadata };
    Ok((state == UploadState::Open).then_some(info))
}

fn read_part(target: &Target, number: u16, row: &Row) -> Result<PartInfo, Error> {
    let corrupt = |reason: String| Error::Corrupt { what: format!("the record of part {number} of {}", target.shown()), reason };
    let part = PartRow::from_value(&row.value).map_err(|e| corrupt(e.to_string()))?;
    check_parts(&part.runs, part.size).map_err(corrupt)?;
    Ok(PartInfo::new(number, part))
}

/// The record of an object that is made of these parts.
fn joined(parts: &[PartInfo], user_metadata: Vec<(String, String)>, target: &Target) -> Result<ObjectRecord, Error> {
    let (mut size, mut checksum, mut all) = (0, types::checksum::crc32c(&[]), Vec::new());
    for part in parts {
        all.extend(part.runs.iter().map(|run| Part { offset: size + run.offset, ..run.clone() }));
        checksum = crc32c_joined(checksum, part.checksum, part.stored);
        size += part.stored;
    }
    if all.len() > PARTS_OF_UPLOAD_MAX {
        let words = format!("{} lies in {} chunks: at most {PARTS_OF_UPLOAD_MAX}; store it as several", target.shown(), all.len());
        return Err(Error::Invalid(words));
    }
    Ok(ObjectRecord { size, checksum, modified_ms: now_ms(), content: Content::Parts(all), user_metadata, id: VersionId::Null })
}
