//! Notices to the service manager (`sd_notify(3)`): that the program serves, that it stops, and that it still lives.
//!
//! A notice is one datagram to the socket that the environment names. Where it names none, nothing is sent: the program was started by hand. A
//! notice that cannot be sent is logged and forgotten, for the manager's own time limits see to it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Signs of life in each period that the manager grants, so that one may come late.
const SIGNS_A_PERIOD: u32 = 3;

/// The service manager, as the environment names it.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// After how long without a sign of life the manager ends the process.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that started this process, if one did.
    pub fn of_environment() -> Self {
        let named = |name: &str| std::env::var(name).ok();
        Self::of(named("NOTIFY_SOCKET").as_deref(), named("WATCHDOG_USEC").as_deref(), named("WATCHDOG_PID").as_deref())
    }

    fn of(socket: Option<&str>, watchdog_us: Option<&str>, watchdog_pid: Option<&str>) -> Self {
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Self::default() };
        let address = match name.strip_prefix('@') {
            Some(hidden) => SocketAddr::from_abstract_name(hidden),
            None => SocketAddr::from_pathname(name),
        };
        let socket = match address.and_then(|address| Ok((UnixDatagram::unbound()?, address))) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(name, %error, "the service manager's socket is of no use: it is told nothing");
                None
            }
        };
        // The variables are inherited: a process that the manager does not mean has no watchdog.
        let is_meant = watchdog_pid.is_none_or(|pid| pid == std::process::id().to_string());
        let period = watchdog_us.filter(|_| is_meant).and_then(|us| us.parse().ok()).filter(|us| *us > 0);
        Self { socket, watchdog: period.map(Duration::from_micros) }
    }

    /// The program serves.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// What it is at, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", one_line(status)));
    }

    /// It was asked to stop, and does.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stops");
    }

    /// Gives signs of life, for ever, where the manager wants any. To be run by the threads whose life counts.
    pub async fn keep_alive(&self) {
        let Some(period) = self.watchdog else { return std::future::pending().await };
        let mut every = tokio::time::interval(period / SIGNS_A_PERIOD);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, notice: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(notice.as_bytes(), address) {
            tracing::debug!(%error, notice, "the service manager was not told");
        }
    }
}

/// A line break would begin another notice.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).expect("a notice");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn listening() -> (tempfile::TempDir, UnixDatagram, String) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        let name = path.to_str().expect("UTF-8").to_string();
        (dir, socket, name)
    }

    #[test]
    fn the_manager_is_told_of_beginning_and_end() {
        let (_dir, socket, name) = listening();
        let manager = Manager::of(Some(&name), None, None);
        manager.ready("serves\nREADY=0");
        assert_eq!(received(&socket), "READY=1\nSTATUS=serves READY=0");
        manager.stopping();
        assert!(received(&socket).starts_with("STOPPING=1"));
    }

    #[test]
    fn abstract_names_are_understood() {
        let name = format!("redoubt-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a socket");
        Manager::of(Some(&format!("@{name}")), None, None).status("at it");
        assert_eq!(received(&socket), "STATUS=at it");
    }

    #[tokio::test]
    async fn signs_of_life_come_more_often_than_asked() {
        let (_dir, socket, name) = listening();
        let manager = Manager::of(Some(&name), Some("300000"), None);
        let began = std::time::Instant::now();
        let signs = tokio::task::spawn_blocking(move || (0..3).map(|_| received(&socket)).collect::<Vec<_>>());
        tokio::select! {
            () = manager.keep_alive() => unreachable!("it goes on for ever"),
            signs = signs => assert_eq!(signs.expect("three signs"), ["WATCHDOG=1"; 3]),
        }
        assert!(began.elapsed() >= Duration::from_millis(200), "they come in time, not all at once");
    }

    #[test]
    fn who_is_not_meant_gives_no_sign() {
        assert!(Manager::of(Some("/x"), Some("1000"), Some("0")).watchdog.is_none());
        assert!(Manager::of(Some("/x"), Some("0"), None).watchdog.is_none());
        assert!(Manager::of(None, Some("1000"), None).watchdog.is_none());
        assert_eq!(Manager::of(Some("/x"), Some("1000"), None).watchdog, Some(Duration::from_millis(1)));
    }
}
