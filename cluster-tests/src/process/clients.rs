//! Long-lived clients of the Rust API, for what a command's start would hide: gaps of writes and reads, and deadlines.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{CatalogueKind, Client, Condition, Error, ListRequest, Options, PutOptions, ReadFrom, ScanRequest};
use net::{Operation, Peer, Request};
use tokio::runtime::Runtime;
use types::codec;
use types::wire::request::{DeviceUsage, Refusal, Scan, ScanPage};

use super::{Cluster, Pattern};

/// The bucket that tests write to: the one of the command line.
pub const BUCKET: &str = "default";
/// The index that tests write to.
pub const INDEX: &str = "kept";
/// How long the storage processes may take to say how full their devices are.
const USAGE: Duration = Duration::from_secs(5);

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An object in [`BUCKET`].
    Object,
    /// A key of [`INDEX`].
    Key,
}

/// A client of the Rust API with a runtime of its own.
pub struct Clients {
    runtime: Runtime,
    client: Client,
}

fn addresses(cluster: &Cluster) -> Result<Vec<String>> {
    let status = cluster.json(&["dev", "status"])?;
    Ok(status["ha"].as_array().into_iter().flatten().filter_map(|a| a.as_str()).map(String::from).collect())
}

/// How full a device is.
pub type Usage = DeviceUsage;

impl Clients {
    /// Connects, with that time for each step, and makes the bucket and the index.
    pub fn connect(cluster: &Cluster, timeout: Duration) -> Result<Self> {
        Self::connect_to(&addresses(cluster)?, timeout)
    }

    /// The same, of a client whose reads are asked of any member that is up to date.
    pub fn reading_near(cluster: &Cluster, timeout: Duration) -> Result<Self> {
        Self::connect_reading(&addresses(cluster)?, timeout, ReadFrom::Nearest)
    }

    /// The same, to the cluster with these HA daemons.
    pub fn connect_to(addresses: &[String], timeout: Duration) -> Result<Self> {
        Self::connect_reading(addresses, timeout, ReadFrom::Primary)
    }

