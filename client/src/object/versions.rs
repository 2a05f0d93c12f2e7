//! Lists the versions of a bucket: by name, of each from the newest on, with names rolled up at a delimiter.
//!
//! What is current and what is not lies in rows of different kinds: both are read in the order of names and merged. Objects are read first:
//! one that is replaced meanwhile is seen in one of both. One that becomes current again while its bucket is listed may be passed over.

use std::collections::VecDeque;

use types::keys::{self, Key, Place};
use types::limits::SCAN_KEYS_MAX;
use types::map::{Catalogue, CatalogueKind};
use types::object::{Stored, VersionRow};
use types::record::Row;
use types::wire::request::ScanRow;
use types::{Seq, Version, VersionId};

use super::list::{after_prefix, rolled_up};
use super::record::{Target, read_record, read_version};
use super::version::VersionInfo;
use crate::inner::Inner;
use crate::{Client, Error, escaped};

/// Which page of the versions of a bucket.
#[derive(Clone, Debug, Default)]
pub struct VersionsRequest {
    /// Only names that begin so.
    pub prefix: Vec<u8>,
    /// Only what comes after this: the token of the page before.
    pub after: Option<VersionToken>,
    /// Names that hold these bytes after the prefix are rolled up into one entry.
    pub delimiter: Option<Vec<u8>>,
    /// At most so many versions and rolled-up prefixes together, 1 to 1000; 0 says 1000.
    pub limit: usize,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionToken {
    /// The last name, or the last rolled-up prefix.
    pub name: Vec<u8>,
    /// The last version of it; all of them where `None`.
    pub id: Option<VersionId>,
}

/// A page of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionPage {
    /// The versions and delete markers.
    pub versions: Vec<VersionInfo>,
    /// The rolled-up prefixes, delimiter included.
    pub prefixes: Vec<Vec<u8>>,
    /// Where the next page begins. `None` on the last page.
    pub next: Option<VersionToken>,
}

impl Client {
    /// One page of the versions of a bucket.
    pub async fn versions(&self, bucket: &str, request: &VersionsRequest) -> Result<VersionPage, Error> {
        let catalogue = self.inner.catalogue(CatalogueKind::Bucket, bucket).await?.0;
        let limit = if request.limit == 0 { SCAN_KEYS_MAX } else { request.limit.min(SCAN_KEYS_MAX) };
        let delimiter = request.delimiter.as_deref();
        let mut page = VersionPage::default();
        let mut merged = Merged::new(self, bucket, catalogue, request.prefix.clone());
        if let Some(token) = &request.after
            && !merged.go_after(token, delimiter).await?
        {
            return Ok(page);
        }
        let mut last = None;
        while let Some(version) = merged.next().await? {
            if page.versions.len() + page.prefixes.len() == limit {
                page.next = last;
                return Ok(page);
            }
            match rolled_up(&version.name, &request.prefix, delimiter) {
                Some(rolled) => {
                    page.prefixes.push(rolled.to_vec());
                    last = Some(VersionToken { name: rolled.to_vec(), id: None });
                    if !merged.pass(rolled) {
                        break;
                    }
                }
                None => {
                    last = Some(VersionToken { name: version.name.clone(), id: Some(version.id) });
                    page.versions.push(version);
                }
            }
        }
        Ok(page)
    }
}

/// Rows of one kind, in the order of their keys.
struct Stream {
    prefix: Vec<u8>,
    ready: VecDeque<ScanRow>,
    /// Where to go on reading; `None` at the end.
    from: Option<Vec<u8>>,
}

impl Stream {
    fn new(prefix: Vec<u8>) -> Self {
        Self { from: Some(prefix.clone()), prefix, ready: VecDeque::new() }
    }

    /// Passes over all keys before this one.
    fn skip_to(&mut self, key: Vec<u8>) {
        while self.ready.front().is_some_and(|row| row.key < key) {
            self.ready.pop_front();
        }
        if self.ready.is_empty() && self.from.as_ref().is_some_and(|from| *from < key) {
            self.from = Some(key);
        }
    }

    async fn fill(&mut self, merged: &Listed<'_>) -> Result<(), Error> {
        while self.ready.is_empty()
            && let Some(from) = self.from.take()
        {
            let inner = &merged.client.inner;
            let page = inner.scan(&merged.what, merged.catalogue.id, &from, &self.prefix, SCAN_KEYS_MAX as u32, true).await?;
            self.from = page.rows.last().filter(|_| page.more).map(|row| [&row.key[..], &[0]].concat());
            self.ready = page.rows.into();
        }
        Ok(())
    }
}

/// The bucket that is listed.
struct Listed<'a> {
    client: &'a Client,
    bucket: &'a str,
    what: String,
    catalogue: Catalogue,
}

/// All versions, in the order of a listing.
struct Merged<'a> {
    of: Listed<'a>,
    objects: Stream,
    versions: Stream,
    /// The name whose versions are being given, and which of them was current.
    name: Option<(Vec<u8>, Option<VersionId>)>,
    /// Its null version, until its place among the others has come.
    null: Option<(VersionRow, Version)>,
}

impl<'a> Merged<'a> {
    fn new(client: &'a Client, bucket: &'a str, catalogue: Catalogue, prefix: Vec<u8>) -> Self {
        let what = format!("list the versions of bucket {bucket}");
        let (objects, versions) = (Stream::new(keys::object(&prefix)), Stream::new(keys::versions(&prefix)));
        Self { of: Listed { client, bucket, what, catalogue }, objects, versions, name: None, null: None }
    }

