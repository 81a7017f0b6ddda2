//! The inner loops of reductions: folding contiguous rows, adding rows to a line of accumulators, and
//! finding where an extremum lies; one small table of functions per kind and dtype.
//!
//! The order of every fold is written out here in terms of counts alone (64 lanes, blocks of
//! [`BLOCK`] elements combined pairwise, columns four rows at a time), so neither the vector width nor
//! the number of threads shows in a result. Chains of roundings stay near 128 per block and grow with
//! the logarithm of the number of blocks. Extrema are folded as integers that order like the elements,
//! NaN beyond everything: such a fold may take any order, and compilers vectorise it well.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use half::{bf16, f16};

use crate::cpu::cast::{Arithmetic, Number};
use crate::cpu::isa::per_isa;
use crate::dtype::{DType, with_element};

mod search;

pub(crate) use search::SearchKernel;
use search::searches;

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduction {
    /// The sum: f32 accumulators for halves, i64 (wrapping) for integers and truth values.
    Sum,
    /// The sum over the count; floats only.
    Mean,
    /// The product, accumulated as sums are.
    Product,
    /// The largest element; NaN where any is.
    Max,
    /// The smallest element; NaN where any is.
    Min,
    /// Whether any element is not zero (NaN is not).
    Any,
    /// Whether no element is zero.
    All,
    /// How many elements are not zero.
    CountNonzero,
    /// The first position of the largest element, or of the first NaN, in the row-major order of the reduced axes.
    ArgMax,
    /// The first position of the smallest element, or of the first NaN.
    ArgMin,
    /// The sum of squares.
    SumSquares,
    /// The sum of squared deviations from the mean over `max(count - correction, 0)`; floats only.
    Variance {
        /// What is taken off the count: 0 for the population, 1 for a sample.
        correction: f64,
    },
}

impl Reduction {
    /// The dtype of the result for elements of `dtype`.
    pub const fn output(self, dtype: DType) -> DType {
        match self {
            Reduction::Sum | Reduction::Product | Reduction::SumSquares if !dtype.is_float() => DType::I64,
            Reduction::Any | Reduction::All => DType::Bool,
            Reduction::CountNonzero | Reduction::ArgMax | Reduction::ArgMin => DType::I64,
            _ => dtype,
        }
    }
}

/// Elements of a row that are folded in lanes before pairwise combination takes over.
pub(crate) const BLOCK: usize = 8192;
/// The same for rows that are not contiguous, which have fewer lanes.
const STRIDED_BLOCK: usize = 1024;
/// Lanes of a contiguous fold.
const LANES: usize = 64;
/// Rows of a narrow matrix that are treated as one wide row.
pub(crate) const WIDENING: usize = 16;
/// Matrices are narrow below this many columns.
const NARROW: usize = 32;

/// Whether `run` rows of `lanes` adjacent elements, `stride` apart, are treated as wide rows: narrow
/// ones without gaps, enough of them.
pub(crate) fn widens(run: usize, stride: isize, lanes: usize) -> bool {
    lanes < NARROW && stride == lanes as isize && run >= 2 * WIDENING
}

/// A commutative combination of elements.
trait Fold: 'static {
    /// What is read.
    type Input: Copy;
    /// What is combined; at most 8 bytes.
    type Accumulator: Copy;
    /// Whether `load` uses its second argument.
    const CENTERED: bool = false;
    /// Whether every order of combination gives the same.
    const FREE: bool = true;
    /// Neutral.
    const EMPTY: Self::Accumulator;
    /// The contribution of one element.
    fn load(value: Self::Input, center: Self::Accumulator) -> Self::Accumulator;
    /// The combination of two.
    fn combine(a: Self::Accumulator, b: Self::Accumulator) -> Self::Accumulator;
}

/// How accumulators become results.
trait Finish<Accumulator>: 'static {
    type Output: Copy;
    fn finish(value: Accumulator, divisor: f64) -> Self::Output;
}

