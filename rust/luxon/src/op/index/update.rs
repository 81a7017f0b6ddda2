//! Functional updates: a copy of a tensor with the elements that an index expression names replaced.
//!
//! Writing and adding are operations of their own. Products and extrema are defined through them: updates
//! of one place are first combined among themselves, pair by pair, so that each place is then read,
//! combined and written once. That keeps NumPy's meaning of repeated indices (`ufunc.at`) and gives
//! derivatives of any order, in a number of steps that grows with the logarithm of the repetitions.

use smallvec::SmallVec;

use crate::dtype::Scalar;
use crate::error::{Error, Result};
use crate::layout::{Axes, Shape, show};
use crate::op::apply;
use crate::op::elementwise::Operand;
use crate::op::index::nd::{Index, Picks, Plan};
use crate::op::index::{Gather, beside, fitting, no_truth_values, positions, replaced};
use crate::op::linear::Linear;
use crate::tensor::{Tensor, Value};

/// How a functional update combines what is there with the given value.
///
/// ```
/// use luxon::{Index, Tensor, Update};
/// let x = Tensor::new(&[1, 2, 3], &[3])?;
/// let at = [Index::Array(Tensor::new(&[0i64, 0], &[2])?)];
/// assert_eq!(x.index_update(&at, 5, Update::Set)?.to_vec::<i32>()?, [5, 2, 3]);
/// assert_eq!(x.index_update(&at, 5, Update::Add)?.to_vec::<i32>()?, [11, 2, 3]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    /// The value replaces it; of equal indices the last wins.
    Set,
    /// The sum; equal indices add up.
    Add,
    /// The product; equal indices multiply.
    Multiply,
    /// The smaller.
    Min,
    /// The larger.
    Max,
}

impl Update {
    fn combine(self, old: &Tensor, new: &Tensor) -> Result<Tensor> {
        match self {
            Update::Set => Ok(new.clone()),
            Update::Add => old.add(new),
            Update::Multiply => old.mul(new),
            Update::Min => old.minimum(new),
            Update::Max => old.maximum(new),
        }
    }
}

/// The value as a tensor of the dtype of `x` that broadcasts to `shape`.
fn operand(x: &Tensor, value: Operand<'_>, shape: &Shape) -> Result<Tensor> {
    let value = match value {
        Operand::Tensor(tensor) => fitting("index_update", tensor, x.dtype())?,
        Operand::Scalar(scalar) => {
            let dtype = x.dtype();
            if matches!(scalar, Scalar::Float(_)) && !dtype.is_float() || dtype.promote_scalar(scalar) != dtype {
                return Err(Error::dtype(
                    "index_update",
                    format_args!("the number {} does not go into {dtype}", scalar.as_f64()),
                ));
            }
            scalar.check_fits(dtype)?;
            beside(Tensor::scalar(scalar, dtype), x)?
        }
    };
    let lead = value.rank().saturating_sub(shape.len());
    let value = match value.shape()[..lead].iter().all(|&size| size == 1) {
        true => value.reshape_to(&Shape::from_slice(&value.shape()[lead..])?)?,
        false => value,
    };
    value.broadcast_to(shape).map_err(|_| {
        let (value, shape) = (show(value.shape()), show(shape));
        Error::shape(
            "index_update",
            format_args!("a value of shape {value} does not broadcast to the indexed shape {shape}"),
        )
    })
}

impl Tensor {
    /// A copy in which the elements that `expression` names are combined with `value`, which broadcasts to
    /// the shape of `index_nd(expression)`. Differentiable in both.
    ///
    /// ```
    /// use luxon::{DType, Index, Tensor, Update};
    /// let x = Tensor::zeros(&[2, 2], DType::I32)?;
    /// let y = x.index_update(&[Index::Ellipsis, Index::Int(0)], 7, Update::Set)?;
    /// assert_eq!((x.to_vec::<i32>()?, y.to_vec::<i32>()?), (vec![0, 0, 0, 0], vec![7, 0, 7, 0]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Tensor::index_nd`]; [`Error::Shape`] for a value that does not broadcast,
    /// [`Error::Type`] for one of a higher kind, and for truth values in sums and products.
    pub fn index_update<'a>(
        &self,
        expression: &[Index],
        value: impl Into<Operand<'a>>,
        update: Update,
    ) -> Result<Tensor> {
        if matches!(update, Update::Add | Update::Multiply) {
            no_truth_values("index_update", self.dtype())?;
        }
        let plan = Plan::new(self, expression)?;
        let view = plan.view(self)?;
        let Some(picks) = &plan.picks else {
            let value = operand(self, value.into(), view.shape())?;
            if update == Update::Add && (self.is_tracked() || value.is_tracked()) {
                // A sum with zeros elsewhere takes more memory once, but its gradient is a plain slice.
                let op = Linear::Embed { shape: *self.shape(), window: Box::new(plan.window), fill: Scalar::Int(0) };
                return self.add(&apply(op, &[&value.reshape_to(&plan.window.size)?])?);
            }
            return plan.restore(self, &update.combine(&view, &value)?);
        };
        let shape = replaced(view.shape(), picks.axis, picks.labels.len(), picks.indices[0].shape())?;
        let value = operand(self, value.into(), &shape)?;
        let (axis, labels) = (picks.axis, picks.labels);
        let updated = match update {
            Update::Set => scatter(Gather::Set { axis, labels }, &view, &value, &picks.indices)?,
            Update::Add => scatter(Gather::Add { axis, labels }, &view, &value, &picks.indices)?,
            Update::Multiply | Update::Min | Update::Max => fold(&view, &value, picks, update)?,
        };
        plan.restore(self, &updated)
    }
}

