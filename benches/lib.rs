//! What the benchmarks share: `cargo bench -p luxon-benches`.

use std::time::{Duration, Instant};

/// Median and least nanoseconds of a call, over samples of about a millisecond each.
pub fn nanoseconds(mut call: impl FnMut()) -> [f64; 2] {
    const SAMPLES: usize = 101;
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < Duration::from_millis(2) {
        call();
        calls += 1;
    }
    let calls = (calls / 2).max(1);
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    [samples[SAMPLES / 2], samples[0]]
}
