//! Policies of buckets as they were read: parsed once, and again when their text is another one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use types::CatalogueId;
use types::records::{Bucket, BucketDocument};

use crate::policy::{Malformed, Policy};

/// Most policies that are kept.
const KEPT_MAX: usize = 1024;

/// What is kept: of each bucket the text that was parsed, and what it says.
#[derive(Debug, Default)]
pub struct Policies(Mutex<BTreeMap<CatalogueId, (String, Arc<Policy>)>>);

impl Policies {
    /// The policy of a bucket.
    ///
    /// # Errors
    /// Where its text is none.
    pub fn of(&self, bucket: &Bucket) -> Result<Option<Arc<Policy>>, Malformed> {
        let Some(text) = bucket.document(BucketDocument::Policy) else { return Ok(None) };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, policy)) = kept.get(&bucket.id)
            && known == text
        {
            return Ok(Some(policy.clone()));
        }
        let policy = Arc::new(Policy::parse(text)?);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(bucket.id, (text.to_owned(), policy.clone()));
        Ok(Some(policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(id: u64, policy: Option<&str>) -> Bucket {
        let documents = policy.map(|text| (BucketDocument::Policy, text.to_owned())).into_iter().collect();
        Bucket { id: CatalogueId(id), owner: String::new(), created_ms: 0, seal: None, documents }
    }

    #[test]
    fn a_policy_is_parsed_once_as_long_as_its_text_is_the_same() {
        let policies = Policies::default();
        let text = |effect: &str| {
            format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"{effect}","Principal":"*","Action":"s3:*","Resource":"*"}}}}"#)
        };
        let of = |id, text: Option<&str>| policies.of(&bucket(id, text));
        let first = of(1, Some(&text("Allow"))).expect("a policy").expect("is set");
        assert!(of(1, Some(&text("Allow"))).is_ok_and(|again| again.is_some_and(|again| Arc::ptr_eq(&first, &again))));
        let changed = of(1, Some(&text("Deny"))).expect("a policy").expect("is set");
        assert_ne!(*changed, *first);
        assert!(of(1, None).is_ok_and(|none| none.is_none()) && of(1, Some("{}")).is_err());
        for id in 0..2 * KEPT_MAX as u64 {
            assert!(of(id, Some(&text("Allow"))).is_ok_and(|policy| policy.is_some()));
        }
        assert!(policies.0.lock().expect("nobody panics with it").len() <= KEPT_MAX);
    }
}
