//! How many ICMP errors a gateway sends (RFC 1812, section 4.3.2.8; RFC 4443, section
//! 2.4 f): a token bucket for each CPU, filled by the jiffies that went by.

use gateway_common::{ErrorLimit, Limiter};

/// Takes an error out of the bucket, if there is one.
#[inline(always)]
pub fn take(bucket: &mut Limiter, limit: &ErrorLimit, now: u64) -> bool {
    let passed = now.wrapping_sub(bucket.filled);
    // Beyond this it is full, whatever the rate; and the product cannot overflow.
    let passed = if passed > u32::MAX as u64 {
        u32::MAX as u64
    } else {
        passed
    };
    let filled = bucket.level.saturating_add(passed * limit.rate as u64);
    let level = filled.min(limit.most as u64);
    let allowed = limit.rate != 0 && level >= limit.cost as u64;
    bucket.filled = now;
    bucket.level = if allowed {
        level - limit.cost as u64
    } else {
        level
    };
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten errors a second with a burst of three, on a kernel with 250 jiffies a second.
    const LIMIT: ErrorLimit = ErrorLimit {
        rate: 10,
        cost: 250,
        most: 750,
        reserved: 0,
    };

    fn taken(bucket: &mut Limiter, limit: &ErrorLimit, now: u64) -> u32 {
        (0..100).map(|_| u32::from(take(bucket, limit, now))).sum()
    }

    #[test]
    fn it_starts_full_and_gives_no_more_than_its_burst() {
        let mut bucket = Limiter::default();
        assert_eq!(taken(&mut bucket, &LIMIT, 1 << 40), 3);
        assert_eq!(taken(&mut bucket, &LIMIT, (1 << 40) + 24), 0);
        assert_eq!(taken(&mut bucket, &LIMIT, (1 << 40) + 25), 1);
    }

    #[test]
    fn over_time_it_gives_its_rate() {
        let mut bucket = Limiter::default();
        let minute = 0..60 * 250;
        let sum: u32 = minute.map(|now| taken(&mut bucket, &LIMIT, now)).sum();
        // The bucket was as empty at boot as the clock was young.
        assert!((598..=600).contains(&sum), "{sum}");
    }

    #[test]
    fn a_rate_of_0_gives_nothing_and_a_clock_that_jumps_does_no_harm() {
        let mut bucket = Limiter::default();
        let never = ErrorLimit::default();
        assert_eq!(taken(&mut bucket, &never, 1 << 40), 0);
        assert_eq!(taken(&mut bucket, &LIMIT, u64::MAX), 3);
        assert_eq!(taken(&mut bucket, &LIMIT, 0), 0, "it wrapped by one jiffy");
    }
}
