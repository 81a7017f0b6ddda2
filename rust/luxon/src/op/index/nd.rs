//! NumPy's index expressions: integers, slices, new axes, ellipses, index tensors and masks.
//!
//! An expression becomes a `Plan`: a window and a permutation and reshape of it (views, wherever strides
//! can say it), then at most one gather over neighbouring axes. The same plan read backwards gives the
//! functional updates. The axes of index tensors stand where the first of them stood if they are neighbours
//! in the expression (an integer among index tensors counts as one), and in front otherwise.

use smallvec::SmallVec;

use crate::cpu;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Axes, Shape, broadcast_shapes, show};
use crate::op::apply;
use crate::op::index::{Gather, beside, out_of_bounds};
use crate::op::linear::{Linear, Window};
use crate::tensor::Tensor;

/// One part of an index expression.
///
/// ```
/// use luxon::{Index, arange};
/// let x = arange(0, 12, 1, None)?.reshape(&[3, 4])?;
/// let every_other = Index::Slice { start: None, stop: None, step: Some(2) };
/// assert_eq!(x.index_nd(&[Index::Int(-1), every_other])?.to_vec::<i64>()?, [8, 10]);
/// assert_eq!(x.index_nd(&[Index::Mask(x.greater(9)?)])?.to_vec::<i64>()?, [10, 11]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Index {
    /// One entry of an axis, which disappears; negative from the end.
    Int(i64),
    /// `start:stop:step`, with Python's rules for bounds and defaults.
    Slice {
        /// First index, the near end if none.
        start: Option<i64>,
        /// The index before which to stop, past the far end if none.
        stop: Option<i64>,
        /// The distance between indices, 1 if none.
        step: Option<i64>,
    },
    /// A new axis of size 1.
    NewAxis,
    /// Every axis that the other parts leave.
    Ellipsis,
    /// Entries of an axis by an integer tensor of any shape (a bool one counts as a mask).
    Array(Tensor),
    /// The elements of as many axes as the bool tensor has where it holds.
    Mask(Tensor),
}

impl Index {
    /// The whole axis.
    pub const ALL: Index = Index::Slice { start: None, stop: None, step: None };
}

/// Index tensors, broadcast to one shape, for neighbouring axes from `axis` on.
pub(super) struct Picks {
    pub(super) axis: usize,
    pub(super) labels: Axes,
    pub(super) indices: SmallVec<[Tensor; 2]>,
}

/// What an index expression does to a tensor of some shape.
pub(super) struct Plan {
    pub(super) window: Window,
    /// The order of the window's axes, none where they stay.
    order: Option<Axes>,
    /// The shape after that, before the gather.
    shape: Shape,
    pub(super) picks: Option<Picks>,
}

/// Where an axis of the planned view comes from.
#[derive(Clone, Copy)]
enum Part {
    /// An axis of the tensor.
    Kept(usize),
    /// A new axis.
    New,
    /// The zero or more axes of an ellipsis follow: it parts index tensors even where it is empty.
    Gap,
    /// An integer or index tensor.
    Picked,
}

impl Plan {
    pub(super) fn new(x: &Tensor, expression: &[Index]) -> Result<Plan> {
        let rank = x.rank();
        let (mut used, mut ellipses, mut picking) = (0, 0, false);
        for index in expression {
            used += match index {
                Index::Int(_) | Index::Slice { .. } => 1,
                Index::NewAxis => 0,
                Index::Ellipsis => {
                    ellipses += 1;
                    0
                }
                Index::Array(tensor) | Index::Mask(tensor) => {
                    picking = true;
                    if is_mask(index) { tensor.rank() } else { 1 }
                }
            };
        }
        if used > rank {
            let shape = show(x.shape());
            return Err(Error::index(
                "index",
                format_args!("{used} axes are indexed, but shape {shape} has only {rank}"),
            ));
        }
        if ellipses > 1 {
            return Err(Error::index("index", "an expression can have one ellipsis only"));
        }
        let mut builder = Builder {
            x,
            picking,
            axis: 0,
            window: x.full_window()?,
            parts: SmallVec::new(),
            dropped: SmallVec::new(),
            picks: SmallVec::new(),
        };
        for index in expression {
            builder.step(index, rank - used)?;
        }
        while builder.axis < rank {
            builder.keep();
        }
        builder.finish()
    }

    /// The indexed view, before the gather.
    pub(super) fn view(&self, x: &Tensor) -> Result<Tensor> {
        let mut view = x.window(self.window)?;
        if let Some(order) = &self.order {
            view = apply(Linear::Permute(*order), &[&view])?;
        }
        view.reshape_to(&self.shape)
    }

