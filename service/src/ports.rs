//! Ports of the loopback address for clusters on one machine: for development and for tests.
//!
//! They lie below those that the kernel gives to who connects: a process that is away for a moment would else find its port taken.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;

/// The first that is tried.
const FIRST: u16 = 12_000;
/// Where the kernel's own begin, where it does not say.
const KERNEL_FIRST: u16 = 32_768;
/// How many are tried.
const TRIES: usize = 10_000;

/// So many ports that nobody listens on now, each once.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    let mut ports = BTreeSet::new();
    for _ in 0..TRIES {
        if ports.len() == count {
            return Ok(ports.into_iter().collect());
        }
        let port = rand::random_range(FIRST..end());
        if is_free(port) {
            ports.insert(port);
        }
    }
    Err(none(count))
}

/// The first of so many ports in a row that nobody listens on now.
pub fn free_in_a_row(count: u16) -> io::Result<u16> {
    let mut firsts = std::iter::repeat_with(|| rand::random_range(FIRST..end() - count)).take(TRIES);
    firsts.find(|first| (*first..first + count).all(is_free)).ok_or_else(|| none(count.into()))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// The first port that is the kernel's to give.
fn end() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(KERNEL_FIRST);
    if end > FIRST + 1000 { end } else { u16::MAX }
}

fn none(count: usize) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, format!("no {count} free ports of 127.0.0.1 between {FIRST} and {}", end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_each_is_given_once() {
        let ports = free(50).expect("there are so many");
        let held: Vec<_> = ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port)).expect("it is free")).collect();
        assert_eq!(held.len(), 50);
        let first = free_in_a_row(3).expect("there are so many");
        assert!((first..first + 3).all(|port| port < end() && !ports.contains(&port)));
    }
}
