//! IP packets as owned values, of either version.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    errors::is_error,
    sums,
    wire::{array, ethertype, protocol, word},
};

/// An IP packet without options, and whatever the frame holds behind its headers.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    /// What the header says of its version; the EtherType decides what it is.
    pub(super) version: u8,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// DSCP and ECN; the traffic class.
    pub(super) tos: u8,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    /// Protocol of the body.
    pub(super) protocol: u8,
    /// What the header says that comes next: an extension header, if there are any.
    pub(super) next: u8,
    /// Bytes in all, as the header says.
    pub(super) length: usize,
    pub(super) own: Own,
    /// IPv6 extension headers that were set apart from the body.
    pub(super) extensions: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// What only one of the versions has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Own {
    V4 {
        header_words: u8,
        id: u16,
        /// Flags and offset.
        fragment: u16,
        checksum: u16,
    },
    V6 {
        flow_label: u32,
        /// Of the fragment header: "more fragments" and offset, as IPv4 has them.
        fragment: u16,
    },
}

impl Packet {
    /// Reads the packet of a frame with this EtherType.
    pub(super) fn read(kind: u16, bytes: &[u8]) -> Option<Self> {
        match kind {
            ethertype::IPV4 => Self::read_v4(bytes),
            ethertype::IPV6 => Self::read_v6(bytes),
            _ => None,
        }
    }

