//! How a job is shared.
//!
//! Its state is one atomic word (epoch, and the range of claims that are left): whoever is free claims by
//! compare-and-swap, the calling thread included, so a worker that wakes late finds nothing left and
//! never delays the caller. The caller takes the first claim that is left and workers the last, so that in
//! a sequence of jobs over equal tensors most elements are met by the core whose cache has them. A claim that
//! succeeded is what makes the job's description readable and keeps it alive, which is why a stale epoch cannot
//! harm. The caller owns the pool for one job. Workers without a job look after what is put aside (`aside`).

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::aside::Queue;
use super::trial::Trial;
use super::{GENERATION, MOST_THREADS, THREADS, affinity, interrupt, threads};

/// A claim takes tasks worth about this many nanoseconds, so that claiming stays cheap.
const CLAIM: f64 = 2_000.0;
/// How long an idle worker spins before it parks.
const SPIN: Duration = Duration::from_micros(40);
/// The same where it was needed again within that time after the last job: between the steps of a training
/// loop, not beside a user who types.
const LONG_SPIN: Duration = Duration::from_micros(1500);
/// A worker that still has a task so long (ns) after it should have been done is not running, perhaps because
/// this thread is: it yields from then on.
const LATE: f64 = 20_000.0;
/// How often the caller looks whether all is done before it looks at the clock.
const LOOKS: u32 = 128;
/// Bits of the claim counters in the state word; the epoch has the rest.
const BITS: u32 = 20;
const LOW: u64 = (1 << BITS) - 1;

/// Keeps what it holds on cache lines of its own.
#[repr(align(128))]
pub struct Line<T>(pub T);

/// Waiting for others: eagerly, and from some time on with the processor left to them.
pub struct Patience {
    /// How long to be eager (ns).
    eager: f64,
    looks: u32,
    since: Option<Instant>,
    late: bool,
}

impl Patience {
    /// For work of so many nanoseconds that others have begun.
    pub fn new(nanoseconds: f64) -> Patience {
        Patience { eager: nanoseconds + LATE, looks: 0, since: None, late: false }
    }

    /// Waits for a moment.
    #[inline]
    pub fn wait(&mut self) {
        self.looks += 1;
        if !self.late && self.looks.is_multiple_of(LOOKS) {
            self.late = self.since.get_or_insert_with(Instant::now).elapsed().as_nanos() as f64 > self.eager;
        }
        if self.late { thread::yield_now() } else { spin_loop() }
    }
}

/// The end of the claims that are left from which one is taken.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

/// What a successful claim entitles to read.
struct Job {
    body: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    /// Tasks per claim.
    group: usize,
    /// How many workers may take part, and whether parked ones are to be woken.
    workers: usize,
    wake: bool,
}

struct Worker {
    parked: AtomicBool,
    thread: OnceLock<Thread>,
    /// The kernel's name of the thread, 0 until it runs.
    id: AtomicI32,
    /// The processors to allow again once it runs; see [`affinity`].
    restore: Mutex<Option<affinity::Processors>>,
}

/// The workers and the job that they share.
pub struct Pool {
    state: Line<AtomicU64>,
    /// Claims finished by workers and the caller.
    done: Line<AtomicUsize>,
    stop: Line<AtomicBool>,
    /// Workers that run or spin.
    awake: Line<AtomicUsize>,
    /// Held by the caller whose job this is.
    owned: AtomicBool,
    /// Whether short jobs are shared.
    trial: Trial,
    aside: Queue,
    job: UnsafeCell<Job>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    started: AtomicUsize,
    workers: Box<[Line<Worker>]>,
}

// SAFETY: `job` is written only by the owner while no claim is outstanding and read only under a claim.
unsafe impl Sync for Pool {}

impl Pool {
    pub fn new() -> Pool {
        let worker = || {
            Line(Worker {
                parked: AtomicBool::new(false),
                thread: OnceLock::new(),
                id: AtomicI32::new(0),
                restore: Mutex::new(None),
            })
        };
        let nothing: &(dyn Fn(usize) + Sync) = &|_| {};
        Pool {
            state: Line(AtomicU64::new(0)),
            done: Line(AtomicUsize::new(0)),
            stop: Line(AtomicBool::new(false)),
            awake: Line(AtomicUsize::new(0)),
            owned: AtomicBool::new(false),
            trial: Trial::new(),
            aside: Queue::new(),
            job: UnsafeCell::new(Job { body: nothing, tasks: 0, group: 1, workers: 0, wake: false }),
            panic: Mutex::new(None),
            started: AtomicUsize::new(0),
            workers: (0..MOST_THREADS - 1).map(|_| worker()).collect(),
        }
    }

