//! `redoubt s3 user`: accounts and their keys. A secret is shown once, when it is made.

use client::{Client, Error, Quota, RecordChange, RecordDone, random};
use serde_json::{Value, json};
use types::records::{Account, ROOT, is_account_name};

use super::KeyFile;
use super::quota::{self, Bounds};
use crate::cli::connect::{ha, with_client};
use crate::cli::exit::{Exit, Failure};
use crate::cli::{Common, output};

/// Letters of a key's name.
const NAME_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Letters of a secret.
const SECRET_LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Verbs on users.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Makes a user with a first key
    Create(Create),
    /// Lists the users
    List,
    /// Shows a user and the names of its keys
    Show {
        /// The user
        user: String,
    },
    /// Lets nothing in that a user signs
    Disable {
        /// The user
        user: String,
    },
    /// Lets a user in again
    Enable {
        /// The user
        user: String,
    },
    /// Removes a user who owns no buckets
    Delete {
        /// The user
        user: String,
    },
    /// Sets how much the buckets of a user may hold together
    Quota {
        /// The user
        user: String,
        #[command(flatten)]
        bounds: Bounds,
    },
    /// Keys of users
    #[command(subcommand)]
    Key(KeyVerb),
}

/// Arguments of `s3 user create`.
#[derive(clap::Args)]
pub struct Create {
    /// Its name
    user: String,
    /// Its name for display
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// Its mail address
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    email: String,
    #[command(flatten)]
    key: NewKey,
}

/// A key to be made.
#[derive(clap::Args)]
pub struct NewKey {
    /// The name of the key; drawn where nothing is said
    #[arg(long, value_name = "NAME")]
    access_key: Option<String>,
    /// Its secret; drawn where nothing is said
    #[arg(long, value_name = "SECRET", requires = "access_key", env = "REDOUBT_S3_NEW_SECRET", hide_env_values = true)]
    secret_key: Option<String>,
    #[command(flatten)]
    file: KeyFile,
}

/// Verbs on keys.
#[derive(clap::Subcommand)]
pub enum KeyVerb {
    /// Makes one more key of a user
    Create {
        /// The user
        user: String,
        #[command(flatten)]
        key: NewKey,
    },
    /// Makes a new key of a user and removes the others
    Rotate {
        /// The user
        user: String,
        #[command(flatten)]
        key: NewKey,
    },
    /// Lists the names of a user's keys
    List {
        /// The user
        user: String,
    },
    /// Removes a key
    Delete {
        /// The user
        user: String,
        /// The name of the key
        access_key: String,
    },
}

/// Runs a verb.
pub async fn run(common: &Common, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Create(create) => run_create(common, create).await,
        Verb::List => {
            let (accounts, quotas) = ha(common)?.accounts().await.map_err(|e| Failure::from(&e))?;
            let of = |account: &Account| quotas.get(&account.name).copied().unwrap_or_default();
            let shown: Vec<Value> = accounts.values().map(|account| shown(account, of(account))).collect();
            let rows = || {
                let row = |a: &Account| {
                    vec![a.name.clone(), state(a).into(), a.keys.len().to_string(), quota::words(of(a)), a.display_name.clone()]
                };
                let heading = ["USER", "STATE", "KEYS", "QUOTA", "NAME"].map(String::from).to_vec();
                output::table(&std::iter::once(heading).chain(accounts.values().map(row)).collect::<Vec<_>>())
            };
            output::value(common.output, &json!({"users": shown}), rows)
        }
        Verb::Show { user } => {
            let (account, quota) = with_quota(common, &user).await?;
            let text = || {
                let keys: Vec<&str> = account.keys.keys().map(String::as_str).collect();
                let row = |name: &str, value: String| vec![name.to_owned(), value];
                output::table(&[
                    row("user", account.name.clone()),
                    row("name", account.display_name.clone()),
                    row("mail", if account.email.is_empty() { "-".into() } else { account.email.clone() }),
                    row("state", state(&account).into()),
                    row("keys", if keys.is_empty() { "-".into() } else { keys.join(", ") }),
                    row("quota", quota::words(quota)),
                ])
            };
            output::value(common.output, &shown(&account, quota), text)
        }
        Verb::Disable { user } => {
            change(common, &user, RecordChange::SetAccountDisabled { name: user.clone(), disabled: true }, "disabled").await
        }
        Verb::Enable { user } => {
            change(common, &user, RecordChange::SetAccountDisabled { name: user.clone(), disabled: false }, "enabled").await
        }
        Verb::Delete { user } => {
            account(common, &user).await?;
            change(common, &user, RecordChange::DeleteAccount { name: user.clone() }, "deleted").await
        }
        Verb::Quota { user, bounds } => {
            account(common, &user).await?;
            let quota = bounds.quota();
            let value = json!({"user": user, "quota": quota::shown(quota)});
            with_client(common, |client| async move {
                let change = RecordChange::SetAccountQuota { name: user.clone(), quota };
                client.change_record(&format!("set the quota of user {user}"), &change).await?;
                output::value(common.output, &value, String::new)
            })
            .await
        }
        Verb::Key(verb) => run_key(common, verb).await,
    }
}

