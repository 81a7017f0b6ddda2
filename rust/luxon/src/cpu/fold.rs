//! The inner loops of reductions: folding contiguous rows, adding rows to a line of accumulators, and
//! finding where an extremum lies; one small table of functions per kind and dtype.
//!
//! The order of every fold is written out here in terms of counts alone (64 lanes, blocks of
//! [`BLOCK`] elements combined pairwise, columns four rows at a time), so neither the vector width nor
//! the number of threads shows in a result. Chains of roundings stay near 128 per block and grow with
//! the logarithm of the number of blocks.

use std::marker::PhantomData;

use crate::cpu::cast::{Arithmetic, Number};
use crate::cpu::isa::per_isa;
use crate::dtype::{DType, with_element};

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
pub(crate) const NARROW: usize = 32;

/// A commutative combination of elements.
trait Fold: 'static {
    /// What is read.
    type Input: Copy;
    /// What is combined; at most 8 bytes.
    type Accumulator: Copy;
    /// What is written.
    type Output: Copy;
    /// Whether `load` uses its second argument.
    const CENTERED: bool = false;
    /// Neutral.
    const EMPTY: Self::Accumulator;
    /// The contribution of one element.
    fn load(value: Self::Input, center: Self::Accumulator) -> Self::Accumulator;
    /// The combination of two.
    fn combine(a: Self::Accumulator, b: Self::Accumulator) -> Self::Accumulator;
    /// The result.
    fn finish(value: Self::Accumulator, divisor: f64) -> Self::Output;
}

