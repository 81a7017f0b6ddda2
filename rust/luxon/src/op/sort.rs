//! Sorting, the best k, and positions in sorted lists.
//!
//! Sorting is stable in both directions and puts NaN last when ascending. It selects: the gradient of each
//! result goes to the element that it came from. Operations work along the last axis; the functions bring
//! the asked one there by a view. Positions are only computed where they are asked for or where a
//! differentiation will need them.

use smallvec::smallvec;

use crate::cpu::sort::{sort_rows, top_k_rows};
use crate::dtype::{DType, with_element};
use crate::error::{Error, Result};
use crate::layout::{Shape, resolve_axis, show};
use crate::op::index::Gather;
use crate::op::{Family, Gradients, Op, Saved, Saves, Spec, Specs, apply, apply_all};
use crate::runtime::threads::parallel;
use crate::tensor::{Tensor, Value};

mod cuda;

pub(crate) use cuda::argsort;

/// An operation by order, along the last axis.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// The elements in order.
    Sort {
        /// Largest first.
        descending: bool,
        /// Whether a second result tells where they came from.
        positions: bool,
    },
    /// Where the elements in order come from.
    ArgSort {
        /// Largest first.
        descending: bool,
    },
    /// The best `k` elements, the best first, and where they come from.
    TopK {
        /// How many.
        k: usize,
        /// The largest, else the smallest.
        largest: bool,
    },
    /// (sorted, x): before which element of a sorted list each element of x goes.
    SearchSorted {
        /// After equal elements, else before them.
        right: bool,
    },
}

/// The number of rows and their length.
fn rows_of(shape: &Shape) -> (usize, usize) {
    match shape.split_last() {
        Some((&length, outer)) => (outer.iter().product(), length),
        None => (1, 1),
    }
}

