//! The frame in the driver's buffer. The only pointer arithmetic of the program.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use gateway_common::Reason;
use gateway_ebpf::packet::{Header, Packet};

use super::maps::jumbo;

/// A frame as XDP hands it over.
pub(crate) struct Frame {
    ctx: *mut xdp_md,
    start: usize,
    end: usize,
    bytes: usize,
}

impl Frame {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        let mut frame = Self {
            ctx: ctx.ctx,
            start: 0,
            end: 0,
            bytes: 0,
        };
        frame.reload();
        frame.bytes = match jumbo() {
            // Views are of the first buffer, which holds the headers; the frame is longer.
            // SAFETY: a valid context.
            true => unsafe { bpf_xdp_get_buff_len(frame.ctx) as usize },
            false => frame.end - frame.start,
        };
        frame
    }

    /// Reads where the frame lies. Once at the start and after each move of the
    /// head: the verifier then knows the new pointers and forgets the old ones.
    #[inline(always)]
    fn reload(&mut self) {
        // SAFETY: the kernel hands a valid context to the program. Volatile, since
        // the helper that moves the head changes it behind the compiler's back.
        unsafe {
            self.start = (&raw const (*self.ctx).data).read_volatile() as usize;
            self.end = (&raw const (*self.ctx).data_end).read_volatile() as usize;
        }
    }

    /// The bytes of a `T` at `offset`, if the frame has them all.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let pointer = self.start + offset;
        if pointer + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: a frame never lies at address 0. With a checked conversion the
        // program would test that for each header.
        Some(unsafe { NonNull::new_unchecked(pointer as *mut T) })
    }

    #[inline(always)]
    fn adjust(&mut self, delta: i32) -> Result<(), Reason> {
        // SAFETY: a valid context; all views are gone since `self` is borrowed mutably.
        match unsafe { bpf_xdp_adjust_head(self.ctx, delta) } {
            0 => {
                self.reload();
                self.bytes = self.bytes.wrapping_add_signed(-delta as isize);
                Ok(())
            }
            _ => Err(Reason::HeadRoom),
        }
    }

    #[inline(always)]
    fn adjust_tail(&mut self, delta: i32) -> Result<(), Reason> {
        // SAFETY: as above.
        match unsafe { bpf_xdp_adjust_tail(self.ctx, delta) } {
            0 => {
                self.reload();
                self.bytes = self.bytes.wrapping_add_signed(delta as isize);
                Ok(())
            }
            _ => Err(Reason::HeadRoom),
        }
    }
}

impl Packet for Frame {
    #[inline(always)]
    fn len(&self) -> usize {
        self.bytes
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the kernel hands a valid context to the program.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn view<T: Header>(&self, offset: usize) -> Option<&T> {
        // SAFETY: in bounds, any bytes are a T, and T needs no alignment.
        self.at(offset).map(|pointer| unsafe { pointer.as_ref() })
    }

    #[inline(always)]
    fn view_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T> {
        // SAFETY: as above, and `self` is borrowed mutably.
        self.at(offset)
            .map(|mut pointer| unsafe { pointer.as_mut() })
    }

    #[inline(always)]
    fn settled(&self, offset: usize) -> usize {
        // SAFETY: a local variable. Volatile, so that it is loaded and not computed.
        unsafe { (&raw const offset).read_volatile() }
    }

    #[inline(always)]
    fn push(&mut self, bytes: usize) -> Result<(), Reason> {
        self.adjust(-(bytes as i32))
    }

    #[inline(always)]
    fn pop(&mut self, bytes: usize) -> Result<(), Reason> {
        self.adjust(bytes as i32)
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) -> Result<(), Reason> {
        self.adjust_tail(length as i32 - self.len() as i32)
    }

    /// The kernel clears what it adds.
    #[inline(always)]
    fn lengthen(&mut self, bytes: usize) -> Result<(), Reason> {
        self.adjust_tail(bytes as i32)
    }
}