    fn read_v4(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= 20).then(|| Self {
            version: bytes[0] >> 4,
            source: array::<4>(bytes, 12).into(),
            destination: array::<4>(bytes, 16).into(),
            tos: bytes[1],
            ttl: bytes[8],
            protocol: bytes[9],
            next: bytes[9],
            length: word(bytes, 2).into(),
            own: Own::V4 {
                header_words: bytes[0] & 15,
                id: word(bytes, 4),
                fragment: word(bytes, 6),
                checksum: word(bytes, 10),
            },
            extensions: Vec::new(),
            body: bytes[20..].to_vec(),
        })
    }

    fn read_v6(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= 40).then(|| Self {
            version: bytes[0] >> 4,
            source: array::<16>(bytes, 8).into(),
            destination: array::<16>(bytes, 24).into(),
            tos: bytes[0] << 4 | bytes[1] >> 4,
            ttl: bytes[7],
            protocol: bytes[6],
            next: bytes[6],
            length: 40 + usize::from(word(bytes, 4)),
            own: Own::V6 {
                flow_label: u32::from_be_bytes([0, bytes[1] & 15, bytes[2], bytes[3]]),
                fragment: 0,
            },
            extensions: Vec::new(),
            body: bytes[40..].to_vec(),
        })
    }

    /// Bytes of the header, and of the extension headers that were set apart.
    pub(super) fn header_length(&self) -> usize {
        match self.own {
            Own::V4 { .. } => 20,
            Own::V6 { .. } => 40 + self.extensions.len(),
        }
    }

    /// EtherType of a frame with such a packet.
    pub(super) fn ethertype(&self) -> u16 {
        match self.own {
            Own::V4 { .. } => ethertype::IPV4,
            Own::V6 { .. } => ethertype::IPV6,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut header = Vec::new();
        match self.own {
            Own::V4 {
                header_words,
                id,
                fragment,
                checksum,
            } => {
                header.extend([self.version << 4 | header_words, self.tos]);
                header.extend((self.length as u16).to_be_bytes());
                header.extend(id.to_be_bytes());
                header.extend(fragment.to_be_bytes());
                header.extend([self.ttl, self.next]);
                header.extend(checksum.to_be_bytes());
            }
            Own::V6 { flow_label, .. } => {
                let class = u32::from(self.tos) << 20;
                let first = u32::from(self.version) << 28 | class | flow_label;
                header.extend(first.to_be_bytes());
                header.extend((self.length as u16 - 40).to_be_bytes());
                header.extend([self.next, self.ttl]);
            }
        }
        header.extend(octets(self.source));
        header.extend(octets(self.destination));
        [header, self.extensions.clone(), self.body.clone()].concat()
    }

    /// Gives an IPv4 header the checksum that it should have.
    pub(super) fn seal(&mut self) {
        let sum = sums::right(&self.summed_header());
        if let Own::V4 { checksum, .. } = &mut self.own {
            *checksum = sum;
        }
    }

    /// Gives a UDP datagram over IPv6 the checksum that it should have, or one that is
    /// wrong by `error`.
    pub(super) fn seal_datagram(&mut self, error: u64) {
        let length = self.length - self.header_length();
        self.body[6..8].fill(0);
        let pseudo = self.pseudo(length);
        let sum = sums::right_of(&[&pseudo, &self.body[..length]]);
        let sum = sums::nonzero(sums::with_error(sum, error));
        self.body[6..8].copy_from_slice(&sum.to_be_bytes());
    }

    /// By how much the packet's own checksums are wrong, if there are some that cover
    /// all of it.
    pub(super) fn own_checksum_error(&self) -> Option<u64> {
        let length = self.length - self.header_length();
        let covers = match self.protocol {
            protocol::UDP => word(&self.body, 6) != 0 && usize::from(word(&self.body, 4)) == length,
            protocol => protocol == protocol::TCP || self.is_icmp(),
        };
        if !covers || self.is_fragment() || !self.extensions.is_empty() {
            return None;
        }
        let pseudo = match self.protocol {
            protocol::ICMP => Vec::new(),
            _ => self.pseudo(length),
        };
        let header = match self.own {
            Own::V4 { .. } => self.bytes()[..20].to_vec(),
            Own::V6 { .. } => Vec::new(),
        };
        let body = &self.body[..length];
        Some(sums::error(&[&header]) + sums::error(&[&pseudo, body]))
    }

    /// The pseudo header of a body of this length.
    fn pseudo(&self, length: usize) -> Vec<u8> {
        let addresses = [octets(self.source), octets(self.destination)].concat();
        let length = (length as u32).to_be_bytes();
        [&addresses[..], &length, &[0, 0, 0, self.protocol]].concat()
    }

    /// Changes the packet; its checksums follow, as right or wrong as they were.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.clone();
        change(self);
        self.carry_header_checksum(&before);
        if let Some(at) = self.checksum_at() {
            self.carry_checksum(&before, at);
        }
    }

    fn carry_header_checksum(&mut self, before: &Self) {
        let [was, is] = [before, self].map(|packet| packet.summed_header());
        if let Own::V4 { checksum, .. } = &mut self.own {
            *checksum = sums::carried(*checksum, &[&was], &[&is]);
        }
    }

    fn carry_checksum(&mut self, before: &Self, at: usize) {
        let ([was, was_in], [is, is_in]) = (before.summed(at), self.summed(at));
        if was == is && was_in == is_in {
            return;
        }
        let old = word(&before.body, at);
        let carried = sums::carried(old, &[&was_in, &was], &[&is_in, &is]);
        let sum = match self.protocol {
            // The sender computed none (RFC 768).
            protocol::UDP if old == 0 => 0,
            protocol::UDP => sums::nonzero(carried),
            _ => carried,
        };
        self.body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// What the header checksum covers: the header without it.
    fn summed_header(&self) -> Vec<u8> {
        let mut header = self.bytes();
        header.truncate(self.header_length());
        if let Own::V4 { .. } = self.own {
            header[10..12].fill(0);
        }
        header
    }

    /// What the layer-4 checksum at `at` covers: the body without it, and the pseudo
    /// header. The length in that is left out: it never changes. So may be bytes
    /// behind the packet's end in the body, for the same reason.
    fn summed(&self, at: usize) -> [Vec<u8>; 2] {
        let mut body = self.body.clone();
        body[at..at + 2].fill(0);
        let pseudo = match self.protocol {
            protocol::ICMP => Vec::new(),
            _ => [octets(self.source), octets(self.destination)].concat(),
        };
        [body, pseudo]
    }

    /// Where the layer-4 checksum lies in the body, if this piece of the packet has it.
    fn checksum_at(&self) -> Option<usize> {
        match self.protocol {
            _ if self.is_later_fragment() => None,
            protocol::TCP => Some(16),
            protocol::UDP => Some(6),
            _ if self.is_icmp() => Some(2),
            _ => None,
        }
    }

    /// Bytes that the layer-4 header must at least have.
    pub(super) fn least_body(&self) -> usize {
        match self.protocol {
            _ if self.is_later_fragment() => 0,
            protocol::TCP => 20,
            protocol::UDP => 8,
            _ if self.is_icmp() => 8,
            _ => 0,
        }
    }

    /// Whether it is ICMP of its own version.
    pub(super) fn is_icmp(&self) -> bool {
        match self.own {
            Own::V4 { .. } => self.protocol == protocol::ICMP,
            Own::V6 { .. } => self.protocol == protocol::ICMPV6,
        }
    }

    /// Whether it is a whole ICMP error, or the first piece of one.
    pub(super) fn is_icmp_error(&self) -> bool {
        let is_v4 = matches!(self.own, Own::V4 { .. });
        self.is_icmp() && !self.is_later_fragment() && is_error(is_v4, self.body.first())
    }

    /// A piece of a packet, the first one included.
    pub(super) fn is_fragment(&self) -> bool {
        self.fragment() & 0x3fff != 0
    }

    /// A piece that does not start with the layer-4 header.
    pub(super) fn is_later_fragment(&self) -> bool {
        self.fragment() & 0x1fff != 0
    }

    fn fragment(&self) -> u16 {
        match self.own {
            Own::V4 { fragment, .. } | Own::V6 { fragment, .. } => fragment,
        }
    }

    /// Makes sure that a TCP SYN asks for no larger segments than this; 0 is any.
    pub(super) fn lower_mss(&mut self, most: usize) {
        const SYN: u8 = 2;
        let is_tcp = self.protocol == protocol::TCP && !self.is_later_fragment();
        if most == 0 || !is_tcp || self.body[13] & SYN == 0 {
            return;
        }
        // The setting is for IPv4, whose header is 20 bytes shorter.
        let plain = self.header_length() - self.extensions.len();
        let most = most.saturating_sub(plain - 20) as u16;
        let header = usize::from(self.body[12] >> 4) * 4;
        if header > self.length - self.header_length() {
            return;
        }
        // It is looked for in the first place only.
        if header >= 24 && self.body[20..22] == [2, 4] {
            let size = word(&self.body, 22).min(most);
            self.body[22..24].copy_from_slice(&size.to_be_bytes());
        }
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
}

/// An address as it lies in a packet.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => Ipv4Addr::octets(&address).to_vec(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address).to_vec(),
    }
}
