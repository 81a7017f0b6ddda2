//! Whether sharing short jobs pays here: measured, not assumed.
//!
//! A job of some microseconds gains little from a second thread and may lose much: its operands move from one
//! core's cache to another's, which costs ten times more where the cores have no cache in common, and a worker
//! that lost its processor to another program keeps the caller waiting. None of that can be known beforehand, nor
//! seen in a single job, as part of it is paid later, by whoever reads the results. So now and then there is a
//! trial: short jobs are shared and run inline in turns, and the way in which time passes faster relative to the
//! work is kept, for longer each time sharing wins again. Workers that have just started or woken up look worse than
//! they are, so that it takes two trials in a row to stop sharing. No bits depend on it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Windows of a trial; every other one shares.
const WINDOWS: usize = 26;
/// The first windows do not count: workers may have to be woken.
const IGNORED: usize = 2;
/// The windows of one way, and how many of them count: the slowest may have been interrupted by other programs, or
/// by a user who thinks.
const HALF: usize = (WINDOWS - IGNORED) / 2;
const COUNTED: usize = HALF - 3;
/// Jobs of a window at least. Up to as many again are added by chance, so that windows do not keep step with the
/// steps of a training loop.
const WINDOW: u64 = 24;
/// Jobs before the first trial, and between two, at first and at most.
const FIRST: u64 = 200;
const PAUSE: u64 = 16_000;
const LONGEST_PAUSE: u64 = 128_000;
/// Jobs between a trial that sharing has lost and the one that is to confirm it.
const DOUBT: u64 = 2_000;
/// What running inline must need at most, relative to sharing, to be taken.
const INLINE_BETTER: f64 = 0.92;

/// How short jobs run, and what is known of that. Threads that interfere spoil a window, which does no harm.
pub struct Trial {
    /// Whether short jobs are shared at present.
    sharing: AtomicBool,
    /// Jobs until the present window ends.
    left: AtomicU64,
    /// Work (ns) of the present window so far.
    work: AtomicU64,
    record: Mutex<Record>,
}

struct Record {
    /// The window of the present trial; none between trials.
    window: Option<usize>,
    /// What has been chosen, and for how many jobs.
    choice: bool,
    pause: u64,
    /// Whether the last trial spoke for running inline, and was the first to do so.
    doubts: bool,
    /// When the window began.
    since: u64,
    /// Time and work of the windows so far, inline and shared.
    seen: [Vec<(f64, f64)>; 2],
    /// The state of a generator (xorshift) for the length of windows.
    random: u64,
}

impl Trial {
    pub fn new() -> Trial {
        let seen = [Vec::with_capacity(HALF), Vec::with_capacity(HALF)];
        let (choice, pause, doubts) = (true, PAUSE, false);
        let record = Record { window: None, choice, pause, doubts, since: 0, seen, random: 0x2545_f491 };
        Trial {
            sharing: AtomicBool::new(true),
            left: AtomicU64::new(FIRST),
            work: AtomicU64::new(0),
            record: Mutex::new(record),
        }
    }

    /// Whether a short job is to be shared.
    #[inline]
    pub fn shares(&self) -> bool {
        self.sharing.load(Ordering::Relaxed)
    }

    /// Notes a short job of so much work that begins.
    #[inline]
    pub fn note(&self, nanoseconds: f64, now: impl FnOnce() -> u64) {
        self.work.store(self.work.load(Ordering::Relaxed) + nanoseconds as u64, Ordering::Relaxed);
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left <= 1 {
            self.turn(now());
        }
    }

    /// Ends a window.
    #[cold]
    fn turn(&self, now: u64) {
        // Whoever comes while another thread is here goes on as before.
        let Ok(mut record) = self.record.try_lock() else { return };
        let jobs = record.turn(now, self.work.swap(0, Ordering::Relaxed));
        self.sharing.store(record.sharing(), Ordering::Relaxed);
        self.left.store(jobs, Ordering::Relaxed);
    }
}

