//! The same or as many elements elsewhere: in another dtype, in order, on a device; and constants like a tensor.

use std::slice::from_raw_parts;
use std::sync::Arc;

use super::Linear;
use crate::buffer::Storage;
use crate::device::Device;
use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::op::apply;
use crate::tensor::{Tensor, Value};

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
        let window = Box::new(self.full_window()?);
        apply(Linear::Embed { shape: *self.shape(), window, fill: Scalar::Int(0) }, &[self])
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
    pub fn to_device(&self, device: &Arc<dyn Device>) -> Result<Tensor> {
        if self.device().is_some_and(|own| Arc::ptr_eq(own, device)) {
            return Ok(self.clone());
        }
        let host = self.to_host()?.value.to_contiguous()?;
        let moved = Value::empty_on(device, host.dtype(), host.shape())?;
        if let Storage::Device(buffer) = moved.storage() {
            // SAFETY: a contiguous host value has this many bytes at its address.
            let bytes = unsafe { from_raw_parts(host.pointer(), host.count() * host.dtype().size()) };
            device.upload(bytes, buffer.as_ref())?;
        }
        Ok(moved.into())
    }
}
