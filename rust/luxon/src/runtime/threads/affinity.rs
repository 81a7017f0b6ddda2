//! Where a woken thread may run.
//!
//! A thread woken by one that has slept is put on the waker's own processor by Linux, and stays there
//! for milliseconds, which makes two threads slower than one. So the waker forbids its processor for
//! the moment of waking, and the worker allows it again as soon as it runs elsewhere. Other systems
//! are left to their schedulers.

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
            let known = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed) == 0;
            if thread == 0 || !known || !(0..libc::CPU_SETSIZE).contains(&here) {
                return None;
            }
            let mut others = allowed;
            libc::CPU_CLR(here as usize, &mut others);
            if libc::CPU_COUNT(&others) == 0 {
                return None;
            }
            let done = libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &others) == 0;
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
