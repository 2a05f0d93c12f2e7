//! The other side of the raw libfabric figures: one thread, one connection after the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::raw::{ORDER_BYTES, RECEIVE, Raw, SEND, TRANSFER, taken, wait};
use super::{Pattern, SIZE_MAX, WINDOW_MAX};
use crate::NetError;
use crate::fabric::sys::{Completion, Domain, Ep, Event, Fabric, Listener, Queues, Range, Remote};

/// How often the thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// Ends the thread when it is dropped.
pub(super) struct RawServer(Arc<AtomicBool>);

impl Drop for RawServer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Listens; when this returns, it can be connected to.
pub(super) fn start(address: SocketAddr, provider: &str) -> Result<RawServer, NetError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, started) = mpsc::sync_channel(1);
    let (stopped, provider) = (stop.clone(), provider.to_owned());
    let run = move || {
        let opened = Fabric::open(&provider, Some(address)).and_then(|fabric| Domain::open(&fabric, Queues::One));
        let opened = opened.and_then(|domain| Listener::open(&domain, address).map(|listener| (listener, domain)));
        match opened {
            Ok((listener, domain)) => {
                if ready.send(Ok(())).is_ok() {
                    serve(&domain, &stopped);
                }
                drop(listener);
            }
            Err(error) => {
                // Whoever started us hears it, or is gone.
                let _ = ready.send(Err(error));
            }
        }
    };
    let thread = std::thread::Builder::new().name("bench-libfabric".to_owned()).spawn(run);
    thread.map_err(|e| NetError::Fabric { call: "spawn", reason: e.to_string() })?;
    started.recv().map_err(|_| NetError::Closed)??;
    Ok(RawServer(stop))
}

fn serve(domain: &Domain, stopped: &AtomicBool) {
    let mut connection: Option<Raw> = None;
    let mut completions = Vec::new();
    while !stopped.load(Ordering::Relaxed) {
        let turn = match wait(domain, &mut completions, Instant::now() + LOOK) {
            Ok(Some(Event::Arrival(arrival))) => {
                connection = None;
                Ep::of(domain, &arrival).and_then(|ep| Raw::new(domain, ep)).and_then(|raw| {
                    raw.ep.accept()?;
                    connection = Some(raw);
                    Ok(())
                })
            }
            Ok(Some(Event::Shutdown(key) | Event::Failed(key, _))) => {
                connection = connection.filter(|raw| raw.ep.key() != key);
                Ok(())
            }
            Ok(_) => match &connection {
                Some(raw) => completions.drain(..).try_for_each(|completion| on_completion(raw, completion)),
                None => {
                    completions.clear();
                    Ok(())
                }
            },
            // Nothing happened for a while.
            Err(_) => Ok(()),
        };
        if let Err(error) = turn {
            tracing::debug!(%error, "a connection of the bench ends");
            completions.clear();
            connection = None;
        }
    }
}

fn on_completion(raw: &Raw, completion: Completion) -> Result<(), NetError> {
    if let Some(reason) = completion.error {
        return Err(NetError::Fabric { call: "bench", reason });
    }
    let slot = completion.context as u32 as usize % WINDOW_MAX;
    match completion.context & !u64::from(u32::MAX) {
        RECEIVE => {
            let order = raw.order(slot);
            if order.pattern == Pattern::Echo as u8 {
                return raw.send_received(slot, completion.length);
            }
            let length = order.length as usize;
            if length > SIZE_MAX {
                return Err(NetError::Fabric { call: "bench", reason: "an order that is too large".to_owned() });
            }
            let local = Range { offset: Raw::data_offset(slot, length), length };
            let remote = Remote { address: order.address, key: order.key, write: order.pattern == Pattern::Push as u8 };
            taken(raw.ep.transfer(&raw.memory, local, remote, TRANSFER | slot as u64)?)
        }
        // The answer is the order itself.
        TRANSFER => raw.send_received(slot, ORDER_BYTES),
        SEND => raw.receive(slot),
        _ => Ok(()),
    }
}
