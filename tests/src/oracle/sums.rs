//! Checksums by their definition (RFC 1071): a sum over everything, each time anew.
//!
//! One's complement arithmetic is arithmetic modulo 65535, in which 0 and 65535 are
//! the same number.

const MODULUS: u64 = 65_535;

/// The sum of all 16-bit words; an odd last byte is the upper half of its word.
fn sum(parts: &[&[u8]]) -> u64 {
    let mut total = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
            total += u64::from(u16::from_be_bytes(word));
        }
    }
    total % MODULUS
}

/// The checksum of bytes that changed from `before` to `after`, both without the
/// checksum itself. All parts but the last have an even length.
///
/// A right checksum, added to all that it covers, gives 0. What it gives instead is
/// the error that the sender or the wire made. A gateway must not mend that: a right
/// checksum stays right, and a wrong one stays wrong by just as much.
pub(super) fn carried(checksum: u16, before: &[&[u8]], after: &[&[u8]]) -> u16 {
    let error = u64::from(checksum) + sum(before);
    ((error + MODULUS - sum(after)) % MODULUS) as u16
}

/// The right checksum of these bytes.
pub(super) fn right(bytes: &[u8]) -> u16 {
    right_of(&[bytes])
}

/// The right checksum of all parts together.
pub(super) fn right_of(parts: &[&[u8]]) -> u16 {
    ((MODULUS - sum(parts)) % MODULUS) as u16
}

/// Whether parts that hold a checksum have the right one.
pub(super) fn is_right(parts: &[&[u8]]) -> bool {
    error(parts) == 0
}

/// By how much parts that hold a checksum miss the right sum.
pub(super) fn error(parts: &[&[u8]]) -> u64 {
    sum(parts)
}

/// A checksum that is wrong by that much more.
pub(super) fn with_error(checksum: u16, error: u64) -> u16 {
    ((u64::from(checksum) + error) % MODULUS) as u16
}

/// How a checksum that may be 0 is sent where 0 would mean "none", or would be wrong
/// for a message of nothing but zeroes: as all ones.
pub(super) fn nonzero(checksum: u16) -> u16 {
    match checksum {
        0 => u16::MAX,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_carried_over() {
        let (before, after) = ([0x12, 0x34, 0x56], [0xfe, 0xdc, 0x56]);
        let checksum = right(&before);
        assert_eq!(carried(checksum, &[&before], &[&after]), right(&after));
        let wrong = carried(checksum + 7, &[&before], &[&after]);
        assert_eq!(wrong, right(&after) + 7);
    }

    /// The example of RFC 1071, section 3.
    #[test]
    fn the_sum_is_that_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(right(&bytes), !0xddf2);
    }
}
