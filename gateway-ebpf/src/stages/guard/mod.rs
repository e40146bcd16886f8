//! The guard of the public side: who may send to our public addresses, and how much.
//!
//! [`admit`] runs in the entry program, once a packet, when it is known that the packet
//! is for one of our addresses: the node's own traffic (BGP, BFD, SSH) never meets the
//! guard, so no list can lock an operator out. Starts of flows go on in a step of
//! their own, [`start`].

mod challenge;
mod cookie;
mod limits;
mod lists;
mod malformed;

use gateway_common::{Endpoint, Guard, GuardBits, Listed, Reason, Step};

pub use cookie::Cookie;

use super::parse::Flow;
use crate::{
    bucket,
    family::Family,
    headers::{Ethernet, Ipv4},
    packet::{Exit, Packet, Tables},
};

/// TCP flags.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Whether a packet for an endpoint may go on.
///
/// Cheapest first: flags cost nothing, lists one word for most sources, limits a line
/// each.
#[inline(always)]
pub fn admit<F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    flow: &Flow<F>,
    endpoint: Endpoint,
) -> Result<(), Exit> {
    let on = tables.guard();
    if on == 0 || is_neighbour(flow) {
        return Ok(());
    }
    let is_tcp = flow.protocol == Ipv4::TCP && flow.has_l4();
    if on & GuardBits::MALFORMED != 0 {
        malformed::check(flow)?;
    }
    if on & GuardBits::LISTS != 0 {
        match lists::find::<F, P, T>(packet, tables, flow.source) {
            Listed::NOT => {}
            Listed::ALLOWED => return Ok(()),
            Listed::BOGON => return Err(Reason::Bogon.into()),
            Listed::OWN => return Err(Reason::OwnSource.into()),
            _ => return Err(Reason::DenyListed.into()),
        }
    }
    if on & GuardBits::SOURCE_PACKETS != 0 {
        limits::source_packets(tables, flow.source_word(tables))?;
    }
    let guarded = on & GuardBits::SERVICES != 0 && endpoint.is_guarded();
    if guarded {
        limits::service_packets(tables, of(tables, endpoint))?;
    }
    let starts = is_tcp && flow.tcp_flags & (SYN | ACK) == SYN;
    let resets = is_tcp && flow.tcp_flags & (SYN | ACK | RST) == RST;
    if starts && (guarded || on & GuardBits::SOURCE_FLOWS != 0) || resets && guarded {
        return Err(Exit::Continue(Step::PublicGuard));
    }
    Ok(())
}

/// The start of a flow, or a reset that may answer a challenge; all of [`admit`] was
/// passed.
#[inline(always)]
pub fn start<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
    endpoint: Endpoint,
) -> Result<(), Exit> {
    let index = match endpoint.is_guarded() {
        true => of(tables, endpoint),
        false => 0,
    };
    let guard = tables.guard_limits(index).ok_or(Reason::Internal)?;
    let challenges = index != 0 && guard.flags & (Guard::FLAG_CHALLENGE | Guard::FLAG_ALWAYS) != 0;
    if flow.tcp_flags & SYN == 0 {
        return match challenges {
            true => challenge::returned(packet, tables, flow, guard),
            false => Ok(()),
        };
    }
    if tables.guard() & GuardBits::SOURCE_FLOWS != 0 {
        limits::source_flows(tables, flow.source_word(tables))?;
    }
    if index == 0 {
        return Ok(());
    }
    let state = tables.guard_state(index).ok_or(Reason::Internal)?;
    if challenges && challenge::is_due(tables, flow, guard, state) {
        return Err(challenge::send(packet, tables, flow)?.into());
    }
    limits::service_flows(tables, guard, state)
}

/// Index of an endpoint's guard, or 0 while the agent is about to change it.
#[inline(always)]
fn of<T: Tables>(tables: &T, endpoint: Endpoint) -> u32 {
    let found = bucket::find(endpoint.guard_key(), |place| tables.guarded(place));
    found.map_or(0, |index| index as u32)
}

/// Neighbour discovery comes from link-local addresses; a hop limit of 255 shows that
/// it is from the link itself (RFC 4861, section 7.1).
#[inline(always)]
fn is_neighbour<F: Family>(flow: &Flow<F>) -> bool {
    F::KIND == Ethernet::IPV6 && flow.protocol == F::ICMP && flow.ttl == 255
}
