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
    /// The new port, or echo identifier, as it lies in the packet.
    pub port: u16,
    /// Whether the old port stays instead. With an `Option` LLVM leaves the port's
    /// register unset where there is none, and the verifier of 6.1, which does not
    /// remember what the test of a flag said, refuses to see it stored.
    pub keep_port: bool,
    /// What address and TTL add to the IPv4 header checksum.
    pub l3_delta: u16,
    /// What address and port add to layer 4's checksum.
    pub l4_delta: u16,
}

impl<'t> Rewrite<'t> {
    /// To a backend.
    #[inline(always)]
    pub fn to(backend: &'t Backend) -> Self {
        Self {
            side: Side::Destination,
            address: &backend.address,
            port: backend.port,
            keep_port: backend.flags & Backend::FLAG_KEEP_PORT != 0,
            l3_delta: backend.l3_delta,
            l4_delta: backend.l4_delta,
        }
    }

    /// The same where another rewrite takes the hop off already.
    #[inline(always)]
    pub fn at_the_same_hop(self) -> Self {
        let l3_delta = checksum::add(self.l3_delta, !checksum::TTL_DELTA);
        Self { l3_delta, ..self }
    }

    /// From the public address that a flow knows.
    #[inline(always)]
    pub fn from(nat: &'t SourceNat) -> Self {
        Self {
            side: Side::Source,
            address: &nat.address,
            port: nat.port,
            keep_port: nat.flags & Backend::FLAG_KEEP_PORT != 0,
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
            match (to.side, to.keep_port) {
                (Side::Source, false) => tcp.source = to.port,
                (Side::Destination, false) => tcp.destination = to.port,
                (_, true) => {}
            }
        }
        Ipv4::UDP => {
            let udp = packet.need_mut::<Udp>(l4)?;
            udp.checksum = checksum::update_udp(udp.checksum, to.l4_delta);
            match (to.side, to.keep_port) {
                (Side::Source, false) => udp.source = to.port,
                (Side::Destination, false) => udp.destination = to.port,
                (_, true) => {}
            }
        }
        protocol if protocol == F::ICMP && (F::ICMP_COVERS_ADDRESSES || !to.keep_port) => {
            let icmp = packet.need_mut::<Icmp>(l4)?;
            icmp.checksum = checksum::update(icmp.checksum, to.l4_delta);
            if !to.keep_port {
                icmp.id = to.port;
            }
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
