//! Products against a plain loop in `f64`: strides, paths, instruction sets, threads, memory limits.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::cpu::isa::Isa;

/// Elements whose last (or first) one touches a page that must not be accessed.
struct Guarded<T> {
    map: *mut u8,
    bytes: usize,
    start: *mut T,
    length: usize,
}

impl<T: Element> Guarded<T> {
    fn new(length: usize, at_end: bool) -> Guarded<T> {
        const PAGE: usize = 16 << 10;
        let payload = (length.max(1) * size_of::<T>()).next_multiple_of(PAGE);
        let bytes = payload + 2 * PAGE;
        // SAFETY: a fresh private mapping, its inner part made accessible.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let map = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0).cast::<u8>();
            assert_eq!(libc::mprotect(map.add(PAGE).cast(), payload, libc::PROT_READ | libc::PROT_WRITE), 0);
            let skipped = if at_end { payload - length * size_of::<T>() } else { 0 };
            let start = map.add(PAGE + skipped).cast::<T>();
            Guarded { map, bytes, start, length }
        }
    }

    fn filled(length: usize, at_end: bool, mut value: impl FnMut() -> T) -> Guarded<T> {
        let this = Self::new(length, at_end);
        for i in 0..length {
            // SAFETY: inside the accessible part.
            unsafe { *this.start.add(i) = value() };
        }
        this
    }

    fn slice(&self) -> &[T] {
        // SAFETY: all elements were written by `filled`.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.map.cast(), self.bytes) };
    }
}

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug)]
enum Order {
    Rows,
    Columns,
    PaddedRows(usize),
    PaddedColumns(usize),
    ReversedRows,
    ReversedColumns,
    SameRow,
    SameColumn,
    Sparse,
}

impl Order {
    /// Row stride, column stride, offset of the first element, number of elements.
    fn strides(self, rows: usize, columns: usize) -> (isize, isize, usize, usize) {
        let (r, c) = (rows as isize, columns as isize);
        match self {
            Order::Rows => (c, 1, 0, rows * columns),
            Order::Columns => (1, r, 0, rows * columns),
            Order::PaddedRows(pad) => (c + pad as isize, 1, 0, rows * (columns + pad) - pad),
            Order::PaddedColumns(pad) => (1, r + pad as isize, 0, columns * (rows + pad) - pad),
            Order::ReversedRows => (-c, 1, (rows - 1) * columns, rows * columns),
            Order::ReversedColumns => (c, -1, columns - 1, rows * columns),
            Order::SameRow => (0, 1, 0, columns),
            Order::SameColumn => (1, 0, 0, rows),
            Order::Sparse => (2 * c + 1, 2, 0, (rows - 1) * (2 * columns + 1) + 2 * columns - 1),
        }
    }
}

fn orders() -> impl Strategy<Value = Order> {
    prop_oneof![
        3 => Just(Order::Rows),
        3 => Just(Order::Columns),
        1 => (1usize..70).prop_map(Order::PaddedRows),
        1 => (1usize..70).prop_map(Order::PaddedColumns),
        1 => Just(Order::ReversedRows),
        1 => Just(Order::ReversedColumns),
        1 => Just(Order::SameRow),
        1 => Just(Order::SameColumn),
        1 => Just(Order::Sparse),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    a: Order,
    b: Order,
    pad: usize,
    accumulate: bool,
    bias: bool,
    at_end: bool,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    }
}

trait Real: Element {
    const EPSILON: f64;
    fn of(value: f64) -> Self;
    fn real(self) -> f64;
    fn bits(self) -> u64;
}

macro_rules! real {
    ($item:ty) => {
        impl Real for $item {
            const EPSILON: f64 = <$item>::EPSILON as f64;
            fn of(value: f64) -> Self {
                value as $item
            }
            fn real(self) -> f64 {
                f64::from(self)
            }
            fn bits(self) -> u64 {
                self.to_bits() as u64
            }
        }
    };
}
real!(f32);
real!(f64);

