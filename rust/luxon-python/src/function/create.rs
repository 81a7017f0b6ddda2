//! Functions that make tensors.

use std::sync::Arc;

use luxon::{DType, Error, Indexing, Scalar, Tensor};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{Count, ShapeArg, TensorArg, from_nested, is_list, scalar_of, to_tensor};
use crate::device::{DeviceArg, PyDevice, moved};
use crate::dtype::DTypeArg;
use crate::error::{Failure, Out};
use crate::gil::{elements, released};
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
    } else if copy != Some(false) && is_list(obj) {
        from_nested(obj, wanted)?
    } else {
        let has_memory = || -> PyResult<bool> {
            Ok(obj.hasattr("__dlpack__")? || obj.hasattr("__cuda_array_interface__")? || obj.hasattr("__array__")?)
        };
        if copy == Some(false) && !has_memory()? {
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
    if tensor.is_tracked() || tensor.value().is_abstract() {
        return Ok(tensor.clone());
    }
    memory::copied(py, tensor)
}

/// A tensor that shares the memory of an object with `__dlpack__`, on the host or on a CUDA device.
///
/// With `copy=None` the memory is shared wherever possible: nobody may write to it afterwards. On another `device`
/// than the object's it is always a copy.
#[pyfunction]
#[pyo3(signature = (x, /, *, device=None, copy=None))]
fn from_dlpack(x: &Bound<'_, PyAny>, device: Option<DeviceArg>, copy: Option<bool>) -> Out<PyTensor> {
    let Some(device) = device else { return Ok(dlpack::import(x, copy)?.tensor.into()) };
    let shared = dlpack::import(x, copy.filter(|copy| !copy))?;
    let stays = match (shared.tensor.value().device(), &device.0.0) {
        (None, None) => true,
        (Some(own), Some(wanted)) => Arc::ptr_eq(own, wanted),
        _ => false,
    };
    Ok(match (stays, copy) {
        (true, Some(true)) if x.is_instance_of::<PyTensor>() => duplicate(x.py(), &shared.tensor)?.into(),
        (true, Some(true)) => shared.into_constant(x.py())?.into(),
        (true, _) => shared.tensor.into(),
        (false, Some(false)) => return Err(no_copy("from_dlpack: another device is reached by a copy only")),
        (false, _) => moved(shared.tensor, Some(device))?.into(),
    })
}

/// One value in a shape.
fn constant(py: Python<'_>, shape: &ShapeArg, value: Scalar, dtype: DType, device: Option<DeviceArg>) -> Out<PyTensor> {
    let sizes = shape.sizes()?;
    if let Some(DeviceArg(PyDevice(Some(device)))) = &device {
        return Ok(
            Tensor::from(luxon::Value::filled_on(device, dtype, &luxon::Shape::from_slice(&sizes)?, value)?).into()
        );
    }
    let nanoseconds = sizes.iter().fold(0.3, |total, &size| total * size as f64);
    Ok(moved(released(py, nanoseconds, || Tensor::full(&sizes, value, dtype))?, device)?.into())
}

fn or_float(dtype: Option<DTypeArg>) -> DType {
    dtype.map_or(DType::DEFAULT_FLOAT, |dtype| dtype.0)
}

/// Zeros.
#[pyfunction]
#[pyo3(signature = (shape, *, dtype=None, device=None))]
fn zeros(py: Python<'_>, shape: ShapeArg, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    constant(py, &shape, Scalar::Int(0), or_float(dtype), device)
}

/// Ones.
#[pyfunction]
#[pyo3(signature = (shape, *, dtype=None, device=None))]
fn ones(py: Python<'_>, shape: ShapeArg, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    constant(py, &shape, Scalar::Int(1), or_float(dtype), device)
}

/// A tensor whose contents do not matter: zeros.
#[pyfunction]
#[pyo3(signature = (shape, *, dtype=None, device=None))]
fn empty(py: Python<'_>, shape: ShapeArg, dtype: Option<DTypeArg>, device: Option<DeviceArg>) -> Out<PyTensor> {
    constant(py, &shape, Scalar::Int(0), or_float(dtype), device)
}

/// One number in a shape; its dtype is the number's default unless given.
#[pyfunction]
#[pyo3(signature = (shape, fill_value, *, dtype=None, device=None))]
fn full(
    py: Python<'_>,
    shape: ShapeArg,
    fill_value: &Bound<'_, PyAny>,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
) -> Out<PyTensor> {
    match scalar_of(fill_value)? {
        Some(scalar) => constant(py, &shape, scalar, dtype.map_or(scalar.dtype(), |dtype| dtype.0), device),
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
        (Some(there), None) => luxon::Value::filled_on(there, dtype, x.shape(), value)?.into(),
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
fn full_like(
    x: TensorArg,
    fill_value: &Bound<'_, PyAny>,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
) -> Out<PyTensor> {
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
    let cast = released(py, elements(x.count()), || x.cast(dtype.0))?;
    Ok(moved(cast, device)?.into())
}

/// A number argument.
fn number(object: &Bound<'_, PyAny>, what: &str) -> Out<Scalar> {
    if let Some(scalar) = scalar_of(object)? {
        return Ok(scalar);
    }
    match object.cast::<PyTensor>() {
        Ok(tensor) if tensor.get().0.rank() == 0 => Ok(tensor.get().0.item()?),
        _ => Err(Error::dtype(what, "the bounds must be numbers").into()),
    }
}

/// The numbers from start (0 unless given) in steps up to, but not including, stop.
#[pyfunction]
#[pyo3(signature = (start, /, stop=None, step=None, *, dtype=None, device=None))]
fn arange(
    start: &Bound<'_, PyAny>,
    stop: Option<&Bound<'_, PyAny>>,
    step: Option<&Bound<'_, PyAny>>,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
) -> Out<PyTensor> {
    let first = number(start, "arange")?;
    let (first, last) = match stop {
        Some(stop) => (first, number(stop, "arange")?),
        None => (Scalar::Int(0), first),
    };
    let step = step.map_or(Ok(Scalar::Int(1)), |step| number(step, "arange"))?;
    Ok(moved(luxon::arange(first, last, step, dtype.map(|dtype| dtype.0))?, device)?.into())
}

/// `num` evenly spaced numbers from start to stop, which is one of them with `endpoint`.
#[pyfunction]
#[pyo3(signature = (start, stop, /, num, *, dtype=None, device=None, endpoint=true))]
fn linspace(
    start: &Bound<'_, PyAny>,
    stop: &Bound<'_, PyAny>,
    num: Count,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
    endpoint: bool,
) -> Out<PyTensor> {
    let (start, stop) = (number(start, "linspace")?.as_f64(), number(stop, "linspace")?.as_f64());
    let num = num.of("linspace", "num")?;
    Ok(moved(luxon::linspace(start, stop, num, endpoint, or_float(dtype))?, device)?.into())
}

/// A matrix with ones on diagonal k and zeros elsewhere.
#[pyfunction]
#[pyo3(signature = (n_rows, n_cols=None, /, *, k=0, dtype=None, device=None))]
fn eye(
    n_rows: Count,
    n_cols: Option<Count>,
    k: isize,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
) -> Out<PyTensor> {
    let rows = n_rows.of("eye", "n_rows")?;
    let columns = n_cols.map_or(Ok(rows), |n_cols| n_cols.of("eye", "n_cols"))?;
    Ok(moved(luxon::eye(rows, columns, k, or_float(dtype))?, device)?.into())
}

/// The coordinates of the grid that 1-d tensors span, one tensor for each.
#[pyfunction]
#[pyo3(signature = (*arrays, indexing="xy"))]
fn meshgrid<'py>(py: Python<'py>, arrays: &Bound<'py, PyTuple>, indexing: &str) -> Out<Bound<'py, PyTuple>> {
    let lists = super::manipulate::tensors(arrays)?;
    let indexing = match indexing {
        "xy" => Indexing::Xy,
        "ij" => Indexing::Ij,
        other => {
            return Err(
                Error::value("meshgrid", format_args!("indexing must be \"xy\" or \"ij\", not {other:?}")).into()
            );
        }
    };
    let grids = luxon::meshgrid(&lists.iter().collect::<Vec<_>>(), indexing)?;
    Ok(PyTuple::new(py, grids.into_iter().map(PyTensor))?)
}

/// For each integer a new last axis of size n with 1 at its place and 0 elsewhere.
#[pyfunction]
#[pyo3(signature = (indices, n, dtype=None))]
fn one_hot(indices: TensorArg, n: Count, dtype: Option<DTypeArg>) -> Out<PyTensor> {
    Ok(luxon::one_hot(&indices, n.of("one_hot", "n")?, or_float(dtype))?.into())
}

/// The lower triangle of each matrix: zeros above diagonal k.
#[pyfunction]
#[pyo3(signature = (x, /, *, k=0))]
fn tril(x: TensorArg, k: isize) -> Out<PyTensor> {
    Ok(x.tril(k)?.into())
}

/// The upper triangle of each matrix: zeros below diagonal k.
#[pyfunction]
#[pyo3(signature = (x, /, *, k=0))]
fn triu(x: TensorArg, k: isize) -> Out<PyTensor> {
    Ok(x.triu(k)?.into())
}

/// A matrix with a 1-d tensor as diagonal k, or diagonal k of a matrix.
#[pyfunction]
#[pyo3(signature = (x, k=0))]
fn diag(x: TensorArg, k: isize) -> Out<PyTensor> {
    Ok(x.diag(k)?.into())
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    macro_rules! add {
        ($($name:ident),* $(,)?) => { $(module.add_function(wrap_pyfunction!($name, module)?)?;)* };
    }
    add!(
        asarray,
        from_dlpack,
        zeros,
        ones,
        empty,
        full,
        zeros_like,
        ones_like,
        empty_like,
        full_like,
        astype,
        arange,
        linspace,
        eye,
        meshgrid,
        one_hot,
        tril,
        triu,
        diag,
    );
    Ok(())
}
