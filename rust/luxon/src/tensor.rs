//! What a tensor is: an immutable value, and the trace nodes of the differentiations it takes part in.
//!
//! A [`Value`] is dtype, layout and storage; it never changes once it is shared. A [`Tensor`] adds an
//! optional trace node, and outside differentiation costs nothing more. Cloning a tensor is one or two
//! reference counts; views (reshape, permute, slice, ...) share the storage.

use std::fmt;
use std::sync::Arc;

use crate::buffer::{Buffer, INLINE_BYTES, Storage};
use crate::cpu;
use crate::device::Device;
use crate::dtype::{DType, Element, Scalar};
use crate::error::{Error, Result};
use crate::layout::{self, Layout, Shape, show};
use crate::runtime::shapes;
use crate::transform::level::Node;

mod value;

pub use value::Value;

/// An n-dimensional array, possibly under differentiation.
///
/// ```
/// use luxon::Tensor;
/// let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// let y = x.matrix_transpose()?.mul(10.0)?.add(&x)?;
/// assert_eq!(y.to_vec::<f32>()?, [11.0, 32.0, 23.0, 44.0]);
/// assert_eq!(format!("{:?}", y.mean(None, false)?), "Tensor((), float32, [27.5])");
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    pub(crate) value: Arc<Value>,
    pub(crate) node: Option<Arc<Node>>,
}

impl From<Value> for Tensor {
    #[inline]
    fn from(value: Value) -> Tensor {
        Tensor { value: Arc::new(value), node: None }
    }
}

impl Tensor {
    /// A host tensor with arbitrary contents, to be filled before it is shared.
    #[inline]
    pub(crate) fn empty(dtype: DType, shape: &Shape) -> Result<Tensor> {
        let count = layout::count(shape)?;
        Tensor::with_layout(dtype, &Layout::contiguous(*shape), count)
    }

    /// A host tensor with arbitrary contents in a contiguous layout of `count` elements, from the start of its
    /// memory.
    #[inline]
    pub(crate) fn with_layout(dtype: DType, layout: &Layout, count: usize) -> Result<Tensor> {
        let bytes = count * dtype.size();
        let buffer = if bytes <= INLINE_BYTES { None } else { Some(Arc::new(Buffer::allocate(bytes)?)) };
        let mut value = Arc::<Value>::new_uninit();
        // SAFETY: the allocation is not shared yet, and every field is written. Written in place, the value
        // is not moved; it is large for the cost of a small operation.
        let value = unsafe {
            let place = Arc::get_mut(&mut value).map_or(std::ptr::null_mut(), std::mem::MaybeUninit::as_mut_ptr);
            (&raw mut (*place).dtype).write(dtype);
            (&raw mut (*place).layout.shape).write(layout.shape);
            (&raw mut (*place).layout.strides).write(layout.strides);
            (&raw mut (*place).layout.offset).write(0);
            match buffer {
                None => (&raw mut (*place).storage).write(Storage::Inline([0; INLINE_BYTES / 8])),
                Some(buffer) => (&raw mut (*place).storage).write(Storage::Host(buffer)),
            }
            value.assume_init()
        };
        Ok(Tensor { value, node: None })
    }

    /// A tensor of the given elements in row-major order.
    ///
    /// ```
    /// let x = luxon::Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
    /// assert_eq!(x.shape()[..], [2, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the count of elements is not that of the shape.
    pub fn new<T: Element>(elements: &[T], shape: &[usize]) -> Result<Tensor> {
        let shape = Shape::from_slice(shape)?;
        if layout::count(&shape)? != elements.len() {
            return Err(Error::shape(
                "tensor",
                format_args!("{} elements do not fill shape {}", elements.len(), show(&shape)),
            ));
        }
        let mut value = Value::empty(T::DTYPE, &shape)?;
        // SAFETY: the value is fresh, contiguous and has room for exactly these elements.
        unsafe { std::ptr::copy_nonoverlapping(elements.as_ptr(), value.pointer_mut().cast(), elements.len()) };
        Ok(value.into())
    }

