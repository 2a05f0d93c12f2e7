//! `redoubt s3 target`: webhooks that events of buckets may be told to. A token is shown to the webhook alone.

use std::collections::BTreeMap;

use client::{Error, RecordChange, token_of};
use serde_json::{Value, json};
use types::event::is_target_name;
use types::records::Target;

use super::KeyFile;
use crate::cli::connect::{ha, with_client};
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// Verbs on targets.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Makes a target, which buckets may name from then on
    Create(Create),
    /// Lists the targets
    List,
    /// Removes a target, with what it was not told yet
    Delete {
        /// The target
        target: String,
    },
}

/// Arguments of `s3 target create`.
#[derive(clap::Args)]
pub struct Create {
    /// Its name
    target: String,
    /// Where events are posted to: an address of HTTP or HTTPS
    #[arg(long, value_name = "URL")]
    url: String,
    /// What is shown to it as `Authorization: Bearer TOKEN`, or as it is where it has a space
    #[arg(long, value_name = "TOKEN", env = "REDOUBT_S3_TARGET_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Takes the place of one of that name
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    file: KeyFile,
}

/// Runs a verb.
pub async fn run(common: &Common, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(create) => run_create(common, create).await,
        Verb::List => {
            let targets = targets(common).await?;
            let listed: Vec<Value> = targets.iter().map(|(name, target)| shown(name, target)).collect();
            let rows = || {
                let row = |(name, target): (&String, &Target)| vec![name.clone(), arn(name), target.url.clone()];
                let heading = ["TARGET", "ARN", "ADDRESS"].map(String::from).to_vec();
                output::table(&std::iter::once(heading).chain(targets.iter().map(row)).collect::<Vec<_>>())
            };
            output::value(common.output, &json!({"targets": listed}), rows)
        }
        Verb::Delete { target: name } => {
            if !targets(common).await?.contains_key(&name) {
                return Err(Failure::from(Error::NotFound(format!("target `{name}`"))));
            }
            with_client(common, |client| async move {
                client.change_record(&format!("delete target {name}"), &RecordChange::DeleteTarget { name: name.clone() }).await?;
                output::value(common.output, &json!({"target": name, "state": "deleted"}), String::new)
            })
            .await
        }
    }
}

async fn run_create(common: &Common, create: Create) -> Result<(), Failure> {
    let Create { target: name, url, token, replace, file } = create;
    check(&name, &url)?;
    // The cluster's key is needed by what has a secret only.
    let sealed_token = match token {
        Some(token) => Some(file.load(common)?.seal(&token_of(&name), token.as_bytes())),
        None => None,
    };
    if !replace && targets(common).await?.contains_key(&name) {
        return Err(Failure::new(Exit::Condition, format!("target `{name}` exists already: --replace takes its place")));
    }
    let target = Target { url, sealed_token };
    let value = shown(&name, &target);
    with_client(common, |client| async move {
        let what = format!("set target {name}");
        client.change_record(&what, &RecordChange::PutTarget { name: name.clone(), target }).await?;
        output::value(common.output, &value, || format!("buckets name it {}", arn(&name)))
    })
    .await
}

/// Whether the name and the address can be ones: the rest is seen when it is told something.
fn check(name: &str, url: &str) -> Result<(), Failure> {
    if !is_target_name(name) {
        return Err(Failure::from(Error::Invalid("the name of a target has 1 to 64 letters, digits and characters of `_-.`".into())));
    }
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default()).unwrap_or_default();
    if host.is_empty() || host.contains('@') || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        let words = format!("`{url}` is no address of HTTP or HTTPS without a user's name, as in https://host:port/path");
        return Err(Failure::from(Error::Invalid(words)));
    }
    Ok(())
}

async fn targets(common: &Common) -> Result<BTreeMap<String, Target>, Failure> {
    ha(common)?.targets().await.map_err(|e| Failure::from(&e))
}

/// By what buckets name a target.
fn arn(name: &str) -> String {
    format!("arn:redoubt:sqs::{name}:webhook")
}

fn shown(name: &str, target: &Target) -> Value {
    json!({"target": name, "arn": arn(name), "url": target.url, "has_token": target.sealed_token.is_some()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_http_and_has_no_secret_in_it() {
        for good in ["http://a", "https://a:8443/b?c=d", "http://[::1]:80/"] {
            assert!(check("audit", good).is_ok(), "{good}");
        }
        for bad in ["", "a", "ftp://a", "http://", "http:///x", "http://u:p@a/", "http://a b/", "http://ä/"] {
            assert!(check("audit", bad).is_err(), "{bad}");
        }
        assert!(check("a:b", "http://a").is_err());
    }
}
