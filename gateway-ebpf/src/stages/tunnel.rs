//! The way to a host: is its next hop known, and does the packet fit?

use gateway_common::{Reason, Tunnel};

use crate::packet::{Exit, Tables};

/// The tunnel at `index`.
#[inline(always)]
pub fn at<T: Tables>(tables: &T, index: u32) -> Result<&Tunnel, Reason> {
    tables.tunnel(index).ok_or(Reason::Internal)
}

/// Whether a packet of `length` bytes (IP header on) can take a tunnel. One without a way
/// has room for none.
#[inline(always)]
pub fn fits(tunnel: &Tunnel, length: usize) -> Result<(), Exit> {
    if length <= tunnel.mtu as usize {
        return Ok(());
    }
    match tunnel.port {
        0 => Err(Reason::NoNextHop.into()),
        _ => Err(Exit::Refuse(Reason::TooBig, tunnel.mtu as u32)),
    }
}
