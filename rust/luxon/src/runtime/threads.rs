//! The pool of worker threads: the only place of the library that knows threads.
//!
//! A job is a number of tasks and a function of the task's index; [`parallel`] returns when all are
//! done. Results must not depend on who runs a task, and the number of tasks must come from the problem
//! alone (or change no bits), so that the same bits come out of any number of threads. Small jobs,
//! nested ones and those of a second thread run inline: what is gated here is speed, never a result.
//!
//! Workers start at the first job that pays for one, spin for a while after work (waking a parked
//! thread costs the caller about 10 us and the worker starts 40 us later) and then park. What pays is a
//! long job, or jobs that follow one another closely: a step of training is hundreds of short ones. How
//! long a worker spins follows from how soon it was needed last time. Whether short jobs are shared at all is
//! found out while they run (`trial`). A forked child gets a pool of its own at its first job. The protocol is
//! in `pool`.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::interrupt;
use crate::error::Result;

mod affinity;
mod aside;
mod pool;
#[cfg(test)]
mod tests;
mod trial;

pub(crate) use aside::{Aside, put_aside, settle, takes_aside};
use pool::Pool;

/// More threads than this are never used.
const MOST_THREADS: usize = 256;
/// Serial work (ns) from which a job is shared with workers that are spinning.
const GATE_AWAKE: f64 = 2_500.0;
/// Serial work (ns) from which parked workers are woken.
const GATE_PARKED: f64 = 100_000.0;
/// The share of time above which work that is too short by itself adds up to a reason for waking them.
const DENSE: f64 = 0.25;
/// The number of threads to use; 0 until it is asked for.
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// The pool of this process; null until the first job, and again in a forked child.
static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());
/// Work (ns) that ran inline because the workers were parked, less what [`DENSE`] takes away as time goes by.
static MISSED: AtomicU64 = AtomicU64::new(0);
/// When [`MISSED`] was last brought up to date (ns).
static MISSED_AT: AtomicU64 = AtomicU64::new(0);
/// Counts the forks between the first process and this one.
static GENERATION: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that a job may use: `LUXON_NUM_THREADS`, or what the process may run on.
///
/// ```
/// assert!(luxon::runtime::threads::threads() >= 1);
/// ```
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let asked = std::env::var("LUXON_NUM_THREADS").ok().and_then(|text| text.trim().parse().ok());
            let count = match asked {
                Some(count) if count > 0 => count,
                _ => thread::available_parallelism().map_or(1, usize::from),
            };
            set_threads(count);
            count.min(MOST_THREADS)
        }
        count => count,
    }
}

/// Uses `count` threads (at least 1) from now on.
///
/// ```
/// use luxon::runtime::threads;
/// threads::set_threads(1); // Results have the same bits for any number.
/// assert_eq!(threads::threads(), 1);
/// ```
pub fn set_threads(count: usize) {
    THREADS.store(count.clamp(1, MOST_THREADS), Ordering::Relaxed);
}

/// Whether a job of so much serial work would be shared now. Only for choices that change no bits.
#[doc(hidden)]
pub fn worth_splitting(nanoseconds: f64) -> bool {
    if nanoseconds < GATE_AWAKE || threads() == 1 {
        return false;
    }
    let awake = match current() {
        Some(pool) if pool.is_owned() || interrupt::is_worker() => return false,
        Some(pool) if nanoseconds < GATE_PARKED && !pool.trial().shares() => {
            // The job, being whole, does not come to the pool.
            pool.trial().note(nanoseconds, now);
            return false;
        }
        pool => pool.is_some_and(Pool::is_awake),
    };
    awake || worth_waking(nanoseconds)
}

/// The time since the first call, in nanoseconds.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Whether parked workers are to be woken for a job, which otherwise runs inline and is remembered: together
/// with others that follow soon it becomes a reason.
fn worth_waking(nanoseconds: f64) -> bool {
    if nanoseconds >= GATE_PARKED {
        return true;
    }
    let now = now();
    // Threads that interfere here lose or double a job's time, which does no harm.
    let passed = now.saturating_sub(MISSED_AT.swap(now, Ordering::Relaxed));
    let left = (MISSED.load(Ordering::Relaxed) as f64 - passed as f64 * DENSE).max(0.0);
    let total = (left + nanoseconds).min(2.0 * GATE_PARKED);
    MISSED.store(total as u64, Ordering::Relaxed);
    total >= GATE_PARKED
}

