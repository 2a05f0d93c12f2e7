//! Policies of buckets and sessions, in the language of IAM as far as S3 has it: parsed whole or refused, and evaluated on what is known of a request.
//!
//! Pure. The verdict of one policy is `Deny` where any statement that applies denies, else `Allow` where one allows, else nothing. What a
//! condition asks of is given by a [`Context`]. Source: AWS, "IAM JSON policy elements reference" and "Actions, resources, and condition keys for
//! Amazon S3".

mod condition;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;

use condition::Condition;
use pattern::matches;

/// What is known of a request when a policy is evaluated.
pub trait Context {
    /// The values of a condition key, in lower case; none where the request has none.
    fn values(&self, key: &str) -> Vec<String>;
}

/// Who asks: the name of an account, or nobody that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// An account.
    Account(&'a str),
    /// Nobody has signed.
    Anonymous,
}

/// What a policy says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is forbidden, whatever else allows it.
    Deny,
    /// It is allowed.
    Allow,
    /// Nothing.
    Silent,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks.
    pub who: Who<'a>,
    /// The action, as `s3:GetObject`.
    pub action: &'a str,
    /// The resource, as `arn:aws:s3:::bucket/key`.
    pub resource: &'a str,
}

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    allows: bool,
    /// `NotPrincipal`, `NotAction`, `NotResource` are the ones with `is_negated`.
    principals: Listed,
    actions: Listed,
    resources: Listed,
    conditions: Vec<Condition>,
}

/// Patterns of which one has to match, or none.
#[derive(Clone, Debug, PartialEq)]
struct Listed {
    is_negated: bool,
    patterns: Vec<String>,
}

impl Listed {
    fn holds(&self, matches_one: impl Fn(&str) -> bool) -> bool {
        self.patterns.iter().any(|pattern| matches_one(pattern)) != self.is_negated
    }

    fn is_all(&self) -> bool {
        self.is_negated || self.patterns.iter().any(|pattern| pattern == "*")
    }
}

/// Why a policy is none; goes into the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Policy {
    /// The policy of a JSON text.
    ///
    /// # Errors
    /// Whatever is not understood: a part that is passed over might have denied something.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        parse::policy(text, parse::Of::Bucket)
    }

    /// The policy of a session: it names nobody.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_of_session(text: &str) -> Result<Self, Malformed> {
        parse::policy(text, parse::Of::Session)
    }

    /// What it says of a request.
    pub fn verdict(&self, asked: Asked<'_>, context: &dyn Context) -> Verdict {
        let applies = |statement: &&Statement| statement.applies(asked, context);
        let mut verdict = Verdict::Silent;
        for statement in self.statements.iter().filter(applies) {
            if !statement.allows {
                return Verdict::Deny;
            }
            verdict = Verdict::Allow;
        }
        verdict
    }

    /// Whether it lets everybody in: a statement that allows, for all principals, under no condition that holds for few.
    pub fn is_public(&self) -> bool {
        let is_public = |statement: &Statement| {
            statement.allows && statement.principals.is_all() && !statement.conditions.iter().any(Condition::limits_to_few)
        };
        self.statements.iter().any(is_public)
    }

    /// Whether all that it names is this bucket or in it; a pattern that this bucket fits will do.
    pub fn is_about(&self, bucket: &str) -> bool {
        let is_it = |resource: &String| {
            let named = resource.strip_prefix("arn:aws:s3:::").unwrap_or(resource);
            matches(named.split('/').next().unwrap_or_default(), bucket)
        };
        self.statements.iter().all(|statement| statement.resources.patterns.iter().all(is_it))
    }

    /// Whether it asks for that condition key, or one that begins with it and a slash.
    pub fn asks_of(&self, key: &str) -> bool {
        let is_it = |asked: &str| asked.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.statements.iter().flat_map(|statement| &statement.conditions).any(|condition| is_it(condition.key()))
    }
}

impl Statement {
    fn applies(&self, asked: Asked<'_>, context: &dyn Context) -> bool {
        self.principals.holds(|pattern| is_principal(pattern, asked.who))
            && self.actions.holds(|pattern| matches(&pattern.to_ascii_lowercase(), &asked.action.to_ascii_lowercase()))
            && self.resources.holds(|pattern| matches(&filled(pattern, context), asked.resource))
            && self.conditions.iter().all(|condition| condition.holds(context))
    }
}

/// Whether a principal of a policy is the one that asks: by its name, as a user of any account, or as the account itself.
fn is_principal(pattern: &str, who: Who<'_>) -> bool {
    if pattern == "*" {
        return true;
    }
    let Who::Account(name) = who else { return false };
    let Some(arn) = pattern.strip_prefix("arn:aws:iam::") else { return pattern == name };
    let Some((account, resource)) = arn.split_once(':') else { return false };
    match resource.strip_prefix("user/") {
        // A path before the name says nothing here.
        Some(user) => user.rsplit('/').next() == Some(name),
        None => resource == "root" && account == name,
    }
}

/// A pattern with its variables, as `${aws:username}`, filled in.
fn filled(pattern: &str, context: &dyn Context) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, behind)) = after.split_once('}') else { break };
        out.push_str(before);
        match name {
            "*" | "?" | "$" => out.push_str(name),
            name => match context.values(&name.to_ascii_lowercase()).first() {
                Some(value) => out.push_str(value),
                // What is not known matches nothing.
                None => out.push('\u{0}'),
            },
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}
