//! Whom to ask: what `--server` says, else what the local cluster's directory says.

use std::path::Path;
use std::time::Duration;

use ha_api::tls::Tls;
use ha_api::{ClientOptions, HaClient, HaError};

use crate::cli::Common;
use crate::exit::{Exit, Failure};

/// The file in a local cluster's directory that names its HA daemons, written by `redoubt dev`.
const CLUSTER_FILE: &str = "cluster.json";
/// Largest such file.
const CLUSTER_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How long a daemon has to say that it is there.
const IS_THERE: Duration = Duration::from_millis(1000);

/// HA, and whom of it was asked.
#[derive(Clone)]
pub struct Ha {
    client: HaClient,
    addresses: Vec<String>,
    timeout: Duration,
    tls: Option<Tls>,
}

impl Ha {
    /// The daemons that the command line names. Nothing is sent yet.
    pub fn of(common: &Common) -> Result<Self, Failure> {
        let addresses = if common.server.is_empty() { addresses_in(&common.dir)? } else { common.server.clone() };
        let tls = common.tls.as_deref().map(Tls::in_dir);
        tls.as_ref().map_or(Ok(()), Tls::check).map_err(|problem| Failure::new(Exit::Usage, problem))?;
        Self::at(addresses, common.timeout(), tls)
    }

    fn at(addresses: Vec<String>, timeout: Duration, tls: Option<Tls>) -> Result<Self, Failure> {
        let options = ClientOptions { name: "ha".into(), deadline: timeout, tls: tls.clone(), ..ClientOptions::default() };
        let client = HaClient::with_options(&addresses, options).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
        Ok(Self { client, addresses, timeout, tls })
    }

    /// Whom of it was asked.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The same, asking one daemon only.
    pub fn only(&self, address: &str) -> Result<Self, Failure> {
        Self::at(vec![address.to_string()], self.timeout, self.tls.clone())
    }

    /// The same, asked no longer than that.
    pub fn within(&self, timeout: Duration) -> Result<Self, Failure> {
        Self::at(self.addresses.clone(), timeout.min(self.timeout), self.tls.clone())
    }

    /// What HA answers, or a failure that says what to do next.
    pub async fn ask<T>(&self, question: impl AsyncFnOnce(&HaClient) -> Result<T, HaError>) -> Result<T, Failure> {
        match question(&self.client).await {
            Ok(answer) => Ok(answer),
            Err(error @ (HaError::Unavailable(_) | HaError::Unknown(_))) => Err(self.unavailable(&error).await),
            Err(error) => Err(Failure::of(&error, &self.addresses)),
        }
    }

    /// Why HA does not do what it is asked: nobody is there, or too few.
    async fn unavailable(&self, error: &HaError) -> Failure {
        let mut asking = tokio::task::JoinSet::new();
        for address in self.addresses.clone() {
            let one = Self::at(vec![address.clone()], IS_THERE, self.tls.clone());
            asking.spawn(async move {
                let is_there = match one {
                    Ok(one) => one.client.raft_status().await.is_ok(),
                    Err(_) => false,
                };
                (address, is_there)
            });
        }
        let (mut there, mut silent) = (Vec::new(), Vec::new());
        while let Some(Ok((address, is_there))) = asking.join_next().await {
            if is_there { there.push(address) } else { silent.push(address) }
        }
        there.sort();
        silent.sort();
        if there.is_empty() || silent.is_empty() {
            return Failure::of(error, &self.addresses);
        }
        let words = "the HA daemons that answer have no leader, for a majority has to";
        let next = "start those that do not answer; `ha status` shows what is known";
        Failure::new(Exit::Unavailable, format!("{words}: {} answer, {} do not ({error}): {next}", there.join(", "), silent.join(", ")))
    }
}

fn addresses_in(dir: &Path) -> Result<Vec<String>, Failure> {
    let path = dir.join(CLUSTER_FILE);
    let failed = |problem: &str| {
        let next = "start a local cluster (`redoubt dev up`), name its directory with --dir or REDOUBT_DIR, or name an HA daemon with --server HOST:PORT";
        Failure::new(Exit::Usage, format!("{}: {problem}: {next}", path.display()))
    };
    let length = std::fs::metadata(&path).map_err(|e| failed(&e.to_string()))?.len();
    if length > CLUSTER_FILE_BYTES_MAX {
        return Err(failed("it is too large to be a cluster's file"));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| failed(&e.to_string()))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| failed(&e.to_string()))?;
    let listed = value.get("ha").and_then(|ha| ha.as_array()).map(Vec::as_slice).unwrap_or_default();
    let addresses: Vec<String> = listed.iter().filter_map(|a| a.as_str()).map(str::to_string).collect();
    if addresses.is_empty() { Err(failed("it names no HA daemon")) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clusters_file_names_its_daemons() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join(CLUSTER_FILE), r#"{"ha": ["127.0.0.1:1", "127.0.0.1:2"], "more": 1}"#).expect("written");
        assert_eq!(addresses_in(dir.path()), Ok(vec!["127.0.0.1:1".to_string(), "127.0.0.1:2".to_string()]));
    }

    #[test]
    fn a_missing_or_senseless_file_says_what_to_do_next() {
        let dir = tempfile::tempdir().expect("a directory");
        for content in [None, Some("not json"), Some("{}"), Some(r#"{"ha": []}"#)] {
            if let Some(content) = content {
                std::fs::write(dir.path().join(CLUSTER_FILE), content).expect("written");
            }
            let failure = addresses_in(dir.path()).expect_err("no addresses");
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains("redoubt dev up"), "{}", failure.message);
        }
    }
}
