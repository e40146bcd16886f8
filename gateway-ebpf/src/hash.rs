//! The flow hash. All gateways share its seed and therefore its results.

/// Odd constants with well spread bits (from the golden ratio, and from
/// MurmurHash3's 64-bit finalizer).
const K1: u64 = 0x9e37_79b9_7f4a_7c15;
const K2: u64 = 0xff51_afd7_ed55_8ccd;

/// Hash of a flow: addresses in one word, ports and protocol in the other.
///
/// Two multiplications that nobody can steer without the seed. The upper half is
/// the better mixed one: [`slot`] uses it.
#[inline(always)]
pub const fn flow(seed: &[u64; 2], addresses: u64, ports: u64) -> u64 {
    let mut hash = (addresses ^ seed[0]).wrapping_mul(K1);
    hash ^= hash >> 32;
    hash = (hash ^ ports ^ seed[1]).wrapping_mul(K2);
    hash ^ hash >> 29
}

/// An IPv6 address in one word, for [`flow`].
#[inline(always)]
pub const fn mix(seed: u64, [a, b]: [u64; 2]) -> u64 {
    let hash = (a ^ seed).wrapping_mul(K1);
    ((hash ^ hash >> 32) ^ b).wrapping_mul(K2)
}

/// A word in fewer bits, the same on every gateway; nobody gains by steering it.
#[inline(always)]
pub const fn spread(word: u64) -> u32 {
    (word.wrapping_mul(K1) >> 40) as u32
}

/// Ring slot of a flow: the upper half, scaled to the ring's size. A product in
/// place of a remainder, so that the size may be a prime.
#[inline(always)]
pub const fn slot(hash: u64, slots: u32) -> u32 {
    (((hash >> 32) * slots as u64) >> 32) as u32
}

/// VXLAN source port of a flow, as it lies in the packet: the dynamic range
/// 49152..=65535 (RFC 7348, section 5).
#[inline(always)]
pub const fn source_port(hash: u64) -> u16 {
    (hash as u16) | u16::from_ne_bytes([0xc0, 0])
}
