//! Work put aside: short jobs whose results nobody reads for a while.
//!
//! A backward pass walks from layer to layer along the gradients of their inputs; the gradients of their weights
//! are results that only the end of the walk needs. So a thread that opened an [`Aside`] goes on while an idle
//! worker computes them: the two never wait for one another before [`Aside::settle`], where the owner runs what
//! nobody has taken. A queue has one owner at a time; jobs are taken in order, the owner frees them, so that what
//! they hold returns to the thread that allocated it.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::pool::{Line, Patience};
use super::{GENERATION, current, interrupt, now, threads};

/// Jobs that may be pending at once: what they hold is memory that would be free again otherwise.
const CAPACITY: usize = 16;
/// Serial work (ns) from which a job is put aside: less is lost on the way to the other core.
const GATE: f64 = 2_000.0;

type Job = Box<dyn Fn() + Send>;

struct Slot {
    job: UnsafeCell<Option<Job>>,
    done: AtomicBool,
}

/// Jobs by the order in which they came: of all those ever published the first `taken` ones were taken, and the
/// first `freed` ones are done and forgotten.
pub struct Queue {
    slots: Box<[Slot]>,
    published: Line<AtomicUsize>,
    taken: Line<AtomicUsize>,
    freed: AtomicUsize,
    owned: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: a slot is written by the owner while its job is not published, or done; in between whoever took it reads.
unsafe impl Sync for Queue {}

thread_local! {
    /// The queue that this thread owns.
    static MINE: Cell<Option<&'static Queue>> = const { Cell::new(None) };
}

impl Queue {
    pub fn new() -> Queue {
        let slot = || Slot { job: UnsafeCell::new(None), done: AtomicBool::new(false) };
        Queue {
            slots: (0..CAPACITY).map(|_| slot()).collect(),
            published: Line(AtomicUsize::new(0)),
            taken: Line(AtomicUsize::new(0)),
            freed: AtomicUsize::new(0),
            owned: AtomicBool::new(false),
            panic: Mutex::new(None),
        }
    }

    fn slot(&self, number: usize) -> &Slot {
        &self.slots[number % CAPACITY]
    }

    /// Whether there is a job to take.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.taken.0.load(Ordering::Relaxed) != self.published.0.load(Ordering::Acquire)
    }

    /// Runs the next job, if there is one.
    pub fn help(&self) -> bool {
        let mut next = self.taken.0.load(Ordering::Acquire);
        loop {
            if next == self.published.0.load(Ordering::Acquire) {
                return false;
            }
            match self.taken.0.compare_exchange_weak(next, next + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => next = now,
            }
        }
        let slot = self.slot(next);
        // SAFETY: this thread has just taken the job, which stays where it is until it is done.
        let job = unsafe { (*slot.job.get()).as_ref() };
        if let Some(job) = job
            && let Err(panic) = catch_unwind(AssertUnwindSafe(job))
        {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        slot.done.store(true, Ordering::Release);
        true
    }

    /// Forgets the oldest job once it is done; false where none is, or none is left.
    fn free(&self) -> bool {
        let oldest = self.freed.load(Ordering::Relaxed);
        let slot = self.slot(oldest);
        if oldest == self.published.0.load(Ordering::Relaxed) || !slot.done.load(Ordering::Acquire) {
            return false;
        }
        // SAFETY: only the owner comes here, and whoever ran the job is done with it.
        drop(unsafe { (*slot.job.get()).take() });
        self.freed.store(oldest + 1, Ordering::Relaxed);
        true
    }

    fn put(&self, job: Job) {
        while self.free() {}
        let number = self.published.0.load(Ordering::Relaxed);
        if number - self.freed.load(Ordering::Relaxed) == CAPACITY {
            return job();
        }
        let slot = self.slot(number);
        slot.done.store(false, Ordering::Relaxed);
        // SAFETY: the slot's last job was freed, and nobody takes this one before it is published.
        unsafe { *slot.job.get() = Some(job) };
        self.published.0.store(number + 1, Ordering::Release);
    }

    /// Runs what nobody has taken, waits for the rest, and frees all jobs.
    fn settle(&self, generation: usize) {
        // A job that puts something aside itself must not wait for its own end.
        let mine = MINE.replace(None);
        while self.help() {}
        MINE.set(mine);
        let mut patience = Patience::new(0.0);
        while self.freed.load(Ordering::Relaxed) != self.published.0.load(Ordering::Relaxed) {
            if self.free() {
                continue;
            }
            if GENERATION.load(Ordering::Relaxed) != generation {
                // The process was forked meanwhile: workers took their jobs with them. The child has a new pool.
                return interrupt::mark();
            }
            patience.wait();
        }
    }
}

/// What a thread puts aside until this is settled.
pub(crate) struct Aside {
    queue: Option<&'static Queue>,
    /// Whether this is not the first one that its thread has open.
    nested: bool,
    generation: usize,
}

impl Aside {
    /// Lets this thread put work aside; it does nothing where another thread has the queue.
    pub(crate) fn open() -> Aside {
        let mine = MINE.get();
        let queue = mine.or_else(|| {
            let queue = current()?.aside();
            let free = queue.owned.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
            free.then_some(queue)
        });
        MINE.set(queue);
        Aside { queue, nested: mine.is_some(), generation: GENERATION.load(Ordering::Relaxed) }
    }

    /// Returns when everything that this thread has put aside is done. A panic of a job is raised again here.
    pub(crate) fn settle(&self) {
        let Some(queue) = self.queue else { return };
        queue.settle(self.generation);
        let panic = queue.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let Some(queue) = self.queue else { return };
        queue.settle(self.generation);
        if !self.nested {
            MINE.set(None);
            queue.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
            queue.owned.store(false, Ordering::Release);
        }
    }
}

/// Whether [`put_aside`] would hand over a job of so much serial work.
pub(crate) fn takes_aside(nanoseconds: f64) -> bool {
    if nanoseconds < GATE || MINE.get().is_none() || threads() == 1 {
        return false;
    }
    current().is_some_and(|pool| {
        pool.trial().note(nanoseconds, now);
        pool.trial().shares() && pool.is_awake() && !pool.is_owned()
    })
}

/// Hands a job to a worker that has nothing else to do; without an open [`Aside`] it runs at once.
pub(crate) fn put_aside(job: Box<dyn Fn() + Send>) {
    match MINE.get() {
        Some(queue) => queue.put(job),
        None => job(),
    }
}

/// Returns when everything that this thread has put aside is done.
pub(crate) fn settle() {
    if let Some(queue) = MINE.get() {
        queue.settle(GENERATION.load(Ordering::Relaxed));
    }
}
