//! Locks of versions: what a record says of how long it has to stay. They are words of the record, under the names that S3 has for them.

/// The word that says how strictly it is kept.
const MODE: &str = "x-amz-object-lock-mode";
/// The word that says until when: milliseconds since 1970.
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
/// The word that says whether it is held, whatever the time.
const HOLD: &str = "x-amz-object-lock-legal-hold";

/// How strictly a version is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Who may, can shorten it or remove the version.
    Governance,
    /// Nobody can.
    Compliance,
}

impl LockMode {
    /// As S3 has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }

    /// The inverse of [`Self::name`].
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Governance, Self::Compliance].into_iter().find(|mode| mode.name() == name)
    }
}

/// What keeps a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// How, and until when, in milliseconds since 1970.
    pub retention: Option<(LockMode, u64)>,
    /// Whether it is held; `None` where nobody ever said.
    pub hold: Option<bool>,
}

impl Lock {
    /// That of a record. A word that cannot be read keeps it.
    pub fn of(words: &[(String, String)]) -> Self {
        let find = |name: &str| words.iter().find(|(word, _)| word == name).map(|(_, value)| value.as_str());
        let retention = find(MODE).map(|mode| {
            let until = find(UNTIL).and_then(|until| until.parse().ok()).unwrap_or(u64::MAX);
            (LockMode::parse(mode).unwrap_or(LockMode::Compliance), until)
        });
        Self { retention, hold: find(HOLD).map(|hold| hold != "OFF") }
    }

    /// The words of a record.
    pub fn to_words(self) -> Vec<(String, String)> {
        let mut words = Vec::new();
        if let Some((mode, until_ms)) = self.retention {
            words.push((MODE.to_owned(), mode.name().to_owned()));
            words.push((UNTIL.to_owned(), until_ms.to_string()));
        }
        words.extend(self.hold.map(|hold| (HOLD.to_owned(), if hold { "ON" } else { "OFF" }.to_owned())));
        words
    }

    /// These words without those of a lock, and with this one.
    pub fn set_in(self, words: &[(String, String)]) -> Vec<(String, String)> {
        let others = words.iter().filter(|(word, _)| ![MODE, UNTIL, HOLD].contains(&word.as_str()));
        others.cloned().chain(self.to_words()).collect()
    }

    /// Whether the version has to stay at that wall clock; `bypass` says that its owner's word is enough where that can be.
    pub fn keeps(&self, now_ms: u64, bypass: bool) -> bool {
        let retained = self.retention.is_some_and(|(mode, until_ms)| until_ms > now_ms && !(bypass && mode == LockMode::Governance));
        retained || self.hold == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_survives_its_words_and_leaves_others_alone() {
        let lock = Lock { retention: Some((LockMode::Governance, 77)), hold: Some(false) };
        let others = vec![("etag".to_owned(), "aa".to_owned())];
        let words = lock.set_in(&others);
        assert_eq!((Lock::of(&words), words.len()), (lock, 4));
        assert_eq!(Lock::default().set_in(&words), others);
    }

    #[test]
    fn a_version_is_kept_until_its_time_and_while_it_is_held() {
        let until = |mode| Lock { retention: Some((mode, 100)), hold: None };
        let (governance, compliance) = (until(LockMode::Governance), until(LockMode::Compliance));
        assert!(governance.keeps(99, false) && !governance.keeps(99, true) && !governance.keeps(100, false));
        assert!(compliance.keeps(99, true) && !compliance.keeps(100, true));
        assert!(Lock { hold: Some(true), ..governance }.keeps(200, true));
        assert!(!Lock::default().keeps(0, false));
        let unreadable = [(MODE.to_owned(), "?".to_owned()), (UNTIL.to_owned(), "?".to_owned())];
        assert!(Lock::of(&unreadable).keeps(u64::MAX - 1, true));
    }
}
