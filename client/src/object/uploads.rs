//! Lists the uploads of a bucket that take parts: by name, then by their begin, with names rolled up at a delimiter.

use types::keys::{self, Key, kind};
use types::limits::SCAN_KEYS_MAX;
use types::map::CatalogueKind;
use types::upload::UploadId;

use super::list::{after_prefix, rolled_up};
use super::upload::{UploadInfo, read_upload};
use crate::{Client, Error};

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadToken {
    /// The last name, or the last rolled-up prefix.
    pub name: Vec<u8>,
    /// The last upload of it; all of them where `None`.
    pub upload: Option<UploadId>,
}

/// A page of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// The uploads.
    pub uploads: Vec<UploadInfo>,
    /// The rolled-up prefixes, delimiter included.
    pub prefixes: Vec<Vec<u8>>,
    /// Where the next page begins. `None` on the last page.
    pub next: Option<UploadToken>,
}

impl Client {
    /// At most `limit` uploads and rolled-up prefixes of a bucket, of names that begin with `prefix`, after a token.
    pub async fn uploads(
        &self,
        bucket: &str,
        prefix: &[u8],
        delimiter: Option<&[u8]>,
        after: Option<UploadToken>,
        limit: usize,
    ) -> Result<UploadPage, Error> {
        let (catalogue, _) = self.inner.catalogue(CatalogueKind::Bucket, bucket).await?;
        let what = format!("list the uploads of bucket {bucket}");
        let all = keyed(prefix);
        let mut from = match after {
            Some(token) => after_token(&token, prefix, delimiter).map(|next| next.max(all.clone())),
            None => Some(all.clone()),
        };
        let mut page = UploadPage::default();
        let mut last = None;
        while let Some(start) = from.take() {
            let rows = self.inner.scan(&what, catalogue.id, &start, &all, SCAN_KEYS_MAX as u32, true).await?;
            for row in &rows.rows {
                let Some(Key::Upload(name, upload)) = Key::parse(&row.key) else { continue };
                let rolled = rolled_up(name, prefix, delimiter);
                if rolled.is_some_and(|rolled| page.prefixes.last().is_some_and(|known| known == rolled)) {
                    continue;
                }
                let Some(info) = read_upload(name, upload, &row.row)? else { continue };
                if page.uploads.len() + page.prefixes.len() == limit {
                    page.next = last;
                    return Ok(page);
                }
                last = Some(match rolled {
                    Some(rolled) => {
                        page.prefixes.push(rolled.to_vec());
                        UploadToken { name: rolled.to_vec(), upload: None }
                    }
                    None => {
                        page.uploads.push(info);
                        UploadToken { name: name.to_vec(), upload: Some(upload) }
                    }
                });
            }
            from = rows.rows.last().filter(|_| rows.more).map(|row| [&row.key[..], &[0]].concat());
        }
        Ok(page)
    }
}

fn keyed(name: &[u8]) -> Vec<u8> {
    [&[kind::UPLOAD], name].concat()
}

/// The first key after a token; `None` where there cannot be one.
fn after_token(token: &UploadToken, prefix: &[u8], delimiter: Option<&[u8]>) -> Option<Vec<u8>> {
    if rolled_up(&token.name, prefix, delimiter).is_some_and(|rolled| rolled == token.name) {
        return after_prefix(&token.name).map(|next| keyed(&next));
    }
    // Names sort after all uploads of the names that they begin with.
    let next = token.upload.map_or([keyed(&token.name), vec![1]].concat(), |upload| [keys::upload(&token.name, upload), vec![0]].concat());
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_begins_after_the_token() {
        let (first, second) = (UploadId([1; 16]), UploadId([2; 16]));
        let token = |name: &[u8], upload| UploadToken { name: name.to_vec(), upload };
        let next = after_token(&token(b"a", Some(first)), b"", None).expect("there may be one");
        assert!(keys::upload(b"a", first) < next && next <= keys::upload(b"a", second));
        let next = after_token(&token(b"a", None), b"", None).expect("there may be one");
        assert!(keys::upload(b"a", UploadId([0xff; 16])) < next && next <= keys::upload(b"a\x01", first));
        let next = after_token(&token(b"a/", None), b"", Some(b"/")).expect("there may be one");
        assert!(keys::upload(b"a/zz", second) < next && next <= keys::upload(b"a0", first));
    }
}
