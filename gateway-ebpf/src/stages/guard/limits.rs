//! Rates: of each source, and of a service as a whole.
//!
//! Sources share an array of meters by hash, two for each. It needs no insert and no
//! eviction: a flood from a million addresses writes to the same memory as ten do, and
//! cannot push out the meter of a source that is over its limit, as it would in an LRU.

use gateway_common::{Guard, Limit, Reason};

use crate::{
    meter,
    packet::{Exit, GuardWords, Tables},
};

/// Which word of a meter.
const PACKETS: usize = 0;
const FLOWS: usize = 1;

#[inline(always)]
pub(super) fn source_packets<T: Tables>(tables: &T, source: u64) -> Result<(), Exit> {
    let limits = tables.guard_limits(0).ok_or(Reason::Internal)?;
    of_source(tables, source, PACKETS, &limits.packets, Reason::RateSource)
}

#[inline(always)]
pub(super) fn source_flows<T: Tables>(tables: &T, source: u64) -> Result<(), Exit> {
    let limits = tables.guard_limits(0).ok_or(Reason::Internal)?;
    of_source(tables, source, FLOWS, &limits.flows, Reason::FlowsSource)
}

/// One more of what a word of the source's meters counts.
#[inline(always)]
fn of_source<T: Tables>(
    tables: &T,
    source: u64,
    word: usize,
    limit: &Limit,
    exceeded: Reason,
) -> Result<(), Exit> {
    let Some([first, second]) = meters(tables, source) else {
        return Err(Reason::Internal.into());
    };
    match meter::take_shared(limit, tables.now(), [&first[word], &second[word]]) {
        true => Ok(()),
        false => Err(exceeded.into()),
    }
}

/// Packets of the service with this guard; 0 is none.
#[inline(always)]
pub(super) fn service_packets<T: Tables>(tables: &T, index: u32) -> Result<(), Exit> {
    if index == 0 {
        return Ok(());
    }
    let guard = tables.guard_limits(index).ok_or(Reason::Internal)?;
    if guard.packets.cost == 0 {
        return Ok(());
    }
    let state = tables.guard_state(index).ok_or(Reason::Internal)?;
    match meter::take(&guard.packets, tables.now(), &state.packets) {
        true => Ok(()),
        false => Err(Reason::RateService.into()),
    }
}

#[inline(always)]
pub(super) fn service_flows<T: Tables>(
    tables: &T,
    guard: &Guard,
    state: &GuardWords,
) -> Result<(), Exit> {
    match meter::take(&guard.flows, tables.now(), &state.flows) {
        true => Ok(()),
        false => Err(Reason::FlowsService.into()),
    }
}

/// The two meters of a source. They may be one and the same, which does no harm.
#[inline(always)]
fn meters<T: Tables>(tables: &T, source: u64) -> Option<[&[crate::word::Word; 2]; 2]> {
    Some([
        tables.meter(source as u32)?,
        tables.meter((source >> 32) as u32)?,
    ])
}