fn scatter(op: Gather, x: &Tensor, updates: &Tensor, indices: &[Tensor]) -> Result<Tensor> {
    let inputs: SmallVec<[&Tensor; 4]> = [x, updates].into_iter().chain(indices).collect();
    apply(op, &inputs)
}

/// Combines updates of equal places, then reads, combines and writes each place once.
fn fold(x: &Tensor, value: &Tensor, picks: &Picks, update: Update) -> Result<Tensor> {
    let (axis, count) = (picks.axis, picks.labels.len());
    if picks.indices.iter().any(|index| index.value().is_abstract()) {
        // Only shapes are asked for: as if no place were named twice.
        let old = Gather::take_of(axis, &picks.labels, x, &picks.indices.iter().collect::<Vec<_>>())?;
        return scatter(Gather::Set { axis, labels: picks.labels }, x, &update.combine(&old, value)?, &picks.indices);
    }
    let sizes = &x.shape()[axis..axis + count];
    let host = picks.indices.iter().map(|index| Ok(index.to_host()?.value().clone())).collect::<Result<Vec<_>>>()?;
    let host: Vec<&Value> = host.iter().map(|value| &**value).collect();
    let places = positions("index_update", &host, sizes, &picks.labels)?;
    // Indexed axes become one, and so do the axes of the index tensors.
    let merged = x.reshape_to(&replaced(x.shape(), axis, count, &[sizes.iter().product()])?)?;
    let flat = replaced(value.shape(), axis, picks.indices[0].rank(), &[places.len()])?;
    let value = value.reshape_to(&flat)?;
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&at| places[at]);
    let groups: Vec<&[usize]> = order.chunk_by(|&a, &b| places[a] == places[b]).collect();
    let unique: Vec<i64> = groups.iter().map(|group| places[group[0]]).collect();
    let list = |numbers: &[i64]| beside(Tensor::new(numbers, &[numbers.len()])?, x);
    let mut lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    // Rows in the order of their places; each round halves every group.
    let mut value = value.take(&list(&order.iter().map(|&at| at as i64).collect::<Vec<_>>())?, axis as isize)?;
    while lengths.iter().any(|&length| length > 1) {
        value = halve(&value, &mut lengths, axis, update, &list)?;
    }
    let unique = list(&unique)?;
    let labels = Axes::from_slice(&[axis])?;
    let new = update.combine(&merged.take(&unique, axis as isize)?, &value)?;
    let updated = apply(Gather::Set { axis, labels }, &[&merged, &new, &unique])?;
    updated.reshape_to(x.shape())
}

/// One round of combining: rows 2i and 2i + 1 of each group become one, an odd last row stays.
fn halve(
    rows: &Tensor,
    lengths: &mut [usize],
    axis: usize,
    update: Update,
    list: &dyn Fn(&[i64]) -> Result<Tensor>,
) -> Result<Tensor> {
    let (mut left, mut right, mut single) = (Vec::new(), Vec::new(), Vec::new());
    // Where each row of the result stands among the pairs followed by the single rows.
    let mut sources = Vec::new();
    let mut start = 0i64;
    for length in lengths.iter_mut() {
        for pair in 0..*length as i64 / 2 {
            sources.push((true, left.len()));
            left.push(start + 2 * pair);
            right.push(start + 2 * pair + 1);
        }
        start += *length as i64;
        if *length % 2 == 1 {
            sources.push((false, single.len()));
            single.push(start - 1);
        }
        *length = length.div_ceil(2);
    }
    let pairs = left.len();
    let axis = axis as isize;
    let combined = update.combine(&rows.take(&list(&left)?, axis)?, &rows.take(&list(&right)?, axis)?)?;
    if single.is_empty() {
        return Ok(combined);
    }
    let both = crate::op::linear::concat(&[&combined, &rows.take(&list(&single)?, axis)?], axis)?;
    let order: Vec<i64> = sources.iter().map(|&(paired, at)| if paired { at } else { pairs + at } as i64).collect();
    both.take(&list(&order)?, axis)
}
