//! Reading the exact-match tables: two places for each key, one cache line each.
//!
//! Only the agent writes them (see `gateway-user`, `datapath::table`). A slot
//! becomes visible with the one store of its key, after its value; x86-64 keeps
//! loads in order, so a reader that saw the key sees the value.

use gateway_common::{BUCKET_SLOTS, Bucket, WIDE_SLOTS, WideBucket};

use crate::hash;

const K1: u64 = 0x9e37_79b9_7f4a_7c15;
const K2: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// The two places where a key may lie; a table of 2^n buckets uses the low n bits.
#[inline(always)]
pub const fn places(key: u64) -> [u32; 2] {
    [
        (key.wrapping_mul(K1) >> 40) as u32,
        (key.wrapping_mul(K2) >> 40) as u32,
    ]
}

/// The value of `key`, if the table that `read` reads has it.
#[inline(always)]
pub fn find<'t>(key: u64, read: impl Fn(u32) -> Option<&'t Bucket>) -> Option<u64> {
    let [first, second] = places(key);
    if let Some(value) = scan(read(first)?, key) {
        return Some(value);
    }
    scan(read(second)?, key)
}

#[inline(always)]
fn scan(bucket: &Bucket, key: u64) -> Option<u64> {
    let mut i = 0;
    while i < BUCKET_SLOTS {
        // SAFETY: both are in bounds and aligned. Volatile because the agent
        // stores to the mapped table while packets run.
        unsafe {
            if (&raw const bucket.keys[i]).read_volatile() == key {
                return Some((&raw const bucket.values[i]).read_volatile());
            }
        }
        i += 1;
    }
    None
}

/// The two places where an IPv6 address of a scope may lie.
#[inline(always)]
pub const fn wide_places(scope: u32, address: [u64; 2]) -> [u32; 2] {
    // Addresses differ in their last bytes, which lie in the word's upper end: a product
    // alone would never bring these down.
    let mixed = hash::mix(scope as u64, address);
    places(mixed ^ mixed >> 32)
}

/// The value of an IPv6 address in a scope.
#[inline(always)]
pub fn find_wide<'t>(
    scope: u32,
    address: [u64; 2],
    read: impl Fn(u32) -> Option<&'t WideBucket>,
) -> Option<u64> {
    let [first, second] = wide_places(scope, address);
    if let Some(value) = scan_wide(read(first)?, scope, address) {
        return Some(value);
    }
    scan_wide(read(second)?, scope, address)
}

#[inline(always)]
fn scan_wide(bucket: &WideBucket, scope: u32, [a, b]: [u64; 2]) -> Option<u64> {
    let mut i = 0;
    while i < WIDE_SLOTS {
        let slot = &raw const bucket.slots[i];
        // SAFETY: in bounds and aligned. Volatile because the agent stores to the
        // mapped table while packets run; an address stays as long as its value is set.
        unsafe {
            let value = (&raw const (*slot).value).read_volatile();
            let words = (&raw const (*slot).address).cast::<u64>();
            if value != 0
                && words.read_volatile() == a
                && words.add(1).read_volatile() == b
                && (&raw const (*slot).scope).read_volatile() == scope
            {
                return Some(value);
            }
        }
        i += 1;
    }
    None
}
