//! Reading the exact-match tables: two places for each key, one cache line each.
//!
//! Only the agent writes them (see `gateway-user`, `datapath::table`). A slot
//! becomes visible with the one store of its key, after its value; x86-64 keeps
//! loads in order, so a reader that saw the key sees the value.

use gateway_common::{BUCKET_SLOTS, Bucket};

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
