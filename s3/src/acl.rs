//! Access control lists: who has been granted what on a bucket or an object. Pure; where they lie is others' business: a bucket's as a document of
//! its record, an object's as a word of its record. What nothing is kept of is private and belongs to the bucket's owner.

use s3s::dto::{AccessControlPolicy, Grant as XmlGrant, Grantee as XmlGrantee, Owner, Permission as XmlPermission, Type};
use s3s::{S3ErrorCode, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use types::records::{Account, Records};

use crate::policy::Who;

/// Most grants of a list, as S3 has it.
const GRANTS_MAX: usize = 100;
const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";

/// To whom something is granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grantee {
    /// Everybody.
    AllUsers,
    /// Everybody who has an account.
    AuthenticatedUsers,
    /// Who writes logs of accesses.
    LogDelivery,
    /// An account.
    Account(String),
}

/// What is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// To list a bucket, to read an object.
    Read,
    /// To write into a bucket.
    Write,
    /// To read the list itself.
    ReadAcp,
    /// To change the list itself.
    WriteAcp,
    /// All of it.
    FullControl,
}

impl Permission {
    const ALL: [(Self, &str); 5] = [
        (Self::Read, XmlPermission::READ),
        (Self::Write, XmlPermission::WRITE),
        (Self::ReadAcp, XmlPermission::READ_ACP),
        (Self::WriteAcp, XmlPermission::WRITE_ACP),
        (Self::FullControl, XmlPermission::FULL_CONTROL),
    ];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(one, _)| *one == self).map_or("", |(_, name)| name)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(one, _)| one)
    }
}

/// A list, with the owner of what it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// Whose it is.
    pub owner: String,
    /// What was granted, groups first.
    pub grants: Vec<(Grantee, Permission)>,
}

/// Who is named where a list is made.
#[derive(Clone, Copy, Debug)]
pub struct Between<'a> {
    /// Who owns, or will own, the bucket or object.
    pub owner: &'a str,
    /// Who owns the bucket.
    pub bucket_owner: &'a str,
}

/// The grants that a request gives in headers.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a> {
    /// `x-amz-acl`.
    pub canned: Option<&'a str>,
    /// `x-amz-grant-…` of each permission.
    pub grants: Vec<(Permission, &'a str)>,
}

impl<'a> Headers<'a> {
    /// What a request gives: full control, read, write, read the list, change the list.
    pub fn of(canned: Option<&'a str>, grants: [Option<&'a str>; 5]) -> Self {
        use Permission::{FullControl, Read, ReadAcp, Write, WriteAcp};
        let given = [FullControl, Read, Write, ReadAcp, WriteAcp].into_iter().zip(grants);
        Self { canned, grants: given.filter_map(|(permission, list)| Some((permission, list?))).collect() }
    }
}

impl Headers<'_> {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        self.canned.is_none() && self.grants.is_empty()
    }
}

/// What a request says of access in headers: the protocol's types have these fields, and nothing in common.
macro_rules! headers_of_acl {
    ($input:ident, object) => {
        $crate::acl::headers_of_acl!($input, None)
    };
    ($input:ident, write) => {
        $crate::acl::headers_of_acl!($input, $input.grant_write.as_deref())
    };
    ($input:ident, $write:expr) => {
        $crate::acl::Headers::of(
            $input.acl.as_ref().map(|acl| acl.as_str()),
            [
                $input.grant_full_control.as_deref(),
                $input.grant_read.as_deref(),
                $write,
                $input.grant_read_acp.as_deref(),
                $input.grant_write_acp.as_deref(),
            ],
        )
    };
}
pub(crate) use headers_of_acl;

impl Acl {
    /// Nobody but the owner.
    pub fn private(owner: &str) -> Self {
        Self { owner: owner.into(), grants: vec![(Grantee::Account(owner.into()), Permission::FullControl)] }
    }

