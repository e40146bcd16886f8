//! IPv6 (RFC 8200).

use gateway_common::{
    Address, Endpoint, EndpointKey, Hull, Reason, Reference, UPLINK_SLOTS, WideSlot,
};

use super::{Family, OWN_TTL, Side, extensions};
use crate::{
    bucket, checksum, hash,
    headers::{Ethernet, Icmp, Ipv6},
    packet::{Packet, Tables},
    stages::{
        endpoint,
        parse::{self, Flow},
    },
};

/// Where the addresses begin that no router forwards to: link-local, what once was
/// site-local, multicast (RFC 4291, section 2.4).
const NEVER_ROUTED: u16 = 0xfe80;

/// IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6;

impl Family for V6 {
    /// Two words are loaded and compared faster than four.
    type Address = [u64; 2];

    const VERSION: u8 = 6;
    const KIND: u16 = Ethernet::IPV6;
    const LEN: usize = Ipv6::LEN;
    const ICMP: u8 = Ipv6::ICMP;
    const ECHO_REQUEST: u8 = Icmp::V6_ECHO_REQUEST;
    const ECHO_REPLY: u8 = Icmp::V6_ECHO_REPLY;
    const ICMP_COVERS_ADDRESSES: bool = true;
    const ICMP_FINDS_NEIGHBOURS: bool = true;
    const IS_SHARED: bool = false;
    const UPLINKS: u32 = UPLINK_SLOTS;

    #[inline(always)]
    fn address(&[a, b, c, d]: &Address) -> [u64; 2] {
        [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32]
    }

    #[inline(always)]
    fn words([a, b]: [u64; 2]) -> Address {
        [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
    }

    #[inline(always)]
    fn wide(address: [u64; 2]) -> [u64; 2] {
        address
    }

    #[inline(always)]
    fn header<P: Packet>(packet: &P, at: usize) -> Result<Flow<Self>, Reason> {
        let ip = packet.need::<Ipv6>(at)?;
        let word = u32::from_be(ip.version_class_flow);
        let payload = u16::from_be(ip.payload_length) as usize;
        let flow = Flow {
            source: ip.source,
            destination: ip.destination,
            ports: 0,
            length: (Ipv6::LEN + payload) as u16,
            protocol: ip.next_header,
            ttl: ip.hop_limit,
            tos: (word >> 20) as u8,
            tcp_flags: 0,
            fragment: 0,
            identification: 0,
            extensions: 0,
            fragment_header: 0,
        };
        if word >> 28 != 6 {
            return Err(Reason::IpVersion);
        }
        // Jumbograms have length 0 (RFC 2675): they are cut short, too.
        if Ipv6::LEN + payload > packet.len() - at || payload > Ipv6::LONGEST_PAYLOAD {
            return Err(Reason::Truncated);
        }
        Ok(flow)
    }

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, at: usize) -> Result<Flow<Self>, Reason> {
        let mut flow = Self::header(packet, at)?;
        extensions::follow(packet, at, &mut flow)?;
        parse::layer4(packet, at, &mut flow)?;
        Ok(flow)
    }

    #[inline(always)]
    fn destination<P: Packet>(packet: &P, at: usize) -> Option<[u64; 2]> {
        let ip = packet.view::<Ipv6>(at)?;
        (u32::from_be(ip.version_class_flow) >> 28 == 6).then_some(ip.destination)
    }

    #[inline(always)]
    fn endpoint_at<T: Tables>(tables: &T, address: [u64; 2]) -> Option<Endpoint> {
        bucket::find_wide(WideSlot::PUBLIC, address, |place| tables.addresses(place)).map(Endpoint)
    }

    #[inline(always)]
    fn endpoint<T: Tables>(
        tables: &T,
        address: [u64; 2],
        protocol: u8,
        port: u16,
    ) -> Option<Endpoint> {
        let found = Self::endpoint_at(tables, address)?;
        if port != 0 {
            let key = EndpointKey::v6(found.number(), protocol, port);
            if let Some(service) = endpoint::get(tables, key) {
                return Some(service);
            }
        }
        Some(found)
    }

