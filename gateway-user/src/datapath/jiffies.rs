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

/// Ticks of SNAT, a power of two of jiffies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    hz: u32,
    /// How far to shift jiffies right to get ticks.
    pub(super) shift: u32,
}

impl Ticks {
    /// As this kernel counts.
    pub(super) fn measure() -> Result<Self> {
        per_second().map(Self::new)
    }

    /// For as many jiffies a second: about a tick a second.
    fn new(hz: u32) -> Self {
        let shift = f64::from(hz).log2().round() as u32;
        Self { hz, shift }
    }

    /// The tick at which it is, as the programs count them.
    pub(super) fn at(self, jiffies: u64) -> u32 {
        (jiffies >> self.shift) as u32
    }

    /// Ticks that take so many seconds at least.
    pub(super) fn of_seconds(self, seconds: u32) -> u32 {
        let jiffies = u64::from(seconds) * u64::from(self.hz);
        u32::try_from(jiffies.div_ceil(1 << self.shift)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_jiffies_as_a_kernel_can_be_built_with() {
        let hz = per_second().expect("the clock says its resolution");
        assert!((24..=1_200).contains(&hz), "{hz}");
    }

    #[test]
    fn ticks_never_fall_short_of_the_seconds() {
        for hz in [100, 250, 300, 1000] {
            let ticks = Ticks::new(hz);
            let seconds_a_tick = f64::from(1 << ticks.shift) / f64::from(hz);
            assert!((0.7..1.4).contains(&seconds_a_tick), "{hz}");
            for seconds in [1, 60, 120, 240, 300, 7_440] {
                let taken = f64::from(ticks.of_seconds(seconds)) * seconds_a_tick;
                assert!((f64::from(seconds)..f64::from(seconds) + 1.4).contains(&taken));
            }
        }
    }
}
