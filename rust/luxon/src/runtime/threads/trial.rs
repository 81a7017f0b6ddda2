//! Whether sharing short jobs pays here: measured, not assumed.
//!
//! A job of some microseconds gains little from a second thread and may lose much: its operands move from one
//! core's cache to another's, which costs ten times more where the cores have no cache in common, and a worker
//! that lost its processor to another program keeps the caller waiting. None of that can be known beforehand, nor
//! seen in a single job, as part of it is paid later, by whoever reads the results. So now and then there is a
//! trial: short jobs are shared and run inline in turns, and the way in which time passes faster relative to the
//! work is kept, for longer each time it wins again. No bits depend on it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Windows of a trial; every other one shares.
const WINDOWS: usize = 26;
/// The first windows do not count: workers may have to be woken.
const IGNORED: usize = 2;
const HALF: usize = (WINDOWS - IGNORED) / 2;
/// Work (ns) of a window at least. Up to as much again is added by chance, so that windows do not keep step with the
/// steps of a training loop.
const WINDOW: u64 = 60_000;
/// Work (ns) between two trials, at first and at most.
const PAUSE: u64 = 50_000_000;
const LONGEST_PAUSE: u64 = 2_000_000_000;
/// What the other way must need at most, relative to the present one, to be taken.
const BETTER: f64 = 0.97;

/// How short jobs run, and what is known of that. Threads that interfere spoil a window, which does no harm.
pub struct Trial {
    /// Whether short jobs are shared at present.
    sharing: AtomicBool,
    /// Work (ns) until the present window ends.
    left: AtomicU64,
    record: Mutex<Record>,
}

struct Record {
    /// The window of the present trial; none between trials.
    window: Option<usize>,
    /// What has been chosen, and for how much work.
    choice: bool,
    pause: u64,
    /// When the window began, and its work.
    since: u64,
    work: u64,
    /// Time over work of the windows so far, inline and shared.
    rates: [Vec<f64>; 2],
    /// The state of a generator (xorshift) for the length of windows.
    random: u64,
}

impl Trial {
    pub fn new() -> Trial {
        let rates = [Vec::with_capacity(HALF), Vec::with_capacity(HALF)];
        let record = Record { window: None, choice: true, pause: PAUSE, since: 0, work: 0, rates, random: 0x2545_f491 };
        // The first trial comes soon.
        Trial { sharing: AtomicBool::new(true), left: AtomicU64::new(PAUSE / 50), record: Mutex::new(record) }
    }

    /// Whether a short job is to be shared.
    #[inline]
    pub fn shares(&self) -> bool {
        self.sharing.load(Ordering::Relaxed)
    }

    /// Notes a short job of so much work that begins.
    #[inline]
    pub fn note(&self, nanoseconds: f64, now: impl FnOnce() -> u64) {
        let (left, work) = (self.left.load(Ordering::Relaxed), nanoseconds as u64);
        self.left.store(left.saturating_sub(work), Ordering::Relaxed);
        if left <= work {
            self.turn(now());
        }
    }

    /// Ends a window.
    #[cold]
    fn turn(&self, now: u64) {
        // Whoever comes while another thread is here goes on as before.
        let Ok(mut record) = self.record.try_lock() else { return };
        let work = record.turn(now, self.shares());
        self.sharing.store(record.sharing(), Ordering::Relaxed);
        self.left.store(work, Ordering::Relaxed);
    }
}

impl Record {
    /// How short jobs run in the present window.
    fn sharing(&self) -> bool {
        self.window.map_or(self.choice, |window| window % 2 == 1)
    }

    /// Ends a window and gives the work of the next one.
    fn turn(&mut self, now: u64, shared: bool) -> u64 {
        if let Some(window) = self.window.filter(|&window| window >= IGNORED) {
            debug_assert_eq!(shared, window % 2 == 1);
            self.rates[usize::from(shared)].push(now.saturating_sub(self.since) as f64 / self.work as f64);
        }
        let next = self.window.map_or(0, |window| window + 1);
        self.window = (next < WINDOWS).then_some(next);
        self.since = now;
        self.work = match self.window {
            Some(_) => WINDOW + self.chance() % WINDOW,
            None => self.choose(),
        };
        self.work
    }

    /// Takes the better way; returns the work until the next trial.
    fn choose(&mut self) -> u64 {
        let [inline, shared] = [0, 1].map(|way| median(&mut self.rates[way]));
        let (present, other) = if self.choice { (shared, inline) } else { (inline, shared) };
        if other < BETTER * present {
            self.choice = !self.choice;
            self.pause = PAUSE;
        } else {
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        }
        self.pause
    }

    fn chance(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// The median of some rates, which are forgotten.
fn median(rates: &mut Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2).copied().unwrap_or(0.0);
    rates.clear();
    median
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

    #[test]
    fn a_change_of_the_machine_is_noticed() {
        let trial = Trial::new();
        let (mut now, mut inline) = (0.0, 0);
        for job in 0..600_000 {
            trial.note(1e4, || now as u64);
            // Another program takes the second processor after a third of the time.
            let slow = trial.shares() && job > 200_000;
            now += if slow { 5e4 } else { 8e3 };
            inline += usize::from(job > 500_000 && !trial.shares());
        }
        assert!(inline > 90_000, "{inline} of the last 100,000 jobs ran inline");
    }
}
