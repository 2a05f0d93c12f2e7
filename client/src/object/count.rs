//! Counts what is in a bucket, row by row: current objects, former versions, and parts of uploads that are open. What is written or deleted meanwhile counts
//! or does not; what becomes an object or a former version while it is counted may count twice.

use types::keys::{Key, kind};
use types::limits::SCAN_KEYS_MAX;
use types::map::CatalogueKind;
use types::object::{ObjectRecord, Stored, VersionRow, plain_bytes};
use types::quota::Usage;
use types::upload::{PartRow, UploadId};
use types::wire::request::ScanRow;

use crate::{Client, Error};

impl Client {
    /// How much is in a bucket.
    pub async fn count(&self, bucket: &str) -> Result<Usage, Error> {
        let (catalogue, _) = self.inner.catalogue(CatalogueKind::Bucket, bucket).await?;
        let what = format!("count what is in bucket `{bucket}`");
        let mut usage = Usage::default();
        // The upload whose parts were seen last, and whether it is open.
        let mut of = None;
        // In the order in which rows become each other, so that nothing is missed.
        for kind in [kind::PART, kind::OBJECT, kind::VERSION] {
            let mut from = Some(vec![kind]);
            while let Some(start) = from.take() {
                let page = self.inner.scan(&what, catalogue.id, &start, &[kind], SCAN_KEYS_MAX as u32, true).await?;
                for row in &page.rows {
                    if let Some(Key::Part(name, upload, _)) = Key::parse(&row.key)
                        && !self.is_open(bucket, name, upload, &mut of).await?
                    {
                        continue;
                    }
                    usage = usage.plus(
                        counted(kind, row).ok_or_else(|| Error::Corrupt { what: what.clone(), reason: "a row cannot be read".into() })?,
                    );
                }
                from = page.rows.last().filter(|_| page.more).map(|row| [&row.key[..], &[0]].concat());
            }
        }
        Ok(usage)
    }

    /// Whether an upload takes parts: those of one that was completed or given up go by themselves, and are no more than what it left.
    async fn is_open(
        &self,
        bucket: &str,
        name: &[u8],
        upload: UploadId,
        of: &mut Option<(Vec<u8>, UploadId, bool)>,
    ) -> Result<bool, Error> {
        if let Some((known, of, is_open)) = of
            && (known.as_slice(), *of) == (name, upload)
        {
            return Ok(*is_open);
        }
        let is_open = match self.upload(bucket, name, upload).await {
            Ok(_) => true,
            Err(Error::NotFound(_)) => false,
            Err(error) => return Err(error),
        };
        *of = Some((name.to_vec(), upload, is_open));
        Ok(is_open)
    }
}

/// What a row of that kind counts for.
fn counted(row_kind: u8, scanned: &ScanRow) -> Option<Usage> {
    let value = &scanned.row.value;
    let object = |record: &ObjectRecord| Usage { bytes: record.plain_bytes(), objects: 1 };
    Some(match row_kind {
        kind::OBJECT => object(&ObjectRecord::from_value(value).ok()?),
        kind::VERSION => match &VersionRow::from_value(value).ok()?.version {
            Stored::Object(record) => object(record),
            Stored::Marker { .. } => Usage::default(),
        },
        _ => {
            let part = PartRow::from_value(value).ok()?;
            Usage { bytes: plain_bytes(part.size, &part.user_metadata), objects: 0 }
        }
    })
}
