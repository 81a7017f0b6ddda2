//! Functions that make tensors.

use luxon::{DType, Scalar, Tensor};
use pyo3::prelude::*;

use crate::convert::{ShapeArg, TensorArg, scalar_of, to_tensor};
use crate::device::{DeviceArg, moved};
use crate::dtype::DTypeArg;
use crate::error::{Failure, Out};
use crate::tensor::PyTensor;
use crate::{dlpack, memory, numpy};

/// The tensor of a tensor, an array, a number or a nested list.
///
/// Numbers become the default dtypes: bool, int64, float32. With `copy=None` the memory of others is
/// copied unless it can never change; `copy=False` shares it (or raises ValueError), and the caller then
/// sees to it that nobody writes to it.
///
/// Example:
///     >>> import luxon as lx
///     >>> lx.asarray([[1, 2], [3, 4]])
///     Tensor([[1, 2],
///             [3, 4]], dtype=int64)
#[pyfunction]
#[pyo3(signature = (obj, /, *, dtype=None, device=None, copy=None))]
fn asarray(
    py: Python<'_>,
    obj: &Bound<'_, PyAny>,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
    copy: Option<bool>,
) -> Out<PyTensor> {
    let wanted = dtype.map(|dtype| dtype.0);
    let tensor = if let Ok(tensor) = obj.cast::<PyTensor>() {
        let tensor = &tensor.get().0;
        match wanted.filter(|&wanted| wanted != tensor.dtype()) {
            Some(_) if copy == Some(false) => return Err(no_copy("asarray: a cast needs a copy")),
            Some(wanted) => tensor.cast(wanted)?,
            None if copy == Some(true) => duplicate(py, tensor)?,
            None => tensor.clone(),
        }
    } else if numpy::is_array(obj)? {
        numpy::from_array(obj, wanted, copy)?
    } else if let (Some(wanted), Some(scalar)) = (wanted, scalar_of(obj)?) {
        scalar.check_fits(wanted)?;
        Tensor::scalar(scalar, wanted)
    } else {
        if copy == Some(false) && !obj.hasattr("__dlpack__")? && !obj.hasattr("__array__")? {
            return Err(no_copy("asarray: a Python object has no memory to share"));
        }
        let tensor = if copy == Some(false) { numpy::shared(obj)? } else { to_tensor(obj)? };
        match wanted {
            Some(wanted) => tensor.cast(wanted)?,
            None => tensor,
        }
    };
    Ok(moved(tensor, device)?.into())
}

#[cold]
fn no_copy(text: &'static str) -> Failure {
    pyo3::exceptions::PyValueError::new_err(text).into()
}

/// The same tensor in memory of its own; differentiation sees through it.
pub fn duplicate(py: Python<'_>, tensor: &Tensor) -> luxon::Result<Tensor> {
    if tensor.is_tracked() || !tensor.value().is_host() {
        return Ok(tensor.clone());
    }
    memory::copied(py, tensor)
}

/// A tensor that shares the memory of an object with `__dlpack__`.
///
/// With `copy=None` the memory is shared wherever possible: nobody may write to it afterwards.
#[pyfunction]
#[pyo3(signature = (x, /, *, device=None, copy=None))]
fn from_dlpack(x: &Bound<'_, PyAny>, device: Option<DeviceArg>, copy: Option<bool>) -> Out<PyTensor> {
    let tensor = dlpack::import(x, None, copy)?.tensor;
    Ok(moved(tensor, device)?.into())
}

/// One value in a shape.
fn constant(shape: &ShapeArg, value: Scalar, dtype: DType, device: Option<DeviceArg>) -> Out<PyTensor> {
    Ok(moved(Tensor::full(&shape.sizes()?, value, dtype)?, device)?.into())
}

fn or_float(dtype: Option<DTypeArg>) -> DType {
    dtype.map_or(DType::DEFAULT_FLOAT, |dtype| dtype.0)
}

/// Zeros.
#[pyfunction]
#[pyo3(signature = (shape, *, dtype=None, device=None))]
fn zeros(shape: ShapeArg, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    constant(&shape, Scalar::Int(0), or_float(dtype), device)
}

