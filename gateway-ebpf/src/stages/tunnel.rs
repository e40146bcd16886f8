//! The way to a host: is its next hop known, and does the packet fit?

use gateway_common::{Reason, Tunnel};

use crate::packet::{Exit, Tables};

/// The tunnel at `index`, if a packet of `length` bytes (IP header on) fits.
#[inline(always)]
pub fn towards<T: Tables>(tables: &T, index: u32, length: usize) -> Result<&Tunnel, Exit> {
    let tunnel = tables.tunnel(index).ok_or(Reason::Internal)?;
    if tunnel.port == 0 {
        return Err(Reason::NoNextHop.into());
    }
    if length > tunnel.mtu as usize {
        return Err(Exit::Refuse(Reason::TooBig, tunnel.mtu as u32));
    }
    Ok(tunnel)
}