    /// One that has a name.
    ///
    /// # Errors
    /// `InvalidArgument` where there is none of that name.
    pub fn canned(name: &str, between: Between<'_>) -> S3Result<Self> {
        let mut acl = Self::private(between.owner);
        let of_bucket_owner = || Grantee::Account(between.bucket_owner.into());
        match name {
            "private" | "aws-exec-read" => {}
            "public-read" => acl.grants.insert(0, (Grantee::AllUsers, Permission::Read)),
            "public-read-write" => {
                acl.grants.insert(0, (Grantee::AllUsers, Permission::Write));
                acl.grants.insert(0, (Grantee::AllUsers, Permission::Read));
            }
            "authenticated-read" => acl.grants.insert(0, (Grantee::AuthenticatedUsers, Permission::Read)),
            "bucket-owner-read" if between.owner != between.bucket_owner => acl.grants.push((of_bucket_owner(), Permission::Read)),
            "bucket-owner-full-control" if between.owner != between.bucket_owner => {
                acl.grants.push((of_bucket_owner(), Permission::FullControl));
            }
            "bucket-owner-read" | "bucket-owner-full-control" => {}
            "log-delivery-write" => {
                acl.grants.insert(0, (Grantee::LogDelivery, Permission::ReadAcp));
                acl.grants.insert(0, (Grantee::LogDelivery, Permission::Write));
            }
            _ => return Err(s3_error!(InvalidArgument, "Invalid canned ACL")),
        }
        Ok(acl)
    }

    /// What headers give; private where they give nothing.
    ///
    /// # Errors
    /// As S3 has them, where a name is not known or both forms are used.
    pub fn from_headers(headers: &Headers<'_>, between: Between<'_>, records: &Records, root: &Account) -> S3Result<Self> {
        match (headers.canned, headers.grants.is_empty()) {
            (Some(_), false) => Err(s3_error!(InvalidRequest, "Specifying both Canned ACLs and Header Grants is not allowed")),
            (Some(name), true) => Self::canned(name, between),
            (None, true) => Ok(Self::private(between.owner)),
            (None, false) => {
                let mut grants = Vec::new();
                for (permission, list) in &headers.grants {
                    for one in list.split(',').map(str::trim).filter(|one| !one.is_empty()) {
                        grants.push((grantee_in_header(one, records, root)?, *permission));
                    }
                }
                Self { owner: between.owner.into(), grants }.checked()
            }
        }
    }

    /// What XML says.
    ///
    /// # Errors
    /// `MalformedACLError`, and `AccessDenied` where it names another owner.
    pub fn from_xml(xml: AccessControlPolicy, owner: &str, records: &Records, root: &Account) -> S3Result<Self> {
        if xml.owner.and_then(|named| named.id).is_some_and(|named| named != owner) {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let mut grants = Vec::new();
        for XmlGrant { grantee, permission } in xml.grants.unwrap_or_default() {
            let permission = permission.as_ref().and_then(|named| Permission::parse(named.as_str()));
            let (Some(grantee), Some(permission)) = (grantee, permission) else { return Err(malformed()) };
            grants.push((grantee_in_xml(grantee, records, root)?, permission));
        }
        Self { owner: owner.into(), grants }.checked()
    }

    fn checked(mut self) -> S3Result<Self> {
        if self.grants.len() > GRANTS_MAX {
            return Err(malformed());
        }
        // Groups first; else in the order in which they were given.
        self.grants.sort_by_key(|(grantee, _)| matches!(grantee, Grantee::Account(_)));
        Ok(self)
    }

    /// As XML: the owner and the grants.
    pub fn to_xml(&self, records: &Records, root: &Account) -> (Owner, Vec<XmlGrant>) {
        let shown = |name: &str| account(name, records, root).map(|account| account.display_name.clone());
        let xml = |(grantee, permission): &(Grantee, Permission)| {
            let group = |uri: &str| XmlGrantee {
                type_: Type::from_static(Type::GROUP),
                uri: Some(uri.to_owned()),
                display_name: None,
                email_address: None,
                id: None,
            };
            let grantee = match grantee {
                Grantee::AllUsers => group(ALL_USERS),
                Grantee::AuthenticatedUsers => group(AUTHENTICATED_USERS),
                Grantee::LogDelivery => group(LOG_DELIVERY),
                Grantee::Account(name) => XmlGrantee {
                    type_: Type::from_static(Type::CANONICAL_USER),
                    display_name: shown(name),
                    id: Some(name.clone()),
                    uri: None,
                    email_address: None,
                },
            };
            XmlGrant { grantee: Some(grantee), permission: Some(XmlPermission::from(permission.name().to_owned())) }
        };
        let owner = Owner { display_name: shown(&self.owner), id: Some(self.owner.clone()) };
        (owner, self.grants.iter().map(xml).collect())
    }

    /// Whether somebody has a permission. The owner may always read and change the list.
    pub fn allows(&self, who: Who<'_>, permission: Permission) -> bool {
        let is_owner = who == Who::Account(&self.owner);
        if is_owner && matches!(permission, Permission::ReadAcp | Permission::WriteAcp) {
            return true;
        }
        let is_meant = |grantee: &Grantee| match grantee {
            Grantee::AllUsers => true,
            Grantee::AuthenticatedUsers => matches!(who, Who::Account(_)),
            Grantee::LogDelivery => false,
            Grantee::Account(name) => who == Who::Account(name),
        };
        self.grants.iter().any(|(grantee, granted)| is_meant(grantee) && (*granted == permission || *granted == Permission::FullControl))
    }

    /// Whether it lets everybody in.
    pub fn is_public(&self) -> bool {
        self.grants.iter().any(|(grantee, _)| matches!(grantee, Grantee::AllUsers | Grantee::AuthenticatedUsers))
    }

    /// It without what lets everybody in.
    #[must_use]
    pub fn without_public(mut self) -> Self {
        self.grants.retain(|(grantee, _)| !matches!(grantee, Grantee::AllUsers | Grantee::AuthenticatedUsers));
        self
    }

    /// Its text, as it is kept.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("names are text")
    }