    /// Whether some thread runs a job.
    pub fn is_owned(&self) -> bool {
        self.owned.load(Ordering::Relaxed)
    }

    /// Whether some worker would see a new job at once.
    pub fn is_awake(&self) -> bool {
        self.awake.0.load(Ordering::Relaxed) > 0
    }

    /// What is known of sharing short jobs.
    pub fn trial(&self) -> &Trial {
        &self.trial
    }

    /// What is put aside for workers.
    pub fn aside(&self) -> &Queue {
        &self.aside
    }

    /// Tries to become the thread whose job this pool runs.
    pub fn own(&self) -> bool {
        self.owned.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Ends what [`Pool::own`] began.
    pub fn release(&self) {
        self.owned.store(false, Ordering::Release);
    }

    /// Runs one job; the calling thread holds `owned`, which this releases.
    pub fn run(&'static self, tasks: usize, nanoseconds: f64, wake: bool, body: &(dyn Fn(usize) + Sync)) {
        let generation = GENERATION.load(Ordering::Relaxed);
        let threads = threads();
        let each = nanoseconds / tasks as f64;
        let balanced = (tasks / (4 * threads)).max(1);
        let group = ((CLAIM / each).ceil() as usize).clamp(1, balanced).max(tasks.div_ceil(LOW as usize));
        let claims = tasks.div_ceil(group);
        let workers = (threads - 1).min(claims - 1);
        // SAFETY: this thread owns the pool and every claim of the last job was finished. The lifetime of
        // `body` is erased: it is called only under a claim, and this function outlives all claims.
        unsafe {
            let body = std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(body);
            *self.job.get() = Job { body, tasks, group, workers, wake };
        }
        self.done.0.store(0, Ordering::Relaxed);
        self.stop.0.store(false, Ordering::Relaxed);
        let epoch = (self.state.0.load(Ordering::Relaxed) >> (2 * BITS)).wrapping_add(1);
        self.state.0.store(epoch << (2 * BITS) | (claims as u64) << BITS, Ordering::Release);
        if wake {
            self.start(workers);
            // Pairs with the fence of a worker about to park: one of the two sees the other.
            fence(Ordering::SeqCst);
            self.wake_below(0, workers);
        }
        let mut poll = interrupt::Poll::new(claims, nanoseconds);
        let mut mine = 0;
        while let Some(claim) = self.claim(End::First) {
            self.perform(claim);
            mine += 1;
            if poll.tick(1) {
                self.stop.0.store(true, Ordering::Relaxed);
            }
        }
        self.done.0.fetch_add(mine, Ordering::AcqRel);
        // A worker may have taken its claim just when this thread took its last one.
        let mut patience = Patience::new(2.0 * nanoseconds / claims as f64);
        while self.done.0.load(Ordering::Acquire) != claims {
            if GENERATION.load(Ordering::Relaxed) != generation {
                // The process was forked inside a task: workers took their claims with them.
                interrupt::mark();
                return;
            }
            patience.wait();
        }
        let panic = match self.stop.0.load(Ordering::Relaxed) {
            true => self.panic.lock().unwrap_or_else(PoisonError::into_inner).take(),
            false => None,
        };
        self.release();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Takes a claim of the present job, if any is left.
    #[inline]
    fn claim(&self, end: End) -> Option<usize> {
        let mut state = self.state.0.load(Ordering::Acquire);
        loop {
            let (first, past) = (state & LOW, (state >> BITS) & LOW);
            if first >= past {
                return None;
            }
            let (claim, rest) = match end {
                End::First => (first, state + 1),
                End::Last => (past - 1, state - (1 << BITS)),
            };
            match self.state.0.compare_exchange_weak(state, rest, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(claim as usize),
                Err(now) => state = now,
            }
        }
    }

    #[inline]
    fn claimable(&self) -> bool {
        let state = self.state.0.load(Ordering::Acquire);
        state & LOW < (state >> BITS) & LOW
    }

    /// The job; only for a thread whose claim is not finished yet.
    #[inline]
    unsafe fn job(&self) -> &Job {
        // SAFETY: the owner writes only when all claims are finished, and this one is not.
        unsafe { &*self.job.get() }
    }

    /// Runs the tasks of a claim; a panic is kept for the caller and stops the job.
    #[inline]
    fn perform(&self, claim: usize) {
        // SAFETY: the caller has just taken this claim, so the job and its body are alive.
        let (job, body) = unsafe { (self.job(), &*self.job().body) };
        let first = claim * job.group;
        let last = (first + job.group).min(job.tasks);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for task in first..last {
                if self.stop.0.load(Ordering::Relaxed) {
                    return;
                }
                body(task);
            }
        }));
        if let Err(panic) = outcome {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            self.stop.0.store(true, Ordering::Relaxed);
        }
    }

    /// Starts workers until there are `count`; fewer when the system refuses. Only for the owner.
    fn start(&'static self, count: usize) {
        for index in self.started.load(Ordering::Relaxed)..count {
            let name = format!("luxon-{}", index + 1);
            let Ok(handle) = thread::Builder::new().name(name).spawn(move || self.work(index)) else {
                return;
            };
            let _ = self.workers[index].0.thread.set(handle.thread().clone());
            self.started.store(index + 1, Ordering::Release);
        }
    }

    /// Wakes the two threads below `node` in the tree whose root is the caller and whose node `i + 1`
    /// is worker `i`: each wake costs 10 us, and so nobody pays for all of them.
    fn wake_below(&self, node: usize, workers: usize) {
        let workers = workers.min(self.started.load(Ordering::Acquire));
        for child in [2 * node + 1, 2 * node + 2] {
            if child <= workers {
                self.wake(child - 1);
            }
        }
    }

    fn wake(&self, index: usize) {
        let worker = &self.workers[index].0;
        if !worker.parked.load(Ordering::Relaxed) || !worker.parked.swap(false, Ordering::AcqRel) {
            return;
        }
        let processors = affinity::keep_away(worker.id.load(Ordering::Acquire));
        *worker.restore.lock().unwrap_or_else(PoisonError::into_inner) = processors;
        if let Some(thread) = worker.thread.get() {
            thread.unpark();
        }
    }

    /// Whether fewer threads are asked for than there are.
    fn is_surplus(&self, index: usize) -> bool {
        index + 1 >= THREADS.load(Ordering::Relaxed)
    }

    /// The life of worker `index`.
    fn work(&self, index: usize) {
        interrupt::this_is_a_worker();
        let me = &self.workers[index].0;
        me.id.store(affinity::thread_id(), Ordering::Release);
        self.awake.0.fetch_add(1, Ordering::Relaxed);
        let mut spin = SPIN;
        loop {
            self.help(index);
            if !self.is_surplus(index) && self.aside.help() {
                continue;
            }
            let idle = self.idle(index, spin);
            spin = if idle < LONG_SPIN { LONG_SPIN } else { SPIN };
        }
    }

    /// Works as long as there are claims.
    fn help(&self, index: usize) {
        while !self.is_surplus(index) {
            let Some(claim) = self.claim(End::Last) else { break };
            // SAFETY: the claim is not finished.
            let (wake, workers) = unsafe { (self.job().wake, self.job().workers) };
            if wake {
                self.wake_below(index + 1, workers);
            }
            self.perform(claim);
            // Reported at once: the next claim may belong to another job.
            self.done.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Spins, then parks, until there is something to claim; returns how long that took.
    fn idle(&self, index: usize, spin: Duration) -> Duration {
        let me = &self.workers[index].0;
        let since = Instant::now();
        loop {
            for _ in 0..32 {
                if (self.claimable() || self.aside.is_waiting()) && !self.is_surplus(index) {
                    return since.elapsed();
                }
                spin_loop();
            }
            if since.elapsed() > spin {
                break;
            }
        }
        me.parked.store(true, Ordering::Relaxed);
        self.awake.0.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while me.parked.load(Ordering::Acquire) && (self.is_surplus(index) || !self.claimable()) {
            thread::park();
        }
        me.parked.store(false, Ordering::Relaxed);
        self.awake.0.fetch_add(1, Ordering::Relaxed);
        if let Some(processors) = me.restore.lock().unwrap_or_else(PoisonError::into_inner).take() {
            processors.allow();
        }
        since.elapsed()
    }
}
