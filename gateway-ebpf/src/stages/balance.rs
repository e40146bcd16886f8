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
    let kind = endpoint.kind();
    // Ports are in the first fragment only, so the others would go astray.
    if flow.is_fragment() && kind != Endpoint::FLOATING {
        return Err(Reason::Fragment);
    }
    let hash = match kind {
        Endpoint::SERVICE => hash,
        Endpoint::BY_SOURCE => F::hash(&tables.seed(), flow.source, flow.destination, 0),
        Endpoint::ADDRESS => return Err(Reason::NoService),
        _ => return Ok(Choice::Settled(endpoint.index())),
    };
    let number = endpoint.index() + hash::slot(hash, endpoint.slots());
    let slot = RingSlot(tables.ring(number).ok_or(Reason::Internal)?);
    Ok(match slot.is_tracked() {
        false => Choice::Settled(slot.current()),
        true => Choice::Tracked(number, slot),
    })
}

/// The record of a backend, which may hold none.
#[inline(always)]
pub fn backend<T: Tables>(tables: &T, index: u32) -> Result<&Backend, Reason> {
    tables.backend(index).ok_or(Reason::Internal)
}

/// Refuses a backend that takes no packets.
#[inline(always)]
pub fn alive(backend: &Backend) -> Result<(), Reason> {
    match is_alive(backend) {
        true => Ok(()),
        false => Err(Reason::NoBackend),
    }
}

/// Whether a backend takes packets at all.
#[inline(always)]
pub const fn is_alive(backend: &Backend) -> bool {
    backend.flags & Backend::FLAG_VALID != 0
}
