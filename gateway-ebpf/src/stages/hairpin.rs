//! From an instance to one of our own public addresses: out and in again at once.
//!
//! The sender gets the public identity that it has for the world, and the destination
//! is looked up as for a packet from the world. So who is asked sees the same source
//! as if another gateway stood between, and its answer takes the same way back.

use gateway_common::{FILTER_WORDS, Tunnel};

use super::{
    parse::Flow,
    rewrite::{self, Rewrite},
    vxlan::{self, Inside, Opened},
};
use crate::{
    family::Family,
    outer::Outer,
    packet::{Packet, Tables},
};

/// Whether an address may be a public one of ours: one bit of a small table, since
/// every packet that leaves pays for it. False alarms cost the step, nothing else.
#[inline(always)]
pub fn may_be_ours<F: Family, T: Tables>(tables: &T, address: F::Address) -> bool {
    let (word, bit) = place::<F>(address);
    tables.public_filter(word) >> bit & 1 != 0
}

/// Word and bit of an address in the filter.
#[inline(always)]
pub fn place<F: Family>(address: F::Address) -> (u32, u32) {
    let hash = F::spread(address);
    (hash >> 6 & (FILTER_WORDS - 1), hash & 63)
}

/// The flow as its destination will see it, and as the world would: the hash over it
/// chooses the same backend.
#[inline(always)]
pub fn seen_from_outside<F: Family>(flow: &Flow<F>, from: &Rewrite<'_>) -> Flow<F> {
    let mut seen = *flow;
    seen.source = F::address(from.address);
    // The port may be an identifier.
    if !from.keep_port && flow.protocol != F::ICMP {
        seen.ports = seen.ports & 0xffff_0000 | from.port as u32;
    }
    seen
}

/// Translates both ends, takes one hop off (it is one router that they pass), and sends
/// the frame on, rewritten in place.
#[inline(always)]
pub fn send<O: Outer, F: Family, P: Packet>(
    packet: &mut P,
    (tunnel, inside): (&Tunnel, Inside<'_>),
    (from, to): (Rewrite<'_>, Rewrite<'_>),
    outer: &Opened<O>,
    flow: &Flow<F>,
) -> Result<(), gateway_common::Reason> {
    rewrite::apply(packet, O::INNER_IP, flow, from)?;
    rewrite::apply(packet, O::INNER_IP, flow, to.at_the_same_hop())?;
    vxlan::rewrap::<O, F, P>(packet, tunnel, inside, flow, outer.source_port)
}
