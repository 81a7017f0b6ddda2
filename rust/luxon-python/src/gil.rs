//! When to let other Python threads run.
//!
//! Giving up the interpreter lock and taking it back costs about as much as a small operation, so it is
//! done only for work that is estimated to take longer than [`WORTH_IT`].

use pyo3::prelude::*;

/// Estimated nanoseconds from which on the lock is released.
const WORTH_IT: f64 = 50_000.0;

/// Runs `work`, without the interpreter lock where it takes long.
#[inline]
pub fn released<R: Send>(py: Python<'_>, nanoseconds: f64, work: impl FnOnce() -> R + Send) -> R {
    if nanoseconds > WORTH_IT { py.detach(work) } else { work() }
}

/// The estimate for work that touches each of `count` elements a few times.
#[inline]
pub fn elements(count: usize) -> f64 {
    count as f64
}
