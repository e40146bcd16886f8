//! The Internet checksum by its definition (RFC 1071): sum everything, fold, invert.

use std::net::Ipv4Addr;

/// Checksum over the concatenation of `parts`.
pub fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Checksum over an IPv4 pseudo header (RFC 9293, section 3.1) and a segment.
pub(super) fn transport_checksum(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    segment: &[u8],
) -> u16 {
    let length = (segment.len() as u16).to_be_bytes();
    internet_checksum(&[
        &source.octets(),
        &destination.octets(),
        &[0, protocol],
        &length,
        segment,
    ])
}
