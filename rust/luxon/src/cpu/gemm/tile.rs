//! The micro-kernels: one small block of C, held in registers over the whole loop over k.
//!
//! One body serves every type and instruction set; heights and widths are constants, so LLVM unrolls
//! the loops and keeps the sums in registers. Every element of C is one chain of multiply-adds in
//! ascending k, whatever the height and width of the tile: how C is cut never changes its bits.
//! A is read by scalar broadcasts and so may have any strides; B needs unit column stride. A body with
//! constant strides exists for packed A.

use super::columns::{self, Columns, Scaled};
use super::inner::{self, Inner};
use super::pack::{self, Strip};
use super::vector::{Lanes, Vector, prefetch};
use crate::cpu::isa::Isa;

/// One call of a micro-kernel. Strides are in elements.
pub struct Tile<T> {
    /// Terms of each sum.
    pub k: usize,
    /// First element of A.
    pub a: *const T,
    /// From a row of A to the next; for packed A this is 1 and `a_column` the height.
    pub a_row: isize,
    /// From a column of A to the next.
    pub a_column: isize,
    /// First element of B, whose columns have unit stride.
    pub b: *const T,
    /// From a row of B to the next.
    pub b_row: isize,
    /// First element of C.
    pub c: *mut T,
    /// From a row of C to the next.
    pub c_row: isize,
    /// Columns to compute, at most the width of the kernel; nothing is read or written beyond them.
    pub columns: usize,
    /// Whether the products are added to what C holds.
    pub accumulate: bool,
    /// Values per column that are added too; null for none.
    pub bias: *const T,
}

/// A micro-kernel of a fixed height.
pub type Kernel<T> = unsafe fn(&Tile<T>);

/// The kernels of one type on one instruction set.
pub struct Set<T: 'static> {
    /// Columns of a narrow tile; a wide one has twice as many.
    pub lanes: usize,
    /// By height - 1, wide tiles: for A with any strides, for packed A.
    pub wide: &'static [[Kernel<T>; 2]],
    /// By height - 1, narrow tiles.
    pub narrow: &'static [Kernel<T>],
    /// Copies of strips of operands.
    pub pack: unsafe fn(&Strip<T>),
    /// Inner products of contiguous rows with at most one, two and four others.
    pub inner: [unsafe fn(&Inner<T>); 3],
    /// Sums of scaled columns.
    pub columns: unsafe fn(&Columns<T>),
    /// A row of an outer product.
    pub scaled: unsafe fn(&Scaled<T>),
}

#[inline(always)]
unsafe fn tile<V: Vector, const M: usize, const N: usize, const PACKED: bool>(tile: &Tile<V::Item>) {
    // SAFETY: as for `sums`, whose contract is that of the kernels.
    unsafe {
        if tile.columns == N * V::LANES {
            sums::<V, M, N, PACKED, false>(tile);
        } else {
            sums::<V, M, N, PACKED, true>(tile);
        }
    }
}

/// # Safety
/// The instruction set of `V` must be there; `M` rows of A and C and `tile.columns` columns of B, C and
/// the bias must be valid, the latter exactly `N * V::LANES` without `EDGE` and at most so many with it.
#[inline(always)]
unsafe fn sums<V: Vector, const M: usize, const N: usize, const PACKED: bool, const EDGE: bool>(tile: &Tile<V::Item>) {
    // SAFETY: all accesses are inside the operands by the contract above.
    unsafe {
        let mut masks = [V::mask(V::LANES); N];
        if EDGE {
            for j in 0..N {
                masks[j] = V::mask(tile.columns.saturating_sub(j * V::LANES));
            }
        }
        let load = |from: *const V::Item, j: usize| {
            let from = from.wrapping_add(j * V::LANES);
            if EDGE { V::load_masked(from, masks[j]) } else { V::load(from) }
        };
        // C is wanted in cache when the sums are ready, which takes a while unless k is small.
        for i in 0..if tile.k < 16 { 0 } else { M } {
            let row = tile.c.wrapping_offset(i as isize * tile.c_row);
            for j in 0..N {
                prefetch(row.wrapping_add(j * V::LANES));
            }
        }
        let (a_row, a_column) = if PACKED { (1, M as isize) } else { (tile.a_row, tile.a_column) };
        let (mut a, mut b) = (tile.a, tile.b);
        let mut sums = [[V::zero(); N]; M];
        for _ in 0..tile.k {
            let mut row = [V::zero(); N];
            for j in 0..N {
                row[j] = load(b, j);
                if !PACKED && M >= 8 {
                    // What the tile to the right will read: rows of B are too far apart for the
                    // hardware to see the pattern.
                    prefetch(b.wrapping_add((N + j) * V::LANES));
                }
            }
            for i in 0..M {
                let x = V::splat(*a.wrapping_offset(i as isize * a_row));
                for j in 0..N {
                    sums[i][j] = x.multiply_add(row[j], sums[i][j]);
                }
            }
            a = a.wrapping_offset(a_column);
            b = b.wrapping_offset(tile.b_row);
        }
        for i in 0..M {
            let row = tile.c.wrapping_offset(i as isize * tile.c_row);
            for j in 0..N {
                let mut value = sums[i][j];
                if tile.accumulate {
                    value = value.add(load(row, j));
                }
                if !tile.bias.is_null() {
                    value = value.add(load(tile.bias, j));
                }
                let to = row.wrapping_add(j * V::LANES);
                if EDGE { value.store_masked(to, masks[j]) } else { value.store(to) }
            }
        }
    }
}

