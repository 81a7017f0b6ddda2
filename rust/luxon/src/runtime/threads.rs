//! The pool of worker threads: the only place of the library that knows threads.
//!
//! A job is a number of tasks and a function of the task's index. Its state is one atomic word
//! (epoch, claims, next claim): whoever is free claims by compare-and-swap, the calling thread
//! included, so a worker that wakes late finds nothing left and never delays the caller. A claim that
//! succeeded is what makes the job's description readable, which is why a stale epoch cannot harm.
//! Results must not depend on who runs a task, and the number of tasks must come from the problem
//! alone, so the same bits come out of any number of threads.
//!
//! Workers start at the first job that pays for one, spin for a while after work (waking a parked
//! thread costs the caller about 10 us and the worker starts 40 us later) and then park. Nested and
//! concurrent calls run inline. A forked child gets a pool of its own at its first job.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence,
};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::interrupt;

/// More threads than this are never used.
const MOST_THREADS: usize = 256;
/// Serial work (ns) from which a job is shared with workers that are spinning.
const GATE_AWAKE: f64 = 2_500.0;
/// Serial work (ns) from which parked workers are woken.
const GATE_PARKED: f64 = 100_000.0;
/// A claim takes tasks worth about this many nanoseconds, so that claiming stays cheap.
const CLAIM: f64 = 2_000.0;
/// How long an idle worker spins before it parks.
const SPIN: Duration = Duration::from_micros(40);
/// The same while somebody holds a [`HotGuard`].
const HOT_SPIN: Duration = Duration::from_micros(1500);
/// Bits of the claim counters in the state word; the epoch has the rest.
const BITS: u32 = 20;
const LOW: u64 = (1 << BITS) - 1;

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

/// Keeps what it holds on cache lines of its own.
#[repr(align(128))]
struct Line<T>(T);

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

struct Pool {
    state: Line<AtomicU64>,
    /// Claims finished by workers and the caller.
    done: Line<AtomicUsize>,
    stop: Line<AtomicBool>,
    /// Workers that run or spin.
    awake: Line<AtomicUsize>,
    /// Held by the caller whose job this is.
    owned: AtomicBool,
    job: UnsafeCell<Job>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    started: AtomicUsize,
    workers: Box<[Line<Worker>]>,
}

// SAFETY: `job` is written only by the owner while no claim is outstanding and read only under a claim.
unsafe impl Sync for Pool {}

/// The number of threads that a job may use: `LUXON_NUM_THREADS`, or what the process may run on.
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let asked = std::env::var("LUXON_NUM_THREADS")
                .ok()
                .and_then(|text| text.trim().parse().ok());
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
pub fn set_threads(count: usize) {
    THREADS.store(count.clamp(1, MOST_THREADS), Ordering::Relaxed);
}

