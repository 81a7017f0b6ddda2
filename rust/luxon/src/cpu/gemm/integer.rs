//! The product of integer matrices: wrapping arithmetic, and loops that LLVM vectorises.

use std::ops::Range;

use super::Gemm;
use crate::cpu::isa::per_isa;
use crate::runtime::threads;

/// Integers with a matrix product.
pub trait Integer: Copy + Default + Send + Sync + 'static {
    /// `self * b + c`, modulo the range of the type.
    fn multiply_add(self, b: Self, c: Self) -> Self;
    /// `self + b`, modulo the range of the type.
    fn add(self, b: Self) -> Self;
}

macro_rules! integer {
    ($($item:ty)*) => {$(
        impl Integer for $item {
            #[inline(always)]
            fn multiply_add(self, b: Self, c: Self) -> Self {
                self.wrapping_mul(b).wrapping_add(c)
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                self.wrapping_add(b)
            }
        }
    )*};
}

integer!(i32 i64);

/// Columns of C that are summed at once in a local array.
const BLOCK: usize = 256;

per_isa! {
    unsafe fn rows<T: Integer>(problem: &Gemm<T>, rows: Range<usize>) {
        // SAFETY: the contract of `gemm_integer`; only elements of the matrices are touched.
        let p = problem;
        for i in rows {
            let a = p.a.wrapping_offset(i as isize * p.a_row);
            for first in (0..p.n).step_by(BLOCK) {
                let count = (p.n - first).min(BLOCK);
                let mut sums = [T::default(); BLOCK];
                let b = p.b.wrapping_offset(first as isize * p.b_column);
                for q in 0..p.k {
                    let x = *a.wrapping_offset(q as isize * p.a_column);
                    let b = b.wrapping_offset(q as isize * p.b_row);
                    if p.b_column == 1 {
                        for j in 0..count {
                            sums[j] = x.multiply_add(*b.wrapping_add(j), sums[j]);
                        }
                    } else {
                        for j in 0..count {
                            sums[j] = x.multiply_add(*b.wrapping_offset(j as isize * p.b_column), sums[j]);
                        }
                    }
                }
                let c = p.c.wrapping_offset(i as isize * p.c_row + first as isize);
                for j in 0..count {
                    let mut value = sums[j];
                    if p.accumulate {
                        value = value.add(*c.wrapping_add(j));
                    }
                    if !p.bias.is_null() {
                        value = value.add(*p.bias.wrapping_add(first + j));
                    }
                    *c.wrapping_add(j) = value;
                }
            }
        }
    }
}

/// The product of integer matrices, modulo the range of the type.
///
/// # Safety
/// As for [`super::gemm`].
pub unsafe fn gemm_integer<T: Integer>(problem: &Gemm<T>) {
    let nanoseconds = problem.m as f64 * problem.n as f64 * (problem.k + 1) as f64 * 0.3;
    let tasks = problem.m.min((nanoseconds / 50_000.0).ceil() as usize).max(1);
    threads::parallel(tasks, nanoseconds, &|task| {
        let part = problem.m * task / tasks..problem.m * (task + 1) / tasks;
        // SAFETY: tasks own disjoint rows of C; the rest is the caller's promise.
        unsafe { rows(problem, part) }
    });
}
