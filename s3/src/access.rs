//! Who may do what: each request is looked at before anything of it is done, and once more where it concerns other objects than its own
//! (the source of a copy, each of many that are deleted).
//!
//! Whoever asks with a session may do only what its policy allows besides. A request is let in where the bucket's policy allows it, or where the access control list of the bucket or object does, or where its owner
//! asks; and never where the policy denies it. Nobody who has not signed may do more than that. The key of the configuration may do what the
//! owner of any bucket may.

pub mod facts;
mod judge;
pub mod policies;
mod rules;

use std::sync::Arc;

use client::ObjectInfo;
use hyper::http::Extensions;
use hyper::{HeaderMap, Uri};
use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::Owner;
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use types::Version;
use types::records::{Account, Bucket, BucketDocument, Records};

use crate::Gateway;
use crate::acl::{Acl, Between, Headers, Permission};
use crate::bucket::ROOT;
use crate::figures::Named;
use crate::limits;
use crate::policy::Who;
use crate::session::Session;
use crate::settings::PublicAccess;
use facts::Facts;
use rules::{Need, Rule};

/// The word of an object's record that holds its access control list, where it is not private to the bucket's owner.
pub const ACL: &str = "acl";

/// Who asks, and what is known of the request. Lies in the extensions of every request.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    signer: Option<Signer>,
    facts: Facts,
}

/// Who has signed a request, with a session or without.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The account.
    pub account: String,
    /// What it may do less than that, and until when.
    pub session: Option<Arc<Session>>,
}

impl Caller {
    /// The name of the account; `None` where nobody has signed.
    pub fn account(&self) -> Option<&str> {
        self.0.signer.as_ref().map(|signer| signer.account.as_str())
    }

    /// The session that asks.
    fn session(&self) -> Option<&Session> {
        self.0.signer.as_ref()?.session.as_deref()
    }

    /// Who that is.
    pub fn who(&self) -> Who<'_> {
        self.account().map_or(Who::Anonymous, Who::Account)
    }

    /// Lets accounts in, for what concerns no bucket that is there.
    ///
    /// # Errors
    /// `AccessDenied`.
    fn may(&self, action: &str, resource: &str) -> S3Result<()> {
        if self.account().is_some() && self.session_allows(action, resource) { Ok(()) } else { Err(denied()) }
    }

    fn is_root(&self) -> bool {
        self.account() == Some(ROOT)
    }
}

/// The object that an act is about, once it was looked at; none where there is none.
type Looked = Option<Option<ObjectInfo>>;

/// What is to be done with an object or a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// The action, as policies name it.
    pub action: &'static str,
    /// What an access control list has to give for it.
    need: Need,
    /// The name of the bucket.
    pub bucket: &'a str,
    /// The object; `None` for the bucket itself.
    pub key: Option<&'a str>,
    /// Its version, as it was named.
    version: Option<&'a str>,
}

impl<'a> Act<'a> {
    /// An object is read, as the source of a copy.
    pub fn read(bucket: &'a str, key: &'a str, version: Option<&'a str>) -> Self {
        let action = if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
        Self { action, need: Need::Object(Permission::Read), bucket, key: Some(key), version }
    }

    /// The tags of an object are read, as those of the source of a copy.
    pub fn read_tags(bucket: &'a str, key: &'a str, version: Option<&'a str>) -> Self {
        let action = if version.is_some() { "s3:GetObjectVersionTagging" } else { "s3:GetObjectTagging" };
        Self { action, need: Need::Object(Permission::Read), bucket, key: Some(key), version }
    }

    /// Tags of an object are written with it.
    pub fn write_tags(bucket: &'a str, key: &'a str) -> Self {
        Self { action: "s3:PutObjectTagging", need: Need::Owner, bucket, key: Some(key), version: None }
    }

    /// An object is deleted, as one of many.
    pub fn delete(bucket: &'a str, key: &'a str, version: Option<&'a str>) -> Self {
        let action = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
        // Who may write into a bucket by its list may not take its history away.
        let need = if version.is_some() { Need::Owner } else { Need::Bucket(Permission::Write) };
        Self { action, need, bucket, key: Some(key), version }
    }

    /// A lock by governance is passed over.
    pub fn bypass(bucket: &'a str, key: &'a str, version: Option<&'a str>) -> Self {
        Self { action: "s3:BypassGovernanceRetention", need: Need::Owner, bucket, key: Some(key), version }
    }

