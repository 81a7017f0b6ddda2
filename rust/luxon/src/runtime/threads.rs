//! The pool of worker threads: the only place of the library that knows threads.
//!
//! A job is a number of tasks and a function of the task's index; [`parallel`] returns when all are
//! done. Results must not depend on who runs a task, and the number of tasks must come from the problem
//! alone (or change no bits), so that the same bits come out of any number of threads. Small jobs,
//! nested ones and those of a second thread run inline: what is gated here is speed, never a result.
//!
//! Workers start at the first job that pays for one, spin for a while after work (waking a parked
//! thread costs the caller about 10 us and the worker starts 40 us later) and then park. A forked child
//! gets a pool of its own at its first job. The protocol is in `pool`.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::interrupt;

mod affinity;
mod pool;
#[cfg(test)]
mod tests;

use pool::Pool;

/// More threads than this are never used.
const MOST_THREADS: usize = 256;
/// Serial work (ns) from which a job is shared with workers that are spinning.
const GATE_AWAKE: f64 = 2_500.0;
/// Serial work (ns) from which parked workers are woken.
const GATE_PARKED: f64 = 100_000.0;
/// The number of threads to use; 0 until it is asked for.
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// The pool of this process; null until the first job, and again in a forked child.
static POOL: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());
/// How many guards are held.
static HOT: AtomicUsize = AtomicUsize::new(0);
/// Work (ns) that ran inline under a guard because the workers were parked.
static MISSED: AtomicU64 = AtomicU64::new(0);
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
    match current() {
        Some(pool) if pool.is_owned() => false,
        Some(pool) if pool.is_awake() => true,
        _ => {
            let split = nanoseconds >= GATE_PARKED;
            if !split {
                missed(nanoseconds);
            }
            split
        }
    }
}

/// While it is held, workers stay awake between jobs (up to 1.5 ms after the last one).
///
/// ```
/// use luxon::runtime::threads::{HotGuard, keep_hot};
/// let guard: HotGuard = keep_hot();
/// // ... many short steps ...
/// drop(guard); // From here on idle workers sleep at once.
/// ```
pub struct HotGuard {
    generation: usize,
}

/// Keeps workers awake between the jobs of a step; worth it when they follow within a millisecond.
///
/// ```
/// let _guard = luxon::runtime::threads::keep_hot();
/// for _ in 0..3 {
///     // A training step: workers wait for the next one without sleeping.
/// }
/// ```
pub fn keep_hot() -> HotGuard {
    HOT.fetch_add(1, Ordering::Relaxed);
    HotGuard { generation: GENERATION.load(Ordering::Relaxed) }
}

impl Drop for HotGuard {
    fn drop(&mut self) {
        if self.generation == GENERATION.load(Ordering::Relaxed) {
            HOT.fetch_sub(1, Ordering::Relaxed);
        }
    }
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
    let wake = nanoseconds >= GATE_PARKED;
    let pool = match current() {
        Some(pool) => pool,
        None if wake => create(),
        None => {
            missed(nanoseconds);
            return false;
        }
    };
    if !wake && !pool.is_awake() {
        missed(nanoseconds);
        return false;
    }
    if !pool.own() {
        return false;
    }
    if interrupt::pending() {
        pool.release();
    } else {
        pool.run(tasks, nanoseconds, wake, body);
    }
    true
}

/// Notes work that ran inline because no worker was awake. Under a guard, such jobs together become a
/// reason for waking workers: too late for this one, in time for those that follow.
fn missed(nanoseconds: f64) {
    if HOT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let before = MISSED.fetch_add(nanoseconds as u64, Ordering::Relaxed) as f64;
    if before + nanoseconds >= GATE_PARKED {
        MISSED.store(0, Ordering::Relaxed);
        let pool = current().unwrap_or_else(create);
        if pool.own() {
            pool.wake_all(threads() - 1);
            pool.release();
        }
    }
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
            HOT.store(0, Ordering::Relaxed);
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
