//! Convolution and transposed convolution.

use luxon::{ConvOptions, Error, Margins};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::activation::fused;
use super::optional;
use crate::convert::{TensorArg, index_list, integer, is_list};
use crate::error::{Out, raise};
use crate::gil::released;
use crate::tensor::PyTensor;

/// Counts that must not be negative, one or one for each spatial axis.
struct Counts(Vec<usize>);

fn count(op: &str, value: isize, what: &str) -> PyResult<usize> {
    usize::try_from(value)
        .map_err(|_| raise(Error::value(op, format_args!("{what} must not be negative, got {value}"))))
}

impl Counts {
    fn of(op: &str, object: &Bound<'_, PyAny>, what: &str) -> PyResult<Counts> {
        let values = index_list(object, format_args!("{op}: {what}"))?;
        Ok(Counts(values.into_iter().map(|value| count(op, value, what)).collect::<PyResult<_>>()?))
    }
}

/// "same", "valid", an int, one int for each spatial axis, or one pair (before, after) for each.
pub(super) fn margins(op: &str, object: &Bound<'_, PyAny>) -> PyResult<Margins> {
    if let Ok(text) = object.cast::<PyString>() {
        return match text.to_str()? {
            "same" => Ok(Margins::Same),
            "valid" => Ok(Margins::Pairs(vec![(0, 0)])),
            other => Err(raise(Error::value(
                op,
                format_args!("padding must be \"same\", \"valid\", an int, ints or pairs of ints, got {other:?}"),
            ))),
        };
    }
    let symmetric = |item: &Bound<'_, PyAny>| {
        let value = count(op, integer(item, format_args!("{op}: padding"))?, "padding")?;
        Ok((value, value))
    };
    if !is_list(object) {
        return Ok(Margins::Pairs(vec![symmetric(object)?]));
    }
    let pair = |item: PyResult<Bound<'_, PyAny>>| {
        let item = item?;
        if !is_list(&item) {
            return symmetric(&item);
        }
        match index_list(&item, format_args!("{op}: padding"))?[..] {
            [before, after] => Ok((count(op, before, "padding")?, count(op, after, "padding")?)),
            _ => Err(PyTypeError::new_err(format!(
                "{op}: padding must have a pair (before, after) for each spatial axis"
            ))),
        }
    };
    Ok(Margins::Pairs(object.try_iter()?.map(pair).collect::<PyResult<_>>()?))
}

fn options(
    op: &str,
    stride: &Bound<'_, PyAny>,
    padding: &Bound<'_, PyAny>,
    dilation: &Bound<'_, PyAny>,
    groups: isize,
) -> PyResult<ConvOptions> {
    Ok(ConvOptions {
        stride: Counts::of(op, stride, "stride")?.0,
        padding: margins(op, padding)?,
        dilation: Counts::of(op, dilation, "dilation")?.0,
        groups: count(op, groups, "groups")?,
        activation: None,
    })
}

/// Default arguments: an int stands for every axis.
fn or_int<'py>(py: Python<'py>, object: Option<Bound<'py, PyAny>>, default: usize) -> PyResult<Bound<'py, PyAny>> {
    object.map_or_else(|| Ok(default.into_pyobject(py)?.into_any()), Ok)
}

/// The convolution of x (batch, channels, spatial...) by weight; see luxon.functional.conv.
///
/// Activations of luxon are computed in the same pass; any other function is called on the result.
#[pyfunction]
#[pyo3(signature = (x, weight, bias = None, stride = None, padding = None, dilation = None, groups = 1, activation = None))]
pub fn conv<'py>(
    py: Python<'py>,
    x: TensorArg,
    weight: TensorArg,
    bias: Option<TensorArg>,
    stride: Option<Bound<'py, PyAny>>,
    padding: Option<Bound<'py, PyAny>>,
    dilation: Option<Bound<'py, PyAny>>,
    groups: isize,
    activation: Option<&Bound<'py, PyAny>>,
) -> Out<Bound<'py, PyAny>> {
    let mut options =
        options("conv", &or_int(py, stride, 1)?, &or_int(py, padding, 0)?, &or_int(py, dilation, 1)?, groups)?;
    let map = match activation {
        None => Some(None),
        Some(function) => fused(py, function)?,
    };
    options.activation = map.flatten();
    let nanoseconds = x.count() as f64 * weight.count() as f64 * 0.02;
    let y = released(py, nanoseconds, || luxon::conv(&x.0, &weight.0, optional(&bias), &options))?;
    finished(py, y, map.is_none(), activation)
}

fn finished<'py>(
    py: Python<'py>,
    y: luxon::Tensor,
    apart: bool,
    activation: Option<&Bound<'py, PyAny>>,
) -> Out<Bound<'py, PyAny>> {
    let y = Bound::new(py, PyTensor(y))?.into_any();
    match activation {
        Some(function) if apart => Ok(function.call1((y,))?),
        _ => Ok(y),
    }
}

/// The transposed convolution; see luxon.functional.conv_transpose.
#[pyfunction]
#[pyo3(signature = (x, weight, bias = None, stride = None, padding = None, output_padding = None, dilation = None, groups = 1, activation = None))]
pub fn conv_transpose<'py>(
    py: Python<'py>,
    x: TensorArg,
    weight: TensorArg,
    bias: Option<TensorArg>,
    stride: Option<Bound<'py, PyAny>>,
    padding: Option<Bound<'py, PyAny>>,
    output_padding: Option<Bound<'py, PyAny>>,
    dilation: Option<Bound<'py, PyAny>>,
    groups: isize,
    activation: Option<&Bound<'py, PyAny>>,
) -> Out<Bound<'py, PyAny>> {
    let mut options = options(
        "conv_transpose",
        &or_int(py, stride, 1)?,
        &or_int(py, padding, 0)?,
        &or_int(py, dilation, 1)?,
        groups,
    )?;
    let more = Counts::of("conv_transpose", &or_int(py, output_padding, 0)?, "output_padding")?.0;
    let map = match activation {
        None => Some(None),
        Some(function) => fused(py, function)?,
    };
    options.activation = map.flatten();
    let nanoseconds = x.count() as f64 * weight.count() as f64 * 0.02;
    let y = released(py, nanoseconds, || luxon::conv_transpose(&x.0, &weight.0, optional(&bias), &more, &options))?;
    finished(py, y, map.is_none(), activation)
}
