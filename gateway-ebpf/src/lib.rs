//! Lingyun's packet path.
//!
//! The whole way of a packet reads here, top to bottom; each stage is a file in
//! [`stages`]. A stage returns what the next one needs, or an [`Exit`]: the reason why
//! the packet's way ends, or the step that goes on. What differs between IPv4 and IPv6
//! is in [`family`] for what is carried and in [`outer`] for what carries it. Nothing
//! here knows of the kernel: the same code runs in the XDP programs (see `bpf/`) and
//! under `cargo test` on a packet in a `Vec`.
//!
//! An entry program takes what is frequent. The rest leaves it, unchanged, for a
//! [`Step`]: a program with the same list and `FULL` set, or one for ICMP, for routes
//! inside, for refusals.
#![no_std]
// Inline assembly: see `atomic`.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(not(target_arch = "bpf"))]
extern crate std;

pub mod atomic;
pub mod bucket;
#[cfg(not(target_arch = "bpf"))]
pub mod buffer;
pub mod checksum;
pub mod family;
pub mod hash;
pub mod headers;
pub mod meter;
pub mod outer;
pub mod packet;
mod route;
pub mod shared;
pub mod siphash;
pub mod stages;
pub mod word;

use family::{Errors, Family, V4, V6};
use gateway_common::{Backend, Endpoint, NextHop, Note, Reason, Step, Tunnel};
use headers::Ethernet;
use outer::Outer;
use packet::{Exit, Packet, Tables, Verdict};
use shared::handover;
use stages::{
    answer,
    balance::{self, Choice},
    endpoint, guard, hairpin, icmp_error, inside, mss, neighbour,
    parse::{self, Flow},
    refuse,
    reverse::{self, Identity},
    rewrite::{self, Rewrite},
    source::{self, Sender},
    track, tunnel, uplink, vlan,
    vxlan::{self, Inside, Opened},
};

/// Where the IP header lies in a plain frame.
pub const IP: usize = Ethernet::LEN;

/// A frame from the public network.
#[inline(always)]
pub fn public<O: Outer, P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.len();
    let result = to_instance::<O, P, T, false>(packet, tables);
    finish(result, tables, bytes, Step::PublicRefuse)
}

/// A frame from a public network that is in VLANs.
#[inline(always)]
pub fn public_tagged<O: Outer, P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.len();
    if let Err(reason) = vlan::take_off(packet, tables) {
        tables.count_reason(reason, bytes);
        return Verdict::End(reason);
    }
    let result = to_instance::<O, P, T, false>(packet, tables);
    let verdict = finish(result, tables, bytes, Step::PublicRefuse);
    vlan::put_back(packet, tables, verdict)
}

/// A frame from the underlay.
#[inline(always)]
pub fn underlay<O: Outer, P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.len();
    let result = from_instance::<O, P, T, false>(packet, tables);
    finish(result, tables, bytes, Step::InsideRefuse)
}

/// A frame from an interface that is both: VXLAN for one of our VTEPs is the
/// underlay's, all else the public network's.
#[inline(always)]
pub fn single_arm<O: Outer, P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.len();
    if !is_for_vtep::<O, P, T>(packet, tables) {
        return public::<O, P, T>(packet, tables);
    }
    match from_instance::<O, P, T, false>(packet, tables) {
        Err(Exit::End(Reason::NotVxlan | Reason::L2Multicast)) => public::<O, P, T>(packet, tables),
        result => finish(result, tables, bytes, Step::InsideRefuse),
    }
}

/// Whether a frame is for one of our VTEPs: a look ahead, in place of all of a list that
/// would find out.
#[inline(always)]
fn is_for_vtep<O: Outer, P: Packet, T: Tables>(packet: &P, tables: &T) -> bool {
    parse::ethernet(packet, 0) == Ok(O::Family::KIND) && O::is_for_us(packet, tables)
}

/// The same where the public network is in VLANs, and the underlay is not.
#[inline(always)]
pub fn single_arm_tagged<O: Outer, P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    match vlan::has_tag(packet) {
        Ok(true) => public_tagged::<O, P, T>(packet, tables),
        _ => underlay::<O, P, T>(packet, tables),
    }
}

