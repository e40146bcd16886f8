//! What an instance sends to somebody inside, or to one of our own public addresses:
//! the list of the step [`InsideRoute`](gateway_common::Step::InsideRoute). VXLAN comes
//! in and VXLAN goes out, rewritten in place.

use gateway_common::{Endpoint, Instance, Reason, Step};

use crate::{
    family::{Errors, Family, V4, V6},
    headers::Ethernet,
    known_sender, leave_for_public,
    outer::Outer,
    packet::{Exit, Packet, Tables},
    stages::{
        answer,
        balance::{self, Choice},
        endpoint, hairpin, icmp_error, inside,
        parse::{self, Flow},
        reverse, rewrite,
        source::Sender,
        track, tunnel,
        vxlan::{self, Opened},
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
    match endpoint::find(tables, &flow) {
        Ok(endpoint) => to_endpoint(packet, tables, outer, &sender, &flow, endpoint),
        Err(_) => leave_for_public::<O, F, P, T, true>(packet, tables, outer, &sender, &flow),
    }
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
    sender: &Sender<'_>,
    flow: &Flow<F>,
    endpoint: Endpoint,
) -> Result<u32, Exit> {
    let is_echo = flow.protocol == F::ICMP && !flow.is_fragment();
    if endpoint.kind() == Endpoint::ADDRESS && is_echo {
        return Err(answer::echo_inside::<O, F, P>(packet, flow)?.into());
    }
    endpoint::serves(endpoint, flow)?;
    let nat = reverse::find(tables, sender, flow)?;
    let seen = hairpin::seen_from_outside(flow, nat);
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
    hairpin::send(packet, tunnel, (nat, backend), outer, flow)?;
    tables.count_out(nat.counter, bytes);
    tables.count_in(backend.counter, bytes);
    Ok(tunnel.port)
}