/// Ones.
#[pyfunction]
#[pyo3(signature = (shape, *, dtype=None, device=None))]
fn ones(shape: ShapeArg, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    constant(&shape, Scalar::Int(1), or_float(dtype), device)
}

/// A tensor whose contents do not matter: zeros.
#[pyfunction]
#[pyo3(signature = (shape, *, dtype=None, device=None))]
fn empty(shape: ShapeArg, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    constant(&shape, Scalar::Int(0), or_float(dtype), device)
}

/// One number in a shape; its dtype is the number's default unless given.
#[pyfunction]
#[pyo3(signature = (shape, fill_value, *, dtype=None, device=None))]
fn full(shape: ShapeArg, fill_value: &Bound<'_, PyAny>, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    match scalar_of(fill_value)? {
        Some(scalar) => constant(&shape, scalar, dtype.map_or(scalar.dtype(), |dtype| dtype.0), device),
        None => {
            let value = to_tensor(fill_value)?;
            let value = value.cast(dtype.map_or(value.dtype(), |dtype| dtype.0))?;
            Ok(moved(value.broadcast_to(&shape.sizes()?)?.contiguous()?, device)?.into())
        }
    }
}

/// One value in the shape, dtype and device of another tensor.
fn alike(x: &Tensor, value: Scalar, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    let dtype = dtype.map_or(x.dtype(), |dtype| dtype.0);
    value.check_fits(dtype)?;
    let tensor = match (x.device(), &device) {
        (Some(there), None) => Tensor::full(x.shape(), value, dtype)?.to_device(there)?,
        _ if x.value().is_abstract() => luxon::Value::abstract_of(dtype, x.shape())?.into(),
        _ => Tensor::full(x.shape(), value, dtype)?,
    };
    Ok(moved(tensor, device)?.into())
}

/// Zeros in the shape and dtype of x.
#[pyfunction]
#[pyo3(signature = (x, /, *, dtype=None, device=None))]
fn zeros_like(x: TensorArg, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    alike(&x, Scalar::Int(0), dtype, device)
}

/// Ones in the shape and dtype of x.
#[pyfunction]
#[pyo3(signature = (x, /, *, dtype=None, device=None))]
fn ones_like(x: TensorArg, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    alike(&x, Scalar::Int(1), dtype, device)
}

/// A tensor of the shape and dtype of x whose contents do not matter: zeros.
#[pyfunction]
#[pyo3(signature = (x, /, *, dtype=None, device=None))]
fn empty_like(x: TensorArg, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    alike(&x, Scalar::Int(0), dtype, device)
}

/// One number in the shape and dtype of x.
#[pyfunction]
#[pyo3(signature = (x, /, fill_value, *, dtype=None, device=None))]
fn full_like(x: TensorArg, fill_value: &Bound<'_, PyAny>, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    let value = match scalar_of(fill_value)? {
        Some(scalar) => scalar,
        None => to_tensor(fill_value)?.item()?,
    };
    alike(&x, value, dtype, device)
}

/// The elements converted to a dtype: the tensor itself where it has it and `copy` is false.
#[pyfunction]
#[pyo3(signature = (x, dtype, /, *, copy=true, device=None))]
fn astype(py: Python<'_>, x: TensorArg, dtype: DTypeArg, copy: bool, device: Option<DeviceArg>) -> Out<PyTensor> {
    // A tensor never changes, so a copy could not be told from the tensor.
    let _ = copy;
    let cast = crate::gil::released(py, crate::gil::elements(x.count()), || x.cast(dtype.0))?;
    Ok(moved(cast, device)?.into())
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(asarray, module)?)?;
    module.add_function(wrap_pyfunction!(from_dlpack, module)?)?;
    module.add_function(wrap_pyfunction!(zeros, module)?)?;
    module.add_function(wrap_pyfunction!(ones, module)?)?;
    module.add_function(wrap_pyfunction!(empty, module)?)?;
    module.add_function(wrap_pyfunction!(full, module)?)?;
    module.add_function(wrap_pyfunction!(zeros_like, module)?)?;
    module.add_function(wrap_pyfunction!(ones_like, module)?)?;
    module.add_function(wrap_pyfunction!(empty_like, module)?)?;
    module.add_function(wrap_pyfunction!(full_like, module)?)?;
    module.add_function(wrap_pyfunction!(astype, module)?)
}
