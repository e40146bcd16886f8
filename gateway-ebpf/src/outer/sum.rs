//! The UDP checksum of a tunnel over IPv6, from what is known or from all bytes.

use core::hint::black_box;

use gateway_common::Reason;

use crate::{
    checksum::{fold_wide, wide},
    family::Family,
    headers::{Block, Ethernet, Ipv4, Ipv6, Udp},
    packet::Packet,
    stages::parse::{self, Flow},
};

/// Bytes of the shortest UDP datagram that is not read.
const TOO_LONG: usize = 2048;

/// Where the outer UDP header lies.
const UDP: usize = Ethernet::LEN + Ipv6::LEN;

/// A sum as UDP's checksum, where 0 means "none" (RFC 8200, section 8.1).
#[inline(always)]
pub(super) const fn udp(sum: u64) -> u16 {
    match !fold_wide(sum) {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Whether the IP packet at `at` has a checksum of its own over all that is behind its
/// IP header, and the frame ends where the packet does.
#[inline(always)]
pub(super) fn is_known<F: Family, P: Packet>(packet: &P, at: usize, flow: &Flow<F>) -> bool {
    if flow.is_fragment() || flow.extensions != 0 || packet.len() != at + flow.length as usize {
        return false;
    }
    match flow.protocol {
        Ipv4::TCP => true,
        // The compiler would see that the header is there, the verifier would not.
        Ipv4::UDP => packet
            .view::<Udp>(packet.settled(at + F::LEN))
            .is_some_and(|udp| {
                udp.checksum != 0 && udp.length == (flow.length - F::LEN as u16).to_be()
            }),
        protocol => protocol == F::ICMP,
    }
}

/// Sets the outer UDP checksum, which is 0, by reading the whole datagram. One that is too
/// long ends here: who insists on checksums would drop it, and nobody would know.
#[inline(always)]
pub(super) fn read<P: Packet>(packet: &mut P) -> Result<(), Reason> {
    let ip = packet.need::<Ipv6>(Ethernet::LEN)?;
    let length = u16::from_be(ip.payload_length);
    let ([a, b], [c, d]) = (ip.source, ip.destination);
    let addresses = wide(a) + wide(b) + wide(c) + wide(d);
    let rest = parse::pseudo(Ipv4::UDP, length);
    let datagram = datagram(packet, length as usize).ok_or(Reason::UnderlaySum)?;
    packet.need_mut::<Udp>(UDP)?.checksum = udp(addresses + rest + datagram);
    Ok(())
}

/// Sum of so many bytes from the outer UDP header on, unless they are too many, or not in
/// the frame's first buffer.
///
/// In pieces as long as the bits of the length say, the longest first: wherever a piece
/// lies, the verifier looks at it once. After a plain loop it would go on from every
/// length that there is.
#[inline(always)]
fn datagram<P: Packet>(packet: &P, length: usize) -> Option<u64> {
    // The compiler would see that no piece is outside the frame, and leave out the
    // checks by which the verifier sees it.
    let length = black_box(length);
    if length >= TOO_LONG {
        return None;
    }
    let mut sum = blocks::<128, P>(packet, length)?;
    sum += blocks::<64, P>(packet, length)?;
    sum += blocks::<32, P>(packet, length)?;
    sum += blocks::<16, P>(packet, length)?;
    sum += blocks::<8, P>(packet, length)?;
    sum += blocks::<4, P>(packet, length)?;
    sum += blocks::<2, P>(packet, length)?;
    sum += blocks::<1, P>(packet, length)?;
    if let Some(at) = piece(length, 4) {
        let [a, b, c, d] = *packet.view::<[u8; 4]>(at)?;
        sum += u32::from_ne_bytes([a, b, c, d]) as u64;
    }
    if let Some(at) = piece(length, 2) {
        let [a, b] = *packet.view::<[u8; 2]>(at)?;
        sum += u16::from_ne_bytes([a, b]) as u64;
    }
    if let Some(at) = piece(length, 1) {
        sum += u16::from_ne_bytes([*packet.view::<u8>(at)?, 0]) as u64;
    }
    Some(sum)
}

/// Where the piece of so many bytes lies, a power of two, if the length has one: behind
/// all longer ones.
#[inline(always)]
const fn piece(length: usize, bytes: usize) -> Option<usize> {
    match length & bytes {
        0 => None,
        _ => Some(UDP + (length & (TOO_LONG - 1) & !(2 * bytes - 1))),
    }
}

/// Sum of the piece of so many blocks, if there is one.
#[inline(always)]
fn blocks<const BLOCKS: usize, P: Packet>(packet: &P, length: usize) -> Option<u64> {
    let Some(at) = piece(length, BLOCKS * Block::LEN) else {
        return Some(0);
    };
    let blocks = packet.view::<[Block; BLOCKS]>(at)?;
    let (mut sum, mut i) = (0, 0);
    while i < BLOCKS {
        sum += wide(blocks[i].word);
        i += 1;
    }
    Some(sum)
}
