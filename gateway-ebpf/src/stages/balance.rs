//! Which backend takes a flow: the hash alone, unless its ring slot is tracked.

use gateway_common::{Backend, Endpoint, Reason, RingSlot, Step};

use super::{parse::Flow, track};
use crate::{
    family::Family,
    hash,
    packet::{Exit, Packet, Tables},
};

/// The backend of a flow whose packet is at `at`. Only a `FULL` program looks flows up.
#[inline(always)]
pub fn choose<'t, F: Family, P: Packet, T: Tables, const FULL: bool>(
    (packet, at): (&P, usize),
    tables: &'t T,
    endpoint: Endpoint,
    flow: &Flow<F>,
    hash: u64,
) -> Result<&'t Backend, Exit> {
    let index = if endpoint.kind() == Endpoint::FLOATING {
        endpoint.index()
    } else {
        // Ports are in the first fragment only, so the others would go astray.
        if flow.is_fragment() {
            return Err(Reason::Fragment.into());
        }
        match endpoint.slots() {
            1 => endpoint.index(),
            slots => {
                let number = endpoint.index() + slot(tables, endpoint, slots, flow, hash);
                let slot = RingSlot(tables.ring(number).ok_or(Reason::Internal)?);
                if !slot.is_tracked() {
                    slot.current()
                } else if FULL {
                    track::follow((packet, at), tables, flow, number, slot)?
                } else {
                    return Err(Exit::Continue(Step::PublicFull));
                }
            }
        }
    };
    let backend = tables.backend(index).ok_or(Reason::Internal)?;
    if !is_alive(backend) {
        return Err(Reason::NoBackend.into());
    }
    Ok(backend)
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