/// Runs `body(0)` .. `body(tasks - 1)`, each once, in any order and on any thread, and returns when all
/// are done. `nanoseconds` estimates the whole serial work; it decides only whether threads pay.
///
/// A panic of a task is raised again here, after the others ended. After an interruption
/// (see [`interrupt`]) tasks are skipped.
///
/// ```
/// use luxon::runtime::threads::parallel;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// let sum = AtomicU64::new(0);
/// parallel(100, 1e6, &|task| { sum.fetch_add(task as u64, Ordering::Relaxed); });
/// assert_eq!(sum.into_inner(), 4950);
/// ```
pub fn parallel(tasks: usize, nanoseconds: f64, body: &(dyn Fn(usize) + Sync)) {
    let small = tasks < 2 || nanoseconds < GATE_AWAKE;
    if small || threads() == 1 || !shared(tasks, nanoseconds, body) {
        inline(tasks, nanoseconds, body);
    }
}

/// [`parallel`] with tasks that may fail: the first error to be met, after all have run.
pub(crate) fn try_parallel(tasks: usize, nanoseconds: f64, body: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    let failure = OnceLock::new();
    parallel(tasks, nanoseconds, &|task| {
        if let Err(error) = body(task) {
            let _ = failure.set(error);
        }
    });
    failure.into_inner().map_or(Ok(()), Err)
}

fn inline(tasks: usize, nanoseconds: f64, body: &(dyn Fn(usize) + Sync)) {
    if interrupt::pending() {
        return;
    }
    let mut poll = interrupt::Poll::new(tasks, nanoseconds);
    for task in 0..tasks {
        body(task);
        if poll.tick(1) {
            return;
        }
    }
}

/// Runs the job on the pool, or returns false when it is taken or would not pay.
fn shared(tasks: usize, nanoseconds: f64, body: &(dyn Fn(usize) + Sync)) -> bool {
    let known = current();
    let awake = known.is_some_and(Pool::is_awake);
    if let Some(pool) = known {
        // A worker may be here with something that was put aside.
        if pool.is_owned() || interrupt::is_worker() {
            return false;
        }
        if nanoseconds < GATE_PARKED {
            pool.trial().note(nanoseconds, now);
            if !pool.trial().shares() {
                return false;
            }
        }
    }
    if !awake && !worth_waking(nanoseconds) {
        return false;
    }
    let pool = known.unwrap_or_else(create);
    if !pool.own() {
        return false;
    }
    if interrupt::pending() {
        pool.release();
    } else {
        MISSED.store(0, Ordering::Relaxed);
        pool.run(tasks, nanoseconds, !awake || nanoseconds >= GATE_PARKED, body);
    }
    true
}

fn current() -> Option<&'static Pool> {
    // SAFETY: a pool that was published is never freed.
    unsafe { POOL.load(Ordering::Acquire).as_ref() }
}

#[cold]
fn create() -> &'static Pool {
    watch_forks();
    let fresh = Box::into_raw(Box::new(Pool::new()));
    match POOL.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: just made, and never freed from here on.
        Ok(_) => unsafe { &*fresh },
        Err(other) => {
            // SAFETY: `fresh` was not published; `other` was, and is never freed.
            unsafe {
                drop(Box::from_raw(fresh));
                &*other
            }
        }
    }
}

/// Makes a forked child forget the pool: its workers exist in the parent only.
fn watch_forks() {
    #[cfg(unix)]
    {
        use std::sync::atomic::AtomicBool;
        static WATCHING: AtomicBool = AtomicBool::new(false);
        extern "C" fn in_child() {
            POOL.store(ptr::null_mut(), Ordering::Relaxed);
            GENERATION.fetch_add(1, Ordering::Relaxed);
        }
        if !WATCHING.swap(true, Ordering::Relaxed) {
            // SAFETY: the handler only stores to atomics. If it cannot be registered (no memory), a
            // child's jobs find workers asleep for ever, which the caller does not wait for.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        }
    }
}

/// Runs `body` with `count` threads; tests that change the number of threads take turns.
#[cfg(test)]
pub(crate) fn with_threads<R>(count: usize, body: impl FnOnce() -> R) -> R {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = threads();
    set_threads(count);
    let result = body();
    set_threads(before);
    result
}