/// Defines folds over `T`: accumulator, output, neutral, load, combine, finish.
macro_rules! folds {
    ($($(#[$meta:meta])* $name:ident: $accumulator:ty => $output:ty, $empty:expr, |$x:ident, $center:ident| $load:expr, |$a:ident, $b:ident| $combine:expr, |$value:ident, $divisor:ident| $finish:expr $(, $centered:ident)?;)*) => { $(
        $(#[$meta])*
        struct $name<T>(PhantomData<T>);
        impl<T: Number> Fold for $name<T> {
            type Input = T;
            type Accumulator = $accumulator;
            type Output = $output;
            $(const CENTERED: bool = stringify!($centered).len() > 0;)?
            const EMPTY: Self::Accumulator = $empty;
            #[inline(always)]
            fn load($x: T, $center: Self::Accumulator) -> Self::Accumulator { $load }
            #[inline(always)]
            fn combine($a: Self::Accumulator, $b: Self::Accumulator) -> Self::Accumulator { $combine }
            #[inline(always)]
            fn finish($value: Self::Accumulator, $divisor: f64) -> Self::Output { $finish }
        }
    )* };
}

folds! {
    /// The sum.
    Sum: T::Total => T::Sum, T::Total::ZERO, |x, _center| x.total(), |a, b| a.add(b), |value, _divisor| T::from_total(value);
    /// The sum over the divisor.
    Mean: T::Total => T::Sum, T::Total::ZERO, |x, _center| x.total(), |a, b| a.add(b), |value, divisor| T::from_total(value.divide(divisor));
    /// The sum over the divisor, unrounded.
    Center: T::Total => T::Total, T::Total::ZERO, |x, _center| x.total(), |a, b| a.add(b), |value, divisor| value.divide(divisor);
    /// The sum of squared distances from the center over the divisor.
    Spread: T::Total => T::Sum, T::Total::ZERO, |x, center| { let d = x.total().subtract(center); d.multiply(d) }, |a, b| a.add(b), |value, divisor| T::from_total(value.divide(divisor)), centered;
    /// The sum of squares.
    Squares: T::Total => T::Sum, T::Total::ZERO, |x, _center| { let x = x.total(); x.multiply(x) }, |a, b| a.add(b), |value, _divisor| T::from_total(value);
    /// The product.
    Product: T::Total => T::Sum, T::Total::ONE, |x, _center| x.total(), |a, b| a.multiply(b), |value, _divisor| T::from_total(value);
    /// The largest; not a number where any is not.
    Max: T::Wide => T, T::Wide::LOWEST, |x, _center| x.widen(), |a, b| if a > b || a.is_nan() { a } else { b }, |value, _divisor| T::narrow(value);
    /// The smallest; not a number where any is not.
    Min: T::Wide => T, T::Wide::HIGHEST, |x, _center| x.widen(), |a, b| if a < b || a.is_nan() { a } else { b }, |value, _divisor| T::narrow(value);
    /// Whether any is true.
    Any: u8 => u8, 0, |x, _center| u8::from(x.is_true()), |a, b| a | b, |value, _divisor| value;
    /// Whether all are true.
    All: u8 => u8, 1, |x, _center| u8::from(x.is_true()), |a, b| a & b, |value, _divisor| value;
    /// How many are true.
    Count: i64 => i64, 0, |x, _center| i64::from(x.is_true()), |a, b| a + b, |value, _divisor| value;
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

/// The table of a fold.
struct Table<F>(PhantomData<F>);

impl<F: Fold> Table<F> {
    /// The functions.
    const KERNELS: &'static Kernels = &Kernels {
        accumulator: size_of::<F::Accumulator>(),
        output: size_of::<F::Output>(),
        rows: fold_rows::<F>,
        columns: fold_columns::<F>,
        merge: merge::<F>,
        finish: finish::<F>,
    };
}

unsafe fn merge<F: Fold>(into: *mut u8, from: *const u8, count: usize) {
    let (into, from) = (into.cast::<F::Accumulator>(), from.cast::<F::Accumulator>());
    for lane in 0..count {
        // SAFETY: the caller vouches for `count` accumulators on both sides.
        unsafe { *into.add(lane) = F::combine(*into.add(lane), *from.add(lane)) };
    }
}

unsafe fn finish<F: Fold>(from: *const u8, count: usize, divisor: f64, to: *mut u8, stride: isize) {
    let (from, to) = (from.cast::<F::Accumulator>(), to.cast::<F::Output>());
    for lane in 0..count {
        // SAFETY: the caller vouches for `count` accumulators and as many places.
        unsafe {
            let value = if from.is_null() { F::EMPTY } else { *from.add(lane) };
            *to.offset(lane as isize * stride) = F::finish(value, divisor);
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

/// Folds elements `stride` apart in `CHAINS` chains.
#[inline(always)]
unsafe fn chains<F: Fold, const CHAINS: usize>(
    source: *const F::Input,
    count: usize,
    stride: isize,
    center: F::Accumulator,
) -> F::Accumulator {
    // SAFETY: the caller vouches for the elements.
    let at = |index: usize| unsafe { F::load(*source.offset(index as isize * stride), center) };
    let mut parts = [F::EMPTY; CHAINS];
    let mut index = 0;
    while index + CHAINS <= count {
        for chain in 0..CHAINS {
            parts[chain] = F::combine(parts[chain], at(index + chain));
        }
        index += CHAINS;
    }
    let mut rest = F::EMPTY;
    while index < count {
        rest = F::combine(rest, at(index));
        index += 1;
    }
    F::combine(tree::<F, CHAINS>(parts), rest)
}

/// Folds at most [`BLOCK`] contiguous elements.
#[inline(always)]
unsafe fn fold_block<F: Fold>(source: *const F::Input, count: usize, center: F::Accumulator) -> F::Accumulator {
    // SAFETY: the caller vouches for `count` elements.
    unsafe {
        if count < 16 {
            return chains::<F, 4>(source, count, 1, center);
        }
        let mut small = [F::EMPTY; 16];
        let mut index = 0;
        let mut wide = F::EMPTY;
        if count >= LANES {
            let mut lanes = [F::EMPTY; LANES];
            while index + LANES <= count {
                for lane in 0..LANES {
                    lanes[lane] = F::combine(lanes[lane], F::load(*source.add(index + lane), center));
                }
                index += LANES;
            }
            wide = tree::<F, LANES>(lanes);
        }
        while index + 16 <= count {
            for lane in 0..16 {
                small[lane] = F::combine(small[lane], F::load(*source.add(index + lane), center));
            }
            index += 16;
        }
        let tail = if index < count { chains::<F, 4>(source.add(index), count - index, 1, center) } else { F::EMPTY };
        F::combine(F::combine(wide, tree::<F, 16>(small)), tail)
    }
}

/// Folds a row of any length: blocks are combined pairwise, as a binary counter carries.
#[inline(always)]
unsafe fn fold_row<F: Fold>(
    source: *const F::Input,
    count: usize,
    stride: isize,
    center: F::Accumulator,
) -> F::Accumulator {
    let block = if stride == 1 { BLOCK } else { STRIDED_BLOCK };
    let fold = |start: usize, count: usize| {
        // SAFETY: a part of the row that the caller vouches for.
        unsafe {
            let source = source.offset(start as isize * stride);
            match stride {
                1 => fold_block::<F>(source, count, center),
                _ => chains::<F, 8>(source, count, stride, center),
            }
        }
    };
    if count <= block {
        return fold(0, count);
    }
    let mut levels = [F::EMPTY; usize::BITS as usize];
    let mut height = 0;
    let mut start = 0;
    let mut index = 0usize;
    while start < count {
        let mut value = fold(start, block.min(count - start));
        for _ in 0..index.trailing_ones() {
            height -= 1;
            value = F::combine(levels[height], value);
        }
        levels[height] = value;
        height += 1;
        start += block;
        index += 1;
    }
    let mut value = levels[height - 1];
    for level in levels[..height - 1].iter().rev() {
        value = F::combine(*level, value);
    }
    value
}

per_isa! {
    unsafe fn fold_rows<F: Fold>(source: *const u8, run: usize, run_stride: isize, lanes: usize, lane_stride: isize, centers: *const u8, accumulators: *mut u8, first: bool) {
        let (centers, accumulators) = (centers.cast::<F::Accumulator>(), accumulators.cast::<F::Accumulator>());
        for lane in 0..lanes {
            let source = source.cast::<F::Input>().offset(lane as isize * lane_stride);
            let center = if F::CENTERED { *centers.add(lane) } else { F::EMPTY };
            let value = fold_row::<F>(source, run, run_stride, center);
            let place = accumulators.add(lane);
            *place = if first { value } else { F::combine(*place, value) };
        }
    }
}

/// Folds one or four rows of `WIDTH` adjacent elements into as many accumulators.
#[inline(always)]
unsafe fn strip<F: Fold, const WIDTH: usize>(
    source: *const F::Input,
    stride: isize,
    four: bool,
    centers: *const F::Accumulator,
    accumulators: *mut F::Accumulator,
    first: bool,
) {
    // SAFETY: the caller vouches for the rows and `WIDTH` accumulators (and centers, where used).
    unsafe {
        let mut center = [F::EMPTY; WIDTH];
        if F::CENTERED {
            center = *centers.cast();
        }
        let row = |index: isize| {
            let source = source.offset(index * stride);
            let mut row = [F::EMPTY; WIDTH];
            for lane in 0..WIDTH {
                row[lane] = F::load(*source.add(lane), center[lane]);
            }
            row
        };
        let mut sum = row(0);
        if four {
            let (b, c, d) = (row(1), row(2), row(3));
            for lane in 0..WIDTH {
                sum[lane] = F::combine(F::combine(sum[lane], b[lane]), F::combine(c[lane], d[lane]));
            }
        }
        if !first {
            let before: [F::Accumulator; WIDTH] = *accumulators.cast();
            for lane in 0..WIDTH {
                sum[lane] = F::combine(before[lane], sum[lane]);
            }
        }
        *accumulators.cast() = sum;
    }
}

/// Folds rows of `lanes` adjacent elements, row by row.
#[inline(always)]
unsafe fn fold_lines<F: Fold>(
    source: *const F::Input,
    rows: usize,
    row_stride: isize,
    lanes: usize,
    centers: *const F::Accumulator,
    accumulators: *mut F::Accumulator,
    mut first: bool,
) {
    let mut row = 0;
    while row < rows {
        let four = rows - row >= 4;
        let mut lane = 0;
        // SAFETY: the caller vouches for the rows and the accumulators.
        unsafe {
            let source = source.offset(row as isize * row_stride);
            macro_rules! strips {
                ($width:literal) => {
                    while lane + $width <= lanes {
                        let (centers, accumulators) = (centers.wrapping_add(lane), accumulators.add(lane));
                        strip::<F, $width>(source.add(lane), row_stride, four, centers, accumulators, first);
                        lane += $width;
                    }
                };
            }
            strips!(64);
            strips!(16);
            strips!(4);
            strips!(1);
        }
        first = false;
        row += if four { 4 } else { 1 };
    }
}

per_isa! {
    unsafe fn fold_columns<F: Fold>(source: *const u8, run: usize, run_stride: isize, lanes: usize, lane_stride: isize, centers: *const u8, accumulators: *mut u8, first: bool) {
        let source = source.cast::<F::Input>();
        let (centers, accumulators) = (centers.cast::<F::Accumulator>(), accumulators.cast::<F::Accumulator>());
        if lane_stride != 1 {
            for row in 0..run {
                let source = source.offset(row as isize * run_stride);
                for lane in 0..lanes {
                    let center = if F::CENTERED { *centers.add(lane) } else { F::EMPTY };
                    let value = F::load(*source.offset(lane as isize * lane_stride), center);
                    let place = accumulators.add(lane);
                    *place = if first && row == 0 { value } else { F::combine(*place, value) };
                }
            }
            return;
        }
        if lanes >= NARROW || run_stride != lanes as isize || run < 2 * WIDENING {
            return fold_lines::<F>(source, run, run_stride, lanes, centers, accumulators, first);
        }
        // Sixteen narrow rows are one wide row of sixteen sets of accumulators.
        let mut sets = [F::EMPTY; WIDENING * NARROW];
        let mut set_centers = [F::EMPTY; WIDENING * NARROW];
        if F::CENTERED {
            for set in 0..WIDENING {
                for lane in 0..lanes {
                    set_centers[set * lanes + lane] = *centers.add(lane);
                }
            }
        }
        let wide = WIDENING * lanes;
        let (whole, rest) = (run / WIDENING, run % WIDENING);
        fold_lines::<F>(source, whole, wide as isize, wide, set_centers.as_ptr(), sets.as_mut_ptr(), true);
        let mut width = wide / 2;
        while width >= lanes {
            for lane in 0..width {
                sets[lane] = F::combine(sets[lane], sets[lane + width]);
            }
            width /= 2;
        }
        for lane in 0..lanes {
            let place = accumulators.add(lane);
            *place = if first { sets[lane] } else { F::combine(*place, sets[lane]) };
        }
        let source = source.add(whole * wide);
        fold_lines::<F>(source, rest, lanes as isize, lanes, centers, accumulators, false);
    }
}

/// `(source, run, run stride, lanes, lane stride, extrema, positions, base)`: where a position is still
/// negative and the run holds the lane's extremum, the position becomes `base` plus its first index.
pub(crate) type SearchKernel = unsafe fn(*const u8, usize, isize, usize, isize, *const u8, *mut i64, i64);

/// The two search functions of a dtype: runs denser than lanes, lanes denser than runs.
fn searches<T: Number>() -> (SearchKernel, SearchKernel) {
    (search_rows::<T>, search_columns::<T>)
}

/// Whether an element is the extremum: equal, or both not a number.
#[inline(always)]
fn is_extremum<T: Number>(value: T, extremum: T::Wide) -> bool {
    let value = value.widen();
    (value == extremum) | (value.is_nan() & extremum.is_nan())
}

per_isa! {
    unsafe fn search_rows<T: Number>(source: *const u8, run: usize, run_stride: isize, lanes: usize, lane_stride: isize, extrema: *const u8, positions: *mut i64, base: i64) {
        for lane in 0..lanes {
            if *positions.add(lane) >= 0 {
                continue;
            }
            let extremum = *extrema.cast::<T::Wide>().add(lane);
            let source = source.cast::<T>().offset(lane as isize * lane_stride);
            let mut index = 0;
            if run_stride == 1 {
                while index + LANES <= run {
                    let mut found = false;
                    for step in 0..LANES {
                        found |= is_extremum(*source.add(index + step), extremum);
                    }
                    if found {
                        break;
                    }
                    index += LANES;
                }
            }
            while index < run && !is_extremum(*source.offset(index as isize * run_stride), extremum) {
                index += 1;
            }
            if index < run {
                *positions.add(lane) = base + index as i64;
            }
        }
    }
}

per_isa! {
    unsafe fn search_columns<T: Number>(source: *const u8, run: usize, run_stride: isize, lanes: usize, lane_stride: isize, extrema: *const u8, positions: *mut i64, base: i64) {
        let extrema = extrema.cast::<T::Wide>();
        for row in 0..run {
            let source = source.cast::<T>().offset(row as isize * run_stride);
            let position = base + row as i64;
            if lane_stride == 1 {
                for lane in 0..lanes {
                    let place = positions.add(lane);
                    let fits = (*place < 0) & is_extremum(*source.add(lane), *extrema.add(lane));
                    *place = if fits { position } else { *place };
                }
            } else {
                for lane in 0..lanes {
                    let place = positions.add(lane);
                    if *place < 0 && is_extremum(*source.offset(lane as isize * lane_stride), *extrema.add(lane)) {
                        *place = position;
                    }
                }
            }
        }
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
        ($fold:ident) => {
            (with_element!(dtype, T => Table::<$fold<T>>::KERNELS), Second::Nothing)
        };
    }
    macro_rules! search {
        ($fold:ident) => {
            with_element!(dtype, T => {
                let (rows, columns) = searches::<T>();
                (Table::<$fold<T>>::KERNELS, Second::Search(rows, columns))
            })
        };
    }
    match kind {
        Reduction::Sum => simple!(Sum),
        Reduction::Mean => simple!(Mean),
        Reduction::Product => simple!(Product),
        Reduction::Max => simple!(Max),
        Reduction::Min => simple!(Min),
        Reduction::Any => simple!(Any),
        Reduction::All => simple!(All),
        Reduction::CountNonzero => simple!(Count),
        Reduction::SumSquares => simple!(Squares),
        Reduction::ArgMax => search!(Max),
        Reduction::ArgMin => search!(Min),
        Reduction::Variance { .. } => with_element!(dtype, T => {
            (Table::<Center<T>>::KERNELS, Second::Spread(Table::<Spread<T>>::KERNELS))
        }),
    }
}
