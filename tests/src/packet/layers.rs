//! The layers that a frame is built from, and how each is written.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    ipv6::{Extension, Ipv6, Neighbour},
    sum::{internet_checksum, transport_checksum},
};

/// A MAC address.
pub type Mac = [u8; 6];

/// IP protocol numbers (IANA).
pub mod protocol {
    /// IPv6's hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6's routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6's fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
    /// IPsec's encapsulating security payload.
    pub const ESP: u8 = 50;
    /// IPsec's authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6's "no next header".
    pub const NONE: u8 = 59;
    /// IPv6's destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// For experiments (RFC 3692).
    pub const EXPERIMENT: u8 = 253;
}

/// EtherType for experiments (IEEE 802, local experimental).
const ETHERTYPE_EXPERIMENT: u16 = 0x88b5;

#[derive(Clone, Debug)]
pub(super) struct Ethernet {
    pub(super) source: Mac,
    pub(super) destination: Mac,
    pub(super) kind: Option<u16>,
    pub(super) pad_to: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Vlan {
    pub(super) tag: u16,
    pub(super) control: u16,
}

#[derive(Clone, Debug)]
pub(super) struct Arp {
    pub(super) format: [u8; 6],
    pub(super) operation: u16,
    pub(super) sender: (Mac, Ipv4Addr),
    pub(super) target: (Mac, Ipv4Addr),
}

#[derive(Clone, Debug)]
pub(super) struct Ipv4 {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) version: u8,
    pub(super) header_words: Option<u8>,
    pub(super) tos: u8,
    pub(super) total_length: Option<u16>,
    pub(super) id: u16,
    pub(super) fragment: u16,
    pub(super) ttl: u8,
    pub(super) protocol: Option<u8>,
    pub(super) checksum: Option<u16>,
    pub(super) options: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Tcp {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) options: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Udp {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) checksum: Option<u16>,
}

#[derive(Clone, Debug)]
pub(super) struct Icmp {
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) id: u16,
    pub(super) sequence: u16,
}

#[derive(Clone, Debug)]
pub(super) struct Vxlan {
    pub(super) flags: u32,
    pub(super) vni: u32,
    pub(super) reserved: u8,
}

/// Both ends of an IP packet, as its pseudo header has them.
#[derive(Clone, Debug)]
pub(super) struct Ip {
    pub(super) source: Vec<u8>,
    pub(super) destination: Vec<u8>,
}