    /// An object is written, as by a form.
    pub fn write(bucket: &'a str, key: &'a str) -> Self {
        Self { action: "s3:PutObject", need: Need::Bucket(Permission::Write), bucket, key: Some(key), version: None }
    }

    /// A bucket is listed.
    fn list(bucket: &'a str) -> Self {
        Self { action: "s3:ListBucket", need: Need::Bucket(Permission::Read), bucket, key: None, version: None }
    }
}

/// An act that was allowed; and by which object, where that mattered. Lies in the extensions of every request.
#[derive(Clone, Debug)]
pub struct Allowed {
    action: &'static str,
    need: Need,
    bucket: String,
    key: Option<String>,
    version: Option<String>,
    is_source: bool,
    /// The version of the object's record; none where there was no object.
    by: Option<Option<Version>>,
}

/// The owner of a bucket; the cluster's own belong to the key of the configuration.
pub fn owner_of(bucket: &Bucket) -> &str {
    if bucket.owner.is_empty() { ROOT } else { &bucket.owner }
}

/// The list of a bucket.
pub fn bucket_acl(bucket: &Bucket) -> Acl {
    let owner = owner_of(bucket);
    bucket.document(BucketDocument::Acl).map_or_else(|| Acl::private(owner), |text| Acl::of_text(text, owner))
}

/// The list of an object: among the words of its record.
pub fn object_acl(words: &[(String, String)], bucket: &Bucket) -> Acl {
    let owner = owner_of(bucket);
    crate::metadata::find(words, ACL).map_or_else(|| Acl::private(owner), |text| Acl::of_text(text, owner))
}

/// An account as it is shown.
pub fn shown(name: &str, records: &Records, root: &Account) -> Owner {
    let account = if name == root.name { Some(root) } else { records.accounts.get(name).map(AsRef::as_ref) };
    Owner { display_name: Some(account.map_or(name, |account| &account.display_name).to_owned()), id: Some(name.to_owned()) }
}

/// Who owns the objects of a bucket.
pub struct Owners {
    bucket: Arc<Bucket>,
    records: Arc<Records>,
    root: Arc<Account>,
}

impl Owners {
    /// The owner of an object, by the words of its record.
    pub fn of(&self, words: &[(String, String)]) -> Owner {
        shown(&object_acl(words, &self.bucket).owner, &self.records, &self.root)
    }
}

/// Whether lists of access do not count in a bucket: all in it belongs to its owner.
pub fn acls_are_off(bucket: &Bucket) -> bool {
    bucket.document(BucketDocument::Ownership) == Some("BucketOwnerEnforced")
}

/// The word of an object's record for a list; none where it is private to the bucket's owner.
pub fn word_of(acl: Acl, bucket: &Bucket) -> Option<String> {
    (acl != Acl::private(owner_of(bucket))).then(|| acl.to_text())
}

/// Refuses a list that a bucket does not take.
///
/// # Errors
/// `AccessControlListNotSupported`, `AccessDenied`.
pub fn check_acl(bucket: &Bucket, acl: &Acl, block: PublicAccess) -> S3Result<()> {
    if acls_are_off(bucket) && *acl != Acl::private(owner_of(bucket)) {
        return Err(s3_error!(AccessControlListNotSupported, "The bucket does not allow ACLs"));
    }
    if block.block_acls && acl.is_public() { Err(denied()) } else { Ok(()) }
}

/// What is not allowed.
pub fn denied() -> S3Error {
    s3_error!(AccessDenied, "Access Denied")
}