/// Goes on with a packet that an entry program left to a step.
#[inline(always)]
pub fn step<O: Outer, P: Packet, T: Tables>(step: Step, packet: &mut P, tables: &T) -> Verdict {
    let verdict = go_on::<O, P, T>(step, packet, tables);
    match step.is_public() && tables.tagged() {
        true => vlan::put_back(packet, tables, verdict),
        false => verdict,
    }
}

#[inline(always)]
fn go_on<O: Outer, P: Packet, T: Tables>(step: Step, packet: &mut P, tables: &T) -> Verdict {
    let bytes = packet.len() + vlan::bytes_taken_off(tables, step.is_public());
    match step {
        Step::PublicFull => {
            let result = to_instance::<O, P, T, true>(packet, tables);
            finish(result, tables, bytes, Step::PublicRefuse)
        }
        Step::PublicGuard => {
            let result = start_of_flow::<P, T>(packet, tables);
            finish(result, tables, bytes, Step::PublicRefuse)
        }
        Step::PublicIcmp => {
            let result = icmp_to_instance::<O, P, T>(packet, tables);
            finish(result, tables, bytes, Step::PublicRefuse)
        }
        Step::InsideFull => {
            let result = from_instance::<O, P, T, true>(packet, tables);
            finish(result, tables, bytes, Step::InsideRefuse)
        }
        Step::InsideRoute => {
            let result = route::from_instance::<O, P, T>(packet, tables);
            finish(result, tables, bytes, Step::InsideRefuse)
        }
        Step::InsideIcmp => {
            let result = icmp_from_instance::<O, P, T>(packet, tables);
            finish(result, tables, bytes, Step::InsideRefuse)
        }
        Step::PublicRefuse => ended(refuse_outside(packet, tables), tables, bytes),
        Step::InsideRefuse => ended(refuse_inside::<O, P, T>(packet, tables), tables, bytes),
        Step::HandOver => {
            let result = handover::hand_over::<O, P, T>(packet, tables);
            finish(result, tables, bytes, Step::PublicRefuse)
        }
        Step::HandedOver => {
            let result = handover::handed_over::<O, P, T>(packet, tables);
            finish(result, tables, bytes, Step::PublicRefuse)
        }
    }
}

/// Public side in: address, backend, DNAT, VXLAN.
#[inline(always)]
fn to_instance<O: Outer, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    match parse::ethernet(packet, 0)? {
        Ethernet::IPV4 => deliver::<O, V4, P, T, FULL>(packet, tables),
        Ethernet::IPV6 => deliver::<O, V6, P, T, FULL>(packet, tables),
        Ethernet::ARP => Err(answer::arp(packet, tables)?.into()),
        kind => Err(parse::not_ip(kind).into()),
    }
}

#[inline(always)]
fn deliver<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    if let Err(reason) = parse::unicast(packet) {
        return Err(neighbour::or_kernel::<F, P>(packet, reason));
    }
    if FULL {
        let flow = parse_for_us::<F, P, T>(packet, tables)?;
        let endpoint = endpoint::find(tables, &flow)?;
        if flow.protocol == F::ICMP && !flow.is_fragment() {
            return Err(Exit::Continue(Step::PublicIcmp));
        }
        return by_kind::<O, F, P, T, FULL>(packet, tables, &flow, endpoint);
    }
    let Some(flow) = parse::plain::<F, P>(packet, IP) else {
        // The guard wants to see it first.
        return Err(Exit::Continue(match tables.guard() {
            0 => Step::PublicFull,
            _ => Step::PublicGuard,
        }));
    };
    let endpoint = endpoint::find(tables, &flow)?;
    guard::admit(packet, tables, &flow, endpoint)?;
    by_kind::<O, F, P, T, FULL>(packet, tables, &flow, endpoint)
}

/// From an endpoint to a backend of its own, or to one of those who share it.
#[inline(always)]
fn by_kind<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
    endpoint: Endpoint,
) -> Result<u32, Exit> {
    if shared::is_one::<F, T>(tables, endpoint) {
        let port = flow.destination_port();
        return shared::send_in::<O, F, P, T, FULL>(packet, tables, flow, endpoint, port);
    }
    send_in::<O, F, P, T, FULL>(packet, tables, flow, endpoint)
}

