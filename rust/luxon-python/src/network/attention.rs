//! Attention.

use luxon::op::fused::attention::{AttentionOptions, scaled_dot_product_attention as run};
use pyo3::prelude::*;

use super::optional;
use crate::convert::TensorArg;
use crate::error::Out;
use crate::gil::released;
use crate::tensor::PyTensor;

/// Attention over (..., heads, time, dim), or (..., time, heads, dim) where `time_first`; see
/// luxon.functional.scaled_dot_product_attention.
#[pyfunction]
#[pyo3(signature = (q, k, v, mask = None, bias = None, causal = false, scale = None, time_first = false))]
fn scaled_dot_product_attention(
    py: Python<'_>,
    q: TensorArg,
    k: TensorArg,
    v: TensorArg,
    mask: Option<TensorArg>,
    bias: Option<TensorArg>,
    causal: bool,
    scale: Option<f64>,
    time_first: bool,
) -> Out<PyTensor> {
    let options = AttentionOptions { mask: optional(&mask), bias: optional(&bias), causal, scale, time_first };
    let nanoseconds = 10.0 * q.0.count() as f64;
    Ok(PyTensor(released(py, nanoseconds, || run(&q.0, &k.0, &v.0, options))?))
}

/// Adds the function to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(scaled_dot_product_attention, module)?)
}
