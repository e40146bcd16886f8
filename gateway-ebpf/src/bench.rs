//! Programs for measuring, not for gateways: a generator and the floors.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on one packet and does not restore it in
//! between, so a program that encapsulates would see its own output from the second
//! round on. The generator runs in front: it restores length and bytes, varies the
//! flow, and tail-calls the candidate. The floors are what any gateway must pay.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{
        bindings::{BPF_F_MMAPABLE, xdp_action, xdp_md},
        helpers::bpf_xdp_adjust_head,
        macros::{map, xdp},
        maps::{Array, DevMap, ProgramArray},
        programs::XdpContext,
    };

    /// Bytes of the frame that are restored each round.
    const RESTORED: usize = 128;
    /// Bytes of a VXLAN push over IPv4.
    const PUSH: usize = 50;

    /// The frame as it should be; its first `RESTORED` bytes.
    #[map]
    static FRAME: Array<[u64; RESTORED / 8]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
    /// What varies: a word for the address, one for the port.
    #[map]
    static FLOWS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
    /// Rounds so far.
    #[map]
    static ROUND: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);
    /// The candidate, at index 0.
    #[map]
    static CANDIDATE: ProgramArray = ProgramArray::with_max_entries(1, 0);
    /// Where the redirecting floor sends to.
    #[map]
    static FLOOR_PORTS: DevMap = DevMap::with_max_entries(4, 0);

    /// Length of the frame, number of flows less one, and the offsets of the varying
    /// address and port. Set before loading.
    #[unsafe(no_mangle)]
    static LENGTH: u32 = 64;
    #[unsafe(no_mangle)]
    static FLOWS_MASK: u32 = 0;
    #[unsafe(no_mangle)]
    static ADDRESS_AT: u32 = 26;
    #[unsafe(no_mangle)]
    static PORT_AT: u32 = 34;
    /// Offset of a second place for the port's bits: the outer UDP source port of a
    /// VXLAN frame. The same as `PORT_AT` otherwise.
    #[unsafe(no_mangle)]
    static SECOND_PORT_AT: u32 = 34;

    #[inline(always)]
    fn global(value: &'static u32) -> usize {
        // SAFETY: a static. Volatile, since the loader overrides its value.
        unsafe { core::ptr::from_ref(value).read_volatile() as usize }
    }

    #[inline(always)]
    fn bounds(ctx: *mut xdp_md) -> (usize, usize) {
        // SAFETY: the kernel hands a valid context to the program.
        unsafe {
            (
                (&raw const (*ctx).data).read_volatile() as usize,
                (&raw const (*ctx).data_end).read_volatile() as usize,
            )
        }
    }

    #[inline(always)]
    fn adjust(ctx: *mut xdp_md, delta: i32) -> bool {
        // SAFETY: a valid context; no packet pointer is used across the call.
        unsafe { bpf_xdp_adjust_head(ctx, delta) == 0 }
    }

    #[xdp(frags)]
    fn generator(ctx: XdpContext) -> u32 {
        let raw = ctx.ctx;
        let (start, end) = bounds(raw);
        let off = core::hint::black_box(end - start) as i64 - global(&LENGTH) as i64;
        if off != 0 && !adjust(raw, off as i32) {
            return xdp_action::XDP_ABORTED;
        }
        let (Some(frame), Some(round)) = (FRAME.get(0), ROUND.get_ptr_mut(0)) else {
            return xdp_action::XDP_ABORTED;
        };
        // SAFETY: one run at a time.
        let number = unsafe {
            *round += 1;
            *round
        };
        let Some(flow) = FLOWS.get(number & global(&FLOWS_MASK) as u32) else {
            return xdp_action::XDP_ABORTED;
        };
        let (start, end) = bounds(raw);
        let length = if global(&LENGTH) < RESTORED {
            64
        } else {
            RESTORED
        };
        if start + length > end {
            return xdp_action::XDP_ABORTED;
        }
        let mut word = 0;
        while word < length / 8 {
            // SAFETY: in bounds by the check above.
            unsafe { ((start + word * 8) as *mut u64).write_unaligned(frame[word]) };
            word += 1;
        }
        let (address, port) = (global(&ADDRESS_AT), global(&PORT_AT));
        let second = global(&SECOND_PORT_AT);
        if start + address + 4 > end || start + port + 2 > end || start + second + 2 > end {
            return xdp_action::XDP_ABORTED;
        }
        // SAFETY: in bounds by the checks above.
        unsafe {
            ((start + address) as *mut u32).write_unaligned(*flow as u32);
            ((start + port) as *mut u16).write_unaligned((*flow >> 32) as u16);
            ((start + second) as *mut u16).write_unaligned((*flow >> 32) as u16);
            CANDIDATE.tail_call(&ctx, 0);
        }
        xdp_action::XDP_ABORTED
    }

    #[xdp(frags)]
    fn floor_tx(_ctx: XdpContext) -> u32 {
        xdp_action::XDP_TX
    }

    #[xdp(frags)]
    fn floor_redirect(_ctx: XdpContext) -> u32 {
        FLOOR_PORTS
            .redirect(1, 0)
            .unwrap_or(xdp_action::XDP_ABORTED)
    }

    #[xdp(frags)]
    fn floor_push(ctx: XdpContext) -> u32 {
        if push(ctx.ctx) {
            xdp_action::XDP_TX
        } else {
            xdp_action::XDP_ABORTED
        }
    }

    #[xdp(frags)]
    fn floor_push_redirect(ctx: XdpContext) -> u32 {
        if push(ctx.ctx) {
            FLOOR_PORTS
                .redirect(1, 0)
                .unwrap_or(xdp_action::XDP_ABORTED)
        } else {
            xdp_action::XDP_ABORTED
        }
    }

    #[xdp(frags)]
    fn floor_pop(ctx: XdpContext) -> u32 {
        if adjust(ctx.ctx, PUSH as i32) {
            xdp_action::XDP_TX
        } else {
            xdp_action::XDP_ABORTED
        }
    }

    #[xdp(frags)]
    fn floor_pop_redirect(ctx: XdpContext) -> u32 {
        if adjust(ctx.ctx, PUSH as i32) {
            FLOOR_PORTS
                .redirect(1, 0)
                .unwrap_or(xdp_action::XDP_ABORTED)
        } else {
            xdp_action::XDP_ABORTED
        }
    }

    /// Pushes 50 constant bytes.
    #[inline(always)]
    fn push(ctx: *mut xdp_md) -> bool {
        if !adjust(ctx, -(PUSH as i32)) {
            return false;
        }
        let (start, end) = bounds(ctx);
        if start + PUSH > end {
            return false;
        }
        let mut word = 0;
        while word < PUSH / 8 {
            // SAFETY: in bounds by the check above.
            unsafe {
                ((start + word * 8) as *mut u64)
                    .write_unaligned(0x0245_0008_1122_3344 + word as u64)
            };
            word += 1;
        }
        // SAFETY: as above; the last two bytes.
        unsafe { ((start + PUSH - 2) as *mut u16).write_unaligned(0) };
        true
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: the verifier refuses a program that could get here.
        unsafe { core::hint::unreachable_unchecked() }
    }

    /// As the gateway's program.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("gateway-bench is a kernel program: type `cargo xtask build` to build its object");
    std::process::exit(2);
}
