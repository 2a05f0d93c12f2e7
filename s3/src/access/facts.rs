//! What is known of a request, as policies ask for it.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::http::Extensions;
use hyper::{HeaderMap, Uri};
use s3s::dto::{Timestamp, TimestampFormat};

use crate::policy::Context;
use crate::session::Session;
use crate::tags::Tags;

/// From which address a connection comes. Lies in the extensions of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// Whether what is said on it is encrypted.
    pub is_secure: bool,
}

/// What a request says of itself.
#[derive(Debug)]
pub struct Facts {
    headers: HeaderMap,
    query: Vec<(String, String)>,
    peer: Option<Peer>,
}

/// It, and of whom it is about what.
pub struct Known<'a> {
    facts: &'a Facts,
    account: Option<&'a str>,
    session: Option<&'a Session>,
    tags: &'a Tags,
}

impl Facts {
    /// Of a request.
    pub fn of(headers: &HeaderMap, uri: &Uri, extensions: &Extensions) -> Self {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((crate::tags::decoded(name)?, crate::tags::decoded(value)?))
        };
        let query = uri.query().unwrap_or_default().split('&').filter_map(pair).collect();
        let mut headers = headers.clone();
        for key in crate::encryption::head::KEYS.into_iter().chain([crate::session::TOKEN]) {
            headers.remove(key);
        }
        Self { headers, query, peer: extensions.get::<Peer>().copied() }
    }

    /// A parameter of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// With who asks, and the tags of what it is about.
    pub fn with<'a>(&'a self, account: Option<&'a str>, session: Option<&'a Session>, tags: &'a Tags) -> Known<'a> {
        Known { facts: self, account, session, tags }
    }

    fn request_tags(&self) -> Tags {
        self.header("x-amz-tagging").and_then(|header| Tags::from_header(&header).ok()).unwrap_or_default()
    }
}

fn written(time: SystemTime) -> Option<String> {
    let mut text = Vec::new();
    Timestamp::from(time).format(TimestampFormat::DateTime, &mut text).ok()?;
    String::from_utf8(text).ok()
}

impl Context for Known<'_> {
    fn values(&self, key: &str) -> Vec<String> {
        let facts = self.facts;
        if let Some(tag) = key.strip_prefix("s3:existingobjecttag/") {
            return self.tags.value_of(tag).map(str::to_owned).into_iter().collect();
        }
        if let Some(tag) = key.strip_prefix("s3:requestobjecttag/") {
            return facts.request_tags().value_of(tag).map(str::to_owned).into_iter().collect();
        }
        let one = match key {
            "aws:sourceip" => facts.peer.map(|peer| peer.address.to_canonical().to_string()),
            "aws:securetransport" => Some(facts.peer.is_some_and(|peer| peer.is_secure).to_string()),
            "aws:useragent" => facts.header("user-agent"),
            "aws:referer" => facts.header("referer"),
            "aws:currenttime" => written(SystemTime::now()),
            "aws:tokenissuetime" => self.session.and_then(|session| written(session.issued)),
            "aws:epochtime" => SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs().to_string()),
            "aws:username" | "aws:userid" => self.account.map(str::to_owned),
            "aws:principaltype" => {
                let is_assumed = self.session.is_some_and(|session| session.role.is_some());
                Some(self.account.map_or("Anonymous", |_| if is_assumed { "AssumedRole" } else { "User" }).to_owned())
            }
            "s3:requestobjecttagkeys" => return facts.request_tags().keys(),
            "s3:authtype" => match (facts.header("authorization"), facts.query("X-Amz-Signature")) {
                (Some(_), _) => Some("REST-HEADER".to_owned()),
                (None, Some(_)) => Some("REST-QUERY-STRING".to_owned()),
                (None, None) => None,
            },
            "s3:signatureversion" => self.account.map(|_| "AWS4-HMAC-SHA256".to_owned()),
            "s3:prefix" | "s3:delimiter" | "s3:max-keys" => facts.query(&key["s3:".len()..]).map(str::to_owned),
            "s3:versionid" => facts.query("versionId").map(str::to_owned),
            other => match other.strip_prefix("s3:") {
                Some(header) if header.starts_with("x-amz-") || header == "if-none-match" || header == "if-match" => facts.header(header),
                Some("object-lock-mode") => facts.header("x-amz-object-lock-mode"),
                Some("object-lock-legal-hold") => facts.header("x-amz-object-lock-legal-hold"),
                Some("object-lock-retain-until-date") => facts.header("x-amz-object-lock-retain-until-date"),
                _ => None,
            },
        };
        one.into_iter().collect()
    }
}