    /// The inverse; a text that is none gives nobody anything.
    pub fn of_text(text: &str, owner: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self { owner: owner.into(), grants: Vec::new() })
    }
}

fn malformed() -> s3s::S3Error {
    s3_error!(MalformedACLError, "The XML you provided was not well-formed or did not validate against our published schema")
}

/// The account of that name; the one of the configuration is not among the records.
fn account<'a>(name: &str, records: &'a Records, root: &'a Account) -> Option<&'a Account> {
    if name == root.name { Some(root) } else { records.accounts.get(name).map(AsRef::as_ref) }
}

fn account_by_id(id: &str, records: &Records, root: &Account) -> S3Result<Grantee> {
    match account(id, records, root) {
        Some(account) => Ok(Grantee::Account(account.name.clone())),
        None => Err(s3_error!(InvalidArgument, "Invalid id")),
    }
}

fn account_by_email(email: &str, records: &Records, root: &Account) -> S3Result<Grantee> {
    let mut all = records.accounts.values().map(AsRef::as_ref).chain(std::iter::once(root));
    match all.find(|account| !email.is_empty() && account.email.eq_ignore_ascii_case(email)) {
        Some(account) => Ok(Grantee::Account(account.name.clone())),
        None => {
            let code = S3ErrorCode::UnresolvableGrantByEmailAddress;
            Err(s3s::S3Error::with_message(code, "The email address you provided does not match any account on record."))
        }
    }
}

fn group(uri: &str) -> S3Result<Grantee> {
    match uri {
        ALL_USERS => Ok(Grantee::AllUsers),
        AUTHENTICATED_USERS => Ok(Grantee::AuthenticatedUsers),
        LOG_DELIVERY => Ok(Grantee::LogDelivery),
        _ => Err(s3_error!(InvalidArgument, "Invalid group uri")),
    }
}

fn grantee_in_header(text: &str, records: &Records, root: &Account) -> S3Result<Grantee> {
    let invalid = || s3_error!(InvalidArgument, "Argument format not recognized");
    let (kind, value) = text.split_once('=').ok_or_else(invalid)?;
    let value = value.trim().trim_matches('"');
    match kind.trim().to_ascii_lowercase().as_str() {
        "id" => account_by_id(value, records, root),
        "emailaddress" => account_by_email(value, records, root),
        "uri" => group(value),
        _ => Err(invalid()),
    }
}

