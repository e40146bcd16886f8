//! ICMP errors of others: they quote a packet, and concern the flow that it belongs to.

use std::net::IpAddr;

use gateway_common::Reason;

use super::{
    errors::is_error,
    ip::{Own, Packet, octets},
    sums,
    wire::{array, protocol, word},
};

/// Bytes of an error in front of what it quotes.
const HEADER: usize = 8;

/// The packet that an error quotes, with as much of it as the error has.
#[derive(Clone, Debug)]
pub(super) struct Quoted {
    /// Its addresses, and its protocol.
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    protocol: u8,
    /// A piece of a packet that does not start with the layer-4 header.
    pub(super) is_later_fragment: bool,
    /// Where its layer 4 starts, in the quote.
    l4: usize,
    bytes: Vec<u8>,
}

impl Quoted {
    /// What an error quotes, if that is something to go by.
    pub(super) fn read(error: &Packet) -> Result<Self, Reason> {
        let is_v4 = matches!(error.own, Own::V4 { .. });
        let kind = error.body[0];
        let translated = match is_v4 {
            true => matches!(kind, 3 | 11 | 12),
            false => (1..=4).contains(&kind),
        };
        if !translated {
            return Err(Reason::IcmpKind);
        }
        // Behind the packet's end there may be padding.
        let bytes = error.body[HEADER..error.length - error.header_length()].to_vec();
        let quoted = match is_v4 {
            true => Self::read_v4(bytes),
            false => Self::read_v6(bytes),
        };
        let quoted = quoted.ok_or(Reason::IcmpQuote)?;
        if !quoted.is_later_fragment && quoted.bytes.len() < quoted.l4 + 8 {
            return Err(Reason::IcmpQuote);
        }
        let (icmp, errors) = match is_v4 {
            true => (protocol::ICMP, is_error(true, quoted.bytes.get(quoted.l4))),
            false => (
                protocol::ICMPV6,
                is_error(false, quoted.bytes.get(quoted.l4)),
            ),
        };
        // No error is sent about an error.
        if quoted.protocol == icmp && !quoted.is_later_fragment && errors {
            return Err(Reason::IcmpQuote);
        }
        Ok(quoted)
    }

    fn read_v4(bytes: Vec<u8>) -> Option<Self> {
        let words = usize::from(bytes.first()? & 15);
        let sound = bytes[0] >> 4 == 4 && words >= 5 && bytes.len() >= words * 4;
        sound.then(|| Self {
            source: array::<4>(&bytes, 12).into(),
            destination: array::<4>(&bytes, 16).into(),
            protocol: bytes[9],
            is_later_fragment: word(&bytes, 6) & 0x1fff != 0,
            l4: words * 4,
            bytes,
        })
    }

    fn read_v6(bytes: Vec<u8>) -> Option<Self> {
        let sound = bytes.len() >= 40 && bytes[0] >> 4 == 6;
        // What lies behind extension headers is not looked for.
        (sound && !matches!(bytes[6], 0 | 43 | 44 | 51 | 60)).then(|| Self {
            source: array::<16>(&bytes, 8).into(),
            destination: array::<16>(&bytes, 24).into(),
            protocol: bytes[6],
            is_later_fragment: false,
            l4: 40,
            bytes,
        })
    }

    /// A packet of the same flow that goes the other way, with nothing in it but ports.
    pub(super) fn forward(&self) -> Packet {
        let mut ports = vec![0; 4];
        if self.has_ports() {
            ports[..2].copy_from_slice(&self.bytes[self.l4 + 2..self.l4 + 4]);
            ports[2..].copy_from_slice(&self.bytes[self.l4..self.l4 + 2]);
        }
        let own = match self.source {
            IpAddr::V4(_) => Own::V4 {
                header_words: 5,
                id: 0,
                fragment: u16::from(self.is_later_fragment),
                checksum: 0,
            },
            IpAddr::V6(_) => Own::V6 {
                flow_label: 0,
                fragment: 0,
            },
        };
        Packet {
            version: 4,
            source: self.destination,
            destination: self.source,
            tos: 0,
            ttl: 64,
            protocol: self.protocol,
            next: self.protocol,
            length: 0,
            own,
            extensions: Vec::new(),
            body: ports,
        }
    }

    fn has_ports(&self) -> bool {
        matches!(self.protocol, protocol::TCP | protocol::UDP) && !self.is_later_fragment
    }

    /// Puts into `error` what it quotes, with another source.
    pub(super) fn from(self, error: &mut Packet, address: IpAddr, port: Option<u16>) {
        let offsets = match address {
            IpAddr::V4(_) => (12, 0),
            IpAddr::V6(_) => (8, 0),
        };
        self.replace(error, offsets, address, port);
    }

    /// Puts into `error` what it quotes, with another destination.
    pub(super) fn to(self, error: &mut Packet, address: IpAddr, port: Option<u16>) {
        let offsets = match address {
            IpAddr::V4(_) => (16, 2),
            IpAddr::V6(_) => (24, 2),
        };
        self.replace(error, offsets, address, port);
    }

    /// The address is at the first offset in the header, the port at the second one in
    /// layer 4.
    fn replace(
        mut self,
        error: &mut Packet,
        (address_at, port_at): (usize, usize),
        address: IpAddr,
        port: Option<u16>,
    ) {
        let is = octets(address);
        let was = self.bytes[address_at..address_at + is.len()].to_vec();
        self.bytes[address_at..address_at + is.len()].copy_from_slice(&is);
        if address.is_ipv4() {
            self.carry(10, &was, &is);
        }
        let at = self.l4 + port_at;
        let (mut old, mut new) = (was, is);
        if let (true, Some(port)) = (self.has_ports(), port) {
            old.extend_from_slice(&self.bytes[at..at + 2]);
            new.extend(port.to_be_bytes());
            self.bytes[at..at + 2].copy_from_slice(&port.to_be_bytes());
        }
        let checksum = match self.protocol {
            _ if self.is_later_fragment => None,
            protocol::TCP => Some(16),
            protocol::UDP => Some(6),
            protocol::ICMPV6 if address.is_ipv6() => Some(2),
            _ => None,
        };
        // It may be more than what is quoted.
        if let Some(at) = checksum.map(|at| self.l4 + at)
            && at + 2 <= self.bytes.len()
        {
            let sum = word(&self.bytes, at);
            if self.protocol != protocol::UDP || sum != 0 {
                self.carry(at, &old, &new);
            }
            if self.protocol == protocol::UDP && sum != 0 {
                let sum = sums::nonzero(word(&self.bytes, at));
                self.bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
        }
        let end = HEADER + self.bytes.len();
        error.body[HEADER..end].copy_from_slice(&self.bytes);
    }

    fn carry(&mut self, at: usize, was: &[u8], is: &[u8]) {
        let sum = sums::carried(word(&self.bytes, at), &[was], &[is]);
        self.bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}
