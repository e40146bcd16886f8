//! A frame's bounds, and numbers that the loader sets.

use aya_ebpf::{bindings::xdp_md, helpers::bpf_xdp_adjust_head};

/// A number that the loader sets before it loads the programs.
#[inline(always)]
pub(crate) fn global(value: &'static u32) -> usize {
    // SAFETY: a static. Volatile, since the loader overrides its value.
    unsafe { core::ptr::from_ref(value).read_volatile() as usize }
}

/// Where the frame begins and ends. To be asked again after [`adjust`].
#[inline(always)]
pub(crate) fn bounds(ctx: *mut xdp_md) -> (usize, usize) {
    // SAFETY: the kernel hands a valid context to the program.
    unsafe {
        (
            (&raw const (*ctx).data).read_volatile() as usize,
            (&raw const (*ctx).data_end).read_volatile() as usize,
        )
    }
}

/// Moves the frame's head.
#[inline(always)]
pub(crate) fn adjust(ctx: *mut xdp_md, delta: i32) -> bool {
    // SAFETY: a valid context; no packet pointer is used across the call.
    unsafe { bpf_xdp_adjust_head(ctx, delta) == 0 }
}
