//! Keeps a process's signal handlers while libraries are loaded.
//!
//! Debian's libfabric brings libraries whose constructors install handlers for SIGINT, SIGTERM and the faults; with them a process neither
//! ends on SIGTERM nor dies cleanly of a fault.
#![allow(unsafe_code, reason = "reads and sets signal handlers")]

use std::ffi::CStr;

/// Whose handlers are not wanted: parts of their file names.
const LIBRARIES: [&str; 4] = ["libfabric", "libpsm", "libinfinipath", "libefa"];
/// What the libraries are known to take.
const SIGNALS: [i32; 7] = [libc::SIGINT, libc::SIGILL, libc::SIGABRT, libc::SIGBUS, libc::SIGSEGV, libc::SIGTERM, libc::SIGFPE];

/// What the process had set for these signals.
pub(super) struct Handlers([libc::sigaction; SIGNALS.len()]);

impl Handlers {
    pub(super) fn save() -> Self {
        // SAFETY: the structure is plain data for which zero is a value.
        let mut actions: [libc::sigaction; SIGNALS.len()] = unsafe { std::mem::zeroed() };
        for (signal, action) in SIGNALS.into_iter().zip(&mut actions) {
            // SAFETY: with a null action it only reads; it cannot fail for these signals.
            unsafe { libc::sigaction(signal, std::ptr::null(), action) };
        }
        Self(actions)
    }

    /// Puts back what one of the libraries has taken, and leaves what others have set meanwhile.
    pub(super) fn restore(&self) {
        let now = Self::save();
        for ((signal, before), now) in SIGNALS.into_iter().zip(&self.0).zip(&now.0) {
            if is_of_library(now) {
                // SAFETY: the action was set for this signal before.
                unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
            }
        }
    }
}

/// Whether a handler is one of the libraries'.
fn is_of_library(action: &libc::sigaction) -> bool {
    if action.sa_sigaction == libc::SIG_DFL || action.sa_sigaction == libc::SIG_IGN {
        return false;
    }
    // SAFETY: the structure is plain data for which zero is a value; `dladdr` takes any address, and its strings live as long as the library,
    // which is never unloaded.
    unsafe {
        let mut found: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(action.sa_sigaction as *const _, &mut found) == 0 || found.dli_fname.is_null() {
            return false;
        }
        let name = CStr::from_ptr(found.dli_fname).to_string_lossy();
        LIBRARIES.iter().any(|library| name.contains(library))
    }
}
