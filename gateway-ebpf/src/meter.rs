//! Token buckets in one word: the generic cell rate algorithm (ITU-T I.371, annex A).
//!
//! The word is a time, the level: when the bucket would be full again. A packet moves
//! it by its cost; a packet that would move it further than the burst ahead of now is
//! refused. No second word says when the bucket was last filled.

use gateway_common::Limit;

use crate::word::Word;

/// Bits behind the point of a time: a jiffy is 2^24 of its units, so that a million
/// packets a second still cost some thousand each.
pub const POINT: u32 = 24;

/// The level after one more packet, or none if the packet is one too many. `now` is in
/// jiffies.
///
/// A level further ahead than the burst, left by an earlier and wider limit, counts as
/// a full burst.
#[inline(always)]
pub fn advance(limit: &Limit, now: u64, level: u64) -> Option<u64> {
    let now = now << POINT;
    let end = now.saturating_add(limit.burst);
    let start = if level > now { level } else { now };
    let start = if start > end { end } else { start };
    let next = start.saturating_add(limit.cost);
    (next <= end).then_some(next)
}

/// Takes a packet into account; whether it may pass.
///
/// Two CPUs that do so in the same instant may count one packet instead of two.
#[inline(always)]
pub fn take(limit: &Limit, now: u64, level: &Word) -> bool {
    if limit.cost == 0 {
        return true;
    }
    match advance(limit, now, level.get()) {
        Some(next) => {
            level.set(next);
            true
        }
        None => false,
    }
}

/// The same with two words that others use, too: a count-min sketch with conservative
/// update (Estan and Varghese, 2002). Neither word is ever behind the level that the
/// packets counted here would have alone, so nobody gets more than the limit; who
/// shares both words with busy others gets less.
#[inline(always)]
pub fn take_shared(limit: &Limit, now: u64, [first, second]: [&Word; 2]) -> bool {
    if limit.cost == 0 {
        return true;
    }
    let (a, b) = (first.get(), second.get());
    match advance(limit, now, if a < b { a } else { b }) {
        Some(next) => {
            if a < next {
                first.set(next);
            }
            if b < next {
                second.set(next);
            }
            true
        }
        None => false,
    }
}
