//! The fused operations that layers and losses are made of.

mod attention;
mod ctc;
mod recurrent;

use luxon::op::fused::{losses, normalise};
use luxon::{Error, Tensor, Value};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{Count, ShapeArg, TensorArg};
use crate::dtype::DTypeArg;
use crate::error::Out;
use crate::gil::released;
use crate::tensor::PyTensor;

mod activation;
mod chain;
mod conv;
mod dense;
mod pool;

fn optional(tensor: &Option<TensorArg>) -> Option<&Tensor> {
    tensor.as_ref().map(|tensor| &tensor.0)
}

/// Normalisation over the last `axes` axes; see luxon.nn.LayerNorm.
#[pyfunction]
#[pyo3(signature = (x, weight = None, bias = None, eps = 1e-5, axes = Count::new(1)), text_signature = "(x, weight=None, bias=None, eps=1e-5, axes=1)")]
fn layer_norm(
    py: Python<'_>,
    x: TensorArg,
    weight: Option<TensorArg>,
    bias: Option<TensorArg>,
    eps: f64,
    axes: Count,
) -> Out<PyTensor> {
    let nanoseconds = x.0.count() as f64;
    let axes = axes.of("layer_norm", "axes")?;
    Ok(PyTensor(released(py, nanoseconds, || {
        normalise::layer_norm(&x.0, optional(&weight), optional(&bias), axes, eps)
    })?))
}

/// Division by the root mean square over the last `axes` axes; see luxon.nn.RMSNorm.
#[pyfunction]
#[pyo3(signature = (x, weight = None, eps = 1e-5, axes = Count::new(1)), text_signature = "(x, weight=None, eps=1e-5, axes=1)")]
fn rms_norm(py: Python<'_>, x: TensorArg, weight: Option<TensorArg>, eps: f64, axes: Count) -> Out<PyTensor> {
    let axes = axes.of("rms_norm", "axes")?;
    Ok(PyTensor(released(py, x.0.count() as f64, || normalise::rms_norm(&x.0, optional(&weight), axes, eps))?))
}

/// Normalisation per channel by the batch's statistics: (y, mean, biased variance); see luxon.nn.BatchNorm.
#[pyfunction]
#[pyo3(signature = (x, weight = None, bias = None, eps = 1e-5))]
fn batch_norm(
    py: Python<'_>,
    x: TensorArg,
    weight: Option<TensorArg>,
    bias: Option<TensorArg>,
    eps: f64,
) -> Out<(PyTensor, PyTensor, PyTensor)> {
    let (y, mean, variance) =
        released(py, x.0.count() as f64, || normalise::batch_norm(&x.0, optional(&weight), optional(&bias), eps))?;
    Ok((PyTensor(y), PyTensor(mean), PyTensor(variance)))
}

/// Normalisation per channel by given statistics.
#[pyfunction]
#[pyo3(signature = (x, mean, variance, weight = None, bias = None, eps = 1e-5))]
fn batch_norm_inference(
    py: Python<'_>,
    x: TensorArg,
    mean: TensorArg,
    variance: TensorArg,
    weight: Option<TensorArg>,
    bias: Option<TensorArg>,
    eps: f64,
) -> Out<PyTensor> {
    let run = || normalise::batch_norm_inference(&x.0, &mean.0, &variance.0, optional(&weight), optional(&bias), eps);
    Ok(PyTensor(released(py, x.0.count() as f64, run)?))
}

/// Normalisation over groups of channels; see luxon.nn.GroupNorm.
#[pyfunction]
#[pyo3(signature = (x, groups, weight = None, bias = None, eps = 1e-5))]
fn group_norm(
    py: Python<'_>,
    x: TensorArg,
    groups: Count,
    weight: Option<TensorArg>,
    bias: Option<TensorArg>,
    eps: f64,
) -> Out<PyTensor> {
    let groups = groups.of("group_norm", "groups")?;
    Ok(PyTensor(released(py, x.0.count() as f64, || {
        normalise::group_norm(&x.0, groups, optional(&weight), optional(&bias), eps)
    })?))
}

/// Rows of `weight` (n, dim) at integer indices.
#[pyfunction]
#[pyo3(signature = (weight, indices))]
fn embedding(weight: TensorArg, indices: TensorArg) -> Out<PyTensor> {
    Ok(PyTensor(luxon::embedding(&weight.0, &indices.0)?))
}

fn reduction_of(loss: &str, reduction: &str) -> luxon::Result<losses::LossReduction> {
    match reduction {
        "mean" => Ok(losses::LossReduction::Mean),
        "sum" => Ok(losses::LossReduction::Sum),
        "none" => Ok(losses::LossReduction::None),
        other => Err(Error::value(
            loss,
            format_args!("reduction must be 'mean', 'sum', 'none' or a function, got {other:?}"),
        )),
    }
}

