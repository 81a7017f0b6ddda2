//! Products of matrices.
//!
//! [`gemm`] takes operands with any element strides (negative and zero included) and writes a C whose
//! columns are contiguous. Vectors go to kernels bound by memory (`matvec`), the rest to register tiles
//! (`tile`) under a driver that packs only what the caches would suffer from (`driver`, `pack`).
//!
//! Results have the same bits for any number of threads and any instruction timing; they may differ
//! between instruction sets. Nothing is skipped for zeros, so infinities and NaN come out as the sums
//! say. Half precision is the caller's: convert to `f32` first.

use std::ops::Range;

use crate::cpu::isa::{Isa, isa};
use crate::runtime::threads;

mod columns;
mod driver;
mod inner;
mod integer;
mod matvec;
pub(super) mod pack;
#[cfg(all(test, unix))]
mod tests;
pub(super) mod tile;
pub(super) mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use driver::estimate;
pub use integer::{Integer, gemm_integer};

/// `C = A B (+ C) (+ bias)`, with A of m x k, B of k x n; strides in elements.
pub struct Gemm<T> {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// First element of A.
    pub a: *const T,
    /// From a row of A to the next.
    pub a_row: isize,
    /// From a column of A to the next.
    pub a_column: isize,
    /// First element of B.
    pub b: *const T,
    /// From a row of B to the next.
    pub b_row: isize,
    /// From a column of B to the next.
    pub b_column: isize,
    /// First element of C, whose columns have unit stride.
    pub c: *mut T,
    /// From a row of C to the next.
    pub c_row: isize,
    /// Whether the product is added to what C holds; otherwise C is only written.
    pub accumulate: bool,
    /// One value per column that is added to every row; null for none.
    pub bias: *const T,
}

impl<T> Clone for Gemm<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Gemm<T> {}

// SAFETY: a description; what is done with the pointers is the promise of `gemm`'s caller.
unsafe impl<T: Send> Send for Gemm<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Gemm<T> {}

/// Called with the rows and columns of each finished block of C, on the thread that computed it.
pub type Finish<'a> = Option<&'a (dyn Fn(Range<usize>, Range<usize>) + Sync)>;

pub(super) mod sealed {
    use super::{tile, vector};
    use crate::cpu::isa::Isa;

    pub trait Sealed: vector::Scalar + Send + Sync + 'static {
        fn set(isa: Isa) -> &'static tile::Set<Self>;
    }
    impl Sealed for f32 {
        fn set(isa: Isa) -> &'static tile::Set<f32> {
            tile::set_f32(isa)
        }
    }
    impl Sealed for f64 {
        fn set(isa: Isa) -> &'static tile::Set<f64> {
            tile::set_f64(isa)
        }
    }
}

/// Elements with register-tile kernels: `f32` and `f64`.
pub trait Element: sealed::Sealed {}
impl Element for f32 {}
impl Element for f64 {}

/// Computes `problem`; `finish` sees every block of C once, complete and warm in cache.
///
/// # Safety
/// All elements of A, B and the bias must be readable and all of C writable (and initialised if
/// `accumulate`); C must overlap none of the operands, and its rows not one another.
pub unsafe fn gemm<T: Element>(problem: &Gemm<T>, finish: Finish<'_>) {
    // SAFETY: passed on.
    unsafe { gemm_on(isa(), problem, finish) }
}

unsafe fn gemm_on<T: Element>(isa: Isa, problem: &Gemm<T>, finish: Finish<'_>) {
    let set = T::set(isa);
    let (m, n, k) = (problem.m, problem.n, problem.k);
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: passed on.
    unsafe {
        if k <= 1 && (k == 0 || m * n >= 1 << 14) {
            matvec::outer(set, problem, finish);
        } else if !matvec::thin(set, problem, finish) {
            driver::multiply(set, problem, finish);
        }
    }
}

/// The same product for a batch: entry `(a, b, c)` shifts the operands by so many elements.
///
/// # Safety
/// As for [`gemm`] for every entry, and the C blocks must be disjoint.
pub unsafe fn gemm_batched<T: Element>(problem: &Gemm<T>, offsets: &[(isize, isize, isize)]) {
    let one = estimate::<T>(problem.m, problem.n, problem.k);
    let entry = |index: usize| {
        let (a, b, c) = offsets[index];
        let shifted = Gemm {
            a: problem.a.wrapping_offset(a),
            b: problem.b.wrapping_offset(b),
            c: problem.c.wrapping_offset(c),
            ..*problem
        };
        // SAFETY: passed on.
        unsafe { gemm(&shifted, None) }
    };
    // Few or very large entries are better shared one by one; the bits are the same.
    if (offsets.len() < 2 * threads::threads() && one > 20_000.0) || one > 5e6 {
        (0..offsets.len()).for_each(entry);
    } else {
        threads::parallel(offsets.len(), one * offsets.len() as f64, &entry);
    }
}
