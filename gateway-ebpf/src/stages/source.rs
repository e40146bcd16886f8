//! Who sends from inside, and is it really them?

use gateway_common::{Instance, InstanceKey, Macs, Reason, Reference};

use super::{parse::Flow, vxlan::Outer};
use crate::{
    INNER, INNER_IP, bucket,
    headers::{Ethernet, Icmp, Ipv4},
    packet::{Packet, Tables},
};

/// The instance with this inner address, checked to live on the host that sent
/// the frame: tenants cannot pose as each other, nor one host for another.
#[inline(always)]
pub fn instance<'t, T: Tables>(
    tables: &'t T,
    outer: &Outer,
    address: u32,
) -> Result<(u32, &'t Instance), Reason> {
    let Some(found) = get(tables, InstanceKey::v4(outer.vni, address)) else {
        return Err(match get(tables, InstanceKey::vni(outer.vni)) {
            Some(_) => Reason::UnknownSource,
            None => Reason::UnknownVni,
        });
    };
    if found.kind() != Reference::INSTANCE {
        return Err(Reason::UnknownSource);
    }
    let instance = tables.instance(found.index()).ok_or(Reason::Internal)?;
    if instance.host[0] != outer.source {
        return Err(Reason::SpoofedVtep);
    }
    Ok((found.index(), instance))
}

/// The bytes of the MACs' second word that belong to the destination.
const DESTINATION_END: u32 = u32::from_ne_bytes([0xff, 0xff, 0, 0]);

/// Checks the inner MACs: from the instance, to its virtual router.
#[inline(always)]
pub fn addressed_to_router<P: Packet>(packet: &P, instance: &Instance) -> Result<(), Reason> {
    let [a, b, c] = packet.need::<Ethernet>(INNER)?.macs;
    let [x, y, z] = instance.macs;
    if (a ^ x) | (b ^ y) | (c ^ z) == 0 {
        return Ok(());
    }
    // The destination ends in the middle of the second word.
    if (a ^ x) | (b ^ y) & DESTINATION_END != 0 {
        return Err(Reason::InnerNotForRouter);
    }
    Err(Reason::SpoofedMac)
}

/// Whether the source in a pair of MACs is the instance's.
#[inline(always)]
pub const fn is_from([_, b, c]: Macs, instance: &Instance) -> bool {
    let [_, y, z] = instance.macs;
    (b ^ y) & !DESTINATION_END | (c ^ z) == 0
}

/// Whether an instance pings its virtual router.
#[inline(always)]
pub fn asks_router<T: Tables>(tables: &T, outer: &Outer, flow: &Flow) -> bool {
    flow.protocol == Ipv4::ICMP
        && !flow.is_fragment()
        && router(tables, outer, flow.destination).is_some()
}

/// The virtual router with this inner address.
#[inline(always)]
pub fn router<'t, T: Tables>(tables: &'t T, outer: &Outer, address: u32) -> Option<&'t Instance> {
    let found = get(tables, InstanceKey::v4(outer.vni, address))?;
    if found.kind() != Reference::ROUTER {
        return None;
    }
    tables.instance(found.index())
}

/// Where the inner ICMP header lies.
pub const INNER_ICMP: usize = INNER_IP + Ipv4::LEN;

#[inline(always)]
fn get<T: Tables>(tables: &T, key: InstanceKey) -> Option<Reference> {
    bucket::find(key.0, |place| tables.instance_keys(place)).map(Reference)
}

const _: () = assert!(INNER_ICMP + Icmp::LEN < 256);
