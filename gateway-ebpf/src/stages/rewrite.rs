//! NAT: one address, maybe one port, the TTL, and every checksum that covers them.
//!
//! The sums are never recomputed: it is known what a rewrite adds to them (the
//! deltas), whatever the packet holds (RFC 1624).

use gateway_common::{Address, Backend, Reason, SourceNat};

use super::parse::Flow;
use crate::{
    checksum,
    family::{Family, Side},
    headers::{Icmp, Ipv4, Tcp, Udp},
    packet::Packet,
};

/// A rewrite of one end of a flow.
#[derive(Clone, Copy)]
pub struct Rewrite<'t> {
    /// Which end.
    pub side: Side,
    /// The new address.
    pub address: &'t Address,
    /// The new port as it lies in the packet, if it changes.
    pub port: Option<u16>,
    /// What address and TTL add to the IPv4 header checksum.
    pub l3_delta: u16,
    /// What address and port add to the checksum of TCP or UDP.
    pub l4_delta: u16,
}

impl<'t> Rewrite<'t> {
    /// To a backend.
    #[inline(always)]
    pub fn to(backend: &'t Backend) -> Self {
        Self {
            side: Side::Destination,
            address: &backend.address,
            port: (backend.flags & Backend::FLAG_KEEP_PORT == 0).then_some(backend.port),
            l3_delta: backend.l3_delta,
            l4_delta: backend.l4_delta,
        }
    }

    /// From the public address that a flow knows.
    #[inline(always)]
    pub fn from(nat: &'t SourceNat) -> Self {
        Self {
            side: Side::Source,
            address: &nat.address,
            port: (nat.flags & Backend::FLAG_KEEP_PORT == 0).then_some(nat.port),
            l3_delta: nat.l3_delta,
            l4_delta: nat.l4_delta,
        }
    }
}

/// Rewrites the packet at `at`, whose TTL [`alive`] has checked.
#[inline(always)]
pub fn apply<F: Family, P: Packet>(
    packet: &mut P,
    at: usize,
    flow: &Flow<F>,
    to: Rewrite<'_>,
) -> Result<(), Reason> {
    let ttl = flow.ttl.wrapping_sub(1);
    F::rewrite(packet, at, to.side, to.address, ttl, to.l3_delta)?;
    if !flow.has_l4() {
        return Ok(());
    }
    let l4 = at + flow.l4();
    match flow.protocol {
        Ipv4::TCP => {
            let tcp = packet.need_mut::<Tcp>(l4)?;
            tcp.checksum = checksum::update(tcp.checksum, to.l4_delta);
            match (to.side, to.port) {
                (Side::Source, Some(port)) => tcp.source = port,
                (Side::Destination, Some(port)) => tcp.destination = port,
                (_, None) => {}
            }
        }
        Ipv4::UDP => {
            let udp = packet.need_mut::<Udp>(l4)?;
            udp.checksum = checksum::update_udp(udp.checksum, to.l4_delta);
            match (to.side, to.port) {
                (Side::Source, Some(port)) => udp.source = port,
                (Side::Destination, Some(port)) => udp.destination = port,
                (_, None) => {}
            }
        }
        protocol if F::ICMP_COVERS_ADDRESSES && protocol == F::ICMP => {
            let icmp = packet.need_mut::<Icmp>(l4)?;
            icmp.checksum = checksum::update(icmp.checksum, to.l4_delta);
        }
        // Other protocols keep their sums.
        _ => {}
    }
    Ok(())
}

/// Whether the packet may take one more hop.
#[inline(always)]
pub fn alive<F: Family>(flow: &Flow<F>) -> Result<(), Reason> {
    if flow.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    Ok(())
}
