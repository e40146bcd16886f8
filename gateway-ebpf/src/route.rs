//! What an instance sends to somebody inside, or to one of our own public addresses:
//! the list of the step [`InsideRoute`](gateway_common::Step::InsideRoute). VXLAN comes
//! in and VXLAN goes out, rewritten in place.

use gateway_common::{Endpoint, Instance, Reason, Step};

use crate::{
    family::{Errors, Family, V4, V6},
    headers::Ethernet,
    known_sender, leave_as,
    outer::Outer,
    packet::{Exit, Packet, Tables},
    shared::{self, handover},
    stages::{
        answer,
        balance::{self, Choice},
        endpoint, hairpin, icmp_error, inside,
        parse::{self, Flow},
        reverse::{self, Identity},
        rewrite::{self, Rewrite},
        snat,
        source::Sender,
        track, tunnel,
        vxlan::{self, Inside, Opened},
    },
};

#[inline(always)]
pub(crate) fn from_instance<O: Outer, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    let outer = vxlan::open::<O, P, T>(packet, tables)?;
    match parse::ethernet(packet, O::LEN)? {
        Ethernet::IPV4 => route::<O, V4, P, T>(packet, tables, &outer),
        Ethernet::IPV6 => route::<O, V6, P, T>(packet, tables, &outer),
        _ => Err(Reason::InnerNotIp.into()),
    }
}

/// Inside first, then our own public addresses, then the world.
#[inline(always)]
fn route<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
) -> Result<u32, Exit> {
    let flow = F::parse(packet, O::INNER_IP)?;
    let sender = known_sender(packet, tables, outer, &flow)?;
    if reverse::stays_inside(sender.instance, &flow)
        && let Some(to) = inside::find::<F, T>(tables, outer.vni, flow.destination)?
    {
        return to_neighbour(packet, tables, outer, &sender, &flow, to);
    }
    if flow.protocol == F::ICMP
        && !flow.is_fragment()
        && icmp_error::is_one(packet, O::INNER_IP, &flow)?
    {
        // Nobody is there any more since the step for ICMP looked.
        return Err(Exit::Continue(Step::InsideIcmp));
    }
    let endpoint = endpoint::find(tables, &flow).unwrap_or(Endpoint::NONE);
    if is_asked::<O, F, P, T>(packet, tables, &flow, endpoint)? {
        return Err(answer::echo_inside::<O, F, P>(packet, &flow)?.into());
    }
    endpoint::serves(endpoint, &flow)?;
    let from = match reverse::find(tables, &sender, &flow) {
        Err(Reason::NoReverse) if shared::has::<F, T>(tables, &sender) => {
            shared::identity::<F, P, T, true>(packet, O::INNER_IP, tables, &sender, &flow)?
        }
        found => found?.into(),
    };
    match endpoint {
        Endpoint::NONE => leave_as::<O, F, P, T, true>(packet, tables, outer, &flow, from),
        _ if shared::is_one::<F, T>(tables, endpoint) => {
            to_shared(packet, tables, outer, &flow, from, endpoint)
        }
        _ => to_endpoint(packet, tables, outer, &flow, from, endpoint),
    }
}

/// Whether the gateway itself is meant: ICMP for one of its addresses, and no instance's.
#[inline(always)]
fn is_asked<O: Outer, F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    flow: &Flow<F>,
    endpoint: Endpoint,
) -> Result<bool, Reason> {
    if flow.protocol != F::ICMP || flow.is_fragment() {
        return Ok(false);
    }
    if shared::is_one::<F, T>(tables, endpoint) {
        return Ok(shared::port_of(packet, O::INNER_IP, flow)?.is_none());
    }
    Ok(endpoint.kind() == Endpoint::ADDRESS)
}

/// To another instance of the VPC, or of a peer.
#[inline(always)]
fn to_neighbour<O: Outer, F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
    sender: &Sender<'_>,
    flow: &Flow<F>,
    to: &Instance,
) -> Result<u32, Exit> {
    let bytes = packet.len() - O::LEN;
    rewrite::alive(flow)?;
    let tunnel = tunnel::at(tables, to.tunnel)?;
    tunnel::fits(tunnel, bytes - Ethernet::LEN)?;
    inside::send(packet, tunnel, to, outer, flow)?;
    tables.count_routed(sender.instance.network, to.network, bytes);
    Ok(tunnel.port)
}

/// To a VIP or floating IP of ours.
#[inline(always)]
fn to_endpoint<O: Outer, F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
    flow: &Flow<F>,
    from: Identity<'_>,
    endpoint: Endpoint,
) -> Result<u32, Exit> {
    let seen = hairpin::seen_from_outside(flow, &from.rewrite);
    let index = match balance::choose(tables, endpoint, &seen, seen.hash(tables))? {
        Choice::Settled(index) => index,
        Choice::Tracked(number, slot) => {
            track::follow((&*packet, O::INNER_IP), tables, &seen, number, slot)?
        }
    };
    let backend = balance::backend(tables, index)?;
    balance::alive(backend)?;
    let bytes = packet.len() - O::LEN;
    rewrite::alive(flow)?;
    let tunnel = &backend.tunnel;
    tunnel::fits(tunnel, bytes - Ethernet::LEN)?;
    let inside = Inside {
        macs: &backend.macs,
        vni: backend.vni,
    };
    let both = (from.rewrite, Rewrite::to(backend));
    hairpin::send(packet, (tunnel, inside), both, outer, flow)?;
    tables.count_out(from.counter, bytes);
    tables.count_in(backend.counter, bytes);
    Ok(tunnel.port)
}

/// To an address that instances share: to the instance that has the port, or to the
/// gateway that knows which.
#[inline(always)]
fn to_shared<O: Outer, F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
    flow: &Flow<F>,
    from: Identity<'_>,
    endpoint: Endpoint,
) -> Result<u32, Exit> {
    let at = O::INNER_IP;
    let bytes = packet.len() - O::LEN;
    let port = shared::port_of(packet, at, flow)?.ok_or(Reason::NoService)?;
    let seen = hairpin::seen_from_outside(flow, &from.rewrite);
    let mapping = match snat::inbound_mapping(tables, endpoint, &seen, port) {
        Err(Exit::Continue(_)) => {
            rewrite::alive(flow)?;
            let tunnel = handover::to_owner(tables)?;
            tunnel::fits(tunnel, bytes - Ethernet::LEN)?;
            let macs = packet.need::<Ethernet>(O::LEN)?.macs;
            let inside = handover::between_gateways(tables, &macs);
            rewrite::apply(packet, at, flow, from.rewrite)?;
            vxlan::rewrap::<O, F, P>(packet, tunnel, inside, flow, outer.source_port)?;
            tables.count_out(from.counter, bytes);
            return Ok(tunnel.port);
        }
        found => found?,
    };
    rewrite::alive(flow)?;
    let tunnel = tunnel::at(tables, mapping.instance.tunnel)?;
    tunnel::fits(tunnel, bytes - Ethernet::LEN)?;
    snat::arrive::<F, P, T, true>(packet, at, tables, &mapping, &seen)?;
    let macs = Ethernet::swapped(mapping.instance.macs);
    let way = (tunnel, mapping.inside(&macs));
    let both = (from.rewrite, mapping.inward::<F>());
    hairpin::send(packet, way, both, outer, flow)?;
    tables.count_out(from.counter, bytes);
    tables.count_in(mapping.shared.counter, bytes);
    Ok(tunnel.port)
}
