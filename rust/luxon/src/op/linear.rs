//! Operations that move elements: each is linear in its argument, and its transpose is another of them.
//!
//! Reshapes, permutations, broadcasts and slices are views wherever strides can express them. From the
//! transpose the family derives both differentiation modes; nothing is saved.

use smallvec::smallvec;

use crate::cpu::{self, cast, copy_into};
use crate::cuda::Plan;
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};
use crate::layout::{self, Axes, Layout, Shape, Strides, broadcast_shapes, resolve_axes, resolve_axis, show};
use crate::op::{Family, Gradients, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

/// The elements `start + i * step` for `i` below `size`, on every axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First index on each axis.
    pub start: Axes,
    /// Distance between indices; may be negative, never 0.
    pub step: Strides,
    /// The number of elements.
    pub size: Shape,
}

mod cuda;

/// A linear operation that moves elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Linear {
    /// Conversion to another dtype.
    Cast(DType),
    /// The same elements in row-major order under another shape.
    Reshape(Shape),
    /// Repetition along new and size-1 axes.
    Broadcast(Shape),
    /// Axis `i` of the result is axis `order[i]` of the input.
    Permute(Axes),
    /// The elements of a window.
    Slice(Box<Window>),
    /// The transpose of a slice: a tensor of `shape` with the input in the window and `fill` elsewhere.
    Embed {
        /// The result's sizes.
        shape: Shape,
        /// Where the input goes.
        window: Box<Window>,
        /// What stands elsewhere (0 for a tangent).
        fill: Scalar,
    },
    /// Several tensors one after the other along an axis, with their sizes along it.
    Concat {
        /// The axis.
        axis: usize,
        /// The size of each along the axis.
        sizes: Box<[usize]>,
    },
}

pub(super) fn slice_layout(layout: &Layout, window: &Window) -> Layout {
    let mut view = *layout;
    for axis in 0..layout.rank() {
        view = view.slice(axis, window.start[axis], window.step[axis], window.size[axis]);
    }
    view
}