fn grantee_in_xml(grantee: XmlGrantee, records: &Records, root: &Account) -> S3Result<Grantee> {
    match grantee {
        XmlGrantee { id: Some(id), .. } => account_by_id(&id, records, root),
        XmlGrantee { uri: Some(uri), .. } => group(&uri),
        XmlGrantee { email_address: Some(email), .. } => account_by_email(&email, records, root),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn account(name: &str) -> Account {
        Account {
            name: name.into(),
            display_name: name.to_uppercase(),
            email: format!("{name}@example.com"),
            created_ms: 0,
            disabled: false,
            keys: BTreeMap::new(),
        }
    }

    fn records() -> Records {
        let accounts = ["ann", "bob"].map(|name| (name.to_owned(), Arc::new(account(name))));
        Records { accounts: accounts.into(), ..Records::default() }
    }

    const BETWEEN: Between<'static> = Between { owner: "ann", bucket_owner: "bob" };
    const ANN: Who<'static> = Who::Account("ann");
    const BOB: Who<'static> = Who::Account("bob");

    #[test]
    fn canned_lists_allow_what_they_say() {
        use Permission::{FullControl, Read, ReadAcp, Write, WriteAcp};
        let table = [
            ("private", Who::Anonymous, Read, false),
            ("private", BOB, Read, false),
            ("private", ANN, Write, true),
            ("public-read", Who::Anonymous, Read, true),
            ("public-read", Who::Anonymous, Write, false),
            ("public-read", BOB, ReadAcp, false),
            ("public-read-write", Who::Anonymous, Write, true),
            ("authenticated-read", Who::Anonymous, Read, false),
            ("authenticated-read", BOB, Read, true),
            ("bucket-owner-read", BOB, Read, true),
            ("bucket-owner-read", BOB, WriteAcp, false),
            ("bucket-owner-full-control", BOB, WriteAcp, true),
            ("log-delivery-write", BOB, FullControl, false),
        ];
        for (name, who, permission, expected) in table {
            assert_eq!(Acl::canned(name, BETWEEN).expect("known").allows(who, permission), expected, "{name} {who:?} {permission:?}");
        }
        assert!(Acl::canned("public", BETWEEN).is_err());
    }

    #[test]
    fn the_owner_reads_and_changes_a_list_that_gives_nobody_anything() {
        let none = Acl { owner: "ann".into(), grants: Vec::new() };
        assert!(none.allows(ANN, Permission::ReadAcp) && none.allows(ANN, Permission::WriteAcp));
        assert!(!none.allows(ANN, Permission::Read) && !none.allows(BOB, Permission::ReadAcp));
        assert_eq!(Acl::of_text(&none.to_text(), "x"), none);
        assert_eq!(Acl::of_text("?", "ann"), none);
    }

    #[test]
    fn headers_name_accounts_by_id_by_mail_and_groups() {
        let root = account("root");
        let made = |grants: Vec<(Permission, &str)>, canned| {
            Acl::from_headers(&Headers { canned, grants }, BETWEEN, &records(), &root).map_err(|error| error.code().clone())
        };
        let acl = made(
            vec![(Permission::Read, "id=bob, emailAddress=\"ANN@example.com\""), (Permission::Write, &format!("uri={ALL_USERS}"))],
            None,
        );
        let expected = vec![
            (Grantee::AllUsers, Permission::Write),
            (Grantee::Account("bob".into()), Permission::Read),
            (Grantee::Account("ann".into()), Permission::Read),
        ];
        assert_eq!(acl.expect("good").grants, expected);
        assert_eq!(made(vec![(Permission::Read, "id=eve")], None), Err(S3ErrorCode::InvalidArgument));
        assert_eq!(made(vec![(Permission::Read, "emailAddress=e@x")], None), Err(S3ErrorCode::UnresolvableGrantByEmailAddress));
        assert_eq!(made(vec![(Permission::Read, "id=bob")], Some("private")), Err(S3ErrorCode::InvalidRequest));
        assert_eq!(made(vec![], None), Ok(Acl::private("ann")));
    }

    #[test]
    fn xml_goes_both_ways_and_no_other_owner_is_taken() {
        let (records, root) = (records(), account("root"));
        let acl = Acl::canned("public-read", BETWEEN).expect("known");
        let (owner, grants) = acl.to_xml(&records, &root);
        assert_eq!((owner.display_name.as_deref(), grants.len()), (Some("ANN"), 2));
        let xml = |owner: Option<Owner>| AccessControlPolicy { owner, grants: Some(grants.clone()) };
        assert_eq!(Acl::from_xml(xml(Some(owner.clone())), "ann", &records, &root).ok(), Some(acl.clone()));
        let other = Owner { id: Some("bob".into()), display_name: None };
        assert_eq!(Acl::from_xml(xml(Some(other)), "ann", &records, &root).map_err(|e| e.code().clone()), Err(S3ErrorCode::AccessDenied));
        assert!(acl.is_public() && !acl.without_public().is_public());
    }
}
