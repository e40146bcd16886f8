//! Which backend takes a flow: the hash alone, no flow table.

use gateway_common::{Backend, Endpoint, Reason, RingSlot};

use super::parse::Flow;
use crate::{
    family::Family,
    hash,
    packet::{Exit, Tables},
};

/// The backend of a flow.
#[inline(always)]
pub fn choose<'t, F: Family, T: Tables>(
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
                let slot = endpoint.index() + hash::slot(hash, slots);
                RingSlot(tables.ring(slot).ok_or(Reason::Internal)?).current()
            }
        }
    };
    let backend = tables.backend(index).ok_or(Reason::Internal)?;
    if backend.flags & Backend::FLAG_VALID == 0 {
        return Err(Reason::NoBackend.into());
    }
    Ok(backend)
}
