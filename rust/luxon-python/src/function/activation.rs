//! Activation functions, with PyTorch's formulas, parameters and defaults.

use luxon::op::elementwise::{Kernel, map};
use luxon::{Error, Tensor};
use pyo3::prelude::*;

use super::elementwise::{one, unary};
use crate::convert::{Argument, AxesArg, TensorArg};
use crate::error::Out;
use crate::gil::{elements, released};
use crate::tensor::PyTensor;

unary! { register_plain:
    relu Relu "max(x, 0); its slope at 0 is 0.";
    relu6 Relu6 "min(max(x, 0), 6).";
    selu Selu "The self-normalising unit, scale * elu(x, alpha) (Klambauer et al. 2017).";
    silu Silu "x * sigmoid(x).";
    swish Silu "x * sigmoid(x); the same as silu.";
    hard_swish HardSwish "x * relu6(x + 3) / 6.";
    mish Mish "x * tanh(softplus(x)).";
    sigmoid Sigmoid "1 / (1 + exp(-x)).";
    hard_sigmoid HardSigmoid "relu6(x + 3) / 6.";
    log_sigmoid LogSigmoid "log(sigmoid(x)), without overflow.";
    tanh Tanh "The hyperbolic tangent.";
    tanh_shrink TanhShrink "x - tanh(x).";
    softsign Softsign "x / (1 + |x|).";
    log_cosh LogCosh "log(cosh(x)), without overflow.";
    lisht Lisht "x * tanh(x).";
}

macro_rules! with_number {
    ($($name:ident $kernel:ident $parameter:ident = $default:literal $text:literal $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[pyfunction]
            #[pyo3(signature = (x, $parameter = $default), text_signature = $text)]
            fn $name(x: &Bound<'_, PyAny>, $parameter: f64) -> Out<PyTensor> {
                scaled(Kernel::$kernel, x, &[$parameter])
            }
        )*

        fn register_numbers(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add_function(wrap_pyfunction!($name, module)?)?;)*
            Ok(())
        }
    };
}

with_number! {
    leaky_relu LeakyRelu slope = 0.01 "(x, slope=0.01)" "x for x > 0, else slope * x.";
    elu Elu alpha = 1.0 "(x, alpha=1.0)" "x for x > 0, else alpha * (exp(x) - 1).";
    celu Celu alpha = 1.0 "(x, alpha=1.0)" "x for x > 0, else alpha * (exp(x / alpha) - 1).";
    hard_shrink HardShrink threshold = 0.5 "(x, threshold=0.5)" "x where |x| > threshold, else 0.";
    threshold_relu ThresholdRelu threshold = 1.0 "(x, threshold=1.0)" "x where x > threshold, else 0.";
}

/// A kernel with parameters.
fn scaled(kernel: Kernel, x: &Bound<'_, PyAny>, parameters: &[f64]) -> Out<PyTensor> {
    let py = x.py();
    let x = Argument::any(x)?;
    let operands = std::iter::once(x.operand()).chain(parameters.iter().map(|&parameter| parameter.into()));
    let operands: Vec<_> = operands.collect();
    Ok(released(py, x.count() as f64 * f64::from(kernel.cost()), || map(kernel, &operands))?.into())
}

/// x, unchanged.
#[pyfunction]
fn identity<'py>(x: Bound<'py, PyAny>) -> Bound<'py, PyAny> {
    x
}

/// The Gaussian error linear unit: x * Phi(x); `approximate="tanh"` for the tanh formula.
#[pyfunction]
#[pyo3(signature = (x, approximate="none"))]
fn gelu(x: &Bound<'_, PyAny>, approximate: &str) -> Out<PyTensor> {
    match approximate {
        "none" => one(Kernel::Gelu, x),
        "tanh" => one(Kernel::GeluTanh, x),
        other => {
            Err(Error::value("gelu", format_args!("approximate must be \"none\" or \"tanh\", not {other:?}")).into())
        }
    }
}

/// x limited to [min, max].
#[pyfunction]
#[pyo3(signature = (x, min=-1.0, max=1.0), text_signature = "(x, min=-1.0, max=1.0)")]
fn hard_tanh(x: &Bound<'_, PyAny>, min: f64, max: f64) -> Out<PyTensor> {
    scaled(Kernel::HardTanh, x, &[min, max])
}

/// x moved towards 0 by the threshold, which is not negative; 0 within it.
#[pyfunction]
#[pyo3(signature = (x, threshold=0.5), text_signature = "(x, threshold=0.5)")]
fn soft_shrink(x: &Bound<'_, PyAny>, threshold: f64) -> Out<PyTensor> {
    if threshold < 0.0 {
        return Err(Error::value("soft_shrink", format_args!("threshold must not be negative, got {threshold}")).into());
    }
    scaled(Kernel::SoftShrink, x, &[threshold])
}

/// log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold.
#[pyfunction]
#[pyo3(signature = (x, beta=1.0, threshold=20.0))]
fn softplus(x: &Bound<'_, PyAny>, beta: f64, threshold: f64) -> Out<PyTensor> {
    scaled(Kernel::Softplus, x, &[beta, threshold])
}

/// a * sigmoid(b), where a and b are the halves of x along the axis.
#[pyfunction]
#[pyo3(signature = (x, axis=-1), text_signature = "(x, axis=-1)")]
fn glu(py: Python<'_>, x: TensorArg, axis: isize) -> Out<PyTensor> {
    let x = x.0;
    let at = luxon::layout::resolve_axis("glu", axis, x.rank())?;
    let size = x.shape()[at];
    if !size.is_multiple_of(2) {
        return Err(Error::shape("glu", format_args!("axis {axis} has size {size}, which has no halves")).into());
    }
    let run =
        || -> luxon::Result<Tensor> { x.narrow(at, 0, size / 2)?.mul(&x.narrow(at, size / 2, size / 2)?.sigmoid()?) };
    Ok(released(py, x.count() as f64, run)?.into())
}

/// exp(x) / sum(exp(x)) along an axis, without overflow.
#[pyfunction]
#[pyo3(signature = (x, axis=-1), text_signature = "(x, axis=-1)")]
fn softmax(py: Python<'_>, x: TensorArg, axis: isize) -> Out<PyTensor> {
    Ok(released(py, elements(x.count()), || x.softmax(axis))?.into())
}

/// The logarithm of the softmax along an axis, accurate also where that underflows.
#[pyfunction]
#[pyo3(signature = (x, axis=-1), text_signature = "(x, axis=-1)")]
fn log_softmax(py: Python<'_>, x: TensorArg, axis: isize) -> Out<PyTensor> {
    Ok(released(py, elements(x.count()), || x.log_softmax(axis))?.into())
}

/// log(sum(exp(x))) over axes, without overflow.
#[pyfunction]
#[pyo3(signature = (x, axis=None, keepdims=false))]
fn logsumexp(py: Python<'_>, x: TensorArg, axis: Option<AxesArg>, keepdims: bool) -> Out<PyTensor> {
    let axes = axis.map(|axis| axis.0);
    Ok(released(py, elements(x.count()), || x.logsumexp(axes.as_deref(), keepdims))?.into())
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    register_plain(module)?;
    register_numbers(module)?;
    macro_rules! add {
        ($($name:ident),* $(,)?) => { $(module.add_function(wrap_pyfunction!($name, module)?)?;)* };
    }
    add!(identity, gelu, hard_tanh, soft_shrink, softplus, glu, softmax, log_softmax, logsumexp);
    Ok(())
}