impl Family for Linear {
    fn name(&self) -> &'static str {
        match self {
            Linear::Cast(_) => "astype",
            Linear::Reshape(_) => "reshape",
            Linear::Broadcast(_) => "broadcast_to",
            Linear::Permute(_) => "permute_dims",
            Linear::Slice(_) => "slice",
            Linear::Embed { .. } => "pad",
            Linear::Concat { .. } => "concat",
        }
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, shape) = (inputs[0].dtype(), inputs[0].shape());
        let spec = match self {
            Linear::Cast(to) => Spec { dtype: *to, shape: *shape },
            Linear::Reshape(to) | Linear::Broadcast(to) | Linear::Embed { shape: to, .. } => Spec { dtype, shape: *to },
            Linear::Permute(order) => Spec { dtype, shape: Shape::collect(order.iter().map(|&axis| shape[axis]))? },
            Linear::Slice(window) => Spec { dtype, shape: window.size },
            Linear::Concat { axis, sizes } => {
                let mut total = *shape;
                total[*axis] = 0;
                for size in sizes {
                    total[*axis] = total[*axis]
                        .checked_add(*size)
                        .ok_or_else(|| Error::Overflow("concat: the axis is too long".into()))?;
                }
                Spec { dtype, shape: total }
            }
        };
        Ok(smallvec![spec])
    }

    fn view(&self, inputs: &[&Value]) -> Result<Option<Value>> {
        let layout = inputs[0].layout();
        let view = match self {
            Linear::Reshape(shape) => layout.reshape(shape),
            Linear::Broadcast(shape) => Some(layout.broadcast("broadcast_to", shape)?),
            Linear::Permute(order) => Some(layout.permute(order)),
            Linear::Slice(window) => Some(slice_layout(layout, window)),
            _ => None,
        };
        Ok(view.map(|view| inputs[0].view(view)))
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let (input, output) = (inputs[0], &mut outputs[0]);
        match self {
            Linear::Cast(to) => {
                let source = input.to_contiguous()?;
                // SAFETY: both contiguous, of one count and of these dtypes.
                unsafe { cast::cast(input.dtype(), *to, source.count(), source.pointer(), output.pointer_mut()) };
            }
            Linear::Embed { window, fill, .. } => {
                let (dtype, count) = (output.dtype(), output.count());
                // SAFETY: the output is contiguous.
                unsafe { cast::fill(dtype.size(), fill.to_bytes(dtype), count, output.pointer_mut()) };
                let place = slice_layout(output.layout(), window);
                copy_into(input, output, place.offset, &place.strides);
            }
            Linear::Concat { axis, .. } => {
                let strides = output.layout().strides;
                let mut start = 0usize;
                for input in inputs {
                    copy_into(input, output, start * strides[*axis] as usize, &strides);
                    start += input.shape()[*axis];
                }
            }
            // A reshape of strides that no view can express.
            Linear::Reshape(_) => {
                let flat = layout::contiguous_strides(input.shape());
                copy_into(input, output, 0, &flat);
            }
            Linear::Broadcast(_) | Linear::Permute(_) | Linear::Slice(_) => cpu::copy_value(input, output),
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(self.plan(inputs, &outputs[0]))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        if let Linear::Concat { axis, sizes } = self {
            let mut start = 0usize;
            let mut gradients = Gradients::new();
            for (input, &size) in sizes.iter().enumerate() {
                gradients.push(match saved.wants(input) {
                    true => Some(dy.narrow(*axis, start, size)?),
                    false => None,
                });
                start += size;
            }
            return Ok(gradients);
        }
        let shape = saved.shape(0);
        let gradient = match self {
            Linear::Cast(_) => dy.cast(saved.dtype(0))?,
            Linear::Reshape(_) => apply(Linear::Reshape(*shape), &[dy])?,
            Linear::Broadcast(_) => sum_to(dy, shape)?,
            Linear::Permute(order) => {
                let mut inverse = *order;
                for (to, &from) in order.iter().enumerate() {
                    inverse[from] = to;
                }
                apply(Linear::Permute(inverse), &[dy])?
            }
            Linear::Slice(window) => {
                apply(Linear::Embed { shape: *shape, window: window.clone(), fill: Scalar::Int(0) }, &[dy])?
            }
            Linear::Embed { window, .. } => apply(Linear::Slice(window.clone()), &[dy])?,
            Linear::Concat { .. } => return Ok(Gradients::new()),
        };
        Ok(smallvec![Some(gradient)])
    }

    fn jvp(&self, inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let op = match self {
            Linear::Embed { shape, window, .. } => {
                Linear::Embed { shape: *shape, window: window.clone(), fill: Scalar::Int(0) }
            }
            other => other.clone(),
        };
        if tangents.iter().all(Option::is_none) {
            return Ok(None);
        }
        let filled = inputs.iter().zip(tangents).map(|(input, tangent)| match tangent {
            Some(tangent) => Ok(tangent.clone()),
            None => input.zeros_like(),
        });
        let filled = filled.collect::<Result<Vec<_>>>()?;
        apply(op, &filled.iter().collect::<Vec<_>>()).map(Some)
    }
}

/// Sums a tensor down to a shape that broadcasts to its own: the transpose of broadcasting.
pub fn sum_to(tensor: &Tensor, shape: &Shape) -> Result<Tensor> {
    if tensor.shape() == shape {
        return Ok(tensor.clone());
    }
    let lead = tensor.rank() - shape.len();
    let mut axes = Axes::new();
    for axis in 0..tensor.rank() {
        if axis < lead || (shape[axis - lead] == 1 && tensor.shape()[axis] != 1) {
            axes.push(axis)?;
        }
    }
    let summed = crate::op::reduce::sum_axes(tensor, &axes)?;
    summed.reshape_to(shape)
}

