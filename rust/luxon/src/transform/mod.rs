//! Differentiation: `grad`, `value_and_grad`, `vjp` and `jvp`, nested in any mix and to any order.
//!
//! Each opens a [`level::Level`], tags the inputs, runs the function once, and reads the answer off the
//! result. The functions below take and return slices of tensors; the structure of a user's arguments
//! (trees, tuples) is the caller's business.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::layout::show;
use crate::op::custom::Recorded;
use crate::tensor::Tensor;

pub mod jet;
pub mod level;
pub mod reverse;
pub mod watch;

pub use jet::jet;
pub use level::{Level, Mode, Scope};
pub use reverse::pull_back;
pub use watch::{Watcher, watch};

/// The value of a scalar function and its gradient with respect to each input, zeros included.
///
/// ```
/// use luxon::{Tensor, value_and_grad};
/// let x = Tensor::new(&[1.0f32, 2.0, 3.0], &[3])?;
/// let (y, dx) = value_and_grad(|x| x[0].square()?.sum(None, false), &[x])?;
/// assert_eq!(y.to_vec::<f32>()?, [14.0]);
/// assert_eq!(dx[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// Whatever the function returns; [`Error::Shape`] where its result is not 0-d, [`Error::Type`] where
/// it is not floating or an input is not.
pub fn value_and_grad(
    function: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
) -> Result<(Tensor, Vec<Tensor>)> {
    let (value, gradients) = value_and_optional_grad(function, inputs)?;
    let gradients =
        gradients.into_iter().zip(inputs).map(|(gradient, input)| gradient.map_or_else(|| input.zeros_like(), Ok));
    Ok((value, gradients.collect::<Result<_>>()?))
}

/// Like [`value_and_grad`], with none for inputs on which the value does not depend.
///
/// ```
/// use luxon::{DType, Tensor, value_and_optional_grad};
/// let at = [Tensor::scalar(3.0, DType::F64), Tensor::scalar(5.0, DType::F64)];
/// let (y, slopes) = value_and_optional_grad(|x| x[0].square(), &at)?;
/// assert!(y.to_vec::<f64>()? == [9.0] && slopes[0].is_some() && slopes[1].is_none());
/// # Ok::<(), luxon::Error>(())
/// ```
pub fn value_and_optional_grad(
    function: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let level = Level::open(Mode::Reverse);
    let scope = Scope(Arc::clone(&level));
    let tagged = inputs.iter().map(|input| level.tag(input)).collect::<Result<Vec<_>>>()?;
    let output = function(&tagged)?;
    let value = output.lower(level.stamp());
    let seed = seed(&value)?;
    let gradients = pull_back(&level, vec![(output, seed)], &tagged)?;
    drop(scope);
    Ok((value, gradients))
}

/// The cotangent 1 of a scalar result.
#[doc(hidden)]
pub fn seed(value: &Tensor) -> Result<Tensor> {
    if value.rank() != 0 {
        return Err(Error::shape(
            "grad",
            format_args!(
                "the function must return a 0-d tensor, got shape {}; reduce it with sum or mean",
                show(value.shape())
            ),
        ));
    }
    if !value.dtype().is_float() {
        return Err(Error::dtype(
            "grad",
            format_args!("the function returned dtype {}, which cannot be differentiated", value.dtype()),
        ));
    }
    value.ones_like()
}

