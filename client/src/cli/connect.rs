//! From the command line to a client: whom to ask is what `--ha` says, or what the local cluster's directory says.

use std::future::Future;
use std::time::Duration;

use client::{Client, Options};
use ha_api::{ClientOptions, HaClient};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::Common;
use super::dev::cluster::ClusterFile;
use super::exit::Failure;
use super::interrupt::interrupted;

/// Longest that the end of the session may take after an interruption: its lease ends it too.
const CLOSING: Duration = Duration::from_secs(1);

/// Connects, does it, and ends the session, whatever comes of it. Ctrl-C drops what is under way.
pub async fn with_client<T, F: Future<Output = Result<T, Failure>>>(common: &Common, act: impl FnOnce(Client) -> F) -> Result<T, Failure> {
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    let client = tokio::select! {
        // Before libfabric is loaded: some of its libraries take these signals, and who takes them after that hands them on to the library,
        // which ends the process on the spot.
        biased;
        failure = &mut interrupted => return Err(failure),
        client = connect(common) => client?,
    };
    let done = tokio::select! {
        done = act(client.clone()) => done,
        failure = &mut interrupted => {
            // Nobody waits for long who wants to be rid of it.
            let _closed = tokio::time::timeout(CLOSING, client.close()).await;
            return Err(failure);
        }
    };
    client.close().await;
    done
}

fn addresses(common: &Common) -> Result<Vec<String>, Failure> {
    if common.ha.is_empty() { Ok(ClusterFile::read(&common.dir)?.ha) } else { Ok(common.ha.clone()) }
}

/// HA alone, of the cluster that the command line names.
pub fn ha(common: &Common) -> Result<HaClient, Failure> {
    let options = ClientOptions { name: "redoubt".into(), deadline: common.timeout(), tls: common.tls()?, ..ClientOptions::default() };
    HaClient::with_options(&addresses(common)?, options).map_err(|e| Failure::from(&e))
}

/// A client of the cluster that the command line names.
pub async fn connect(common: &Common) -> Result<Client, Failure> {
    let addresses = addresses(common)?;
    // A runtime of one thread drives the fabric itself: see `Verb::runtime`.
    let own_thread = Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread;
    let options = Options { timeout: common.timeout(), own_thread, tls: common.tls()?, read: common.read.into(), ..Options::default() };
    Ok(Client::connect(&addresses, options).await?)
}
