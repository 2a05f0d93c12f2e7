//! Indices: ordered maps of a user's keys and values, each key replicated and transactional.

use std::sync::Arc;

use types::Version;
use types::keys::{self, Key};
use types::limits::SCAN_KEYS_MAX;
use types::map::{Catalogue, CatalogueKind, Pool};
use types::ops::{Condition, Op};
use types::record::{Outcome, Row, RowKey};

use crate::inner::Inner;
use crate::name::{check_name, check_value, escaped};
use crate::{Client, Error};

/// A value with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// Its value; empty where it was not asked for.
    pub value: Vec<u8>,
    /// Its version: a new one with each put.
    pub version: Version,
}

/// Which page of an index.
#[derive(Clone, Debug, Default)]
pub struct ScanRequest {
    /// Only keys that begin so.
    pub prefix: Vec<u8>,
    /// Only keys at or after this one.
    pub from: Vec<u8>,
    /// At most so many, 1 to 1000; 0 says 1000.
    pub limit: usize,
    /// Leave the values out.
    pub keys_only: bool,
}

/// A page of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// The entries, in the order of the keys' bytes.
    pub entries: Vec<Entry>,
    /// Where the next page begins: give it as [`ScanRequest::from`]. `None` on the last page.
    pub next: Option<Vec<u8>>,
}

impl Client {
    /// Sets a key, if the condition holds; gives its new version.
    pub async fn index_put(&self, index: &str, key: &[u8], value: &[u8], condition: Condition) -> Result<Version, Error> {
        check_value("the value", value)?;
        let place = Place::find(&self.inner, index, key).await?;
        let op = Op::Put { row: place.row(), value: value.to_vec(), condition };
        match place.execute(&self.inner, "put", op).await? {
            Outcome::Done { version, .. } => Ok(version),
            Outcome::Refused { current, .. } => Err(Error::Condition { what: place.what("put"), current }),
        }
    }

    /// The value of a key, as it is now; `None` where there is none.
    pub async fn index_get(&self, index: &str, key: &[u8]) -> Result<Option<Entry>, Error> {
        let place = Place::find(&self.inner, index, key).await?;
        let rows = self.inner.read(&place.what("get"), place.group(), vec![place.row()]).await?;
        Ok(rows.into_iter().next().flatten().map(|Row { version, value }| Entry { key: key.to_vec(), value, version }))
    }

    /// Removes a key. `NotFound` where it is not there, `Condition` where it has another version than the condition says.
    pub async fn index_delete(&self, index: &str, key: &[u8], condition: Condition) -> Result<(), Error> {
        let place = Place::find(&self.inner, index, key).await?;
        let condition = if condition == Condition::Always { Condition::Present } else { condition };
        match place.execute(&self.inner, "delete", Op::Delete { row: place.row(), condition }).await? {
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused { current: None, .. } => Err(Error::NotFound(place.what("key"))),
            Outcome::Refused { current, .. } => Err(Error::Condition { what: place.what("delete"), current }),
        }
    }

    /// One page of an index.
    pub async fn index_scan(&self, index: &str, request: &ScanRequest) -> Result<ScanPage, Error> {
        let limit = if request.limit == 0 { SCAN_KEYS_MAX } else { request.limit.min(SCAN_KEYS_MAX) };
        let (catalogue, _) = self.inner.catalogue(CatalogueKind::Index, index).await?;
        let from = keys::user(request.from.as_slice().max(request.prefix.as_slice()));
        let (prefix, what) = (keys::user(&request.prefix), format!("scan index {index}"));
        let page = self.inner.scan(&what, catalogue.id, &from, &prefix, limit as u32, !request.keys_only).await?;
        let entry = |row: types::wire::request::ScanRow| match Key::parse(&row.key) {
            Some(Key::User(key)) => Some(Entry { key: key.to_vec(), value: row.row.value, version: row.row.version }),
            _ => None,
        };
        let entries: Vec<Entry> = page.rows.into_iter().filter_map(entry).collect();
        let next = entries.last().filter(|_| page.more).map(|last| [last.key.as_slice(), &[0]].concat());
        Ok(ScanPage { entries, next })
    }
}

/// A key in its index.
struct Place {
    index: (Catalogue, Pool),
    key: Vec<u8>,
}

impl Place {
    async fn find(inner: &Inner, index: &str, key: &[u8]) -> Result<Self, Error> {
        check_name("the key", key)?;
        let index = inner.catalogue(CatalogueKind::Index, index).await?;
        Ok(Self { index, key: key.to_vec() })
    }

    fn row(&self) -> RowKey {
        RowKey { catalogue: self.index.0.id, key: keys::user(&self.key) }
    }

    fn group(&self) -> types::GroupId {
        Inner::group_of(&self.index, &self.key)
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} {} of index {}", escaped(&self.key), self.index.0.name)
    }

    async fn execute(&self, inner: &Arc<Inner>, verb: &str, op: Op) -> Result<Outcome, Error> {
        inner.execute(&self.what(verb), self.group(), vec![op]).await
    }
}
