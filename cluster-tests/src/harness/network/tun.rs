//! Opening a TUN device: packets that the kernel sends into it are read from the file, and what is written comes out of it.
#![allow(unsafe_code, reason = "the one ioctl that names a TUN device; no safe crate that is smaller than it")]

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use rustix::ioctl::{Setter, ioctl, opcode};

/// The device that makes devices.
pub const DEVICE: &str = "/dev/net/tun";
/// `TUNSETIFF` of linux/if_tun.h.
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
/// `IFF_TUN | IFF_NO_PI`: whole IP packets and nothing before them.
const FLAGS: u16 = 0x1001;
/// `IFNAMSIZ`, with the zero at its end.
const NAME_BYTES: usize = 16;
/// `sizeof(struct ifreq)`.
const IFREQ_BYTES: usize = 40;

/// Makes a device of that name in our network namespace; it is gone when the file is closed.
pub fn open(name: &str) -> Result<OwnedFd> {
    if name.len() >= NAME_BYTES {
        bail!("{name} is too long for a device");
    }
    let file = File::options().read(true).write(true).open(DEVICE).context(DEVICE)?;
    let mut request = [0u8; IFREQ_BYTES];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[NAME_BYTES..NAME_BYTES + 2].copy_from_slice(&FLAGS.to_ne_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq` at the pointer that it gets, and `request` has that size and lives through the call.
    unsafe { ioctl(&file, Setter::<TUNSETIFF, [u8; IFREQ_BYTES]>::new(request)) }.with_context(|| format!("making the device {name}"))?;
    rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::NONBLOCK)?;
    Ok(file.into())
}