/// Any flow. What cannot be parsed is refused only if it is for one of our addresses.
#[inline(always)]
fn parse_for_us<F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
) -> Result<Flow<F>, Reason> {
    F::parse(packet, IP).map_err(|reason| endpoint::refuse::<F, P, T>(packet, IP, tables, reason))
}

/// The start of a flow that the guard looks at closer, or a packet that is not plain.
#[inline(always)]
fn start_of_flow<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<u32, Exit> {
    match parse::ethernet(packet, 0)? {
        Ethernet::IPV4 => start::<V4, P, T>(packet, tables),
        Ethernet::IPV6 => start::<V6, P, T>(packet, tables),
        kind => Err(parse::not_ip(kind).into()),
    }
}

#[inline(always)]
fn start<F: Family, P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<u32, Exit> {
    let flow = parse_for_us::<F, P, T>(packet, tables)?;
    let endpoint = endpoint::find(tables, &flow)?;
    if parse::plain::<F, P>(packet, IP).is_none() {
        // The entry program did not ask.
        match guard::admit(packet, tables, &flow, endpoint) {
            Ok(()) => return Err(Exit::Continue(Step::PublicFull)),
            Err(Exit::Continue(_)) => {}
            ended => ended?,
        }
    }
    guard::start(packet, tables, &flow, endpoint)?;
    Err(Exit::Continue(Step::PublicFull))
}

/// From an endpoint to the backend that the flow has there.
#[inline(always)]
fn send_in<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
    endpoint: Endpoint,
) -> Result<u32, Exit> {
    let hash = flow.hash(tables);
    let step = Step::PublicFull;
    let index = chosen::<F, P, T, FULL>(packet, tables, flow, endpoint, hash);
    let index = or_step::<FULL, _, _>(index, step)?;
    let backend = or_step::<FULL, _, _>(balance::backend(tables, index), step)?;
    if FULL {
        // To a dead one there is no way.
        balance::alive(backend)?;
    }
    or_step::<FULL, _, _>(can_reach(packet, flow, backend), step)?;
    if !FULL && !O::can_seal(packet, IP, &backend.tunnel, flow) {
        return Err(Exit::Continue(step));
    }
    mss::lower(packet, IP, tables, flow)?;
    rewrite::apply(packet, IP, flow, Rewrite::to(backend))?;
    wrap::<O, F, P, T, FULL>(packet, tables, flow, backend, hash)
}

/// A packet that an entry program cannot send is the step's, which finds out why: so the
/// entry program has one rare way out, not one for each reason. Only what no service
/// listens for, which may be a flood, ends at once.
///
/// What refers to a table comes with a plain [`Reason`], never with an [`Exit`]: LLVM
/// keeps the pair of both on the stack where the verifier finds it misaligned.
#[inline(always)]
fn or_step<const FULL: bool, W, E: Into<Exit>>(way: Result<W, E>, step: Step) -> Result<W, Exit> {
    way.map_err(|end| match end.into() {
        end @ Exit::End(Reason::NoService) => end,
        end if FULL => end,
        _ => Exit::Continue(step),
    })
}

/// Index of the backend that a flow has at an endpoint.
#[inline(always)]
fn chosen<F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &P,
    tables: &T,
    flow: &Flow<F>,
    endpoint: Endpoint,
    hash: u64,
) -> Result<u32, Exit> {
    match balance::choose(tables, endpoint, flow, hash)? {
        Choice::Settled(index) => Ok(index),
        Choice::Tracked(number, slot) if FULL => {
            Ok(track::follow((packet, IP), tables, flow, number, slot)?)
        }
        Choice::Tracked(..) => Err(Exit::Continue(Step::PublicFull)),
    }
}

/// Whether the packet can take the way to a backend.
#[inline(always)]
fn can_reach<F: Family, P: Packet>(
    packet: &P,
    flow: &Flow<F>,
    backend: &Backend,
) -> Result<(), Exit> {
    rewrite::alive(flow)?;
    tunnel::fits(&backend.tunnel, packet.len() - IP)
}

/// Sends a packet that is rewritten to its backend.
#[inline(always)]
fn wrap<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
    backend: &Backend,
    hash: u64,
) -> Result<u32, Exit> {
    let bytes = packet.len();
    let tunnel = &backend.tunnel;
    let inside = Inside {
        macs: &backend.macs,
        vni: backend.vni,
    };
    push::<O, F, P, FULL>(packet, flow, (inside, tunnel), hash)?;
    tables.count_in(backend.counter, bytes);
    Ok(tunnel.port)
}