impl Tensor {
    /// Zeros of this shape, dtype and device.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1.0, 2.0], &[2])?.zeros_like()?.to_vec::<f64>()?, [0.0, 0.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn zeros_like(&self) -> Result<Tensor> {
        self.filled_like(Scalar::Int(0))
    }

    /// Ones of this shape, dtype and device.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[5, 6], &[2])?.ones_like()?.to_vec::<i32>()?, [1, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn ones_like(&self) -> Result<Tensor> {
        self.filled_like(Scalar::Int(1))
    }

    /// One value in this shape and dtype and on this device.
    #[doc(hidden)]
    pub fn filled_like(&self, value: Scalar) -> Result<Tensor> {
        if self.value.is_abstract() {
            return Ok(Value::abstract_of(self.dtype(), self.shape())?.into());
        }
        match self.device() {
            Some(device) => Ok(Value::filled_on(device, self.dtype(), self.shape(), value)?.into()),
            None => Tensor::full(self.shape(), value, self.dtype()),
        }
    }

    /// The elements converted to `dtype`; the tensor itself where it has that dtype.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::new(&[1.5, -1.5], &[2])?.cast(DType::I32)?.to_vec::<i32>()?, [1, -1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        apply(Linear::Cast(dtype), &[self])
    }

    /// The tensor with its elements row-major and without gaps, copied only where they are not.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[2, 3], DType::F32)?.matrix_transpose()?;
    /// assert!(!x.value().is_contiguous() && x.contiguous()?.value().is_contiguous());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.value.is_contiguous() {
            return Ok(self.clone());
        }
        // Embedding into a window that is the whole is a plain copy, and differentiable as such.
        let window = Window {
            start: Axes::filled(0, self.rank())?,
            step: Strides::filled(1, self.rank())?,
            size: *self.shape(),
        };
        apply(Linear::Embed { shape: *self.shape(), window: Box::new(window), fill: Scalar::Int(0) }, &[self])
    }

    /// The same elements under another shape; one size may be -1 and is worked out.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[2, 6], DType::F32)?;
    /// assert_eq!(x.reshape(&[3, -1])?.shape()[..], [3, 4]);
    /// assert!(x.reshape(&[5, -1]).is_err());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the counts differ.
    pub fn reshape(&self, shape: &[isize]) -> Result<Tensor> {
        let total = self.count();
        let refuse = || {
            let asked: Vec<String> = shape.iter().map(ToString::to_string).collect();
            Error::shape(
                "reshape",
                format_args!("cannot view shape {} ({total} elements) as ({})", show(self.shape()), asked.join(", ")),
            )
        };
        let mut sizes = Shape::new();
        let mut unknown = None;
        let mut known = 1usize;
        for (axis, &size) in shape.iter().enumerate() {
            if size == -1 && unknown.is_none() {
                unknown = Some(axis);
                sizes.push(0)?;
            } else if size < 0 {
                return Err(refuse());
            } else {
                known = known.checked_mul(size as usize).ok_or_else(refuse)?;
                sizes.push(size as usize)?;
            }
        }
        if let Some(axis) = unknown {
            if known == 0 || !total.is_multiple_of(known) {
                return Err(refuse());
            }
            sizes[axis] = total / known;
        } else if known != total {
            return Err(refuse());
        }
        self.reshape_to(&sizes)
    }

    /// Reshape to sizes that are known to fit.
    #[inline]
    pub(crate) fn reshape_to(&self, shape: &Shape) -> Result<Tensor> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        apply(Linear::Reshape(*shape), &[self])
    }

    /// The tensor repeated to `shape` by the broadcasting rules, as a view.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2], &[2, 1])?.broadcast_to(&[2, 3])?;
    /// assert_eq!(x.to_vec::<i32>()?, [1, 1, 1, 2, 2, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where it does not broadcast to it.
    #[inline]
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Tensor> {
        if self.shape()[..] == *shape {
            return Ok(self.clone());
        }
        let shape = Shape::from_slice(shape)?;
        layout::count(&shape)?;
        self.value.layout().broadcast("broadcast_to", &shape)?;
        apply(Linear::Broadcast(shape), &[self])
    }

    /// The tensor with its axes in another order: axis `i` of the result is axis `order[i]`.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3, 4], DType::F32)?.permute(&[2, 0, 1])?.shape()[..], [4, 2, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where `order` is not a permutation of the axes.
    pub fn permute(&self, order: &[isize]) -> Result<Tensor> {
        let mut axes = Axes::new();
        for &axis in order {
            let axis = resolve_axis("permute_dims", axis, self.rank())?;
            if axes.contains(&axis) {
                return Err(Error::value("permute_dims", format_args!("axis {axis} is given twice")));
            }
            axes.push(axis)?;
        }
        if axes.len() != self.rank() {
            return Err(Error::value(
                "permute_dims",
                format_args!("{} axes given for a tensor with {} axes", axes.len(), self.rank()),
            ));
        }
        if axes.iter().enumerate().all(|(to, &from)| to == from) {
            return Ok(self.clone());
        }
        apply(Linear::Permute(axes), &[self])
    }

    /// The last two axes swapped.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4, 5, 6], &[2, 3])?;
    /// assert_eq!(x.matrix_transpose()?.to_vec::<i32>()?, [1, 4, 2, 5, 3, 6]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than two axes.
    pub fn matrix_transpose(&self) -> Result<Tensor> {
        if self.rank() < 2 {
            return Err(Error::shape(
                "matrix_transpose",
                format_args!("needs two axes, shape is {}", show(self.shape())),
            ));
        }
        self.swap_axes(-1, -2)
    }

    /// Two axes swapped.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3, 4], DType::F32)?.swap_axes(0, -1)?.shape()[..], [4, 3, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn swap_axes(&self, a: isize, b: isize) -> Result<Tensor> {
        let (a, b) = (resolve_axis("swapaxes", a, self.rank())?, resolve_axis("swapaxes", b, self.rank())?);
        if a == b {
            return Ok(self.clone());
        }
        let mut order = Axes::collect(0..self.rank())?;
        order.swap(a, b);
        apply(Linear::Permute(order), &[self])
    }

    /// The elements of a window, as a view; the window lies within the tensor.
    #[doc(hidden)]
    pub fn window(&self, window: Window) -> Result<Tensor> {
        for axis in 0..self.rank() {
            let (size, limit) = (window.size[axis], self.shape()[axis] as isize);
            let first = window.start[axis] as isize;
            let last = first + (size as isize - 1) * window.step[axis];
            if size > 0 && (first >= limit || last < 0 || last >= limit) {
                return Err(Error::index(
                    "slice",
                    format_args!("indices {first} to {last} leave axis {axis} of size {limit}"),
                ));
            }
        }
        if window.size == *self.shape() && window.step.iter().all(|&step| step == 1) {
            return Ok(self.clone());
        }
        apply(Linear::Slice(Box::new(window)), &[self])
    }

    /// The whole tensor as a window, to be narrowed axis by axis.
    #[doc(hidden)]
    pub fn full_window(&self) -> Result<Window> {
        Ok(Window { start: Axes::filled(0, self.rank())?, step: Strides::filled(1, self.rank())?, size: *self.shape() })
    }

    /// `size` elements of an axis from `start`, as a view.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4], &[4])?;
    /// assert_eq!(x.narrow(0, 1, 2)?.to_vec::<i32>()?, [2, 3]);
    /// assert!(x.narrow(0, 3, 2).is_err() && x.narrow(1, 0, 1).is_err());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Index`] where they leave the axis.
    pub fn narrow(&self, axis: usize, start: usize, size: usize) -> Result<Tensor> {
        let limit = *self.shape().get(axis).ok_or_else(|| {
            Error::index("narrow", format_args!("axis {axis} is out of range for a tensor with {} axes", self.rank()))
        })?;
        if start.checked_add(size).is_none_or(|end| end > limit) {
            return Err(Error::index(
                "narrow",
                format_args!("{size} elements from {start} leave axis {axis} of size {limit}"),
            ));
        }
        let mut window = self.full_window()?;
        window.start[axis] = start;
        window.size[axis] = size;
        self.window(window)
    }

    /// The elements along the given axes in reverse, as a view.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1, 2, 3], &[3])?.flip(&[0])?.to_vec::<i32>()?, [3, 2, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn flip(&self, axes: &[isize]) -> Result<Tensor> {
        let mut window = self.full_window()?;
        for &axis in resolve_axes("flip", axes, self.rank())?.iter() {
            window.start[axis] = self.shape()[axis].saturating_sub(1);
            window.step[axis] = -1;
        }
        self.window(window)
    }

    /// The tensor with `before` and `after` copies of `value` added on each axis.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2], &[2])?;
    /// assert_eq!(x.pad_constant(&[(1, 2)], 9)?.to_vec::<i32>()?, [9, 1, 2, 9, 9]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where there is not one pair per axis, [`Error::Overflow`] where sizes overflow.
    pub fn pad_constant(&self, widths: &[(usize, usize)], value: impl Into<Scalar>) -> Result<Tensor> {
        if widths.len() != self.rank() {
            return Err(Error::value(
                "pad",
                format_args!("{} pairs given for a tensor with {} axes", widths.len(), self.rank()),
            ));
        }
        let mut window = self.full_window()?;
        let mut shape = *self.shape();
        for (axis, &(before, after)) in widths.iter().enumerate() {
            window.start[axis] = before;
            shape[axis] = shape[axis]
                .checked_add(before)
                .and_then(|size| size.checked_add(after))
                .ok_or_else(|| Error::Overflow("pad: the padded size overflows".into()))?;
        }
        layout::count(&shape)?;
        if shape == *self.shape() {
            return Ok(self.clone());
        }
        let fill = value.into();
        fill.check_fits(self.dtype())?;
        apply(Linear::Embed { shape, window: Box::new(window), fill }, &[self])
    }

    /// The tensor with a new axis of size 1 before `axis` (counted in the result).
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[2, 3], DType::F32)?;
    /// assert_eq!(x.expand_dims(1)?.shape()[..], [2, 1, 3]);
    /// assert_eq!(x.expand_dims(-1)?.shape()[..], [2, 3, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn expand_dims(&self, axis: isize) -> Result<Tensor> {
        let axis = resolve_axis("expand_dims", axis, self.rank() + 1)?;
        let mut shape = *self.shape();
        shape.insert(axis, 1)?;
        self.reshape_to(&shape)
    }

    /// The tensor without the given axes, each of size 1.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[1, 3, 1], DType::F32)?;
    /// assert_eq!(x.squeeze(&[0])?.shape()[..], [3, 1]);
    /// assert!(x.squeeze(&[1]).is_err());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where one of them is longer.
    pub fn squeeze(&self, axes: &[isize]) -> Result<Tensor> {
        let axes = resolve_axes("squeeze", axes, self.rank())?;
        if let Some(&axis) = axes.iter().find(|&&axis| self.shape()[axis] != 1) {
            return Err(Error::shape(
                "squeeze",
                format_args!("axis {axis} of shape {} is not of size 1", show(self.shape())),
            ));
        }
        let kept = (0..self.rank()).filter(|axis| !axes.contains(axis)).map(|axis| self.shape()[axis]);
        self.reshape_to(&Shape::collect(kept)?)
    }

    /// The tensor copied to a device, itself where it is there (differentiable only outside of a level: a move is not
    /// recorded).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use luxon::Tensor;
    /// use luxon::device::Device;
    /// fn send(x: &Tensor, device: &Arc<dyn Device>) -> luxon::Result<Tensor> {
    ///     let moved = x.to_device(device)?; // What is computed with it is computed there.
    ///     moved.add(&moved)?.to_host()
    /// }
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn to_device(&self, device: &std::sync::Arc<dyn crate::device::Device>) -> Result<Tensor> {
        if self.device().is_some_and(|own| std::sync::Arc::ptr_eq(own, device)) {
            return Ok(self.clone());
        }
        let host = self.to_host()?.value.to_contiguous()?;
        let moved = Value::empty_on(device, host.dtype(), host.shape())?;
        if let crate::buffer::Storage::Device(buffer) = moved.storage() {
            // SAFETY: a contiguous host value has this many bytes at its address.
            let bytes = unsafe { std::slice::from_raw_parts(host.pointer(), host.count() * host.dtype().size()) };
            device.upload(bytes, buffer.as_ref())?;
        }
        Ok(moved.into())
    }
}

