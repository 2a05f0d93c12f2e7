//! Ctrl-C and SIGTERM: what is under way is given up in good order, and the exit code says so.

use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure};

/// Ends when this process is told to end, with the failure that a command ends with then.
pub async fn interrupted() -> Failure {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        // Without a handler the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Failure::new(Exit::Interrupted, "interrupted"),
        _ = terminate.recv() => Failure::new(Exit::Terminated, "told to end"),
    }
}
