//! The Internet checksum by its definition (RFC 1071): sum everything, fold, invert.

use super::layers::Ip;

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

/// Checksum over a pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1) and a
/// segment.
pub(super) fn transport_checksum(ip: &Ip, protocol: u8, segment: &[u8]) -> u16 {
    let length = (segment.len() as u32).to_be_bytes();
    internet_checksum(&[
        &ip.source,
        &ip.destination,
        &[0, protocol],
        &length,
        segment,
    ])
}
