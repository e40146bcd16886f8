//! The XDP programs: thin glue around the packet path in the library.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod bpf;

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::{
        bindings::xdp_action, helpers::generated::bpf_redirect_map, macros::xdp,
        programs::XdpContext,
    };
    use gateway_common::{Outcome, Reason, Step};
    use gateway_ebpf::{
        outer::{OverV4, OverV6},
        packet::Verdict,
        public, public_tagged, single_arm, single_arm_tagged, step, underlay,
    };

    use crate::bpf::{
        ctx::Frame,
        maps::{Maps, PORTS, STEPS, tell_time},
    };

    // All programs take frames in several buffers: those that call each other must agree.

    /// A program that interfaces have, over each underlay.
    macro_rules! entry {
        ($list:ident: $($name:ident over $outer:ty),*) => { $(
            #[xdp(frags)]
            fn $name(ctx: XdpContext) -> u32 {
                let verdict = $list::<$outer, _, _>(&mut Frame::new(&ctx), &Maps);
                action(&ctx, verdict)
            }
        )* };
    }

    /// A program that another one goes on with.
    macro_rules! step {
        ($step:ident: $($name:ident over $outer:ty),*) => { $(
            #[xdp(frags)]
            fn $name(ctx: XdpContext) -> u32 {
                let verdict = step::<$outer, _, _>(Step::$step, &mut Frame::new(&ctx), &Maps);
                action(&ctx, verdict)
            }
        )* };
    }

    entry!(public: lingyun_public over OverV4, lingyun_public_v6 over OverV6);
    entry!(public_tagged: lingyun_public_vlan over OverV4, lingyun_public_vlan_v6 over OverV6);
    entry!(underlay: lingyun_underlay over OverV4, lingyun_underlay_v6 over OverV6);
    entry!(single_arm: lingyun_single over OverV4, lingyun_single_v6 over OverV6);
    entry!(single_arm_tagged: lingyun_single_vlan over OverV4, lingyun_single_vlan_v6 over OverV6);
    step!(PublicFull: public_full over OverV4, public_full_v6 over OverV6);
    step!(PublicGuard: public_guard over OverV4, public_guard_v6 over OverV6);
    step!(PublicIcmp: public_icmp over OverV4, public_icmp_v6 over OverV6);
    step!(PublicRefuse: public_refuse over OverV4, public_refuse_v6 over OverV6);
    step!(InsideFull: inside_full over OverV4, inside_full_v6 over OverV6);
    step!(InsideRoute: inside_route over OverV4, inside_route_v6 over OverV6);
    step!(InsideIcmp: inside_icmp over OverV4, inside_icmp_v6 over OverV6);
    step!(InsideRefuse: inside_refuse over OverV4, inside_refuse_v6 over OverV6);
    step!(HandOver: hand_over over OverV4, hand_over_v6 over OverV6);
    step!(HandedOver: handed_over over OverV4, handed_over_v6 over OverV6);

    /// For the agent, which runs it without a packet.
    #[xdp]
    fn lingyun_clock(_ctx: XdpContext) -> u32 {
        tell_time();
        xdp_action::XDP_PASS
    }

    #[inline(always)]
    fn action(ctx: &XdpContext, verdict: Verdict) -> u32 {
        match verdict {
            // An empty port drops the packet, and the kernel counts it.
            Verdict::Redirect(port) => redirect(port),
            Verdict::Transmit => xdp_action::XDP_TX,
            Verdict::Continue(step) => {
                // SAFETY: the programs of all steps are XDP programs like this one.
                // It returns only if there is none, which a bug in the agent would be.
                let _ = unsafe { STEPS.tail_call(ctx, step as u32) };
                internal(ctx)
            }
            Verdict::End(Reason::Internal) => internal(ctx),
            Verdict::End(reason) => match reason.outcome() {
                Outcome::Passed => xdp_action::XDP_PASS,
                Outcome::Answered => xdp_action::XDP_TX,
                Outcome::Dropped => xdp_action::XDP_DROP,
            },
        }
    }

    /// Aya's own way tests what the helper returns for errors; it returns what it was told to.
    #[inline(always)]
    fn redirect(port: u32) -> u32 {
        let ports = (&raw const PORTS).cast_mut().cast();
        // SAFETY: a device map, and flags that it knows.
        unsafe { bpf_redirect_map(ports, port.into(), xdp_action::XDP_DROP.into()) as u32 }
    }

    /// The one exit that should never be taken, and so the one worth a log line.
    #[inline(always)]
    fn internal(ctx: &XdpContext) -> u32 {
        aya_log_ebpf::error!(ctx, "a table lacks an entry that another one names");
        xdp_action::XDP_DROP
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
