//! Every task once, whoever calls from wherever: threads, nesting, panics, interruption, forks.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

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
            once(3 << 20, 1e7);
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
            assert_eq!(*result.unwrap_err().downcast::<String>().unwrap(), format!("task {task}"));
            once(100, 1e6);
        }
    });
}

#[test]
fn jobs_that_follow_closely_wake_workers() {
    with_threads(2, || {
        once(4, 1e6);
        thread::sleep(Duration::from_millis(5));
        let started = Instant::now();
        let mut woken = false;
        while !woken && started.elapsed() < Duration::from_secs(10) {
            once(10, 50_000.0);
            woken = current().unwrap().is_awake();
        }
        assert!(woken);
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
            WANTED.with(|wanted| wanted.set(true));
            interrupt::uninterrupted(|| {
                let ran = AtomicU32::new(0);
                parallel(40, 1e10, &|_| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(5));
                });
                assert_eq!(ran.into_inner(), 40);
            });
            WANTED.with(|wanted| wanted.set(false));
            assert!(!interrupt::take());
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

/// Puts jobs aside, of which each must run once, and drop what it holds on this thread.
fn aside_once(jobs: usize) {
    struct Held(thread::ThreadId);
    impl Drop for Held {
        fn drop(&mut self) {
            assert_eq!(self.0, thread::current().id());
        }
    }
    let times: Arc<Vec<AtomicU32>> = Arc::new((0..jobs).map(|_| AtomicU32::new(0)).collect());
    let aside = Aside::open();
    for job in 0..jobs {
        let (times, held) = (Arc::clone(&times), Held(thread::current().id()));
        put_aside(Box::new(move || {
            let _held = &held;
            times[job].fetch_add(1, Ordering::Relaxed);
            once(2, 1e6);
        }));
    }
    aside.settle();
    assert!(times.iter().all(|times| times.load(Ordering::Relaxed) == 1));
}

#[test]
fn what_is_put_aside_runs_once() {
    with_threads(3, || {
        once(4, 1e6);
        thread::scope(|scope| {
            // Only one of them has the queue at a time.
            for _ in 0..3 {
                scope.spawn(|| [0, 1, 5, 300].into_iter().cycle().take(80).for_each(aside_once));
            }
        });
        let outer = Aside::open();
        aside_once(10);
        put_aside(Box::new(|| aside_once(3)));
        outer.settle();
    });
}

#[test]
fn a_panic_of_what_was_put_aside_arrives() {
    with_threads(2, || {
        once(4, 1e6);
        for _ in 0..20 {
            let result = catch_unwind(|| {
                let aside = Aside::open();
                put_aside(Box::new(|| panic!("aside")));
                aside.settle();
            });
            assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "aside");
            aside_once(10);
        }
    });
}