/// The tensors one after the other along `axis`, promoted to one dtype.
///
/// ```
/// use luxon::{Tensor, concat};
/// let (a, b) = (Tensor::new(&[1, 2], &[1, 2])?, Tensor::new(&[3, 4], &[1, 2])?);
/// assert_eq!(concat(&[&a, &b], 0)?.shape()[..], [2, 2]);
/// assert_eq!(concat(&[&a, &b], 1)?.to_vec::<i32>()?, [1, 2, 3, 4]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for no tensors, [`Error::Shape`] where other axes differ.
pub fn concat(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::value("concat", "needs at least one tensor"));
    };
    let axis = resolve_axis("concat", axis, first.rank())?;
    let mut dtype = first.dtype();
    for tensor in tensors {
        dtype = dtype.promote(tensor.dtype());
        let fits = tensor.rank() == first.rank()
            && (0..first.rank()).all(|other| other == axis || tensor.shape()[other] == first.shape()[other]);
        if !fits {
            return Err(Error::shape(
                "concat",
                format_args!("shapes {} and {} differ outside axis {axis}", show(first.shape()), show(tensor.shape())),
            ));
        }
    }
    if tensors.len() == 1 {
        return Ok((*first).clone());
    }
    let cast = tensors.iter().map(|tensor| tensor.cast(dtype)).collect::<Result<Vec<_>>>()?;
    // An op records at most 31 differentiated inputs by a bit each; longer lists are joined in a tree.
    if cast.len() > 31 {
        let parts = cast.chunks(31).map(|chunk| concat(&chunk.iter().collect::<Vec<_>>(), axis as isize));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        return concat(&parts.iter().collect::<Vec<_>>(), axis as isize);
    }
    let sizes = cast.iter().map(|tensor| tensor.shape()[axis]).collect();
    apply(Linear::Concat { axis, sizes }, &cast.iter().collect::<Vec<_>>())
}