/// A stored type with a map to signed integers of the same order, minus zero below zero.
trait Ranked: Number {
    type Rank: Arithmetic + Ord;
    /// The rank; `nan` that of NaN.
    fn rank(self, nan: Self::Rank) -> Self::Rank;
    /// What has this rank; NaN for the least and the greatest of a float.
    fn unrank(rank: Self::Rank) -> Self;
}

macro_rules! ranked_integer {
    ($($integer:ty),*) => { $(impl Ranked for $integer {
        type Rank = $integer;
        #[inline(always)]
        fn rank(self, _nan: $integer) -> $integer { self }
        #[inline(always)]
        fn unrank(rank: $integer) -> $integer { rank }
    })* };
}
ranked_integer!(u8, i32, i64);

macro_rules! ranked_float {
    ($($float:ty, $wide:ty, $rank:ty, $bits:literal);*) => { $(impl Ranked for $float {
        type Rank = $rank;
        #[inline(always)]
        fn rank(self, nan: $rank) -> $rank {
            let wide = self.widen();
            let bits = wide.to_bits() as $rank;
            let rank = bits ^ ((bits >> ($bits - 1)) & <$rank>::MAX);
            if wide.is_nan() { nan } else { rank }
        }
        #[inline(always)]
        fn unrank(rank: $rank) -> $float {
            let bits = rank ^ ((rank >> ($bits - 1)) & <$rank>::MAX);
            Self::narrow(<$wide>::from_bits(bits as _))
        }
    })* };
}
ranked_float!(f32, f32, i32, 32; bf16, f32, i32, 32; f16, f32, i32, 32; f64, f64, i64, 64);

