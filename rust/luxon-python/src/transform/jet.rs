//! `jet`: derivatives of several orders along several directions, from one run.

use std::sync::Arc;

use luxon::Tensor;
use luxon::transform::jet::{Series, split_jets, tag_lines};
use luxon::transform::{Level, Mode, Scope};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{index_list, is_list};
use crate::error::raise;
use crate::transform::argument::{Nest, Tensors, Unused, several};
use crate::transform::linear::read_tangents;
use crate::transform::{check_depth, gradient::with_tagged};

/// One order for all directions, or one for each.
pub struct Orders {
    given: Vec<isize>,
    for_all: bool,
}

impl<'py> FromPyObject<'_, 'py> for Orders {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Orders { given: index_list(&object, "jet: orders")?, for_all: !is_list(&object) })
    }
}

impl Orders {
    fn resolve(self, directions: usize) -> PyResult<Vec<usize>> {
        let given = if self.for_all { self.given.repeat(directions) } else { self.given };
        if given.len() != directions {
            let message = format!("jet: {} orders for {directions} directions", given.len());
            return Err(PyValueError::new_err(message));
        }
        let negative = |order| PyValueError::new_err(format!("jet: orders must be positive, got {order}"));
        given.into_iter().map(|order| usize::try_from(order).map_err(|_| negative(order))).collect()
    }
}

/// The result of a function and its derivatives along directions: `(result, derivatives)`.
///
/// `derivatives[i][k]` is the derivative of order `k + 1` along direction `i`: for a direction v at x, that of
/// `s -> function(x + s v)` at 0. The function is run once for all of them. For a second derivative that is
/// cheaper than `jvp` of `jvp`, which computes the first one twice.
///
/// Args:
///     function: any function of tensors and trees.
///     primals: the tuple of its arguments (a single tensor or Tree may stand for itself).
///     directions: a list of what `jvp` takes as tangents: each a tuple in the structure of the primals (or
///         what stands for the only one), with `None` for zeros.
///     orders: the highest order (1 to 64), for all directions or for each one.
///     unused: zeros, or `None`, for derivatives of results that depend on no primal.
///
/// Returns:
///     The result, and a tuple over directions of tuples over orders, each derivative in the structure of
///     the result.
///
/// Raises:
///     TypeError: a primal has a leaf that is not floating, or an order is no int.
///     ValueError: a direction does not fit the primals, or an order is out of range.
///
/// Example:
///     >>> import luxon as lx
///     >>> x, y = lx.asarray(2.0), lx.asarray(3.0)
///     >>> u, ((u_x, u_xx), (u_y,)) = lx.jet(lambda x, y: x ** 2 * y, (x, y), [(1.0, None), (None, 1.0)], [2, 1])
///     >>> float(u_x), float(u_xx), float(u_y)
///     (12.0, 6.0, 4.0)
#[pyfunction]
#[pyo3(signature = (function, primals, directions, orders = Orders { given: vec![2], for_all: true }, unused = Unused::Zeros), text_signature = "(function, primals, directions, orders=2, unused='zeros')")]
pub fn jet<'py>(
    function: &Bound<'py, PyAny>,
    primals: &Bound<'py, PyAny>,
    directions: Vec<Bound<'py, PyAny>>,
    orders: Orders,
    unused: Unused,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = function.py();
    let (objects, alone) = several(primals)?;
    let mut nests = Vec::with_capacity(objects.len());
    for (position, object) in objects.iter().enumerate() {
        nests.push(Nest::differentiated(object, "jet", position)?);
    }
    let orders = orders.resolve(directions.len())?;
    let mut lines = Vec::with_capacity(directions.len());
    for (direction, &order) in directions.iter().zip(&orders) {
        let tangents = if alone { vec![direction.clone()] } else { several(direction)?.0 };
        lines.push((read_tangents(&nests, &tangents, "jet")?, order));
    }
    check_depth()?;
    let level = Level::open(Mode::Forward);
    let scope = Scope(Arc::clone(&level));
    let inputs: Vec<Tensor> = nests.iter().flat_map(|nest| nest.tensors.iter().cloned()).collect();
    let tagged = tag_lines(&level, &inputs, &lines).map_err(raise)?;
    let positions: Vec<usize> = (0..objects.len()).collect();
    let result = function.call1(with_tagged(&PyTuple::new(py, objects)?, &positions, &nests, &tagged)?)?;
    let mut result = Nest::traced(&result)?;
    let (values, jets): (Tensors, Vec<Vec<Series>>) =
        result.tensors.iter().map(|output| split_jets(&level, output)).unzip();
    result.tensors = values;
    drop(scope);
    let derivative = |direction: usize, order: usize| {
        let parts = jets.iter().map(|jets| jets.get(direction).and_then(|series| series[order].clone()));
        result.derivative(py, parts, unused)
    };
    let by_direction = orders.iter().enumerate().map(|(direction, &order)| {
        PyTuple::new(py, (0..order).map(|order| derivative(direction, order)).collect::<PyResult<Vec<_>>>()?)
    });
    let derivatives = PyTuple::new(py, by_direction.collect::<PyResult<Vec<_>>>()?)?;
    PyTuple::new(py, [result.with(py, result.tensors.iter().cloned())?, derivatives.into_any().unbind()])
}
