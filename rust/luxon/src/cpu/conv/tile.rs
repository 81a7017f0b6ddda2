//! The register tiles of convolution: their bodies, and the tables of each instruction set.
//!
//! [`correlate`] holds channels by vectors of output positions and walks the terms (input channel and tap);
//! [`spread`] and [`inner`] sum over positions for the weight gradient: the first holds terms by vectors of output
//! channels, the second output channels by terms, each a vector of partial sums.

use crate::cpu::gemm::vector::{Vector, prefetch};
use crate::cpu::isa::Isa;
use crate::cpu::{gemm, real::Real};

/// A vector of output positions: where its first lane reads and writes, and which lanes are positions.
/// The others lie between the rows of the buffer; the selected lanes are written one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Offset in a channel of the buffer.
    pub from: u32,
    /// Offset in a channel of the output.
    pub to: u32,
    /// Bit i: lane i.
    pub lanes: u32,
}

/// Channels by vectors of positions.
pub struct Correlate<T> {
    /// Terms of each sum.
    pub terms: usize,
    /// By term, as many as there are channels in the tile.
    pub weights: *const T,
    /// By term, into the buffer.
    pub offsets: *const u32,
    /// The buffer.
    pub source: *const T,
    /// The vectors.
    pub pieces: *const Piece,
    /// The first channel of the output.
    pub out: *mut T,
    /// From a channel to the next.
    pub out_row: usize,
    /// A value per channel; null for none.
    pub bias: *const T,
    /// Whether results are added to what is there; all lanes are positions then.
    pub add: bool,
}

/// Terms by vectors of output channels: `sums[term][channel] += source[row + column + offset[term]] *
/// filters[position][channel]`.
pub struct Spread<T> {
    /// By term, into the buffer.
    pub offsets: *const u32,
    /// The buffer.
    pub source: *const T,
    /// Where the rows of positions begin, in the buffer.
    pub rows: *const u32,
    /// The number of rows.
    pub row_count: usize,
    /// Positions of a row.
    pub columns: usize,
    /// By position, output channels (padded to the tile).
    pub filters: *const T,
    /// By term, output channels (padded to the tile).
    pub sums: *mut T,
}

/// Output channels by terms, a vector of partial sums each.
pub struct Inner<T> {
    /// By term, into the buffer.
    pub offsets: *const u32,
    /// The buffer.
    pub source: *const T,
    /// Pieces of rows; lanes are contiguous from the first on.
    pub pieces: *const Piece,
    /// The number of pieces.
    pub count: usize,
    /// The cotangent's first channel.
    pub filters: *const T,
    /// From a channel to the next.
    pub filter_row: usize,
    /// By channel and term, a vector each.
    pub sums: *mut T,
    /// From a channel's sums to the next, in vectors.
    pub sums_row: usize,
}

/// The kernels of one type on one instruction set.
pub struct Set<T: 'static> {
    /// Elements of a vector.
    pub lanes: usize,
    /// By channels - 1 and the logarithm of the number of vectors.
    pub correlate: &'static [&'static [unsafe fn(&Correlate<T>)]],
    /// By vectors - 1 and terms - 1.
    pub spread: [&'static [unsafe fn(&Spread<T>)]; 2],
    /// By channels - 1 and terms - 1.
    pub inner: &'static [&'static [unsafe fn(&Inner<T>)]],
}

/// # Safety
/// The instruction set of `V` is there; terms, weights, `N` pieces and `M` channels are valid.
#[inline(always)]
unsafe fn correlate<V: Vector, const M: usize, const N: usize>(call: &Correlate<V::Item>) {
    // SAFETY: the contract above.
    unsafe {
        let mut from = [call.source; N];
        let mut to = [call.out; N];
        let mut lanes = [0; N];
        for j in 0..N {
            let piece = *call.pieces.add(j);
            from[j] = call.source.wrapping_add(piece.from as usize);
            to[j] = call.out.wrapping_add(piece.to as usize);
            lanes[j] = piece.lanes;
        }
        for i in 0..M {
            for j in 0..N {
                prefetch(to[j].wrapping_add(i * call.out_row));
            }
        }
        let mut sums = [[V::zero(); N]; M];
        let mut weights = call.weights;
        for term in 0..call.terms {
            let offset = *call.offsets.add(term) as usize;
            let mut row = [V::zero(); N];
            for j in 0..N {
                row[j] = V::load(from[j].wrapping_add(offset));
            }
            for i in 0..M {
                let weight = V::splat(*weights.add(i));
                for j in 0..N {
                    sums[i][j] = weight.multiply_add(row[j], sums[i][j]);
                }
            }
            weights = weights.add(M);
        }
        let all = ((1u64 << V::LANES) - 1) as u32;
        for i in 0..M {
            let bias = if call.bias.is_null() { V::zero() } else { V::splat(*call.bias.add(i)) };
            for j in 0..N {
                let mut value = if call.bias.is_null() { sums[i][j] } else { sums[i][j].add(bias) };
                let to = to[j].wrapping_add(i * call.out_row);
                if call.add {
                    value = value.add(V::load(to));
                }
                if lanes[j] == all { value.store(to) } else { value.store_selected(to, lanes[j]) }
            }
        }
    }
}