#[async_trait::async_trait]
impl S3Access for Gateway {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = cx.s3_op().name().to_owned();
        if let Some(named) = cx.extensions_mut().get::<Named>() {
            named.set(&operation);
        }
        let records = self.records().await?;
        let access_key = cx.credentials().map(|credentials| credentials.access_key.clone());
        let session = cx.extensions_mut().get::<Arc<Session>>().cloned();
        let signer = access_key.map(|key| self.signer_of(&records, &key, session)).transpose()?;
        limits::count_for(cx.extensions_mut(), signer.as_ref().map(|signer| signer.account.as_str()))?;
        let (headers, uri) = (cx.headers().clone(), cx.uri().clone());
        let caller = self.caller(signer, &headers, &uri, cx.extensions_mut());
        let rule = rules::of(cx.s3_op().name());
        let (bucket, key) = match cx.s3_path() {
            S3Path::Root => return caller.may("s3:ListAllMyBuckets", "arn:aws:s3:::*"),
            S3Path::Bucket { bucket } => (bucket.to_string(), None),
            S3Path::Object { bucket, key } => (bucket.to_string(), Some(key.to_string())),
        };
        if cx.s3_op().name() == "CreateBucket" {
            let arn = format!("arn:aws:s3:::{bucket}");
            let also = rules::OF_NEW_BUCKETS.iter().filter(|(header, _)| headers.keys().any(|name| name.as_str().starts_with(header)));
            let actions = also.flat_map(|(_, actions)| actions.iter()).chain([&"s3:CreateBucket"]);
            return actions.into_iter().try_for_each(|action| caller.may(action, &arn));
        }
        let version = caller.0.facts.query("versionId");
        let Some(Rule { action, of_version, need }) = rule else {
            // What is not there is refused as that, to those who may ask.
            return caller.account().map(drop).ok_or_else(denied);
        };
        let action = of_version.filter(|_| version.is_some()).unwrap_or(action);
        let act = Act { action, need, bucket: &bucket, key: key.as_deref(), version };
        let allowed = self.allow_of(&caller, act, false, None).await?;
        cx.extensions_mut().insert(allowed);
        match &key {
            Some(key) if rules::WRITES.contains(&cx.s3_op().name()) => self.allow_words(&caller, &bucket, key, &headers).await,
            _ => Ok(()),
        }
    }
}

impl Gateway {
    /// Notes who asks, for all who look later.
    pub(crate) fn caller(&self, signer: Option<Signer>, headers: &HeaderMap, uri: &Uri, extensions: &mut Extensions) -> Caller {
        let facts = Facts::of(headers, uri, extensions);
        let caller = Caller(Arc::new(Inner { signer, facts }));
        extensions.insert(caller.clone());
        caller
    }

    /// Lets a request in, or refuses it.
    ///
    /// # Errors
    /// `AccessDenied`, `NoSuchBucket`, and those of looking.
    pub(crate) async fn allow(&self, caller: &Caller, act: Act<'_>) -> S3Result<()> {
        self.allow_of(caller, act, false, None).await.map(drop)
    }

    /// The same for the source of a copy, which may be open; once it is, [`Self::still_allowed`] has to be asked.
    ///
    /// # Errors
    /// As [`Self::allow`].
    pub(crate) async fn allow_source(&self, caller: &Caller, act: Act<'_>, info: Option<&ObjectInfo>) -> S3Result<Allowed> {
        self.allow_of(caller, act, true, info.cloned()).await
    }

    /// Refuses what a policy denies. Whether it is allowed is not asked.
    ///
    /// # Errors
    /// As [`Self::allow`].
    pub(crate) async fn not_denied(&self, caller: &Caller, act: Act<'_>) -> S3Result<()> {
        let bucket = self.bucket(act.bucket).await?;
        if self.is_denied(caller, &bucket, act).await? { Err(denied()) } else { Ok(()) }
    }

    /// Refuses to show an object that is not the one by which its request was let in, unless that one may be shown as well: between the two it
    /// may have been replaced, or have come to be.
    ///
    /// # Errors
    /// As [`Self::allow`].
    pub(crate) async fn still_allowed(&self, caller: &Caller, allowed: &Allowed, info: &ObjectInfo) -> S3Result<()> {
        if allowed.by.is_none_or(|version| version == Some(info.version)) {
            return Ok(());
        }
        let Allowed { action, need, bucket, key, version, is_source, .. } = allowed;
        let act = Act { action, need: *need, bucket, key: key.as_deref(), version: version.as_deref() };
        self.allow_of(caller, act, *is_source, Some(info.clone())).await.map(drop)
    }

    /// The same for the request itself.
    ///
    /// # Errors
    /// As [`Self::allow`].
    pub(crate) async fn may_show(&self, extensions: &Extensions, info: &ObjectInfo) -> S3Result<()> {
        let allowed = extensions.get::<Allowed>().ok_or_else(denied)?;
        self.still_allowed(&caller(extensions)?, allowed, info).await
    }

    /// Lets in what the headers of a write do beside writing: a list and tags unless a policy denies them; a lock only where it is allowed by
    /// itself, for whoever may write must not keep others from deleting.
    ///
    /// # Errors
    /// As [`Self::allow`].
    pub(crate) async fn allow_words(&self, caller: &Caller, bucket: &str, key: &str, headers: &HeaderMap) -> S3Result<()> {
        for (action, is_a_right) in rules::of_headers(headers) {
            let act = Act { action, need: Need::Owner, bucket, key: Some(key), version: None };
            if is_a_right {
                self.allow(caller, act).await?;
            } else {
                self.not_denied(caller, act).await?;
            }
        }
        Ok(())
    }

