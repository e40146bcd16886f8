//! Which of our public addresses a packet is for, and what stands behind it.

use gateway_common::{Endpoint, EndpointKey, Reason};

use super::parse::Flow;
use crate::{
    bucket,
    family::Family,
    packet::{Packet, Tables},
};

/// The endpoint of a flow: address, protocol and port first, then the address alone.
#[inline(always)]
pub fn find<F: Family, T: Tables>(tables: &T, flow: &Flow<F>) -> Result<Endpoint, Reason> {
    F::endpoint(
        tables,
        flow.destination,
        flow.protocol,
        flow.destination_port(),
    )
    .ok_or(Reason::NotOurs)
}

/// What becomes of a packet that cannot be parsed for `reason`: the kernel's, if
/// its header still tells that it is not for us.
#[inline(always)]
pub fn refuse<F: Family, P: Packet, T: Tables>(
    packet: &P,
    at: usize,
    tables: &T,
    reason: Reason,
) -> Reason {
    match F::destination(packet, at) {
        Some(address) if F::endpoint_at(tables, address).is_none() => Reason::NotOurs,
        _ => reason,
    }
}

/// Refuses what is for an address that has no service there. Echo requests to such
/// an address are answered elsewhere.
#[inline(always)]
pub fn serves<F: Family>(endpoint: Endpoint, flow: &Flow<F>) -> Result<(), Reason> {
    match endpoint.kind() {
        Endpoint::ADDRESS if flow.is_fragment() => Err(Reason::Fragment),
        Endpoint::ADDRESS => Err(Reason::NoService),
        _ => Ok(()),
    }
}

/// The entry with a key.
#[inline(always)]
pub fn get<T: Tables>(tables: &T, key: EndpointKey) -> Option<Endpoint> {
    bucket::find(key.0, |place| tables.endpoints(place)).map(Endpoint)
}
