//! Cumulative sums, products and extrema along one axis of a contiguous tensor.
//!
//! Sums and products of floats run in f64 (halves and singles are rounded once, when written) and those
//! of integers in i64. Along the last axis four elements are combined before the running value takes
//! them, so the chain of dependent operations is a quarter of the length; along other axes the
//! neighbours are independent and vectorise. The order follows from the sizes alone.

use crate::cpu::cast::{Arithmetic, Number, Shared, in_pieces};
use crate::cpu::isa::per_isa;
use crate::dtype::{DType, with_element};

/// What is accumulated along the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cumulative {
    /// Sums; i64 (wrapping) for integers and truth values.
    Sum,
    /// Products; i64 (wrapping) for integers and truth values.
    Product,
    /// The largest so far; NaN from the first NaN on.
    Max,
    /// The smallest so far; NaN from the first NaN on.
    Min,
}

impl Cumulative {
    /// The dtype of the result for elements of `dtype`.
    #[doc(hidden)]
    pub const fn output(self, dtype: DType) -> DType {
        match self {
            Cumulative::Sum | Cumulative::Product if !dtype.is_float() => DType::I64,
            _ => dtype,
        }
    }
}

/// Neighbours that are accumulated together along an axis that is not the last.
const LANES: usize = 64;

/// How one kind accumulates elements of one type.
trait Step {
    type Input: Copy;
    type State: Copy + Send + Sync;
    type Output: Copy;
    const EMPTY: Self::State;
    fn load(value: Self::Input) -> Self::State;
    fn combine(a: Self::State, b: Self::State) -> Self::State;
    fn store(state: Self::State) -> Self::Output;
}

/// The type in which running sums and products of a stored type are kept.
trait Running: Number {
    type State: Arithmetic;
    fn start(self) -> Self::State;
    fn round(state: Self::State) -> Self::Sum;
}

macro_rules! running {
    ($($number:ty: $state:ty, |$x:ident| $start:expr, |$value:ident| $round:expr;)*) => { $(impl Running for $number {
        type State = $state;
        #[inline(always)]
        fn start(self) -> $state {
            let $x = self;
            $start
        }
        #[inline(always)]
        fn round($value: $state) -> Self::Sum { $round }
    })* };
}
running! {
    u8: i64, |x| i64::from(x), |value| value;
    i32: i64, |x| i64::from(x), |value| value;
    i64: i64, |x| x, |value| value;
    f64: f64, |x| x, |value| value;
    f32: f64, |x| f64::from(x), |value| value as f32;
    half::bf16: f64, |x| f64::from(x.widen()), |value| Self::narrow(value as f32);
    half::f16: f64, |x| f64::from(x.widen()), |value| Self::narrow(value as f32);
}

macro_rules! steps {
    ($($name:ident<$bound:ident>: $state:ty => $output:ty, $empty:expr, |$x:ident| $load:expr, |$a:ident, $b:ident| $combine:expr, |$value:ident| $store:expr;)*) => { $(
        struct $name<T>(std::marker::PhantomData<T>);
        impl<T: $bound> Step for $name<T> {
            type Input = T;
            type State = $state;
            type Output = $output;
            const EMPTY: Self::State = $empty;
            #[inline(always)]
            fn load($x: T) -> Self::State { $load }
            #[inline(always)]
            fn combine($a: Self::State, $b: Self::State) -> Self::State { $combine }
            #[inline(always)]
            fn store($value: Self::State) -> Self::Output { $store }
        }
    )* };
}
steps! {
    Sums<Running>: T::State => T::Sum, T::State::ZERO, |x| x.start(), |a, b| a.add(b), |value| T::round(value);
    Products<Running>: T::State => T::Sum, T::State::ONE, |x| x.start(), |a, b| a.multiply(b), |value| T::round(value);
    Maxima<Number>: T::Wide => T, T::Wide::LOWEST, |x| x.widen(), |a, b| if a > b || a.is_nan() { a } else { b }, |value| T::narrow(value);
    Minima<Number>: T::Wide => T, T::Wide::HIGHEST, |x| x.widen(), |a, b| if a < b || a.is_nan() { a } else { b }, |value| T::narrow(value);
}

