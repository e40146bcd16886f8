//! The public address behind which an instance's packet appears. Stateless: who
//! sends, and from which port, says it all.

use gateway_common::{Backend, Instance, Reason, Reference, ReverseKey, SourceNat};

use super::{parse::Flow, rewrite::Rewrite, source::Sender};
use crate::{bucket, family::Family, packet::Tables};

/// What an instance's flow is for the world.
#[derive(Clone, Copy)]
pub struct Identity<'t> {
    /// What its packets become.
    pub rewrite: Rewrite<'t>,
    /// Index into `COUNTERS`.
    pub counter: u32,
}

impl<'t> From<&'t SourceNat> for Identity<'t> {
    #[inline(always)]
    fn from(nat: &'t SourceNat) -> Self {
        Self {
            rewrite: Rewrite::from(nat),
            counter: nat.counter,
        }
    }
}

/// The reverse translation of what an instance sends.
#[inline(always)]
pub fn find<'t, F: Family, T: Tables>(
    tables: &'t T,
    sender: &Sender<'_>,
    flow: &Flow<F>,
) -> Result<&'t SourceNat, Reason> {
    if flow.ports != 0 {
        let key = ReverseKey::new(sender.index, flow.protocol, flow.source_port());
        if let Some(found) = bucket::find(key.0, |place| tables.reverse(place)) {
            if flow.is_fragment() {
                return Err(Reason::Fragment);
            }
            return valid(tables, Reference(found).index());
        }
    }
    if sender.instance.floating == 0 {
        return Err(Reason::NoReverse);
    }
    valid(tables, sender.instance.floating)
}

/// Whether what an instance sends may stay inside.
#[inline(always)]
pub fn stays_inside<F: Family>(instance: &Instance, flow: &Flow<F>) -> bool {
    F::is_inside(&instance.inside, flow.destination)
}

#[inline(always)]
fn valid<T: Tables>(tables: &T, index: u32) -> Result<&SourceNat, Reason> {
    let nat = tables.source_nat(index).ok_or(Reason::Internal)?;
    if nat.flags & Backend::FLAG_VALID == 0 {
        return Err(Reason::NoReverse);
    }
    Ok(nat)
}
