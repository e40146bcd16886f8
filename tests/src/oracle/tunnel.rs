//! VXLAN over IPv4 and IPv6 (RFC 7348).

use std::net::IpAddr;

use gateway_common::Reason;

use super::{
    Oracle,
    ip::{Own, Packet},
    parse,
    site::Link,
    wire::{Ethernet, Vxlan, ethertype, protocol},
};

/// Datagrams from this length on are not summed up byte by byte, but dropped.
const LONGEST_READ: usize = 2_048;

/// A frame out of a tunnel, and the tunnel.
pub(super) struct Tunnelled {
    pub(super) outer: Ethernet,
    pub(super) outer_packet: Packet,
    pub(super) vxlan: Vxlan,
    pub(super) inner: Ethernet,
}

impl Oracle {
    /// What a tunnel takes of a link's MTU: IP, UDP, VXLAN, inner Ethernet.
    pub(super) fn overhead(&self) -> usize {
        match self.site.topology.anycast_vtep {
            IpAddr::V4(_) => 20 + 8 + 8 + 14,
            IpAddr::V6(_) => 40 + 8 + 8 + 14,
        }
    }

    /// EtherType of the underlay.
    fn underlay(&self) -> u16 {
        match self.site.topology.anycast_vtep {
            IpAddr::V4(_) => ethertype::IPV4,
            IpAddr::V6(_) => ethertype::IPV6,
        }
    }

    /// Opens a tunnel for one of our VTEPs.
    pub(super) fn open(&self, bytes: &[u8]) -> Result<Tunnelled, Reason> {
        let outer = parse::frame(bytes)?;
        if outer.kind != self.underlay() {
            return Err(parse::other_ethertype(outer.kind));
        }
        if outer.is_for_many() {
            return Err(Reason::L2Multicast);
        }
        let outer_packet = parse::header(&outer)?;
        if !self.site.is_vtep(outer_packet.destination) {
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
        let there = outer_packet.header_length() + body.len();
        if outer_packet.length > there || outer_packet.length < self.overhead() {
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
    pub(super) fn encapsulate(
        &self,
        inner: &Ethernet,
        inner_packet: &Packet,
        vni: u32,
        (host, link): (usize, Link),
        source_port: [u8; 2],
    ) -> Result<Vec<u8>, Reason> {
        let body = inner.bytes();
        let length = body.len() + Vxlan::HEADERS;
        let vxlan = Vxlan {
            source_port,
            destination_port: Vxlan::PORT,
            length: length as u16,
            checksum: 0,
            flags: Vxlan::FLAGS,
            vni,
            reserved: 0,
            body,
        };
        let (source, destination) = (
            self.site.topology.anycast_vtep,
            self.site.topology.hosts[host].vtep,
        );
        let (version, header, own) = match destination {
            // With don't-fragment set, the ID may be 0 (RFC 6864, section 4.1).
            IpAddr::V4(_) => (
                4,
                20,
                Own::V4 {
                    header_words: 5,
                    id: 0,
                    fragment: 0x4000,
                    checksum: 0,
                },
            ),
            IpAddr::V6(_) => (
                6,
                40,
                Own::V6 {
                    flow_label: 0,
                    fragment: 0,
                },
            ),
        };
        let mut packet = Packet {
            version,
            source,
            destination,
            tos: inner_packet.tos,
            ttl: 64,
            protocol: protocol::UDP,
            next: protocol::UDP,
            length: header + length,
            own,
            extensions: Vec::new(),
            body: vxlan.bytes(),
        };
        packet.seal();
        if self.site.topology.udp_checksum {
            // What the inner checksums cover is taken to be as they say.
            let padding = inner.body.len() - inner_packet.length;
            match inner_packet.own_checksum_error() {
                Some(error) if padding == 0 => packet.seal_datagram(error),
                _ if packet.body.len() < LONGEST_READ => packet.seal_datagram(0),
                _ => return Err(Reason::UnderlaySum),
            }
        }
        let outer = Ethernet {
            destination: link.next_hop,
            source: link.our_mac,
            kind: packet.ethertype(),
            body: packet.bytes(),
        };
        Ok(outer.bytes())
    }
}

impl Tunnelled {
    /// Sends `inner` back to where the tunnel came from.
    pub(super) fn turn_round(self, inner: &Ethernet) -> Result<Vec<u8>, Reason> {
        self.back(inner, |_, _| {})
    }

    /// The same with a packet inside that is another one: of its own length and TOS.
    pub(super) fn turn_round_refitted(self, inner: &Ethernet, tos: u8) -> Result<Vec<u8>, Reason> {
        self.back(inner, |packet, vxlan| {
            let length = inner.bytes().len() + Vxlan::HEADERS;
            vxlan.length = length as u16;
            packet.length = packet.header_length() + length;
            packet.tos = tos;
            if let Own::V6 { flow_label, .. } = &mut packet.own {
                *flow_label = 0;
            }
        })
    }

    fn back(
        self,
        inner: &Ethernet,
        refit: impl FnOnce(&mut Packet, &mut Vxlan),
    ) -> Result<Vec<u8>, Reason> {
        let Self {
            mut outer,
            outer_packet: mut packet,
            mut vxlan,
            ..
        } = self;
        vxlan.body = inner.bytes();
        // The body changes, and over IPv4 the checksum is optional (RFC 7348, section 5).
        let had_checksum = vxlan.checksum != 0;
        vxlan.checksum = 0;
        packet.body = vxlan.bytes();
        packet.change(|packet| {
            std::mem::swap(&mut packet.source, &mut packet.destination);
            packet.ttl = 64;
            refit(packet, &mut vxlan);
            packet.body = vxlan.bytes();
        });
        let is_v6 = matches!(packet.own, Own::V6 { .. });
        if is_v6 && had_checksum {
            if packet.length - 40 >= LONGEST_READ {
                return Err(Reason::UnderlaySum);
            }
            packet.seal_datagram(0);
        }
        std::mem::swap(&mut outer.source, &mut outer.destination);
        outer.body = packet.bytes();
        Ok(outer.bytes())
    }
}
