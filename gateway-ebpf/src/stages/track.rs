//! Flows of a ring slot whose backend has changed: each stays with the one it had.
//!
//! A slot is tracked from a change until nobody uses it in the old way any more; the
//! agent sees that by the slot's mark, and settles it. In the steady state no slot is
//! tracked and nothing here runs.
//!
//! - A first packet (TCP SYN) gets the current backend. It is remembered in a table of
//!   its own and moves to the table of flows with the second packet, so that a flood of
//!   first packets pushes out no flow.
//! - A flow that is remembered goes where it went before.
//! - Any other goes to the previous backend. It need not be remembered: that backend
//!   stays the same as long as the slot is tracked. So a flood of packets that belong to
//!   no flow writes nothing.
//! - Flows of a backend that is dead go to the current one.
//!
//! UDP has no first packets; what is not remembered is, at its previous backend, as
//! long as the agent names one: after a time in which every flow that was there had its
//! say it names none, and what comes then is new.

use gateway_common::{Begun, FlowKey, Moved, Reason, RingSlot, Track, TrackEvent};

use super::{balance, parse::Flow};
use crate::{
    family::Family,
    headers::{Ipv4, Tcp},
    packet::{Packet, Tables},
};

/// How far behind its SYN a flow's second packet may be, in bytes: some lost packets of
/// a first flight. Whoever wants to move another's connection by a forged SYN has to
/// guess its sequence number this well (RFC 5961 is about the same attacker).
const FIRST_FLIGHT: u32 = 1 << 20;

/// A mark lasts for 2^6 jiffies, so that a busy slot's cache line is seldom written.
const MARK_SHIFT: u32 = 6;

/// Index of the backend of a flow in a tracked slot.
#[inline(always)]
pub fn follow<F: Family, P: Packet, T: Tables>(
    (packet, at): (&P, usize),
    tables: &T,
    flow: &Flow<F>,
    number: u32,
    slot: RingSlot,
) -> Result<u32, Reason> {
    let track = Track(tables.track(number).ok_or(Reason::Internal)?);
    let key = key(flow);
    let sequence = match flow.protocol {
        Ipv4::TCP => u32::from_be(packet.need::<Tcp>(at + flow.l4())?.sequence),
        _ => 0,
    };
    let index = find(tables, flow, &key, sequence, slot, track.epoch());
    if index != slot.current() {
        tables.count_track(TrackEvent::Kept);
        let mark = (tables.now() >> MARK_SHIFT) as u32;
        if mark != track.mark() {
            tables.mark(number, mark);
        }
    }
    Ok(index)
}

/// The same for an ICMP error about a packet of the flow: it goes where the flow went
/// last, and neither begins one nor remembers anything.
#[inline(always)]
pub fn recall<F: Family, T: Tables>(
    tables: &T,
    flow: &Flow<F>,
    number: u32,
    slot: RingSlot,
) -> Result<u32, Reason> {
    let epoch = Track(tables.track(number).ok_or(Reason::Internal)?).epoch();
    let key = key(flow);
    let of_now = |moved: &Moved| moved.epoch() == epoch;
    let moved = tables.moved(&key).filter(of_now);
    let begun = || tables.begun(&key).map(|begun| begun.moved).filter(of_now);
    let last = match moved.or_else(begun) {
        Some(moved) => moved.backend(),
        None => slot.previous(),
    };
    Ok(match is_alive(tables, last) {
        true => last,
        false => slot.current(),
    })
}

#[inline(always)]
fn key<F: Family>(flow: &Flow<F>) -> FlowKey {
    FlowKey {
        source: F::wide(flow.source),
        destination: F::wide(flow.destination),
        ends: flow.ports as u64 | (flow.protocol as u64) << 32,
    }
}

#[inline(always)]
fn find<F: Family, T: Tables>(
    tables: &T,
    flow: &Flow<F>,
    key: &FlowKey,
    sequence: u32,
    slot: RingSlot,
    epoch: u32,
) -> u32 {
    let current = slot.current();
    if let Some(moved) = tables.moved(key)
        && moved.epoch() == epoch
    {
        return match is_alive(tables, moved.backend()) {
            true => moved.backend(),
            false => remember(tables, key, Moved::new(current, epoch)),
        };
    }
    let begun = tables.begun(key).filter(|begun| {
        // Of this transition, and there is still somebody to go to.
        begun.moved.epoch() == epoch && is_alive(tables, begun.moved.backend())
    });
    let is_tcp = flow.protocol == Ipv4::TCP;
    if is_tcp && flow.tcp_flags & (Tcp::SYN | Tcp::ACK) == Tcp::SYN {
        return match begun {
            // It comes again.
            Some(begun) if begun.sequence as u32 == sequence => begun.moved.backend(),
            _ => begin(tables, key, current, epoch, sequence),
        };
    }
    if let Some(begun) = begun {
        let distance = sequence.wrapping_sub(begun.sequence as u32);
        if !is_tcp || (1..FIRST_FLIGHT).contains(&distance) {
            return remember(tables, key, begun.moved);
        }
    }
    let backend = match slot.previous() {
        previous if is_alive(tables, previous) => previous,
        _ => current,
    };
    match is_tcp {
        true => backend,
        false => begin(tables, key, backend, epoch, sequence),
    }
}

/// Remembers a flow, unless nobody serves it.
#[inline(always)]
fn remember<T: Tables>(tables: &T, key: &FlowKey, moved: Moved) -> u32 {
    if moved.backend() != 0 {
        tables.remember(key, moved);
        tables.count_track(TrackEvent::Remembered);
    }
    moved.backend()
}

/// Remembers a first packet. Nothing is remembered of a service without backends.
#[inline(always)]
fn begin<T: Tables>(tables: &T, key: &FlowKey, backend: u32, epoch: u32, sequence: u32) -> u32 {
    if backend != 0 {
        let begun = Begun {
            moved: Moved::new(backend, epoch),
            sequence: sequence as u64,
        };
        tables.begin(key, begun);
        tables.count_track(TrackEvent::Begun);
    }
    backend
}

/// Whether packets can go to a backend. Index 0 is none.
#[inline(always)]
fn is_alive<T: Tables>(tables: &T, backend: u32) -> bool {
    backend != 0 && tables.backend(backend).is_some_and(balance::is_alive)
}
