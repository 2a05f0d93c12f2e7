//! From JSON to a policy. What is not known is refused: it might have been meant to forbid something.

use serde_json::{Map, Value};

use super::condition::Condition;
use super::{Listed, Malformed, Policy, Statement};

/// Most statements of a policy: a bound of its own, far beyond what fits a document.
const STATEMENTS_MAX: usize = 1000;

fn malformed(words: impl Into<String>) -> Malformed {
    Malformed(words.into())
}

/// Whose policy it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A bucket's: its statements say whom they are about.
    Bucket,
    /// A session's: they are about whoever has it.
    Session,
}

/// The policy of a text.
pub fn policy(text: &str, of: Of) -> Result<Policy, Malformed> {
    let value: Value = serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    let Value::Object(fields) = value else { return Err(malformed("Policies must be valid JSON and the first byte must be '{'")) };
    for (name, value) in &fields {
        match (name.as_str(), value) {
            ("Version", Value::String(version)) if version == "2012-10-17" || version == "2008-10-17" => {}
            ("Version", _) => return Err(malformed("The policy must contain a valid version string")),
            ("Id", Value::String(_)) | ("Statement", _) => {}
            _ => return Err(malformed(format!("Unknown field {name}"))),
        }
    }
    let statements = match fields.get("Statement") {
        Some(Value::Array(all)) if !all.is_empty() && all.len() <= STATEMENTS_MAX => {
            all.iter().map(|one| statement(one, of)).collect::<Result<_, _>>()?
        }
        Some(one @ Value::Object(_)) => vec![statement(one, of)?],
        _ => return Err(malformed("Missing required field Statement")),
    };
    Ok(Policy { statements })
}

fn statement(value: &Value, of: Of) -> Result<Statement, Malformed> {
    let Value::Object(fields) = value else { return Err(malformed("Invalid policy syntax.")) };
    for name in fields.keys() {
        let known = ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];
        if !known.contains(&name.as_str()) {
            return Err(malformed(format!("Unknown field {name}")));
        }
    }
    let allows = match fields.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        Some(other) => return Err(malformed(format!("Invalid effect: {other}"))),
        None => return Err(malformed("Missing required field Effect")),
    };
    let principals = match of {
        Of::Bucket => listed(fields, "Principal", "NotPrincipal", principals)?,
        Of::Session if ["Principal", "NotPrincipal"].iter().any(|name| fields.contains_key(*name)) => {
            return Err(malformed("Policy document should not specify a principal."));
        }
        Of::Session => Listed { is_negated: false, patterns: vec!["*".to_owned()] },
    };
    let actions = listed(fields, "Action", "NotAction", texts)?;
    let resources = listed(fields, "Resource", "NotResource", texts)?;
    if let Some(strange) = actions.patterns.iter().find(|action| !is_action(action)) {
        return Err(malformed(format!("Policy has invalid action: {strange}")));
    }
    if resources.patterns.iter().any(|resource| resource != "*" && !resource.starts_with("arn:aws:s3:::")) {
        return Err(malformed("Policy has invalid resource"));
    }
    let conditions = fields.get("Condition").map_or(Ok(Vec::new()), conditions)?;
    Ok(Statement { allows, principals, actions, resources, conditions })
}

/// The one of two fields that is there.
fn listed(
    fields: &Map<String, Value>,
    name: &str,
    negated: &str,
    read: impl Fn(&Value) -> Option<Vec<String>>,
) -> Result<Listed, Malformed> {
    let (value, is_negated) = match (fields.get(name), fields.get(negated)) {
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (None, None) => return Err(malformed(format!("Missing required field {name}"))),
        (Some(_), Some(_)) => return Err(malformed(format!("A statement has {name} or {negated}, not both"))),
    };
    let patterns = read(value).filter(|patterns| !patterns.is_empty());
    patterns.map(|patterns| Listed { is_negated, patterns }).ok_or_else(|| malformed(format!("Invalid {} in policy", name.to_lowercase())))
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(all) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn principals(value: &Value) -> Option<Vec<String>> {
    let Value::Object(kinds) = value else { return (value.as_str() == Some("*")).then(|| vec!["*".to_owned()]) };
    let mut all = Vec::new();
    for (kind, named) in kinds {
        let named = texts(named)?;
        match kind.as_str() {
            "AWS" | "CanonicalUser" => all.extend(named),
            // There are none of these here: they match nobody.
            "Service" | "Federated" => all.extend(named.into_iter().map(|name| format!("{kind}:{name}"))),
            _ => return None,
        }
    }
    Some(all)
}

fn is_action(action: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '*' || c == '?');
    action == "*" || action.split_once(':').is_some_and(|(service, name)| service.eq_ignore_ascii_case("s3") && is_name(name))
}

fn conditions(value: &Value) -> Result<Vec<Condition>, Malformed> {
    let wrong = || malformed("Invalid condition in policy");
    let mut all = Vec::new();
    for (operator, keys) in value.as_object().ok_or_else(wrong)? {
        for (key, values) in keys.as_object().ok_or_else(wrong)? {
            let values = match values {
                Value::Array(values) => values.iter().map(plain).collect::<Option<Vec<_>>>(),
                one => plain(one).map(|one| vec![one]),
            };
            let condition = values.filter(|values| !values.is_empty()).and_then(|values| Condition::parse(operator, key, values));
            all.push(condition.ok_or_else(wrong)?);
        }
    }
    Ok(all)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