    /// What is said of an object that is not there: to whoever may not list the bucket not even that.
    ///
    /// # Errors
    /// Those of looking at the bucket.
    pub(crate) async fn missing(&self, extensions: &Extensions, name: &str, failure: S3Error) -> S3Result<S3Error> {
        // That a method is not allowed tells of a delete marker.
        if !matches!(failure.code(), S3ErrorCode::NoSuchKey | S3ErrorCode::NoSuchVersion | S3ErrorCode::MethodNotAllowed) {
            return Ok(failure);
        }
        let bucket = self.bucket(name).await?;
        let may_list = self.judged(&caller(extensions)?, &bucket, Act::list(name), &mut None).await? == Some(true);
        Ok(if may_list { failure } else { denied() })
    }

    /// `object` is what the act is about, where that is known.
    async fn allow_of(&self, caller: &Caller, act: Act<'_>, is_source: bool, object: Option<ObjectInfo>) -> S3Result<Allowed> {
        let bucket = self.bucket(act.bucket).await?;
        let header = if is_source { "x-amz-source-expected-bucket-owner" } else { "x-amz-expected-bucket-owner" };
        if caller.0.facts.header(header).is_some_and(|expected| expected != owner_of(&bucket)) {
            return Err(denied());
        }
        let mut looked = object.map(Some);
        if self.is_allowed(caller, &bucket, act, &mut looked).await? {
            let Act { action, need, key, version, .. } = act;
            let by = looked.map(|object| object.map(|info| info.version));
            let (bucket, key, version) = (act.bucket.to_owned(), key.map(str::to_owned), version.map(str::to_owned));
            return Ok(Allowed { action, need, bucket, key, version, is_source, by });
        }
        tracing::debug!(account = caller.account(), action = act.action, bucket = act.bucket, key = act.key, "denied");
        Err(denied())
    }

    /// The word for the list of an object that somebody writes, with what the request says of access.
    ///
    /// # Errors
    /// Those of the list, and of [`check_acl`].
    pub(crate) async fn acl_given(&self, name: &str, caller: &Caller, given: &Headers<'_>) -> S3Result<Option<String>> {
        let (bucket, records) = (self.bucket(name).await?, self.records().await?);
        let bucket_owner = owner_of(&bucket);
        let takes_over = acls_are_off(&bucket)
            || (bucket.document(BucketDocument::Ownership) == Some("BucketOwnerPreferred")
                && given.canned == Some("bucket-owner-full-control"));
        // What nobody signed for belongs to who let it in.
        let owner = caller.account().filter(|_| !takes_over).unwrap_or(bucket_owner);
        let acl = Acl::from_headers(given, Between { owner, bucket_owner }, &records, &self.root)?;
        check_acl(&bucket, &acl, PublicAccess::of(&bucket))?;
        Ok(word_of(acl, &bucket))
    }

    /// Who owns what is in a bucket.
    pub(crate) async fn owners(&self, bucket: &str) -> S3Result<Owners> {
        Ok(Owners { bucket: self.bucket(bucket).await?, records: self.records().await?, root: self.root.clone() })
    }

    /// Who signs with a key; that of a session where it is the session's.
    pub(crate) fn signer_of(&self, records: &Records, access_key: &str, session: Option<Arc<Session>>) -> S3Result<Signer> {
        match session.filter(|session| session.access_key == access_key) {
            Some(session) => Ok(Signer { account: session.account.clone(), session: Some(session) }),
            None => Ok(Signer { account: self.account_of(records, access_key)?, session: None }),
        }
    }

    /// The account of a key.
    pub(crate) fn account_of(&self, records: &Records, key: &str) -> S3Result<String> {
        if self.keys.is_root(key) {
            return Ok(ROOT.to_owned());
        }
        match records.keys.get(key) {
            Some(account) if !account.disabled => Ok(account.name.clone()),
            _ => Err(s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records.")),
        }
    }
}

/// Who asks, as [`S3Access::check`] found.
///
/// # Errors
/// `AccessDenied` where nobody has looked: that request must not go on.
pub fn caller(extensions: &Extensions) -> S3Result<Caller> {
    extensions.get::<Caller>().cloned().ok_or_else(denied)
}