/// Runs a case on every instruction set, with one and more threads, and checks it.
fn check<T: Real>(case: Case) {
    let mut random = Random(case.m as u64 * 31 + case.n as u64 * 17 + case.k as u64);
    let Case { m, n, k, at_end, .. } = case;
    let (a_row, a_column, a_first, a_size) = if k > 0 { case.a.strides(m, k) } else { (0, 0, 0, 0) };
    let (b_row, b_column, b_first, b_size) = if k > 0 { case.b.strides(k, n) } else { (0, 0, 0, 0) };
    let a = Guarded::<T>::filled(a_size, at_end, || T::of(random.next()));
    let b = Guarded::<T>::filled(b_size, at_end, || T::of(random.next()));
    let bias = Guarded::<T>::filled(n, at_end, || T::of(random.next()));
    let c_row = n + case.pad;
    let before: Vec<T> = (0..m * c_row - case.pad).map(|_| T::of(random.next())).collect();
    let untouched = T::of(f64::NAN);
    let mut expected = vec![(0.0, 0.0); m * n];
    for i in 0..m {
        for j in 0..n {
            let mut sum = if case.accumulate { before[i * c_row + j].real() } else { 0.0 };
            let shift = if case.bias { bias.slice()[j].real() } else { 0.0 };
            let mut size = sum.abs() + shift.abs();
            sum += shift;
            for p in 0..k {
                let x = a.slice()[(a_first as isize + i as isize * a_row + p as isize * a_column) as usize];
                let y = b.slice()[(b_first as isize + p as isize * b_row + j as isize * b_column) as usize];
                sum += x.real() * y.real();
                size += (x.real() * y.real()).abs();
            }
            expected[i * n + j] = (sum, size);
        }
    }
    for isa in Isa::available() {
        let mut bits: Option<Vec<u64>> = None;
        for count in [1, 2, 3, 8] {
            let mut values = before.iter();
            let c = Guarded::<T>::filled(m * c_row - case.pad, at_end, || {
                let value = *values.next().unwrap();
                if case.accumulate { value } else { untouched }
            });
            let problem = Gemm {
                m,
                n,
                k,
                a: a.start.wrapping_add(a_first),
                a_row,
                a_column,
                b: b.start.wrapping_add(b_first),
                b_row,
                b_column,
                c: c.start,
                c_row: c_row as isize,
                accumulate: case.accumulate,
                bias: if case.bias { bias.start } else { std::ptr::null() },
            };
            let seen = Mutex::new(vec![0u8; m * n]);
            let finish = |rows: Range<usize>, columns: Range<usize>| {
                let mut seen = seen.lock().unwrap();
                for i in rows {
                    for j in columns.clone() {
                        seen[i * n + j] += 1;
                    }
                }
            };
            // SAFETY: the operands are as large as their strides say.
            threads::with_threads(count, || unsafe { gemm_on(isa, &problem, Some(&finish)) });
            assert!(seen.lock().unwrap().iter().all(|&times| times == 1), "finish: {case:?}");
            let mut now = Vec::new();
            for i in 0..m {
                for j in 0..c_row {
                    let Some(value) = c.slice().get(i * c_row + j) else {
                        continue;
                    };
                    if j >= n {
                        let kept = if case.accumulate { before[i * c_row + j] } else { untouched };
                        assert_eq!(value.bits(), kept.bits(), "between rows: {case:?}");
                        continue;
                    }
                    now.push(value.bits());
                    let (sum, size) = expected[i * n + j];
                    let error = (value.real() - sum).abs();
                    let bound = T::EPSILON * (k as f64 + 3.0) * size + 1e-300;
                    assert!(error <= bound, "{} for {sum} at ({i}, {j}) on {isa:?}: {case:?}", value.real());
                }
            }
            assert_eq!(bits.get_or_insert_with(|| now.clone()), &now, "{count} threads on {isa:?}: {case:?}");
        }
    }
}

fn case(m: usize, n: usize, k: usize, a: Order, b: Order) -> Case {
    Case { m, n, k, a, b, pad: 0, accumulate: false, bias: false, at_end: true }
}

