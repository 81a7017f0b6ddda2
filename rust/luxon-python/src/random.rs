//! Keys and random tensors: the submodule `luxon._core.random`.

use luxon::Key;
use luxon::op::random::{self, Distribution};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::convert::{ShapeArg, TensorArg};
use crate::device::DeviceArg;
use crate::dtype::DTypeArg;
use crate::error::Out;
use crate::gil::released;
use crate::tensor::PyTensor;

/// A source of randomness: an immutable value of two words. Use it once; split it for more.
#[pyclass(name = "Key", module = "luxon.random", frozen, eq, hash, skip_from_py_object)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PyKey(pub Key);

#[pymethods]
impl PyKey {
    #[new]
    #[pyo3(signature = (first, second, /))]
    fn new(first: u32, second: u32) -> PyKey {
        PyKey(Key(first, second))
    }

    /// The two words.
    #[getter]
    fn words(&self) -> (u32, u32) {
        (self.0.0, self.0.1)
    }

    /// `count` independent keys.
    #[pyo3(signature = (count = 2))]
    fn split(&self, count: usize) -> PyResult<Vec<PyKey>> {
        if count > 1 << 32 {
            return Err(PyValueError::new_err(format!("split: {count} keys are too many")));
        }
        Ok(self.0.split(count).into_iter().map(PyKey).collect())
    }

    /// A key that depends on this one and on a number or a name.
    #[pyo3(signature = (data, /))]
    fn fold_in(&self, data: &Bound<'_, PyAny>) -> PyResult<PyKey> {
        if let Ok(name) = data.cast::<PyString>() {
            return Ok(PyKey(self.0.fold_in_str(&name.to_cow()?)));
        }
        let Ok(number) = data.extract::<u32>() else {
            return Err(PyTypeError::new_err(format!(
                "fold_in takes a str or an int in [0, 2**32), got {}",
                data.repr()?
            )));
        };
        Ok(PyKey(self.0.fold_in(number)))
    }

    fn __repr__(&self) -> String {
        format!("Key({}, {})", self.0.0, self.0.1)
    }

    fn __reduce__(&self, py: Python<'_>) -> (Py<PyAny>, (u32, u32)) {
        (py.get_type::<PyKey>().into_any().unbind(), self.words())
    }

