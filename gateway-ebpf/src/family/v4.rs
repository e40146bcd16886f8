//! IPv4 (RFC 791).

use gateway_common::{Address, Endpoint, EndpointKey, Hull, InstanceKey, Reason, Reference};

use super::{Family, OWN_TTL, Side};
use crate::{
    bucket, checksum, hash,
    headers::{Ethernet, Icmp, Ipv4},
    packet::{Packet, Tables},
    stages::{
        endpoint,
        parse::{self, Flow},
    },
};

/// IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4;

impl Family for V4 {
    type Address = u32;

    const VERSION: u8 = 4;
    const KIND: u16 = Ethernet::IPV4;
    const LEN: usize = Ipv4::LEN;
    const ICMP: u8 = Ipv4::ICMP;
    const ECHO_REQUEST: u8 = Icmp::ECHO_REQUEST;
    const ECHO_REPLY: u8 = Icmp::ECHO_REPLY;
    const ICMP_COVERS_ADDRESSES: bool = false;
    const ICMP_FINDS_NEIGHBOURS: bool = false;
    const IS_SHARED: bool = true;
    const UPLINKS: u32 = 0;

    #[inline(always)]
    fn address(words: &Address) -> u32 {
        words[0]
    }

    #[inline(always)]
    fn words(address: u32) -> Address {
        [address, 0, 0, 0]
    }

    #[inline(always)]
    fn wide(address: u32) -> [u64; 2] {
        [address as u64, 0]
    }

    #[inline(always)]
    fn header<P: Packet>(packet: &P, at: usize) -> Result<Flow<Self>, Reason> {
        let ip = packet.need::<Ipv4>(at)?;
        let length = u16::from_be(ip.length) as usize;
        let flow = Flow {
            source: ip.source,
            destination: ip.destination,
            ports: 0,
            length: length as u16,
            protocol: ip.protocol,
            ttl: ip.ttl,
            tos: ip.tos,
            tcp_flags: 0,
            fragment: ip.fragment & Ipv4::FRAGMENT_MASK,
            identification: ip.id as u32,
            extensions: 0,
            fragment_header: 0,
        };
        if ip.version_ihl != Ipv4::VERSION_IHL {
            return Err(match (ip.version_ihl >> 4, ip.version_ihl & 15) {
                (4, 0..5) => Reason::IpHeaderLength,
                (4, _) => Reason::IpOptions,
                _ => Reason::IpVersion,
            });
        }
        if length > packet.len() - at {
            return Err(Reason::Truncated);
        }
        Ok(flow)
    }

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, at: usize) -> Result<Flow<Self>, Reason> {
        let mut flow = Self::header(packet, at)?;
        if (flow.length as usize) < Ipv4::LEN {
            return Err(Reason::Truncated);
        }
        parse::layer4(packet, at, &mut flow)?;
        Ok(flow)
    }

    #[inline(always)]
    fn destination<P: Packet>(packet: &P, at: usize) -> Option<u32> {
        let ip = packet.view::<Ipv4>(at)?;
        let says_for_whom = ip.version_ihl >= Ipv4::VERSION_IHL && ip.version_ihl < 0x50;
        says_for_whom.then_some(ip.destination)
    }

    #[inline(always)]
    fn endpoint_at<T: Tables>(tables: &T, address: u32) -> Option<Endpoint> {
        endpoint::get(tables, EndpointKey::address_v4(address))
    }

    #[inline(always)]
    fn endpoint<T: Tables>(tables: &T, address: u32, protocol: u8, port: u16) -> Option<Endpoint> {
        if port != 0
            && let Some(found) = endpoint::get(tables, EndpointKey::v4(address, protocol, port))
        {
            return Some(found);
        }
        Self::endpoint_at(tables, address)
    }

    #[inline(always)]
    fn inner<T: Tables>(tables: &T, vni: u32, address: u32) -> Option<Reference> {
        let key = InstanceKey::v4(vni, address);
        bucket::find(key.0, |place| tables.instance_keys(place)).map(Reference)
    }

    #[inline(always)]
    fn is_inside(&[a, mask_a, b, mask_b]: &Hull, address: u32) -> bool {
        address & mask_a == a || address & mask_b == b
    }

    /// Link-local addresses (RFC 3927) are not told apart.
    #[inline(always)]
    fn is_never_routed(_: u32) -> bool {
        false
    }

    #[inline(always)]
    fn spread(address: u32) -> u32 {
        hash::spread(address as u64)
    }

    #[inline(always)]
    fn hash(seed: &[u64; 2], source: u32, destination: u32, ends: u64) -> u64 {
        hash::flow(seed, source as u64 | (destination as u64) << 32, ends)
    }

    #[inline(always)]
    fn rewrite<P: Packet>(
        packet: &mut P,
        at: usize,
        side: Side,
        address: &Address,
        ttl: u8,
        delta: u16,
    ) -> Result<(), Reason> {
        let ip = packet.need_mut::<Ipv4>(at)?;
        match side {
            Side::Source => ip.source = address[0],
            Side::Destination => ip.destination = address[0],
        }
        ip.ttl = ttl;
        ip.checksum = checksum::update(ip.checksum, delta);
        Ok(())
    }

    /// Atomic: with don't-fragment set the ID may be 0 (RFC 6864, section 4.1).
    #[inline(always)]
    fn write<P: Packet>(
        packet: &mut P,
        at: usize,
        (source, destination): (u32, u32),
        (protocol, tos): (u8, u8),
        payload: usize,
    ) -> Result<(), Reason> {
        let length = ((Ipv4::LEN + payload) as u16).to_be();
        let ip = packet.need_mut::<Ipv4>(at)?;
        ip.version_ihl = Ipv4::VERSION_IHL;
        ip.tos = tos;
        ip.length = length;
        ip.id = 0;
        ip.fragment = Ipv4::DONT_FRAGMENT;
        ip.ttl = OWN_TTL;
        ip.protocol = protocol;
        ip.source = source;
        ip.destination = destination;
        let ([a, b], [c, d]) = (checksum::halves(source), checksum::halves(destination));
        let first = u16::from_ne_bytes([Ipv4::VERSION_IHL, tos]);
        let fifth = u16::from_ne_bytes([OWN_TTL, protocol]);
        let words = [first, length, Ipv4::DONT_FRAGMENT, fifth, a, b, c, d];
        ip.checksum = !checksum::delta(&[], &words);
        Ok(())
    }

    /// The header sums up to nothing by its own checksum, and so does ICMP.
    #[inline(always)]
    fn sum_by_checksums<P: Packet>(
        packet: &P,
        at: usize,
        flow: &Flow<Self>,
    ) -> Result<u16, Reason> {
        if flow.protocol == Self::ICMP {
            return Ok(0);
        }
        let ip = packet.need::<Ipv4>(at)?;
        let addresses = ip.source as u64 + ip.destination as u64;
        let rest = parse::pseudo(flow.protocol, flow.length - Self::LEN as u16);
        Ok(!checksum::fold_wide(addresses + rest))
    }

    #[inline(always)]
    fn turn_round<P: Packet>(packet: &mut P, at: usize, ttl: u8) -> Result<(), Reason> {
        let ip = packet.need_mut::<Ipv4>(at)?;
        (ip.source, ip.destination) = (ip.destination, ip.source);
        let old = u16::from_ne_bytes([ip.ttl, 0]);
        let new = u16::from_ne_bytes([ttl, 0]);
        ip.ttl = ttl;
        ip.checksum = checksum::update(ip.checksum, checksum::delta(&[old], &[new]));
        Ok(())
    }
}
