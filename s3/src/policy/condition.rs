//! Conditions of statements: an operator, a key, and values of which one has to fit (with a negated operator: none).

use std::net::IpAddr;

use s3s::dto::{Timestamp, TimestampFormat};

use super::pattern::matches;
use super::{Context, filled};

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    operator: Operator,
    is_negated: bool,
    /// Holds where the request has no such key.
    if_exists: bool,
    set: Set,
    key: String,
    values: Vec<String>,
}

/// Which of several values of a request have to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    One,
    Any,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Numeric(Compare),
    Date(Compare),
    Bool,
    Ip,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equals,
    Less,
    LessEquals,
    Greater,
    GreaterEquals,
}

impl Compare {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equals => left == right,
            Self::Less => left < right,
            Self::LessEquals => left <= right,
            Self::Greater => left > right,
            Self::GreaterEquals => left >= right,
        }
    }
}

impl Condition {
    /// The condition of an operator, a key and its values; `None` where there is none of that name, or a value is none of its kind.
    pub fn parse(operator: &str, key: &str, values: Vec<String>) -> Option<Self> {
        let (set, operator) = match operator.split_once(':') {
            Some(("ForAllValues", rest)) => (Set::All, rest),
            Some(("ForAnyValue", rest)) => (Set::Any, rest),
            Some(_) => return None,
            None => (Set::One, operator),
        };
        let (operator, if_exists) = operator.strip_suffix("IfExists").map_or((operator, false), |operator| (operator, true));
        let (operator, is_negated) = operator_named(operator)?;
        let condition = Self { operator, is_negated, if_exists, set, key: key.to_ascii_lowercase(), values };
        condition.values.iter().all(|value| operator.takes(value)).then_some(condition)
    }

    /// The key that it asks for, in lower case.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether it holds of a request.
    pub fn holds(&self, context: &dyn Context) -> bool {
        let present = context.values(&self.key);
        if self.operator == Operator::Null {
            let wants_absent = self.values.iter().any(|value| value.eq_ignore_ascii_case("true"));
            return present.is_empty() == wants_absent;
        }
        if present.is_empty() {
            return self.if_exists || self.set == Set::All || (self.is_negated && self.set == Set::One);
        }
        let fits = |value: &String| self.values.iter().any(|wanted| self.operator.fits(&filled(wanted, context), value)) != self.is_negated;
        match self.set {
            Set::All => present.iter().all(fits),
            Set::Any => present.iter().any(fits),
            Set::One if self.is_negated => present.iter().all(fits),
            Set::One => present.iter().any(fits),
        }
    }

    /// Whether few can fulfil it: it names addresses, organisations or whoever asks, each without wildcards.
    pub fn limits_to_few(&self) -> bool {
        // A variable is whoever asks, and the halves of all addresses are all of them.
        let is_wide = |value: &String| (0..8).any(|bits| value.ends_with(&format!("/{bits}")));
        let is_fixed = |value: &String| !value.contains(['*', '?', '$']) && (self.operator != Operator::Ip || !is_wide(value));
        let names_who = matches!(
            self.key.as_str(),
            "aws:sourceip"
                | "aws:sourcearn"
                | "aws:sourcevpc"
                | "aws:sourcevpce"
                | "aws:sourceowner"
                | "aws:sourceaccount"
                | "aws:principalorgid"
                | "aws:principalarn"
                | "aws:principalaccount"
                | "aws:userid"
                | "aws:username"
                | "s3:dataaccesspointarn"
                | "s3:dataaccesspointaccount"
        );
        names_who
            && self.set != Set::All
            && !self.is_negated
            && !self.if_exists
            && self.operator != Operator::Null
            && self.values.iter().all(is_fixed)
    }
}

fn operator_named(name: &str) -> Option<(Operator, bool)> {
    use Compare::{Equals, Greater, GreaterEquals, Less, LessEquals};
    let compare = |rest: &str| {
        Some(match rest {
            "Equals" => (Equals, false),
            "NotEquals" => (Equals, true),
            "LessThan" => (Less, false),
            "LessThanEquals" => (LessEquals, false),
            "GreaterThan" => (Greater, false),
            "GreaterThanEquals" => (GreaterEquals, false),
            _ => return None,
        })
    };
    if let Some(rest) = name.strip_prefix("Numeric") {
        return compare(rest).map(|(how, negated)| (Operator::Numeric(how), negated));
    }
    if let Some(rest) = name.strip_prefix("Date") {
        return compare(rest).map(|(how, negated)| (Operator::Date(how), negated));
    }
    Some(match name {
        "StringEquals" | "BinaryEquals" => (Operator::StringEquals, false),
        "StringNotEquals" => (Operator::StringEquals, true),
        "StringEqualsIgnoreCase" => (Operator::StringEqualsIgnoreCase, false),
        "StringNotEqualsIgnoreCase" => (Operator::StringEqualsIgnoreCase, true),
        "StringLike" | "ArnEquals" | "ArnLike" => (Operator::StringLike, false),
        "StringNotLike" | "ArnNotEquals" | "ArnNotLike" => (Operator::StringLike, true),
        "Bool" => (Operator::Bool, false),
        "IpAddress" => (Operator::Ip, false),
        "NotIpAddress" => (Operator::Ip, true),
        "Null" => (Operator::Null, false),
        _ => return None,
    })
}

impl Operator {
    /// Whether a value of a policy is one that it can compare with.
    fn takes(self, value: &str) -> bool {
        match self {
            Self::StringEquals | Self::StringEqualsIgnoreCase | Self::StringLike => true,
            Self::Numeric(_) => number(value).is_some(),
            Self::Date(_) => date(value).is_some(),
            Self::Bool | Self::Null => ["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)),
            Self::Ip => network(value).is_some(),
        }
    }

    fn fits(self, wanted: &str, value: &str) -> bool {
        match self {
            Self::StringEquals => wanted == value,
            Self::StringEqualsIgnoreCase => wanted.to_lowercase() == value.to_lowercase(),
            Self::StringLike => matches(wanted, value),
            Self::Numeric(how) => number(value).zip(number(wanted)).is_some_and(|(value, wanted)| how.holds(&value, &wanted)),
            Self::Date(how) => date(value).zip(date(wanted)).is_some_and(|(value, wanted)| how.holds(&value, &wanted)),
            Self::Bool => wanted.eq_ignore_ascii_case(value),
            Self::Ip => value.parse().ok().zip(network(wanted)).is_some_and(|(address, network)| is_in(address, network)),
            Self::Null => false,
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A time as ISO 8601 has it, or in seconds since 1970.
fn date(text: &str) -> Option<Timestamp> {
    let long = if text.len() == 10 && text.contains('-') { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let seconds = || text.parse::<u32>().ok().and_then(|_| Timestamp::parse(TimestampFormat::EpochSeconds, text).ok());
    Timestamp::parse(TimestampFormat::DateTime, &long).ok().or_else(seconds)
}

/// An address, and how many bits of it count.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
    (bits <= most).then_some((address, bits))
}

fn is_in(address: IpAddr, (network, bits): (IpAddr, u32)) -> bool {
    let plain = |address: IpAddr| address.to_canonical();
    match (plain(address), network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differ = address.to_bits() ^ network.to_bits();
            differ.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differ = address.to_bits() ^ network.to_bits();
            differ.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}
