//! Takes back signals that a library took before `main`.
//!
//! Debian's libfabric links libraries whose constructors install handlers for SIGINT, SIGTERM and the faults; with them a process neither
//! ends on SIGTERM nor dies cleanly of a fault.
#![allow(unsafe_code, reason = "reads and sets signal handlers")]

use std::ffi::CStr;

/// What the libraries are known to take.
const SIGNALS: [i32; 7] = [libc::SIGINT, libc::SIGILL, libc::SIGABRT, libc::SIGBUS, libc::SIGSEGV, libc::SIGTERM, libc::SIGFPE];
/// Whose handlers are not wanted: parts of their file names.
const LIBRARIES: [&str; 4] = ["libfabric", "libpsm", "libinfinipath", "libefa"];

/// Sets those signals to their default whose handler lies in one of the libraries. Handlers of the program itself stay. A program calls it
/// first in `main`; an endpoint calls it again once libfabric has loaded its providers.
pub fn reset_signal_handlers() {
    for signal in SIGNALS {
        if is_taken(signal) {
            // SAFETY: the default disposition is valid for each of these signals.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// Whether the handler of a signal is one of the libraries'.
fn is_taken(signal: i32) -> bool {
    // SAFETY: both structures are plain data for which zero is a value; `sigaction` with a null action only reads; `dladdr` takes any
    // address and its strings live as long as the library, which is never unloaded.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &mut action) != 0
            || action.sa_sigaction == libc::SIG_DFL
            || action.sa_sigaction == libc::SIG_IGN
        {
            return false;
        }
        let mut found: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(action.sa_sigaction as *const _, &mut found) == 0 || found.dli_fname.is_null() {
            return false;
        }
        let name = CStr::from_ptr(found.dli_fname).to_string_lossy().into_owned();
        LIBRARIES.iter().any(|library| name.contains(library))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_library_holds_a_signal_after_the_reset() {
        reset_signal_handlers();
        for signal in SIGNALS {
            assert!(!is_taken(signal), "signal {signal}");
        }
    }
}
