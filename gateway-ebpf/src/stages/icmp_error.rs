//! ICMP errors of others: they speak of a packet that was translated, and quote it as it
//! was then. Whoever sent that packet must find it quoted as it was before (RFC 5508,
//! section 4.2).
//!
//! An error goes where packets of the flow go that it speaks of. The quoted packet went
//! the other way, so the flow's packets in this direction are its reverse, and everything
//! else follows from them: endpoint, hash and backend, or the reverse translation. Any
//! gateway comes to the same result, whichever the network's ECMP picked.

use gateway_common::Reason;
use zerocopy::native_endian::U16;

use super::{parse::Flow, rewrite::Rewrite};
use crate::{
    checksum,
    family::{Errors, Side},
    headers::{Icmp, Ipv4, Tcp, Udp},
    packet::Packet,
};

/// Least that an error quotes of layer 4 (RFC 792): enough for the ports.
const LEAST: usize = 8;

/// Whether the ICMP packet at `at` is an error.
#[inline(always)]
pub fn is_one<F: Errors, P: Packet>(packet: &P, at: usize, flow: &Flow<F>) -> Result<bool, Reason> {
    Ok(F::is_error(packet.need::<Icmp>(at + flow.l4())?.kind))
}

/// The flow of the packet that the error at `at` quotes.
#[inline(always)]
pub fn quote<F: Errors, P: Packet>(
    packet: &P,
    at: usize,
    flow: &Flow<F>,
) -> Result<Flow<F>, Reason> {
    let icmp = at + flow.l4();
    if !F::is_translated(packet.need::<Icmp>(icmp)?.kind) {
        return Err(Reason::IcmpKind);
    }
    let mut quote = F::quoted(packet, icmp + Icmp::LEN)?;
    let l4 = icmp + Icmp::LEN + quote.l4();
    if l4 > at + flow.length as usize {
        return Err(Reason::IcmpQuote);
    }
    if !quote.has_l4() {
        return Ok(quote);
    }
    if l4 + LEAST > at + flow.length as usize {
        return Err(Reason::IcmpQuote);
    }
    let l4 = packet.settled(l4);
    match quote.protocol {
        Ipv4::TCP | Ipv4::UDP => {
            // Both begin alike.
            let udp = packet.view::<Udp>(l4).ok_or(Reason::IcmpQuote)?;
            quote.ports = udp.source as u32 | (udp.destination as u32) << 16;
        }
        protocol if protocol == F::ICMP => {
            let icmp = packet.view::<Icmp>(l4).ok_or(Reason::IcmpQuote)?;
            if F::is_error(icmp.kind) {
                return Err(Reason::IcmpQuote);
            }
        }
        _ => {}
    }
    // All that matters of it is here, whether or not more fragments followed.
    quote.fragment = 0;
    Ok(quote)
}

/// Identifier of the echo message of type `kind` that the error at `at` quotes.
#[inline(always)]
pub fn quoted_echo<F: Errors, P: Packet>(
    packet: &P,
    at: usize,
    flow: &Flow<F>,
    quote: &Flow<F>,
    kind: u8,
) -> Result<u16, Reason> {
    let l4 = packet.settled(at + flow.l4() + Icmp::LEN + quote.l4());
    let icmp = packet.view::<Icmp>(l4).ok_or(Reason::IcmpQuote)?;
    match icmp.kind == kind && icmp.code == 0 {
        true => Ok(icmp.id),
        false => Err(Reason::IcmpQuote),
    }
}

/// Why an error about this flow goes nowhere: nothing listens there, or the quoted
/// fragment does not tell the ports.
#[inline(always)]
pub fn unserved<F: Errors>(forward: &Flow<F>) -> Reason {
    match forward.has_l4() {
        true => Reason::NoService,
        false => Reason::IcmpQuote,
    }
}

