//! Every row beside finite differences; conventions, layouts and dtypes.

use super::*;
use crate::op::testing::{check_gradients, sample};
use crate::transform::{grad, value_and_grad};

/// Where a kernel is smooth and defined: bounds for its arguments.
fn bounds(kernel: Kernel) -> (f64, f64) {
    match kernel {
        Kernel::Log
        | Kernel::Log2
        | Kernel::Log10
        | Kernel::Sqrt
        | Kernel::Rsqrt
        | Kernel::Reciprocal
        | Kernel::Pow
        | Kernel::Entr
        | Kernel::Divide
        | Kernel::XLogY
        | Kernel::Gammaln
        | Kernel::Digamma
        | Kernel::Remainder
        | Kernel::Fmod
        | Kernel::FloorDivide => (0.6, 2.3),
        Kernel::Acosh => (1.2, 3.0),
        Kernel::Logit => (0.1, 0.9),
        Kernel::XLog1pY => (-0.8, 2.2),
        Kernel::Asin | Kernel::Acos | Kernel::Atanh | Kernel::Erfinv | Kernel::Log1p => (-0.8, 0.8),
        _ => (-2.1, 2.2),
    }
}

#[test]
fn every_row_has_right_derivatives() {
    for &kernel in Kernel::ALL {
        let derivable = !kernel.derivatives().is_empty();
        if !derivable || matches!(kernel.domain(), Domain::Select) {
            continue;
        }
        if kernel == Kernel::Polygamma {
            // Its order is a whole number, so there is no slope in it.
            check_gradients(|x| map(kernel, &[1.0.into(), (&x[0]).into()]), &[sample(&[3], 0.6, 2.3, 1)]);
            continue;
        }
        // Functions that round have zero slopes almost everywhere, which differences confirm.
        let (low, high) = bounds(kernel);
        let x = sample(&[3], low, high, kernel as u64 + 1);
        match (kernel.arity(), kernel.derivatives().len()) {
            (1, _) => check_gradients(|x| map(kernel, &[(&x[0]).into()]), &[x]),
            (2, 1) => check_gradients(|x| map(kernel, &[(&x[0]).into(), 0.7.into()]), &[x]),
            (2, _) => {
                let y = sample(&[2, 1], low, high, kernel as u64 + 50);
                check_gradients(|x| map(kernel, &[(&x[0]).into(), (&x[1]).into()]), &[x, y]);
            }
            _ => check_gradients(|x| map(kernel, &[(&x[0]).into(), (-1.1).into(), 1.3.into()]), &[x]),
        }
    }
}

#[test]
fn select_and_clip_route_gradients() {
    let condition = Tensor::new(&[true, false, true], &[3]).unwrap();
    let (x, y) = (sample(&[3], -1.0, 1.0, 1), sample(&[2, 3], -1.0, 1.0, 2));
    check_gradients(|a| map(Kernel::Where, &[(&condition).into(), (&a[0]).into(), (&a[1]).into()]), &[x.clone(), y]);
    let edges = Tensor::new(&[-1.0, 0.0, 1.0, 3.0], &[4]).unwrap();
    let slope =
        grad(|x| map(Kernel::Clip, &[(&x[0]).into(), (-1.0).into(), 1.0.into()])?.sum(None, false), &[edges]).unwrap();
    assert_eq!(slope[0].to_vec::<f64>().unwrap(), [1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn kinks_follow_the_stated_conventions() {
    let zero = Tensor::new(&[0.0f64], &[1]).unwrap();
    for kernel in [Kernel::Relu, Kernel::Abs, Kernel::LeakyRelu] {
        let f = |x: &[Tensor]| match kernel.arity() {
            1 => map(kernel, &[(&x[0]).into()]),
            _ => map(kernel, &[(&x[0]).into(), 0.0.into()]),
        };
        let slope = grad(|x| f(x)?.sum(None, false), &[zero.clone()]).unwrap();
        assert_eq!(slope[0].to_vec::<f64>().unwrap(), [0.0], "{kernel:?}");
    }
    let slopes = grad(|x| x[0].maximum(&x[1])?.sum(None, false), &[zero.clone(), zero]).unwrap();
    assert_eq!(slopes[0].to_vec::<f64>().unwrap(), [0.5]);
    assert_eq!(slopes[1].to_vec::<f64>().unwrap(), [0.5]);
}

#[test]
fn layouts_do_not_matter() {
    // Every access path of the loops: contiguous, tiles, runs, gathers, negative strides.
    let x = sample(&[5, 40, 33], -2.0, 2.0, 3);
    let views = [
        x.clone(),
        x.permute(&[2, 1, 0]).unwrap(),
        x.flip(&[0, 2]).unwrap(),
        x.narrow(1, 3, 20).unwrap(),
        x.narrow(2, 0, 1).unwrap(),
    ];
    for view in &views {
        let dense = Tensor::new(&view.to_vec::<f64>().unwrap(), view.shape()).unwrap();
        let row = sample(&view.shape()[2..], -1.0, 1.0, 9);
        let column = sample(&[view.shape()[1], 1], -1.0, 1.0, 10);
        for other in [&row, &column] {
            let a = view.mul(other).unwrap().to_vec::<f64>().unwrap();
            let b = dense.mul(&other.broadcast_to(dense.shape()).unwrap().contiguous().unwrap()).unwrap();
            assert_eq!(a, b.to_vec::<f64>().unwrap());
        }
        let half = view.cast(DType::BF16).unwrap().add(1.0).unwrap();
        let expected =
            dense.cast(DType::BF16).unwrap().cast(DType::F32).unwrap().add(1.0).unwrap().cast(DType::BF16).unwrap();
        assert_eq!(half.dtype(), DType::BF16);
        assert_eq!(half.to_vec::<half::bf16>().unwrap(), expected.to_vec::<half::bf16>().unwrap());
    }
}

#[test]
fn integers_and_truth_values() {
    let a = Tensor::new(&[7i32, -7, 5, 0], &[4]).unwrap();
    let b = Tensor::new(&[2i32, 2, 0, -3], &[4]).unwrap();
    assert_eq!(a.floor_divide(&b).unwrap().to_vec::<i32>().unwrap(), [3, -4, 0, 0]);
    assert_eq!(a.remainder(&b).unwrap().to_vec::<i32>().unwrap(), [1, 1, 0, 0]);
    assert_eq!(a.div(2i64).unwrap().dtype(), DType::F32);
    let mask = a.greater(0i64).unwrap();
    assert_eq!(mask.to_vec::<bool>().unwrap(), [true, false, true, false]);
    assert_eq!(mask.mul(2.0).unwrap().to_vec::<f32>().unwrap(), [2.0, 0.0, 2.0, 0.0]);
    assert!(mask.sub(&mask).unwrap_err().to_string().contains("subtract: dtype bool"));
    assert!(pow(&a, -1i64).is_err());
    assert!(a.add(1i64 << 40).is_err());
}

#[test]
fn a_million_nodes_are_walked_and_dropped() {
    let x = Tensor::scalar(1.0, DType::F32);
    let (y, slope) = value_and_grad(
        |x| {
            let mut y = x[0].clone();
            for _ in 0..1_000_000 {
                y = y.add(1.0)?;
            }
            Ok(y)
        },
        &[x],
    )
    .unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [1_000_001.0]);
    assert_eq!(slope[0].to_vec::<f32>().unwrap(), [1.0]);
}
