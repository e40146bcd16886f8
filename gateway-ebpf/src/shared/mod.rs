//! The lists for public addresses that instances share (egress NAT): out and back.
//! [`handover`] has what gateways do for each other.

pub mod handover;

use gateway_common::{Endpoint, Reason, SnatSetting, Step, Tunnel};

use crate::{
    IP, can_leave,
    family::{Errors, Family},
    headers::Ethernet,
    leave_as,
    outer::Outer,
    packet::{Exit, Packet, Tables},
    push,
    stages::{
        icmp_error, mss,
        parse::Flow,
        reverse::Identity,
        rewrite,
        snat::{self, Mapping},
        source::Sender,
        tunnel, uplink,
        vxlan::Opened,
    },
    unwrap,
};

/// Whether an instance shares a public address. Where no pool is, the verifier finds the
/// way behind this dead, and does without it.
#[inline(always)]
pub fn has<F: Family, T: Tables>(tables: &T, sender: &Sender<'_>) -> bool {
    is_used::<F, T>(tables) && sender.instance.snat != 0
}

/// Whether a public address is one that instances share.
#[inline(always)]
pub fn is_one<F: Family, T: Tables>(tables: &T, endpoint: Endpoint) -> bool {
    is_used::<F, T>(tables) && endpoint.kind() == Endpoint::SNAT
}

#[inline(always)]
fn is_used<F: Family, T: Tables>(tables: &T) -> bool {
    F::IS_SHARED && tables.snat(SnatSetting::HANDOVER) != 0
}

/// What an instance's packet at `at` is for the world, behind the address that it shares.
#[inline(always)]
pub fn identity<'t, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &P,
    at: usize,
    tables: &'t T,
    sender: &Sender<'t>,
    flow: &Flow<F>,
) -> Result<Identity<'t>, Exit> {
    let port = if flow.protocol == F::ICMP && flow.has_l4() {
        snat::echo(packet, at + flow.l4(), F::ECHO_REQUEST)?.ok_or(Reason::SnatProtocol)?
    } else {
        flow.source_port()
    };
    // A packet that goes nowhere gets no port.
    rewrite::alive(flow)?;
    let mapping = snat::outbound_mapping::<F, T, FULL>(tables, sender, flow, port)?;
    snat::leave::<F, P, T, FULL>(packet, at, tables, &mapping, flow)?;
    Ok(Identity {
        rewrite: mapping.outward::<F>(),
        counter: mapping.shared.counter,
    })
}

/// From an instance to the public network, behind the address that it shares.
#[inline(always)]
pub fn send_out<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
    sender: &Sender<'_>,
    flow: &Flow<F>,
) -> Result<u32, Exit> {
    let from = identity::<F, P, T, FULL>(packet, O::INNER_IP, tables, sender, flow)?;
    leave_as::<O, F, P, T, FULL>(packet, tables, outer, flow, from)
}

/// An error from an instance about what it got behind the address that it shares. An
/// error makes no mapping, and keeps none alive (RFC 5508, REQ-6).
#[inline(always)]
pub fn error_out<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
    sender: &Sender<'_>,
    (flow, quote): (&Flow<F>, &Flow<F>),
) -> Result<u32, Exit> {
    let at = O::INNER_IP;
    if !quote.has_l4() {
        return Err(Reason::IcmpQuote.into());
    }
    let port = match quote.protocol == F::ICMP {
        true => icmp_error::quoted_echo(packet, at, flow, quote, F::ECHO_REPLY)?,
        false => quote.destination_port(),
    };
    let mapping = snat::known_mapping::<F, T>(tables, sender, quote, port)?;
    let uplink = uplink::choose::<F, T>(tables, outer.source_port)?;
    can_leave::<O, F, P>(packet, flow, uplink)?;
    icmp_error::rewrite(packet, at, flow, quote, mapping.outward::<F>())?;
    unwrap::<O, P, T>(packet, tables, mapping.shared.counter, uplink)
}