    /// A tensor over memory that somebody else owns, without a copy.
    ///
    /// ```
    /// use luxon::{DType, Layout, Shape, Tensor};
    /// let owner = vec![1.0f32, 2.0, 3.0];
    /// let (pointer, layout) = (owner.as_ptr().cast(), Layout::contiguous(Shape::from_slice(&[3])?));
    /// // SAFETY: the vector moves into the box without moving its elements, and nobody writes to them.
    /// let x = unsafe { Tensor::from_foreign(DType::F32, layout, pointer, 12, Box::new(owner)) };
    /// assert_eq!(x.sum(None, false)?.to_vec::<f32>()?, [6.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Safety
    /// Every element of the layout stays readable and constant until `owner` is dropped.
    pub unsafe fn from_foreign(
        dtype: DType,
        layout: Layout,
        pointer: *const u8,
        bytes: usize,
        owner: Box<dyn std::any::Any + Send + Sync>,
    ) -> Tensor {
        // SAFETY: as the caller promises.
        let buffer = unsafe { Buffer::foreign(pointer, bytes, owner) };
        Value::from_parts(dtype, layout, Storage::Host(Arc::new(buffer))).into()
    }

    /// A tensor of one value everywhere.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::full(&[2], 0.5, DType::F64)?.to_vec::<f64>()?, [0.5, 0.5]);
    /// assert!(Tensor::full(&[2], 300, DType::U8).is_err());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Memory`], [`Error::Overflow`], or an integer that the dtype cannot hold.
    pub fn full(shape: &[usize], value: impl Into<Scalar>, dtype: DType) -> Result<Tensor> {
        let scalar = value.into();
        scalar.check_fits(dtype)?;
        let shape = Shape::from_slice(shape)?;
        if shapes::is_on() {
            return Ok(Value::abstract_of(dtype, &shape)?.into());
        }
        let mut out = Value::empty(dtype, &shape)?;
        let count = out.count();
        // SAFETY: fresh and contiguous, `count` elements.
        unsafe { cpu::cast::fill(dtype.size(), scalar.to_bytes(dtype), count, out.pointer_mut()) };
        Ok(out.into())
    }