    #[inline(always)]
    fn inner<T: Tables>(tables: &T, vni: u32, address: [u64; 2]) -> Option<Reference> {
        let scope = vni & gateway_common::VNI_MASK;
        bucket::find_wide(scope, address, |place| tables.addresses(place)).map(Reference)
    }

    #[inline(always)]
    fn is_inside(&[a, b, mask_a, mask_b]: &Hull, address: [u64; 2]) -> bool {
        let (prefix, mask) = (
            a as u64 | (b as u64) << 32,
            mask_a as u64 | (mask_b as u64) << 32,
        );
        address[0] & mask == prefix || Self::is_never_routed(address)
    }

    #[inline(always)]
    fn is_never_routed([a, _]: [u64; 2]) -> bool {
        u16::from_be(a as u16) >= NEVER_ROUTED
    }

    #[inline(always)]
    fn spread([a, b]: [u64; 2]) -> u32 {
        hash::spread(a.rotate_left(32) ^ b)
    }

    #[inline(always)]
    fn hash(seed: &[u64; 2], source: [u64; 2], destination: [u64; 2], ends: u64) -> u64 {
        let [a, b] = [hash::mix(seed[0], source), hash::mix(seed[1], destination)];
        hash::flow(seed, a ^ b.rotate_left(32), ends)
    }

    #[inline(always)]
    fn rewrite<P: Packet>(
        packet: &mut P,
        at: usize,
        side: Side,
        address: &Address,
        ttl: u8,
        _delta: u16,
    ) -> Result<(), Reason> {
        let [a, b] = Self::address(address);
        let ip = packet.need_mut::<Ipv6>(at)?;
        match side {
            Side::Source => (ip.source[0], ip.source[1]) = (a, b),
            Side::Destination => (ip.destination[0], ip.destination[1]) = (a, b),
        }
        ip.hop_limit = ttl;
        Ok(())
    }

    /// The addresses are in the header as in the pseudo header, so they cancel out.
    #[inline(always)]
    fn sum_by_checksums<P: Packet>(
        packet: &P,
        at: usize,
        flow: &Flow<Self>,
    ) -> Result<u16, Reason> {
        let ip = packet.need::<Ipv6>(at)?;
        let ends = u16::from_ne_bytes([ip.next_header, ip.hop_limit]);
        let header = ip.version_class_flow as u64 + ip.payload_length as u64 + ends as u64;
        let pseudo = parse::pseudo(flow.protocol, flow.length - Self::LEN as u16);
        Ok(checksum::fold_wide(
            header + !checksum::fold_wide(pseudo) as u64,
        ))
    }

    #[inline(always)]
    fn write<P: Packet>(
        packet: &mut P,
        at: usize,
        (source, destination): ([u64; 2], [u64; 2]),
        (protocol, tos): (u8, u8),
        payload: usize,
    ) -> Result<(), Reason> {
        let ip = packet.need_mut::<Ipv6>(at)?;
        ip.version_class_flow = (6 << 28 | (tos as u32) << 20).to_be();
        ip.payload_length = (payload as u16).to_be();
        ip.next_header = protocol;
        ip.hop_limit = OWN_TTL;
        (ip.source[0], ip.source[1]) = (source[0], source[1]);
        (ip.destination[0], ip.destination[1]) = (destination[0], destination[1]);
        Ok(())
    }

    #[inline(always)]
    fn turn_round<P: Packet>(packet: &mut P, at: usize, ttl: u8) -> Result<(), Reason> {
        let ip = packet.need_mut::<Ipv6>(at)?;
        let ([a, b], [c, d]) = (ip.source, ip.destination);
        (ip.source[0], ip.source[1]) = (c, d);
        (ip.destination[0], ip.destination[1]) = (a, b);
        ip.hop_limit = ttl;
        Ok(())
    }
}
