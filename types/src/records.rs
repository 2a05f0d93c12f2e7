//! Global records: what HA keeps of buckets and accounts beside the cluster map, and the changes of it.
//!
//! HA decides one change after the other; every gateway has the records by following HA's log and keeps no other cache. A change is answered
//! when every process with a lease has taken it in. What a document says is its writer's business: here it is text under a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::ACCOUNT_NAME_BYTES_MAX;
use crate::object::Versioning;
use crate::quota::Quota;
use crate::{CatalogueId, HaTime};

/// What may be set of a bucket. Each is one document, set and removed as a whole. Numbered for life by their order: add at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BucketDocument {
    /// Whether objects keep their versions.
    Versioning,
    /// Whether objects can be locked, and how they are by default.
    ObjectLock,
    /// When objects and uploads go by themselves.
    Lifecycle,
    /// Who may do what, as a policy.
    Policy,
    /// Which pages of other origins may use it.
    Cors,
    /// Its tags.
    Tagging,
    /// Who may do what, as a list of grants.
    Acl,
    /// What of policy and grants does not count because it lets everybody in.
    PublicAccessBlock,
    /// Who owns what others write.
    Ownership,
    /// How objects are encrypted where nobody says it.
    Encryption,
    /// Whom events are told to.
    Notification,
    /// Where accesses are logged.
    Logging,
    /// Who pays.
    RequestPayment,
    /// How much it may hold.
    Quota,
}

/// A bucket whose removal is being decided: nothing is written into it until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The entry of HA's log that sealed it; names this seal.
    pub at: u64,
    /// HA time of that.
    pub since: HaTime,
}

/// What HA keeps of a bucket.
///
/// ```text
/// active --seal: no write is admitted--> sealed --empty in every group--> dropped
///    ^---------------reopen, by whoever finds something or gives up------'
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its catalogue.
    pub id: CatalogueId,
    /// The account that owns it; nobody's but the cluster's where it is empty.
    pub owner: String,
    /// Wall clock of its creation, in milliseconds since 1970.
    pub created_ms: u64,
    /// Set while its removal is being decided.
    pub seal: Option<Seal>,
    /// Its settings.
    pub documents: BTreeMap<BucketDocument, String>,
}

impl Bucket {
    /// What is set under that name.
    pub fn document(&self, document: BucketDocument) -> Option<&str> {
        self.documents.get(&document).map(String::as_str)
    }

    /// What it does with versions: its document is the one word.
    pub fn versioning(&self) -> Versioning {
        self.document(BucketDocument::Versioning).and_then(Versioning::parse).unwrap_or_default()
    }

    /// How much it may hold. What cannot be read bounds nothing.
    pub fn quota(&self) -> Quota {
        self.document(BucketDocument::Quota).and_then(Quota::parse).unwrap_or_default()
    }
}

/// The name of whoever has the key of a gateway's configuration: no account has it.
pub const ROOT: &str = "redoubt";

/// Whether that may name an account or a key: part of policies, of lines of logs and of command lines.
pub fn is_account_name(text: &str) -> bool {
    (1..=ACCOUNT_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.@$+=,".contains(&b))
}

/// Who may use S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name, by which it is known everywhere.
    pub name: String,
    /// Its name for display.
    pub display_name: String,
    /// Its mail address, by which grants may name it; may be empty.
    pub email: String,
    /// Wall clock of its creation, in milliseconds since 1970.
    pub created_ms: u64,
    /// Nothing that is signed with its keys is let in.
    pub disabled: bool,
    /// Its keys by their names.
    pub keys: BTreeMap<String, AccessKey>,
}

/// A key of an account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// Its secret, encrypted under the cluster's key: HA cannot read it.
    #[serde(with = "crate::codec::bytes")]
    pub sealed_secret: Vec<u8>,
    /// Wall clock of its creation, in milliseconds since 1970.
    pub created_ms: u64,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("created_ms", &self.created_ms).finish_non_exhaustive()
    }
}

