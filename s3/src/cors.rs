//! Pages of other origins: which rule of a bucket lets one in, and what a browser is told. Pure, but for the reading of the rules.
//!
//! Source: the Fetch standard, "CORS protocol", and AWS, "How does Amazon S3 evaluate the CORS configuration on a bucket?": the first rule whose
//! origin, method and headers all fit counts.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method};
use s3s::dto::{CORSConfiguration, CORSRule};

/// What a page asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it comes from.
    origin: String,
    /// What it wants to do; `None` where a preflight does not say it.
    method: Option<String>,
    /// The headers that it wants to send.
    headers: Vec<String>,
    is_preflight: bool,
}

impl Asked {
    /// What a request asks; `None` where it is no page's.
    pub fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        let header = |name: HeaderName| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let (is_preflight, origin) = (method == Method::OPTIONS, header(ORIGIN)?);
        let wanted = header(ACCESS_CONTROL_REQUEST_METHOD).or_else(|| (!is_preflight).then(|| method.to_string()));
        let names = header(ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let names = names.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect();
        Some(Self { origin, method: wanted, headers: names, is_preflight })
    }

    /// Whether it says what it wants to do.
    pub fn names_method(&self) -> bool {
        self.method.is_some()
    }

    /// What a browser is told where one of the rules lets the page in.
    pub fn answer(&self, rules: &CORSConfiguration) -> Option<HeaderMap> {
        let rule = rules.cors_rules.iter().find(|rule| self.fits(rule))?;
        let mut told = HeaderMap::new();
        let mut tell = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                told.insert(name, value);
            }
        };
        let is_any = rule.allowed_origins.iter().any(|origin| origin == "*");
        tell(ACCESS_CONTROL_ALLOW_ORIGIN, if is_any { "*".to_owned() } else { self.origin.clone() });
        if !is_any {
            tell(ACCESS_CONTROL_ALLOW_CREDENTIALS, "true".to_owned());
        }
        tell(ACCESS_CONTROL_ALLOW_METHODS, rule.allowed_methods.join(", "));
        if self.is_preflight && !self.headers.is_empty() {
            tell(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.join(", "));
        }
        if let Some(exposed) = rule.expose_headers.as_ref().filter(|exposed| !exposed.is_empty()) {
            tell(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.join(", "));
        }
        if let Some(seconds) = rule.max_age_seconds {
            tell(ACCESS_CONTROL_MAX_AGE, seconds.to_string());
        }
        tell(VARY, "Origin, Access-Control-Request-Headers, Access-Control-Request-Method".to_owned());
        Some(told)
    }

    fn fits(&self, rule: &CORSRule) -> bool {
        let is_allowed = |name: &String| {
            let allowed = rule.allowed_headers.iter().flatten();
            allowed.into_iter().any(|pattern| has_form(&pattern.to_ascii_lowercase(), name))
        };
        rule.allowed_origins.iter().any(|pattern| has_form(pattern, &self.origin))
            && self.method.as_ref().is_some_and(|wanted| rule.allowed_methods.iter().any(|method| method == wanted))
            && self.headers.iter().all(is_allowed)
    }
}

/// Whether a text has the form of a pattern with at most one `*`.
fn has_form(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after),
    }
}

/// Why rules are none.
pub fn problem(rules: &CORSConfiguration) -> Option<String> {
    const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];
    for rule in &rules.cors_rules {
        if let Some(strange) = rule.allowed_methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
            return Some(format!("Found unsupported HTTP method in CORS config. Unsupported method is {strange}"));
        }
        let stars = |patterns: &[String]| patterns.iter().find(|pattern| pattern.matches('*').count() > 1).cloned();
        if let Some(pattern) = stars(&rule.allowed_origins) {
            return Some(format!("AllowedOrigin \"{pattern}\" can not have more than one wildcard."));
        }
        if let Some(pattern) = rule.allowed_headers.as_deref().and_then(stars) {
            return Some(format!("AllowedHeader \"{pattern}\" can not have more than one wildcard."));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(method: &str, origins: &[&str]) -> CORSRule {
        CORSRule {
            allowed_headers: None,
            allowed_methods: vec![method.to_owned()],
            allowed_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            expose_headers: None,
            id: None,
            max_age_seconds: None,
        }
    }

    fn asked(method: &Method, headers: &[(HeaderName, &'static str)]) -> Option<Asked> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        Asked::of(method, &headers)
    }

    #[test]
    fn origins_and_methods_fit_as_rules_say() {
        let rules = vec![rule("GET", &["*suffix"]), rule("GET", &["start*end"]), rule("GET", &["prefix*"]), rule("PUT", &["*.put"])];
        let rules = CORSConfiguration { cors_rules: rules };
        let table = [
            (Method::GET, "foo.suffix", true),
            (Method::GET, "foo.bar", false),
            (Method::GET, "foo.suffix.get", false),
            (Method::GET, "startend", true),
            (Method::GET, "start12end", true),
            (Method::GET, "0start12end", false),
            (Method::GET, "prefix.suffix", true),
            (Method::GET, "bla.prefix", false),
            (Method::PUT, "foo.suffix", false),
            (Method::PUT, "foo.put", true),
        ];
        for (method, origin, expected) in table {
            let told = asked(&method, &[(ORIGIN, origin)]).expect("a page's").answer(&rules);
            assert_eq!(told.is_some(), expected, "{method} {origin}");
            if let Some(told) = told {
                assert_eq!(
                    (&told[ACCESS_CONTROL_ALLOW_ORIGIN], &told[ACCESS_CONTROL_ALLOW_METHODS]),
                    (&origin.parse().expect("a value"), &method.as_str().parse().expect("a value"))
                );
            }
        }
        assert_eq!(asked(&Method::GET, &[]), None);
    }

    #[test]
    fn a_preflight_says_what_it_wants_and_each_header_has_to_be_allowed() {
        let mut rules = CORSConfiguration { cors_rules: vec![rule("GET", &["*"])] };
        let preflight = |headers: &'static str| {
            let all = [(ORIGIN, "o"), (ACCESS_CONTROL_REQUEST_METHOD, "GET"), (ACCESS_CONTROL_REQUEST_HEADERS, headers)];
            asked(&Method::OPTIONS, &all).expect("a page's")
        };
        assert!(!asked(&Method::OPTIONS, &[(ORIGIN, "o")]).expect("a page's").names_method());
        assert_eq!(preflight("").answer(&rules).expect("let in")[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(preflight("x-amz-meta-a").answer(&rules).is_none());
        rules.cors_rules[0].allowed_headers = Some(vec!["X-Amz-*".into()]);
        let told = preflight("X-Amz-Meta-A, x-amz-date").answer(&rules).expect("let in");
        assert_eq!(told[ACCESS_CONTROL_ALLOW_HEADERS], "x-amz-meta-a, x-amz-date");
        assert!(preflight("x-amz-date, authorization").answer(&rules).is_none());
    }

    #[test]
    fn rules_that_s3_refuses_are_refused() {
        let of = |rule| problem(&CORSConfiguration { cors_rules: vec![rule] });
        assert_eq!(of(rule("GET", &["*a"])), None);
        assert!(of(rule("PATCH", &["*"])).is_some());
        assert!(of(rule("GET", &["*a*"])).is_some());
    }
}
