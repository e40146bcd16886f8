//! NAT: one address, maybe one port, the TTL, and every checksum that covers them.
//!
//! The sums are never recomputed: the agent knows what a rewrite adds to them
//! (the deltas), whatever the packet holds (RFC 1624).

use gateway_common::{Backend, Reason, SourceNat};

use super::parse::Flow;
use crate::{
    checksum,
    headers::{Ipv4, Tcp, Udp},
    packet::Packet,
};

/// Which end of the flow is rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// A rewrite of one end.
#[derive(Clone, Copy)]
struct Rewrite {
    side: Side,
    address: u32,
    port: Option<u16>,
    l3_delta: u16,
    l4_delta: u16,
}

/// Sends the packet at `at` to a backend.
#[inline(always)]
pub fn destination<P: Packet>(
    packet: &mut P,
    at: usize,
    flow: &Flow,
    backend: &Backend,
) -> Result<(), Reason> {
    let port = (backend.flags & Backend::FLAG_KEEP_PORT == 0).then_some(backend.port);
    apply(
        packet,
        at,
        flow,
        Rewrite {
            side: Side::Destination,
            address: backend.address[0],
            port,
            l3_delta: backend.l3_delta,
            l4_delta: backend.l4_delta,
        },
    )
}

/// Lets the packet at `at` come from the public address that its flow knows.
#[inline(always)]
pub fn source<P: Packet>(
    packet: &mut P,
    at: usize,
    flow: &Flow,
    nat: &SourceNat,
) -> Result<(), Reason> {
    let port = (nat.flags & Backend::FLAG_KEEP_PORT == 0).then_some(nat.port);
    apply(
        packet,
        at,
        flow,
        Rewrite {
            side: Side::Source,
            address: nat.address[0],
            port,
            l3_delta: nat.l3_delta,
            l4_delta: nat.l4_delta,
        },
    )
}

#[inline(always)]
fn apply<P: Packet>(packet: &mut P, at: usize, flow: &Flow, to: Rewrite) -> Result<(), Reason> {
    if flow.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let ip = packet.need_mut::<Ipv4>(at)?;
    match to.side {
        Side::Source => ip.source = to.address,
        Side::Destination => ip.destination = to.address,
    }
    ip.ttl = flow.ttl - 1;
    // The agent's delta includes the TTL's.
    ip.checksum = checksum::update(ip.checksum, to.l3_delta);
    if !flow.has_l4() {
        return Ok(());
    }
    let l4 = at + Ipv4::LEN;
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
        // ICMP has no pseudo header over IPv4; other protocols keep their sums.
        _ => {}
    }
    Ok(())
}