impl Ip {
    pub(super) fn of(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> Self {
        let octets = |ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        Self {
            source: octets(source.into()),
            destination: octets(destination.into()),
        }
    }

    /// Number of its ICMP.
    pub(super) fn icmp(&self) -> u8 {
        match self.source.len() {
            4 => protocol::ICMP,
            _ => protocol::ICMPV6,
        }
    }

    /// Checksum of an ICMP message: ICMPv6's covers the ends, too (RFC 4443, section 2.3).
    pub(super) fn icmp_checksum(&self, message: &[u8]) -> u16 {
        match self.icmp() {
            protocol::ICMP => internet_checksum(&[message]),
            number => transport_checksum(self, number, message),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Layer {
    Ethernet(Ethernet),
    Vlan(Vlan),
    Arp(Arp),
    Ipv4(Ipv4),
    Ipv6(Ipv6),
    Extension(Extension),
    Neighbour(Neighbour),
    Tcp(Tcp),
    Udp(Udp),
    Icmp(Icmp),
    Vxlan(Vxlan),
    Payload(Vec<u8>),
}

impl Layer {
    /// EtherType that names this layer in the header in front of it.
    fn ethertype(&self) -> u16 {
        match self {
            Self::Ipv4(_) => 0x0800,
            Self::Ipv6(_) => 0x86dd,
            Self::Arp(_) => 0x0806,
            Self::Vlan(vlan) => vlan.tag,
            _ => ETHERTYPE_EXPERIMENT,
        }
    }

    /// Protocol number that names this layer in the IP header in front of it.
    fn protocol(&self, ip: &Ip) -> u8 {
        match self {
            Self::Icmp(_) | Self::Neighbour(_) => ip.icmp(),
            Self::Extension(extension) => extension.kind,
            Self::Tcp(_) => protocol::TCP,
            Self::Udp(_) => protocol::UDP,
            _ => protocol::EXPERIMENT,
        }
    }

    /// Writes this layer in front of `body`. `next` is the layer behind it, `ip`
    /// the IP header that it rides in.
    pub(super) fn wrap(&self, body: Vec<u8>, next: Option<&Self>, ip: Option<&Ip>) -> Vec<u8> {
        let protocol_in = |ip: &Ip| next.map_or(protocol::EXPERIMENT, |next| next.protocol(ip));
        match self {
            Self::Ethernet(ethernet) => {
                let kind = next.map_or(ETHERTYPE_EXPERIMENT, Self::ethertype);
                ethernet.wrap(&body, ethernet.kind.unwrap_or(kind))
            }
            Self::Vlan(vlan) => {
                let kind = next.map_or(ETHERTYPE_EXPERIMENT, Self::ethertype);
                [&vlan.control.to_be_bytes()[..], &kind.to_be_bytes(), &body].concat()
            }
            Self::Arp(arp) => [arp.bytes(), body].concat(),
            Self::Ipv4(ip) => ip.wrap(&body, protocol_in(&ip.ends())),
            Self::Ipv6(ip) => ip.wrap(&body, protocol_in(&ip.ends())),
            Self::Extension(extension) => {
                let next = ip.map_or(protocol::EXPERIMENT, protocol_in);
                extension.wrap(&body, next)
            }
            Self::Neighbour(neighbour) => {
                let mut message = [neighbour.message(), body].concat();
                let sum = ip.map_or(0, |ip| ip.icmp_checksum(&message));
                message[2..4].copy_from_slice(&sum.to_be_bytes());
                message
            }
            Self::Tcp(tcp) => tcp.wrap(&body, ip),
            Self::Udp(udp) => udp.wrap(&body, ip),
            Self::Icmp(icmp) => icmp.wrap(&body, ip),
            Self::Vxlan(vxlan) => {
                let vni = vxlan.vni << 8 | u32::from(vxlan.reserved);
                [&vxlan.flags.to_be_bytes()[..], &vni.to_be_bytes(), &body].concat()
            }
            Self::Payload(bytes) => [bytes.clone(), body].concat(),
        }
    }
}

impl Ethernet {
    fn wrap(&self, body: &[u8], kind: u16) -> Vec<u8> {
        let mut frame = [
            &self.destination[..],
            &self.source,
            &kind.to_be_bytes(),
            body,
        ]
        .concat();
        frame.resize(frame.len().max(self.pad_to), 0);
        frame
    }
}

impl Arp {
    fn bytes(&self) -> Vec<u8> {
        [
            &self.format[..],
            &self.operation.to_be_bytes(),
            &self.sender.0,
            &self.sender.1.octets(),
            &self.target.0,
            &self.target.1.octets(),
        ]
        .concat()
    }
}

impl Ipv4 {
    pub(super) fn new(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            source,
            destination,
            version: 4,
            header_words: None,
            tos: 0,
            total_length: None,
            id: 0x1234,
            fragment: 0,
            ttl: 64,
            protocol: None,
            checksum: None,
            options: Vec::new(),
        }
    }

    pub(super) fn ends(&self) -> Ip {
        Ip::of(self.source, self.destination)
    }

    fn wrap(&self, body: &[u8], protocol: u8) -> Vec<u8> {
        let length = 20 + self.options.len();
        let words = self.header_words.unwrap_or((length / 4) as u8);
        let total = self.total_length.unwrap_or((length + body.len()) as u16);
        let mut header = vec![self.version << 4 | words, self.tos];
        header.extend(total.to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol.unwrap_or(protocol), 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let checksum = self
            .checksum
            .unwrap_or_else(|| internet_checksum(&[&header]));
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header.extend(body);
        header
    }
}

impl Tcp {
    fn wrap(&self, body: &[u8], ip: Option<&Ip>) -> Vec<u8> {
        let words = (20 + self.options.len()) / 4;
        let mut segment = Vec::new();
        segment.extend(self.source.to_be_bytes());
        segment.extend(self.destination.to_be_bytes());
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.acknowledgment.to_be_bytes());
        segment.extend([(words as u8) << 4, self.flags]);
        segment.extend(self.window.to_be_bytes());
        segment.extend([0, 0, 0, 0]);
        segment.extend(&self.options);
        segment.extend(body);
        if let Some(ip) = ip {
            let sum = transport_checksum(ip, protocol::TCP, &segment);
            segment[16..18].copy_from_slice(&sum.to_be_bytes());
        }
        segment
    }
}

impl Udp {
    fn wrap(&self, body: &[u8], ip: Option<&Ip>) -> Vec<u8> {
        let mut datagram = Vec::new();
        datagram.extend(self.source.to_be_bytes());
        datagram.extend(self.destination.to_be_bytes());
        datagram.extend((8 + body.len() as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(body);
        let sum = match (self.checksum, ip) {
            (Some(sum), _) => sum,
            (None, None) => 0,
            // A computed 0 is sent as all ones (RFC 768).
            (None, Some(ip)) => match transport_checksum(ip, protocol::UDP, &datagram) {
                0 => 0xffff,
                sum => sum,
            },
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        datagram
    }
}

impl Icmp {
    fn wrap(&self, body: &[u8], ip: Option<&Ip>) -> Vec<u8> {
        let mut message = vec![self.kind, self.code, 0, 0];
        message.extend(self.id.to_be_bytes());
        message.extend(self.sequence.to_be_bytes());
        message.extend(body);
        let sum = ip.map_or(0, |ip| ip.icmp_checksum(&message));
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }
}
