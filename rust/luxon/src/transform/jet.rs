//! Higher derivatives along straight lines, several lines at once.
//!
//! A jet is what a forward level carries where more than one first derivative is wanted: for each direction
//! the derivatives of order 1 up to the direction's own. The function is run once, and what it computes is
//! shared by all directions; nesting [`super::jvp`] for a second derivative computes the first one twice.
//!
//! No operation has rules of its own for this. The derivative of order `n` is that of order `n - 1` of the
//! rule for the first: it is run on jets one order lower, in which every tangent has the following ones as
//! its derivatives. A rule that reads its operation's result needs that result's derivatives beforehand, and
//! is run once for each order.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::transform::level::{Level, Mode, Scope, Trace};

/// The highest order: every order is a level within the one before it, and so takes its share of the stack.
pub const MOST_ORDERS: usize = 64;

/// Derivatives of order 1, 2, ... along one direction; none for an exact zero.
pub type Series = SmallVec<[Option<Tensor>; 2]>;

/// The first derivative of several results by a rule: inputs and tangents in, tangents out.
pub(crate) type Rule<'a> = &'a dyn Fn(&[Tensor], &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>>;

/// Derivatives of order 1 to `order` of what `rule` gives the first one of.
pub(crate) fn differentiate(order: usize, inputs: &[Tensor], series: &[Series], rule: Rule<'_>) -> Result<Vec<Series>> {
    let first = |series: &Series| series.first().cloned().flatten();
    if order <= 1 {
        let tangents: SmallVec<[Option<Tensor>; 4]> = series.iter().map(first).collect();
        return Ok(rule(inputs, &tangents)?.into_iter().map(|tangent| smallvec![tangent]).collect());
    }
    let level = Level::open(Mode::Forward);
    let _scope = Scope(Arc::clone(&level));
    let tag = |tensor: &Tensor, series: &[Option<Tensor>]| {
        let series: Series = series.iter().take(order - 1).cloned().collect();
        let constant = series.iter().all(Option::is_none);
        if constant { tensor.clone() } else { level.record(tensor, Trace::Jet(vec![series])) }
    };
    let mut tagged: SmallVec<[Tensor; 4]> = SmallVec::new();
    let mut tangents: SmallVec<[Option<Tensor>; 4]> = SmallVec::new();
    for (input, series) in inputs.iter().zip(series) {
        tagged.push(tag(input, series));
        let later = series.get(1..).unwrap_or(&[]);
        tangents.push(match first(series) {
            Some(tangent) => Some(tag(&tangent, later)),
            None if later.iter().all(Option::is_none) => None,
            None => Some(tag(&input.zeros_like()?, later)),
        });
    }
    let results = rule(&tagged, &tangents)?.into_iter().map(|result| {
        let mut series: Series = smallvec![None; order];
        if let Some(result) = result {
            let (value, mut jets) = split_jets(&level, &result);
            for (place, derivative) in series[1..].iter_mut().zip(jets.pop().unwrap_or_default()) {
                *place = derivative;
            }
            series[0] = Some(value);
        }
        series
    });
    Ok(results.collect())
}

/// Derivatives of order 1 to `order` of one result, whose value is `output`, where the rule may read that:
/// the rule is given it as a further input with the tangent of the result.
pub(crate) fn differentiate_by_output(
    order: usize,
    inputs: &[Tensor],
    output: &Tensor,
    series: &[Series],
    rule: Rule<'_>,
) -> Result<Series> {
    let inputs: SmallVec<[Tensor; 4]> = inputs.iter().chain([output]).cloned().collect();
    let mut all: SmallVec<[Series; 4]> = series.iter().cloned().chain([Series::new()]).collect();
    for known in 0..order {
        let derivatives = differentiate(known + 1, &inputs, &all, rule)?.swap_remove(0);
        if let Some(output) = all.last_mut() {
            output.push(derivatives.into_iter().nth(known).flatten());
        }
    }
    Ok(all.pop().unwrap_or_default())
}

/// The value of `output` below a forward level, and the derivatives that it carries there by direction.
#[doc(hidden)]
pub fn split_jets(level: &Level, output: &Tensor) -> (Tensor, Vec<Series>) {
    let jets = output.node_at(level.stamp()).and_then(|node| match &node.trace {
        Trace::Jet(jets) => Some(jets.clone()),
        _ => None,
    });
    (output.lower(level.stamp()), jets.unwrap_or_default())
}

/// The derivatives by direction that an operation's inputs carry at a level; none where they are no jets.
pub(crate) fn gather(stamp: u64, inputs: &[&Tensor]) -> Option<Vec<SmallVec<[Series; 4]>>> {
    let jets = |input: &Tensor| match &input.node_at(stamp)?.trace {
        Trace::Jet(jets) => Some(jets.clone()),
        _ => None,
    };
    let given: SmallVec<[Option<Vec<Series>>; 4]> = inputs.iter().map(|input| jets(input)).collect();
    let orders: SmallVec<[usize; 4]> = given.iter().flatten().next()?.iter().map(Series::len).collect();
    let by_direction = orders.iter().enumerate().map(|(direction, &order)| {
        let series = given.iter().map(|jets| match jets {
            Some(jets) => jets[direction].clone(),
            None => smallvec![None; order],
        });
        series.collect()
    });
    Some(by_direction.collect())
}

/// A function's results and their derivatives along each direction (outer), of order 1 to the direction's
/// own (middle), by result (inner); none for zeros.
///
/// Directions are given as one tangent an input, and none for zeros.
///
/// ```
/// use luxon::{DType, Tensor, jet};
/// let x = Tensor::scalar(2.0, DType::F64);
/// let cube = |x: &[Tensor]| Ok(vec![x[0].square()?.mul(&x[0])?]);
/// let (_, derivatives) = jet(cube, &[x.clone()], &[(vec![Some(x.ones_like()?)], 2)])?;
/// let second = derivatives[0][1][0].as_ref().map(|tensor| tensor.to_vec::<f64>()).transpose()?;
/// assert_eq!(second, Some(vec![12.0]));
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// Whatever the function returns; [`Error::Shape`] where a tangent does not have its input's shape,
/// [`Error::Value`] for the order 0 and one above 64.
#[allow(clippy::type_complexity)]
pub fn jet(
    function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    directions: &[(Vec<Option<Tensor>>, usize)],
) -> Result<(Vec<Tensor>, Vec<Vec<Vec<Option<Tensor>>>>)> {
    let level = Level::open(Mode::Forward);
    let _scope = Scope(Arc::clone(&level));
    let outputs = function(&tag_lines(&level, inputs, directions)?)?;
    let (values, jets): (Vec<Tensor>, Vec<Vec<Series>>) =
        outputs.iter().map(|output| split_jets(&level, output)).unzip();
    let by_direction = directions.iter().enumerate().map(|(direction, (_, order))| {
        let derivative = |order: usize| {
            jets.iter().map(|jets| jets.get(direction).and_then(|series| series[order].clone())).collect()
        };
        (0..*order).map(derivative).collect()
    });
    Ok((values, by_direction.collect()))
}

/// Inputs that carry the first derivatives `directions` on a forward level, and zeros as the further ones.
///
/// # Errors
/// As [`jet`].
#[doc(hidden)]
pub fn tag_lines(
    level: &Arc<Level>,
    inputs: &[Tensor],
    directions: &[(Vec<Option<Tensor>>, usize)],
) -> Result<Vec<Tensor>> {
    if let Some((index, (_, order))) =
        directions.iter().enumerate().find(|(_, (_, order))| !(1..=MOST_ORDERS).contains(order))
    {
        let text = format_args!("the order of direction {index} is {order}; orders go from 1 to {MOST_ORDERS}");
        return Err(Error::value("jet", text));
    }
    let tagged = inputs.iter().enumerate().map(|(input, tensor)| {
        let mut jets = Vec::with_capacity(directions.len());
        for (tangents, order) in directions {
            let mut series: Series = smallvec![None; *order];
            if let Some(tangent) = tangents.get(input).and_then(Option::as_ref) {
                level.check_tangent(tensor, tangent)?;
                series[0] = Some(tangent.clone());
            }
            jets.push(series);
        }
        if jets.iter().flatten().all(Option::is_none) {
            Ok(tensor.clone())
        } else {
            Ok(level.record(tensor, Trace::Jet(jets)))
        }
    });
    tagged.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::fused::activation::activation;
    use crate::op::testing::sample;
    use crate::{DType, Kernel, grad, jvp, linear};

    type Function = fn(&Tensor) -> Result<Tensor>;

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        tensor.to_vec().unwrap()
    }

    /// The derivative of this order by nested first derivatives.
    fn nested(f: &dyn Fn(&Tensor) -> Result<Tensor>, x: &Tensor, direction: &Tensor, order: usize) -> Result<Tensor> {
        if order == 0 {
            return f(x);
        }
        let inner = |x: &[Tensor]| Ok(vec![nested(f, &x[0], direction, order - 1)?]);
        Ok(jvp(inner, std::slice::from_ref(x), std::slice::from_ref(direction))?.1.swap_remove(0))
    }

    fn functions() -> Vec<Function> {
        vec![
            |x| x.tanh()?.mul(&x.sin()?),
            |x| x.exp()?.div(&x.square()?.add(1.0)?),
            |x| x.softmax(-1),
            |x| x.sigmoid()?.sum(Some(&[0]), true)?.mul(x),
            |x| x.cumulative_prod(0)?.matmul(&x.matrix_transpose()?),
            |x| linear(x, &sample(&[4, 3], -1.0, 1.0, 8), None, Some(activation(Kernel::Tanh, &[])?)),
            |x| linear(x, x, Some(&x.sum(Some(&[1]), false)?), Some(activation(Kernel::Sigmoid, &[])?)),
            |x| linear(x, x, None, Some(activation(Kernel::Gelu, &[])?)),
        ]
    }

    #[test]
    fn jets_equal_nested_derivatives() {
        let x = sample(&[2, 3], -1.0, 1.0, 1);
        let lines = [(sample(&[2, 3], -1.0, 1.0, 2), 4), (sample(&[2, 3], -1.0, 1.0, 3), 1)];
        let directions = lines.clone().map(|(tangent, order)| (vec![Some(tangent)], order));
        for (index, f) in functions().into_iter().enumerate() {
            let (values, derivatives) = jet(|x| Ok(vec![f(&x[0])?]), std::slice::from_ref(&x), &directions).unwrap();
            assert_eq!(numbers(&values[0]), numbers(&f(&x).unwrap()));
            for ((tangent, most), series) in lines.iter().zip(&derivatives) {
                assert_eq!(series.len(), *most);
                for (order, derivative) in series.iter().enumerate() {
                    let expected = nested(&f, &x, tangent, order + 1).unwrap();
                    for (a, b) in numbers(derivative[0].as_ref().unwrap()).iter().zip(numbers(&expected)) {
                        assert!((a - b).abs() < 1e-10 * (1.0 + b.abs()), "function {index}, order {order}: {a} {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn gradients_go_through_jets() {
        let x = sample(&[2, 3], -1.0, 1.0, 1);
        let along = sample(&[2, 3], -1.0, 1.0, 2);
        for f in functions() {
            let by_jet = |x: &[Tensor]| {
                let directions = [(vec![Some(along.clone())], 2)];
                let (_, mut derivatives) = jet(|x| Ok(vec![f(&x[0])?]), x, &directions)?;
                derivatives.swap_remove(0).swap_remove(1).swap_remove(0).unwrap().square()?.sum(None, false)
            };
            let by_nesting = |x: &[Tensor]| nested(&f, &x[0], &along, 2)?.square()?.sum(None, false);
            let (a, b) = (grad(by_jet, &[x.clone()]).unwrap(), grad(by_nesting, &[x.clone()]).unwrap());
            for (a, b) in numbers(&a[0]).iter().zip(numbers(&b[0])) {
                assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{a} {b}");
            }
        }
    }

    #[test]
    fn zeros_stay_exact() {
        let x = Tensor::scalar(0.5, DType::F64);
        let one = x.ones_like().unwrap();
        let directions = [(vec![Some(one.clone()), None], 3), (vec![None, Some(one)], 2)];
        let f = |x: &[Tensor]| Ok(vec![x[0].mul(&x[1])?, x[0].square()?]);
        let (_, derivatives) = jet(f, &[x.clone(), x.clone()], &directions).unwrap();
        assert!(
            derivatives[0][2].iter().all(Option::is_none) || numbers(derivatives[0][2][1].as_ref().unwrap()) == [0.0]
        );
        assert_eq!(numbers(derivatives[0][1][1].as_ref().unwrap()), [2.0]);
        assert!(derivatives[1].iter().all(|order| order[1].is_none()));
        for order in [0, MOST_ORDERS + 1, usize::MAX] {
            assert!(jet(f, &[x.clone(), x.clone()], &[(vec![None, None], order)]).is_err());
        }
    }
}