/// The gradient of a scalar function with respect to each input.
///
/// ```
/// use luxon::{DType, Tensor, grad, pow};
/// let x = Tensor::scalar(2.0, DType::F64);
/// let slope = |x: &Tensor| Ok(grad(|x| pow(&x[0], 3), &[x.clone()])?.swap_remove(0));
/// assert_eq!(slope(&x)?.to_vec::<f64>()?, [12.0]);
/// assert_eq!(grad(|x| slope(&x[0]), &[x])?[0].to_vec::<f64>()?, [12.0]); // The second derivative, 6 x.
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`value_and_grad`].
pub fn grad(function: impl FnOnce(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(value_and_grad(function, inputs)?.1)
}

/// The outputs of a function and the map from their cotangents to those of the inputs.
///
/// ```
/// use luxon::{Tensor, vjp};
/// let x = Tensor::new(&[1.0, 2.0], &[2])?;
/// let (y, back) = vjp(|x| Ok(vec![x[0].square()?]), &[x])?;
/// let dx = back.pull(&[Some(Tensor::new(&[1.0, 10.0], &[2])?)])?;
/// assert_eq!(y[0].to_vec::<f64>()?, [1.0, 4.0]);
/// assert_eq!(dx[0].as_ref().map(Tensor::to_vec::<f64>).transpose()?, Some(vec![2.0, 40.0]));
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// Whatever the function returns; [`Error::Type`] for inputs that are not floating.
pub fn vjp(
    function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
) -> Result<(Vec<Tensor>, Recorded)> {
    let level = Level::open(Mode::Reverse);
    let run = || {
        let tagged = inputs.iter().map(|input| level.tag(input)).collect::<Result<Vec<_>>>()?;
        let outputs = function(&tagged)?;
        Ok((tagged, outputs))
    };
    match run() {
        Ok((tagged, outputs)) => {
            let values = outputs.iter().map(|output| output.lower(level.stamp())).collect();
            Ok((values, Recorded::new(level, outputs, tagged)))
        }
        Err(error) => {
            level.close();
            Err(error)
        }
    }
}

/// The outputs of a function and their tangents for the given tangents of the inputs, zeros included.
///
/// ```
/// use luxon::{Tensor, jvp};
/// let (x, direction) = (Tensor::new(&[1.0, 2.0], &[2])?, Tensor::new(&[1.0, 0.5], &[2])?);
/// let (y, dy) = jvp(|x| Ok(vec![x[0].square()?]), &[x], &[direction])?;
/// assert_eq!((y[0].to_vec::<f64>()?, dy[0].to_vec::<f64>()?), (vec![1.0, 4.0], vec![2.0, 2.0]));
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// Whatever the function returns; [`Error::Shape`] where a tangent does not have its primal's shape.
pub fn jvp(
    function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    tangents: &[Tensor],
) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    let tangents: Vec<Option<Tensor>> = tangents.iter().cloned().map(Some).collect();
    let (outputs, pushed) = jvp_through(function, inputs, &tangents)?;
    let zeros = outputs.iter().zip(pushed).map(|(output, tangent)| tangent.map_or_else(|| output.zeros_like(), Ok));
    let tangents = zeros.collect::<Result<_>>()?;
    Ok((outputs, tangents))
}

/// Tangents of a function's outputs; none stands for zeros on both sides.
#[doc(hidden)]
pub fn jvp_through(
    function: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    tangents: &[Option<Tensor>],
) -> Result<(Vec<Tensor>, Vec<Option<Tensor>>)> {
    let level = Level::open(Mode::Forward);
    let scope = Scope(Arc::clone(&level));
    let tagged = inputs.iter().zip(tangents).map(|(input, tangent)| match tangent {
        Some(tangent) => level.tag_tangent(input, tangent),
        None => Ok(input.clone()),
    });
    let outputs = function(&tagged.collect::<Result<Vec<_>>>()?)?;
    let answer = outputs.iter().map(|output| split_tangent(&level, output)).unzip();
    drop(scope);
    Ok(answer)
}

/// The value of `output` below a forward level, and the tangent that it carries there.
#[doc(hidden)]
pub fn split_tangent(level: &Level, output: &Tensor) -> (Tensor, Option<Tensor>) {
    let tangent = output.node_at(level.stamp()).and_then(|node| match &node.trace {
        level::Trace::Tangent(tangent) => Some(tangent.clone()),
        _ => None,
    });
    (output.lower(level.stamp()), tangent)
}

