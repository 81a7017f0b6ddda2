//! Whether short jobs had to wait for workers that did not run.
//!
//! Sharing a job of ten microseconds gains a few of them, while a worker that lost its processor with a task
//! in its hands costs the caller milliseconds. After such a wait short jobs run inline for some time, twice as
//! long when it happens again soon: on a machine that others use as well, little is lost against one thread, and
//! on a quiet one nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// How long short jobs avoid the workers after a first wait (ns),
const SHORTEST: u64 = 1_000_000;
/// and after many.
const LONGEST: u64 = 128_000_000;

/// What is known of late workers. Threads that interfere lose a note of one wait, which does no harm.
pub struct Lateness {
    /// Until when workers are avoided (ns), 0 when they are not.
    until: AtomicU64,
    /// How long they were avoided last time, and when that ended.
    last: AtomicU64,
    ended: AtomicU64,
}

impl Lateness {
    pub const fn new() -> Lateness {
        Lateness { until: AtomicU64::new(0), last: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }

    /// Notes that a short job waited.
    pub fn begin(&self, now: u64) {
        let (last, ended) = (self.last.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
        let again = last > 0 && now.saturating_sub(ended) < 2 * last;
        let length = if again { (2 * last).min(LONGEST) } else { SHORTEST };
        self.last.store(length, Ordering::Relaxed);
        self.until.store(now + length, Ordering::Relaxed);
    }

    /// Whether workers are to be avoided; the clock is asked only where that is open.
    #[inline]
    pub fn is_on(&self, now: impl FnOnce() -> u64) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && self.is_on_until(until, now())
    }

    #[cold]
    fn is_on_until(&self, until: u64, now: u64) -> bool {
        if now < until {
            return true;
        }
        self.ended.store(now, Ordering::Relaxed);
        self.until.store(0, Ordering::Relaxed);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_that_come_again_are_avoided_for_longer() {
        let lateness = Lateness::new();
        assert!(!lateness.is_on(|| 5));
        let mut now = 10;
        for length in [SHORTEST, 2 * SHORTEST, 4 * SHORTEST] {
            lateness.begin(now);
            assert!(lateness.is_on(|| now + length - 1));
            now += length;
            assert!(!lateness.is_on(|| now));
            now += length;
        }
        now += 100 * SHORTEST;
        lateness.begin(now);
        assert!(lateness.is_on(|| now + SHORTEST - 1) && !lateness.is_on(|| now + SHORTEST));
    }

    #[test]
    fn they_are_never_avoided_for_long() {
        let lateness = Lateness::new();
        let mut now = 0;
        for _ in 0..64 {
            lateness.begin(now);
            now += LONGEST;
            assert!(!lateness.is_on(|| now));
        }
    }
}
