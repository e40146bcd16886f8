//! The flow hash as every gateway of a group computes it.

use std::net::Ipv4Addr;

use super::wire::Packet;

/// The hash of a flow: addresses and ports are read from the packet byte by byte, the
/// first one as the lowest.
///
/// Two rounds of xor, multiplication by an odd constant, and folding of the upper
/// bits onto the lower ones; each round takes in one word of the seed.
pub(super) fn flow(seed: [u64; 2], packet: &Packet) -> u64 {
    let addresses = words(packet.source, packet.destination);
    let (source, destination) = packet.ports().unwrap_or((0, 0));
    let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
    let ports = u64::from_le_bytes([a, b, c, d, packet.protocol, 0, 0, 0]);

    let first = (addresses ^ seed[0]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let folded = first ^ (first >> 32);
    let second = (folded ^ ports ^ seed[1]).wrapping_mul(0xff51_afd7_ed55_8ccd);
    second ^ (second >> 29)
}

fn words(source: Ipv4Addr, destination: Ipv4Addr) -> u64 {
    let bytes = [source.octets(), destination.octets()].concat();
    u64::from_le_bytes(bytes.try_into().expect("two addresses"))
}

/// Which of `slots` slots a flow takes: its upper 32 bits, as a fraction of 1.
pub(super) fn slot(hash: u64, slots: usize) -> usize {
    ((u128::from(hash >> 32) * slots as u128) >> 32) as usize
}

/// The outer UDP source port of a flow: the hash's lowest two bytes, in the dynamic
/// range 49152..=65535 (RFC 7348, section 5).
pub(super) fn source_port(hash: u64) -> [u8; 2] {
    let [low, high, ..] = hash.to_le_bytes();
    [low | 0xc0, high]
}
