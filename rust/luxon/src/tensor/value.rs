//! Elements in memory.

use std::sync::Arc;

use crate::buffer::Storage;
use crate::cpu;
use crate::cuda::{Place, Plan};
use crate::device::Device;
use crate::dtype::{DType, Element, Scalar};
use crate::error::Result;
use crate::layout::{self, Layout, Shape};

/// Elements: their type, where they lie, and the memory that holds them.
///
/// ```
/// use luxon::{DType, Tensor};
/// let x = Tensor::new(&[1.0f32, 2.0], &[2])?;
/// let value = x.value();
/// assert_eq!((value.dtype(), value.count()), (DType::F32, 2));
/// assert_eq!(value.as_slice::<f32>(), Some(&[1.0, 2.0][..]));
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone)]
pub struct Value {
    pub(super) dtype: DType,
    pub(super) layout: Layout,
    pub(super) storage: Storage,
}

impl Value {
    /// A contiguous host value with arbitrary contents, to be filled before it is shared.
    #[inline]
    #[doc(hidden)]
    pub fn empty(dtype: DType, shape: &Shape) -> Result<Value> {
        let count = layout::count(shape)?;
        Ok(Value { dtype, layout: Layout::contiguous(*shape), storage: Storage::host(count * dtype.size())? })
    }

    /// A contiguous value with arbitrary contents on the device of `like`.
    #[inline]
    #[doc(hidden)]
    pub fn empty_like_device(dtype: DType, shape: &Shape, like: &Value) -> Result<Value> {
        match &like.storage {
            Storage::Device(buffer) => Value::empty_on(buffer.device(), dtype, shape),
            _ => Value::empty(dtype, shape),
        }
    }

    /// A contiguous value with arbitrary contents on `device`.
    #[doc(hidden)]
    pub fn empty_on(device: &Arc<dyn Device>, dtype: DType, shape: &Shape) -> Result<Value> {
        let bytes = layout::count(shape)? * dtype.size();
        let buffer = Arc::clone(device).allocate(bytes)?;
        Ok(Value { dtype, layout: Layout::contiguous(*shape), storage: Storage::Device(buffer) })
    }

    /// A contiguous value on `device` with `scalar` everywhere.
    #[doc(hidden)]
    pub fn filled_on(device: &Arc<dyn Device>, dtype: DType, shape: &Shape, scalar: Scalar) -> Result<Value> {
        scalar.check_fits(dtype)?;
        let value = Value::empty_on(device, dtype, shape)?;
        let mut plan = Plan::new();
        plan.fill(Place::output(0), dtype, scalar, value.count())?;
        device.execute(&plan, &[], &[&value])?;
        Ok(value)
    }

