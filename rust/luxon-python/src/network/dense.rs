//! The dense layer's product, as a function and as what a chain calls.

use std::borrow::Cow;

use luxon::op::elementwise::Map;
use luxon::op::fused::dense;
use luxon::{Error, Tensor};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::activation::fused;
use crate::convert::{Argument, TensorArg, to_tensor};
use crate::error::Out;
use crate::gil::released;
use crate::tensor::PyTensor;
use crate::tree::{Part, PyTree};

/// activation(x W^T + b) for x (..., in), weight (out, in), bias (out,) or None.
///
/// All in one floating dtype. Activations of luxon are computed in the same pass; any other function is
/// called on the product.
#[pyfunction]
#[pyo3(signature = (x, weight, bias = None, activation = None))]
pub(super) fn linear<'py>(
    py: Python<'py>,
    x: TensorArg,
    weight: TensorArg,
    bias: Option<TensorArg>,
    activation: Option<&Bound<'py, PyAny>>,
) -> Out<Bound<'py, PyAny>> {
    let map = match activation {
        None => Some(None),
        Some(function) => fused(py, function)?,
    };
    let y = product(py, &x.0, &weight.0, bias.as_ref().map(|bias| &bias.0), map.flatten())?;
    finished(py, y, activation.filter(|_| map.is_none()))
}

/// The product with the function `map`.
fn product(
    py: Python<'_>,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    map: Option<Map>,
) -> luxon::Result<Tensor> {
    if x.dtype() != weight.dtype() {
        return Err(Error::dtype(
            "linear",
            format_args!("input of dtype {} and weight of dtype {}; cast one with astype", x.dtype(), weight.dtype()),
        ));
    }
    let rows = weight.shape().first().copied().unwrap_or(1);
    let nanoseconds = x.count() as f64 * rows as f64 * 0.02;
    released(py, nanoseconds, || dense::linear(x, weight, bias, map))
}

/// The product as an object, with `activation` called on it.
fn finished<'py>(py: Python<'py>, y: Tensor, activation: Option<&Bound<'py, PyAny>>) -> Out<Bound<'py, PyAny>> {
    let y = Bound::new(py, PyTensor(y))?.into_any();
    match activation {
        Some(function) => Ok(function.call1((y,))?),
        None => Ok(y),
    }
}

/// A layer's parameter, without an object of Python where none is needed.
fn parameter<'a>(ps: &'a Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<Cow<'a, Tensor>> {
    let known = ps.cast_exact::<PyTree>().ok().and_then(|tree| tree.get().tensor(ps.py(), name.to_str().ok()?));
    match known {
        Some(tensor) => Ok(Cow::Borrowed(tensor)),
        None => to_tensor(&ps.get_item(name)?).map(Cow::Owned),
    }
}

/// What a dense layer computes, `run(x, ps)`, without a frame of Python: its activation is looked up once.
#[pyclass(frozen, module = "luxon._core")]
pub struct DenseCall {
    activation: Py<PyAny>,
    map: Option<Option<Map>>,
    use_bias: bool,
}

impl DenseCall {
    /// [`DenseCall::run`] of which no object is made; none where the parameters are no tensors, or the activation is a
    /// function of Python's.
    #[inline]
    pub fn run_within(&self, py: Python<'_>, x: &Tensor, ps: &Part<'_>) -> Option<Out<Tensor>> {
        let map = self.map?;
        let weight = ps.tensor(py, "weight")?;
        let bias = if self.use_bias { Some(ps.tensor(py, "bias")?) } else { None };
        Some(product(py, x, weight, bias, map).map_err(Into::into))
    }
}

#[pymethods]
impl DenseCall {
    #[new]
    #[pyo3(signature = (activation, use_bias, /))]
    fn new(activation: Bound<'_, PyAny>, use_bias: bool) -> Out<DenseCall> {
        let map = fused(activation.py(), &activation)?;
        Ok(DenseCall { activation: activation.unbind(), map, use_bias })
    }

    /// activation(x W^T + b) with the entries `weight` and `bias` of `ps`.
    #[pyo3(signature = (x, ps, /))]
    fn run<'py>(&self, x: &Bound<'py, PyAny>, ps: &Bound<'py, PyAny>) -> Out<Bound<'py, PyAny>> {
        let py = x.py();
        let weight = parameter(ps, intern!(py, "weight"))?;
        let bias = self.use_bias.then(|| parameter(ps, intern!(py, "bias"))).transpose()?;
        let y = product(py, &Argument::any(x)?.tensor(), &weight, bias.as_deref(), self.map.flatten())?;
        finished(py, y, Some(self.activation.bind(py)).filter(|_| self.map.is_none()))
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.activation)
    }
}
