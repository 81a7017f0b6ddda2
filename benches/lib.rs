//! What the benchmarks share: `cargo bench -p luxon-benches`.
//!
//! Contestants run in rotating order within a round, each for the same time, so that a busy machine hurts all alike.
//! What is printed is work per second, and beside it the share of what the machine can do, measured in the same run:
//! multiply-adds in registers for products, and for everything else a triad `a = b + s c` that moves as many bytes.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use luxon::runtime::threads;

const ROUNDS: usize = 7;
const SLICE: Duration = Duration::from_millis(20);
/// Wide enough for the names of the cases.
const NAME: usize = 36;

/// The thread count and the filter of the command line: `cargo bench --bench NAME -- [threads] [filter]`.
pub fn arguments() -> String {
    let mut filter = String::new();
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        match argument.parse() {
            Ok(count) => threads::set_threads(count),
            Err(_) => filter = argument,
        }
    }
    filter
}

/// Seconds a call, median over the rounds, for each contestant.
pub fn race(contestants: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut times = vec![Vec::new(); contestants.len()];
    for round in 0..ROUNDS {
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let run = &mut contestants[index];
            run();
            let (since, mut calls) = (Instant::now(), 0u32);
            while calls == 0 || since.elapsed() < SLICE {
                run();
                calls += 1;
            }
            times[index].push(since.elapsed().as_secs_f64() / f64::from(calls));
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    };
    times.into_iter().map(median).collect()
}

/// A table of cases: names, and what each contestant makes of them.
pub struct Table {
    filter: String,
    columns: usize,
}

impl Table {
    /// Prints the head. Every entry will be `speed (share of the limit)`.
    pub fn new(unit: &str, contestants: &[&str], filter: &str) -> Table {
        print!("{:NAME$}", format!("{unit}, {} threads", threads::threads()));
        contestants.iter().for_each(|name| print!("{name:>18}"));
        println!();
        Table { filter: filter.into(), columns: contestants.len() }
    }

    fn row(&self, name: &str, limit: f64, speeds: &[f64]) {
        print!("{name:NAME$}");
        speeds.iter().for_each(|speed| print!("{:>18}", format!("{:.1} ({:.2})", speed / 1e9, speed / limit)));
        (speeds.len()..self.columns).for_each(|_| print!("{:>18}", "-"));
        println!();
    }

    /// Runs a case of so many operations a call, where the machine makes at most `limit` a second.
    pub fn operations(&self, name: &str, work: f64, limit: f64, contestants: &mut [&mut dyn FnMut()]) {
        if name.contains(&self.filter) {
            let times = race(contestants);
            self.row(name, limit, &times.iter().map(|time| work / time).collect::<Vec<_>>());
        }
    }

    /// Runs a case that reads and writes so many bytes a call, beside a triad that does.
    pub fn bytes(&self, name: &str, bytes: usize, contestants: &mut [&mut dyn FnMut()]) {
        if name.contains(&self.filter) {
            let mut triad = Triad::new(bytes);
            let mut limit = || triad.run();
            let mut all: Vec<&mut dyn FnMut()> = vec![&mut limit];
            all.extend(contestants.iter_mut().map(|run| &mut **run as &mut dyn FnMut()));
            let speeds: Vec<f64> = race(&mut all).iter().map(|time| bytes as f64 / time).collect();
            self.row(name, speeds[0], &speeds[1..]);
        }
    }
}

/// Three arrays that take a number of bytes together.
struct Triad {
    target: Vec<f32>,
    sources: [Vec<f32>; 2],
}

/// A task's share of an array.
const CHUNK: usize = 1 << 15;

impl Triad {
    fn new(bytes: usize) -> Triad {
        let array = |value: f32| vec![value; bytes / 12 + 1];
        Triad { target: array(0.0), sources: [array(1.0), array(2.0)] }
    }

    fn run(&mut self) {
        let count = self.target.len();
        let (target, [b, c]) = (self.target.as_mut_ptr() as usize, &self.sources);
        threads::parallel(count.div_ceil(CHUNK), count as f64 * 0.2, &|task| {
            let range = task * CHUNK..count.min((task + 1) * CHUNK);
            // SAFETY: tasks have ranges of their own within the array, which nobody else touches meanwhile.
            let part = unsafe { std::slice::from_raw_parts_mut((target as *mut f32).add(range.start), range.len()) };
            for ((a, &b), &c) in part.iter_mut().zip(&b[range.clone()]).zip(&c[range]) {
                *a = b + 3.0 * c;
            }
        });
        black_box(&self.target);
    }
}

/// Multiply-adds in registers on all threads, counted as two operations each: f32 operations per second. Those of f64
/// are half as many.
pub fn peak() -> f64 {
    const TIMES: usize = 20_000;
    let tasks = threads::threads();
    let (lanes, burn): (usize, fn(usize)) = fastest();
    // Twelve sums hide the latency of the unit.
    let work = (tasks * TIMES * 12 * lanes * 2) as f64;
    let mut run = || threads::parallel(tasks, 1e6, &|_| burn(black_box(TIMES)));
    work / race(&mut [&mut run])[0]
}

#[cfg(target_arch = "x86_64")]
fn fastest() -> (usize, fn(usize)) {
    use std::arch::x86_64::{
        _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm512_fmadd_ps, _mm512_set1_ps, _mm512_setzero_ps,
    };
    macro_rules! burn {
        ($name:ident, $features:literal, $zero:ident, $set:ident, $fma:ident) => {
            #[target_feature(enable = $features)]
            fn $name(times: usize) {
                let x = black_box($set(0.5));
                let mut sums = [$zero(); 12];
                for _ in 0..times {
                    for sum in &mut sums {
                        *sum = $fma(x, *sum, x);
                    }
                }
                black_box(sums);
            }
        };
    }
    burn!(narrow, "avx2,fma", _mm256_setzero_ps, _mm256_set1_ps, _mm256_fmadd_ps);
    burn!(wide, "avx512f", _mm512_setzero_ps, _mm512_set1_ps, _mm512_fmadd_ps);
    // SAFETY: each only where the features are there.
    if is_x86_feature_detected!("avx512f") {
        (16, |times| unsafe { wide(times) })
    } else if is_x86_feature_detected!("fma") {
        (8, |times| unsafe { narrow(times) })
    } else {
        portable()
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fastest() -> (usize, fn(usize)) {
    portable()
}

/// What the compiler makes of four lanes.
fn portable() -> (usize, fn(usize)) {
    let burn = |times: usize| {
        let (x, mut sums) = (black_box(0.5f32), [[0.0f32; 4]; 12]);
        for _ in 0..times {
            for sum in sums.as_flattened_mut() {
                *sum = x * *sum + x;
            }
        }
        black_box(sums);
    };
    (4, burn)
}

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
