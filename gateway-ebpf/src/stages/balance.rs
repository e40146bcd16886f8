//! Which backend takes a flow: the hash alone, unless its ring slot is tracked.

use gateway_common::{Backend, Endpoint, Reason, RingSlot};

use super::parse::Flow;
use crate::{family::Family, hash, packet::Tables};

/// What decides on the backend of a flow.
#[derive(Clone, Copy)]
pub enum Choice {
    /// The hash alone, and this is the backend's index.
    Settled(u32),
    /// What is remembered of flows of the slot with this number.
    Tracked(u32, RingSlot),
}

/// Who takes a flow.
#[inline(always)]
pub fn choose<F: Family, T: Tables>(
    tables: &T,
    endpoint: Endpoint,
    flow: &Flow<F>,
    hash: u64,
) -> Result<Choice, Reason> {
    if endpoint.kind() == Endpoint::FLOATING {
        return Ok(Choice::Settled(endpoint.index()));
    }
    // Ports are in the first fragment only, so the others would go astray.
    if flow.is_fragment() {
        return Err(Reason::Fragment);
    }
    let slots = endpoint.slots();
    if slots == 1 {
        return Ok(Choice::Settled(endpoint.index()));
    }
    let number = endpoint.index() + slot(tables, endpoint, slots, flow, hash);
    let slot = RingSlot(tables.ring(number).ok_or(Reason::Internal)?);
    Ok(match slot.is_tracked() {
        false => Choice::Settled(slot.current()),
        true => Choice::Tracked(number, slot),
    })
}

/// A backend that takes packets.
#[inline(always)]
pub fn backend<T: Tables>(tables: &T, index: u32) -> Result<&Backend, Reason> {
    let backend = tables.backend(index).ok_or(Reason::Internal)?;
    match is_alive(backend) {
        true => Ok(backend),
        false => Err(Reason::NoBackend),
    }
}

/// Slot of a flow in its service's ring.
#[inline(always)]
fn slot<F: Family, T: Tables>(
    tables: &T,
    endpoint: Endpoint,
    slots: u32,
    flow: &Flow<F>,
    hash: u64,
) -> u32 {
    if endpoint.is_by_source() {
        let hash = F::hash(&tables.seed(), flow.source, flow.destination, 0);
        return hash::slot(hash, slots);
    }
    hash::slot(hash, slots)
}

/// Whether a backend takes packets at all.
#[inline(always)]
pub const fn is_alive(backend: &Backend) -> bool {
    backend.flags & Backend::FLAG_VALID != 0
}