/// Whom events are told to: an address that an operator named.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where events are posted to, by HTTP or HTTPS.
    pub url: String,
    /// What is shown to it, encrypted under the cluster's key: HA cannot read it.
    pub sealed_token: Option<Vec<u8>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A change of the global records. Numbered for life by their order: add at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordChange {
    /// A bucket is made, with its first settings. One that is there already is left as it is.
    CreateBucket {
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
        /// Its settings.
        documents: BTreeMap<BucketDocument, String>,
    },
    /// A setting of a bucket.
    SetDocument {
        /// Which bucket.
        bucket: CatalogueId,
        /// Which setting.
        document: BucketDocument,
        /// What it says; `None` removes it.
        text: Option<String>,
    },
    /// Nothing is written into the bucket any more until it is decided whether it goes.
    SealBucket {
        /// Which bucket.
        bucket: CatalogueId,
    },
    /// It stays: writes are admitted again. Changes nothing where another seal, or none, is on it.
    ReopenBucket {
        /// Which bucket.
        bucket: CatalogueId,
        /// Which seal was on it.
        seal: u64,
    },
    /// It goes, if that seal is still on it.
    RemoveBucket {
        /// Which bucket.
        bucket: CatalogueId,
        /// The seal under which it was found empty.
        seal: u64,
    },
    /// An account is made. One that is there already is left as it is.
    CreateAccount {
        /// Its name.
        name: String,
        /// Its name for display.
        display_name: String,
        /// Its mail address; may be empty.
        email: String,
    },
    /// Whether an account may be used.
    SetAccountDisabled {
        /// Which.
        name: String,
        /// Whether nothing that it signs is let in.
        disabled: bool,
    },
    /// An account goes, with its keys. Refused where it owns buckets.
    DeleteAccount {
        /// Which.
        name: String,
    },
    /// An account gets a key. The same again changes nothing; a name that is taken is refused.
    PutKey {
        /// Which account.
        account: String,
        /// The name of the key.
        key: String,
        /// Its secret, encrypted under the cluster's key.
        #[serde(with = "crate::codec::bytes")]
        sealed_secret: Vec<u8>,
    },
    /// A key goes.
    DeleteKey {
        /// Of which account.
        account: String,
        /// The name of the key.
        key: String,
    },
    /// How much the buckets of an account may hold together.
    SetAccountQuota {
        /// Which.
        name: String,
        /// What it may hold from now on.
        quota: Quota,
    },
    /// A target of events is made, or is another one from now on.
    PutTarget {
        /// Its name.
        name: String,
        /// What it is.
        target: Target,
    },
    /// A target goes, and with it what it was not told yet.
    DeleteTarget {
        /// Which.
        name: String,
    },
}

/// What a change of the records came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordDone {
    /// It is so now, or was already.
    Done,
    /// A bucket is there.
    Bucket {
        /// Its id.
        id: CatalogueId,
        /// Whether this made it.
        created: bool,
    },
    /// A bucket is sealed; names the seal.
    Sealed(u64),
    /// Another seal, or none, is on the bucket: it was reopened in between.
    Reopened,
    /// Something of that name is there already.
    Exists,
    /// It is not changed: what is set of the bucket already does not go with it.
    Contradicts,
}

/// All global records as of one entry of HA's log, as gateways read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Buckets by their names.
    pub buckets: BTreeMap<String, Arc<Bucket>>,
    /// Accounts by their names.
    pub accounts: BTreeMap<String, Arc<Account>>,
    /// The account of each key.
    pub keys: BTreeMap<String, Arc<Account>>,
    /// How much the buckets of an account may hold together, where that is bounded.
    pub quotas: BTreeMap<String, Quota>,
    /// Whom events may be told to, by their names.
    pub targets: BTreeMap<String, Target>,
}
