//! Who sends from inside, and is it really them?

use gateway_common::{Instance, Macs, Reason, Reference, WideSlot};

use super::vxlan::Opened;
use crate::{
    bucket,
    family::Family,
    headers::Ethernet,
    outer::Outer,
    packet::{Packet, Tables},
};

/// An instance that sends.
#[derive(Clone, Copy)]
pub struct Sender<'t> {
    /// Its index in `INSTANCES`.
    pub index: u32,
    /// Its record.
    pub instance: &'t Instance,
}

/// The instance with this inner address, checked to live on the host that sent
/// the frame: tenants cannot pose as each other, nor one host for another.
#[inline(always)]
pub fn instance<'t, O: Outer, F: Family, T: Tables>(
    tables: &'t T,
    outer: &Opened<O>,
    address: F::Address,
) -> Result<Sender<'t>, Reason> {
    checked(tables, outer, F::inner(tables, outer.vni, address))
}

/// The instance with a MAC (in the first six bytes of a word), for neighbour discovery over IPv6:
/// that speaks from addresses that an instance makes up by itself (link-local ones,
/// RFC 7217), and from none at all.
#[inline(always)]
pub fn with_mac<'t, O: Outer, T: Tables>(
    tables: &'t T,
    outer: &Opened<O>,
    mac: u64,
) -> Result<Sender<'t>, Reason> {
    let scope = WideSlot::link(outer.vni);
    let found = bucket::find_wide(scope, [mac, 0], |place| tables.addresses(place));
    checked(tables, outer, found.map(Reference))
}

/// A sender that was found, if it is an instance of the host that sent the frame.
#[inline(always)]
fn checked<'t, O: Outer, T: Tables>(
    tables: &'t T,
    outer: &Opened<O>,
    found: Option<Reference>,
) -> Result<Sender<'t>, Reason> {
    let Some(found) = found else {
        return Err(unknown(tables, outer.vni));
    };
    if found.kind() != Reference::INSTANCE {
        return Err(Reason::UnknownSource);
    }
    let instance = tables.instance(found.index()).ok_or(Reason::Internal)?;
    if O::Family::address(&instance.host) != outer.source {
        return Err(Reason::SpoofedVtep);
    }
    Ok(Sender {
        index: found.index(),
        instance,
    })
}

/// Checks that a packet that was handed over comes from a gateway of this site.
#[inline(always)]
pub fn gateway<O: Outer, T: Tables>(tables: &T, outer: &Opened<O>) -> Result<(), Reason> {
    match O::Family::inner(tables, outer.vni, outer.source) {
        Some(found) if found.kind() == Reference::GATEWAY => Ok(()),
        _ => Err(Reason::HandedOverByStranger),
    }
}

/// Tells a VNI that no VPC has from a source that its VPC does not have. Every VNI has
/// an entry for address 0, whatever families its subnets are of.
#[inline(always)]
fn unknown<T: Tables>(tables: &T, vni: u32) -> Reason {
    let key = gateway_common::InstanceKey::vni(vni);
    match bucket::find(key.0, |place| tables.instance_keys(place)) {
        Some(_) => Reason::UnknownSource,
        None => Reason::UnknownVni,
    }
}

/// The bytes of the MACs' second word that belong to the destination.
const DESTINATION_END: u32 = u32::from_ne_bytes([0xff, 0xff, 0, 0]);

/// Checks the inner MACs: from the instance, to its virtual router.
#[inline(always)]
pub fn addressed_to_router<O: Outer, P: Packet>(
    packet: &P,
    instance: &Instance,
) -> Result<(), Reason> {
    let [a, b, c] = packet.need::<Ethernet>(O::LEN)?.macs;
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

/// The virtual router with this inner address.
#[inline(always)]
pub fn router<F: Family, T: Tables>(
    tables: &T,
    vni: u32,
    address: F::Address,
) -> Option<&Instance> {
    let found = F::inner(tables, vni, address)?;
    if found.kind() != Reference::ROUTER {
        return None;
    }
    tables.instance(found.index())
}