prop_compose! {
    fn cases(limit: usize)(
        m in prop_oneof![Just(1), 1..limit],
        n in prop_oneof![Just(1), 1..limit],
        k in prop_oneof![Just(1), 0..limit],
        a in orders(),
        b in orders(),
        pad in 0usize..3,
        accumulate: bool,
        bias: bool,
        at_end: bool,
    ) -> Case {
        Case { m, n, k, a, b, pad, accumulate, bias, at_end }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn small_f32(case in cases(80)) {
        check::<f32>(case);
    }

    #[test]
    fn small_f64(case in cases(80)) {
        check::<f64>(case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn larger_f32(case in cases(400)) {
        check::<f32>(case);
    }
}

#[test]
fn every_path() {
    // In place; k cut in place; B packed; A packed for its stride; both packed for their size.
    check::<f32>(case(150, 170, 90, Order::Rows, Order::Rows));
    check::<f32>(case(30, 50, 2100, Order::Columns, Order::Rows));
    check::<f32>(case(90, 130, 700, Order::Rows, Order::Columns));
    check::<f32>(case(40, 80, 1024, Order::Rows, Order::Rows));
    check::<f32>(case(1100, 70, 1000, Order::Columns, Order::Columns));
    check::<f64>(case(70, 1100, 1024, Order::Rows, Order::Rows));
    let all = Case { accumulate: true, bias: true, pad: 5, ..case(190, 300, 1030, Order::Columns, Order::Columns) };
    check::<f64>(all);
    check::<f32>(all);
    // Few rows or columns as inner products.
    check::<f32>(case(43, 70, 500, Order::Columns, Order::Columns));
    check::<f64>(case(6, 333, 100, Order::Rows, Order::PaddedColumns(3)));
    check::<f32>(case(700, 11, 300, Order::PaddedRows(1), Order::Rows));
    // Vectors long enough to be shared.
    for order in [Order::Rows, Order::Columns] {
        check::<f32>(case(1, 3000, 300, Order::Rows, order));
        check::<f64>(case(3000, 1, 300, order, Order::Sparse));
        check::<f32>(case(700, 300, 1, order, order));
    }
    // Sums cut across their terms: in few parts, and in many of which the last is short.
    check::<f32>(Case { accumulate: true, bias: true, ..case(1, 130, 99, Order::Rows, Order::Rows) });
    check::<f64>(case(1, 257, 900, Order::Rows, Order::PaddedRows(3)));
    check::<f32>(Case { accumulate: true, pad: 2, ..case(1000, 1, 500, Order::Columns, Order::Rows) });
}

/// A product of row-major matrices.
fn dense<T>([m, n, k]: [usize; 3], a: &[T], b: &[T], c: &mut [T]) -> Gemm<T> {
    Gemm {
        m,
        n,
        k,
        a: a.as_ptr(),
        a_row: k as isize,
        a_column: 1,
        b: b.as_ptr(),
        b_row: n as isize,
        b_column: 1,
        c: c.as_mut_ptr(),
        c_row: n as isize,
        accumulate: false,
        bias: std::ptr::null(),
    }
}

#[test]
fn nothing_is_skipped_for_zeros() {
    for isa in Isa::available() {
        for (m, n, k) in [(1, 5, 40), (5, 1, 40), (40, 40, 40), (150, 150, 1)] {
            let mut a = vec![0.0f32; m * k];
            let b = vec![f32::INFINITY; k * n];
            a[k - 1] = 1.0;
            let mut c = vec![0.0f32; m * n];
            let problem = dense([m, n, k], &a, &b, &mut c);
            // SAFETY: the slices have the sizes given.
            unsafe { gemm_on(isa, &problem, None) };
            let first = if k > 1 { f32::NAN } else { f32::INFINITY };
            assert_eq!(c[0].to_bits() << 1 >> 23, first.to_bits() << 1 >> 23, "{isa:?} {m} {n} {k}");
            assert!(c[n..].iter().all(|value| value.is_nan()), "{isa:?} {m} {n} {k}");
        }
    }
}

#[test]
fn batches_are_products() {
    let (m, n, k, count) = (33, 20, 17, 7);
    let mut random = Random(5);
    let a: Vec<f32> = (0..m * k * count).map(|_| random.next() as f32).collect();
    let b: Vec<f32> = (0..k * n).map(|_| random.next() as f32).collect();
    let mut c = vec![f32::NAN; m * n * count];
    let offsets: Vec<_> = (0..count).map(|i| ((i * m * k) as isize, 0, ((count - 1 - i) * m * n) as isize)).collect();
    let mut problem = dense([m, n, k], &a, &b, &mut c);
    // SAFETY: the slices have the sizes given and the blocks of C are disjoint.
    unsafe { gemm_batched(&problem, &offsets) };
    for (i, offset) in offsets.iter().enumerate() {
        let mut one = vec![f32::NAN; m * n];
        problem.a = a[i * m * k..].as_ptr();
        problem.c = one.as_mut_ptr();
        // SAFETY: as above.
        unsafe { gemm(&problem, None) };
        assert_eq!(one, c[offset.2 as usize..][..m * n]);
    }
}

#[test]
fn integers_wrap() {
    let (m, n, k) = (5, 300, 9);
    let a: Vec<i32> = (0..m * k).map(|i| (i as i32).wrapping_mul(715_827_883)).collect();
    let b: Vec<i32> = (0..k * n).map(|i| (i as i32).wrapping_mul(-1_234_567)).collect();
    let bias: Vec<i32> = (0..n as i32).collect();
    for by_columns in [false, true] {
        let mut c = vec![3i32; m * n];
        let (b_row, b_column) = if by_columns { (1, k as isize) } else { (n as isize, 1) };
        let problem =
            Gemm { b_row, b_column, accumulate: true, bias: bias.as_ptr(), ..dense([m, n, k], &a, &b, &mut c) };
        // SAFETY: the slices have the sizes given.
        unsafe { gemm_integer(&problem) };
        for i in 0..m {
            for j in 0..n {
                let at = |p: usize| b[(p as isize * b_row + j as isize * b_column) as usize];
                let sum = (0..k).fold(3 + bias[j], |sum, p| sum.wrapping_add(a[i * k + p].wrapping_mul(at(p))));
                assert_eq!(c[i * n + j], sum);
            }
        }
    }
}
