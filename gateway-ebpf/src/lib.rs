//! Lingyun's packet path.
//!
//! The whole way of a packet reads here, top to bottom; each step is a file in
//! [`stages`]. A step returns what the next one needs, or the [`Reason`] why the
//! packet's way ends. Nothing here knows of the kernel: the same code runs in the
//! XDP program (see `bpf/`) and under `cargo test` on a packet in a `Vec`.
#![no_std]

#[cfg(not(target_arch = "bpf"))]
extern crate std;

pub mod bucket;
#[cfg(not(target_arch = "bpf"))]
pub mod buffer;
pub mod checksum;
pub mod hash;
pub mod headers;
pub mod packet;
pub mod stages;

use gateway_common::Reason;
use headers::{Ethernet, OuterV4};
use packet::{Packet, Tables, Verdict};
use stages::{answer, balance, endpoint, parse, reverse, rewrite, source, tunnel, uplink, vxlan};

/// Where the IP header lies in a plain frame.
pub const IP: usize = Ethernet::LEN;
/// Where the inner Ethernet header lies in a VXLAN frame.
pub const INNER: usize = OuterV4::LEN;
/// Where the inner IP header lies in a VXLAN frame.
pub const INNER_IP: usize = INNER + Ethernet::LEN;

/// A frame from the public network.
#[inline(always)]
pub fn public<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.len();
    finish(to_instance(packet, tables), tables, bytes)
}

/// A frame from the underlay.
#[inline(always)]
pub fn underlay<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.len();
    finish(from_instance(packet, tables), tables, bytes)
}

/// A frame from an interface that is both: VXLAN for one of our VTEPs is the
/// underlay's, all else the public network's.
#[inline(always)]
pub fn single_arm<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.len();
    let result = match from_instance(packet, tables) {
        Err(Reason::NotVxlan | Reason::NotOurs | Reason::NotIp | Reason::L2Multicast) => {
            to_instance(packet, tables)
        }
        result => result,
    };
    finish(result, tables, bytes)
}

/// Public side in: address, backend, DNAT, VXLAN.
#[inline(always)]
fn to_instance<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<u32, Reason> {
    match parse::ethernet(packet, 0)? {
        Ethernet::IPV4 => {}
        Ethernet::ARP => return Err(answer::arp(packet, tables)?),
        kind => return Err(parse::not_ip(kind)),
    }
    parse::unicast(packet)?;
    let flow = match parse::ipv4(packet, IP) {
        Ok(flow) => flow,
        Err(reason) => return Err(endpoint::refuse(packet, tables, reason)),
    };
    let endpoint = endpoint::find(tables, &flow)?;
    if endpoint::is_for_us(endpoint, &flow)? {
        return Err(answer::echo(packet, IP)?);
    }
    let hash = flow.hash(tables);
    let backend = balance::choose(tables, endpoint, &flow, hash)?;
    let bytes = packet.len();
    let tunnel = tunnel::towards(tables, backend.tunnel, bytes - IP)?;
    rewrite::destination(packet, IP, &flow, backend)?;
    vxlan::push(packet, tunnel, backend, &flow, hash)?;
    tables.count_in(backend.counter, bytes);
    Ok(tunnel.port)
}

/// Underlay side in: who sends, reverse NAT, out.
#[inline(always)]
fn from_instance<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<u32, Reason> {
    let outer = vxlan::open(packet, tables)?;
    match parse::ethernet(packet, INNER)? {
        Ethernet::IPV4 => {}
        Ethernet::ARP => return Err(answer::arp_inside(packet, tables, &outer)?),
        _ => return Err(Reason::InnerNotIp),
    }
    let flow = parse::ipv4(packet, INNER_IP)?;
    let (index, instance) = source::instance(tables, &outer, flow.source)?;
    source::addressed_to_router(packet, instance)?;
    if source::asks_router(tables, &outer, &flow) {
        return Err(answer::echo_inside(packet)?);
    }
    let nat = reverse::find(tables, index, instance, &flow)?;
    let bytes = packet.len() - INNER;
    let uplink = uplink::choose(tables, &outer, bytes - Ethernet::LEN)?;
    rewrite::source(packet, INNER_IP, &flow, nat)?;
    vxlan::pop(packet, uplink)?;
    tables.count_out(nat.counter, bytes);
    Ok(uplink.port)
}

#[inline(always)]
fn finish<T: Tables>(result: Result<u32, Reason>, tables: &T, bytes: usize) -> Verdict {
    match result {
        Ok(port) => Verdict::Redirect(port),
        Err(reason) => {
            tables.count_reason(reason, bytes);
            Verdict::End(reason)
        }
    }
}