    fn __copy__(&self) -> PyKey {
        *self
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> PyKey {
        *self
    }
}

/// The key of a seed: any int in [-2**63, 2**64).
///
/// Equal to `jax.random.key(seed)` with 64-bit types enabled.
#[pyfunction]
#[pyo3(signature = (seed, /))]
fn key(seed: &Bound<'_, PyAny>) -> PyResult<PyKey> {
    if let Ok(seed) = seed.extract::<u64>() {
        return Ok(PyKey(Key::new(seed)));
    }
    match seed.extract::<i64>() {
        Ok(seed) => Ok(PyKey(Key::new(seed as u64))),
        Err(_) => Err(PyTypeError::new_err(format!("key takes an int in [-2**63, 2**64), got {}", seed.repr()?))),
    }
}

fn key_of(key: &Bound<'_, PyAny>) -> PyResult<Key> {
    match key.cast::<PyKey>() {
        Ok(key) => Ok(key.get().0),
        Err(_) => Err(PyTypeError::new_err(format!(
            "expected a luxon key, got {}; make one with luxon.random.key(seed)",
            key.get_type().name()?
        ))),
    }
}

/// Draws without the interpreter lock where it takes long.
fn draw(
    py: Python<'_>,
    key: &Bound<'_, PyAny>,
    shape: &ShapeArg,
    device: Option<DeviceArg>,
    distribution: Distribution,
    dtype: luxon::DType,
) -> Out<PyTensor> {
    let (key, shape) = (key_of(key)?, shape.sizes()?);
    let count = shape.iter().fold(1.0, |total, &size| total * size as f64);
    let device = device.and_then(|device| device.0.0);
    Ok(PyTensor(released(py, 2.0 * count, move || random::draw(device.as_ref(), key, &shape, distribution, dtype))?))
}

fn float(dtype: Option<DTypeArg>) -> luxon::DType {
    dtype.map_or(luxon::DType::DEFAULT_FLOAT, |dtype| dtype.0)
}

/// Uniform numbers in [low, high).
#[pyfunction]
#[pyo3(signature = (key, shape = ShapeArg(Vec::new()), low = 0.0, high = 1.0, *, dtype = None, device = None))]
fn uniform(
    py: Python<'_>,
    key: &Bound<'_, PyAny>,
    shape: ShapeArg,
    low: f64,
    high: f64,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
) -> Out<PyTensor> {
    draw(py, key, &shape, device, Distribution::Uniform { low, high }, float(dtype))
}

macro_rules! plain {
    ($($name:ident $distribution:ident $doc:literal;)*) => {$(
        #[doc = $doc]
        #[pyfunction]
        #[pyo3(signature = (key, shape = ShapeArg(Vec::new()), *, dtype = None, device = None))]
        fn $name(
            py: Python<'_>,
            key: &Bound<'_, PyAny>,
            shape: ShapeArg,
            dtype: Option<DTypeArg>,
            device: Option<DeviceArg>,
        ) -> Out<PyTensor> {
            draw(py, key, &shape, device, Distribution::$distribution, float(dtype))
        }
    )*};
}

plain! {
    normal Normal "Numbers from the standard normal distribution.";
    exponential Exponential "Numbers from the exponential distribution of rate 1.";
    gumbel Gumbel "Numbers from the standard Gumbel distribution.";
}

/// Numbers from the standard normal distribution cut to (lower, upper).
#[pyfunction]
#[pyo3(signature = (key, lower, upper, shape = ShapeArg(Vec::new()), *, dtype = None, device = None))]
fn truncated_normal(
    py: Python<'_>,
    key: &Bound<'_, PyAny>,
    lower: f64,
    upper: f64,
    shape: ShapeArg,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
) -> Out<PyTensor> {
    draw(py, key, &shape, device, Distribution::TruncatedNormal { lower, upper }, float(dtype))
}

/// Truth values that hold with probability `p`.
#[pyfunction]
#[pyo3(signature = (key, p = 0.5, shape = ShapeArg(Vec::new()), *, device = None))]
fn bernoulli(
    py: Python<'_>,
    key: &Bound<'_, PyAny>,
    p: f64,
    shape: ShapeArg,
    device: Option<DeviceArg>,
) -> Out<PyTensor> {
    draw(py, key, &shape, device, Distribution::Bernoulli { probability: p }, luxon::DType::Bool)
}

/// Integers in [low, high).
#[pyfunction]
#[pyo3(signature = (key, shape, low, high, *, dtype = None, device = None))]
fn randint(
    py: Python<'_>,
    key: &Bound<'_, PyAny>,
    shape: ShapeArg,
    low: i64,
    high: i64,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
) -> Out<PyTensor> {
    let dtype = dtype.map_or(luxon::DType::DEFAULT_INT, |dtype| dtype.0);
    draw(py, key, &shape, device, Distribution::Integers { low, high }, dtype)
}

/// Random bits as uint8, int32 or int64.
#[pyfunction]
#[pyo3(signature = (key, shape = ShapeArg(Vec::new()), *, dtype = None, device = None))]
fn bits(
    py: Python<'_>,
    key: &Bound<'_, PyAny>,
    shape: ShapeArg,
    dtype: Option<DTypeArg>,
    device: Option<DeviceArg>,
) -> Out<PyTensor> {
    draw(py, key, &shape, device, Distribution::Bits, dtype.map_or(luxon::DType::I32, |dtype| dtype.0))
}

/// The integers below `x` in random order, or the rows of a tensor `x` in random order.
#[pyfunction]
#[pyo3(signature = (key, x))]
fn permutation(py: Python<'_>, key: &Bound<'_, PyAny>, x: &Bound<'_, PyAny>) -> Out<PyTensor> {
    let key = key_of(key)?;
    if let Ok(count) = x.extract::<isize>() {
        let count = usize::try_from(count)
            .map_err(|_| PyValueError::new_err(format!("permutation: the count must not be negative, got {count}")))?;
        return Ok(PyTensor(released(py, 20.0 * count as f64, || random::permutation(key, count))?));
    }
    let x = crate::convert::to_tensor(x)?;
    let Some(&rows) = x.shape().first() else {
        return Err(
            PyValueError::new_err("permutation: a 0-d tensor has no rows; give a count or a tensor with axes").into()
        );
    };
    let order = random::permutation(key, rows)?;
    let order = x.device().map_or(Ok(order.clone()), |device| order.to_device(device))?;
    Ok(PyTensor(x.take(&order, 0)?))
}

/// Class numbers drawn with the probabilities softmax(logits) along the last axis.
#[pyfunction]
#[pyo3(signature = (key, logits))]
fn categorical(py: Python<'_>, key: &Bound<'_, PyAny>, logits: TensorArg) -> Out<PyTensor> {
    let key = key_of(key)?;
    Ok(PyTensor(released(py, 5.0 * logits.0.count() as f64, || random::categorical(key, &logits.0))?))
}

/// Each element zero with probability `p`, the others divided by 1 - p.
#[pyfunction]
#[pyo3(signature = (key, x, p, axes = None))]
fn dropout(
    py: Python<'_>,
    key: &Bound<'_, PyAny>,
    x: TensorArg,
    p: f64,
    axes: Option<crate::convert::AxesArg>,
) -> Out<PyTensor> {
    let key = key_of(key)?;
    let axes = axes.map(|axes| axes.0);
    let nanoseconds = 2.0 * x.0.count() as f64;
    Ok(PyTensor(released(py, nanoseconds, || luxon::op::fused::dropout::dropout(&x.0, key, p, axes.as_deref()))?))
}

/// Adds the key type and the functions, in a submodule and, for dropout, in the module itself.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyKey>()?;
    module.add_function(wrap_pyfunction!(dropout, module)?)?;
    let random = PyModule::new(module.py(), "random")?;
    random.add_class::<PyKey>()?;
    macro_rules! add {
        ($($name:ident),*) => { $(random.add_function(wrap_pyfunction!($name, &random)?)?;)* };
    }
    add!(
        key,
        uniform,
        normal,
        truncated_normal,
        exponential,
        gumbel,
        bernoulli,
        randint,
        bits,
        permutation,
        categorical
    );
    module.add_submodule(&random)?;
    // A submodule of an extension module is importable by its full name only once it is listed.
    module.py().import("sys")?.getattr("modules")?.set_item("luxon._core.random", &random)
}
