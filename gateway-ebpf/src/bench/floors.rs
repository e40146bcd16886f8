//! What any gateway must pay: sending, constant headers, redirection.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::{map, xdp},
    maps::DevMap,
    programs::XdpContext,
};

use crate::frame::{adjust, bounds};

/// Bytes of a VXLAN push over IPv4.
const PUSH: usize = 50;

/// Index of the device that floors send to.
const OUT: u32 = 1;

/// Where to send: the generator of a wire to index 0, the floors to `OUT`.
#[map]
pub(crate) static FLOOR_PORTS: DevMap = DevMap::with_max_entries(4, 0);

#[inline(always)]
pub(crate) fn redirect(port: u32) -> u32 {
    FLOOR_PORTS
        .redirect(port, 0)
        .unwrap_or(xdp_action::XDP_ABORTED)
}

#[xdp(frags)]
fn floor_tx(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

#[xdp(frags)]
fn floor_redirect(_ctx: XdpContext) -> u32 {
    redirect(OUT)
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
        redirect(OUT)
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
        redirect(OUT)
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
            ((start + word * 8) as *mut u64).write_unaligned(0x0245_0008_1122_3344 + word as u64)
        };
        word += 1;
    }
    // SAFETY: as above; the last two bytes.
    unsafe { ((start + PUSH - 2) as *mut u16).write_unaligned(0) };
    true
}
