//! Pooling and resampling of the spatial axes.

use luxon::op::fused::{pooling, upsample as resampling};
use luxon::{Error, Interpolation, Margins, PoolPadding, PoolWindow, UpsampleTo};
use pyo3::prelude::*;

use super::conv::margins;
use crate::convert::{TensorArg, index_list, is_list, scalar_of};
use crate::error::Out;
use crate::gil::released;
use crate::tensor::PyTensor;

/// The number of spatial axes: as many as a list has entries, all after the second for a single number.
fn spatial_axes(op: &str, entries: &Bound<'_, PyAny>, rank: usize) -> luxon::Result<usize> {
    if is_list(entries) {
        return entries.len().map_err(|_| Error::value(op, "lists must have a length"));
    }
    match rank {
        3..=5 => Ok(rank - 2),
        _ => Err(Error::shape(
            op,
            format_args!("got {rank} axes, expected (batch, channels, 1 to 3 spatial axes), or one entry for each"),
        )),
    }
}

/// One number for each of `count` axes, from a list of them or a single one.
fn per_axis(op: &str, what: &str, entries: &Bound<'_, PyAny>, count: usize) -> Out<Vec<usize>> {
    let given = index_list(entries, format_args!("{op}: {what}"))?;
    let sizes = given.iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<usize>, _>>();
    let sizes = sizes.map_err(|_| Error::value(op, format_args!("{what} must not be negative, got {given:?}")))?;
    match sizes[..] {
        [size] if !is_list(entries) => Ok(vec![size; count]),
        _ if sizes.len() == count => Ok(sizes),
        _ => {
            let text = format!("{what} has {} entries for {count} axes", sizes.len());
            Err(Error::value(op, text).into())
        }
    }
}

/// "same" (none), or amounts before and after each axis.
fn padding_of(op: &str, padding: &Bound<'_, PyAny>, count: usize) -> Out<Option<Vec<(usize, usize)>>> {
    match margins(op, padding)? {
        Margins::Same => Ok(None),
        Margins::Pairs(pairs) if pairs.len() == 1 && !is_list(padding) => Ok(Some(vec![pairs[0]; count])),
        Margins::Pairs(pairs) if pairs.len() == count => Ok(Some(pairs)),
        Margins::Pairs(pairs) => {
            let text = format!("padding has {} entries for {count} axes", pairs.len());
            Err(Error::value(op, text).into())
        }
    }
}

/// The windows of a pooling, owned.
struct Windows {
    sizes: Vec<usize>,
    stride: Option<Vec<usize>>,
    padding: Option<Vec<(usize, usize)>>,
    dilation: Option<Vec<usize>>,
    ceil: bool,
}

impl Windows {
    fn of(
        op: &str,
        x: &TensorArg,
        window: &Bound<'_, PyAny>,
        stride: Option<&Bound<'_, PyAny>>,
        padding: Option<&Bound<'_, PyAny>>,
        dilation: Option<&Bound<'_, PyAny>>,
        ceil: bool,
    ) -> Out<Windows> {
        let count = spatial_axes(op, window, x.rank())?;
        Ok(Windows {
            sizes: per_axis(op, "window", window, count)?,
            stride: stride.map(|stride| per_axis(op, "stride", stride, count)).transpose()?,
            padding: match padding {
                Some(padding) => padding_of(op, padding, count)?,
                None => Some(vec![(0, 0); count]),
            },
            dilation: dilation.map(|dilation| per_axis(op, "dilation", dilation, count)).transpose()?,
            ceil,
        })
    }

    fn view(&self) -> PoolWindow<'_> {
        PoolWindow {
            sizes: &self.sizes,
            stride: self.stride.as_deref(),
            padding: self.padding.as_deref().map_or(PoolPadding::Same, PoolPadding::Pairs),
            dilation: self.dilation.as_deref(),
            ceil: self.ceil,
        }
    }
}

