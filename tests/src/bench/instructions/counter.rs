//! A clock that counts instructions.
//!
//! QEMU's `-icount shift=0` makes the emulated machine's time advance by one nanosecond
//! with each instruction, and its time stamp counter with it. So the difference of two
//! readings is the number of instructions between them, exactly: user's, kernel's and
//! those of JIT-compiled BPF alike.

use anyhow::{Result, ensure};

/// Rounds of the loops that prove it, each four times the last.
const LOOPS: [u64; 3] = [1 << 14, 1 << 16, 1 << 18];

/// Instructions of a round of [`spin`].
const PER_ROUND: u64 = 2;

/// How often each loop runs: the middle one has no timer interrupt in it.
const TRIES: usize = 9;

/// Instructions since the machine was started.
#[cfg(target_arch = "x86_64")]
pub(super) fn now() -> u64 {
    // SAFETY: every x86-64 processor has this instruction, and Linux lets programs use it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// So many rounds of two instructions.
#[cfg(target_arch = "x86_64")]
fn spin(rounds: u64) {
    // SAFETY: counts one register down and touches nothing else.
    unsafe {
        std::arch::asm!(
            "2: dec {0}",
            "jnz 2b",
            inout(reg) rounds => _,
            options(nomem, nostack)
        );
    }
}

/// Guests are x86-64 only; elsewhere nothing counts, and `prove` says so.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn now() -> u64 {
    0
}

#[cfg(not(target_arch = "x86_64"))]
fn spin(_rounds: u64) {}

/// Instructions that `work` takes.
pub(super) fn count<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = now();
    let result = work();
    (now() - before, result)
}

/// Proves that the clock counts: a loop of known length takes as many instructions more
/// as it is longer, at every length, to one in a thousand.
pub(super) fn prove() -> Result<()> {
    for rounds in LOOPS {
        let middle = |rounds| {
            let mut tries = [0; TRIES].map(|_| count(|| spin(rounds)).0);
            tries.sort_unstable();
            tries[TRIES / 2]
        };
        let more = middle(2 * rounds).saturating_sub(middle(rounds));
        let expected = PER_ROUND * rounds;
        ensure!(
            more.abs_diff(expected) <= expected / 1_000,
            "this machine's clock counts no instructions: a loop of {expected} more takes \
             {more} more. Type `cargo xtask bench instructions`, which starts one whose does"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_machine_is_told_from_one_that_counts() {
        let error = prove().unwrap_err().to_string();
        assert!(error.contains("bench instructions"), "{error}");
    }
}
