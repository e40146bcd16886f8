//! A word of a table that packets change.

use core::cell::UnsafeCell;

/// A word that packets on several CPUs read and store, each time as a whole. Two that
/// do so at once may lose one of two updates; who uses it says what that means.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Word(UnsafeCell<u64>);

// SAFETY: all access is by aligned volatile words, which the machine does not tear.
unsafe impl Sync for Word {}

impl Word {
    /// A word.
    pub const fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// What it says now.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        // SAFETY: valid and aligned as long as `self` lives.
        unsafe { self.0.get().read_volatile() }
    }

    /// Stores a value.
    #[inline(always)]
    pub fn set(&self, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.get().write_volatile(value) }
    }
}