/// The tensors side by side along a new axis.
///
/// ```
/// use luxon::{Tensor, stack};
/// let (a, b) = (Tensor::new(&[1, 2], &[2])?, Tensor::new(&[3, 4], &[2])?);
/// assert_eq!(stack(&[&a, &b], 0)?.to_vec::<i32>()?, [1, 2, 3, 4]);
/// assert_eq!(stack(&[&a, &b], 1)?.to_vec::<i32>()?, [1, 3, 2, 4]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`concat()`].
pub fn stack(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::value("stack", "needs at least one tensor"));
    };
    if let Some(other) = tensors.iter().find(|tensor| tensor.shape() != first.shape()) {
        return Err(Error::shape(
            "stack",
            format_args!("shapes {} and {} differ", show(first.shape()), show(other.shape())),
        ));
    }
    let axis = resolve_axis("stack", axis, first.rank() + 1)? as isize;
    let expanded = tensors.iter().map(|tensor| tensor.expand_dims(axis)).collect::<Result<Vec<_>>>()?;
    concat(&expanded.iter().collect::<Vec<_>>(), axis)
}

/// The tensors broadcast to their common shape.
///
/// ```
/// use luxon::{DType, Tensor, broadcast_tensors};
/// let (column, row) = (Tensor::zeros(&[3, 1], DType::F32)?, Tensor::zeros(&[4], DType::F32)?);
/// for tensor in broadcast_tensors(&[&column, &row])? {
///     assert_eq!(tensor.shape()[..], [3, 4]);
/// }
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where there is none.
pub fn broadcast_tensors(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    let mut shape = Shape::new();
    for tensor in tensors {
        shape = broadcast_shapes("broadcast_arrays", &shape, tensor.shape())?;
    }
    tensors.iter().map(|tensor| tensor.broadcast_to(&shape)).collect()
}