/// Whether a job of so much serial work would be shared now. Only for choices that change no bits.
pub fn worth_splitting(nanoseconds: f64) -> bool {
    if nanoseconds < GATE_AWAKE || threads() == 1 {
        return false;
    }
    match current() {
        Some(pool) if pool.owned.load(Ordering::Relaxed) => false,
        Some(pool) if pool.awake.0.load(Ordering::Relaxed) > 0 => true,
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
pub struct HotGuard {
    generation: usize,
}

/// Keeps workers awake between the jobs of a step; worth it when they follow within a millisecond.
pub fn keep_hot() -> HotGuard {
    HOT.fetch_add(1, Ordering::Relaxed);
    HotGuard {
        generation: GENERATION.load(Ordering::Relaxed),
    }
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
    if !wake && pool.awake.0.load(Ordering::Relaxed) == 0 {
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
    let worker = || {
        let worker = Worker {
            parked: AtomicBool::new(false),
            thread: OnceLock::new(),
            id: AtomicI32::new(0),
            restore: Mutex::new(None),
        };
        Line(worker)
    };
    let nothing: &(dyn Fn(usize) + Sync) = &|_| {};
    let fresh = Box::into_raw(Box::new(Pool {
        state: Line(AtomicU64::new(0)),
        done: Line(AtomicUsize::new(0)),
        stop: Line(AtomicBool::new(false)),
        awake: Line(AtomicUsize::new(0)),
        owned: AtomicBool::new(false),
        job: UnsafeCell::new(Job {
            body: nothing,
            tasks: 0,
            group: 1,
            workers: 0,
            wake: false,
        }),
        panic: Mutex::new(None),
        started: AtomicUsize::new(0),
        workers: (0..MOST_THREADS - 1).map(|_| worker()).collect(),
    }));
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

impl Pool {
    /// Tries to become the thread whose job this pool runs.
    fn own(&self) -> bool {
        self.owned
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    fn release(&self) {
        self.owned.store(false, Ordering::Release);
    }

    /// Runs one job; the calling thread holds `owned`, which this releases.
    fn run(
        &'static self,
        tasks: usize,
        nanoseconds: f64,
        wake: bool,
        body: &(dyn Fn(usize) + Sync),
    ) {
        let generation = GENERATION.load(Ordering::Relaxed);
        let threads = threads();
        let each = nanoseconds / tasks as f64;
        let balanced = (tasks / (4 * threads)).max(1);
        let group = ((CLAIM / each).ceil() as usize)
            .clamp(1, balanced)
            .max(tasks.div_ceil(LOW as usize));
        let claims = tasks.div_ceil(group);
        let workers = (threads - 1).min(claims - 1);
        // SAFETY: this thread owns the pool and every claim of the last job was finished. The lifetime of
        // `body` is erased: it is called only under a claim, and this function outlives all claims.
        unsafe {
            let body = std::mem::transmute::<
                &(dyn Fn(usize) + Sync),
                &'static (dyn Fn(usize) + Sync),
            >(body);
            *self.job.get() = Job {
                body,
                tasks,
                group,
                workers,
                wake,
            };
        }
        self.done.0.store(0, Ordering::Relaxed);
        self.stop.0.store(false, Ordering::Relaxed);
        let epoch = (self.state.0.load(Ordering::Relaxed) >> (2 * BITS)).wrapping_add(1);
        self.state.0.store(
            epoch << (2 * BITS) | (claims as u64) << BITS,
            Ordering::Release,
        );
        if wake {
            self.start(workers);
            // Pairs with the fence of a worker about to park: one of the two sees the other.
            fence(Ordering::SeqCst);
            self.wake_below(0, workers);
        }
        let mut poll = interrupt::Poll::new(claims, nanoseconds);
        let mut mine = 0;
        while let Some(claim) = self.claim() {
            self.perform(claim);
            mine += 1;
            if poll.tick(1) {
                self.stop.0.store(true, Ordering::Relaxed);
            }
        }
        self.done.0.fetch_add(mine, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.done.0.load(Ordering::Acquire) != claims {
            if GENERATION.load(Ordering::Relaxed) != generation {
                // The process was forked inside a task: workers took their claims with them.
                interrupt::mark();
                return;
            }
            spins += 1;
            if spins < 2000 {
                spin_loop()
            } else {
                thread::yield_now()
            }
        }
        let panic = match self.stop.0.load(Ordering::Relaxed) {
            true => self
                .panic
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
            false => None,
        };
        self.release();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Takes the next claim of the present job, if any is left.
    #[inline]
    fn claim(&self) -> Option<usize> {
        let mut state = self.state.0.load(Ordering::Acquire);
        loop {
            if state & LOW >= (state >> BITS) & LOW {
                return None;
            }
            match self.state.0.compare_exchange_weak(
                state,
                state + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some((state & LOW) as usize),
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
            let Ok(handle) = thread::Builder::new()
                .name(name)
                .spawn(move || self.work(index))
            else {
                return;
            };
            let _ = self.workers[index].0.thread.set(handle.thread().clone());
            self.started.store(index + 1, Ordering::Release);
        }
    }

    fn wake_all(&'static self, workers: usize) {
        self.start(workers);
        for index in 0..workers.min(self.started.load(Ordering::Acquire)) {
            self.wake(index);
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
        *worker
            .restore
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = processors;
        if let Some(thread) = worker.thread.get() {
            thread.unpark();
        }
    }

    /// The life of worker `index`.
    fn work(&self, index: usize) {
        interrupt::this_is_a_worker();
        let me = &self.workers[index].0;
        me.id.store(affinity::thread_id(), Ordering::Release);
        self.awake.0.fetch_add(1, Ordering::Relaxed);
        loop {
            self.help(index);
            self.idle(index);
        }
    }

    /// Works as long as there are claims.
    fn help(&self, index: usize) {
        while index + 1 < THREADS.load(Ordering::Relaxed) {
            let Some(claim) = self.claim() else { break };
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

    /// Spins, then parks, until there is something to claim.
    fn idle(&self, index: usize) {
        let me = &self.workers[index].0;
        let hot = HOT.load(Ordering::Relaxed) > 0;
        let since = Instant::now();
        let surplus = || index + 1 >= THREADS.load(Ordering::Relaxed);
        loop {
            for _ in 0..32 {
                if self.claimable() && !surplus() {
                    return;
                }
                spin_loop();
            }
            let hot = hot || HOT.load(Ordering::Relaxed) > 0;
            if since.elapsed() > if hot { HOT_SPIN } else { SPIN } {
                break;
            }
        }
        me.parked.store(true, Ordering::Relaxed);
        self.awake.0.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while me.parked.load(Ordering::Acquire) && (surplus() || !self.claimable()) {
            thread::park();
        }
        me.parked.store(false, Ordering::Relaxed);
        self.awake.0.fetch_add(1, Ordering::Relaxed);
        if let Some(processors) = me
            .restore
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            processors.allow();
        }
    }
}

/// Where a woken thread may run.
///
/// A thread woken by one that has slept is put on the waker's own processor by Linux, and stays there
/// for milliseconds, which makes two threads slower than one. So the waker forbids its processor for
/// the moment of waking, and the worker allows it again as soon as it runs elsewhere.
mod affinity {
    #[cfg(target_os = "linux")]
    mod linux {
        use std::mem::{size_of, zeroed};

        /// A set of processors.
        pub struct Processors(libc::cpu_set_t);

        impl Processors {
            /// Lets the calling thread run on these.
            pub fn allow(&self) {
                // SAFETY: a plain system call on a set that this value owns; failure changes nothing.
                unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) };
            }
        }

        /// The kernel's name of the calling thread.
        pub fn thread_id() -> i32 {
            // SAFETY: no arguments, cannot fail.
            unsafe { libc::syscall(libc::SYS_gettid) as i32 }
        }

        /// Forbids `thread` the processor of the caller; returns what to allow again.
        pub fn keep_away(thread: i32) -> Option<Processors> {
            // SAFETY: plain system calls on local sets; the processor's number is checked before use.
            unsafe {
                let mut allowed: libc::cpu_set_t = zeroed();
                let here = libc::sched_getcpu();
                let known =
                    libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed) == 0;
                if thread == 0 || !known || !(0..libc::CPU_SETSIZE).contains(&here) {
                    return None;
                }
                let mut others = allowed;
                libc::CPU_CLR(here as usize, &mut others);
                if libc::CPU_COUNT(&others) == 0 {
                    return None;
                }
                let done =
                    libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &others) == 0;
                done.then_some(Processors(allowed))
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    mod other {
        /// A set of processors.
        pub struct Processors;

        impl Processors {
            /// Nothing to do here.
            pub fn allow(&self) {}
        }

        /// Not needed here.
        pub fn thread_id() -> i32 {
            0
        }

        /// Not needed here.
        pub fn keep_away(_thread: i32) -> Option<Processors> {
            None
        }
    }

    #[cfg(target_os = "linux")]
    pub use linux::*;
    #[cfg(not(target_os = "linux"))]
    pub use other::*;
}

/// Runs `body` with `count` threads; tests that change the number of threads take turns.
#[cfg(test)]
pub(crate) fn with_threads<R>(count: usize, body: impl FnOnce() -> R) -> R {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = threads();
    set_threads(count);
    let result = body();
    set_threads(before);
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use std::sync::atomic::AtomicU32;

    fn once(tasks: usize, nanoseconds: f64) {
        let times: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
        parallel(tasks, nanoseconds, &|task| {
            times[task].fetch_add(1, Ordering::Relaxed);
        });
        assert!(times.iter().all(|times| times.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn every_task_once() {
        for count in [1, 2, 3, 8] {
            with_threads(count, || {
                for tasks in [0, 1, 2, 3, 17, 1000] {
                    for nanoseconds in [0.0, f64::NAN, 3e3, 1e6, f64::INFINITY] {
                        (0..20).for_each(|_| once(tasks, nanoseconds));
                    }
                }
                once(3 << BITS, 1e7);
            });
        }
    }

    #[test]
    fn nested_and_concurrent() {
        with_threads(3, || {
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..50 {
                            parallel(8, 1e6, &|_| once(20, 1e6));
                        }
                    });
                }
            });
        });
    }

    #[test]
    fn panics_arrive() {
        with_threads(4, || {
            for task in 0..16 {
                let result = catch_unwind(|| {
                    parallel(16, 1e6, &|now| {
                        thread::sleep(Duration::from_micros(50));
                        assert!(now != task, "task {task}");
                    });
                });
                assert_eq!(
                    *result.unwrap_err().downcast::<String>().unwrap(),
                    format!("task {task}")
                );
                once(100, 1e6);
            }
        });
    }

    #[test]
    fn guards_keep_workers_awake() {
        with_threads(2, || {
            once(4, 1e6);
            thread::sleep(Duration::from_millis(5));
            let _guard = keep_hot();
            // Small jobs: workers are woken when enough of them were missed.
            for _ in 0..100 {
                once(10, 50_000.0);
                thread::sleep(Duration::from_micros(100));
            }
            assert!(worth_splitting(1e6));
        });
    }

    #[test]
    fn interruption_skips_the_rest() {
        thread_local! {
            static WANTED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
        }
        for count in [1, 2] {
            with_threads(count, || {
                interrupt::set_hook(|| WANTED.with(std::cell::Cell::get));
                WANTED.with(|wanted| wanted.set(true));
                let ran = AtomicU32::new(0);
                parallel(1000, 1e10, &|_| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(2));
                });
                WANTED.with(|wanted| wanted.set(false));
                assert!((1..200).contains(&ran.load(Ordering::Relaxed)), "{ran:?}");
                assert!(interrupt::pending());
                parallel(10, 0.0, &|_| panic!("not to be run"));
                assert!(interrupt::take());
                assert!(!interrupt::take());
                once(100, 1e6);
            });
        }
    }

    #[cfg(unix)]
    #[test]
    fn forked_children_have_workers() {
        with_threads(2, || {
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                // Another thread is inside a job whenever the fork happens.
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        parallel(8, 1e6, &|_| thread::sleep(Duration::from_micros(100)));
                    }
                });
                once(100, 1e6);
                for _ in 0..10 {
                    thread::sleep(Duration::from_micros(300));
                    // SAFETY: the child runs only this pool and ends without returning.
                    let child = unsafe { libc::fork() };
                    assert!(child >= 0);
                    if child == 0 {
                        for _ in 0..20 {
                            let sum = AtomicUsize::new(0);
                            parallel(50, 1e6, &|task| {
                                sum.fetch_add(task, Ordering::Relaxed);
                            });
                            if sum.load(Ordering::Relaxed) != 1225 {
                                // SAFETY: ends the child.
                                unsafe { libc::_exit(1) };
                            }
                        }
                        // SAFETY: ends the child.
                        unsafe { libc::_exit(0) };
                    }
                    let mut status = 0;
                    let since = Instant::now();
                    // SAFETY: waits for the child made above.
                    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
                        assert!(since.elapsed() < Duration::from_secs(20), "the child hangs");
                        thread::sleep(Duration::from_millis(1));
                    }
                    assert_eq!(status, 0);
                }
                stop.store(true, Ordering::Relaxed);
            });
        });
    }
}
