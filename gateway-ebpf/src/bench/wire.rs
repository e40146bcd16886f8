//! Both ends of a wire with a gateway in the middle: the source of frames, and the
//! sink, which counts what arrives and keeps a sample of it.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, TC_ACT_SHOT, xdp_action},
    macros::{classifier, map, xdp},
    maps::{Array, PerCpuArray},
    programs::{TcContext, XdpContext},
};

use crate::{
    floors::redirect,
    frame::{bounds, global},
    generator::prepare,
};

/// Index of the wire in `FLOOR_PORTS`.
const WIRE: u32 = 0;

/// Words of a frame that a sample has.
const WORDS: usize = 16;
/// Samples that are kept; the newest replace the oldest.
const SAMPLES: u32 = 64;

/// A frame as it arrived: its length in bytes, then its first words.
type Sample = [u64; WORDS + 1];

/// Frames that arrived and were long enough, and all others.
#[map]
static SEEN: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);
#[map]
static TAKEN: Array<Sample> = Array::with_max_entries(SAMPLES, BPF_F_MMAPABLE);

/// Shortest frame that counts, in bytes: a frame that was cut short was not carried.
#[unsafe(no_mangle)]
static SHORTEST: u32 = 0;
/// Every so many frames is sampled, a power of two, less one.
#[unsafe(no_mangle)]
static SAMPLE_MASK: u32 = 0xff;

/// Live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) come out of this.
#[xdp(frags)]
fn source(ctx: XdpContext) -> u32 {
    match prepare(ctx.ctx) {
        Some(()) => redirect(WIRE),
        None => xdp_action::XDP_ABORTED,
    }
}

/// For frames that XDP sent.
#[xdp(frags)]
fn sink(ctx: XdpContext) -> u32 {
    let (start, end) = bounds(ctx.ctx);
    take(start, end);
    xdp_action::XDP_DROP
}

/// For packets of the kernel, which an XDP program on veth would have copied first.
#[classifier]
fn sink_packet(ctx: TcContext) -> i32 {
    take(ctx.data(), ctx.data_end());
    TC_ACT_SHOT as i32
}

/// Lets everything through: a veth with an XDP program polls, and takes frames.
#[xdp(frags)]
fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[inline(always)]
pub(crate) fn take(start: usize, end: usize) {
    let Some(seen) = SEEN.get_ptr_mut(0) else {
        return;
    };
    let length = end - start;
    let is_other = (length < global(&SHORTEST)) as usize;
    // SAFETY: this CPU's own record; the index is 0 or 1.
    let number = unsafe {
        (*seen)[is_other & 1] += 1;
        (*seen)[0]
    };
    if number & global(&SAMPLE_MASK) as u64 == 0 {
        sample(number, start, end);
    }
}

#[inline(always)]
fn sample(number: u64, start: usize, end: usize) {
    let mask = global(&SAMPLE_MASK) as u64;
    let slot = (number / (mask + 1)) as u32 % SAMPLES;
    let Some(taken) = TAKEN.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: an element of the map; the agent reads it when nothing runs.
    let taken = unsafe { &mut *taken };
    taken[0] = (end - start) as u64;
    let mut word = 0;
    while word < WORDS {
        let from = start + word * 8;
        if from + 8 > end {
            taken[word + 1] = last_bytes(from, end);
            break;
        }
        // SAFETY: in bounds by the check above.
        taken[word + 1] = unsafe { (from as *const u64).read_unaligned() };
        word += 1;
    }
}

/// The frame's last bytes, which fill no word; all frames here have an even length.
#[inline(always)]
fn last_bytes(start: usize, end: usize) -> u64 {
    let mut word = 0;
    let mut half = 0;
    while half < 3 {
        let from = start + half * 2;
        if from + 2 > end {
            break;
        }
        // SAFETY: in bounds by the check above.
        let value = unsafe { (from as *const u16).read_unaligned() };
        word |= (value as u64) << (16 * half);
        half += 1;
    }
    word
}
