//! Restores the frame and varies its flow, in front of a candidate or of a wire.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, xdp_action, xdp_md},
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};

use crate::frame::{adjust, bounds, global};

/// Bytes of the frame that are restored each round.
const RESTORED: usize = 128;

/// The frame as it should be; its first `RESTORED` bytes.
#[map]
static FRAME: Array<[u64; RESTORED / 8]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// What varies: a word for the address, then the port, then the checksum of layer 4.
#[map]
static FLOWS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Rounds so far.
#[map]
static ROUND: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The candidate, at index 0.
#[map]
static CANDIDATE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Length of the frame, number of flows less one, and the offsets of the varying
/// address, port and checksum. Set before loading.
#[unsafe(no_mangle)]
static LENGTH: u32 = 64;
#[unsafe(no_mangle)]
static FLOWS_MASK: u32 = 0;
#[unsafe(no_mangle)]
static ADDRESS_AT: u32 = 26;
#[unsafe(no_mangle)]
static PORT_AT: u32 = 34;
#[unsafe(no_mangle)]
static CHECKSUM_AT: u32 = 50;
/// Offset of a second place for the port's bits: the outer UDP source port of a
/// VXLAN frame. The same as `PORT_AT` otherwise.
#[unsafe(no_mangle)]
static SECOND_PORT_AT: u32 = 34;

/// Gives the frame its length, its bytes and the next flow.
#[inline(always)]
pub(crate) fn prepare(raw: *mut xdp_md) -> Option<()> {
    let (start, end) = bounds(raw);
    let off = core::hint::black_box(end - start) as i64 - global(&LENGTH) as i64;
    if off != 0 && !adjust(raw, off as i32) {
        return None;
    }
    let (frame, round) = (FRAME.get(0)?, ROUND.get_ptr_mut(0)?);
    // SAFETY: one run at a time.
    let number = unsafe {
        *round += 1;
        *round
    };
    let flow = *FLOWS.get(number & global(&FLOWS_MASK) as u32)?;
    let (start, end) = bounds(raw);
    let length = if global(&LENGTH) < RESTORED {
        64
    } else {
        RESTORED
    };
    if start + length > end {
        return None;
    }
    let mut word = 0;
    while word < length / 8 {
        // SAFETY: in bounds by the check above.
        unsafe { ((start + word * 8) as *mut u64).write_unaligned(frame[word]) };
        word += 1;
    }
    let (address, port) = (global(&ADDRESS_AT), global(&PORT_AT));
    let (second, checksum) = (global(&SECOND_PORT_AT), global(&CHECKSUM_AT));
    if start + address + 4 > end
        || start + port + 2 > end
        || start + second + 2 > end
        || start + checksum + 2 > end
    {
        return None;
    }
    // SAFETY: in bounds by the checks above.
    unsafe {
        ((start + address) as *mut u32).write_unaligned(flow as u32);
        ((start + port) as *mut u16).write_unaligned((flow >> 32) as u16);
        ((start + second) as *mut u16).write_unaligned((flow >> 32) as u16);
        ((start + checksum) as *mut u16).write_unaligned((flow >> 48) as u16);
    }
    Some(())
}

#[xdp(frags)]
fn generator(ctx: XdpContext) -> u32 {
    if prepare(ctx.ctx).is_some() {
        // SAFETY: the candidate is an XDP program like this one.
        let _ = unsafe { CANDIDATE.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}
