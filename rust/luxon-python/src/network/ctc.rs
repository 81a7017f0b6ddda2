//! The loss of a label sequence.

use luxon::{CtcOptions, Error};
use pyo3::prelude::*;

use super::reduction_of;
use crate::convert::TensorArg;
use crate::error::Out;
use crate::gil::released;
use crate::tensor::PyTensor;

/// Connectionist temporal classification; see luxon.losses.ctc.
#[pyfunction]
#[pyo3(signature = (log_probabilities, targets, input_lengths, target_lengths, blank = 0, zero_infinity = false, reduction = "mean"))]
fn ctc(
    py: Python<'_>,
    log_probabilities: TensorArg,
    targets: TensorArg,
    input_lengths: TensorArg,
    target_lengths: TensorArg,
    blank: i64,
    zero_infinity: bool,
    reduction: &str,
) -> Out<PyTensor> {
    let reduction = reduction_of("ctc", reduction)?;
    let Ok(blank) = usize::try_from(blank) else {
        return Err(Error::value("ctc", format_args!("blank must not be negative, got {blank}")).into());
    };
    let options = CtcOptions { blank, zero_infinity, reduction };
    let (lines, lengths) = (&log_probabilities.0, &target_lengths.0);
    Ok(PyTensor(released(py, 10.0 * lines.count() as f64, || {
        luxon::ctc(lines, &targets.0, &input_lengths.0, lengths, &options)
    })?))
}

/// Adds the function to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ctc, module)?)
}