/// # Safety
/// The instruction set of `V` is there; `M` terms, all rows and `N` vectors of channels are valid.
#[inline(always)]
unsafe fn spread<V: Vector, const M: usize, const N: usize>(call: &Spread<V::Item>) {
    // SAFETY: the contract above.
    unsafe {
        let mut source = [call.source; M];
        let mut sums = [[V::zero(); N]; M];
        for i in 0..M {
            source[i] = call.source.wrapping_add(*call.offsets.add(i) as usize);
            for j in 0..N {
                sums[i][j] = V::load(call.sums.add((i * N + j) * V::LANES));
            }
        }
        let mut filters = call.filters;
        for row in 0..call.row_count {
            let start = *call.rows.add(row) as usize;
            for column in start..start + call.columns {
                let mut channels = [V::zero(); N];
                for j in 0..N {
                    channels[j] = V::load(filters.add(j * V::LANES));
                }
                for i in 0..M {
                    let value = V::splat(*source[i].wrapping_add(column));
                    for j in 0..N {
                        sums[i][j] = value.multiply_add(channels[j], sums[i][j]);
                    }
                }
                filters = filters.add(N * V::LANES);
            }
        }
        for i in 0..M {
            for j in 0..N {
                sums[i][j].store(call.sums.add((i * N + j) * V::LANES));
            }
        }
    }
}

/// # Safety
/// The instruction set of `V` is there; pieces, `M` channels, `N` terms and their sums are valid.
#[inline(always)]
unsafe fn inner<V: Vector, const M: usize, const N: usize>(call: &Inner<V::Item>) {
    // SAFETY: the contract above; masked lanes are not read.
    unsafe {
        let mut source = [call.source; N];
        let mut sums = [[V::zero(); N]; M];
        for j in 0..N {
            source[j] = call.source.wrapping_add(*call.offsets.add(j) as usize);
            for i in 0..M {
                sums[i][j] = V::load(call.sums.add((i * call.sums_row + j) * V::LANES));
            }
        }
        let all = ((1u64 << V::LANES) - 1) as u32;
        for piece in 0..call.count {
            let piece = *call.pieces.add(piece);
            let (from, to) = (piece.from as usize, piece.to as usize);
            let mut filters = [V::zero(); M];
            if piece.lanes == all {
                for i in 0..M {
                    filters[i] = V::load(call.filters.wrapping_add(i * call.filter_row + to));
                }
                for j in 0..N {
                    let values = V::load(source[j].wrapping_add(from));
                    for i in 0..M {
                        sums[i][j] = filters[i].multiply_add(values, sums[i][j]);
                    }
                }
            } else {
                let mask = V::mask(piece.lanes.count_ones() as usize);
                for i in 0..M {
                    filters[i] = V::load_masked(call.filters.wrapping_add(i * call.filter_row + to), mask);
                }
                for j in 0..N {
                    let values = V::load_masked(source[j].wrapping_add(from), mask);
                    for i in 0..M {
                        sums[i][j] = filters[i].multiply_add(values, sums[i][j]);
                    }
                }
            }
        }
        for i in 0..M {
            for j in 0..N {
                sums[i][j].store(call.sums.add((i * call.sums_row + j) * V::LANES));
            }
        }
    }
}

