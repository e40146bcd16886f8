//! How mappings age and what TCP does to them. Pure arithmetic.
//!
//! A mapping may carry several connections at once, so it is not any one's state: it
//! says how long the port must be kept for whatever may still be going on.

use gateway_common::{SnatAddress, SnatClass, SnatOwner, SnatState};

/// TCP's flags (RFC 9293, section 3.1).
pub const FIN: u8 = 1;
/// See above.
pub const SYN: u8 = 2;
/// See above.
pub const RST: u8 = 4;

/// Flags that change a mapping.
pub const EVENTS: u8 = SYN | FIN | RST;

/// Ticks after which a claim that was never finished is void. A claim takes some
/// nanoseconds, and whoever makes one is not interrupted.
const CLAIM: u32 = 8;

/// Ticks that a mapping in this phase may be idle.
#[inline(always)]
fn lifetime(shared: &SnatAddress, class: SnatClass, phase: u8) -> u32 {
    match class {
        SnatClass::Tcp if phase & SnatState::PHASE == SnatState::ESTABLISHED => shared.established,
        SnatClass::Tcp => shared.transitory,
        SnatClass::Udp => shared.udp,
        SnatClass::Echo => shared.echo,
    }
}

/// Ticks that any mapping of the class may be idle.
#[inline(always)]
pub fn longest(shared: &SnatAddress, class: SnatClass) -> u32 {
    lifetime(shared, class, SnatState::ESTABLISHED)
}

/// Ticks since a mapping was used. CPUs may read the clock in any order, so this may
/// be a little less than nothing.
#[inline(always)]
fn idle(state: SnatState, now: u32) -> i32 {
    now.wrapping_sub(state.tick()) as i32
}

/// Whether a mapping carries nothing any more.
#[inline(always)]
pub fn is_expired(shared: &SnatAddress, class: SnatClass, state: SnatState, now: u32) -> bool {
    let phase = state.phase() & SnatState::PHASE;
    phase <= SnatState::CLAIMED || idle(state, now) > lifetime(shared, class, phase) as i32
}

/// Whether `next` may have a port that `owner` has had.
///
/// What one instance leaves another gets only after a while, so that what is still
/// under way to the first does not reach the second (RFC 6888, REQ-8; the instance
/// itself may have it at once, exception (b)).
#[inline(always)]
pub fn is_free(
    shared: &SnatAddress,
    class: SnatClass,
    (owner, state): (SnatOwner, SnatState),
    next: SnatOwner,
    now: u32,
) -> bool {
    let rest = match state.phase() & SnatState::PHASE {
        SnatState::FREE => return true,
        SnatState::CLAIMED => CLAIM,
        phase if owner.is_neighbour(next) => lifetime(shared, class, phase),
        phase => lifetime(shared, class, phase).saturating_add(shared.hold),
    };
    idle(state, now) > rest as i32
}

/// Phase of a new mapping.
#[inline(always)]
pub const fn first(class: SnatClass) -> u8 {
    match class {
        SnatClass::Tcp => SnatState::OPENING,
        SnatClass::Udp | SnatClass::Echo => SnatState::ACTIVE,
    }
}

/// Phase after a TCP packet with these flags.
///
/// - A reset leaves the shorter timeout (RFC 7857, section 2.2): it may be forged, and
///   what is still used stays.
/// - Two FINs do as well, one does not: half-closed connections may send for hours.
/// - Payload from inside proves that some connection lives.
#[inline(always)]
pub const fn next(phase: u8, flags: u8, outward: bool, payload: bool) -> u8 {
    const FINS: u8 = SnatState::FIN_OUT | SnatState::FIN_IN;
    let base = phase & SnatState::PHASE;
    if flags & RST != 0 {
        return SnatState::CLOSING;
    }
    if flags & SYN != 0 {
        return match (outward, base) {
            (true, SnatState::ANSWERED | SnatState::ESTABLISHED) => base,
            (true, _) => SnatState::OPENING,
            (false, SnatState::OPENING) => SnatState::ANSWERED,
            (false, _) => phase,
        };
    }
    if flags & FIN != 0 {
        let fin = if outward {
            SnatState::FIN_OUT
        } else {
            SnatState::FIN_IN
        };
        return if (phase | fin) & FINS == FINS {
            SnatState::CLOSING
        } else {
            phase | fin
        };
    }
    match (outward, base) {
        (false, SnatState::OPENING) => SnatState::ANSWERED | phase & FINS,
        (true, SnatState::ANSWERED) => SnatState::ESTABLISHED | phase & FINS,
        (true, SnatState::CLOSING) if payload => SnatState::ESTABLISHED,
        _ => phase,
    }
}