/// The squared error; see luxon.losses.mse.
#[pyfunction]
#[pyo3(signature = (prediction, target, reduction = "mean"))]
fn mse(py: Python<'_>, prediction: TensorArg, target: TensorArg, reduction: &str) -> Out<PyTensor> {
    let reduction = reduction_of("mse", reduction)?;
    Ok(PyTensor(released(py, prediction.0.count() as f64, || losses::mse(&prediction.0, &target.0, reduction))?))
}

/// The absolute error; see luxon.losses.mae.
#[pyfunction]
#[pyo3(signature = (prediction, target, reduction = "mean"))]
fn mae(py: Python<'_>, prediction: TensorArg, target: TensorArg, reduction: &str) -> Out<PyTensor> {
    let reduction = reduction_of("mae", reduction)?;
    Ok(PyTensor(released(py, prediction.0.count() as f64, || losses::mae(&prediction.0, &target.0, reduction))?))
}

/// The Huber loss; see luxon.losses.huber.
#[pyfunction]
#[pyo3(signature = (prediction, target, delta = 1.0, reduction = "mean"))]
fn huber(py: Python<'_>, prediction: TensorArg, target: TensorArg, delta: f64, reduction: &str) -> Out<PyTensor> {
    let reduction = reduction_of("huber", reduction)?;
    Ok(PyTensor(released(py, 4.0 * prediction.0.count() as f64, || {
        losses::huber(&prediction.0, &target.0, delta, reduction)
    })?))
}

/// Binary cross entropy of logits; see luxon.losses.binary_cross_entropy.
#[pyfunction]
#[pyo3(signature = (logits, targets, label_smoothing = 0.0, weight = None, pos_weight = None, reduction = "mean"))]
fn binary_cross_entropy(
    py: Python<'_>,
    logits: TensorArg,
    targets: TensorArg,
    label_smoothing: f64,
    weight: Option<TensorArg>,
    pos_weight: Option<TensorArg>,
    reduction: &str,
) -> Out<PyTensor> {
    let reduction = reduction_of("binary_cross_entropy", reduction)?;
    let (weight, pos_weight) = (optional(&weight), optional(&pos_weight));
    let options = losses::BinaryCrossEntropyOptions { label_smoothing, weight, pos_weight, reduction };
    let nanoseconds = 4.0 * logits.0.count() as f64;
    Ok(PyTensor(released(py, nanoseconds, || losses::binary_cross_entropy(&logits.0, &targets.0, &options))?))
}

/// Cross entropy of logits against classes or distributions; see luxon.losses.cross_entropy.
#[pyfunction]
#[pyo3(signature = (logits, targets, axis = -1, label_smoothing = 0.0, weight = None, ignore_index = None, reduction = "mean"))]
fn cross_entropy(
    py: Python<'_>,
    logits: TensorArg,
    targets: TensorArg,
    axis: isize,
    label_smoothing: f64,
    weight: Option<TensorArg>,
    ignore_index: Option<i64>,
    reduction: &str,
) -> Out<PyTensor> {
    let reduction = reduction_of("cross_entropy", reduction)?;
    let options =
        losses::CrossEntropyOptions { axis, label_smoothing, weight: optional(&weight), ignore_index, reduction };
    Ok(PyTensor(released(py, 2.0 * logits.0.count() as f64, || {
        losses::cross_entropy(&logits.0, &targets.0, &options)
    })?))
}

/// A tensor of which only shape and dtype are known: operations on it give abstract tensors.
#[pyfunction]
#[pyo3(signature = (shape, dtype))]
fn r#abstract(shape: ShapeArg, dtype: DTypeArg) -> Out<PyTensor> {
    let shape = luxon::Shape::from_slice(&shape.sizes()?)?;
    Ok(PyTensor(Tensor::from(Value::abstract_of(dtype.0, &shape)?)))
}

/// `function(*arguments)` where what it fills with constants or random numbers has shape and dtype only.
#[pyfunction]
#[pyo3(signature = (function, *arguments))]
fn abstractly<'py>(function: &Bound<'py, PyAny>, arguments: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    luxon::runtime::shapes::only(|| function.call1(arguments))
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    macro_rules! add {
        ($($name:ident),*) => { $(module.add_function(wrap_pyfunction!($name, module)?)?;)* };
    }
    module.add_class::<chain::ChainLoop>()?;
    module.add_class::<dense::DenseCall>()?;
    module.add_function(wrap_pyfunction!(dense::linear, module)?)?;
    module.add_function(wrap_pyfunction!(conv::conv, module)?)?;
    module.add_function(wrap_pyfunction!(conv::conv_transpose, module)?)?;
    add!(
        abstractly,
        layer_norm,
        rms_norm,
        batch_norm,
        batch_norm_inference,
        group_norm,
        embedding,
        cross_entropy,
        mse,
        mae,
        huber,
        binary_cross_entropy,
        r#abstract
    );
    ctc::register(module)?;
    pool::register(module)?;
    attention::register(module)?;
    recurrent::register(module)
}
