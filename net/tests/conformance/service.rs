//! The service that the cases call.

use std::sync::{Mutex, OnceLock};

use bytes::Bytes;
use net::{BufPool, Incoming, Operation, Service};
use tokio::sync::{Semaphore, mpsc};

/// Echo answers its head. Sink pulls everything and answers its checksum. Source fills the room with a pattern and answers its checksum. Read holds
/// the request until the case takes it. Scan drops it. Posts are kept in order.
pub struct TestService {
    pool: OnceLock<BufPool>,
    pub held: Mutex<Vec<Incoming>>,
    /// A permit for each request that is held.
    pub holding: Semaphore,
    posts: mpsc::UnboundedSender<Bytes>,
    pub posted: tokio::sync::Mutex<mpsc::UnboundedReceiver<Bytes>>,
}

impl Default for TestService {
    fn default() -> Self {
        let (posts, posted) = mpsc::unbounded_channel();
        Self { pool: OnceLock::new(), held: Mutex::default(), holding: Semaphore::new(0), posts, posted: tokio::sync::Mutex::new(posted) }
    }
}

impl TestService {
    pub fn serve_with(&self, pool: &BufPool) {
        self.pool.set(pool.clone()).unwrap();
    }

    /// The next request that is held.
    pub async fn next_held(&self) -> Incoming {
        self.holding.acquire().await.unwrap().forget();
        self.held.lock().unwrap().remove(0)
    }

    /// The next post that came.
    pub async fn next_post(&self) -> Bytes {
        self.posted.lock().await.recv().await.unwrap()
    }
}

/// What Source fills a room with.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 4096) as u8).collect()
}

impl Service for TestService {
    fn serve(&self, mut incoming: Incoming) {
        let Some(pool) = self.pool.get().cloned() else { return };
        match incoming.operation {
            Operation::Dtm => self.posts.send(incoming.head.clone()).unwrap(),
            Operation::Read => {
                self.held.lock().unwrap().push(incoming);
                self.holding.add_permits(1);
            }
            Operation::Scan => drop(incoming),
            Operation::Sink => {
                tokio::spawn(async move {
                    let (length, _) = incoming.lend().unwrap();
                    let Ok(buf) = pool.take(length).await else { return };
                    // An error is the caller's doing in these cases: it gave up.
                    if let Ok(buf) = incoming.pull(buf).await {
                        incoming.reply(types::checksum::crc32c(&buf).to_le_bytes().to_vec());
                    }
                });
            }
            Operation::Source => {
                tokio::spawn(async move {
                    let (length, _) = incoming.lend().unwrap();
                    let Ok(mut buf) = pool.take(length).await else { return };
                    buf.copy_from_slice(&pattern(length));
                    let sum = types::checksum::crc32c(&buf);
                    if incoming.push(buf, length).await.is_ok() {
                        incoming.reply(sum.to_le_bytes().to_vec());
                    }
                });
            }
            _ => {
                let head = incoming.head.clone();
                incoming.reply(head);
            }
        }
    }
}
