//! Programs for measuring, not for gateways: a generator, the floors, and both ends of
//! a wire.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on one packet and does not restore it in
//! between, so a program that encapsulates would see its own output from the second
//! round on. The generator runs in front: it restores length and bytes, varies the
//! flow, and tail-calls the candidate. The floors are what any gateway must pay.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod floors;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod generator;
#[cfg(target_arch = "bpf")]
mod latency;
#[cfg(target_arch = "bpf")]
mod wire;

#[cfg(target_arch = "bpf")]
mod glue {
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
