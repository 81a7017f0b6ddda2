//! Matrix products against the crates `gemm` and `matrixmultiply`.
//!
//! Rounds are interleaved: within one, every contestant runs for the same time, in rotating order, so
//! that a busy machine hurts all alike. Printed are medians in GFLOP/s and, per shape, the share of the
//! best multiply-add rate measured on one core (or on all).
//!
//! `cargo bench --bench gemm -- [threads] [filter]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use luxon::cpu::gemm::{Gemm, gemm};
use luxon::runtime::threads;

const ROUNDS: usize = 7;
const SLICE: Duration = Duration::from_millis(25);

/// Which operand is stored transposed.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Plain,
    TransposedA,
    TransposedB,
}

struct Operands<T> {
    m: usize,
    n: usize,
    k: usize,
    layout: Layout,
    a: Vec<T>,
    b: Vec<T>,
    c: Vec<T>,
}

impl<T> Operands<T> {
    fn strides(&self) -> [isize; 4] {
        let (m, n, k) = (self.m as isize, self.n as isize, self.k as isize);
        let (a_row, a_column) = if self.layout == Layout::TransposedA { (1, m) } else { (k, 1) };
        let (b_row, b_column) = if self.layout == Layout::TransposedB { (1, k) } else { (n, 1) };
        [a_row, a_column, b_row, b_column]
    }
}

macro_rules! contestants {
    ($name:ident, $item:ty, $matrixmultiply:path) => {
        fn $name(shape: (usize, usize, usize), layout: Layout) -> [f64; 3] {
            let (m, k, n) = shape;
            let values = |count: usize| (0..count).map(|i| (i % 17) as $item - 8.0).collect::<Vec<_>>();
            let mut o = Operands { m, n, k, layout, a: values(m * k), b: values(k * n), c: values(m * n) };
            let [a_row, a_column, b_row, b_column] = o.strides();
            let mut ours = {
                let problem = Gemm {
                    m,
                    n,
                    k,
                    a: o.a.as_ptr(),
                    a_row,
                    a_column,
                    b: o.b.as_ptr(),
                    b_row,
                    b_column,
                    c: o.c.as_mut_ptr(),
                    c_row: n as isize,
                    accumulate: false,
                    bias: std::ptr::null(),
                };
                // SAFETY: the vectors have the sizes of the problem.
                move || unsafe { gemm(black_box(&problem), None) }
            };
            let (a, b, c) = (o.a.as_ptr(), o.b.as_ptr(), o.c.as_mut_ptr());
            let row = n as isize;
            let cores = match threads::threads() {
                1 => ::gemm::Parallelism::None,
                count => ::gemm::Parallelism::Rayon(count),
            };
            // SAFETY: as above.
            let mut crate_gemm = || unsafe {
                ::gemm::gemm(
                    m, n, k, c, 1, row, false, a, a_column, a_row, b, b_column, b_row, 0.0, 1.0, false, false, false,
                    cores,
                );
            };
            // SAFETY: as above.
            let mut crate_matrixmultiply = || unsafe {
                $matrixmultiply(m, k, n, 1.0, a, a_row, a_column, b, b_row, b_column, 0.0, c, row, 1);
            };
            let work = 2.0 * m as f64 * n as f64 * k as f64;
            race(work, [&mut ours, &mut crate_gemm, &mut crate_matrixmultiply])
        }
    };
}

contestants!(race_f32, f32, matrixmultiply::sgemm);
contestants!(race_f64, f64, matrixmultiply::dgemm);

/// Median GFLOP/s of each contestant.
fn race<const N: usize>(work: f64, mut contestants: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut speeds = [const { Vec::new() }; N];
    for round in 0..ROUNDS {
        for turn in 0..N {
            let index = (round + turn) % N;
            let run = &mut contestants[index];
            run();
            run();
            let (since, mut times) = (Instant::now(), 0u32);
            while since.elapsed() < SLICE {
                run();
                times += 1;
            }
            speeds[index].push(work * f64::from(times) / since.elapsed().as_secs_f64() / 1e9);
        }
    }
    speeds.map(|mut speeds| {
        speeds.sort_by(f64::total_cmp);
        speeds[speeds.len() / 2]
    })
}

/// Multiply-adds per second in registers, in GFLOP/s of f32.
fn peak() -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps};
        #[target_feature(enable = "avx2,fma")]
        unsafe fn burn(times: usize) -> f32 {
            let x = black_box(_mm256_set1_ps(0.5));
            let mut sums = [_mm256_setzero_ps(); 12];
            for _ in 0..times {
                for sum in &mut sums {
                    *sum = _mm256_fmadd_ps(x, *sum, x);
                }
            }
            black_box(sums);
            0.0
        }
        if is_x86_feature_detected!("fma") {
            let tasks = threads::threads();
            let work = (tasks * 20_000 * 12 * 16) as f64;
            let mut run = || {
                threads::parallel(tasks, 1e6, &|_| {
                    // SAFETY: the features were checked.
                    black_box(unsafe { burn(20_000) });
                });
            };
            return race(work, [&mut run])[0];
        }
    }
    f64::NAN
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|text| !text.starts_with("--")).collect();
    if let Some(count) = arguments.first().and_then(|text| text.parse().ok()) {
        threads::set_threads(count);
    }
    let filter = arguments.iter().find(|text| text.parse::<usize>().is_err());
    let best = peak();
    println!("{} threads, multiply-add peak {best:.0} GFLOP/s (f32, 256-bit)", threads::threads());
    println!("{:28}{:>9}{:>9}{:>8}{:>16}", "m x k x n", "luxon", "of peak", "gemm", "matrixmultiply");
    let squares = [64, 128, 256, 512, 1024, 2048].map(|side| (side, side, side));
    let transposed = [(128, 64, 256), (512, 784, 2048), (256, 256, 256), (1024, 1024, 1024), (64, 64, 64)];
    let others = [
        (16384, 576, 64),
        (64, 576, 16384),
        (4096, 64, 64),
        (64, 32, 32),
        (64, 2, 32),
        (128, 256, 10),
        (4, 1024, 1024),
        (16, 1024, 1024),
        (1, 1024, 1024),
        (1024, 1024, 1),
        (2048, 1, 2048),
        (64, 16384, 64),
    ];
    let mut list: Vec<(&str, (usize, usize, usize), Layout)> = Vec::new();
    list.extend(squares.iter().chain(&others).map(|&shape| ("f32", shape, Layout::Plain)));
    for shape in transposed {
        list.extend([Layout::Plain, Layout::TransposedA, Layout::TransposedB].map(|way| ("f32", shape, way)));
    }
    for shape in [(1, 1024, 1024), (4, 1024, 1024), (1024, 1024, 1), (32, 1024, 1024)] {
        list.extend([Layout::TransposedA, Layout::TransposedB].map(|way| ("f32", shape, way)));
    }
    list.extend(squares.iter().map(|&shape| ("f64", shape, Layout::Plain)));
    for (item, shape, layout) in list {
        let way = match layout {
            Layout::Plain => "A B",
            Layout::TransposedA => "A' B",
            Layout::TransposedB => "A B'",
        };
        let name = format!("{item} {way} {} x {} x {}", shape.0, shape.1, shape.2);
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let (speeds, best) = match item {
            "f32" => (race_f32(shape, layout), best),
            _ => (race_f64(shape, layout), best / 2.0),
        };
        let share = speeds[0] / best;
        println!("{name:28}{:9.1}{share:9.2}{:8.1}{:16.1}", speeds[0], speeds[1], speeds[2]);
    }
}