/// Sends a packet through a tunnel; without `FULL`, one that is known to be fit for it.
#[inline(always)]
fn push<O: Outer, F: Family, P: Packet, const FULL: bool>(
    packet: &mut P,
    flow: &Flow<F>,
    (inside, tunnel): (Inside<'_>, &Tunnel),
    hash: u64,
) -> Result<(), Reason> {
    let can_seal = !FULL || O::can_seal(packet, IP, tunnel, flow);
    vxlan::push::<O, F, P>(packet, tunnel, inside, flow, hash, can_seal)?;
    match FULL {
        true => O::seal_by_sum(packet, tunnel),
        false => Ok(()),
    }
}

/// ICMP from the public network.
#[inline(always)]
fn icmp_to_instance<O: Outer, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    match parse::ethernet(packet, 0)? {
        Ethernet::IPV4 => icmp_in::<O, V4, P, T>(packet, tables),
        Ethernet::IPV6 => match neighbour::outside(packet, tables)? {
            Some(reason) => Err(reason.into()),
            None => icmp_in::<O, V6, P, T>(packet, tables),
        },
        kind => Err(parse::not_ip(kind).into()),
    }
}

#[inline(always)]
fn icmp_in<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    let flow = F::parse(packet, IP)?;
    parse::is_icmp(&flow)?;
    let endpoint = endpoint::find(tables, &flow)?;
    if icmp_error::is_one(packet, IP, &flow)? {
        return error_in::<O, F, P, T>(packet, tables, &flow);
    }
    if endpoint.kind() == Endpoint::ADDRESS {
        return Err(answer::echo::<F, P>(packet, &flow)?.into());
    }
    if shared::is_one::<F, T>(tables, endpoint) {
        let Some(id) = shared::port_of(packet, IP, &flow)? else {
            return Err(answer::echo::<F, P>(packet, &flow)?.into());
        };
        return shared::send_in::<O, F, P, T, true>(packet, tables, &flow, endpoint, id);
    }
    send_in::<O, F, P, T, true>(packet, tables, &flow, endpoint)
}

/// An error from outside about what an instance sent: to the instance.
#[inline(always)]
fn error_in<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
) -> Result<u32, Exit> {
    let quote = icmp_error::quote(packet, IP, flow)?;
    if quote.source != flow.destination {
        return Err(Reason::IcmpMismatch.into());
    }
    let forward = quote.reversed();
    let endpoint = endpoint::find(tables, &forward)?;
    if endpoint.kind() == Endpoint::ADDRESS {
        return Err(icmp_error::unserved(&forward).into());
    }
    if shared::is_one::<F, T>(tables, endpoint) {
        return shared::error_in::<O, F, P, T>(packet, tables, (flow, &quote), endpoint);
    }
    let hash = forward.hash(tables);
    let index = match balance::choose(tables, endpoint, &forward, hash)? {
        Choice::Settled(index) => index,
        Choice::Tracked(number, slot) => track::recall(tables, &forward, number, slot)?,
    };
    let backend = balance::backend(tables, index)?;
    balance::alive(backend)?;
    can_reach(packet, flow, backend)?;
    icmp_error::rewrite(packet, IP, flow, &quote, Rewrite::to(backend))?;
    wrap::<O, F, P, T, true>(packet, tables, flow, backend, hash)
}

/// Underlay side in: who sends, reverse NAT, out.
#[inline(always)]
fn from_instance<O: Outer, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    let outer = vxlan::open::<O, P, T>(packet, tables)?;
    if handover::is_one(tables, &outer) {
        return Err(Exit::Continue(Step::HandedOver));
    }
    match parse::ethernet(packet, O::LEN)? {
        Ethernet::IPV4 => leave::<O, V4, P, T, FULL>(packet, tables, &outer),
        Ethernet::IPV6 => leave::<O, V6, P, T, FULL>(packet, tables, &outer),
        Ethernet::ARP => Err(answer::arp_inside(packet, tables, &outer)?.into()),
        _ => Err(Reason::InnerNotIp.into()),
    }
}

