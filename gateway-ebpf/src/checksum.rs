//! The Internet checksum, updated by deltas (RFC 1071, RFC 1624).
//!
//! One's complement sums do not depend on byte order as long as all words are
//! loaded the same way (RFC 1071, section 2 (B)), so everything here works on
//! words as they lie in the packet.

/// Folds a sum of 16-bit words to 16 bits, carries included.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The same for a sum of 32-bit words, or for a word that holds four of 16 bits.
#[inline(always)]
pub const fn fold_wide(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    fold(sum as u32)
}

/// A word of eight bytes as the sum of its halves, which leaves room for carries.
#[inline(always)]
pub const fn wide(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}

/// The checksum after a change whose delta is known (RFC 1624, eqn. 3).
#[inline(always)]
pub const fn update(checksum: u16, delta: u16) -> u16 {
    !add(!checksum, delta)
}

/// The same where nothing but zeroes may be left to sum up: the delta then yields
/// 0, which would be wrong, and all ones are right. They are right for any other
/// sum that yields 0, too, since both are zero in one's complement.
#[inline(always)]
pub const fn update_nonzero(checksum: u16, delta: u16) -> u16 {
    match update(checksum, delta) {
        0 => 0xffff,
        sum => sum,
    }
}

/// The same for UDP, where 0 means "no checksum" and stays so, and a computed 0
/// is sent as all ones (RFC 768).
#[inline(always)]
pub const fn update_udp(checksum: u16, delta: u16) -> u16 {
    if checksum == 0 {
        return 0;
    }
    update_nonzero(checksum, delta)
}

/// Delta of replacing the words `old` by `new`.
pub const fn delta(old: &[u16], new: &[u16]) -> u16 {
    let mut sum = 0u32;
    let mut i = 0;
    while i < old.len() {
        sum += !old[i] as u32;
        i += 1;
    }
    i = 0;
    while i < new.len() {
        sum += new[i] as u32;
        i += 1;
    }
    fold(sum)
}

/// Adds two folded sums. One carry at most comes out, and adding it makes no other.
#[inline(always)]
pub const fn add(a: u16, b: u16) -> u16 {
    let sum = a as u32 + b as u32;
    (sum + (sum >> 16)) as u16
}

/// Both halves of a word as it lies in the packet.
pub const fn halves(word: u32) -> [u16; 2] {
    [word as u16, (word >> 16) as u16]
}

/// What decrementing the TTL adds to the IPv4 header checksum. TTL is the first
/// byte of its word, so the word shrinks by 0x0100 in network order.
pub const TTL_DELTA: u16 = !u16::from_ne_bytes([1, 0]);

/// Folded sum over bytes, for tests and for templates that the agent builds.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let word = u16::from_ne_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        sum = fold(sum + word as u32) as u32;
    }
    sum as u16
}
