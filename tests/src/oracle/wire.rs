//! Headers as owned values: read from bytes, written back to bytes. IP is in [`super::ip`].

use std::net::Ipv4Addr;

/// A MAC address.
pub(super) type Mac = [u8; 6];

/// EtherTypes (IANA).
pub(super) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const QINQ: u16 = 0x88a8;
}

/// IP protocol numbers (IANA).
pub(super) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ICMPV6: u8 = 58;
}

pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
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