    /// The same, of a client that reads from there.
    pub fn connect_reading(addresses: &[String], timeout: Duration, read: ReadFrom) -> Result<Self> {
        let options = Options { timeout, read, ..Options::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let client = runtime.block_on(async {
            let client = Client::connect(addresses, options).await?;
            client.ensure(CatalogueKind::Bucket, BUCKET).await?;
            client.ensure(CatalogueKind::Index, INDEX).await?;
            Ok::<_, Error>(client)
        })?;
        Ok(Self { runtime, client })
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs it to its end.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Runs it beside the caller.
    pub fn spawn<F: Future<Output: Send> + Send + 'static>(&self, future: F) -> tokio::task::JoinHandle<F::Output> {
        self.runtime.spawn(future)
    }

    /// All names of that kind that a listing shows, in its order.
    pub fn list(&self, kind: Kind) -> Result<Vec<String>> {
        self.wait(list(&self.client, kind, ""))
    }

    /// How full every device is, as the storage processes say themselves.
    pub fn usage(&self) -> Result<Vec<Usage>> {
        self.wait(async {
            let map = self.client.map(Duration::ZERO).await?;
            let mut all = Vec::new();
            for node in map.nodes.values() {
                let peer = Peer::node(node.fabric_address.clone(), node.id, None);
                let request = Request::new(Operation::Usage, Vec::new());
                let reply = self.client.transport().call(&peer, request, tokio::time::Instant::now() + USAGE).await?;
                let answer: Result<Vec<DeviceUsage>, Refusal> = codec::decode(&reply.head)?;
                all.extend(answer.map_err(|refusal| anyhow::anyhow!("{}: {refusal}", node.name))?);
            }
            Ok(all)
        })
    }

    /// How many rows of a kind the bucket has, as the primaries have applied it; of each group so many as a page has.
    pub fn rows_of_kind(&self, kind: u8) -> Result<usize> {
        self.wait(async {
            let map = self.client.map(Duration::ZERO).await?;
            let bucket = map.catalogue_named(CatalogueKind::Bucket, BUCKET).context("the bucket is there")?;
            let pool = map.pools.get(&bucket.pool).context("a bucket has a pool")?;
            let mut count = 0;
            for group in (0..bucket.width).map(|at| types::routing::catalogue_group(bucket, pool, at)) {
                let view = map.view(group).context("a group has a view")?;
                let node =
                    view.primary.and_then(|primary| map.node_of(primary.device)).with_context(|| format!("{group} has a primary"))?;
                let peer = Peer::node(node.fabric_address.clone(), node.id, None);
                let prefix = vec![kind];
                let scan = Scan {
                    groups: vec![(group, view.number)],
                    catalogue: bucket.id,
                    from: prefix.clone(),
                    prefix,
                    limit: 1000,
                    values: false,
                };
                let request = Request::new(Operation::Scan, codec::encode(&scan));
                let reply = self.client.transport().call(&peer, request, tokio::time::Instant::now() + USAGE).await?;
                let page: Result<ScanPage, Refusal> = codec::decode(&reply.head)?;
                count += page.map_err(|refusal| anyhow::anyhow!("{group}: {refusal}"))?.rows.len();
            }
            Ok(count)
        })
    }

    /// Ends the session.
    pub fn close(&self) {
        self.wait(self.client.close());
    }
}

/// Writes what a pattern makes.
pub(super) async fn put(client: &Client, kind: Kind, name: &str, seed: u64, length: usize) -> Result<(), Error> {
    put_bytes(client, kind, name, &Pattern(seed).bytes(length)).await
}

/// Writes a name.
pub(crate) async fn put_bytes(client: &Client, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
    match kind {
        Kind::Object => {
            let options = PutOptions::default();
            let put = client.put(BUCKET, name.as_bytes(), bytes, Some(bytes.len() as u64), &options);
            Box::pin(put).await.map(drop)
        }
        Kind::Key => client.index_put(INDEX, name.as_bytes(), bytes, Condition::Always).await.map(drop),
    }
}

/// What a name holds; `None` where there is no such name.
pub(crate) async fn get(client: &Client, kind: Kind, name: &str) -> Result<Option<Vec<u8>>, Error> {
    match kind {
        Kind::Object => {
            let read = async { client.get(BUCKET, name.as_bytes(), None).await?.bytes().await };
            match Box::pin(read).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(Error::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        }
        Kind::Key => Ok(client.index_get(INDEX, name.as_bytes()).await?.map(|entry| entry.value)),
    }
}

/// Deletes a name; whether it was there.
pub(crate) async fn delete(client: &Client, kind: Kind, name: &str) -> Result<bool, Error> {
    let deleted = match kind {
        Kind::Object => client.delete(BUCKET, name.as_bytes(), Condition::Always).await.map(drop),
        Kind::Key => client.index_delete(INDEX, name.as_bytes(), Condition::Always).await,
    };
    match deleted {
        Ok(()) => Ok(true),
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// All names of that kind that begin so, in order.
pub(crate) async fn list(client: &Client, kind: Kind, prefix: &str) -> Result<Vec<String>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let prefix = prefix.as_bytes().to_vec();
    match kind {
        Kind::Object => {
            let mut request = ListRequest { prefix, ..ListRequest::default() };
            loop {
                let page = client.list(BUCKET, &request).await?;
                names.extend(page.objects.into_iter().map(|object| object.name));
                let Some(next) = page.next else { break };
                request.after = Some(next);
            }
        }
        Kind::Key => {
            let mut request = ScanRequest { keys_only: true, prefix, ..ScanRequest::default() };
            loop {
                let page = client.index_scan(INDEX, &request).await?;
                names.extend(page.entries.into_iter().map(|entry| entry.key));
                let Some(next) = page.next else { break };
                request.from = next;
            }
        }
    }
    if !names.is_sorted() {
        bail!("a listing is not in order");
    }
    names.into_iter().map(|name| String::from_utf8(name).context("names of tests are UTF-8")).collect()
}
