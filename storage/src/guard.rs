//! Threads that others wait for: a panic in one is a broken invariant of the device, and ends the process.

/// Ends the process when it is dropped by a panic. To be the first value of such a thread.
pub struct EndsProcess(pub &'static str);

impl Drop for EndsProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(thread = self.0, "a thread of a device is gone; the process ends");
            std::process::abort();
        }
    }
}
