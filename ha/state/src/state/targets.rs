//! Targets of events. What is shown to them comes encrypted, and nobody here can read it.

use std::collections::BTreeMap;

use types::event::is_target_name;
use types::limits::{SEALED_SECRET_BYTES_MAX, TARGET_URL_BYTES_MAX, TARGETS_MAX};
use types::records::{RecordDone, Target};

use super::State;
use crate::outcome::{Done, Outcome, Refused};

impl State {
    /// Targets by their names.
    pub fn targets(&self) -> &BTreeMap<String, Target> {
        &self.targets
    }

    pub(super) fn put_target(&mut self, name: &str, target: &Target) -> Outcome {
        let is_text = target.url.len() <= TARGET_URL_BYTES_MAX && !target.url.chars().any(char::is_control);
        let is_secret = target.sealed_token.as_ref().is_none_or(|token| token.len() <= SEALED_SECRET_BYTES_MAX);
        if !is_target_name(name) || !is_text || !is_secret {
            return Err(Refused::Target);
        }
        if !self.targets.contains_key(name) && self.targets.len() >= TARGETS_MAX {
            return Err(Refused::TooMany { what: "targets of events".into(), max: TARGETS_MAX });
        }
        if self.targets.insert(name.into(), target.clone()).as_ref() != Some(target) {
            self.note_account("target set", name);
        }
        Ok(Done::Record(RecordDone::Done))
    }

    pub(super) fn delete_target(&mut self, name: &str) -> Outcome {
        if self.targets.remove(name).is_some() {
            self.note_account("target deleted", name);
        }
        Ok(Done::Record(RecordDone::Done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Change;
    use crate::sample::Log;
    use types::records::RecordChange;

    fn put(name: &str, url: &str) -> Change {
        let target = Target { url: url.into(), sealed_token: Some(vec![1]) };
        Change::Record(RecordChange::PutTarget { name: name.into(), target })
    }

    #[test]
    fn a_target_is_set_replaced_and_deleted_within_bounds() {
        let mut log = Log::running();
        assert_eq!(log.put(put("audit", "http://a/")), Ok(Done::Record(RecordDone::Done)));
        log.put(put("audit", "http://b/")).expect("another address");
        assert_eq!(log.state.targets()["audit"].url, "http://b/");
        for (name, url) in [("", "http://a/"), ("a:b", "http://a/"), ("a", "http://a/\n"), ("a", &"x".repeat(TARGET_URL_BYTES_MAX + 1))] {
            assert_eq!(log.put(put(name, url)), Err(Refused::Target), "{name} {url}");
        }
        for number in 1..TARGETS_MAX {
            log.put(put(&format!("t{number}"), "http://a/")).expect("room");
        }
        assert!(matches!(log.put(put("more", "http://a/")), Err(Refused::TooMany { .. })));
        log.put(put("audit", "http://c/")).expect("it is there already");
        log.put(Change::Record(RecordChange::DeleteTarget { name: "audit".into() })).expect("it goes");
        assert!(!log.state.targets().contains_key("audit"));
    }
}
