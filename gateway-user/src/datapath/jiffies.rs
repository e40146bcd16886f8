//! The kernel's clock tick. Programs read time in jiffies, since all other clocks cost
//! them more than the rest of a packet's way.

use anyhow::{Context, Result, ensure};
use gateway_common::ErrorLimit;
use nix::time::{ClockId, clock_getres};

/// Jiffies in a second (the kernel's HZ). The coarse clocks move once a jiffy, and say so.
pub(super) fn per_second() -> Result<u32> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .context("cannot ask for the kernel's clock tick")?;
    let nanoseconds = tick.tv_nsec();
    ensure!(
        tick.tv_sec() == 0 && nanoseconds > 0,
        "the kernel's clock ticks every {tick}, which no Linux does"
    );
    Ok((1_000_000_000 / nanoseconds) as u32)
}

/// A limit for a second of one jiffy, for as many as this kernel has.
pub(super) fn error_limit(limit: ErrorLimit) -> Result<ErrorLimit> {
    let hz = per_second()?;
    Ok(ErrorLimit {
        cost: limit.cost * hz,
        most: limit.most * hz,
        ..limit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_jiffies_as_a_kernel_can_be_built_with() {
        let hz = per_second().expect("the clock says its resolution");
        assert!((24..=1_200).contains(&hz), "{hz}");
    }
}
