//! Methods of `Tensor` that mirror functions of the module.

use luxon::cpu::reduce::Reduction;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::PyTensor;
use crate::convert::{AxesArg, index_list};
use crate::dtype::DTypeArg;
use crate::error::Out;
use crate::function::reduce::{accumulate, deviation, position, reduce};
use crate::gil::{elements, released};

/// The ints of `f(1, 2)` and of `f((1, 2))`.
fn spread(arguments: &Bound<'_, PyTuple>, what: &str) -> PyResult<Vec<isize>> {
    if arguments.len() == 1 {
        return index_list(&arguments.get_item(0)?, what);
    }
    index_list(arguments, what)
}

#[pymethods]
impl PyTensor {
    /// The elements converted to a dtype.
    fn astype(&self, py: Python<'_>, dtype: DTypeArg) -> Out<PyTensor> {
        Ok(released(py, elements(self.0.count()), || self.0.cast(dtype.0))?.into())
    }

    /// The same elements under another shape, `x.reshape(2, -1)` or `x.reshape((2, -1))`.
    #[pyo3(signature = (*shape))]
    fn reshape(&self, shape: &Bound<'_, PyTuple>) -> Out<PyTensor> {
        Ok(self.0.reshape(&spread(shape, "shape")?)?.into())
    }

    /// The axes in another order, `x.permute_dims(1, 0)` or `x.permute_dims((1, 0))`.
    #[pyo3(signature = (*axes))]
    fn permute_dims(&self, axes: &Bound<'_, PyTuple>) -> Out<PyTensor> {
        Ok(self.0.permute(&spread(axes, "axes")?)?.into())
    }

    /// The axes in another order, as `permute_dims`; all of them reversed where none are given.
    #[pyo3(signature = (*axes))]
    fn transpose(&self, axes: &Bound<'_, PyTuple>) -> Out<PyTensor> {
        if axes.is_empty() {
            let reversed: Vec<isize> = (0..self.0.rank() as isize).rev().collect();
            return Ok(self.0.permute(&reversed)?.into());
        }
        self.permute_dims(axes)
    }

    /// Two axes swapped.
    fn swapaxes(&self, axis1: isize, axis2: isize) -> Out<PyTensor> {
        Ok(self.0.swap_axes(axis1, axis2)?.into())
    }

    /// The elements in row-major order along one axis.
    fn ravel(&self) -> Out<PyTensor> {
        Ok(self.0.reshape(&[-1])?.into())
    }

    /// Without the given axes, which have size 1; without any axis of size 1 for None.
    #[pyo3(signature = (axis=None))]
    fn squeeze(&self, axis: Option<AxesArg>) -> Out<PyTensor> {
        let ones = || (0..self.0.rank()).filter(|&axis| self.0.shape()[axis] == 1).map(|axis| axis as isize).collect();
        Ok(self.0.squeeze(&axis.map_or_else(ones, |axis| axis.0))?.into())
    }

    /// A tensor with memory of its own.
    fn copy(&self, py: Python<'_>) -> Out<PyTensor> {
        Ok(crate::function::create::duplicate(py, &self.0)?.into())
    }

    /// See `luxon.sum`.
    #[pyo3(signature = (axis=None, *, dtype=None, keepdims=false))]
    fn sum(&self, py: Python<'_>, axis: Option<AxesArg>, dtype: Option<DTypeArg>, keepdims: bool) -> Out<PyTensor> {
        accumulate(py, &self.0, Reduction::Sum, axis, dtype, keepdims)
    }

    /// See `luxon.prod`.
    #[pyo3(signature = (axis=None, *, dtype=None, keepdims=false))]
    fn prod(&self, py: Python<'_>, axis: Option<AxesArg>, dtype: Option<DTypeArg>, keepdims: bool) -> Out<PyTensor> {
        accumulate(py, &self.0, Reduction::Product, axis, dtype, keepdims)
    }

    /// See `luxon.mean`.
    #[pyo3(signature = (axis=None, *, keepdims=false))]
    fn mean(&self, py: Python<'_>, axis: Option<AxesArg>, keepdims: bool) -> Out<PyTensor> {
        reduce(py, &self.0, Reduction::Mean, axis, keepdims)
    }

    /// See `luxon.var`.
    #[pyo3(signature = (axis=None, *, correction=0.0, keepdims=false))]
    fn var(&self, py: Python<'_>, axis: Option<AxesArg>, correction: f64, keepdims: bool) -> Out<PyTensor> {
        reduce(py, &self.0, Reduction::Variance { correction }, axis, keepdims)
    }

    /// See `luxon.std`.
    #[pyo3(signature = (axis=None, *, correction=0.0, keepdims=false))]
    fn std(&self, py: Python<'_>, axis: Option<AxesArg>, correction: f64, keepdims: bool) -> Out<PyTensor> {
        deviation(py, &self.0, axis, correction, keepdims)
    }

    /// See `luxon.max`.
    #[pyo3(signature = (axis=None, *, keepdims=false))]
    fn max(&self, py: Python<'_>, axis: Option<AxesArg>, keepdims: bool) -> Out<PyTensor> {
        reduce(py, &self.0, Reduction::Max, axis, keepdims)
    }

    /// See `luxon.min`.
    #[pyo3(signature = (axis=None, *, keepdims=false))]
    fn min(&self, py: Python<'_>, axis: Option<AxesArg>, keepdims: bool) -> Out<PyTensor> {
        reduce(py, &self.0, Reduction::Min, axis, keepdims)
    }

    /// See `luxon.any`.
    #[pyo3(signature = (axis=None, *, keepdims=false))]
    fn any(&self, py: Python<'_>, axis: Option<AxesArg>, keepdims: bool) -> Out<PyTensor> {
        reduce(py, &self.0, Reduction::Any, axis, keepdims)
    }

    /// See `luxon.all`.
    #[pyo3(signature = (axis=None, *, keepdims=false))]
    fn all(&self, py: Python<'_>, axis: Option<AxesArg>, keepdims: bool) -> Out<PyTensor> {
        reduce(py, &self.0, Reduction::All, axis, keepdims)
    }

    /// See `luxon.argmax`.
    #[pyo3(signature = (axis=None, *, keepdims=false))]
    fn argmax(&self, py: Python<'_>, axis: Option<isize>, keepdims: bool) -> Out<PyTensor> {
        position(py, &self.0, Reduction::ArgMax, axis, keepdims)
    }

    /// See `luxon.argmin`.
    #[pyo3(signature = (axis=None, *, keepdims=false))]
    fn argmin(&self, py: Python<'_>, axis: Option<isize>, keepdims: bool) -> Out<PyTensor> {
        position(py, &self.0, Reduction::ArgMin, axis, keepdims)
    }

    /// See `luxon.clip`.
    #[pyo3(signature = (min=None, max=None))]
    fn clip(slf: &Bound<'_, Self>, min: Option<&Bound<'_, PyAny>>, max: Option<&Bound<'_, PyAny>>) -> Out<PyTensor> {
        crate::function::elementwise::clip(slf, min, max)
    }
}