    /// Goes to what comes after a token; whether there can be something.
    async fn go_after(&mut self, token: &VersionToken, delimiter: Option<&[u8]>) -> Result<bool, Error> {
        let prefix = self.objects.prefix[1..].to_vec();
        if rolled_up(&token.name, &prefix, delimiter).is_some_and(|rolled| rolled == token.name) {
            return Ok(self.pass(&token.name.clone()));
        }
        self.objects.skip_to([keys::object(&token.name), vec![0]].concat());
        let Some(id) = token.id.filter(|_| token.name.starts_with(&prefix)) else {
            self.versions.skip_to(keys::after_versions(&token.name));
            return Ok(true);
        };
        // Where that version stands among the others of its name, if it is there still.
        let target = Target::find(&self.of.client.inner, self.of.bucket, &token.name).await?;
        let null = match target.kept_null(&self.of.client.inner).await? {
            Some(row) => Some((read_version(&target.shown(), &row)?, row.version)),
            None => None,
        };
        let after = match (id, &null) {
            (VersionId::At(seq), _) => seq,
            (VersionId::Null, Some((null, _))) => null.order,
            // It is current, or gone.
            (VersionId::Null, None) => match target.find_version(&self.of.client.inner, Some(id)).await {
                Ok(_) => Seq(u64::MAX - 2),
                Err(Error::NotFound(_)) => Seq(0),
                Err(error) => return Err(error),
            },
        };
        self.null = null.filter(|(null, _)| null.order < after);
        self.name = Some((token.name.clone(), Some(id)));
        self.versions.skip_to(match after.0.checked_sub(1) {
            Some(before) => keys::version(&token.name, Place::Kept(VersionId::At(Seq(before)))),
            None => keys::after_versions(&token.name),
        });
        Ok(true)
    }

    /// Passes over all names that begin so; whether there can be others.
    fn pass(&mut self, prefix: &[u8]) -> bool {
        (self.name, self.null) = (None, None);
        let Some(next) = after_prefix(prefix) else { return false };
        self.objects.skip_to(keys::object(&next));
        self.versions.skip_to(keys::versions(&next));
        true
    }

    /// The next version.
    async fn next(&mut self) -> Result<Option<VersionInfo>, Error> {
        loop {
            self.objects.fill(&self.of).await?;
            self.versions.fill(&self.of).await?;
            let object = self.objects.ready.front().and_then(|row| match Key::parse(&row.key) {
                Some(Key::Object(name)) => Some(name.to_vec()),
                _ => None,
            });
            let kept = self.versions.ready.front().and_then(|row| match Key::parse(&row.key) {
                Some(Key::Version(name, place)) => Some((name.into_owned(), place)),
                _ => None,
            });
            // What is left of the name that was begun comes first.
            if let Some((name, _)) = &self.name
                && kept.as_ref().is_none_or(|(next, _)| next != name)
            {
                let name = name.clone();
                if let Some((row, version)) = self.null.take() {
                    if let Some(info) = self.kept(&name, row, version) {
                        return Ok(Some(info));
                    }
                    continue;
                }
                self.name = None;
            }
            let Some((next, place)) = kept else {
                return if object.is_some() { self.object().map(Some) } else { Ok(None) };
            };
            if object.is_some_and(|object| object <= next) && self.name.is_none() {
                return self.object().map(Some);
            }
            if let Some(info) = self.version(next, place)? {
                return Ok(Some(info));
            }
        }
    }

    /// The object that is next.
    fn object(&mut self) -> Result<VersionInfo, Error> {
        let row = self.objects.ready.pop_front().expect("it was looked at");
        let name = &row.key[1..];
        let (version, record) = read_record(&format!("{}/{}", self.of.bucket, escaped(name)), &row.row)?;
        self.name = Some((name.to_vec(), Some(record.id)));
        Ok(VersionInfo::new(name, version, true, record.id, Stored::Object(record)))
    }

    /// The version that is next, or the null version where its place is before that.
    fn version(&mut self, name: Vec<u8>, place: Place) -> Result<Option<VersionInfo>, Error> {
        let row = self.versions.ready.front().expect("it was looked at");
        let (version, found) = (row.row.version, read_version(&format!("{}/{}", self.of.bucket, escaped(&name)), &row.row)?);
        if self.name.as_ref().is_none_or(|(begun, _)| *begun != name) {
            self.name = Some((name.clone(), None));
        }
        if let Some((null, of_null)) = self.null.take_if(|(null, _)| null.order > found.order) {
            return Ok(self.kept(&name, null, of_null));
        }
        self.versions.ready.pop_front();
        match place {
            // One that was replaced since the objects were read is current no more.
            Place::Marker if self.name.as_ref().is_some_and(|(_, current)| current.is_some()) => Ok(None),
            Place::Marker => {
                self.name = Some((name.clone(), Some(found.id)));
                Ok(Some(VersionInfo::new(&name, version, true, found.id, found.version)))
            }
            Place::Kept(VersionId::Null) => {
                self.null = Some((found, version));
                Ok(None)
            }
            Place::Kept(_) => Ok(self.kept(&name, found, version)),
        }
    }

    /// A version that is not current; none where it was given as the current one already.
    fn kept(&self, name: &[u8], row: VersionRow, version: Version) -> Option<VersionInfo> {
        let given = self.name.as_ref().is_some_and(|(_, current)| *current == Some(row.id));
        (!given).then(|| VersionInfo::new(name, version, false, row.id, row.version))
    }
}

impl Target {
    /// The row of the null version, where it is not current.
    async fn kept_null(&self, inner: &std::sync::Arc<Inner>) -> Result<Option<Row>, Error> {
        let what = format!("look for object {}", self.shown());
        let row = self.row(keys::version(&self.name, Place::Kept(VersionId::Null)));
        Ok(inner.read(&what, Inner::group_of(&self.bucket, &self.name), vec![row]).await?.pop().flatten())
    }
}