/// The largest element of every window; see luxon.functional.max_pool.
#[pyfunction]
#[pyo3(signature = (x, window, stride = None, padding = None, dilation = None, ceil_mode = false))]
fn max_pool(
    py: Python<'_>,
    x: TensorArg,
    window: &Bound<'_, PyAny>,
    stride: Option<&Bound<'_, PyAny>>,
    padding: Option<&Bound<'_, PyAny>>,
    dilation: Option<&Bound<'_, PyAny>>,
    ceil_mode: bool,
) -> Out<PyTensor> {
    let windows = Windows::of("max_pool", &x, window, stride, padding, dilation, ceil_mode)?;
    Ok(PyTensor(released(py, x.count() as f64, || pooling::max_pool(&x, &windows.view()))?))
}

/// The mean of every window; see luxon.functional.mean_pool.
#[pyfunction]
#[pyo3(signature = (x, window, stride = None, padding = None, ceil_mode = false, count_include_pad = true))]
fn mean_pool(
    py: Python<'_>,
    x: TensorArg,
    window: &Bound<'_, PyAny>,
    stride: Option<&Bound<'_, PyAny>>,
    padding: Option<&Bound<'_, PyAny>>,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Out<PyTensor> {
    let windows = Windows::of("mean_pool", &x, window, stride, padding, None, ceil_mode)?;
    let run = || pooling::mean_pool(&x, &windows.view(), count_include_pad);
    Ok(PyTensor(released(py, x.count() as f64, run)?))
}

/// The p-norm of every window; see luxon.functional.lp_pool.
#[pyfunction]
#[pyo3(signature = (x, window, p = 2.0, stride = None, ceil_mode = false))]
fn lp_pool(
    py: Python<'_>,
    x: TensorArg,
    window: &Bound<'_, PyAny>,
    p: f64,
    stride: Option<&Bound<'_, PyAny>>,
    ceil_mode: bool,
) -> Out<PyTensor> {
    let windows = Windows::of("lp_pool", &x, window, stride, None, None, ceil_mode)?;
    Ok(PyTensor(released(py, 4.0 * x.count() as f64, || pooling::lp_pool(&x, &windows.view(), p))?))
}

fn outputs_of(op: &str, x: &TensorArg, output: &Bound<'_, PyAny>) -> Out<Vec<usize>> {
    per_axis(op, "output", output, spatial_axes(op, output, x.rank())?)
}

/// The largest element of each of so many windows; see luxon.functional.adaptive_max_pool.
#[pyfunction]
fn adaptive_max_pool(py: Python<'_>, x: TensorArg, output: &Bound<'_, PyAny>) -> Out<PyTensor> {
    let output = outputs_of("adaptive_max_pool", &x, output)?;
    Ok(PyTensor(released(py, x.count() as f64, || pooling::adaptive_max_pool(&x, &output))?))
}

/// The mean of each of so many windows; see luxon.functional.adaptive_mean_pool.
#[pyfunction]
fn adaptive_mean_pool(py: Python<'_>, x: TensorArg, output: &Bound<'_, PyAny>) -> Out<PyTensor> {
    let output = outputs_of("adaptive_mean_pool", &x, output)?;
    Ok(PyTensor(released(py, x.count() as f64, || pooling::adaptive_mean_pool(&x, &output))?))
}

/// The p-norm of each of so many windows; see luxon.functional.adaptive_lp_pool.
#[pyfunction]
#[pyo3(signature = (x, output, p = 2.0))]
fn adaptive_lp_pool(py: Python<'_>, x: TensorArg, output: &Bound<'_, PyAny>, p: f64) -> Out<PyTensor> {
    let output = outputs_of("adaptive_lp_pool", &x, output)?;
    Ok(PyTensor(released(py, 4.0 * x.count() as f64, || pooling::adaptive_lp_pool(&x, &output, p))?))
}

