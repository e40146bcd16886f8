//! The way out to the public network: next hops share flows by hash.

use gateway_common::{NextHop, Reason, UPLINK_SLOTS};

use super::vxlan::Outer;
use crate::packet::Tables;

/// The next hop of a flow, if a packet of `length` bytes (IP header on) fits.
///
/// The sender already hashed the flow into the VXLAN source port.
#[inline(always)]
pub fn choose<'t, T: Tables>(
    tables: &'t T,
    outer: &Outer,
    length: usize,
) -> Result<&'t NextHop, Reason> {
    let hash = outer.source_port ^ outer.source_port >> 8;
    let uplink = tables
        .uplink(hash as u32 & (UPLINK_SLOTS - 1))
        .ok_or(Reason::Internal)?;
    if uplink.port == 0 {
        return Err(Reason::NoNextHop);
    }
    if length > uplink.mtu as usize {
        return Err(Reason::TooBig);
    }
    Ok(uplink)
}
