//! Telling the sender of a packet that it cannot go on, and why: "fragmentation needed"
//! (RFC 1191) or "packet too big" (RFC 4443, section 3.2), and "time exceeded".
//!
//! The answer is made of the frame itself: the end is cut off, headers come in front,
//! and the refused packet becomes what they quote.

use gateway_common::{Note, Reason};

use super::{arrival, limit, parse::Flow, source, vlan, vxlan::Opened};
use crate::{
    IP, checksum,
    family::Errors,
    headers::{Ethernet, Icmp},
    outer::Outer,
    packet::{Packet, Tables},
};
use zerocopy::native_endian::{U16, U32};

/// Why a packet cannot go on.
#[derive(Clone, Copy)]
struct Refusal {
    reason: Reason,
    /// Longest IP packet that would have fitted, or 0.
    mtu: u32,
}

impl Refusal {
    #[inline(always)]
    fn noted<T: Tables>(tables: &T) -> Self {
        let expired = tables.noted(Note::Reason) == Reason::TtlExceeded as u32;
        Self {
            reason: if expired {
                Reason::TtlExceeded
            } else {
                Reason::TooBig
            },
            mtu: if expired { 0 } else { tables.noted(Note::Mtu) },
        }
    }

    #[inline(always)]
    const fn limited(self) -> Reason {
        match self.reason {
            Reason::TtlExceeded => Reason::TtlExceededLimited,
            _ => Reason::TooBigLimited,
        }
    }

    #[inline(always)]
    const fn sent(self) -> Reason {
        match self.reason {
            Reason::TtlExceeded => Reason::SentTimeExceeded,
            _ => Reason::SentTooBig,
        }
    }
}

/// Refuses a packet from the public network. The answer comes from the interface's own
/// address, as from any router's (RFC 1812, section 4.3.2.4), or else from the address
/// that the packet was for.
#[inline(always)]
pub fn outside<F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
) -> Result<Reason, Reason> {
    let flow = F::parse(packet, IP)?;
    let refusal = may_answer(packet, IP, tables, &flow)?;
    let quote = Quote::cut(packet, IP, &flow)?;
    let interface = arrival::interface(tables, packet.ingress(), vlan::of_arrival(tables));
    let from = interface
        .and_then(F::address_of)
        .unwrap_or(flow.destination);
    tell(packet, IP, &flow, from, (refusal, quote))?;
    Ok(refusal.sent())
}

/// Refuses a packet from an instance. The answer comes from its virtual router, which
/// is the hop that the instance knows.
#[inline(always)]
pub fn inside<O: Outer, F: Errors, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
) -> Result<Reason, Reason> {
    let flow = F::parse(packet, O::INNER_IP)?;
    let refusal = may_answer(packet, O::INNER_IP, tables, &flow)?;
    let quote = Quote::cut(packet, O::INNER_IP, &flow)?;
    let sender = source::instance::<O, F, T>(tables, outer, flow.source)?;
    let router = F::address(&sender.instance.router);
    tell(packet, O::INNER_IP, &flow, router, (refusal, quote))?;
    O::refit(packet, F::TOS)?;
    O::turn_round(packet)?;
    Ok(refusal.sent())
}

/// What to say, unless nothing may be said.
#[inline(always)]
fn may_answer<F: Errors, P: Packet, T: Tables>(
    packet: &P,
    at: usize,
    tables: &T,
    flow: &Flow<F>,
) -> Result<Refusal, Reason> {
    let refusal = Refusal::noted(tables);
    let error = flow.protocol == F::ICMP
        && flow.has_l4()
        && F::is_error(packet.need::<Icmp>(at + flow.l4())?.kind);
    let answerable =
        flow.has_l4() && !error && F::is_one_host(flow.source) && F::is_one_host(flow.destination);
    if !answerable {
        return Err(refusal.reason);
    }
    let now = tables.now();
    let limit = tables.error_limit();
    match tables.limiter(|bucket| limit::take(bucket, &limit, now)) {
        Some(true) => Ok(refusal),
        _ => Err(refusal.limited()),
    }
}

/// What an error quotes of the refused packet.
#[derive(Clone, Copy)]
struct Quote {
    length: usize,
    /// Folded sum of its words.
    sum: u16,
}