/// Rewrites the error at `at`, whose TTL has been checked, and the opposite end of what
/// it quotes: the error goes to whom the quoted packet came from, or comes from whom it
/// went to.
#[inline(always)]
pub fn rewrite<F: Errors, P: Packet>(
    packet: &mut P,
    at: usize,
    flow: &Flow<F>,
    quote: &Flow<F>,
    to: Rewrite<'_>,
) -> Result<(), Reason> {
    let icmp = at + flow.l4();
    let quote_at = icmp + Icmp::LEN;
    let (ttl, side) = (flow.ttl.wrapping_sub(1), to.side.other());
    F::rewrite(packet, at, to.side, to.address, ttl, to.l3_delta)?;
    // The quoted packet's TTL stays.
    let l3_delta = checksum::add(to.l3_delta, !checksum::TTL_DELTA);
    F::rewrite(packet, quote_at, side, to.address, quote.ttl, l3_delta)?;
    let l4 = match quote.has_l4() {
        true => {
            let end = at + flow.length as usize;
            let l4 = packet.settled(quote_at + quote.l4());
            rewrite_l4(packet, l4, end, quote, side, &to)
        }
        false => L4Change::default(),
    };
    // What the error's own checksum covers has changed by this much. A quoted IPv4
    // header adds nothing, which is all ones here: its checksum makes up for the address.
    let mut delta = u16::MAX as u32 + l4.ports as u32 + l4.checksum as u32;
    if F::ICMP_COVERS_ADDRESSES {
        // In the pseudo header, and in the quote.
        let address = checksum::add(to.l4_delta, !l4.ports);
        delta += address as u32 * 2;
    }
    let header = packet.need_mut::<Icmp>(icmp)?;
    header.checksum = checksum::update(header.checksum, checksum::fold(delta));
    Ok(())
}

/// What a rewrite adds to a sum over the quoted layer 4.
#[derive(Clone, Copy, Default)]
struct L4Change {
    /// By a port.
    ports: u16,
    /// By the checksum, if that is quoted.
    checksum: u16,
}

/// Rewrites the quoted layer 4 at `l4`, of which the error has the bytes before `end`:
/// the ports for sure, since [`quote`] saw them. (Were their absence an error here, LLVM
/// would compute with what is in the result's registers then, and the verifier refuse.)
#[inline(always)]
fn rewrite_l4<F: Errors, P: Packet>(
    packet: &mut P,
    l4: usize,
    end: usize,
    quote: &Flow<F>,
    side: Side,
    to: &Rewrite<'_>,
) -> L4Change {
    let mut change = L4Change::default();
    let has_ports = quote.protocol == Ipv4::TCP || quote.protocol == Ipv4::UDP;
    if has_ports
        && !to.keep_port
        && let Some(udp) = packet.view_mut::<Udp>(l4)
    {
        let old = match side {
            Side::Source => udp.source,
            Side::Destination => udp.destination,
        };
        match side {
            Side::Source => udp.source = to.port,
            Side::Destination => udp.destination = to.port,
        }
        change.ports = checksum::delta(&[old], &[to.port]);
    }
    // Identifiers are translated only where addresses are shared.
    let is_echo = F::IS_SHARED && quote.protocol == F::ICMP && !to.keep_port;
    if is_echo && let Some(icmp) = packet.view_mut::<Icmp>(l4) {
        change.ports = checksum::delta(&[icmp.id], &[to.port]);
        icmp.id = to.port;
    }
    let has_icmp_sum = is_echo || F::ICMP_COVERS_ADDRESSES && quote.protocol == F::ICMP;
    let at = match quote.protocol {
        Ipv4::TCP => l4 + core::mem::offset_of!(Tcp, checksum),
        Ipv4::UDP => l4 + core::mem::offset_of!(Udp, checksum),
        _ if has_icmp_sum => l4 + core::mem::offset_of!(Icmp, checksum),
        // Other protocols keep their sums.
        _ => return change,
    };
    if at + size_of::<U16>() > end {
        return change;
    }
    let at = packet.settled(at);
    if let Some(sum) = packet.view_mut::<U16>(at) {
        let old = sum.get();
        let new = match quote.protocol {
            Ipv4::UDP => checksum::update_udp(old, to.l4_delta),
            _ => checksum::update(old, to.l4_delta),
        };
        sum.set(new);
        change.checksum = checksum::delta(&[old], &[new]);
    }
    change
}