    /// `x` with `view` where [`Plan::view`] found its elements.
    pub(super) fn restore(&self, x: &Tensor, view: &Tensor) -> Result<Tensor> {
        let mut sizes = self.window.size;
        let mut inverse = None;
        if let Some(order) = &self.order {
            let mut back = *order;
            for (to, &from) in order.iter().enumerate() {
                sizes[to] = self.window.size[from];
                back[from] = to;
            }
            inverse = Some(back);
        }
        let mut view = view.reshape_to(&sizes)?;
        if let Some(back) = inverse {
            view = apply(Linear::Permute(back), &[&view])?;
        }
        x.overwrite(self.window, &view)
    }
}

fn is_mask(index: &Index) -> bool {
    match index {
        Index::Mask(_) => true,
        Index::Array(tensor) => tensor.dtype() == DType::Bool,
        _ => false,
    }
}

/// A plan in the making.
struct Builder<'a> {
    x: &'a Tensor,
    /// Whether the expression has index tensors or masks.
    picking: bool,
    /// The next axis of the tensor.
    axis: usize,
    window: Window,
    parts: SmallVec<[Part; 8]>,
    /// Axes that integers take away.
    dropped: SmallVec<[usize; 8]>,
    /// Index tensors, with the first and the number of the axes that they index.
    picks: SmallVec<[(Tensor, usize, usize); 2]>,
}

impl Builder<'_> {
    fn keep(&mut self) {
        self.parts.push(Part::Kept(self.axis));
        self.axis += 1;
    }

    fn step(&mut self, index: &Index, gap: usize) -> Result<()> {
        match index {
            Index::Int(index) => {
                let size = self.x.shape()[self.axis];
                let resolved = if *index < 0 { index.saturating_add(size as i64) } else { *index };
                if resolved < 0 || resolved >= size as i64 {
                    return Err(out_of_bounds("index", *index, self.axis, size));
                }
                self.window.start[self.axis] = resolved as usize;
                self.window.size[self.axis] = 1;
                self.dropped.push(self.axis);
                if self.picking {
                    self.parts.push(Part::Picked);
                }
                self.axis += 1;
            }
            Index::Slice { start, stop, step } => {
                let (first, distance, size) = resolve_slice(*start, *stop, *step, self.x.shape()[self.axis])?;
                self.window.start[self.axis] = first;
                self.window.step[self.axis] = distance;
                self.window.size[self.axis] = size;
                self.keep();
            }
            Index::NewAxis => self.parts.push(Part::New),
            Index::Ellipsis => {
                self.parts.push(Part::Gap);
                (0..gap).for_each(|_| self.keep());
            }
            Index::Array(tensor) if !is_mask(index) => {
                if !tensor.dtype().is_int() {
                    return Err(Error::dtype(
                        "index",
                        format_args!("index tensors must be integers or bool, got {}", tensor.dtype()),
                    ));
                }
                self.pick(tensor.detach(), 1);
            }
            Index::Array(mask) | Index::Mask(mask) => self.mask(mask)?,
        }
        Ok(())
    }

    fn pick(&mut self, indices: Tensor, axes: usize) {
        self.picks.push((indices, self.axis, axes));
        self.parts.push(Part::Picked);
        self.axis += axes;
    }

    /// A mask picks positions of its axes seen as one.
    fn mask(&mut self, mask: &Tensor) -> Result<()> {
        if mask.dtype() != DType::Bool {
            return Err(Error::dtype("index", format_args!("a mask must be bool, got {}", mask.dtype())));
        }
        let covered = &self.x.shape()[self.axis..self.axis + mask.rank()];
        if let Some(at) = (0..mask.rank()).find(|&at| covered[at] != mask.shape()[at]) {
            let (mask, axis) = (show(mask.shape()), self.axis + at);
            return Err(Error::index(
                "index",
                format_args!("a mask of shape {mask} does not fit shape {} at axis {axis}", show(self.x.shape())),
            ));
        }
        let positions = flat_nonzero(mask)?;
        self.pick(positions, mask.rank());
        Ok(())
    }

    fn finish(self) -> Result<Plan> {
        let is_picked = |part: &Part| matches!(part, Part::Picked);
        let first = self.parts.iter().position(is_picked);
        let last = self.parts.iter().rposition(is_picked);
        let together = match (first, last) {
            (Some(first), Some(last)) => self.parts[first..=last].iter().all(is_picked),
            _ => true,
        };
        let (mut order, mut shape) = (Axes::new(), Shape::new());
        let mut place = None;
        let mut put_picks = |order: &mut Axes, shape: &mut Shape| -> Result<()> {
            if place.is_none() {
                place = Some(shape.len());
                for &(_, axis, count) in &self.picks {
                    (axis..axis + count).try_for_each(|axis| order.push(axis))?;
                    shape.push(self.x.shape()[axis..axis + count].iter().product())?;
                }
            }
            Ok(())
        };
        if !together {
            put_picks(&mut order, &mut shape)?;
        }
        for part in &self.parts {
            match part {
                Part::Kept(axis) => {
                    order.push(*axis)?;
                    shape.push(self.window.size[*axis])?;
                }
                Part::New => shape.push(1)?,
                Part::Gap => {}
                Part::Picked => put_picks(&mut order, &mut shape)?,
            }
        }
        // Axes of size 1 that disappear cost nothing where they stand; without index tensors all stay in order.
        let order = if self.picking {
            self.dropped.iter().try_for_each(|&axis| order.push(axis))?;
            order.iter().enumerate().any(|(to, &from)| to != from).then_some(order)
        } else {
            None
        };
        let picks = match place {
            Some(axis) if self.picking => {
                let labels = Axes::collect(self.picks.iter().map(|&(_, axis, _)| axis))?;
                let mut common = Shape::new();
                for (indices, _, _) in &self.picks {
                    common = broadcast_shapes("index", &common, indices.shape())
                        .map_err(|error| Error::Index(error.to_string()))?;
                }
                let indices = self.picks.iter().map(|(indices, _, _)| indices.broadcast_to(&common));
                Some(Picks { axis, labels, indices: indices.collect::<Result<_>>()? })
            }
            _ => None,
        };
        Ok(Plan { window: self.window, order, shape, picks })
    }
}

