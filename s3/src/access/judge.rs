//! What is decided of an act: by the session that asks, the bucket's policy, and the lists of bucket and object.

use client::ObjectInfo;
use s3s::S3Result;
use types::records::Bucket;

use super::rules::Need;
use super::{Act, Caller, Looked, acls_are_off, bucket_acl, object_acl, owner_of};
use crate::Gateway;
use crate::acl::Acl;
use crate::error::{self, Of};
use crate::policy::{Asked, Policy, Verdict};
use crate::settings::PublicAccess;
use crate::tags::Tags;

impl Caller {
    /// Whether its session lets it do what concerns no bucket that is there. Without one it does.
    pub fn session_allows(&self, action: &str, resource: &str) -> bool {
        let asked = Asked { who: self.who(), action, resource };
        let (session, tags) = (self.session(), Tags::default());
        let policy = session.and_then(|session| session.policy.as_ref());
        policy.is_none_or(|policy| policy.verdict(asked, &self.0.facts.with(self.account(), session, &tags)) == Verdict::Allow)
    }
}

impl Gateway {
    pub(super) async fn is_allowed(&self, caller: &Caller, bucket: &Bucket, act: Act<'_>, looked: &mut Looked) -> S3Result<bool> {
        match self.judged(caller, bucket, act, looked).await? {
            Some(allowed) => Ok(allowed),
            // Whether something is there is told to those only who could list it.
            None => Ok(self.judged(caller, bucket, Act::list(act.bucket), &mut None).await? == Some(true)),
        }
    }

    /// Whether an act is allowed; `None` where it is about an object that is not there.
    pub(super) async fn judged(&self, caller: &Caller, bucket: &Bucket, act: Act<'_>, looked: &mut Looked) -> S3Result<Option<bool>> {
        if !self.by_session(caller, act, looked).await? {
            return Ok(Some(false));
        }
        let block = PublicAccess::of(bucket);
        let is_owner = caller.account() == Some(owner_of(bucket));
        match self.by_policy(caller, bucket, act, &block, looked).await? {
            // Who owns it can always take the policy away that locks him out.
            Verdict::Deny => return Ok(Some((is_owner || caller.is_root()) && act.need == Need::OwnPolicy)),
            Verdict::Allow => return Ok(Some(true)),
            Verdict::Silent => {}
        }
        if caller.is_root() && !is_owner {
            return Ok(Some(true));
        }
        let public = |acl: Acl| if block.ignore_acls { acl.without_public() } else { acl };
        let off = acls_are_off(bucket);
        Ok(Some(match act.need {
            Need::Owner | Need::OwnPolicy => is_owner,
            _ if off => is_owner,
            Need::Bucket(permission) => public(bucket_acl(bucket)).allows(caller.who(), permission),
            // Lists of objects are asked only where they can matter: what lies in a bucket its owner may read.
            Need::Object(_) if is_owner => true,
            Need::Object(permission) => {
                if looked.is_none() {
                    *looked = Some(self.look(act).await?);
                }
                let Some(info) = looked.as_ref().and_then(Option::as_ref) else { return Ok(None) };
                public(object_acl(&info.user_metadata, bucket)).allows(caller.who(), permission)
            }
        }))
    }

    /// Whether an act is denied, be it by the bucket's policy or by the session, which has to allow whatever is done.
    pub(super) async fn is_denied(&self, caller: &Caller, bucket: &Bucket, act: Act<'_>) -> S3Result<bool> {
        let looked = &mut None;
        Ok(!self.by_session(caller, act, looked).await?
            || self.by_policy(caller, bucket, act, &PublicAccess::of(bucket), looked).await? == Verdict::Deny)
    }

    /// Whether the policy of the session lets it through. Without one all goes through.
    async fn by_session(&self, caller: &Caller, act: Act<'_>, looked: &mut Looked) -> S3Result<bool> {
        let Some(policy) = caller.session().and_then(|session| session.policy.as_ref()) else { return Ok(true) };
        Ok(self.verdict(policy, caller, act, looked).await? == Verdict::Allow)
    }

    async fn by_policy(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        act: Act<'_>,
        block: &PublicAccess,
        looked: &mut Looked,
    ) -> S3Result<Verdict> {
        let policy = match self.policies.of(bucket) {
            Ok(None) => return Ok(Verdict::Silent),
            Ok(Some(policy)) => policy,
            // It was parsed before it was set: where it is none any more, nobody knows whom it keeps out. Its owner may take it away.
            Err(_) => return Ok(Verdict::Deny),
        };
        let verdict = self.verdict(&policy, caller, act, looked).await?;
        let is_stranger = caller.account() != Some(owner_of(bucket));
        if verdict == Verdict::Allow && block.restrict_buckets && is_stranger && policy.is_public() {
            return Ok(Verdict::Silent);
        }
        Ok(verdict)
    }

    /// What a policy says of an act.
    async fn verdict(&self, policy: &Policy, caller: &Caller, act: Act<'_>, looked: &mut Looked) -> S3Result<Verdict> {
        if act.key.is_some() && policy.asks_of("s3:existingobjecttag") && looked.is_none() {
            *looked = Some(self.look(act).await?);
        }
        let info = looked.as_ref().and_then(Option::as_ref);
        let tags = info.map(|info| Tags::of(&info.user_metadata)).unwrap_or_default();
        let resource = match act.key {
            Some(key) => format!("arn:aws:s3:::{}/{key}", act.bucket),
            None => format!("arn:aws:s3:::{}", act.bucket),
        };
        let asked = Asked { who: caller.who(), action: act.action, resource: &resource };
        Ok(policy.verdict(asked, &caller.0.facts.with(caller.account(), caller.session(), &tags)))
    }

    /// The object that an act is about, as it is now.
    async fn look(&self, act: Act<'_>) -> S3Result<Option<ObjectInfo>> {
        let Some(key) = act.key else { return Ok(None) };
        let wanted = crate::version::wanted(act.version)?;
        match self.client.stat_version(act.bucket, key.as_bytes(), wanted).await {
            Ok(info) => Ok(Some(info)),
            Err(client::Error::NotFound(_) | client::Error::Marker { .. }) => Ok(None),
            Err(error) => Err(error::of(Of::Object, error)),
        }
    }
}