impl Record {
    /// How short jobs run in the present window.
    fn sharing(&self) -> bool {
        self.window.map_or(self.choice, |window| window % 2 == 1)
    }

    /// Ends a window of so much work and gives the jobs of the next one.
    fn turn(&mut self, now: u64, work: u64) -> u64 {
        if self.window.is_some_and(|window| window >= IGNORED) {
            let time = now.saturating_sub(self.since) as f64;
            self.seen[usize::from(self.sharing())].push((time, work as f64));
        }
        let next = self.window.map_or(0, |window| window + 1);
        self.window = (next < WINDOWS).then_some(next);
        self.since = now;
        match self.window {
            Some(_) => WINDOW + self.chance() % WINDOW,
            None => self.choose(),
        }
    }

    /// Takes the better way; returns the jobs until the next trial.
    fn choose(&mut self) -> u64 {
        let [inline, shared] = [0, 1].map(|way| rate(&mut self.seen[way]));
        let inline_wins = inline < if self.choice { INLINE_BETTER * shared } else { shared };
        self.doubts = inline_wins && self.choice && !self.doubts;
        if self.doubts {
            return DOUBT;
        }
        self.pause = if self.choice && !inline_wins { (2 * self.pause).min(LONGEST_PAUSE) } else { PAUSE };
        self.choice = !inline_wins;
        self.pause
    }

    fn chance(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// Time over work in the faster ones of some windows, which are forgotten.
fn rate(seen: &mut Vec<(f64, f64)>) -> f64 {
    seen.sort_by(|a, b| (a.0 * b.1).total_cmp(&(b.0 * a.1)));
    let (time, work) = seen.iter().take(COUNTED).fold((0.0, 0.0), |sum, window| (sum.0 + window.0, sum.1 + window.1));
    seen.clear();
    time / work
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of work that ran shared in a program on a machine where both ways need so much time per work.
    fn share(inline: f64, shared: f64, pauses: bool) -> f64 {
        let trial = Trial::new();
        let (mut now, mut work) = (0.0, [0.0, 0.0]);
        for job in 0..400_000 {
            let nanoseconds = [3e3, 8e3, 40e3][job % 3];
            trial.note(nanoseconds, || now as u64);
            let way = usize::from(trial.shares());
            now += nanoseconds * [inline, shared][way];
            if pauses && job % 997 == 0 {
                now += 1e8;
            }
            // The first tenth is for finding out.
            if job > 40_000 {
                work[way] += nanoseconds;
            }
        }
        work[1] / (work[0] + work[1])
    }

    #[test]
    fn the_better_way_is_taken() {
        for pauses in [false, true] {
            assert!(share(1.0, 0.6, pauses) > 0.95);
            assert!(share(1.0, 3.0, pauses) < 0.05);
        }
    }

    /// How many of `jobs` ran inline, where `time` gives what one takes (ns) of its number and whether it is shared;
    /// the first ones do not count.
    fn inline(jobs: u64, first: u64, time: impl Fn(u64, bool) -> u64) -> usize {
        let trial = Trial::new();
        let mut now = 0;
        let ran_inline = |&job: &u64| {
            trial.note(1e4, || now);
            now += time(job, trial.shares());
            job >= first && !trial.shares()
        };
        (0..jobs).filter(ran_inline).count()
    }

    #[test]
    fn one_bad_trial_changes_nothing() {
        // The workers are slow at first.
        let slow_start = |job, shares| match shares {
            true if job < 1_500 => 50_000,
            true => 6_000,
            false => 10_000,
        };
        let inline = inline(100_000, 0, slow_start);
        assert!(inline < 4_000, "{inline} of 100,000 jobs ran inline");
    }

    #[test]
    fn a_change_of_the_machine_is_noticed() {
        // Another program takes the second processor after a third of the time.
        let inline = inline(600_000, 500_000, |job, shares| if shares && job > 200_000 { 50_000 } else { 8_000 });
        assert!(inline > 90_000, "{inline} of the last 100,000 jobs ran inline");
    }
}
