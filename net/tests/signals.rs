//! What loading libfabric does to the process. One test only, because it is about the whole process, and about the first time.
#![allow(unsafe_code, reason = "reads and sets signal handlers")]

const SIGNALS: [i32; 7] = [libc::SIGINT, libc::SIGILL, libc::SIGABRT, libc::SIGBUS, libc::SIGSEGV, libc::SIGTERM, libc::SIGFPE];

extern "C" fn ours(_signal: i32) {}

fn handlers() -> [usize; SIGNALS.len()] {
    SIGNALS.map(|signal| {
        // SAFETY: the structure is plain data for which zero is a value, and with a null action it is only written to.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(signal, std::ptr::null(), &mut action), 0);
            action.sa_sigaction
        }
    })
}

#[test]
fn loading_libfabric_leaves_every_signal_handler_as_it_was() {
    let own = ours as extern "C" fn(i32) as *const () as usize;
    // SAFETY: a handler that does nothing may run at any time.
    unsafe { libc::signal(libc::SIGTERM, own) };
    let before = handlers();
    assert!(before.contains(&own));
    net::fabric::load().expect("libfabric is installed");
    assert_eq!(handlers(), before);
}