impl Quote {
    /// Cuts the frame off behind what is quoted of the packet at `at`, and sums that up.
    /// Early on: the verifier goes through the sum once for each way that leads to it.
    #[inline(always)]
    fn cut<F: Errors, P: Packet>(
        packet: &mut P,
        at: usize,
        flow: &Flow<F>,
    ) -> Result<Self, Reason> {
        let length = (flow.length as usize).min(F::QUOTED);
        packet.truncate(at + length)?;
        let sum = checksum::fold_wide(sum(packet, at, length, F::QUOTED));
        Ok(Self { length, sum })
    }
}

/// Turns the frame whose IP packet lies at `at` into an error to its sender.
#[inline(always)]
fn tell<F: Errors, P: Packet>(
    packet: &mut P,
    at: usize,
    flow: &Flow<F>,
    from: F::Address,
    (refusal, quote): (Refusal, Quote),
) -> Result<(), Reason> {
    let gap = F::LEN + Icmp::LEN;
    packet.push(gap)?;
    close_up(packet, at, gap)?;
    packet.need_mut::<Ethernet>(at - Ethernet::LEN)?.swap_macs();
    let payload = Icmp::LEN + quote.length;
    F::write(packet, at, (from, flow.source), (F::ICMP, F::TOS), payload)?;
    let (kind, code) = match refusal.reason {
        Reason::TtlExceeded => F::TIME_EXCEEDED,
        _ => F::TOO_BIG,
    };
    let [a, b] = checksum::halves(refusal.mtu.to_be());
    let covered = F::covered(from, flow.source, payload);
    let words = u16::from_ne_bytes([kind, code]) as u32 + a as u32 + b as u32;
    let icmp = packet.need_mut::<Icmp>(at + F::LEN)?;
    (icmp.kind, icmp.code) = (kind, code);
    (icmp.id, icmp.sequence) = (a, b);
    icmp.checksum = !checksum::fold(words + quote.sum as u32 + covered as u32);
    Ok(())
}

/// Moves the `length` bytes that lie behind a gap to the front of the frame.
#[inline(always)]
fn close_up<P: Packet>(packet: &mut P, length: usize, gap: usize) -> Result<(), Reason> {
    let mut at = 0;
    while at < length {
        let word = packet.need::<U16>(at + gap)?.get();
        packet.need_mut::<U16>(at)?.set(word);
        at += 2;
    }
    Ok(())
}

/// Sum of the words in the `length` bytes from `at` to the frame's end, at most `most`. A
/// last odd byte counts as if a zero came behind it (RFC 1071).
///
/// What whole blocks leave over comes first, so that blocks begin at an offset that the
/// verifier does not know: from a known one it would learn at each block how long the
/// frame is, and go through all that follows once for each length.
#[inline(always)]
fn sum<P: Packet>(packet: &P, at: usize, length: usize, most: usize) -> u64 {
    const BLOCK: usize = 32;
    // Bounded, as the verifier wants.
    let length = length & 0x7ff;
    let mut sum = 0;
    if length & 1 != 0
        && let Some(byte) = packet.view::<u8>(at + (length & !1))
    {
        sum += *byte as u64;
    }
    if length & 2 != 0
        && let Some(word) = packet.view::<U16>(at)
    {
        sum += word.get() as u64;
    }
    if length & 4 != 0
        && let Some(word) = packet.view::<U32>(at + (length & 2))
    {
        sum += word.get() as u64;
    }
    if length & 8 != 0
        && let Some([a, b]) = packet.view::<[U32; 2]>(at + (length & 6))
    {
        sum += a.get() as u64 + b.get() as u64;
    }
    if length & 16 != 0
        && let Some([a, b, c, d]) = packet.view::<[U32; 4]>(at + (length & 14))
    {
        sum += a.get() as u64 + b.get() as u64 + c.get() as u64 + d.get() as u64;
    }
    let blocks = at + (length & 30);
    let mut done = 0;
    while done < most {
        let Some(words) = packet.view::<[U32; 8]>(blocks + done) else {
            break;
        };
        sum += words.iter().map(|word| word.get() as u64).sum::<u64>();
        done += BLOCK;
    }
    sum
}