/// Defines folds over `T`: accumulator, neutral, load, combine and overridden constants.
macro_rules! folds {
    ($($(#[$meta:meta])* $name:ident<$bound:ident>: $accumulator:ty, $empty:expr, |$x:ident, $center:ident| $load:expr, |$a:ident, $b:ident| $combine:expr $(, $constant:ident = $value:expr)*;)*) => { $(
        $(#[$meta])*
        struct $name<T>(PhantomData<T>);
        impl<T: $bound> Fold for $name<T> {
            type Input = T;
            type Accumulator = $accumulator;
            $(const $constant: bool = $value;)*
            const EMPTY: Self::Accumulator = $empty;
            #[inline(always)]
            fn load($x: T, $center: Self::Accumulator) -> Self::Accumulator { $load }
            #[inline(always)]
            fn combine($a: Self::Accumulator, $b: Self::Accumulator) -> Self::Accumulator { $combine }
        }
    )* };
}

folds! {
    Sum<Number>: T::Total, T::Total::ZERO, |x, _center| x.total(), |a, b| a.add(b), FREE = T::Total::EXACT;
    /// The sum of squared distances from the center.
    Spread<Number>: T::Total, T::Total::ZERO, |x, center| { let d = x.total().subtract(center); d.multiply(d) }, |a, b| a.add(b), FREE = T::Total::EXACT, CENTERED = true;
    Product<Number>: T::Total, T::Total::ONE, |x, _center| x.total(), |a, b| a.multiply(b), FREE = T::Total::EXACT;
    Max<Ranked>: T::Rank, T::Rank::LOWEST, |x, _center| x.rank(T::Rank::HIGHEST), |a, b| a.max(b);
    Min<Ranked>: T::Rank, T::Rank::HIGHEST, |x, _center| x.rank(T::Rank::LOWEST), |a, b| a.min(b);
    /// How many elements are true.
    Count<Number>: i64, 0, |x, _center| i64::from(x.is_true()), |a, b| a.wrapping_add(b);
}

macro_rules! finishes {
    ($($(#[$meta:meta])* $name:ident<$bound:ident>: $accumulator:ty => $output:ty, |$value:ident, $divisor:ident| $finish:expr;)*) => { $(
        $(#[$meta])*
        struct $name<T>(PhantomData<T>);
        impl<T: $bound> Finish<$accumulator> for $name<T> {
            type Output = $output;
            #[inline(always)]
            fn finish($value: $accumulator, $divisor: f64) -> Self::Output { $finish }
        }
    )* };
}

finishes! {
    Total<Number>: T::Total => T::Sum, |value, _divisor| T::from_total(value);
    Mean<Number>: T::Total => T::Sum, |value, divisor| T::from_total(value.divide(divisor));
    /// The mean, unrounded.
    Center<Number>: T::Total => T::Total, |value, divisor| value.divide(divisor);
    Ranks<Ranked>: T::Rank => T, |value, _divisor| T::unrank(value);
    Number64<Number>: i64 => i64, |value, _divisor| value;
    Any<Number>: i64 => u8, |value, _divisor| u8::from(value > 0);
    All<Number>: i64 => u8, |value, divisor| u8::from(value as f64 == divisor);
}

/// `(source, run, run stride, lanes, lane stride, centers, accumulators, first)`: folds `run` elements
/// into each of `lanes` accumulators; `first` overwrites them.
pub(crate) type FoldKernel = unsafe fn(*const u8, usize, isize, usize, isize, *const u8, *mut u8, bool);

/// The functions of one kind and dtype.
pub(crate) struct Kernels {
    /// Bytes of an accumulator.
    pub accumulator: usize,
    /// Bytes of a result.
    pub output: usize,
    /// For runs that are denser than lanes.
    pub rows: FoldKernel,
    /// For lanes that are denser than runs.
    pub columns: FoldKernel,
    /// `(into, from, count)` combines accumulators.
    pub merge: unsafe fn(*mut u8, *const u8, usize),
    /// `(accumulators, count, divisor, destination, stride)` writes results; the accumulators of an
    /// empty fold where the first is null.
    pub finish: unsafe fn(*const u8, usize, f64, *mut u8, isize),
}

/// The table of a fold and a finish.
struct Table<F, G>(PhantomData<(F, G)>);

impl<F: Fold, G: Finish<F::Accumulator>> Table<F, G> {
    const KERNELS: &'static Kernels = &Kernels {
        accumulator: size_of::<F::Accumulator>(),
        output: size_of::<G::Output>(),
        rows: fold_rows::<F>,
        columns: fold_columns::<F>,
        merge: merge::<F>,
        finish: finish::<F, G>,
    };
}

unsafe fn merge<F: Fold>(into: *mut u8, from: *const u8, count: usize) {
    let (into, from) = (into.cast::<F::Accumulator>(), from.cast::<F::Accumulator>());
    for lane in 0..count {
        // SAFETY: the caller vouches for `count` accumulators on both sides.
        unsafe { *into.add(lane) = F::combine(*into.add(lane), *from.add(lane)) };
    }
}

unsafe fn finish<F: Fold, G: Finish<F::Accumulator>>(
    from: *const u8,
    count: usize,
    divisor: f64,
    to: *mut u8,
    stride: isize,
) {
    let (from, to) = (from.cast::<F::Accumulator>(), to.cast::<G::Output>());
    for lane in 0..count {
        // SAFETY: the caller vouches for `count` accumulators and as many places.
        unsafe {
            let value = if from.is_null() { F::EMPTY } else { *from.add(lane) };
            *to.offset(lane as isize * stride) = G::finish(value, divisor);
        }
    }
}

/// Combines lanes j and j + WIDTH/2, then halves, down to one.
#[inline(always)]
fn tree<F: Fold, const WIDTH: usize>(mut lanes: [F::Accumulator; WIDTH]) -> F::Accumulator {
    let mut width = WIDTH / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = F::combine(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Folds elements `stride` apart in eight chains.
#[inline(always)]
unsafe fn fold_strided<F: Fold>(
    source: *const F::Input,
    count: usize,
    stride: isize,
    center: F::Accumulator,
) -> F::Accumulator {
    let mut parts = [F::EMPTY; 8];
    let mut rest = F::EMPTY;
    let mut index = 0;
    // SAFETY: the caller vouches for the elements.
    unsafe {
        while index + 8 <= count {
            for part in 0..8 {
                let place = source.offset((index + part) as isize * stride);
                parts[part] = F::combine(parts[part], F::load(*place, center));
            }
            index += 8;
        }
        while index < count {
            rest = F::combine(rest, F::load(*source.offset(index as isize * stride), center));
            index += 1;
        }
    }
    F::combine(tree::<F, 8>(parts), rest)
}

/// Folds at most [`BLOCK`] contiguous elements: lanes of 64, of 16, and the rest.
#[inline(always)]
unsafe fn fold_block<F: Fold>(source: *const F::Input, count: usize, center: F::Accumulator) -> F::Accumulator {
    let mut value = F::EMPTY;
    let mut index = 0;
    // SAFETY: the caller vouches for `count` elements.
    unsafe {
        if F::FREE {
            for index in 0..count {
                value = F::combine(value, F::load(*source.add(index), center));
            }
            return value;
        }
        if count >= LANES {
            let mut lanes = [F::EMPTY; LANES];
            while index + LANES <= count {
                for lane in 0..LANES {
                    lanes[lane] = F::combine(lanes[lane], F::load(*source.add(index + lane), center));
                }
                index += LANES;
            }
            value = tree::<F, LANES>(lanes);
        }
        if index + 16 <= count {
            let mut lanes = [F::EMPTY; 16];
            while index + 16 <= count {
                for lane in 0..16 {
                    lanes[lane] = F::combine(lanes[lane], F::load(*source.add(index + lane), center));
                }
                index += 16;
            }
            value = F::combine(value, tree::<F, 16>(lanes));
        }
        if index + 4 <= count {
            let mut lanes = [F::EMPTY; 4];
            while index + 4 <= count {
                for lane in 0..4 {
                    lanes[lane] = F::combine(lanes[lane], F::load(*source.add(index + lane), center));
                }
                index += 4;
            }
            value = F::combine(value, tree::<F, 4>(lanes));
        }
        while index < count {
            value = F::combine(value, F::load(*source.add(index), center));
            index += 1;
        }
    }
    value
}

per_isa! {
    /// A block for each lane: at most [`BLOCK`] elements, or [`STRIDED_BLOCK`].
    unsafe fn fold_blocks<F: Fold>(source: *const F::Input, run: usize, run_stride: isize, lanes: usize, lane_stride: isize, centers: *const F::Accumulator, out: *mut F::Accumulator) {
        for lane in 0..lanes {
            let source = source.offset(lane as isize * lane_stride);
            let center = if F::CENTERED { *centers.add(lane) } else { F::EMPTY };
            *out.add(lane) = match run_stride {
                1 => fold_block::<F>(source, run, center),
                _ => fold_strided::<F>(source, run, run_stride, center),
            };
        }
    }
}

/// Folds a run of any length for each lane.
unsafe fn fold_rows<F: Fold>(
    source: *const u8,
    run: usize,
    run_stride: isize,
    lanes: usize,
    lane_stride: isize,
    centers: *const u8,
    accumulators: *mut u8,
    first: bool,
) {
    let source = source.cast::<F::Input>();
    let (centers, accumulators) = (centers.cast::<F::Accumulator>(), accumulators.cast::<F::Accumulator>());
    let block = if run_stride == 1 { BLOCK } else { STRIDED_BLOCK };
    // SAFETY: the caller vouches for the runs, the accumulators and, where used, the centers.
    unsafe {
        if first && run <= block {
            return fold_blocks::<F>(source, run, run_stride, lanes, lane_stride, centers, accumulators);
        }
        for lane in 0..lanes {
            let source = source.offset(lane as isize * lane_stride);
            let centers = centers.wrapping_add(lane);
            let value = fold_row::<F>(source, run, run_stride, block, centers);
            let place = accumulators.add(lane);
            *place = if first { value } else { F::combine(*place, value) };
        }
    }
}

/// Combines the blocks of a row pairwise, as a binary counter carries.
unsafe fn fold_row<F: Fold>(
    source: *const F::Input,
    count: usize,
    stride: isize,
    block: usize,
    centers: *const F::Accumulator,
) -> F::Accumulator {
    let mut levels = [F::EMPTY; usize::BITS as usize];
    let mut height = 0;
    let mut value = F::EMPTY;
    for index in 0..count.div_ceil(block) {
        let start = index * block;
        // SAFETY: a part of the row that the caller vouches for.
        unsafe {
            let source = source.offset(start as isize * stride);
            fold_blocks::<F>(source, block.min(count - start), stride, 1, 0, centers, &raw mut value);
        }
        for _ in 0..index.trailing_ones() {
            height -= 1;
            value = F::combine(levels[height], value);
        }
        levels[height] = value;
        height += 1;
    }
    for level in levels[..height.saturating_sub(1)].iter().rev() {
        value = F::combine(*level, value);
    }
    value
}

/// Adds one or four rows of `WIDTH` adjacent elements to as many accumulators.
#[inline(always)]
unsafe fn strip<F: Fold, const WIDTH: usize, const FOUR: bool>(
    source: *const F::Input,
    stride: isize,
    centers: *const F::Accumulator,
    accumulators: *mut F::Accumulator,
) {
    // SAFETY: the caller vouches for the rows and `WIDTH` accumulators (and centers, where used).
    unsafe {
        let mut sum: [F::Accumulator; WIDTH] = *accumulators.cast();
        for lane in 0..WIDTH {
            let source = source.add(lane);
            let center = if F::CENTERED { *centers.add(lane) } else { F::EMPTY };
            let mut value = F::load(*source, center);
            if FOUR {
                let b = F::load(*source.offset(stride), center);
                let c = F::load(*source.offset(2 * stride), center);
                let d = F::load(*source.offset(3 * stride), center);
                value = F::combine(F::combine(value, b), F::combine(c, d));
            }
            sum[lane] = F::combine(sum[lane], value);
        }
        *accumulators.cast() = sum;
    }
}

/// Lanes of a strip: enough that compilers vectorise along it and not across strips.
const STRIP: usize = 32;

per_isa! {
    /// Adds rows of `lanes` adjacent elements to accumulators, four rows at a time.
    unsafe fn fold_lines<F: Fold>(source: *const F::Input, rows: usize, row_stride: isize, lanes: usize, centers: *const F::Accumulator, accumulators: *mut F::Accumulator) {
        let mut row = 0;
        while row < rows {
            let source = source.offset(row as isize * row_stride);
            let four = rows - row >= 4;
            let mut lane = 0;
            while lane < lanes {
                let (source, centers, accumulators) = (source.add(lane), centers.wrapping_add(lane), accumulators.add(lane));
                match (four, lane + STRIP <= lanes) {
                    (true, true) => strip::<F, STRIP, true>(source, row_stride, centers, accumulators),
                    (true, false) => strip::<F, 1, true>(source, row_stride, centers, accumulators),
                    (false, true) => strip::<F, STRIP, false>(source, row_stride, centers, accumulators),
                    (false, false) => strip::<F, 1, false>(source, row_stride, centers, accumulators),
                }
                lane += if lane + STRIP <= lanes { STRIP } else { 1 };
            }
            row += if four { 4 } else { 1 };
        }
    }
}

/// Adds rows to a line of accumulators, whatever lies between lanes.
unsafe fn fold_columns<F: Fold>(
    source: *const u8,
    run: usize,
    run_stride: isize,
    lanes: usize,
    lane_stride: isize,
    centers: *const u8,
    accumulators: *mut u8,
    first: bool,
) {
    let source = source.cast::<F::Input>();
    let (centers, accumulators) = (centers.cast::<F::Accumulator>(), accumulators.cast::<F::Accumulator>());
    // SAFETY: the caller vouches for the rows, the accumulators and, where used, the centers.
    unsafe {
        if first {
            std::slice::from_raw_parts_mut(accumulators.cast::<MaybeUninit<F::Accumulator>>(), lanes)
                .fill(MaybeUninit::new(F::EMPTY));
        }
        if lane_stride != 1 {
            for row in 0..run {
                let source = source.offset(row as isize * run_stride);
                for lane in 0..lanes {
                    let center = if F::CENTERED { *centers.add(lane) } else { F::EMPTY };
                    let value = F::load(*source.offset(lane as isize * lane_stride), center);
                    *accumulators.add(lane) = F::combine(*accumulators.add(lane), value);
                }
            }
            return;
        }
        if !widens(run, run_stride, lanes) {
            return fold_lines::<F>(source, run, run_stride, lanes, centers, accumulators);
        }
        // Sixteen narrow rows are one wide row of sixteen sets of accumulators.
        let mut sets = [F::EMPTY; WIDENING * NARROW];
        let mut set_centers = [F::EMPTY; WIDENING * NARROW];
        if F::CENTERED {
            for place in 0..WIDENING * lanes {
                set_centers[place] = *centers.add(place % lanes);
            }
        }
        let wide = WIDENING * lanes;
        let (whole, rest) = (run / WIDENING, run % WIDENING);
        fold_lines::<F>(source, whole, wide as isize, wide, set_centers.as_ptr(), sets.as_mut_ptr());
        let mut width = wide / 2;
        while width >= lanes {
            for lane in 0..width {
                sets[lane] = F::combine(sets[lane], sets[lane + width]);
            }
            width /= 2;
        }
        for lane in 0..lanes {
            *accumulators.add(lane) = F::combine(*accumulators.add(lane), sets[lane]);
        }
        fold_lines::<F>(source.add(whole * wide), rest, lanes as isize, lanes, centers, accumulators);
    }
}

/// What follows the first fold.
#[derive(Clone, Copy)]
pub(crate) enum Second {
    /// The results are written.
    Nothing,
    /// The fold of deviations from what the first gave.
    Spread(&'static Kernels),
    /// Finding the extremum: runs denser than lanes, lanes denser than runs.
    Search(SearchKernel, SearchKernel),
}

/// The functions of a kind and dtype.
pub(crate) fn tables(kind: Reduction, dtype: DType) -> (&'static Kernels, Second) {
    macro_rules! simple {
        ($fold:ident, $finish:ident) => {
            (with_element!(dtype, T => Table::<$fold<T>, $finish<T>>::KERNELS), Second::Nothing)
        };
    }
    macro_rules! search {
        ($fold:ident) => {
            with_element!(dtype, T => {
                let (rows, columns) = searches::<T>();
                (Table::<$fold<T>, Ranks<T>>::KERNELS, Second::Search(rows, columns))
            })
        };
    }
    match kind {
        Reduction::Sum => simple!(Sum, Total),
        Reduction::Mean => simple!(Sum, Mean),
        Reduction::Product => simple!(Product, Total),
        Reduction::Max => simple!(Max, Ranks),
        Reduction::Min => simple!(Min, Ranks),
        Reduction::Any => simple!(Count, Any),
        Reduction::All => simple!(Count, All),
        Reduction::CountNonzero => simple!(Count, Number64),
        Reduction::SumSquares => simple!(Spread, Total),
        Reduction::ArgMax => search!(Max),
        Reduction::ArgMin => search!(Min),
        Reduction::Variance { .. } => with_element!(dtype, T => {
            (Table::<Sum<T>, Center<T>>::KERNELS, Second::Spread(Table::<Spread<T>, Mean<T>>::KERNELS))
        }),
    }
}