/// Instantiates the body and the tables of one instruction set.
macro_rules! set {
    ($(#[$feature:meta])* $module:ident, $f32:ty, $f64:ty, wide [$($wide:literal)*], narrow [$($narrow:literal)*], inner $columns:literal) => {
        mod $module {
            use super::*;

            $(#[$feature])*
            unsafe fn wide<V: Vector, const M: usize, const PACKED: bool>(t: &Tile<V::Item>) {
                // SAFETY: the contract of the kernels.
                unsafe { tile::<V, M, 2, PACKED>(t) }
            }
            $(#[$feature])*
            unsafe fn narrow<V: Vector, const M: usize>(t: &Tile<V::Item>) {
                // SAFETY: the contract of the kernels.
                unsafe { tile::<V, M, 1, false>(t) }
            }
            $(#[$feature])*
            unsafe fn panel<V: Vector>(strip: &Strip<V::Item>) {
                // SAFETY: the contract of the kernels.
                unsafe { pack::panel::<V>(strip) }
            }
            $(#[$feature])*
            unsafe fn inner<V: Vector, const M: usize, const N: usize>(call: &Inner<V::Item>) {
                // SAFETY: the contract of the kernels.
                unsafe { inner::products::<V, M, N>(call) }
            }
            $(#[$feature])*
            unsafe fn columns<V: Vector>(call: &Columns<V::Item>) {
                // SAFETY: the contract of the kernels.
                unsafe { columns::sums::<V>(call) }
            }
            $(#[$feature])*
            unsafe fn scaled<V: Vector>(row: &Scaled<V::Item>) {
                // SAFETY: the contract of the kernels.
                unsafe { columns::scaled::<V>(row) }
            }
            pub static F32: Set<f32> = Set {
                lanes: <$f32>::LANES,
                wide: &[$([wide::<$f32, $wide, false>, wide::<$f32, $wide, true>]),*],
                narrow: &[$(narrow::<$f32, $narrow>),*],
                pack: panel::<$f32>,
                inner: [inner::<$f32, 1, 8>, inner::<$f32, 2, 4>, inner::<$f32, 4, $columns>],
                columns: columns::<$f32>,
                scaled: scaled::<$f32>,
            };
            pub static F64: Set<f64> = Set {
                lanes: <$f64>::LANES,
                wide: &[$([wide::<$f64, $wide, false>, wide::<$f64, $wide, true>]),*],
                narrow: &[$(narrow::<$f64, $narrow>),*],
                pack: panel::<$f64>,
                inner: [inner::<$f64, 1, 8>, inner::<$f64, 2, 4>, inner::<$f64, 4, $columns>],
                columns: columns::<$f64>,
                scaled: scaled::<$f64>,
            };
        }
    };
}

#[cfg(all(target_arch = "x86_64", any(feature = "avx512", target_feature = "avx512vl")))]
set!(
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    avx512, std::arch::x86_64::__m512, std::arch::x86_64::__m512d,
    wide [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
    narrow [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24],
    inner 4
);
#[cfg(all(target_arch = "x86_64", feature = "avx2", not(target_feature = "avx512vl")))]
set!(
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    avx2, std::arch::x86_64::__m256, std::arch::x86_64::__m256d,
    wide [1 2 3 4 5 6],
    narrow [1 2 3 4 5 6 7 8 9 10 11 12],
    inner 2
);
// 16 registers of 4 lanes on x86-64, 32 on Arm.
#[cfg(not(any(target_arch = "aarch64", target_feature = "avx512vl")))]
set!(
    portable, Lanes<f32, 4>, Lanes<f64, 2>,
    wide [1 2 3 4 5 6],
    narrow [1 2 3 4 5 6 7 8 9 10 11 12],
    inner 2
);
#[cfg(target_arch = "aarch64")]
set!(
    portable, Lanes<f32, 8>, Lanes<f64, 4>,
    wide [1 2 3 4 5 6],
    narrow [1 2 3 4 5 6 7 8 9 10 11 12],
    inner 2
);

/// The sets of `f32` and `f64` for an instruction set that this machine has.
macro_rules! choose {
    ($name:ident, $item:ty, $table:ident) => {
        /// The kernels for an instruction set, which this machine must have.
        pub fn $name(isa: Isa) -> &'static Set<$item> {
            match isa {
                #[cfg(all(target_arch = "x86_64", any(feature = "avx512", target_feature = "avx512vl")))]
                Isa::Avx512 => &avx512::$table,
                #[cfg(all(target_arch = "x86_64", feature = "avx2", not(target_feature = "avx512vl")))]
                Isa::Avx2 => &avx2::$table,
                #[cfg(not(target_feature = "avx512vl"))]
                _ => &portable::$table,
                #[cfg(target_feature = "avx512vl")]
                _ => &avx512::$table,
            }
        }
    };
}

choose!(set_f32, f32, F32);
choose!(set_f64, f64, F64);
