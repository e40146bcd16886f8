//! The flow hash as every gateway of a group computes it.

use std::net::IpAddr;

use super::{ip::Packet, ip::octets};

const K1: u64 = 0x9e37_79b9_7f4a_7c15;
const K2: u64 = 0xff51_afd7_ed55_8ccd;

/// The hash of a flow. Addresses and ports are taken from the packet byte by byte, the
/// first one as the lowest.
///
/// Two rounds of xor, multiplication by an odd constant, and folding of the upper
/// bits onto the lower ones; each round takes in one word of the seed.
pub(super) fn flow(seed: [u64; 2], packet: &Packet) -> u64 {
    let (source, destination) = packet.ports().unwrap_or((0, 0));
    let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
    let ports = u64::from_le_bytes([a, b, c, d, packet.protocol, 0, 0, 0]);
    mix(seed, packet, ports)
}

/// The same hash of the addresses alone: with 0 in place of ports and protocol.
pub(super) fn client(seed: [u64; 2], packet: &Packet) -> u64 {
    mix(seed, packet, 0)
}

fn mix(seed: [u64; 2], packet: &Packet, ports: u64) -> u64 {
    let first = (addresses(seed, packet) ^ seed[0]).wrapping_mul(K1);
    let folded = first ^ (first >> 32);
    let second = (folded ^ ports ^ seed[1]).wrapping_mul(K2);
    second ^ (second >> 29)
}

/// Both addresses in one word: side by side, or, of IPv6, each hashed by itself.
fn addresses(seed: [u64; 2], packet: &Packet) -> u64 {
    let (source, destination) = (octets(packet.source), octets(packet.destination));
    match packet.source {
        IpAddr::V4(_) => words(&[source, destination].concat())[0],
        IpAddr::V6(_) => {
            let source = mixed(seed[0], &source);
            let destination = mixed(seed[1], &destination);
            source ^ destination.rotate_left(32)
        }
    }
}

fn mixed(seed: u64, address: &[u8]) -> u64 {
    let halves = words(address);
    let first = (halves[0] ^ seed).wrapping_mul(K1);
    let folded = first ^ (first >> 32);
    (folded ^ halves[1]).wrapping_mul(K2)
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
        .collect()
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