    /// A value without elements, for working out shapes and dtypes without computing.
    ///
    /// ```
    /// use luxon::{DType, Shape, Tensor, Value};
    /// let x = Tensor::from(Value::abstract_of(DType::F32, &Shape::from_slice(&[1 << 20, 1 << 20])?)?);
    /// let y = x.narrow(0, 0, 10)?.exp()?.sum(Some(&[1]), false)?; // A terabyte of numbers, none of which exists.
    /// assert_eq!((&y.shape()[..], y.dtype()), (&[10][..], DType::F32));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn abstract_of(dtype: DType, shape: &Shape) -> Result<Value> {
        layout::count(shape)?;
        Ok(Value { dtype, layout: Layout::contiguous(*shape), storage: Storage::Abstract })
    }

    /// A value over existing storage; the layout lies within it.
    #[doc(hidden)]
    pub fn from_parts(dtype: DType, layout: Layout, storage: Storage) -> Value {
        Value { dtype, layout, storage }
    }

    /// The element type.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::scalar(1, DType::I32).value().dtype(), DType::I32);
    /// ```
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape, strides and offset.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3], DType::F32)?.value().layout().strides[..], [3, 1]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The sizes.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3], DType::F32)?.value().shape()[..], [2, 3]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.layout.shape
    }

    /// The number of elements.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert_eq!(Tensor::zeros(&[2, 3], DType::F32)?.value().count(), 6);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn count(&self) -> usize {
        self.layout.count()
    }

    /// The memory.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// use luxon::device::Storage;
    /// let x = Tensor::zeros(&[2], DType::F32)?; // Up to 64 bytes lie within the tensor.
    /// assert!(matches!(x.value().storage(), Storage::Inline(_)));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The device, none for the host.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert!(Tensor::zeros(&[2], DType::F32)?.value().device().is_none());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn device(&self) -> Option<&Arc<dyn Device>> {
        match &self.storage {
            Storage::Device(buffer) => Some(buffer.device()),
            _ => None,
        }
    }

    /// Whether the elements are in host memory.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// assert!(Tensor::zeros(&[2], DType::F32)?.value().is_host());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn is_host(&self) -> bool {
        matches!(self.storage, Storage::Inline(_) | Storage::Host(_))
    }

    /// Whether only dtype and shape are known.
    ///
    /// ```
    /// use luxon::{DType, Shape, Value};
    /// assert!(Value::abstract_of(DType::F32, &Shape::from_slice(&[2])?)?.is_abstract());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn is_abstract(&self) -> bool {
        matches!(self.storage, Storage::Abstract)
    }

    /// The address of the element at index (0, ..., 0) in host memory.
    #[inline]
    #[doc(hidden)]
    pub fn pointer(&self) -> *const u8 {
        let start = match &self.storage {
            Storage::Inline(words) => words.as_ptr().cast::<u8>(),
            Storage::Host(buffer) => buffer.pointer().cast_const(),
            Storage::Device(_) | Storage::Abstract => std::ptr::null(),
        };
        start.wrapping_add(self.layout.offset * self.dtype.size())
    }

    /// The same address for writing: for a value that was just made and is not shared yet.
    #[inline]
    #[doc(hidden)]
    pub fn pointer_mut(&mut self) -> *mut u8 {
        let start = match &mut self.storage {
            Storage::Inline(words) => words.as_mut_ptr().cast::<u8>(),
            Storage::Host(buffer) => buffer.pointer(),
            Storage::Device(_) | Storage::Abstract => std::ptr::null_mut(),
        };
        start.wrapping_add(self.layout.offset * self.dtype.size())
    }

    /// Whether nobody else can see the memory, so that it may be overwritten.
    #[inline]
    #[doc(hidden)]
    pub fn is_unique(&mut self) -> bool {
        match &mut self.storage {
            Storage::Inline(_) => true,
            Storage::Host(buffer) => Arc::get_mut(buffer).is_some_and(|buffer| !buffer.is_foreign()),
            Storage::Device(_) | Storage::Abstract => false,
        }
    }

    /// Whether these are contiguous elements in host memory that nobody else can see.
    #[doc(hidden)]
    pub fn is_replaceable(&mut self) -> bool {
        self.is_contiguous() && self.is_unique()
    }

    /// Whether this is all of a device's memory, contiguous from its first byte, that nobody else can see.
    #[doc(hidden)]
    pub fn is_unique_on_device(&mut self) -> bool {
        let whole = self.is_contiguous() && self.layout.offset == 0;
        match &mut self.storage {
            Storage::Device(buffer) => whole && Arc::get_mut(buffer).is_some_and(|buffer| !buffer.is_foreign()),
            _ => false,
        }
    }

    /// The same memory seen through another layout (and dtype of the same size).
    #[inline]
    #[doc(hidden)]
    pub fn view(&self, layout: Layout) -> Value {
        Value { dtype: self.dtype, layout, storage: self.storage.clone() }
    }

    /// Whether the elements lie row-major without gaps.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// let x = Tensor::zeros(&[2, 3], DType::F32)?;
    /// assert!(x.value().is_contiguous() && !x.matrix_transpose()?.value().is_contiguous());
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.layout.is_contiguous()
    }

    /// This value if it is contiguous, else a contiguous copy.
    #[doc(hidden)]
    pub fn to_contiguous(&self) -> Result<Value> {
        if self.is_contiguous() {
            return Ok(self.clone());
        }
        let mut copy = Value::empty(self.dtype, self.shape())?;
        cpu::copy_value(self, &mut copy);
        Ok(copy)
    }

    /// The elements of a contiguous host value; none where the dtype differs or the layout has gaps.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1.0f32, 2.0], &[2])?;
    /// assert_eq!(x.value().as_slice::<f32>(), Some(&[1.0, 2.0][..]));
    /// assert_eq!(x.value().as_slice::<f64>(), None); // Another dtype.
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        if T::DTYPE != self.dtype || !self.is_contiguous() || !self.is_host() {
            return None;
        }
        let count = self.count();
        if count == 0 {
            return Some(&[]);
        }
        // SAFETY: contiguous elements of this dtype, alive and constant while `self` is borrowed.
        Some(unsafe { std::slice::from_raw_parts(self.pointer().cast(), count) })
    }
}
