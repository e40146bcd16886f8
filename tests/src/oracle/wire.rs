//! Headers as owned values: read from bytes, written back to bytes.

use std::net::{IpAddr, Ipv4Addr};

use super::sums;

/// A MAC address.
pub(super) type Mac = [u8; 6];

/// EtherTypes (IANA).
pub(super) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const QINQ: u16 = 0x88a8;
}

/// IP protocol numbers (IANA).
pub(super) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("just as long")
}

/// An Ethernet frame.
#[derive(Clone, Debug)]
pub(super) struct Ethernet {
    pub(super) destination: Mac,
    pub(super) source: Mac,
    pub(super) kind: u16,
    pub(super) body: Vec<u8>,
}

impl Ethernet {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= 14).then(|| Self {
            destination: array(bytes, 0),
            source: array(bytes, 6),
            kind: word(bytes, 12),
            body: bytes[14..].to_vec(),
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let kind = self.kind.to_be_bytes();
        [&self.destination[..], &self.source, &kind, &self.body].concat()
    }

    /// Broadcast or multicast.
    pub(super) fn is_for_many(&self) -> bool {
        self.destination[0] & 1 != 0
    }
}

/// An ARP message as it lies behind an Ethernet header, with the frame's padding.
#[derive(Clone, Debug)]
pub(super) struct Arp {
    pub(super) format: [u8; 6],
    pub(super) operation: u16,
    pub(super) sender: (Mac, Ipv4Addr),
    pub(super) target: (Mac, Ipv4Addr),
    pub(super) padding: Vec<u8>,
}

impl Arp {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let ip = |at| Ipv4Addr::from(array::<4>(bytes, at));
        (bytes.len() >= 28).then(|| Self {
            format: array(bytes, 0),
            operation: word(bytes, 6),
            sender: (array(bytes, 8), ip(14)),
            target: (array(bytes, 18), ip(24)),
            padding: bytes[28..].to_vec(),
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        [
            &self.format[..],
            &self.operation.to_be_bytes(),
            &self.sender.0,
            &self.sender.1.octets(),
            &self.target.0,
            &self.target.1.octets(),
            &self.padding,
        ]
        .concat()
    }

    /// "Who has ...?", for IPv4 over Ethernet.
    pub(super) fn is_request(&self) -> bool {
        self.format == [0, 1, 8, 0, 6, 4] && self.operation == 1
    }
}

/// An IPv4 packet without options, and whatever the frame holds behind its header.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) version: u8,
    pub(super) header_words: u8,
    pub(super) tos: u8,
    pub(super) length: usize,
    pub(super) id: u16,
    pub(super) fragment: u16,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    pub(super) checksum: u16,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) body: Vec<u8>,
}

