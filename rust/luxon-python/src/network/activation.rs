//! The activations that fused operations compute themselves.

use luxon::Scalar;
use luxon::op::elementwise::{Kernel, Map};
use luxon::op::fused::activation::activation;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::error::Out;

/// Activation functions of this module as the dense operation fuses them, sorted by the address of their Python
/// object.
static FUSED: PyOnceLock<Vec<(Py<PyAny>, Option<Map>)>> = PyOnceLock::new();

/// The activations that the dense operation computes itself, with their default parameters.
fn fusable() -> luxon::Result<Vec<(&'static str, Option<Map>)>> {
    let plain = [
        ("relu", Kernel::Relu),
        ("relu6", Kernel::Relu6),
        ("selu", Kernel::Selu),
        ("silu", Kernel::Silu),
        ("swish", Kernel::Silu),
        ("hard_swish", Kernel::HardSwish),
        ("mish", Kernel::Mish),
        ("sigmoid", Kernel::Sigmoid),
        ("hard_sigmoid", Kernel::HardSigmoid),
        ("log_sigmoid", Kernel::LogSigmoid),
        ("tanh", Kernel::Tanh),
        ("tanh_shrink", Kernel::TanhShrink),
        ("softsign", Kernel::Softsign),
        ("gelu", Kernel::Gelu),
        ("sin", Kernel::Sin),
        ("cos", Kernel::Cos),
    ];
    let mut table = vec![("identity", None)];
    for (name, kernel) in plain {
        table.push((name, Some(activation(kernel, &[])?)));
    }
    for (name, kernel, parameter) in
        [("leaky_relu", Kernel::LeakyRelu, 0.01), ("elu", Kernel::Elu, 1.0), ("celu", Kernel::Celu, 1.0)]
    {
        table.push((name, Some(activation(kernel, &[Scalar::Float(parameter)])?)));
    }
    Ok(table)
}

/// What the dense operation computes for a function of Python: none of its own for the identity; none at all for
/// what it does not know.
pub(super) fn fused<'a>(py: Python<'a>, function: &Bound<'_, PyAny>) -> Out<Option<Option<Map>>> {
    let table = FUSED.get_or_try_init(py, || -> PyResult<_> {
        let module = py.import("luxon._core")?;
        let mut table = Vec::new();
        for (name, map) in fusable().map_err(crate::error::raise)? {
            table.push((module.getattr(name)?.unbind(), map));
        }
        table.sort_by_key(|(function, _)| function.as_ptr() as usize);
        Ok(table)
    })?;
    let found = table.binary_search_by_key(&(function.as_ptr() as usize), |(known, _)| known.as_ptr() as usize);
    Ok(found.ok().map(|position| table[position].1))
}
