//! The way out to the public network: next hops share flows by hash.

use gateway_common::{NextHop, Reason, UPLINK_SLOTS};

use crate::{
    family::Family,
    packet::{Exit, Tables},
};

/// The next hop of a flow of a family.
///
/// The sender already hashed the flow into the VXLAN source port.
#[inline(always)]
pub fn choose<F: Family, T: Tables>(tables: &T, source_port: u16) -> Result<&NextHop, Reason> {
    let hash = source_port ^ source_port >> 8;
    let slot = F::UPLINKS + (hash as u32 & (UPLINK_SLOTS - 1));
    tables.uplink(slot).ok_or(Reason::Internal)
}

/// Whether a packet of `length` bytes (IP header on) can take a next hop. One that is not
/// resolved has room for none.
#[inline(always)]
pub fn fits(uplink: &NextHop, length: usize) -> Result<(), Exit> {
    if length <= uplink.mtu as usize {
        return Ok(());
    }
    match uplink.port {
        0 => Err(Reason::NoNextHop.into()),
        _ => Err(Exit::Refuse(Reason::TooBig, uplink.mtu as u32)),
    }
}