impl Packet {
    pub(super) const HEADER: usize = 20;

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= Self::HEADER).then(|| Self {
            version: bytes[0] >> 4,
            header_words: bytes[0] & 15,
            tos: bytes[1],
            length: word(bytes, 2).into(),
            id: word(bytes, 4),
            fragment: word(bytes, 6),
            ttl: bytes[8],
            protocol: bytes[9],
            checksum: word(bytes, 10),
            source: array::<4>(bytes, 12).into(),
            destination: array::<4>(bytes, 16).into(),
            body: bytes[20..].to_vec(),
        })
    }

    /// The header, with a checksum of 0.
    fn header(&self) -> Vec<u8> {
        let mut header = vec![self.version << 4 | self.header_words, self.tos];
        header.extend((self.length as u16).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes[10..12].copy_from_slice(&self.checksum.to_be_bytes());
        bytes.extend(&self.body);
        bytes
    }

    /// Gives the header the checksum that it should have.
    pub(super) fn seal(&mut self) {
        self.checksum = sums::right(&self.header());
    }

    /// Changes the packet; its checksums follow, as right or wrong as they were.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.clone();
        change(self);
        self.checksum = sums::carried(before.checksum, &[&before.header()], &[&self.header()]);
        if self.is_later_fragment() {
            return;
        }
        let Some(at) = self.checksum_at() else {
            return;
        };
        let old = word(&before.body, at);
        if self.protocol == protocol::UDP && old == 0 {
            // The sender computed none (RFC 768).
            return;
        }
        let ([was, was_in], [is, is_in]) = (before.summed(at), self.summed(at));
        let carried = sums::carried(old, &[&was_in, &was], &[&is_in, &is]);
        let sum = match self.protocol {
            _ if was == is && was_in == is_in => old,
            protocol::TCP => carried,
            _ => sums::nonzero(carried),
        };
        self.body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// What the layer-4 checksum at `at` covers: the body without it, and the pseudo
    /// header. The length in that is left out: it never changes. So may be bytes
    /// behind the packet's end in the body, for the same reason.
    fn summed(&self, at: usize) -> [Vec<u8>; 2] {
        let mut body = self.body.clone();
        body[at..at + 2].fill(0);
        let pseudo = match self.protocol {
            protocol::ICMP => Vec::new(),
            _ => [self.source.octets(), self.destination.octets()].concat(),
        };
        [body, pseudo]
    }

    /// Where the layer-4 checksum lies in the body.
    fn checksum_at(&self) -> Option<usize> {
        match self.protocol {
            protocol::TCP => Some(16),
            protocol::UDP => Some(6),
            protocol::ICMP => Some(2),
            _ => None,
        }
    }

    /// Bytes that the layer-4 header must at least have.
    pub(super) fn least_body(&self) -> usize {
        match self.protocol {
            _ if self.is_later_fragment() => 0,
            protocol::TCP => 20,
            protocol::UDP | protocol::ICMP => 8,
            _ => 0,
        }
    }

    /// A piece of a packet, the first one included.
    pub(super) fn is_fragment(&self) -> bool {
        self.fragment & 0x3fff != 0
    }

    /// A piece that does not start with the layer-4 header.
    pub(super) fn is_later_fragment(&self) -> bool {
        self.fragment & 0x1fff != 0
    }

    /// Source and destination port, where there are any.
    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        let has_ports = matches!(self.protocol, protocol::TCP | protocol::UDP);
        (has_ports && !self.is_later_fragment()).then(|| (word(&self.body, 0), word(&self.body, 2)))
    }

    pub(super) fn set_source_port(&mut self, port: u16) {
        self.body[..2].copy_from_slice(&port.to_be_bytes());
    }

    pub(super) fn set_destination_port(&mut self, port: u16) {
        self.body[2..4].copy_from_slice(&port.to_be_bytes());
    }

    pub(super) fn source(&self) -> IpAddr {
        self.source.into()
    }

    pub(super) fn destination(&self) -> IpAddr {
        self.destination.into()
    }
}

/// A UDP datagram with VXLAN in it: all that lies between the outer IP header and
/// the inner Ethernet header.
#[derive(Clone, Debug)]
pub(super) struct Vxlan {
    pub(super) source_port: [u8; 2],
    pub(super) destination_port: u16,
    pub(super) length: u16,
    pub(super) checksum: u16,
    pub(super) flags: [u8; 4],
    pub(super) vni: u32,
    pub(super) reserved: u8,
    pub(super) body: Vec<u8>,
}

impl Vxlan {
    pub(super) const PORT: u16 = 4_789;
    /// UDP and VXLAN headers.
    pub(super) const HEADERS: usize = 16;
    /// The I flag alone.
    pub(super) const FLAGS: [u8; 4] = [0x08, 0, 0, 0];

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= Self::HEADERS).then(|| Self {
            source_port: array(bytes, 0),
            destination_port: word(bytes, 2),
            length: word(bytes, 4),
            checksum: word(bytes, 6),
            flags: array(bytes, 8),
            vni: u32::from_be_bytes([0, bytes[12], bytes[13], bytes[14]]),
            reserved: bytes[15],
            body: bytes[16..].to_vec(),
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        [
            &self.source_port[..],
            &self.destination_port.to_be_bytes(),
            &self.length.to_be_bytes(),
            &self.checksum.to_be_bytes(),
            &self.flags,
            &self.vni.to_be_bytes()[1..],
            &[self.reserved],
            &self.body,
        ]
        .concat()
    }
}