impl Family for Order {
    fn name(&self) -> &'static str {
        match self {
            Order::Sort { .. } => "sort",
            Order::ArgSort { .. } => "argsort",
            Order::TopK { .. } => "top_k",
            Order::SearchSorted { .. } => "searchsorted",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, mut shape) = (inputs[0].dtype(), *inputs[0].shape());
        Ok(match self {
            Order::Sort { positions: false, .. } => smallvec![Spec { dtype, shape }],
            Order::Sort { .. } => smallvec![Spec { dtype, shape }, Spec { dtype: DType::I64, shape }],
            Order::ArgSort { .. } => smallvec![Spec { dtype: DType::I64, shape }],
            Order::TopK { k, .. } => {
                if let Some(last) = shape.last_mut() {
                    *last = *k;
                }
                smallvec![Spec { dtype, shape }, Spec { dtype: DType::I64, shape }]
            }
            Order::SearchSorted { .. } => smallvec![Spec { dtype: DType::I64, shape: *inputs[1].shape() }],
        })
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let x = inputs[0].to_contiguous()?;
        let (dtype, (rows, length)) = (x.dtype(), rows_of(x.shape()));
        let none = std::ptr::null_mut();
        let (first, rest) = outputs.split_at_mut(1);
        let values = first[0].pointer_mut();
        let positions = rest.first_mut().map_or(none, |value| value.pointer_mut().cast::<i64>());
        // SAFETY: contiguous rows; the fresh outputs have a place for each result.
        unsafe {
            match self {
                Order::Sort { descending, .. } => {
                    sort_rows(dtype, rows, length, x.pointer(), values, positions, *descending)?;
                }
                Order::ArgSort { descending } => {
                    sort_rows(dtype, rows, length, x.pointer(), std::ptr::null_mut(), values.cast(), *descending)?;
                }
                Order::TopK { k, largest } => {
                    top_k_rows(dtype, rows, length, *k, *largest, x.pointer(), values, positions)?;
                }
                Order::SearchSorted { right } => {
                    let asked = inputs[1].to_contiguous()?;
                    let out = std::slice::from_raw_parts_mut(values.cast::<i64>(), asked.count());
                    with_element!(dtype, T => search(elements::<T>(&x), elements::<T>(&asked), out, *right));
                }
            }
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<crate::cuda::Plan>> {
        Some(self.plan(inputs, outputs))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let Some((&length, outer)) = saved.shape(0).split_last() else { return Ok(smallvec![Some(dy.clone())]) };
        let places = Gather::PutAlong { axis: outer.len(), length };
        Ok(smallvec![Some(apply(places, &[dy, saved.extra(0)?])?)])
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        match (&tangents[0], outputs.get(1)) {
            (Some(tangent), Some(positions)) => {
                apply(Gather::TakeAlong { axis: inputs[0].rank() - 1 }, &[tangent, positions]).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The elements of a contiguous host value of the dtype of `T` (bool as u8).
unsafe fn elements<T>(value: &Value) -> &[T] {
    if value.count() == 0 {
        return &[];
    }
    // SAFETY: contiguous elements, alive while the value is borrowed.
    unsafe { std::slice::from_raw_parts(value.pointer().cast(), value.count()) }
}

/// `a < b` with NaN as the largest.
#[inline(always)]
fn before<T: PartialOrd + Copy>(a: T, b: T) -> bool {
    // Only NaN differs from itself.
    #[allow(clippy::eq_op)]
    let (a_is_number, b_is_nan) = (a == a, b != b);
    a < b || (a_is_number && b_is_nan)
}

fn search<T: PartialOrd + Copy + Sync>(sorted: &[T], asked: &[T], out: &mut [i64], right: bool) {
    const PIECE: usize = 1 << 12;
    let depth = f64::from(usize::BITS - sorted.len().leading_zeros());
    let find = |x: T| match right {
        true => sorted.partition_point(|&element| !before(x, element)),
        false => sorted.partition_point(|&element| before(element, x)),
    };
    let pieces: Vec<std::sync::Mutex<&mut [i64]>> = out.chunks_mut(PIECE).map(std::sync::Mutex::new).collect();
    parallel(pieces.len(), asked.len() as f64 * depth * 3.0, &|piece| {
        // Each piece is locked once, by the task that owns it.
        if let Ok(mut out) = pieces[piece].lock() {
            for (place, &x) in out.iter_mut().zip(&asked[piece * PIECE..]) {
                *place = find(x) as i64;
            }
        }
    });
}

impl Tensor {
    /// The elements along `axis` in order, stably; NaN last when ascending. The gradient goes to where
    /// they came from.
    ///
    /// ```
    /// let x = luxon::Tensor::new(&[3i32, 1, 2], &[3])?;
    /// assert_eq!(x.sort(0, false)?.to_vec::<i32>()?, [1, 2, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] for an axis that is not there.
    pub fn sort(&self, axis: isize, descending: bool) -> Result<Tensor> {
        let axis = resolve_axis("sort", axis, self.rank())? as isize;
        let op = Order::Sort { descending, positions: self.is_tracked() };
        apply(op, &[&self.swap_axes(axis, -1)?])?.swap_axes(axis, -1)
    }

    /// The sorted elements and their positions along the axis; see [`Tensor::sort`].
    ///
    /// ```
    /// use luxon::Tensor;
    /// let (values, positions) = Tensor::new(&[3, 1, 2], &[3])?.sort_with_positions(0, false)?;
    /// assert_eq!((values.to_vec::<i32>()?, positions.to_vec::<i64>()?), (vec![1, 2, 3], vec![1, 2, 0]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] for an axis that is not there.
    pub fn sort_with_positions(&self, axis: isize, descending: bool) -> Result<(Tensor, Tensor)> {
        let axis = resolve_axis("sort", axis, self.rank())? as isize;
        pair(Order::Sort { descending, positions: true }, &self.swap_axes(axis, -1)?, axis)
    }

    /// The positions along `axis` that sort it, stably; NaN last when ascending.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[3, 1, 2], &[3])?.argsort(0, true)?.to_vec::<i64>()?, [0, 2, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] for an axis that is not there.
    pub fn argsort(&self, axis: isize, descending: bool) -> Result<Tensor> {
        let axis = resolve_axis("argsort", axis, self.rank())? as isize;
        apply(Order::ArgSort { descending }, &[&self.swap_axes(axis, -1)?])?.swap_axes(axis, -1)
    }

    /// The `k` largest (or smallest) elements along `axis`, the best first, and their positions. NaN counts
    /// as the largest.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let (best, positions) = Tensor::new(&[3.0, 1.0, 2.0], &[3])?.top_k(2, 0, true)?;
    /// assert_eq!((best.to_vec::<f64>()?, positions.to_vec::<i64>()?), (vec![3.0, 2.0], vec![0, 2]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] for an axis that is not there, [`Error::Value`] for more elements than there are.
    pub fn top_k(&self, k: usize, axis: isize, largest: bool) -> Result<(Tensor, Tensor)> {
        let axis = resolve_axis("top_k", axis, self.rank())?;
        if k > self.shape()[axis] {
            let shape = show(self.shape());
            return Err(Error::value(
                "top_k",
                format_args!("{k} elements asked for along axis {axis} of shape {shape}"),
            ));
        }
        pair(Order::TopK { k, largest }, &self.swap_axes(axis as isize, -1)?, axis as isize)
    }

    /// Before (or, to the `right`, after equal ones) which element of this sorted list each element of `x`
    /// goes, so that it stays sorted. `sorter` puts a list that is not sorted in order.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let (sorted, x) = (Tensor::new(&[1.0, 3.0, 5.0], &[3])?, Tensor::new(&[3.0, 4.0], &[2])?);
    /// assert_eq!(sorted.searchsorted(&x, false, None)?.to_vec::<i64>()?, [1, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for a list that is not 1-d or a sorter of another length.
    pub fn searchsorted(&self, x: &Tensor, right: bool, sorter: Option<&Tensor>) -> Result<Tensor> {
        if self.rank() != 1 {
            return Err(Error::shape(
                "searchsorted",
                format_args!("the sorted list must be 1-d, got shape {}", show(self.shape())),
            ));
        }
        let mut sorted = self.detach();
        if let Some(sorter) = sorter {
            if sorter.shape() != self.shape() {
                let (list, sorter) = (show(self.shape()), show(sorter.shape()));
                return Err(Error::shape(
                    "searchsorted",
                    format_args!("a list of shape {list}, a sorter of shape {sorter}"),
                ));
            }
            sorted = sorted.take(sorter, 0)?;
        }
        let dtype = self.dtype().promote(x.dtype());
        apply(Order::SearchSorted { right }, &[&sorted.cast(dtype)?, &x.detach().cast(dtype)?])
    }
}

/// Values and positions of an operation along the last axis, put back to `axis`.
fn pair(op: Order, x: &Tensor, axis: isize) -> Result<(Tensor, Tensor)> {
    let outputs = apply_all(Op::from(op), &[x])?;
    Ok((outputs[0].swap_axes(axis, -1)?, outputs[1].swap_axes(axis, -1)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cpu::copy::tests::Random;
    use crate::op::testing::{check_gradients, sample};
    use proptest::prelude::*;
    use std::slice::from_ref;

    proptest! {
        #[test]
        fn orders_equal_the_naive_ones(seed in any::<u64>()) {
            let random = &mut Random(seed);
            let (a, b, c) = (random.below(4), random.below(7), random.below(3));
            let numbers: Vec<i32> = (0..a * b * c).map(|_| random.below(5) as i32).collect();
            let x = Tensor::new(&numbers, &[a, b, c]).unwrap().cast(DType::ALL[random.below(8)]).unwrap();
            let numbers = x.cast(DType::I32).unwrap().to_vec::<i32>().unwrap();
            let (descending, k) = (random.below(2) == 0, random.below(b + 1));
            let (values, places) = x.sort_with_positions(1, descending).unwrap();
            let (best, best_places) = x.top_k(k, -2, descending).unwrap();
            prop_assert_eq!(x.argsort(1, descending).unwrap().to_vec::<i64>().unwrap(), places.to_vec::<i64>().unwrap());
            let read = |x: &Tensor| x.cast(DType::I32).unwrap().to_vec::<i32>().unwrap();
            prop_assert_eq!(read(&x.sort(1, descending).unwrap()), read(&values));
            let (values, best) = (read(&values), read(&best));
            let (places, best_places) = (places.to_vec::<i64>().unwrap(), best_places.to_vec::<i64>().unwrap());
            for i in 0..a {
                for j in 0..c {
                    let mut line: Vec<(i32, i64)> = (0..b).map(|at| (numbers[(i * b + at) * c + j], at as i64)).collect();
                    line.sort_by_key(|&(value, _)| if descending { -value } else { value });
                    for at in 0..b {
                        let place = (i * b + at) * c + j;
                        prop_assert_eq!((values[place], places[place]), line[at]);
                    }
                    for at in 0..k {
                        let place = (i * k + at) * c + j;
                        prop_assert_eq!((best[place], best_places[place]), line[at]);
                    }
                }
            }
        }

        #[test]
        fn searches_equal_the_naive_ones(mut list in prop::collection::vec(-3i64..4, 0..9), x in -4i64..5, right: bool) {
            let shuffled = Tensor::new(&list, &[list.len()]).unwrap().cast(DType::F16).unwrap();
            list.sort_unstable();
            let expected = list.iter().filter(|&&element| if right { element <= x } else { element < x }).count();
            let order = shuffled.argsort(0, false).unwrap();
            let found = shuffled.searchsorted(&Tensor::scalar(x, DType::I32), right, Some(&order)).unwrap();
            prop_assert_eq!(found.to_vec::<i64>().unwrap(), [expected as i64]);
        }
    }

    #[test]
    fn nan_goes_last() {
        let x = Tensor::new(&[f32::NAN, 1.0, f32::INFINITY, -1.0], &[4]).unwrap();
        let sorted = x.sort(-1, false).unwrap();
        assert_eq!(sorted.to_vec::<f32>().unwrap()[..3], [-1.0, 1.0, f32::INFINITY]);
        assert_eq!(x.argsort(0, true).unwrap().to_vec::<i64>().unwrap(), [0, 2, 1, 3]);
        let nan = Tensor::scalar(f64::NAN, DType::F32);
        assert_eq!(sorted.searchsorted(&nan, false, None).unwrap().to_vec::<i64>().unwrap(), [3]);
        assert_eq!(sorted.searchsorted(&nan, true, None).unwrap().to_vec::<i64>().unwrap(), [4]);
        assert!(x.top_k(5, 0, true).is_err());
        assert!(Tensor::scalar(1.0, DType::F32).sort(0, false).is_err());
    }

    #[test]
    fn derivatives_go_to_the_origin() {
        let x = sample(&[3, 4, 2], -1.0, 1.0, 8);
        check_gradients(|x| x[0].sort(1, true)?.square(), from_ref(&x));
        check_gradients(|x| x[0].sort(0, false)?.sin(), from_ref(&x));
        check_gradients(|x| x[0].top_k(2, 1, false)?.0.square(), &[x]);
    }
}