/// Instantiates the bodies and the tables of one instruction set.
macro_rules! set {
    (
        $(#[$feature:meta])* $module:ident, $f32:ty, $f64:ty,
        correlate [$($height:literal: $($width:literal)*),*], wide [$($wide:literal)*], narrow [$($narrow:literal)*],
        inner [$($channels:literal: $($terms:literal)*),*]
    ) => {
        mod $module {
            use super::{Correlate, Inner, Set, Spread, Vector};

            $(#[$feature])*
            unsafe fn correlate<V: Vector, const M: usize, const N: usize>(call: &Correlate<V::Item>) {
                // SAFETY: the contract of the kernels.
                unsafe { super::correlate::<V, M, N>(call) }
            }
            $(#[$feature])*
            unsafe fn spread<V: Vector, const M: usize, const N: usize>(call: &Spread<V::Item>) {
                // SAFETY: the contract of the kernels.
                unsafe { super::spread::<V, M, N>(call) }
            }
            $(#[$feature])*
            unsafe fn inner<V: Vector, const M: usize, const N: usize>(call: &Inner<V::Item>) {
                // SAFETY: the contract of the kernels.
                unsafe { super::inner::<V, M, N>(call) }
            }
            set!(@table F32, f32, $f32, [$($height: $($width)*),*], [$($wide)*], [$($narrow)*], [$($channels: $($terms)*),*]);
            set!(@table F64, f64, $f64, [$($height: $($width)*),*], [$($wide)*], [$($narrow)*], [$($channels: $($terms)*),*]);
        }
    };
    (
        @table $name:ident, $item:ty, $vector:ty, [$($height:literal: $($width:literal)*),*], [$($wide:literal)*],
        [$($narrow:literal)*], [$($channels:literal: $($terms:literal)*),*]
    ) => {
        pub static $name: Set<$item> = Set {
            lanes: <$vector>::LANES,
            correlate: &[$(&[$(correlate::<$vector, $height, $width>),*]),*],
            spread: [&[$(spread::<$vector, $narrow, 1>),*], &[$(spread::<$vector, $wide, 2>),*]],
            inner: &[$(&[$(inner::<$vector, $channels, $terms>),*]),*],
        };
    };
}

#[cfg(all(target_arch = "x86_64", any(feature = "avx512", target_feature = "avx512vl")))]
set!(
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    avx512, std::arch::x86_64::__m512, std::arch::x86_64::__m512d,
    correlate [1: 1 2 4 8, 2: 1 2 4 8, 3: 1 2 4 8, 4: 1 2 4, 5: 1 2 4, 6: 1 2 4, 7: 1 2 4, 8: 1 2, 9: 1 2,
        10: 1 2, 11: 1 2, 12: 1 2, 13: 1 2, 14: 1 2],
    wide [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
    narrow [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24],
    inner [1: 1 2 3 4 5 6 7 8, 2: 1 2 3 4 5 6 7 8, 3: 1 2 3 4 5 6 7 8, 4: 1 2 3 4 5 6, 5: 1 2 3 4 5, 6: 1 2 3 4]
);
#[cfg(all(target_arch = "x86_64", feature = "avx2", not(target_feature = "avx512vl")))]
set!(
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    avx2, std::arch::x86_64::__m256, std::arch::x86_64::__m256d,
    correlate [1: 1 2 4 8, 2: 1 2 4, 3: 1 2 4, 4: 1 2, 5: 1 2, 6: 1 2],
    wide [1 2 3 4 5 6], narrow [1 2 3 4 5 6 7 8 9 10 11 12],
    inner [1: 1 2 3 4 5 6, 2: 1 2 3 4, 3: 1 2 3]
);
#[cfg(not(any(target_arch = "aarch64", target_feature = "avx512vl")))]
set!(
    portable, crate::cpu::gemm::vector::Lanes<f32, 4>, crate::cpu::gemm::vector::Lanes<f64, 2>,
    correlate [1: 1 2 4 8, 2: 1 2 4, 3: 1 2 4, 4: 1 2, 5: 1 2, 6: 1 2],
    wide [1 2 3 4 5 6], narrow [1 2 3 4 5 6 7 8 9 10 11 12],
    inner [1: 1 2 3 4 5 6, 2: 1 2 3 4, 3: 1 2 3]
);
#[cfg(target_arch = "aarch64")]
set!(
    portable, crate::cpu::gemm::vector::Lanes<f32, 8>, crate::cpu::gemm::vector::Lanes<f64, 4>,
    correlate [1: 1 2 4 8, 2: 1 2 4, 3: 1 2 4, 4: 1 2, 5: 1 2, 6: 1 2],
    wide [1 2 3 4 5 6], narrow [1 2 3 4 5 6 7 8 9 10 11 12],
    inner [1: 1 2 3 4 5 6, 2: 1 2 3 4, 3: 1 2 3]
);

mod sealed {
    use super::{Isa, Set};

    pub trait Sealed: Sized + 'static {
        fn set(isa: Isa) -> &'static Set<Self>;
    }

    macro_rules! element {
        ($item:ty, $table:ident) => {
            impl Sealed for $item {
                fn set(isa: Isa) -> &'static Set<$item> {
                    match isa {
                        #[cfg(all(target_arch = "x86_64", any(feature = "avx512", target_feature = "avx512vl")))]
                        Isa::Avx512 => &super::avx512::$table,
                        #[cfg(all(target_arch = "x86_64", feature = "avx2", not(target_feature = "avx512vl")))]
                        Isa::Avx2 => &super::avx2::$table,
                        #[cfg(not(target_feature = "avx512vl"))]
                        _ => &super::portable::$table,
                        #[cfg(target_feature = "avx512vl")]
                        _ => &super::avx512::$table,
                    }
                }
            }
        };
    }

    element!(f32, F32);
    element!(f64, F64);
}

/// Elements with kernels: `f32` and `f64`.
pub trait Element: sealed::Sealed + gemm::Element + Real {}
impl Element for f32 {}
impl Element for f64 {}

/// The kernels of an element for an instruction set, which this machine must have.
pub(super) fn set<T: Element>(isa: Isa) -> &'static Set<T> {
    <T as sealed::Sealed>::set(isa)
}

/// Rows cut into panels of nearly equal height.
#[derive(Clone, Copy, Debug)]
pub struct Panels {
    /// How many there are.
    pub count: usize,
    rows: usize,
}

impl Panels {
    /// `rows` rows in panels of at most `most`.
    pub fn new(rows: usize, most: usize) -> Panels {
        Panels { count: rows.div_ceil(most), rows }
    }

    /// The first row of a panel; of the one behind the last, the number of rows.
    #[inline(always)]
    pub fn start(&self, index: usize) -> usize {
        let (height, taller) = (self.rows / self.count, self.rows % self.count);
        index * height + index.min(taller)
    }
}
