//! VXLAN: opening what arrives, closing what leaves (RFC 7348).

use gateway_common::{Backend, NextHop, Reason, Tunnel};

use super::parse::Flow;
use crate::{
    INNER, checksum,
    headers::{Ethernet, Ipv4, OuterV4, Udp},
    packet::{Packet, Tables},
};

/// What the outer headers of an arriving frame say.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// Sender's VTEP.
    pub source: u32,
    /// Last word of the VXLAN header.
    pub vni: u32,
    /// UDP source port: the sender's flow hash.
    pub source_port: u16,
}

/// Reads the outer headers of a VXLAN frame for one of our VTEPs; all else is
/// left to the kernel.
#[inline(always)]
pub fn open<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Outer, Reason> {
    let ethernet = packet.need::<Ethernet>(0)?;
    if ethernet.kind != Ethernet::IPV4 {
        return Err(super::parse::not_ip(ethernet.kind));
    }
    if ethernet.macs[0] & Ethernet::GROUP != 0 {
        return Err(Reason::L2Multicast);
    }
    let ip = packet.need::<Ipv4>(Ethernet::LEN)?;
    let [shared, own] = tables.vteps();
    if ip.destination != shared && ip.destination != own {
        return Err(Reason::NotOurs);
    }
    if ip.protocol != Ipv4::UDP {
        return Err(Reason::NotVxlan);
    }
    if ip.version_ihl != Ipv4::VERSION_IHL {
        return Err(match (ip.version_ihl >> 4, ip.version_ihl & 15) {
            (4, 0..5) => Reason::IpHeaderLength,
            (4, _) => Reason::IpOptions,
            _ => Reason::IpVersion,
        });
    }
    let length = u16::from_be(ip.length) as usize;
    if ip.fragment & Ipv4::FRAGMENT_MASK != 0 {
        return Err(Reason::Fragment);
    }
    let udp = packet.need::<Udp>(Ethernet::LEN + Ipv4::LEN)?;
    if udp.destination != OuterV4::PORT {
        return Err(Reason::NotVxlan);
    }
    let outer = packet.need::<OuterV4>(0)?;
    if outer.flags != OuterV4::FLAGS {
        return Err(Reason::VxlanFlags);
    }
    if length > packet.len() - Ethernet::LEN || length < INNER {
        return Err(Reason::Truncated);
    }
    Ok(Outer {
        source: outer.ip.source,
        vni: outer.vni,
        source_port: outer.udp.source,
    })
}

/// Wraps the frame and sends it towards a host.
///
/// DSCP and ECN are copied to the outer header (RFC 2983, uniform; RFC 6040,
/// section 4.1). Don't-fragment is set: a VTEP must not fragment (RFC 7348,
/// section 4.3), and with it the ID may be 0 (RFC 6864, section 4.1).
#[inline(always)]
pub fn push<P: Packet>(
    packet: &mut P,
    tunnel: &Tunnel,
    backend: &Backend,
    flow: &Flow,
    hash: u64,
) -> Result<(), Reason> {
    packet.need_mut::<Ethernet>(0)?.set_macs(&backend.macs);
    packet.push(OuterV4::LEN)?;
    let length = (packet.len() - Ethernet::LEN) as u16;
    let (ip_length, udp_length) = (length.to_be(), (length - Ipv4::LEN as u16).to_be());
    let tos = u16::from_ne_bytes([0, flow.tos]);
    let sum = tunnel.checksum as u32 + ip_length as u32 + tos as u32;
    // Field by field: a whole header would be put together on the stack and copied.
    let outer = packet.need_mut::<OuterV4>(0)?;
    outer.ethernet.set_macs(&tunnel.macs);
    outer.ethernet.kind = tunnel.kind;
    outer.ip.version_ihl = Ipv4::VERSION_IHL;
    outer.ip.tos = flow.tos;
    outer.ip.length = ip_length;
    outer.ip.id = 0;
    outer.ip.fragment = Ipv4::DONT_FRAGMENT;
    outer.ip.ttl = OuterV4::TTL;
    outer.ip.protocol = Ipv4::UDP;
    outer.ip.checksum = !checksum::fold(sum);
    outer.ip.source = tunnel.source[0];
    outer.ip.destination = tunnel.destination[0];
    outer.udp.source = crate::hash::source_port(hash);
    outer.udp.destination = OuterV4::PORT;
    outer.udp.length = udp_length;
    outer.udp.checksum = 0;
    outer.flags = OuterV4::FLAGS;
    outer.vni = backend.vni;
    Ok(())
}

/// Unwraps the frame and sends it to a next hop.
#[inline(always)]
pub fn pop<P: Packet>(packet: &mut P, next_hop: &NextHop) -> Result<(), Reason> {
    packet.need_mut::<Ethernet>(INNER)?.set_macs(&next_hop.macs);
    packet.pop(OuterV4::LEN)
}

/// Sends a VXLAN frame back to the VTEP that it came from.
#[inline(always)]
pub fn turn_round<P: Packet>(packet: &mut P) -> Result<(), Reason> {
    let outer = packet.need_mut::<OuterV4>(0)?;
    outer.ethernet.swap_macs();
    (outer.ip.source, outer.ip.destination) = (outer.ip.destination, outer.ip.source);
    let old = u16::from_ne_bytes([outer.ip.ttl, 0]);
    let new = u16::from_ne_bytes([OuterV4::TTL, 0]);
    outer.ip.ttl = OuterV4::TTL;
    outer.ip.checksum = checksum::update(outer.ip.checksum, checksum::delta(&[old], &[new]));
    // The payload changes, and over IPv4 the checksum is optional (RFC 7348, section 5).
    outer.udp.checksum = 0;
    Ok(())
}
