//! Lists a bucket: in pages, in the order of the names' bytes, with names rolled up at a delimiter.

use types::keys::{self, Key};
use types::limits::SCAN_KEYS_MAX;
use types::map::CatalogueKind;

use super::ObjectInfo;
use super::record::read_record;
use crate::{Client, Error, escaped};

/// Which page of a bucket.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Only names that begin so.
    pub prefix: Vec<u8>,
    /// Only names after this one: the token of the page before.
    pub after: Option<Vec<u8>>,
    /// Names that hold these bytes after the prefix are rolled up into one entry.
    pub delimiter: Option<Vec<u8>>,
    /// At most so many objects and rolled-up prefixes together, 1 to 1000; 0 says 1000.
    pub limit: usize,
}

/// A page of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects.
    pub objects: Vec<ObjectInfo>,
    /// The rolled-up prefixes, delimiter included.
    pub prefixes: Vec<Vec<u8>>,
    /// Where the next page begins: give it as [`ListRequest::after`]. `None` on the last page.
    pub next: Option<Vec<u8>>,
}

impl Client {
    /// One page of a bucket.
    pub async fn list(&self, bucket: &str, request: &ListRequest) -> Result<ListPage, Error> {
        let limit = if request.limit == 0 { SCAN_KEYS_MAX } else { request.limit.min(SCAN_KEYS_MAX) };
        let (catalogue, _) = self.inner.catalogue(CatalogueKind::Bucket, bucket).await?;
        let what = format!("list bucket {bucket}");
        let prefix = keys::object(&request.prefix);
        let delimiter = request.delimiter.as_deref();
        let mut from = match &request.after {
            Some(after) => after_token(after, &request.prefix, delimiter),
            None => Some(request.prefix.clone()),
        };
        let mut page = ListPage::default();
        while let Some(start) = from.take() {
            let wanted = (limit - page.len()) as u32;
            let rows = self.inner.scan(&what, catalogue.id, &keys::object(&start), &prefix, wanted, true).await?;
            let mut last = None;
            for row in &rows.rows {
                let Some(Key::Object(name)) = Key::parse(&row.key) else { continue };
                last = Some(name.to_vec());
                match rolled_up(name, &request.prefix, delimiter) {
                    Some(prefix) if page.prefixes.last().is_some_and(|last| last == prefix) => {}
                    Some(prefix) => page.prefixes.push(prefix.to_vec()),
                    None => {
                        let (version, record) = read_record(&format!("{bucket}/{}", escaped(name)), &row.row)?;
                        page.objects.push(ObjectInfo::new(name, version, record).0);
                    }
                }
            }
            let Some(last) = last.filter(|_| rows.more) else { break };
            let token = rolled_up(&last, &request.prefix, delimiter).map_or(last.clone(), <[u8]>::to_vec);
            from = after_token(&token, &request.prefix, delimiter);
            if page.len() >= limit {
                // What is left may all be rolled up already.
                let left = match &from {
                    Some(next) => self.inner.scan(&what, catalogue.id, &keys::object(next), &prefix, 1, false).await?.rows.len(),
                    None => 0,
                };
                page.next = (left > 0).then_some(token);
                break;
            }
        }
        Ok(page)
    }
}

impl ListPage {
    fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

/// The prefix that a name is rolled up into: up to the first delimiter after the prefix asked for.
pub(super) fn rolled_up<'a>(name: &'a [u8], prefix: &[u8], delimiter: Option<&[u8]>) -> Option<&'a [u8]> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let at = name.get(prefix.len()..)?.windows(delimiter.len()).position(|bytes| bytes == delimiter)?;
    Some(&name[..prefix.len() + at + delimiter.len()])
}

/// The first name after a token; `None` where there cannot be one. After a rolled-up prefix all that begins with it is passed over.
fn after_token(token: &[u8], prefix: &[u8], delimiter: Option<&[u8]>) -> Option<Vec<u8>> {
    if rolled_up(token, prefix, delimiter).is_some_and(|rolled| rolled == token) {
        return after_prefix(token);
    }
    let mut next = token.to_vec();
    next.push(0);
    Some(next.max(prefix.to_vec()))
}

/// The first byte string after all that begin with `prefix`.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rolled_up_at_the_first_delimiter_after_the_prefix() {
        assert_eq!(rolled_up(b"a/b/c", b"", Some(b"/")), Some(&b"a/"[..]));
        assert_eq!(rolled_up(b"a/b/c", b"a/", Some(b"/")), Some(&b"a/b/"[..]));
        assert_eq!(rolled_up(b"a/c", b"a/", Some(b"/")), None);
        assert_eq!(rolled_up(b"a/b/c", b"", None), None);
        assert_eq!(rolled_up(b"a//b", b"", Some(b"//")), Some(&b"a//"[..]));
        assert_eq!(rolled_up(b"a/b", b"", Some(b"//")), None);
    }

    #[test]
    fn the_next_page_begins_after_the_token() {
        assert_eq!(after_token(b"abc", b"", None), Some(b"abc\0".to_vec()));
        assert_eq!(after_token(b"a/", b"", Some(b"/")), Some(b"a0".to_vec()));
        assert_eq!(after_token(b"a", b"b", None), Some(b"b".to_vec()));
        assert_eq!(after_prefix(&[1, 0xff]), Some(vec![2]));
        assert_eq!(after_prefix(&[0xff]), None);
    }
}
