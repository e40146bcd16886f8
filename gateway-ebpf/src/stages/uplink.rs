//! The way out to the public network: next hops share flows by hash.

use gateway_common::{NextHop, Reason, UPLINK_SLOTS};

use crate::{
    family::Family,
    packet::{Exit, Tables},
};

/// The next hop of a flow of a family, if a packet of `length` bytes (IP header on) fits.
///
/// The sender already hashed the flow into the VXLAN source port.
#[inline(always)]
pub fn choose<F: Family, T: Tables>(
    tables: &T,
    source_port: u16,
    length: usize,
) -> Result<&NextHop, Exit> {
    let hash = source_port ^ source_port >> 8;
    let uplink = tables
        .uplink(F::UPLINKS + (hash as u32 & (UPLINK_SLOTS - 1)))
        .ok_or(Reason::Internal)?;
    if uplink.port == 0 {
        return Err(Reason::NoNextHop.into());
    }
    if length > uplink.mtu as usize {
        return Err(Exit::Refuse(Reason::TooBig, uplink.mtu as u32));
    }
    Ok(uplink)
}