    /// A tensor of zeros.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2], DType::I64)?.to_vec::<i64>()?, [0, 0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn zeros(shape: &[usize], dtype: DType) -> Result<Tensor> {
        Tensor::full(shape, 0i64, dtype)
    }

    /// A tensor of ones.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::ones(&[2], DType::F32)?.to_vec::<f32>()?, [1.0, 1.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn ones(shape: &[usize], dtype: DType) -> Result<Tensor> {
        Tensor::full(shape, 1i64, dtype)
    }

    /// A 0-d tensor.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let half = Tensor::scalar(0.5, DType::F32);
    /// assert_eq!((half.rank(), half.to_vec::<f32>()?), (0, vec![0.5]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn scalar(value: impl Into<Scalar>, dtype: DType) -> Tensor {
        let mut words = [0u64; INLINE_BYTES / 8];
        words[0] = u64::from_ne_bytes(value.into().to_bytes(dtype));
        Value::from_parts(dtype, Layout::contiguous(Shape::new()), Storage::Inline(words)).into()
    }

    /// The element type.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::new(&[1u8], &[1])?.dtype(), DType::U8);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn dtype(&self) -> DType {
        self.value.dtype
    }

    /// The sizes.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[2, 3], DType::F32)?;
    /// assert_eq!(x.shape()[..], [2, 3]);
    /// assert_eq!(x.shape()[1], 3);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// The number of axes.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3], DType::F32)?.rank(), 2);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn rank(&self) -> usize {
        self.value.layout.rank()
    }

    /// The number of elements.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3], DType::F32)?.count(), 6);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn count(&self) -> usize {
        self.value.count()
    }

    /// The elements and their layout, without the trace.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1i64, 2], &[2])?;
    /// assert_eq!(x.value().as_slice::<i64>(), Some(&[1, 2][..])); // Without the copy that `to_vec` makes.
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn value(&self) -> &Arc<Value> {
        &self.value
    }

    /// The device, none for the host.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert!(Tensor::zeros(&[2], DType::F32)?.device().is_none());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn device(&self) -> Option<&Arc<dyn Device>> {
        self.value.device()
    }

    /// Whether a differentiation that is still open records this tensor.
    ///
    /// ```
    /// use luxon::{DType, Tensor, grad};
    /// let x = Tensor::scalar(2.0, DType::F64);
    /// grad(|x| { assert!(x[0].is_tracked()); x[0].square() }, &[x.clone()])?;
    /// assert!(!x.is_tracked());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn is_tracked(&self) -> bool {
        self.active_node().is_some()
    }

    /// The same elements outside every differentiation.
    ///
    /// ```
    /// use luxon::{DType, Tensor, grad};
    /// // The second factor counts as a constant.
    /// let slope = grad(|x| x[0].mul(&x[0].detach()), &[Tensor::scalar(3.0, DType::F64)])?;
    /// assert_eq!(slope[0].to_vec::<f64>()?, [3.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn detach(&self) -> Tensor {
        Tensor { value: Arc::clone(&self.value), node: None }
    }

    /// The elements in row-major order.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(x.matrix_transpose()?.to_vec::<i32>()?, [1, 3, 2, 4]);
    /// assert!(x.to_vec::<f32>().is_err()); // Cast first.
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Type`] where `T` is not the element type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype() {
            return Err(Error::dtype("to_vec", format_args!("the tensor holds {}, not {}", self.dtype(), T::DTYPE)));
        }
        let host = self.to_host()?;
        let value = host.value.to_contiguous()?;
        Ok(value.as_slice::<T>().map(<[T]>::to_vec).unwrap_or_default())
    }

    /// The only element.
    ///
    /// ```
    /// use luxon::{Scalar, Tensor};
    /// assert_eq!(Tensor::new(&[1.0, 2.0], &[2])?.sum(None, false)?.item()?, Scalar::Float(3.0));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where there is not exactly one.
    pub fn item(&self) -> Result<Scalar> {
        if self.count() != 1 {
            return Err(Error::value(
                "item",
                format_args!("needs exactly one element, shape is {}", show(self.shape())),
            ));
        }
        let host = self.to_host()?;
        // SAFETY: one element lies at the address.
        Ok(unsafe { Scalar::read(host.dtype(), host.value.pointer()) })
    }

    /// The tensor in host memory: itself, or downloaded (a tracked one keeps its trace only on the host).
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::scalar(1.0, DType::F32).to_host()?.to_vec::<f32>()?, [1.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn to_host(&self) -> Result<Tensor> {
        let buffer = match &self.value.storage {
            Storage::Device(buffer) => buffer,
            Storage::Abstract => {
                let shape = show(self.shape());
                return Err(Error::Value(format!("an abstract tensor of shape {shape} has no elements to read")));
            }
            _ => return Ok(self.clone()),
        };
        if !self.value.is_contiguous() {
            return self.detach().contiguous()?.to_host();
        }
        let mut host = Value::empty(self.dtype(), self.shape())?;
        let size = self.dtype().size();
        // SAFETY: a fresh contiguous value with this many bytes, owned here alone.
        let target = unsafe { std::slice::from_raw_parts_mut(host.pointer_mut(), host.count() * size) };
        buffer.device().download(buffer.as_ref(), self.value.layout.offset * size, target)?;
        Ok(host.into())
    }

    /// The tensor in host memory in the layout that it has on its device: what needs no copy there.
    pub(crate) fn to_host_as_it_lies(&self) -> Result<Tensor> {
        let Storage::Device(buffer) = &self.value.storage else { return self.to_host() };
        let bytes = Buffer::allocate(buffer.bytes().max(1))?;
        // SAFETY: a fresh block with this many bytes, owned here alone.
        let target = unsafe { std::slice::from_raw_parts_mut(bytes.pointer(), buffer.bytes()) };
        buffer.device().download(buffer.as_ref(), 0, target)?;
        let storage = Storage::Host(Arc::new(bytes));
        Ok(Value::from_parts(self.dtype(), self.value.layout, storage).into())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tensor({}, {}", show(self.shape()), self.dtype())?;
        if self.count() <= 16 && self.value.is_host() {
            out.write_str(", [")?;
            let value = self.value.to_contiguous().map_err(|_| fmt::Error)?;
            for index in 0..value.count() {
                // SAFETY: `index` is below the count of a contiguous value.
                let scalar = unsafe { Scalar::read(value.dtype(), value.pointer().add(index * value.dtype().size())) };
                let separator = if index == 0 { "" } else { ", " };
                match scalar {
                    Scalar::Bool(value) => write!(out, "{separator}{value}")?,
                    Scalar::Int(value) => write!(out, "{separator}{value}")?,
                    Scalar::Float(value) => write!(out, "{separator}{value}")?,
                }
            }
            out.write_str("]")?;
        }
        out.write_str(")")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn elements_go_in_and_come_out() {
        let small = Tensor::new(&[1i32, 2, 3], &[3]).unwrap();
        assert_eq!(small.to_vec::<i32>().unwrap(), [1, 2, 3]);
        let large: Vec<f64> = (0..1000).map(f64::from).collect();
        let tensor = Tensor::new(&large, &[10, 100]).unwrap();
        assert_eq!(tensor.to_vec::<f64>().unwrap(), large);
        assert!(tensor.to_vec::<f32>().is_err());
        assert!(Tensor::new(&[1.0f32], &[2]).is_err());
        assert_eq!(Tensor::scalar(2.5, DType::F16).item().unwrap(), Scalar::Float(2.5));
        assert!(Tensor::full(&[2], 300i64, DType::U8).is_err());
    }
}