/// What a packet at `at` for a shared address is mapped by: its port, or an echo reply's
/// identifier. None for other messages of ICMP.
#[inline(always)]
pub fn port_of<F: Family, P: Packet>(
    packet: &P,
    at: usize,
    flow: &Flow<F>,
) -> Result<Option<u16>, Reason> {
    match flow.protocol == F::ICMP && flow.has_l4() {
        true => snat::echo(packet, at + flow.l4(), F::ECHO_REPLY),
        false => Ok(Some(flow.destination_port())),
    }
}

/// From the public network to the instance that has a port (or echo identifier) of a
/// shared address.
#[inline(always)]
pub fn send_in<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
    endpoint: Endpoint,
    port: u16,
) -> Result<u32, Exit> {
    let mapping = snat::inbound_mapping(tables, endpoint, flow, port)?;
    let tunnel = tunnel::at(tables, mapping.instance.tunnel)?;
    can_reach(packet, IP, flow, tunnel)?;
    if !FULL && !O::can_seal(packet, IP, tunnel, flow) {
        return Err(Exit::Continue(Step::PublicFull));
    }
    snat::arrive::<F, P, T, FULL>(packet, IP, tables, &mapping, flow)?;
    if FULL {
        // No SYN gets so far without.
        mss::lower(packet, IP, tables, flow)?;
    }
    rewrite::apply(packet, IP, flow, mapping.inward::<F>())?;
    wrap::<O, F, P, T, FULL>(packet, tables, flow, &mapping, tunnel)
}

/// An error from outside about what an instance sent behind a shared address.
#[inline(always)]
pub fn error_in<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    (flow, quote): (&Flow<F>, &Flow<F>),
    endpoint: Endpoint,
) -> Result<u32, Exit> {
    let mapping = quoted(packet, IP, tables, (flow, quote), endpoint)?;
    let tunnel = tunnel::at(tables, mapping.instance.tunnel)?;
    can_reach(packet, IP, flow, tunnel)?;
    icmp_error::rewrite(packet, IP, flow, quote, mapping.inward::<F>())?;
    wrap::<O, F, P, T, true>(packet, tables, flow, &mapping, tunnel)
}

/// The mapping of the packet that the error at `at` quotes. Whoever may send the error:
/// routers on the way are no peers of the instance.
#[inline(always)]
fn quoted<'t, F: Errors, P: Packet, T: Tables>(
    packet: &P,
    at: usize,
    tables: &'t T,
    (flow, quote): (&Flow<F>, &Flow<F>),
    endpoint: Endpoint,
) -> Result<Mapping<'t>, Exit> {
    if !quote.has_l4() {
        return Err(Reason::IcmpQuote.into());
    }
    let port = match quote.protocol == F::ICMP {
        true => icmp_error::quoted_echo(packet, at, flow, quote, F::ECHO_REQUEST)?,
        false => quote.source_port(),
    };
    snat::inbound_mapping(tables, endpoint, quote, port)
}

/// Whether the packet at `at` can take the way to an instance.
#[inline(always)]
fn can_reach<F: Family, P: Packet>(
    packet: &P,
    at: usize,
    flow: &Flow<F>,
    tunnel: &Tunnel,
) -> Result<(), Exit> {
    rewrite::alive(flow)?;
    tunnel::fits(tunnel, packet.len() - at)
}

/// Sends a packet that is rewritten to its instance.
#[inline(always)]
fn wrap<O: Outer, F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
    mapping: &Mapping<'_>,
    tunnel: &Tunnel,
) -> Result<u32, Exit> {
    let bytes = packet.len();
    let macs = Ethernet::swapped(mapping.instance.macs);
    let inside = mapping.inside(&macs);
    push::<O, F, P, FULL>(packet, flow, (inside, tunnel), flow.hash(tables))?;
    tables.count_in(mapping.shared.counter, bytes);
    Ok(tunnel.port)
}