/// One scale for each spatial axis.
fn scales_of(x: &TensorArg, scale: &Bound<'_, PyAny>) -> Out<Vec<f64>> {
    let count = spatial_axes("upsample", scale, x.rank())?;
    let number = |scale: &Bound<'_, PyAny>| -> Out<f64> {
        let scalar =
            scalar_of(scale)?.ok_or_else(|| Error::dtype("upsample", "scale must be a number, or one per axis"))?;
        Ok(scalar.as_f64())
    };
    match is_list(scale) {
        true => scale.try_iter()?.map(|scale| number(&scale?)).collect(),
        false => Ok(vec![number(scale)?; count]),
    }
}

/// The spatial axes at another resolution; see luxon.functional.upsample.
#[pyfunction]
#[pyo3(signature = (x, scale = None, size = None, mode = "nearest", align_corners = false))]
fn upsample(
    py: Python<'_>,
    x: TensorArg,
    scale: Option<&Bound<'_, PyAny>>,
    size: Option<&Bound<'_, PyAny>>,
    mode: &str,
    align_corners: bool,
) -> Out<PyTensor> {
    let (interpolation, axes) = match mode {
        "nearest" => (Interpolation::Nearest, None),
        "linear" => (Interpolation::Linear, None),
        "bilinear" => (Interpolation::Linear, Some(2)),
        "trilinear" => (Interpolation::Linear, Some(3)),
        "bicubic" => (Interpolation::Cubic, Some(2)),
        other => {
            let text = format!(
                "mode must be \"nearest\", \"linear\", \"bilinear\", \"bicubic\" or \"trilinear\", not {other:?}"
            );
            return Err(Error::value("upsample", text).into());
        }
    };
    let (scales, sizes) = match (scale, size) {
        (Some(scale), None) => (scales_of(&x, scale)?, Vec::new()),
        (None, Some(size)) => {
            (Vec::new(), per_axis("upsample", "size", size, spatial_axes("upsample", size, x.rank())?)?)
        }
        _ => return Err(Error::value("upsample", "give either scale or size").into()),
    };
    let count = scales.len() + sizes.len();
    if axes.is_some_and(|axes| axes != count) {
        let text = format!("mode {mode:?} is for {} spatial axes, got {count}", axes.unwrap_or(0));
        return Err(Error::value("upsample", text).into());
    }
    let to = if scale.is_some() { UpsampleTo::Scale(&scales) } else { UpsampleTo::Size(&sizes) };
    let run = || resampling::upsample(&x, to, interpolation, align_corners);
    Ok(PyTensor(released(py, 16.0 * x.count() as f64, run)?))
}

fn factor(op: &str, r: isize) -> luxon::Result<usize> {
    usize::try_from(r).map_err(|_| Error::value(op, format_args!("the factor must be at least 1, got {r}")))
}

/// Channels become pixels; see luxon.functional.pixel_shuffle.
#[pyfunction]
fn pixel_shuffle(py: Python<'_>, x: TensorArg, r: isize) -> Out<PyTensor> {
    let r = factor("pixel_shuffle", r)?;
    Ok(PyTensor(released(py, x.count() as f64, || resampling::pixel_shuffle(&x, r))?))
}

/// Pixels become channels; see luxon.functional.pixel_unshuffle.
#[pyfunction]
fn pixel_unshuffle(py: Python<'_>, x: TensorArg, r: isize) -> Out<PyTensor> {
    let r = factor("pixel_unshuffle", r)?;
    Ok(PyTensor(released(py, x.count() as f64, || resampling::pixel_unshuffle(&x, r))?))
}

/// Adds the functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    macro_rules! add {
        ($($name:ident),*) => { $(module.add_function(wrap_pyfunction!($name, module)?)?;)* };
    }
    add!(
        max_pool,
        mean_pool,
        lp_pool,
        adaptive_max_pool,
        adaptive_mean_pool,
        adaptive_lp_pool,
        upsample,
        pixel_shuffle,
        pixel_unshuffle
    );
    Ok(())
}