/// Accumulates along the middle axis of a contiguous (`rows`, `length`, `inner`) tensor, from the end
/// where `reverse`; with `exclusive` each result leaves its own element out, and the first is neutral.
///
/// # Safety
/// Both pointers are aligned for their dtypes (see [`Cumulative::output`]) and valid for all elements;
/// the two ranges do not overlap.
pub unsafe fn cumulative(
    kind: Cumulative,
    dtype: DType,
    rows: usize,
    length: usize,
    inner: usize,
    source: *const u8,
    destination: *mut u8,
    reverse: bool,
    exclusive: bool,
) {
    let line = length * inner;
    if line == 0 {
        return;
    }
    let (from, to) = (dtype.size(), kind.output(dtype).size());
    let (source, destination) = (Shared::new(source), Shared::new(destination));
    // A unit is one row, or a strip of one where neighbours go together.
    let strips = inner.div_ceil(LANES);
    let nanoseconds = (rows * line) as f64 * 0.5;
    in_pieces(rows * strips, (1 << 15) / (length * inner.min(LANES)), nanoseconds, |range| {
        for unit in range {
            let (row, start) = (unit / strips, unit % strips * LANES);
            let width = LANES.min(inner - start);
            let at = row * line + start;
            // SAFETY: a unit lies within both ranges and has results of its own.
            unsafe {
                let (source, destination) = (source.get().add(at * from), destination.get().add(at * to));
                macro_rules! scan {
                    ($step:ident) => {
                        with_element!(dtype, T => {
                            scan::<$step<T>>(source, destination, length, inner, width, reverse, exclusive)
                        })
                    };
                }
                match kind {
                    Cumulative::Sum => scan!(Sums),
                    Cumulative::Product => scan!(Products),
                    Cumulative::Max => scan!(Maxima),
                    Cumulative::Min => scan!(Minima),
                }
                if exclusive && kind == Cumulative::Min && dtype == DType::Bool {
                    // The neutral element of truth values is not that of the bytes that store them.
                    let first = if reverse { (length - 1) * inner } else { 0 };
                    destination.add(first).write_bytes(1, width);
                }
            }
        }
    });
}

unsafe fn scan<S: Step>(
    source: *const u8,
    destination: *mut u8,
    length: usize,
    inner: usize,
    width: usize,
    reverse: bool,
    exclusive: bool,
) {
    let (first, step) = if reverse { ((length - 1) * inner, -(inner as isize)) } else { (0, inner as isize) };
    // SAFETY: the caller vouches for `width` elements at each of `length` steps on both sides.
    unsafe {
        let source = source.cast::<S::Input>().add(first);
        let destination = destination.cast::<S::Output>().add(first);
        if width == 1 {
            line::<S>(source, destination, length, step, exclusive);
        } else {
            strip::<S>(source, destination, length, step, width, exclusive);
        }
    }
}

/// One running value, four elements a time.
#[inline(never)]
unsafe fn line<S: Step>(
    source: *const S::Input,
    destination: *mut S::Output,
    length: usize,
    step: isize,
    exclusive: bool,
) {
    let mut state = S::EMPTY;
    let mut index = 0;
    // SAFETY: the caller vouches for `length` elements on both sides.
    unsafe {
        let load = |index: usize| S::load(*source.offset(index as isize * step));
        let store = |index: usize, state| *destination.offset(index as isize * step) = S::store(state);
        while index + 4 <= length {
            let a = load(index);
            let ab = S::combine(a, load(index + 1));
            let abc = S::combine(ab, load(index + 2));
            let all = S::combine(ab, S::combine(load(index + 2), load(index + 3)));
            let next = S::combine(state, all);
            let values = [state, S::combine(state, a), S::combine(state, ab), S::combine(state, abc), next];
            for offset in 0..4 {
                store(index + offset, values[offset + usize::from(!exclusive)]);
            }
            state = next;
            index += 4;
        }
        while index < length {
            let next = S::combine(state, load(index));
            store(index, if exclusive { state } else { next });
            state = next;
            index += 1;
        }
    }
}