#[inline(always)]
fn leave<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
) -> Result<u32, Exit> {
    let flow = match FULL {
        true => F::parse(packet, O::INNER_IP)?,
        false => {
            parse::plain::<F, P>(packet, O::INNER_IP).ok_or(Exit::Continue(Step::InsideFull))?
        }
    };
    if FULL && flow.protocol == F::ICMP && !flow.is_fragment() {
        return Err(Exit::Continue(Step::InsideIcmp));
    }
    let sender = known_sender(packet, tables, outer, &flow);
    let sender = or_step::<FULL, _, _>(sender, Step::InsideFull)?;
    send_out::<O, F, P, T, FULL>(packet, tables, outer, &sender, &flow)
}

/// The instance that sends, if it really does.
#[inline(always)]
fn known_sender<'t, O: Outer, F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &'t T,
    outer: &Opened<O>,
    flow: &Flow<F>,
) -> Result<Sender<'t>, Reason> {
    let sender = source::instance::<O, F, T>(tables, outer, flow.source)?;
    source::addressed_to_router::<O, P>(packet, sender.instance)?;
    Ok(sender)
}

/// From an instance, with all that may stay inside left to the step for it.
#[inline(always)]
fn send_out<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
    sender: &Sender<'_>,
    flow: &Flow<F>,
) -> Result<u32, Exit> {
    if reverse::stays_inside(sender.instance, flow)
        || hairpin::may_be_ours::<F, T>(tables, flow.destination)
    {
        return Err(Exit::Continue(Step::InsideRoute));
    }
    leave_for_public::<O, F, P, T, FULL>(packet, tables, outer, sender, flow)
}

/// From an instance to the public network, with the address that its flow has there.
#[inline(always)]
fn leave_for_public<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
    sender: &Sender<'_>,
    flow: &Flow<F>,
) -> Result<u32, Exit> {
    let step = Step::InsideFull;
    let nat = match reverse::find(tables, sender, flow) {
        Err(Reason::NoReverse) if shared::has::<F, T>(tables, sender) => {
            return shared::send_out::<O, F, P, T, FULL>(packet, tables, outer, sender, flow);
        }
        found => or_step::<FULL, _, _>(found, step)?,
    };
    leave_as::<O, F, P, T, FULL>(packet, tables, outer, flow, nat.into())
}

/// From an instance to the public network, as what it is there.
#[inline(always)]
fn leave_as<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
    flow: &Flow<F>,
    from: Identity<'_>,
) -> Result<u32, Exit> {
    let step = Step::InsideFull;
    let uplink = uplink::choose::<F, T>(tables, outer.source_port);
    let uplink = or_step::<FULL, _, _>(uplink, step)?;
    or_step::<FULL, _, _>(can_leave::<O, F, P>(packet, flow, uplink), step)?;
    mss::lower(packet, O::INNER_IP, tables, flow)?;
    rewrite::apply(packet, O::INNER_IP, flow, from.rewrite)?;
    unwrap::<O, P, T>(packet, tables, from.counter, uplink)
}

/// Whether the packet can take the way to the public network.
#[inline(always)]
fn can_leave<O: Outer, F: Family, P: Packet>(
    packet: &P,
    flow: &Flow<F>,
    uplink: &NextHop,
) -> Result<(), Exit> {
    rewrite::alive(flow)?;
    uplink::fits(uplink, packet.len() - O::INNER_IP)
}

/// Sends a packet that is rewritten to the public network.
#[inline(always)]
fn unwrap<O: Outer, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    counter: u32,
    uplink: &NextHop,
) -> Result<u32, Exit> {
    let bytes = packet.len() - O::LEN;
    match tables.tagged() && uplink.vlan != 0 {
        true => vxlan::pop_tagged::<O, P>(packet, uplink)?,
        false => vxlan::pop::<O, P>(packet, uplink)?,
    }
    tables.count_out(counter, bytes);
    Ok(uplink.port)
}

/// ICMP from an instance.
#[inline(always)]
fn icmp_from_instance<O: Outer, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
) -> Result<u32, Exit> {
    let outer = vxlan::open::<O, P, T>(packet, tables)?;
    match parse::ethernet(packet, O::LEN)? {
        Ethernet::IPV4 => icmp_out::<O, V4, P, T>(packet, tables, &outer),
        Ethernet::IPV6 => match neighbour::inside(packet, tables, &outer)? {
            Some(reason) => Err(reason.into()),
            None => icmp_out::<O, V6, P, T>(packet, tables, &outer),
        },
        _ => Err(Reason::InnerNotIp.into()),
    }
}

