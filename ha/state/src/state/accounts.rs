//! Accounts of S3 and their keys. Secrets come encrypted, and nobody here can read them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use types::limits::{ACCOUNT_KEYS_MAX, ACCOUNT_NAME_BYTES_MAX, ACCOUNTS_MAX, SEALED_SECRET_BYTES_MAX};
use types::quota::Quota;
use types::records::{AccessKey, Account, RecordDone, is_account_name};

use super::State;
use crate::outcome::{Done, Outcome, Refused};

impl State {
    /// Accounts by their names.
    pub fn accounts(&self) -> &BTreeMap<String, Account> {
        &self.accounts
    }

    /// How much the buckets of an account may hold together, where that is bounded.
    pub fn quotas(&self) -> &BTreeMap<String, Quota> {
        &self.quotas
    }

    pub(super) fn create_account(&mut self, name: &str, display_name: &str, email: &str) -> Outcome {
        // The key of a gateway's configuration has that name.
        if !is_account_name(name) || name == types::records::ROOT || ![display_name, email].into_iter().all(is_text) {
            return Err(Refused::AccountName);
        }
        if self.accounts.contains_key(name) {
            return Ok(Done::Record(RecordDone::Exists));
        }
        // Policies, lists and objects know accounts by their names.
        if self.former_accounts.contains(name) {
            return Err(Refused::FormerAccount(name.into()));
        }
        if self.accounts.len() + self.former_accounts.len() >= ACCOUNTS_MAX {
            return Err(Refused::TooMany { what: "accounts".into(), max: ACCOUNTS_MAX });
        }
        let account = Account {
            name: name.into(),
            display_name: display_name.into(),
            email: email.into(),
            created_ms: self.wall_ms,
            disabled: false,
            keys: BTreeMap::new(),
        };
        self.accounts.insert(name.into(), account);
        self.note_account("account created", name);
        Ok(Done::Record(RecordDone::Done))
    }

    pub(super) fn set_account_disabled(&mut self, name: &str, disabled: bool) -> Outcome {
        let account = self.account_mut(name)?;
        if account.disabled != disabled {
            account.disabled = disabled;
            self.note_account(if disabled { "account disabled" } else { "account enabled" }, name);
        }
        Ok(Done::Record(RecordDone::Done))
    }

    pub(super) fn set_account_quota(&mut self, name: &str, quota: Quota) -> Outcome {
        self.account_mut(name)?;
        let before = if quota.is_set() { self.quotas.insert(name.into(), quota) } else { self.quotas.remove(name) };
        if before.unwrap_or_default() != quota {
            self.note_account("quota changed", name);
        }
        Ok(Done::Record(RecordDone::Done))
    }

    pub(super) fn delete_account(&mut self, name: &str) -> Outcome {
        if self.buckets.values().any(|bucket| bucket.owner == name) {
            return Err(Refused::OwnsBuckets(name.into()));
        }
        if self.accounts.remove(name).is_some() {
            self.quotas.remove(name);
            self.former_accounts.insert(name.into());
            self.note_account("account deleted", name);
        }
        Ok(Done::Record(RecordDone::Done))
    }

    pub(super) fn put_key(&mut self, account: &str, key: &str, sealed_secret: &[u8]) -> Outcome {
        if !is_account_name(key) || sealed_secret.len() > SEALED_SECRET_BYTES_MAX {
            return Err(Refused::AccountName);
        }
        let holder = self.accounts.values().find(|other| other.keys.contains_key(key));
        if let Some(holder) = holder {
            let is_same = holder.name == account && holder.keys[key].sealed_secret == sealed_secret;
            return Ok(Done::Record(if is_same { RecordDone::Done } else { RecordDone::Exists }));
        }
        let created_ms = self.wall_ms;
        let present = self.account_mut(account)?;
        if present.keys.len() >= ACCOUNT_KEYS_MAX {
            return Err(Refused::TooMany { what: "keys of an account".into(), max: ACCOUNT_KEYS_MAX });
        }
        present.keys.insert(key.into(), AccessKey { sealed_secret: sealed_secret.to_vec(), created_ms });
        self.note_account("key created", &format!("{key} of {account}"));
        Ok(Done::Record(RecordDone::Done))
    }

    pub(super) fn delete_key(&mut self, account: &str, key: &str) -> Outcome {
        if self.account_mut(account)?.keys.remove(key).is_some() {
            self.note_account("key deleted", &format!("{key} of {account}"));
        }
        Ok(Done::Record(RecordDone::Done))
    }

    fn account_mut(&mut self, name: &str) -> Result<&mut Account, Refused> {
        self.accounts.get_mut(name).ok_or_else(|| Refused::NoAccount(name.into()))
    }
}

fn is_text(text: &str) -> bool {
    text.len() <= ACCOUNT_NAME_BYTES_MAX && !text.chars().any(char::is_control)
}
