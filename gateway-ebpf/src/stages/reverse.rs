//! The public address behind which an instance's packet appears. Stateless: who
//! sends, and from which port, says it all.

use gateway_common::{Backend, Instance, Reason, Reference, ReverseKey, SourceNat};

use super::parse::Flow;
use crate::{bucket, packet::Tables};

/// The reverse translation of what an instance sends.
#[inline(always)]
pub fn find<'t, T: Tables>(
    tables: &'t T,
    index: u32,
    instance: &Instance,
    flow: &Flow,
) -> Result<&'t SourceNat, Reason> {
    if instance.inside[0].contains(flow.destination)
        || instance.inside[1].contains(flow.destination)
    {
        return Err(Reason::InsideRoute);
    }
    if flow.ports != 0 {
        let key = ReverseKey::new(index, flow.protocol, flow.source_port());
        if let Some(found) = bucket::find(key.0, |place| tables.reverse(place)) {
            if flow.is_fragment() {
                return Err(Reason::Fragment);
            }
            return valid(tables, Reference(found).index());
        }
    }
    if instance.floating == 0 {
        return Err(Reason::NoReverse);
    }
    valid(tables, instance.floating)
}

#[inline(always)]
fn valid<T: Tables>(tables: &T, index: u32) -> Result<&SourceNat, Reason> {
    let nat = tables.source_nat(index).ok_or(Reason::Internal)?;
    if nat.flags & Backend::FLAG_VALID == 0 {
        return Err(Reason::NoReverse);
    }
    Ok(nat)
}