/// First index, step and count of a Python slice of an axis.
fn resolve_slice(
    start: Option<i64>,
    stop: Option<i64>,
    step: Option<i64>,
    size: usize,
) -> Result<(usize, isize, usize)> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::value("index", "a slice cannot have step 0"));
    }
    let size = size as i64;
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let bound = |bound: i64| if bound < 0 { bound.saturating_add(size).max(low) } else { bound.min(high) };
    let start = start.map_or(if step > 0 { low } else { high }, bound);
    let stop = stop.map_or(if step > 0 { high } else { low }, bound);
    let reach = if step > 0 { stop - start } else { start - stop };
    let stride = i64::try_from(step.unsigned_abs()).unwrap_or(i64::MAX);
    let count = if reach > 0 { (reach - 1) / stride + 1 } else { 0 };
    // A step that no second element follows could overflow when strides are multiplied.
    let step = if count > 1 { step as isize } else { 1 };
    Ok((start.max(0) as usize, step, count as usize))
}

/// The row-major positions of the elements that are true, as an i64 tensor; the data decides its size.
pub(crate) fn flat_nonzero(mask: &Tensor) -> Result<Tensor> {
    let host = mask.detach().to_host()?.value().to_contiguous()?;
    // SAFETY: contiguous bytes of truth values.
    let positions = unsafe { cpu::index::mask_to_indices(host.pointer(), host.count()) }?;
    beside(Tensor::new(&positions, &[positions.len()])?, mask)
}

impl Tensor {
    /// The elements that a NumPy index expression names: a view where there are no index tensors or masks.
    ///
    /// ```
    /// use luxon::{Index, Tensor};
    /// let x = Tensor::new(&[1i32, 2, 3, 4, 5, 6], &[2, 3])?;
    /// let rows = Tensor::new(&[1i64, 0], &[2])?;
    /// assert_eq!(x.index_nd(&[Index::Array(rows), Index::Int(-1)])?.to_vec::<i32>()?, [6, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] for too many parts, an index out of range, index tensors that do not broadcast or a
    /// mask of another shape; [`Error::Type`] for index tensors that are neither integers nor bool.
    pub fn index_nd(&self, expression: &[Index]) -> Result<Tensor> {
        let plan = Plan::new(self, expression)?;
        let view = plan.view(self)?;
        match &plan.picks {
            None => Ok(view),
            Some(picks) => Gather::take_of(
                picks.axis,
                &picks.labels,
                &view,
                &picks.indices.iter().collect::<SmallVec<[&Tensor; 2]>>(),
            ),
        }
    }
}
