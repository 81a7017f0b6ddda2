//! Stopping a long computation from outside (Ctrl-C under Python).
//!
//! The host registers a hook; the thread that called [`super::threads::parallel`] asks it between
//! tasks, at most every 50 ms, and never from a worker (the hook may need a lock which the calling
//! thread is able to take, such as Python's). When the hook answers true, the tasks that are left are
//! skipped and the calling thread is marked as interrupted: what the kernel wrote is then incomplete,
//! every further `parallel` of this thread does nothing, and whoever ran the kernel must call [`take`],
//! drop the result and report the interruption. What must not stop half way runs under `uninterrupted`.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

/// Shortest time between two calls of the hook on one thread.
const INTERVAL: Duration = Duration::from_millis(50);

/// Shorter jobs (estimated nanoseconds) never ask: reading the clock would cost more than it gives.
const WORTH_ASKING: f64 = 50_000.0;

/// The registered `fn() -> bool`, null for none.
static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    static INTERRUPTED: Cell<bool> = const { Cell::new(false) };
    static WORKER: Cell<bool> = const { Cell::new(false) };
    static UNINTERRUPTED: Cell<bool> = const { Cell::new(false) };
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Registers the function that tells whether the computation of the calling thread is to stop.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// static STOP: AtomicBool = AtomicBool::new(false); // For a signal handler to set.
/// luxon::runtime::interrupt::set_hook(|| STOP.load(Ordering::Relaxed));
/// ```
pub fn set_hook(hook: fn() -> bool) {
    HOOK.store(hook as *mut (), Ordering::Release);
}

/// Whether a computation of this thread was interrupted since the last call; clears the mark.
#[inline]
#[doc(hidden)]
pub fn take() -> bool {
    INTERRUPTED.with(|mark| mark.replace(false))
}

/// Whether this thread is marked as interrupted; for kernels with loops of their own.
#[doc(hidden)]
pub fn pending() -> bool {
    INTERRUPTED.with(Cell::get)
}

/// Asks the hook between two kernels, at most every 50 ms: true when the computation is to stop.
#[inline]
#[doc(hidden)]
pub fn poll() -> bool {
    !is_silent() && ask() && take()
}

/// Whether this thread does not ask the hook at present.
fn is_silent() -> bool {
    HOOK.load(Ordering::Relaxed).is_null() || WORKER.with(Cell::get) || UNINTERRUPTED.with(Cell::get)
}

/// Runs `body` without asking the hook: a signal that comes meanwhile is noticed afterwards.
pub(crate) fn uninterrupted<R>(body: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            UNINTERRUPTED.with(|flag| flag.set(self.0));
        }
    }
    let _restore = Restore(UNINTERRUPTED.with(|flag| flag.replace(true)));
    body()
}

/// Marks this thread as interrupted.
pub(super) fn mark() {
    INTERRUPTED.with(|mark| mark.set(true));
}

/// Says that this thread is a worker, which must never call the hook.
pub(super) fn this_is_a_worker() {
    WORKER.with(|worker| worker.set(true));
}

/// Whether this thread is a worker.
pub(super) fn is_worker() -> bool {
    WORKER.with(Cell::get)
}

/// Asks the hook now and then while one job runs.
pub(super) struct Poll {
    /// Tasks between two looks at the clock; 0 when this job never asks.
    every: usize,
    left: usize,
}

impl Poll {
    /// For a job of `tasks` tasks that takes about `nanoseconds` altogether.
    pub(super) fn new(tasks: usize, nanoseconds: f64) -> Poll {
        let silent = nanoseconds < WORTH_ASKING || is_silent();
        // A look per 20 us of work costs about 0.1 %.
        let every = if silent { 0 } else { ((20_000.0 * tasks as f64 / nanoseconds) as usize).clamp(1, 1000) };
        Poll { every, left: every }
    }

    /// To be called after `tasks` tasks were finished: true when the job is to stop.
    #[inline]
    pub(super) fn tick(&mut self, tasks: usize) -> bool {
        if self.every == 0 {
            return false;
        }
        if self.left > tasks {
            self.left -= tasks;
            return false;
        }
        self.left = self.every;
        pending() || ask()
    }
}

#[cold]
fn ask() -> bool {
    let now = Instant::now();
    let due = LAST.with(|last| match last.get() {
        Some(before) if now.duration_since(before) < INTERVAL => false,
        before => {
            last.set(Some(now));
            before.is_some()
        }
    });
    let hook = HOOK.load(Ordering::Acquire);
    if !due || hook.is_null() {
        return false;
    }
    // SAFETY: `HOOK` is only ever set from a value of exactly this type.
    let hook: fn() -> bool = unsafe { std::mem::transmute::<*mut (), fn() -> bool>(hook) };
    let stop = hook();
    if stop {
        mark();
    }
    stop
}
