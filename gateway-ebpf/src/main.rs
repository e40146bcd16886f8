//! The XDP program: thin glue around the packet path in the library.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod bpf;

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
    use gateway_common::{Outcome, Reason};
    use gateway_ebpf::packet::Verdict;

    use crate::bpf::{
        ctx::Frame,
        maps::{Maps, PORTS},
    };

    #[xdp]
    fn lingyun_public(ctx: XdpContext) -> u32 {
        action(&ctx, gateway_ebpf::public(&mut Frame::new(&ctx), &Maps))
    }

    #[xdp]
    fn lingyun_underlay(ctx: XdpContext) -> u32 {
        action(&ctx, gateway_ebpf::underlay(&mut Frame::new(&ctx), &Maps))
    }

    #[xdp]
    fn lingyun_single(ctx: XdpContext) -> u32 {
        action(&ctx, gateway_ebpf::single_arm(&mut Frame::new(&ctx), &Maps))
    }

    #[inline(always)]
    fn action(ctx: &XdpContext, verdict: Verdict) -> u32 {
        match verdict {
            // An empty port drops the packet, and the kernel counts it.
            Verdict::Redirect(port) => PORTS
                .redirect(port, xdp_action::XDP_DROP.into())
                .unwrap_or(xdp_action::XDP_DROP),
            Verdict::End(Reason::Internal) => {
                // The one exit that should never be taken, and so the one worth a log line.
                aya_log_ebpf::error!(ctx, "a table held an index that does not exist");
                xdp_action::XDP_DROP
            }
            Verdict::End(reason) => match reason.outcome() {
                Outcome::Passed => xdp_action::XDP_PASS,
                Outcome::Answered => xdp_action::XDP_TX,
                Outcome::Dropped => xdp_action::XDP_DROP,
            },
        }
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: the verifier refuses a program that could get here.
        unsafe { core::hint::unreachable_unchecked() }
    }

    /// The program calls helpers that are for GPL-compatible programs only.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("gateway-ebpf is a kernel program: type `cargo xtask build` to build its object");
    std::process::exit(2);
}