/// Cotangents of a function's inputs by recording it once; none stands for zeros on both sides.
#[doc(hidden)]
pub fn vjp_through<O: IntoOptional>(
    function: impl FnOnce(&[Tensor]) -> Result<Vec<O>>,
    inputs: &[Tensor],
    cotangents: &[Option<Tensor>],
) -> Result<Vec<Option<Tensor>>> {
    let level = Level::open(Mode::Reverse);
    let scope = Scope(Arc::clone(&level));
    let tagged = inputs.iter().map(|input| level.tag(input)).collect::<Result<Vec<_>>>()?;
    let outputs = function(&tagged)?;
    let pairs =
        outputs.into_iter().zip(cotangents).filter_map(|(output, dy)| Some((output.into_optional()?, dy.clone()?)));
    let gradients = pull_back(&level, pairs.collect(), &tagged)?;
    drop(scope);
    Ok(gradients)
}

/// A result that may be an exact zero.
#[doc(hidden)]
pub trait IntoOptional {
    /// The tensor, none for zero.
    fn into_optional(self) -> Option<Tensor>;
}

impl IntoOptional for Tensor {
    fn into_optional(self) -> Option<Tensor> {
        Some(self)
    }
}

impl IntoOptional for Option<Tensor> {
    fn into_optional(self) -> Option<Tensor> {
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::op::custom::{self, CustomRule, Forward, Function, Pullback, Pushed};

    fn scalar(value: f64) -> Tensor {
        Tensor::scalar(value, DType::F64)
    }

    fn number(tensor: &Tensor) -> f64 {
        tensor.to_vec::<f64>().unwrap()[0]
    }

    fn derivative(f: &dyn Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<Tensor> {
        Ok(grad(|x| f(&x[0]), &[x.clone()])?.swap_remove(0))
    }

    fn slope(f: &dyn Fn(&Tensor) -> Result<Tensor>, x: &Tensor) -> Result<Tensor> {
        let (_, mut tangents) = jvp(|x| Ok(vec![f(&x[0])?]), &[x.clone()], &[x.ones_like()?])?;
        Ok(tangents.swap_remove(0))
    }

    type Transform = fn(&dyn Fn(&Tensor) -> Result<Tensor>, &Tensor) -> Result<Tensor>;

    #[test]
    fn levels_nest_in_any_mix() {
        // f = x^5: the fourth derivative by every mix of forward and reverse mode is 120 x.
        for pattern in 0..16u32 {
            let choose = |bit: u32| -> Transform { if pattern >> bit & 1 == 0 { derivative } else { slope } };
            let f = |x: &Tensor| x.square()?.square()?.mul(x);
            let one = |x: &Tensor| choose(0)(&f, x);
            let two = |x: &Tensor| choose(1)(&one, x);
            let three = |x: &Tensor| choose(2)(&two, x);
            let four = choose(3)(&three, &scalar(1.5)).unwrap();
            assert!((number(&four) - 180.0).abs() < 1e-9, "pattern {pattern}: {four:?}");
        }
    }

    #[test]
    fn inner_levels_do_not_confuse_outer_ones() {
        // d/dx (x * d/dy (x + y)) at x = 1 is 1, not 2: the classic perturbation confusion.
        let modes: [Transform; 2] = [derivative, slope];
        for (outer, inner) in modes.iter().flat_map(|outer| modes.iter().map(move |inner| (outer, inner))) {
            let f = |x: &Tensor| x.mul(&inner(&|y: &Tensor| x.add(y), &scalar(1.0))?);
            assert_eq!(number(&outer(&f, &scalar(1.0)).unwrap()), 1.0);
        }
    }

    #[test]
    fn escaped_tensors_are_constants() {
        let kept = std::cell::RefCell::new(None);
        let (_, slopes) = value_and_grad(
            |x| {
                let y = x[0].square()?;
                *kept.borrow_mut() = Some(y.clone());
                Ok(y)
            },
            &[scalar(3.0)],
        )
        .unwrap();
        assert_eq!(number(&slopes[0]), 6.0);
        let escaped = kept.into_inner().unwrap();
        assert!(!escaped.is_tracked());
        let slopes = grad(|x| x[0].mul(&escaped), &[scalar(2.0)]).unwrap();
        assert_eq!(number(&slopes[0]), 9.0);
    }

    #[test]
    fn what_cannot_be_differentiated_is_refused() {
        let whole = Tensor::new(&[1i32], &[1]).unwrap();
        assert!(grad(|x| Ok(x[0].clone()), &[whole]).unwrap_err().to_string().contains("int32"));
        let vector = Tensor::new(&[1.0f64, 2.0], &[2]).unwrap();
        assert!(grad(|x| x[0].square(), &[vector]).unwrap_err().to_string().contains("(2,)"));
        let (_, unused) = value_and_optional_grad(|x| x[0].square(), &[scalar(1.0), scalar(2.0)]).unwrap();
        assert!(unused[0].is_some() && unused[1].is_none());
    }

    /// sin with a rule for one mode only; its derivative is scaled by 10 to show that the rule was used.
    struct Marked {
        forward: bool,
    }

    struct Times(Tensor);

    impl Pullback for Times {
        fn name(&self) -> &str {
            "marked"
        }
        fn pull(&self, cotangents: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![cotangents[0].as_ref().map(|dy| dy.mul(&self.0)).transpose()?])
        }
    }

    impl CustomRule for Marked {
        fn name(&self) -> &str {
            "marked"
        }
        fn primal(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
            Ok(vec![inputs[0].sin()?])
        }
        fn vjp(&self, inputs: &[Tensor]) -> Option<Result<Forward>> {
            let run =
                || Ok((vec![inputs[0].sin()?], Arc::new(Times(inputs[0].cos()?.mul(10.0)?)) as Arc<dyn Pullback>));
            (!self.forward).then(run)
        }
        fn jvp(&self, inputs: &[Tensor], tangents: &[Option<Tensor>]) -> Option<Result<Pushed>> {
            let run = || {
                let slope = inputs[0].cos()?.mul(10.0)?;
                Ok((vec![inputs[0].sin()?], vec![tangents[0].as_ref().map(|t| t.mul(&slope)).transpose()?]))
            };
            self.forward.then(run)
        }
    }

    #[test]
    fn a_rule_for_one_mode_serves_both_and_every_order() {
        for forward in [false, true] {
            let rule: Arc<dyn CustomRule> = Arc::new(Marked { forward });
            let f = |x: &Tensor| Ok(custom::call(&rule, &[x.clone()])?.swap_remove(0));
            for transform in [derivative, slope] {
                let first = number(&transform(&f, &scalar(0.7)).unwrap());
                assert!((first - 10.0 * 0.7f64.cos()).abs() < 1e-12, "{forward}");
                for outer in [derivative, slope] {
                    let second = number(&outer(&|x: &Tensor| transform(&f, x), &scalar(0.7)).unwrap());
                    assert!((second + 10.0 * 0.7f64.sin()).abs() < 1e-12, "{forward}");
                }
            }
        }
    }

    #[test]
    fn checkpoints_see_what_they_close_over() {
        let f = |x: &[Tensor]| -> Result<Tensor> {
            let weight = x[1].clone();
            let function: Function = Arc::new(move |inputs: &[Tensor]| Ok(vec![inputs[0].mul(&weight)?.sin()?]));
            custom::checkpoint(&function, &[x[0].clone()])?.swap_remove(0).square()
        };
        let plain = |x: &[Tensor]| x[0].mul(&x[1])?.sin()?.square();
        let at = [scalar(0.3), scalar(1.7)];
        let (expected, got) = (grad(plain, &at).unwrap(), grad(f, &at).unwrap());
        for (a, b) in expected.iter().zip(&got) {
            assert!((number(a) - number(b)).abs() < 1e-12);
        }
        crate::op::testing::check_gradients(f, &at);
    }
}
