//! Both ends of a wire on which time is measured: frames leave when they are due and
//! carry the moment; the sink sorts them by how long they took.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, xdp_action, xdp_md},
    helpers::bpf_ktime_get_ns,
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

/// Gaps between frames in nanoseconds; used over and over.
const GAPS_COUNT: u32 = 1 << 14;

/// Buckets of the histogram: 32 for each power of two.
const BUCKETS: u32 = 1 << 11;
const FINE: u32 = 5;

#[map]
static GAPS: Array<u32> = Array::with_max_entries(GAPS_COUNT, BPF_F_MMAPABLE);
/// When the next frame is due, by the kernel's clock, and frames so far.
#[map]
static SCHEDULE: Array<[u64; 2]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static TIMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(BUCKETS, 0);

/// Length of the frame that leaves: its last eight bytes are the moment.
#[unsafe(no_mangle)]
static STAMPED: u32 = 64;

/// Live frames come out of this when they are due; until then they are thrown away,
/// which is the waiting. One that is late still carries the moment when it was due:
/// nothing is left out because the wire was busy.
#[xdp(frags)]
fn source_paced(ctx: XdpContext) -> u32 {
    // SAFETY: takes nothing and cannot fail.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(schedule) = SCHEDULE.get_ptr_mut(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: an element of the map; one run at a time.
    let [due, number] = unsafe { &mut *schedule };
    if *due == 0 {
        *due = now;
    }
    if now < *due {
        return xdp_action::XDP_DROP;
    }
    let moment = *due;
    let gap = GAPS.get(*number as u32 % GAPS_COUNT);
    *due += gap.map_or(0, |gap| u64::from(*gap));
    *number += 1;
    if prepare(ctx.ctx).is_none() || !stamp(ctx.ctx, moment) {
        return xdp_action::XDP_ABORTED;
    }
    redirect(WIRE)
}

#[inline(always)]
fn stamp(ctx: *mut xdp_md, moment: u64) -> bool {
    let (start, end) = bounds(ctx);
    let at = (global(&STAMPED) - 8) & 0x7f;
    if start + at + 8 > end {
        return false;
    }
    // SAFETY: in bounds by the check above.
    unsafe { ((start + at) as *mut u64).write_unaligned(moment) };
    true
}

/// For frames that XDP sent.
#[xdp(frags)]
fn sink_timed(ctx: XdpContext) -> u32 {
    let (start, end) = bounds(ctx.ctx);
    take(start, end);
    xdp_action::XDP_DROP
}

/// For the kernel's packets.
#[classifier]
fn sink_packet_timed(ctx: TcContext) -> i32 {
    take(ctx.data(), ctx.data_end());
    aya_ebpf::bindings::TC_ACT_SHOT as i32
}

#[inline(always)]
fn take(start: usize, end: usize) {
    crate::wire::take(start, end);
    // Shorter ones are not ours: the kernel's own, such as ARP.
    let length = core::hint::black_box(end - start);
    if length < global(&STAMPED) {
        return;
    }
    let at = (length - 8) & 0x1ff;
    if start + at + 8 > end {
        return;
    }
    // SAFETY: in bounds by the check above.
    let moment = unsafe { ((start + at) as *const u64).read_unaligned() };
    // SAFETY: takes nothing and cannot fail.
    let took = unsafe { bpf_ktime_get_ns() }.saturating_sub(moment);
    if let Some(count) = TIMES.get_ptr_mut(bucket(took)) {
        // SAFETY: this CPU's own record.
        unsafe { *count += 1 };
    }
}

/// Logarithmic with 32 steps between powers of two, so to 3 %.
#[inline(always)]
fn bucket(nanoseconds: u64) -> u32 {
    if nanoseconds >> FINE == 0 {
        return nanoseconds as u32;
    }
    let exponent = 63 - nanoseconds.leading_zeros();
    let step = (nanoseconds >> (exponent - FINE)) as u32 & ((1 << FINE) - 1);
    let bucket = ((exponent - FINE + 1) << FINE) + step;
    if bucket < BUCKETS {
        bucket
    } else {
        BUCKETS - 1
    }
}