async fn run_create(common: &Common, create: Create) -> Result<(), Failure> {
    let Create { user, display_name, email, key } = create;
    check_name("user", &user)?;
    key.access_key.as_deref().map_or(Ok(()), |name| check_name("key", name))?;
    let cluster_key = key.file.load(common)?;
    let (display_name, name) = (display_name.unwrap_or_else(|| user.clone()), user.clone());
    with_client(common, |client| async move {
        let change = RecordChange::CreateAccount { name, display_name: display_name.clone(), email: email.clone() };
        if client.change_record(&format!("create user {user}"), &change).await? == RecordDone::Exists {
            return Err(Failure::new(Exit::Condition, format!("user `{user}` exists already")));
        }
        let made = put_key(&client, &cluster_key, &user, &key).await?;
        let value = json!({
            "user": user, "id": user, "display_name": display_name, "email": email,
            "access_key": made.0, "secret_key": made.1,
        });
        output::value(common.output, &value, || format!("access key {}\nsecret key {}", made.0, made.1))
    })
    .await
}

async fn run_key(common: &Common, verb: KeyVerb) -> Result<(), Failure> {
    match verb {
        KeyVerb::List { user } => {
            let account = account(common, &user).await?;
            let names: Vec<&String> = account.keys.keys().collect();
            output::value(common.output, &json!({"user": user, "keys": names}), || {
                names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join("\n")
            })
        }
        KeyVerb::Delete { user, access_key } => {
            if !account(common, &user).await?.keys.contains_key(&access_key) {
                return Err(Failure::new(
                    Exit::NotFound,
                    format!("the account `{user}` has no key `{access_key}`: `redoubt s3 user key list {user}`"),
                ));
            }
            let change_of = RecordChange::DeleteKey { account: user.clone(), key: access_key };
            change(common, &user, change_of, "without that key").await
        }
        KeyVerb::Create { user, key } => new_key(common, user, key, false).await,
        KeyVerb::Rotate { user, key } => new_key(common, user, key, true).await,
    }
}

/// Makes a key; the others go once it is there.
async fn new_key(common: &Common, user: String, key: NewKey, alone: bool) -> Result<(), Failure> {
    let cluster_key = key.file.load(common)?;
    let before = account(common, &user).await?;
    with_client(common, |client| async move {
        let made = put_key(&client, &cluster_key, &user, &key).await?;
        let gone: Vec<String> = before.keys.into_keys().filter(|name| alone && *name != made.0).collect();
        for name in &gone {
            let change = RecordChange::DeleteKey { account: user.clone(), key: name.clone() };
            client.change_record(&format!("delete key {name}"), &change).await?;
        }
        let value = json!({"user": user, "access_key": made.0, "secret_key": made.1, "deleted": gone});
        output::value(common.output, &value, || format!("access key {}\nsecret key {}", made.0, made.1))
    })
    .await
}

/// Its name and its secret.
async fn put_key(client: &Client, cluster_key: &client::ClusterKey, user: &str, key: &NewKey) -> Result<(String, String), Failure> {
    let name = key.access_key.clone().unwrap_or_else(|| letters::<20, 32>(NAME_LETTERS));
    check_name("key", &name)?;
    let secret = key.secret_key.clone().unwrap_or_else(|| letters::<40, 64>(SECRET_LETTERS));
    let sealed_secret = cluster_key.seal(&client::secret_of(&name), secret.as_bytes());
    let change = RecordChange::PutKey { account: user.into(), key: name.clone(), sealed_secret };
    match client.change_record(&format!("create key {name}"), &change).await? {
        RecordDone::Exists => Err(Failure::new(Exit::Condition, format!("key `{name}` exists already"))),
        _ => Ok((name, secret)),
    }
}

/// Refuses what can be no name, before anything is made.
fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let words = match name {
        ROOT if what == "user" => "it is that of whoever has the key of the configuration",
        name if is_account_name(name) => return Ok(()),
        _ => "it has 1 to 128 letters, digits and characters of `_-.@$+=,`",
    };
    Err(Failure::usage(format!("`{}` can be no name of a {what}: {words}", client::escaped(name.as_bytes()))))
}

fn letters<const N: usize, const L: usize>(alphabet: &[u8; L]) -> String {
    random::<N>().iter().map(|byte| char::from(alphabet[usize::from(*byte) % L])).collect()
}

async fn change(common: &Common, user: &str, change: RecordChange, done: &str) -> Result<(), Failure> {
    with_client(common, |client| async move {
        client.change_record(&format!("change user {user}"), &change).await?;
        output::value(common.output, &json!({"user": user, "done": done}), String::new)
    })
    .await
}

async fn account(common: &Common, user: &str) -> Result<Account, Failure> {
    Ok(with_quota(common, user).await?.0)
}

async fn with_quota(common: &Common, user: &str) -> Result<(Account, Quota), Failure> {
    let (mut accounts, quotas) = ha(common)?.accounts().await.map_err(|e| Failure::from(&e))?;
    let account = accounts.remove(user).ok_or_else(|| Failure::from(Error::NotFound(format!("user `{user}`"))))?;
    Ok((account, quotas.get(user).copied().unwrap_or_default()))
}

fn state(account: &Account) -> &'static str {
    if account.disabled { "disabled" } else { "enabled" }
}

fn shown(account: &Account, quota: Quota) -> Value {
    json!({
        "user": account.name, "id": account.name, "display_name": account.display_name, "email": account.email,
        "state": state(account), "created_ms": account.created_ms, "keys": account.keys.keys().collect::<Vec<_>>(),
        "quota": quota::shown(quota),
    })
}
