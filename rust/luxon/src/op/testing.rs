//! What the unit tests of the families share: derivatives against central differences, in f64.

use crate::error::Result;
use crate::runtime::threads::with_threads;
use crate::tensor::Tensor;
use crate::transform::{jvp, value_and_grad, vjp};
use crate::{DType, Scalar};

/// A deterministic tensor of f64 between `low` and `high` that has no ties and no round numbers.
pub(crate) fn sample(shape: &[usize], low: f64, high: f64, seed: u64) -> Tensor {
    let count: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let elements: Vec<f64> = (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            low + (high - low) * ((state >> 11) as f64 / (1u64 << 53) as f64)
        })
        .collect();
    Tensor::new(&elements, shape).unwrap()
}

/// The same shape, and elements (of any float dtype) that are equal or differ by at most `bound`, relative beyond 1.
pub(crate) fn assert_close(actual: &Tensor, expected: &Tensor, bound: f64, what: &str) {
    assert_eq!(actual.shape(), expected.shape(), "{what}");
    let wide = |tensor: &Tensor| tensor.cast(DType::F64).unwrap().to_vec::<f64>().unwrap();
    for (x, y) in wide(actual).iter().zip(wide(expected)) {
        assert!(*x == y || (x - y).abs() <= bound * (1.0 + y.abs()), "{what}: {x} against {y}");
    }
}

/// Fails unless a function of f32 and its gradients have the same bits on one thread and on three.
pub(crate) fn assert_threads_change_no_bit(
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    what: &str,
) {
    let run = |threads: usize| {
        with_threads(threads, || {
            let objective = |x: &[Tensor]| function(x)?.square()?.sum(None, false);
            let (value, gradients) = value_and_grad(objective, inputs).unwrap();
            std::iter::once(value)
                .chain(gradients)
                .flat_map(|tensor| tensor.contiguous().unwrap().to_vec::<f32>().unwrap())
                .map(f32::to_bits)
                .collect::<Vec<u32>>()
        })
    };
    assert!(run(1) == run(3), "{what}");
}

fn weighted(function: &dyn Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<Tensor> {
    let y = function(inputs)?;
    y.mul(&sample(y.shape(), 0.5, 1.5, 77))?.sum(None, false)
}

fn value(tensor: &Tensor) -> f64 {
    match tensor.item().unwrap() {
        Scalar::Float(value) => value,
        other => panic!("not a float: {other:?}"),
    }
}

fn bumped(inputs: &[Tensor], which: usize, index: usize, by: f64) -> Vec<Tensor> {
    let mut inputs = inputs.to_vec();
    let mut elements = inputs[which].to_vec::<f64>().unwrap();
    elements[index] += by;
    inputs[which] = Tensor::new(&elements, inputs[which].shape()).unwrap();
    inputs
}

/// Reverse mode against central differences of the value, forward mode against reverse mode.
fn check_first(function: &dyn Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor], what: &str) {
    let step = 1e-5;
    let (_, gradients) = value_and_grad(|x| weighted(function, x), inputs).unwrap();
    for (which, gradient) in gradients.iter().enumerate() {
        assert_eq!(gradient.dtype(), DType::F64);
        for (index, &slope) in gradient.to_vec::<f64>().unwrap().iter().enumerate() {
            let up = value(&weighted(function, &bumped(inputs, which, index, step)).unwrap());
            let down = value(&weighted(function, &bumped(inputs, which, index, -step)).unwrap());
            let expected = (up - down) / (2.0 * step);
            let error = (slope - expected).abs() / (1.0 + expected.abs());
            assert!(error < 2e-6, "{what}: input {which}, element {index}: {slope} against {expected}");
        }
    }
    let tangents: Vec<Tensor> = inputs.iter().map(|input| sample(input.shape(), -1.0, 1.0, 5)).collect();
    let (_, pushed) = jvp(|x| Ok(vec![weighted(function, x)?]), inputs, &tangents).unwrap();
    let expected: f64 = gradients
        .iter()
        .zip(&tangents)
        .map(|(gradient, tangent)| value(&gradient.mul(tangent).unwrap().sum(None, false).unwrap()))
        .sum();
    let got = value(&pushed[0]);
    assert!((got - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{what}: forward {got} against reverse {expected}");
}

/// First and second derivatives of `function` at `inputs`: reverse against differences, forward against
/// reverse, and the same for the gradient itself (reverse over reverse, forward over reverse).
pub(crate) fn check_gradients(function: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) {
    check_first(&function, inputs, "first order");
    for which in 0..inputs.len() {
        let slope = |x: &[Tensor]| {
            let (_, recorded) = vjp(|x| Ok(vec![function(x)?]), x)?;
            let y = function(x)?;
            let weights = sample(y.shape(), 0.5, 1.5, 99);
            let gradient = recorded.pull(&[Some(weights)])?.swap_remove(which);
            gradient.map_or_else(|| x[which].zeros_like(), Ok)
        };
        check_first(&slope, inputs, &format!("second order in input {which}"));
    }
}
