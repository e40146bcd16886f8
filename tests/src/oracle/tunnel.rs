//! VXLAN over IPv4 (RFC 7348).

use std::net::{IpAddr, Ipv4Addr};

use gateway_common::Reason;

use super::{
    Oracle, hash, parse,
    site::Link,
    wire::{Ethernet, Packet, Vxlan, ethertype, protocol},
};

/// What the outer headers take of a link's MTU, beside the inner Ethernet header:
/// IPv4, UDP, VXLAN, Ethernet.
pub(super) const OVERHEAD: usize = 20 + 8 + 8 + 14;

/// A frame out of a tunnel, and the tunnel.
pub(super) struct Tunnelled {
    pub(super) outer: Ethernet,
    pub(super) outer_packet: Packet,
    pub(super) vxlan: Vxlan,
    pub(super) inner: Ethernet,
}

impl Oracle {
    /// Opens a tunnel for one of our VTEPs.
    pub(super) fn open(&self, bytes: &[u8]) -> Result<Tunnelled, Reason> {
        let outer = parse::frame(bytes)?;
        if outer.kind != ethertype::IPV4 {
            return Err(parse::other_ethertype(outer.kind));
        }
        if outer.is_for_many() {
            return Err(Reason::L2Multicast);
        }
        let outer_packet = parse::header(&outer.body)?;
        if !self.site.is_vtep(outer_packet.destination()) {
            return Err(Reason::NotOurs);
        }
        if outer_packet.protocol != protocol::UDP {
            return Err(Reason::NotVxlan);
        }
        parse::plain_header(&outer_packet)?;
        if outer_packet.is_fragment() {
            return Err(Reason::Fragment);
        }
        let body = &outer_packet.body;
        // As soon as a UDP header is there, it tells whether it is VXLAN.
        let udp = body.get(..8).ok_or(Reason::Truncated)?;
        if udp[2..4] != Vxlan::PORT.to_be_bytes() {
            return Err(Reason::NotVxlan);
        }
        let vxlan = Vxlan::read(body).ok_or(Reason::Truncated)?;
        if vxlan.flags != Vxlan::FLAGS {
            return Err(Reason::VxlanFlags);
        }
        let there = Packet::HEADER + body.len();
        if outer_packet.length > there || outer_packet.length < OVERHEAD {
            return Err(Reason::Truncated);
        }
        let inner = parse::frame(&vxlan.body)?;
        Ok(Tunnelled {
            outer,
            outer_packet,
            vxlan,
            inner,
        })
    }

    /// Puts a frame into a tunnel to a host. DSCP and ECN are those of the packet
    /// inside (RFC 2983, uniform; RFC 6040, section 4.1).
    pub(super) fn into_tunnel(
        &self,
        inner: &Ethernet,
        tos: u8,
        vni: u32,
        host: usize,
        link: Link,
        hash: u64,
    ) -> Vec<u8> {
        let body = inner.bytes();
        let length = body.len() + Vxlan::HEADERS;
        let vxlan = Vxlan {
            source_port: hash::source_port(hash),
            destination_port: Vxlan::PORT,
            length: length as u16,
            checksum: 0,
            flags: Vxlan::FLAGS,
            vni,
            reserved: 0,
            body,
        };
        let mut packet = Packet {
            version: 4,
            header_words: 5,
            tos,
            length: Packet::HEADER + length,
            id: 0,
            fragment: 0x4000,
            ttl: 64,
            protocol: protocol::UDP,
            checksum: 0,
            source: ipv4(self.site.topology.anycast_vtep),
            destination: ipv4(self.site.topology.hosts[host].vtep),
            body: vxlan.bytes(),
        };
        packet.seal();
        let outer = Ethernet {
            destination: link.next_hop,
            source: link.our_mac,
            kind: ethertype::IPV4,
            body: packet.bytes(),
        };
        outer.bytes()
    }
}

impl Tunnelled {
    /// Sends `inner` back to where the tunnel came from.
    pub(super) fn turn_round(self, inner: &Ethernet) -> Vec<u8> {
        let Self {
            mut outer,
            outer_packet: mut packet,
            mut vxlan,
            ..
        } = self;
        vxlan.body = inner.bytes();
        // The body changes, and the checksum is optional (RFC 7348, section 5).
        vxlan.checksum = 0;
        packet.body = vxlan.bytes();
        packet.change(|packet| {
            std::mem::swap(&mut packet.source, &mut packet.destination);
            packet.ttl = 64;
        });
        std::mem::swap(&mut outer.source, &mut outer.destination);
        outer.body = packet.bytes();
        outer.bytes()
    }
}

fn ipv4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => unreachable!("VTEPs have IPv4 addresses: {address}"),
    }
}
