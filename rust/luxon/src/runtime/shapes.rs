//! Working out shapes without computing: while it is on, a thread's fresh tensors have no elements.
//!
//! A model's initial parameters are made by code that fills tensors: constants and random numbers. To know only
//! their names, shapes and dtypes, the same code runs within [`only`]: what would be filled is abstract instead, and
//! operations on abstract tensors give abstract tensors. Nothing is allocated, so a model may be larger than memory.

use std::cell::Cell;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether this thread's fresh tensors have no elements.
#[inline]
pub fn is_on() -> bool {
    DEPTH.with(Cell::get) > 0
}

/// Runs `work` with abstract tensors in place of freshly filled ones.
pub fn only<T>(work: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            DEPTH.with(|depth| depth.set(depth.get() - 1));
        }
    }
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let _leave = Leave;
    work()
}
