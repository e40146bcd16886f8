//! VXLAN: opening what arrives, closing what leaves (RFC 7348).

use gateway_common::{Macs, NextHop, Reason, Tunnel};

use super::parse::Flow;
use crate::{
    family::Family,
    hash,
    headers::{Ethernet, Tagged, Vxlan},
    outer::Outer,
    packet::{Packet, Tables},
};

/// What the outer headers of an arriving frame say.
#[derive(Clone, Copy, Debug)]
pub struct Opened<O: Outer> {
    /// Sender's VTEP.
    pub source: <O::Family as Family>::Address,
    /// Last word of the VXLAN header.
    pub vni: u32,
    /// UDP source port: the sender's flow hash.
    pub source_port: u16,
}

/// Reads the outer headers of a VXLAN frame for one of our VTEPs; all else is
/// left to the kernel.
#[inline(always)]
pub fn open<O: Outer, P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Opened<O>, Reason> {
    let ethernet = packet.need::<Ethernet>(0)?;
    if ethernet.kind != O::Family::KIND {
        return Err(super::parse::not_ip(ethernet.kind));
    }
    if ethernet.macs[0] & Ethernet::GROUP != 0 {
        return Err(Reason::L2Multicast);
    }
    let opened = O::open(packet, tables)?;
    if packet.need::<Vxlan>(O::LEN - Vxlan::LEN)?.flags != Vxlan::FLAGS {
        return Err(Reason::VxlanFlags);
    }
    O::check_length(packet)?;
    Ok(opened)
}

/// An inner network: who the frame is for there, and in which VPC.
#[derive(Clone, Copy)]
pub struct Inside<'t> {
    /// Inner Ethernet destination, then source.
    pub macs: &'t Macs,
    /// Last word of the VXLAN header.
    pub vni: u32,
}

/// Wraps the frame and sends it towards a host. `flow` is the packet's as it came in;
/// `can_seal` says whether the outer headers can be [sealed](Outer::seal).
#[inline(always)]
pub fn push<O: Outer, F: Family, P: Packet>(
    packet: &mut P,
    tunnel: &Tunnel,
    inside: Inside<'_>,
    flow: &Flow<F>,
    hash: u64,
    can_seal: bool,
) -> Result<(), Reason> {
    packet.need_mut::<Ethernet>(0)?.set_macs(inside.macs);
    packet.push(O::LEN)?;
    O::write(
        packet,
        tunnel,
        flow.tos,
        hash::source_port(hash),
        inside.vni,
    )?;
    match can_seal {
        true => O::seal(packet, tunnel, flow),
        false => Ok(()),
    }
}

/// Sends a frame that is in a tunnel already through another one, in place. `flow` is
/// the packet's as it came in.
#[inline(always)]
pub fn rewrap<O: Outer, F: Family, P: Packet>(
    packet: &mut P,
    tunnel: &Tunnel,
    inside: Inside<'_>,
    flow: &Flow<F>,
    source_port: u16,
) -> Result<(), Reason> {
    let can_seal = O::can_seal(packet, O::INNER_IP, tunnel, flow);
    packet.need_mut::<Ethernet>(O::LEN)?.set_macs(inside.macs);
    O::write(packet, tunnel, flow.tos, source_port, inside.vni)?;
    if can_seal {
        O::seal(packet, tunnel, flow)?;
    }
    O::seal_by_sum(packet, tunnel)
}

/// Unwraps the frame and sends it to a next hop in a VLAN.
#[inline(always)]
pub fn pop_tagged<O: Outer, P: Packet>(packet: &mut P, next_hop: &NextHop) -> Result<(), Reason> {
    packet.pop(O::LEN - Tagged::TAG)?;
    // What the frame is lies where it has to already.
    let header = packet.need_mut::<Tagged>(0)?;
    header.set_macs(&next_hop.macs);
    header.tag = Ethernet::VLAN;
    header.control = next_hop.vlan;
    Ok(())
}

/// Unwraps the frame and sends it to a next hop.
#[inline(always)]
pub fn pop<O: Outer, P: Packet>(packet: &mut P, next_hop: &NextHop) -> Result<(), Reason> {
    packet
        .need_mut::<Ethernet>(O::LEN)?
        .set_macs(&next_hop.macs);
    packet.pop(O::LEN)
}
