//! ICMP errors: what IPv4's (RFC 792) and IPv6's (RFC 4443) have in common, and where
//! they differ.

use gateway_common::{Interface, Reason};

use super::{Family, V4, V6};
use crate::{
    checksum,
    headers::{Ipv4, Ipv6},
    packet::Packet,
    stages::parse::Flow,
};

/// Type and code of an ICMP message.
type Kind = (u8, u8);

/// A family's ICMP errors.
pub trait Errors: Family {
    /// "Fragmentation needed" or "packet too big"; the MTU fills the second word of the
    /// header (RFC 1191, section 4; RFC 4443, section 3.2).
    const TOO_BIG: Kind;
    /// The TTL or hop limit ran out on the way.
    const TIME_EXCEEDED: Kind;
    /// Bytes of the refused packet that an error quotes at most: then the error has 576
    /// bytes (RFC 1812, section 4.3.2.3), or IPv6's least MTU (RFC 4443, section 2.4 c).
    const QUOTED: usize;
    /// DSCP and ECN of errors: "internetwork control" (RFC 1812, section 4.3.2.5).
    const TOS: u8 = 0xc0;

    /// Whether an ICMP type is an error, which no error may answer (RFC 1122, section
    /// 3.2.2; RFC 4443, section 2.4 e).
    fn is_error(kind: u8) -> bool;

    /// Whether an error of this type is handed on to whom it is about.
    fn is_translated(kind: u8) -> bool;

    /// The flow of the packet that an error quotes at `at`, without its ports: a quote
    /// may end anywhere behind its IP header, so nothing is said of its length.
    fn quoted<P: Packet>(packet: &P, at: usize) -> Result<Flow<Self>, Reason>;

    /// Whether an address names one machine that could be told something (RFC 1812,
    /// section 4.3.2.7; RFC 4443, section 2.4 e).
    fn is_one_host(address: Self::Address) -> bool;

    /// An interface's own address, if it has one.
    fn address_of(interface: &Interface) -> Option<Self::Address>;

    /// What the addresses add to an ICMP checksum over `payload` bytes.
    fn covered(source: Self::Address, destination: Self::Address, payload: usize) -> u16;
}

impl Errors for V4 {
    const TOO_BIG: Kind = (3, 4);
    const TIME_EXCEEDED: Kind = (11, 0);
    const QUOTED: usize = 576 - Ipv4::LEN - 8;

    /// Destination unreachable, source quench, redirect, time exceeded, parameter
    /// problem.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 4 | 5 | 11 | 12)
    }

    /// Source quench is not handed on (RFC 6633, section 4), and a redirect speaks of a
    /// link that its receiver is not on.
    #[inline(always)]
    fn is_translated(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    fn quoted<P: Packet>(packet: &P, at: usize) -> Result<Flow<Self>, Reason> {
        let ip = packet.view::<Ipv4>(at).ok_or(Reason::IcmpQuote)?;
        let options = (ip.version_ihl & 15).wrapping_sub(5);
        if ip.version_ihl >> 4 != 4 || options > 10 {
            return Err(Reason::IcmpQuote);
        }
        Ok(Flow {
            source: ip.source,
            destination: ip.destination,
            ports: 0,
            length: u16::from_be(ip.length),
            protocol: ip.protocol,
            ttl: ip.ttl,
            tos: ip.tos,
            tcp_flags: 0,
            fragment: ip.fragment & Ipv4::FRAGMENT_MASK,
            // Options are no obstacle (RFC 5508, section 4.2, requirement 3 b).
            identification: ip.id as u32,
            extensions: options as u16 * 4,
            fragment_header: 0,
        })
    }

    #[inline(always)]
    fn is_one_host(address: u32) -> bool {
        let first = address as u8;
        // "This" network, loopback; multicast, reserved, broadcast.
        first != 0 && first != 127 && first < 224
    }

    #[inline(always)]
    fn address_of(interface: &Interface) -> Option<u32> {
        let address = Self::address(&interface.v4);
        (address != 0).then_some(address)
    }

    #[inline(always)]
    fn covered(_: u32, _: u32, _: usize) -> u16 {
        0
    }
}

impl Errors for V6 {
    const TOO_BIG: Kind = (2, 0);
    const TIME_EXCEEDED: Kind = (3, 0);
    const QUOTED: usize = 1_280 - Ipv6::LEN - 8;

    /// Errors have the high bit clear (RFC 4443, section 2.1); redirects must not be
    /// answered either.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        kind < 128 || kind == 137
    }

    /// Destination unreachable, packet too big, time exceeded, parameter problem.
    #[inline(always)]
    fn is_translated(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    fn quoted<P: Packet>(packet: &P, at: usize) -> Result<Flow<Self>, Reason> {
        let ip = packet.view::<Ipv6>(at).ok_or(Reason::IcmpQuote)?;
        let word = u32::from_be(ip.version_class_flow);
        if word >> 28 != 6 || Ipv6::is_extension(ip.next_header) {
            return Err(Reason::IcmpQuote);
        }
        Ok(Flow {
            source: ip.source,
            destination: ip.destination,
            ports: 0,
            length: u16::from_be(ip.payload_length).saturating_add(Ipv6::LEN as u16),
            protocol: ip.next_header,
            ttl: ip.hop_limit,
            tos: (word >> 20) as u8,
            tcp_flags: 0,
            fragment: 0,
            identification: 0,
            extensions: 0,
            fragment_header: 0,
        })
    }

    #[inline(always)]
    fn is_one_host([a, b]: [u64; 2]) -> bool {
        let unspecified_or_loopback = a == 0 && (b == 0 || b == 1u64.to_be());
        let multicast = a as u8 == 0xff;
        !unspecified_or_loopback && !multicast
    }

    #[inline(always)]
    fn address_of(interface: &Interface) -> Option<[u64; 2]> {
        let [a, b] = Self::address(&interface.v6);
        (a | b != 0).then_some([a, b])
    }

    /// The pseudo header of RFC 8200, section 8.1.
    #[inline(always)]
    fn covered(source: [u64; 2], destination: [u64; 2], payload: usize) -> u16 {
        let [a, b] = source.map(checksum::fold_wide);
        let [c, d] = destination.map(checksum::fold_wide);
        let fixed = (payload as u16).to_be() as u32 + u16::from_ne_bytes([0, Ipv6::ICMP]) as u32;
        checksum::fold(a as u32 + b as u32 + c as u32 + d as u32 + fixed)
    }
}