#[inline(always)]
fn icmp_out<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
) -> Result<u32, Exit> {
    let flow = F::parse(packet, O::INNER_IP)?;
    parse::is_icmp(&flow)?;
    let sender = known_sender(packet, tables, outer, &flow)?;
    if source::router::<F, T>(tables, outer.vni, flow.destination).is_some() {
        return Err(answer::echo_inside::<O, F, P>(packet, &flow)?.into());
    }
    if icmp_error::is_one(packet, O::INNER_IP, &flow)? {
        return error_out(packet, tables, outer, &sender, &flow);
    }
    send_out::<O, F, P, T, true>(packet, tables, outer, &sender, &flow)
}

/// An error from an instance about what it got from outside: to whom that came from.
#[inline(always)]
fn error_out<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
    sender: &Sender<'_>,
    flow: &Flow<F>,
) -> Result<u32, Exit> {
    // Between instances nothing is translated. What only may be inside is looked at here:
    // the step for routes knows nothing of quotes. An error about what took a hairpin
    // goes out to the public network, and comes back in from there.
    if reverse::stays_inside(sender.instance, flow)
        && inside::find::<F, T>(tables, outer.vni, flow.destination)?.is_some()
    {
        return Err(Exit::Continue(Step::InsideRoute));
    }
    let quote = icmp_error::quote(packet, O::INNER_IP, flow)?;
    if quote.destination != flow.source || quote.source != flow.destination {
        return Err(Reason::IcmpMismatch.into());
    }
    let nat = match reverse::find(tables, sender, &quote.reversed()) {
        Err(Reason::NoReverse) if shared::has::<F, T>(tables, sender) => {
            return shared::error_out(packet, tables, outer, sender, (flow, &quote));
        }
        found => found?,
    };
    let uplink = uplink::choose::<F, T>(tables, outer.source_port)?;
    can_leave::<O, F, P>(packet, flow, uplink)?;
    icmp_error::rewrite(packet, O::INNER_IP, flow, &quote, Rewrite::from(nat))?;
    unwrap::<O, P, T>(packet, tables, nat.counter, uplink)
}

/// Tells somebody outside that a packet cannot go on.
#[inline(always)]
fn refuse_outside<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Reason, Reason> {
    match parse::ethernet(packet, 0)? {
        Ethernet::IPV4 => refuse::outside::<V4, P, T>(packet, tables),
        Ethernet::IPV6 => refuse::outside::<V6, P, T>(packet, tables),
        kind => Err(parse::not_ip(kind)),
    }
}

/// Tells an instance that a packet cannot go on.
#[inline(always)]
fn refuse_inside<O: Outer, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
) -> Result<Reason, Reason> {
    let outer = vxlan::open::<O, P, T>(packet, tables)?;
    match parse::ethernet(packet, O::LEN)? {
        Ethernet::IPV4 => refuse::inside::<O, V4, P, T>(packet, tables, &outer),
        Ethernet::IPV6 => refuse::inside::<O, V6, P, T>(packet, tables, &outer),
        _ => Err(Reason::InnerNotIp),
    }
}

/// Every way of a refusal ends, answered or not.
#[inline(always)]
fn ended<T: Tables>(result: Result<Reason, Reason>, tables: &T, bytes: usize) -> Verdict {
    let (Ok(reason) | Err(reason)) = result;
    tables.count_reason(reason, bytes);
    Verdict::End(reason)
}

#[inline(always)]
fn finish<T: Tables>(result: Result<u32, Exit>, tables: &T, bytes: usize, refuse: Step) -> Verdict {
    match result {
        Ok(port) if port == tables.only_port() => Verdict::Transmit,
        Ok(port) => Verdict::Redirect(port),
        Err(Exit::Continue(step)) => Verdict::Continue(step),
        Err(Exit::Refuse(reason, mtu)) => {
            tables.note(Note::Reason, reason as u32);
            tables.note(Note::Mtu, mtu);
            Verdict::Continue(refuse)
        }
        Err(Exit::End(reason)) => {
            tables.count_reason(reason, bytes);
            Verdict::End(reason)
        }
    }
}