per_isa! {
    /// `width` running values side by side.
    unsafe fn strip<S: Step>(source: *const S::Input, destination: *mut S::Output, length: usize, step: isize, width: usize, exclusive: bool) {
        let mut states = [S::EMPTY; LANES];
        for index in 0..length {
            let source = source.offset(index as isize * step);
            let destination = destination.offset(index as isize * step);
            for lane in 0..width.min(LANES) {
                let next = S::combine(states[lane], S::load(*source.add(lane)));
                *destination.add(lane) = S::store(if exclusive { states[lane] } else { next });
                states[lane] = next;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cpu::copy::tests::Random;
    use crate::dtype::Scalar;
    use proptest::prelude::*;

    fn check(seed: u64) {
        let mut random = Random(seed);
        let kind = [Cumulative::Sum, Cumulative::Product, Cumulative::Max, Cumulative::Min][random.below(4)];
        let dtype = DType::ALL[random.below(8)];
        let (rows, length) = (random.below(5), random.below(40));
        let inner = [1, 1, 2, 5, 64, 70, 130, 0][random.below(8)];
        let (reverse, exclusive) = (random.below(2) == 0, random.below(2) == 0);
        let count = rows * length * inner;
        let (mut source, mut out, mut values) = (vec![0u64; count], vec![0u64; count], vec![0.0; count]);
        let to = kind.output(dtype);
        for index in 0..count {
            let value = match dtype {
                DType::Bool | DType::U8 => random.below(2) as f64,
                _ if dtype.is_int() => random.below(5) as f64 - 2.0,
                _ if kind == Cumulative::Product => [0.5, 1.0, 2.0, -1.0][random.below(4)],
                _ if random.below(30) == 0 => f64::NAN,
                _ => (random.real() * 8.0).round() / 4.0,
            };
            values[index] = value;
            // SAFETY: eight bytes for each element.
            unsafe {
                let place = source.as_mut_ptr().cast::<u8>().add(index * dtype.size());
                place.copy_from_nonoverlapping(Scalar::Float(value).to_bytes(dtype).as_ptr(), dtype.size());
            }
        }
        // SAFETY: as above.
        unsafe {
            let (from, into) = (source.as_ptr().cast(), out.as_mut_ptr().cast());
            cumulative(kind, dtype, rows, length, inner, from, into, reverse, exclusive);
        }
        for row in 0..rows {
            for lane in 0..inner {
                let mut state: Option<f64> = None;
                for step in 0..length {
                    let at = (row * length + if reverse { length - 1 - step } else { step }) * inner + lane;
                    let value = values[at];
                    let next = match (state, kind) {
                        (None, _) => value,
                        (Some(state), Cumulative::Sum) => state + value,
                        (Some(state), Cumulative::Product) => {
                            if dtype.is_float() {
                                state * value
                            } else {
                                (state as i64).wrapping_mul(value as i64) as f64
                            }
                        }
                        (Some(state), _) if state.is_nan() || value.is_nan() => f64::NAN,
                        (Some(state), Cumulative::Max) => state.max(value),
                        (Some(state), Cumulative::Min) => state.min(value),
                    };
                    // SAFETY: a result.
                    let got = unsafe { Scalar::read(to, out.as_ptr().cast::<u8>().add(at * to.size())).as_f64() };
                    let expected = if exclusive { state } else { Some(next) };
                    state = Some(next);
                    let Some(expected) = expected else {
                        assert!(
                            got == [0.0, 1.0][usize::from(kind == Cumulative::Product)]
                                || got.abs() > 100.0
                                || to == DType::U8
                                || to == DType::Bool
                        );
                        continue;
                    };
                    // A half type has its infinity where the exact value is beyond its range.
                    let expected = if to == DType::F16 { f64::from(half::f16::from_f64(expected)) } else { expected };
                    let same = got == expected || got.is_nan() && expected.is_nan();
                    assert!(
                        same || to.is_half() && (got - expected).abs() <= 0.01 * expected.abs(),
                        "{kind:?} {dtype}: {got}, not {expected}"
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn any_shape(seed in any::<u64>()) {
            check(seed);
        }
    }
}
