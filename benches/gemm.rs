//! Matrix products against the crates `gemm` and `matrixmultiply`.
//!
//! `cargo bench --bench gemm -- [threads] [filter]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use luxon::cpu::gemm::{Gemm, gemm};
use luxon::runtime::threads;
use luxon_benches::{Table, arguments, peak};

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
        fn $name(table: &Table, name: &str, limit: f64, shape: (usize, usize, usize), layout: Layout) {
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
            table.operations(name, work, limit, &mut [&mut ours, &mut crate_gemm, &mut crate_matrixmultiply]);
        }
    };
}

contestants!(race_f32, f32, matrixmultiply::sgemm);
contestants!(race_f64, f64, matrixmultiply::dgemm);

fn main() {
    let filter = arguments();
    let best = peak();
    println!("multiply-adds in registers: {:.0} GFLOP/s of f32", best / 1e9);
    let table = Table::new("GFLOP/s of m x k x n", &["luxon", "gemm", "matrixmultiply"], &filter);
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
        match item {
            "f32" => race_f32(&table, &name, best, shape, layout),
            _ => race_f64(&table, &name, best / 2.0, shape, layout),
        }
    }
}
