//! The challenge: an unknown source's SYN is answered with a SYN and ACK that
//! acknowledges nothing which the source sent. A real client resets that, with the
//! number that it was given, and sends its SYN again; a flood with made-up sources
//! never sees the number. Nothing is remembered of a SYN, nothing reaches a backend.
//!
//! A SYN cookie as servers use it would need its sequence numbers translated as long
//! as the connection lives, which is the state that a gateway does not keep.

use gateway_common::{Guard, Reason};

use super::cookie::Cookie;
use crate::{
    IP,
    checksum::{fold, halves},
    family::Family,
    headers::{Ethernet, Ipv4, Tcp},
    meter,
    packet::{Exit, GuardWords, Packet, Tables},
    stages::parse::Flow,
};

/// Shortest Ethernet frame without its check sequence (IEEE 802.3, section 3.2.8).
const SHORTEST: usize = 60;

/// Header length of five words, SYN and ACK, as they lie in the packet.
const SYN_ACK: u16 = u16::from_ne_bytes([0x50, 0x12]);

/// Whether a SYN must be answered with a challenge.
///
/// Off: all SYNs count towards the upper rate. On: those of unknown sources count
/// towards the lower one, and each that is too many keeps the challenge on for a
/// while. So it ends when the flood does, however many clients there are.
#[inline(always)]
pub(super) fn is_due<F: Family, T: Tables>(
    tables: &T,
    flow: &Flow<F>,
    guard: &Guard,
    state: &GuardWords,
) -> bool {
    let now = tables.now();
    let is_on = state.until.get() > now;
    if guard.flags & Guard::FLAG_ALWAYS == 0 {
        if !is_on && meter::take(&guard.above, now, &state.syns) {
            return false;
        }
        if !is_on {
            state.since.set(now);
            state.until.set(now + guard.hold);
        }
    }
    let is_known = tables
        .verified(flow.source_word(tables))
        .is_some_and(|until| until > now);
    if is_known {
        return false;
    }
    if is_on && !meter::take(&guard.below, now, &state.syns) {
        state.until.set(now + guard.hold);
    }
    true
}

/// Turns a SYN into its challenge.
#[inline(always)]
pub(super) fn send<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    flow: &Flow<F>,
) -> Result<Reason, Reason> {
    let at = IP + flow.l4();
    let cookie = Cookie::new(tables, flow, epoch(tables));
    let syn = u32::from_be(packet.need::<Tcp>(at)?.sequence);
    let (sequence, acknowledgment) = (cookie.sequence.to_be(), cookie.for_syn(syn).to_be());
    let sum = pseudo_header(flow)
        + sum_of(flow.ports)
        + sum_of(sequence)
        + sum_of(acknowledgment)
        + SYN_ACK as u32;
    // The compiler would see that the header is there, the verifier would not.
    let start = packet.settled(IP + F::LEN);
    let tcp = packet.need_mut::<Tcp>(start)?;
    tcp.source = flow.destination_port();
    tcp.destination = flow.source_port();
    tcp.sequence = sequence;
    tcp.acknowledgment = acknowledgment;
    tcp.offset_flags = SYN_ACK;
    tcp.window = 0;
    tcp.checksum = !fold(sum);
    tcp.urgent = 0;
    let ends = (flow.destination, flow.source);
    F::write(packet, IP, ends, (Ipv4::TCP, 0), Tcp::LEN)?;
    packet.need_mut::<Ethernet>(0)?.swap_macs();
    let length = IP + F::LEN + Tcp::LEN;
    shorten(packet, length)?;
    Ok(Reason::ChallengeSent)
}

/// Cuts off what the SYN had behind its header: options, data.
#[inline(always)]
fn shorten<P: Packet>(packet: &mut P, length: usize) -> Result<(), Reason> {
    let kept = if length < SHORTEST { SHORTEST } else { length };
    if packet.len() > kept {
        packet.truncate(kept)?;
    }
    if length < SHORTEST
        && let Some(padding) = packet.view_mut::<[u8; 6]>(SHORTEST - 6)
    {
        *padding = [0; 6];
    }
    Ok(())
}

/// A reset for a service that challenges: consumed if it has the number, else traffic
/// like any other.
#[inline(always)]
pub(super) fn returned<F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    flow: &Flow<F>,
    guard: &Guard,
) -> Result<(), Exit> {
    let sequence = u32::from_be(packet.need::<Tcp>(IP + flow.l4())?.sequence);
    let epoch = epoch(tables);
    let is_answer = Cookie::new(tables, flow, epoch).is_returned_by(sequence)
        || Cookie::new(tables, flow, epoch.wrapping_sub(1)).is_returned_by(sequence);
    if !is_answer {
        return Ok(());
    }
    tables.verify(flow.source_word(tables), tables.now() + guard.verified);
    Err(Reason::ChallengePassed.into())
}

/// The present epoch, the same at all gateways.
#[inline(always)]
fn epoch<T: Tables>(tables: &T) -> u64 {
    match tables.clock() {
        Some(clock) if clock.epoch != 0 => tables.now().wrapping_add(clock.offset) / clock.epoch,
        _ => 0,
    }
}

/// Sum over addresses, protocol and length of a TCP header without options (RFC 9293,
/// section 3.1).
#[inline(always)]
fn pseudo_header<F: Family>(flow: &Flow<F>) -> u32 {
    let [a, b, c, d] = F::words(flow.source).map(sum_of);
    let [e, f, g, h] = F::words(flow.destination).map(sum_of);
    let rest = (Ipv4::TCP as u16).to_be() as u32 + (Tcp::LEN as u16).to_be() as u32;
    fold(a + b + c + d) as u32 + fold(e + f + g + h) as u32 + rest
}

#[inline(always)]
fn sum_of(word: u32) -> u32 {
    let [low, high] = halves(word);
    low as u32 + high as u32
}
