//! What a network card does to frames before XDP sees them.

use std::{io, mem, net::UdpSocket, os::fd::AsRawFd};

use nix::libc;

/// "Get flags" (linux/ethtool.h, ETHTOOL_GFLAGS).
const GET_FLAGS: u32 = 0x25;
/// The card takes VLAN tags off (ETH_FLAG_RXVLAN).
const TAKES_TAGS_OFF: u32 = 1 << 8;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether a card takes VLAN tags off: XDP then sees frames without. In the network
/// namespace of the calling thread.
pub(super) fn takes_tags_off(interface: &str) -> io::Result<bool> {
    // Any socket stands for the namespace.
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    let mut value = Value {
        command: GET_FLAGS,
        data: 0,
    };
    // SAFETY: all-zero bytes are a valid ifreq: integers, and pointers not followed.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // One byte stays zero: the end of the name.
    let name = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (to, from) in name.zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the socket is open; the request is what SIOCETHTOOL takes, and its
    // pointer leads to a `struct ethtool_value` that outlives the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    match result {
        0.. => Ok(value.data & TAKES_TAGS_OFF != 0),
        _ => Err(io::Error::last_os_error()),
    }
}
