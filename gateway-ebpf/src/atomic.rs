//! Words that several CPUs write.
//!
//! BPF knows no atomic loads and stores before its fourth instruction set, but an
//! aligned word is read and written at once; its read-modify-write (Linux 5.12) Rust
//! does not offer for that target. So they are spelled out for it.

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering;

/// Reads a word.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub fn load(word: &AtomicU64) -> u64 {
    // SAFETY: an aligned word, which one instruction reads.
    unsafe { word.as_ptr().read_volatile() }
}

/// Writes a word.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub fn store(word: &AtomicU64, value: u64) {
    // SAFETY: an aligned word, which one instruction writes.
    unsafe { word.as_ptr().write_volatile(value) }
}

/// Reads a word.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

/// Writes a word.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub fn store(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Release);
}

/// Writes `new` if the word is `old`; whether it was. A full barrier, either way.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub fn replace(word: &AtomicU64, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: an aligned word that is only ever accessed atomically. r0 is where the
    // instruction expects the old value and leaves what it found.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word.as_ptr(),
            new = in(reg) new,
            inlateout("r0") old => found,
            options(nostack),
        );
    }
    found == old
}

/// Adds to a word, and returns what it was.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub fn add(word: &AtomicU64, value: u64) -> u64 {
    let mut result = value;
    // SAFETY: an aligned word that is only ever accessed atomically.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({word} + 0), {value})",
            word = in(reg) word.as_ptr(),
            value = inout(reg) result,
            options(nostack),
        );
    }
    result
}

/// Writes `new` if the word is `old`; whether it was. A full barrier, either way.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub fn replace(word: &AtomicU64, old: u64, new: u64) -> bool {
    word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}

/// Adds to a word, and returns what it was.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub fn add(word: &AtomicU64, value: u64) -> u64 {
    word.fetch_add(value, Ordering::SeqCst)
}

/// Takes from a word.
#[inline(always)]
pub fn subtract(word: &AtomicU64, value: u64) {
    let _ = add(word, value.wrapping_neg());
}
