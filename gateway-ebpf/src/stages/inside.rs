//! Routes inside: between the subnets of a VPC, and between VPCs that are peers.

use gateway_common::{Instance, Range, Reason, Reference, Tunnel};

use super::{
    parse::Flow,
    vxlan::{self, Inside, Opened},
};
use crate::{
    checksum,
    family::{Family, Side},
    headers::Ethernet,
    outer::Outer,
    packet::{Packet, Tables},
};

/// Who has an address, as the sender's VPC sees it. Nobody, if the address is outside:
/// the hull that led here holds all that is inside, and maybe more.
///
/// A peer's instance is in the table under the sender's VNI, so this is one look-up.
#[inline(always)]
pub fn find<F: Family, T: Tables>(
    tables: &T,
    vni: u32,
    address: F::Address,
) -> Result<Option<&Instance>, Reason> {
    let Some(found) = F::inner(tables, vni, address) else {
        let range = Range::new(vni, F::VERSION, F::words(address));
        return match tables.is_inside(range) || F::is_never_routed(address) {
            true => Err(Reason::InsideRoute),
            false => Ok(None),
        };
    };
    match found.kind() {
        Reference::INSTANCE | Reference::PEER => {
            let instance = tables.instance(found.index()).ok_or(Reason::Internal)?;
            if instance.flags & Instance::FLAG_VALID == 0 {
                return Err(Reason::InsideRoute);
            }
            Ok(Some(instance))
        }
        // The virtual router: its echo requests are answered before.
        _ => Err(Reason::NoService),
    }
}

/// Takes one hop off the packet, whose TTL [`super::rewrite::alive`] has checked, and
/// sends the frame to an instance through the tunnel to its host, rewritten in place.
///
/// The outer source port stays: the sender's host hashed the flow into it.
#[inline(always)]
pub fn send<O: Outer, F: Family, P: Packet>(
    packet: &mut P,
    tunnel: &Tunnel,
    to: &Instance,
    outer: &Opened<O>,
    flow: &Flow<F>,
) -> Result<(), Reason> {
    let (source, ttl) = (F::words(flow.source), flow.ttl.wrapping_sub(1));
    let delta = checksum::TTL_DELTA;
    F::rewrite(packet, O::INNER_IP, Side::Source, &source, ttl, delta)?;
    let inside = Inside {
        // The record has them as the instance sends.
        macs: &Ethernet::swapped(to.macs),
        vni: to.vni,
    };
    vxlan::rewrap::<O, F, P>(packet, tunnel, inside, flow, outer.source_port)
}
