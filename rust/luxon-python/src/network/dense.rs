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
    activated(py, &x.0, &weight.0, bias.as_ref().map(|bias| &bias.0), map, activation)
}

/// The product with the function `map`, or else with `activation` called on it.
fn activated<'py>(
    py: Python<'py>,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    map: Option<Option<Map>>,
    activation: Option<&Bound<'py, PyAny>>,
) -> Out<Bound<'py, PyAny>> {
    if x.dtype() != weight.dtype() {
        return Err(Error::dtype(
            "linear",
            format_args!("input of dtype {} and weight of dtype {}; cast one with astype", x.dtype(), weight.dtype()),
        )
        .into());
    }
    let rows = weight.shape().first().copied().unwrap_or(1);
    let nanoseconds = x.count() as f64 * rows as f64 * 0.02;
    let y = released(py, nanoseconds, || dense::linear(x, weight, bias, map.flatten()))?;
    let y = Bound::new(py, PyTensor(y))?.into_any();
    match (map, activation) {
        (None, Some(function)) => Ok(function.call1((y,))?),
        _ => Ok(y),
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
    /// [`DenseCall::run`] with parameters of which no object is made; none where they are no tensors.
    pub fn run_within<'py>(&self, x: &Bound<'py, PyAny>, ps: &Part<'_>) -> Option<Out<Bound<'py, PyAny>>> {
        let weight = ps.tensor(x.py(), "weight")?;
        let bias = if self.use_bias { Some(ps.tensor(x.py(), "bias")?) } else { None };
        Some(self.product(x, weight, bias))
    }

    fn product<'py>(&self, x: &Bound<'py, PyAny>, weight: &Tensor, bias: Option<&Tensor>) -> Out<Bound<'py, PyAny>> {
        let py = x.py();
        activated(py, &Argument::any(x)?.tensor(), weight, bias, self.map, Some(self.activation.bind(py)))
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
    pub fn run<'py>(&self, x: &Bound<'py, PyAny>, ps: &Bound<'py, PyAny>) -> Out<Bound<'py, PyAny>> {
        let py = x.py();
        let weight = parameter(ps, intern!(py, "weight"))?;
        let bias = self.use_bias.then(|| parameter(ps, intern!(py, "bias"))).transpose()?;
        self.product(x, &weight, bias.as_deref())
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.activation)
    }
}
