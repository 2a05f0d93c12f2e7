//! The S3 role of the process: a gateway that lives as long as the process does, with a client of its own. What it cannot do yet it tries
//! again; the rest of the process does not depend on it.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use client::{Client, ClusterKey, Options};
use ha_api::config::{NodeConfig, S3Config};
use s3::{Figures, Gateway, Keys, TlsFiles};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use types::records::Records;

use crate::lease::Lease;
use crate::view::Views;

/// Object data in memory of all requests that read, and as much of those that write.
const MEMORY_BYTES: usize = 48 * 1024 * 1024;
/// How long a request of the gateway is tried before its caller is told to come again.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long requests under way may take at the end, and what comes with it.
const END: Duration = Duration::from_secs(4);

/// Threads of the gateway: beside what it waits for, it hashes.
const WORKERS: usize = 2;

/// The global records that the process has taken in, of the life that it has now. Who changes one waits until every process with a lease has
/// taken that in, so without a lease nothing is known.
#[derive(Debug, Default)]
pub struct Known {
    life: RwLock<Option<(Arc<Views>, Arc<Lease>)>>,
    /// What the S3 role has answered, in whichever life.
    pub figures: Arc<Figures>,
}

impl Known {
    /// A life has begun.
    pub fn learn(&self, views: Arc<Views>, lease: Arc<Lease>) {
        *self.life.write().expect("nobody panics with the lock") = Some((views, lease));
    }

    /// It is over.
    pub fn forget(&self) {
        *self.life.write().expect("nobody panics with the lock") = None;
    }
}

impl s3::Source for Known {
    fn now(&self) -> Option<Arc<Records>> {
        let life = self.life.read().expect("nobody panics with the lock");
        let (views, lease) = life.as_ref()?;
        let view = views.now();
        lease.holds(Instant::now(), view.map.epoch).then(|| view.records.clone())
    }
}

/// A gateway at work, on threads of its own: it goes on while the process begins a new life.
pub struct S3Role {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
    runtime: Option<Runtime>,
}

impl S3Role {
    /// Starts the role, if the configuration has it.
    pub fn start(config: &NodeConfig, known: Arc<Known>) -> std::io::Result<Option<Self>> {
        let Some(s3) = config.s3.clone() else { return Ok(None) };
        let runtime = Builder::new_multi_thread().worker_threads(WORKERS).thread_name("s3").enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let (ended_tx, ended) = watch::channel(false);
        let (ha, options) = (config.ha.clone(), options(config));
        runtime.spawn(async move {
            let mut over = stopped.clone();
            while !*over.borrow() {
                if let Err(error) = serve(&s3, &ha, &options, known.clone(), stopped.clone()).await {
                    tracing::warn!(error, "the S3 gateway does not serve; it is tried again");
                }
                // Whether it is over is looked at above.
                let _ = tokio::time::timeout(AGAIN, over.wait_for(|over| *over)).await;
            }
            ended_tx.send_replace(true);
        });
        Ok(Some(Self { stop, ended, runtime: Some(runtime) }))
    }

    /// Takes no new requests, and lets those under way finish.
    pub async fn end(&self) {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        // What is not over by then is cut off with its threads.
        let _ = tokio::time::timeout(END, ended.wait_for(|ended| *ended)).await;
    }
}

impl Drop for S3Role {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn options(config: &NodeConfig) -> Options {
    let (provider, tls) = (config.provider.clone(), config.tls.clone());
    Options { timeout: TIMEOUT, memory_bytes: MEMORY_BYTES, provider, tls, ..Options::default() }
}

async fn serve(
    config: &S3Config,
    ha: &[String],
    options: &Options,
    known: Arc<Known>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let mut early = stop.clone();
    let connecting = async { tokio::try_join!(Client::connect(ha, options.clone()), Client::connect(ha, options.clone())) };
    let (client, writes) = tokio::select! {
        clients = connecting => clients.map_err(|error| error.to_string())?,
        _ = early.wait_for(|over| *over) => return Ok(()),
    };
    let cluster_key = config.key_file.as_deref().map(ClusterKey::load).transpose().map_err(|error| error.to_string())?;
    let keys = Keys::new(config.access_key.clone(), config.secret_key.clone(), cluster_key);
    let figures = known.figures.clone();
    let mut gateway = Gateway::new(client.clone(), writes.clone(), known, keys, config.region.clone());
    gateway.counts_in(figures);
    gateway.takes_keys_over_http(config.customer_keys_over_http);
    let listening = |address| tracing::info!(%address, "the S3 gateway serves");
    let over = async move {
        // Without a sender the process is at its end, too.
        let _ = stop.wait_for(|over| *over).await;
    };
    let tls = config.tls.as_ref().map(|tls| TlsFiles { certificate: tls.certificate.clone(), key: tls.key.clone() });
    s3::serve(gateway, &config.listen, tls, listening, over).await.map_err(|error| error.to_string())?;
    client.close().await;
    writes.close().await;
    Ok(())
}
