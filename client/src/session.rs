//! The writer's session: opened with the first write, renewed while somebody writes in it, closed after that. It gives dtx ids and fids their
//! names, and HA time to dtx ids: the ticket's, extended by this process's own monotonic clock.
//!
//! A process that lives for months uses one after the other: the end of a session is what frees the space of writes that were given up, and
//! what the marks of deleted fids are kept until.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::Instant;
use types::wire::request::Ticket;
use types::{DtxId, Fid, GroupId, HaTime, SessionId};

use crate::control::{Control, ControlError};

/// How often a session is renewed; its lease is 30 s.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);
/// A session that was not renewed for so long is not used for new work: HA may have closed it.
const TRUST: Duration = Duration::from_secs(25);
/// A session that is so old is used for no new work: another takes its place, and it ends with the last write in it.
const AGE_MAX: Duration = Duration::from_secs(900);

/// The session of a client, whichever it is now.
pub(crate) struct Sessions {
    control: Arc<dyn Control>,
    current: Arc<Current>,
}

/// The session for new work.
type Current = tokio::sync::Mutex<Option<Arc<Session>>>;

/// One session.
pub(crate) struct Session {
    id: SessionId,
    opened: Instant,
    counter: AtomicU64,
    clock: Mutex<Clock>,
}

#[derive(Clone, Copy)]
struct Clock {
    /// HA time as it was told.
    told: HaTime,
    /// When this process asked for it: HA time now is at least `told` plus what has passed since the answer, so this never runs ahead by
    /// more than the round trip.
    asked: Instant,
    /// Whether the session is known to be over.
    closed: bool,
}

impl Sessions {
    pub(crate) fn new(control: Arc<dyn Control>) -> Self {
        Self { control, current: Arc::default() }
    }

    /// The session, opened if there is none that can be trusted.
    pub(crate) async fn get(&self) -> Result<Arc<Session>, ControlError> {
        let mut current = self.current.lock().await;
        if let Some(session) = current.as_ref().filter(|s| s.is_good()) {
            return Ok(session.clone());
        }
        let asked = Instant::now();
        let Ticket { session: id, at } = self.control.open_session().await?;
        let clock = Mutex::new(Clock { told: at, asked, closed: false });
        let session = Arc::new(Session { id, opened: asked, counter: AtomicU64::new(1), clock });
        tokio::spawn(renew(Arc::downgrade(&session), id, self.control.clone(), Arc::downgrade(&self.current)));
        *current = Some(session.clone());
        Ok(session)
    }

    /// Somebody says that this session is over: the next work takes another one.
    pub(crate) async fn forget(&self, id: SessionId) {
        if let Some(session) = self.current.lock().await.as_ref().filter(|session| session.id == id) {
            session.close();
        }
    }

    /// Ends the session, so that HA need not wait for its lease.
    pub(crate) async fn close(&self) {
        if let Some(session) = self.current.lock().await.take()
            && let Err(error) = self.control.close_session(session.id).await
        {
            tracing::debug!(session = %session.id, %error, "the session was not closed; its lease will end it");
        }
    }
}

/// Renews the session as long as somebody writes in it or may begin to, and closes it then.
async fn renew(session: Weak<Session>, id: SessionId, control: Arc<dyn Control>, current: Weak<Current>) {
    loop {
        tokio::time::sleep(RENEW_INTERVAL).await;
        let Some(session) = session.upgrade() else {
            if let Err(error) = control.close_session(id).await {
                tracing::debug!(session = %id, %error, "the session was not closed; its lease will end it");
            }
            return;
        };
        if session.is_old()
            && let Some(current) = current.upgrade()
        {
            // Also where nobody asks for another one: nothing new is begun in it.
            current.lock().await.take_if(|current| current.id == id);
        }
        let asked = Instant::now();
        match control.renew_session(id).await {
            Ok(ticket) => session.lock().renewed(ticket.at, asked),
            Err(ControlError::NotFound(_)) => return session.close(),
            Err(error) => tracing::debug!(session = %id, %error, "the session was not renewed; trying again"),
        }
    }
}

impl Clock {
    fn renewed(&mut self, told: HaTime, asked: Instant) {
        if told >= self.told {
            (self.told, self.asked) = (told, asked);
        }
    }
}

impl Session {
    /// Its id.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    fn close(&self) {
        self.lock().closed = true;
    }

    /// A name for a new transaction.
    pub(crate) fn dtx(&self) -> DtxId {
        let clock = *self.lock();
        let passed = u64::try_from(clock.asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        DtxId { session: self.id, counter: self.count(), at: HaTime(clock.told.0.saturating_add(passed)) }
    }

    /// A name for a new chunk of an object.
    pub(crate) fn fid(&self, group: GroupId) -> Fid {
        Fid { group, session: self.id, counter: self.count() }
    }

    /// A number that this session has not given before.
    pub(crate) fn count(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn is_good(&self) -> bool {
        let clock = self.lock();
        !clock.closed && clock.asked.elapsed() < TRUST && !self.is_old()
    }

    fn is_old(&self) -> bool {
        self.opened.elapsed() >= AGE_MAX
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Clock> {
        self.clock.lock().expect("nobody panics with this lock held")
    }
}
