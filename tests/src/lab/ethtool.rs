//! Switches for a device's offloads: what `ethtool -K` does, without a process
//! for each of forty devices.

use std::{io, mem, net::UdpSocket, os::fd::AsRawFd};

use anyhow::{Context, Result};
use nix::libc;

/// An offload, by the number of its "set" command (linux/ethtool.h).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Offload {
    /// Checksums of sent packets. On veth, "on" means that nobody computes them.
    TransmitChecksum = 0x17,
    /// Merging of received packets. On veth, it also turns NAPI on.
    GenericReceive = 0x2c,
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Switches an offload of a device in the calling thread's network namespace.
pub(crate) fn set(device: &str, offload: Offload, on: bool) -> Result<()> {
    let what = || {
        format!(
            "switch {offload:?} of {device} {}",
            if on { "on" } else { "off" }
        )
    };
    // Any socket stands for the namespace.
    let socket = UdpSocket::bind(("0.0.0.0", 0)).with_context(what)?;
    let mut value = Value {
        command: offload as u32,
        data: on.into(),
    };
    // SAFETY: all-zero bytes are a valid ifreq: integers, and pointers not followed.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // One byte stays zero: the end of the name.
    let name = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (to, from) in name.zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the socket is open; the request is what SIOCETHTOOL takes, and its
    // pointer leads to a `struct ethtool_value` that outlives the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error()).with_context(what);
    }
    Ok(())
}
