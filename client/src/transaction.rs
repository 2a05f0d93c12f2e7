//! Transactions over keys of indices, wherever these keys lie: all of it happens, or nothing does, after any failures.
//!
//! Nobody is kept from seeing one key of it before another: there is no isolation between groups. Two transactions that write the same keys at
//! once leave some keys of one and some of the other; one that is begun after the other was answered comes after it everywhere. One whose outcome
//! is not known may be done at any later time, and counts as still going on. Conditions may be on keys of one group only, the one that decides;
//! where all keys are conditional that is seldom more than one key.

use std::collections::BTreeMap;

use types::keys;
use types::map::CatalogueKind;
use types::ops::{Condition, Op};
use types::record::{Outcome, RowKey, Write};
use types::{CatalogueId, GroupId};

use crate::inner::Inner;
use crate::name::{check_name, check_value, escaped};
use crate::{Client, Error};

/// Puts and deletes that are done together; [`Client::commit`] does them.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    index: String,
    key: Vec<u8>,
    /// None deletes.
    value: Option<Vec<u8>>,
    condition: Condition,
}

/// What a transaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Puts and deletes that were done.
    pub changes: usize,
    /// Over how many groups.
    pub groups: usize,
}

impl Transaction {
    /// One that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, index: &str, key: &[u8], value: &[u8]) -> &mut Self {
        self.put_if(index, key, value, Condition::Always)
    }

    /// Sets a key; where the condition does not hold, nothing of the transaction is done.
    pub fn put_if(&mut self, index: &str, key: &[u8], value: &[u8], condition: Condition) -> &mut Self {
        self.changes.push(Change { index: index.into(), key: key.into(), value: Some(value.into()), condition });
        self
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, index: &str, key: &[u8]) -> &mut Self {
        self.delete_if(index, key, Condition::Always)
    }

    /// Removes a key; where the condition does not hold, nothing of the transaction is done.
    pub fn delete_if(&mut self, index: &str, key: &[u8], condition: Condition) -> &mut Self {
        self.changes.push(Change { index: index.into(), key: key.into(), value: None, condition });
        self
    }

    /// How many puts and deletes it has.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A change with its place.
struct Placed<'a> {
    change: &'a Change,
    catalogue: CatalogueId,
    group: GroupId,
}

impl Placed<'_> {
    fn row(&self) -> RowKey {
        RowKey { catalogue: self.catalogue, key: keys::user(&self.change.key) }
    }

    fn op(&self) -> Op {
        let (row, condition) = (self.row(), self.change.condition);
        match &self.change.value {
            Some(value) => Op::Put { row, value: value.clone(), condition },
            None => Op::Delete { row, condition },
        }
    }

    fn write(&self) -> Write {
        match &self.change.value {
            Some(value) => Write::Put { row: self.row(), value: value.clone() },
            None => Write::Delete { row: self.row() },
        }
    }
}

impl Client {
    /// Does all of a transaction, or nothing. `Condition` where one of its conditions does not hold.
    pub async fn commit(&self, transaction: &Transaction) -> Result<Committed, Error> {
        let mut indices = BTreeMap::new();
        let mut placed = Vec::with_capacity(transaction.len());
        for change in &transaction.changes {
            check_name("the key", &change.key)?;
            check_value("the value", change.value.as_deref().unwrap_or_default())?;
            if !indices.contains_key(&change.index) {
                let found = self.inner.catalogue(CatalogueKind::Index, &change.index).await?;
                indices.insert(change.index.clone(), found);
            }
            let index = &indices[&change.index];
            placed.push(Placed { change, catalogue: index.0.id, group: Inner::group_of(index, &change.key) });
        }
        let decides = deciding(&placed)?;
        let (own, others): (Vec<&Placed<'_>>, Vec<_>) = placed.iter().partition(|change| change.group == decides);
        let mut parts: BTreeMap<GroupId, Vec<Write>> = BTreeMap::new();
        for change in others {
            parts.entry(change.group).or_default().push(change.write());
        }
        let committed = Committed { changes: placed.len(), groups: 1 + parts.len() };
        let ops = own.iter().map(|change| change.op()).collect();
        let what = format!("a transaction of {} changes", placed.len());
        match self.inner.execute_with(&what, decides, ops, parts.into_iter().collect()).await? {
            Outcome::Done { .. } => Ok(committed),
            Outcome::Refused { op, current } => {
                let change = own.get(op as usize).map(|placed| placed.change);
                let which = change.map_or_else(String::new, |c| format!("key {} of index {} in ", escaped(&c.key), c.index));
                Err(Error::Condition { what: format!("{which}{what}"), current })
            }
        }
    }
}

/// The group that decides: the one with the conditions; the first, where there are none.
fn deciding(placed: &[Placed<'_>]) -> Result<GroupId, Error> {
    let Some(first) = placed.first() else { return Err(Error::Invalid("a transaction has 1 put or delete at least".into())) };
    let mut conditional = placed.iter().filter(|change| change.change.condition != Condition::Always);
    let Some(decides) = conditional.next() else { return Ok(first.group) };
    match conditional.find(|other| other.group != decides.group) {
        None => Ok(decides.group),
        Some(other) => Err(Error::Invalid(format!(
            "the keys {} and {} have conditions and lie in different groups: conditions of one transaction are on keys of one group",
            escaped(&decides.change.key),
            escaped(&other.change.key)
        ))),
    }
}
