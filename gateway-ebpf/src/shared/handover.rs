//! What gateways do for each other: the network may bring an answer to any of them, but
//! only the one that handed out the port knows whose it is.

use gateway_common::{Endpoint, Note, Reason, SnatSetting, Tunnel, VNI_MASK};

use super::{can_reach, port_of, quoted};
use crate::{
    IP,
    family::{Errors, Family, V4},
    hash,
    headers::Ethernet,
    outer::Outer,
    packet::{Exit, Packet, Tables},
    push,
    stages::{
        endpoint, icmp_error, mss,
        parse::{self, Flow},
        rewrite,
        snat::{self, Mapping},
        source, tunnel,
        vxlan::{self, Inside, Opened},
    },
};

/// From the public network to the gateway whose port it is, as it came.
#[inline(always)]
pub fn hand_over<O: Outer, P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<u32, Exit> {
    match parse::ethernet(packet, 0)? {
        V4::KIND => wrap::<O, V4, P, T>(packet, tables),
        kind => Err(parse::not_ip(kind).into()),
    }
}

#[inline(always)]
fn wrap<O: Outer, F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    let flow = F::parse(packet, IP)?;
    // Both gateways are one hop, which the owner of the port counts.
    let tunnel = to_owner(tables)?;
    can_reach(packet, IP, &flow, tunnel)?;
    let macs = packet.need::<Ethernet>(0)?.macs;
    let inside = between_gateways(tables, &macs);
    push::<O, F, P, true>(packet, &flow, (inside, tunnel), flow.hash(tables))?;
    Ok(tunnel.port)
}

/// The tunnel to the gateway that hands out the share in question.
#[inline(always)]
pub fn to_owner<T: Tables>(tables: &T) -> Result<&Tunnel, Reason> {
    let owner = tables.snat_share(tables.noted(Note::Share)).unwrap_or(0);
    if owner == 0 {
        return Err(Reason::SnatNoOwner);
    }
    tunnel::at(tables, owner)
}

/// The network in which gateways hand packets over. The MACs there say nothing.
#[inline(always)]
pub fn between_gateways<'m, T: Tables>(tables: &T, macs: &'m gateway_common::Macs) -> Inside<'m> {
    Inside {
        macs,
        vni: tables.snat(SnatSetting::HANDOVER),
    }
}

/// Whether a gateway handed this packet over, or somebody says so.
#[inline(always)]
pub fn is_one<O: Outer, T: Tables>(tables: &T, outer: &Opened<O>) -> bool {
    let vni = tables.snat(SnatSetting::HANDOVER);
    vni != 0 && outer.vni & VNI_MASK == vni
}

/// What another gateway got for a port of ours: the outer headers are written anew,
/// towards the instance.
#[inline(always)]
pub fn handed_over<O: Outer, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    let outer = vxlan::open::<O, P, T>(packet, tables)?;
    source::gateway::<O, T>(tables, &outer)?;
    let result = match parse::ethernet(packet, O::LEN)? {
        V4::KIND => unwrap::<O, V4, P, T>(packet, tables),
        _ => Err(Reason::InnerNotIp.into()),
    };
    result.map_err(|exit| match exit {
        // No circles: the gateways do not agree on who hands out what.
        Exit::Continue(_) => Reason::HandedOverTwice.into(),
        // Its sender is not on this side.
        Exit::Refuse(reason, _) => Exit::End(reason),
        exit => exit,
    })
}

#[inline(always)]
fn unwrap<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    let at = O::INNER_IP;
    let flow = F::parse(packet, at)?;
    if flow.protocol == F::ICMP && !flow.is_fragment() && icmp_error::is_one(packet, at, &flow)? {
        return error::<O, F, P, T>(packet, tables, &flow);
    }
    let endpoint = shared_one(tables, &flow)?;
    let port = port_of(packet, at, &flow)?.ok_or(Reason::NoService)?;
    let mapping = snat::inbound_mapping(tables, endpoint, &flow, port)?;
    let tunnel = tunnel::at(tables, mapping.instance.tunnel)?;
    can_reach(packet, at, &flow, tunnel)?;
    snat::arrive::<F, P, T, true>(packet, at, tables, &mapping, &flow)?;
    mss::lower(packet, at, tables, &flow)?;
    rewrite::apply(packet, at, &flow, mapping.inward::<F>())?;
    rewrap::<O, F, P, T>(packet, tables, &flow, &mapping, tunnel)
}

/// An error about what an instance sent.
#[inline(always)]
fn error<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
) -> Result<u32, Exit> {
    let at = O::INNER_IP;
    let quote = icmp_error::quote(packet, at, flow)?;
    if quote.source != flow.destination {
        return Err(Reason::IcmpMismatch.into());
    }
    let endpoint = shared_one(tables, &quote.reversed())?;
    let mapping = quoted(packet, at, tables, (flow, &quote), endpoint)?;
    let tunnel = tunnel::at(tables, mapping.instance.tunnel)?;
    can_reach(packet, at, flow, tunnel)?;
    icmp_error::rewrite(packet, at, flow, &quote, mapping.inward::<F>())?;
    rewrap::<O, F, P, T>(packet, tables, flow, &mapping, tunnel)
}

/// The shared address that a packet is for: nothing else is handed over.
#[inline(always)]
fn shared_one<F: Family, T: Tables>(tables: &T, flow: &Flow<F>) -> Result<Endpoint, Reason> {
    let endpoint = endpoint::find(tables, flow)?;
    match endpoint.kind() {
        Endpoint::SNAT => Ok(endpoint),
        _ => Err(Reason::NoService),
    }
}

#[inline(always)]
fn rewrap<O: Outer, F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
    mapping: &Mapping<'_>,
    tunnel: &Tunnel,
) -> Result<u32, Exit> {
    let bytes = packet.len() - O::LEN;
    let macs = Ethernet::swapped(mapping.instance.macs);
    let inside = mapping.inside(&macs);
    let source_port = hash::source_port(flow.hash(tables));
    vxlan::rewrap::<O, F, P>(packet, tunnel, inside, flow, source_port)?;
    tables.count_in(mapping.shared.counter, bytes);
    Ok(tunnel.port)
}
