//! Kernels against the definition, derivatives of both, and refusals.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::dtype::DType;
use crate::op::elementwise::Kernel;
use crate::op::fused::activation::activation;
use crate::op::testing::{assert_close, check_gradients, sample};

fn motion(stride: usize, dilation: usize, before: isize, after: isize) -> Motion {
    Motion { stride, dilation, padding: (before, after) }
}

fn op(product: Product, motions: &[Motion], groups: usize) -> Conv {
    Conv { product, motions: motions.into(), groups, activation: Activation::NONE }
}

/// (x, w, motions, groups)
fn cases() -> Vec<(Vec<usize>, Vec<usize>, Vec<Motion>, usize)> {
    vec![
        (vec![2, 2, 5], vec![3, 2, 3], vec![motion(1, 1, 1, 1)], 1),
        (vec![1, 4, 7], vec![2, 2, 2], vec![motion(2, 2, 0, 3)], 2),
        (vec![2, 1, 6], vec![1, 1, 2], vec![motion(3, 1, -1, -2)], 1),
        (vec![1, 2, 3, 4], vec![2, 2, 2, 2], vec![motion(1, 1, 0, 1), motion(2, 1, 1, 0)], 1),
        (vec![1, 2, 3, 3], vec![4, 1, 2, 1], vec![motion(1, 1, 0, 0), motion(1, 1, 2, 0)], 2),
        (vec![1, 1, 2, 3, 2], vec![2, 1, 2, 2, 1], vec![motion(1, 1, 1, 0), motion(2, 1, 0, 0), motion(1, 1, 0, 0)], 1),
    ]
}

/// x, w and y of a case.
fn operands(x: &[usize], w: &[usize], motions: &[Motion], groups: usize) -> [Tensor; 3] {
    let (x, w) = (sample(x, -1.0, 1.0, 1), sample(w, -1.0, 1.0, 2));
    let spec = op(Product::Forward, motions, groups).outputs(&[x.value(), w.value()]).unwrap();
    let y = sample(&spec[0].shape, -1.0, 1.0, 3);
    [x, w, y]
}

/// The three products with their operands.
fn products([x, w, y]: &[Tensor; 3], motions: &[Motion], groups: usize) -> Vec<(Conv, Vec<Tensor>)> {
    let spatial = |tensor: &Tensor| Shape::from_slice(&tensor.shape()[2..]).unwrap();
    let bias = |tensor: &Tensor| sample(&tensor.shape()[1..2], -1.0, 1.0, 4);
    vec![
        (op(Product::Forward, motions, groups), vec![x.clone(), w.clone(), bias(y)]),
        (op(Product::Data(spatial(x)), motions, groups), vec![y.clone(), w.clone(), bias(x)]),
        (op(Product::Weight(spatial(w)), motions, groups), vec![x.clone(), y.clone()]),
    ]
}

#[test]
fn kernels_equal_their_definitions() {
    for (x, w, motions, groups) in cases() {
        for (mut op, inputs) in products(&operands(&x, &w, &motions, groups), &motions, groups) {
            for function in [None, Some(activation(Kernel::Tanh, &[]).unwrap())] {
                op.activation = Activation(function.filter(|_| !matches!(op.product, Product::Weight(_))));
                for (dtype, bound) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
                    let inputs: Vec<Tensor> = inputs.iter().map(|input| input.cast(dtype).unwrap()).collect();
                    let y = apply(op.clone(), &inputs.iter().collect::<Vec<_>>()).unwrap();
                    let expected = op.define(&inputs).unwrap().swap_remove(0);
                    assert_close(&y, &expected, bound, &format!("{op:?} of {x:?} by {w:?}"));
                }
            }
        }
    }
}

#[test]
fn gradients_are_right_to_second_order() {
    for (x, w, motions, groups) in cases() {
        for (mut op, inputs) in products(&operands(&x, &w, &motions, groups), &motions, groups) {
            check_gradients(|x| apply(op.clone(), &x.iter().collect::<Vec<_>>()), &inputs);
            if op.product == Product::Forward && x.len() == 3 {
                for kernel in [Kernel::Tanh, Kernel::Gelu] {
                    op.activation = Activation(Some(activation(kernel, &[]).unwrap()));
                    check_gradients(|x| apply(op.clone(), &x.iter().collect::<Vec<_>>()), &inputs);
                }
            }
        }
    }
}

#[test]
fn empty_operands_give_empty_or_zero_results() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32).unwrap();
    let bias = Tensor::full(&[3], 2.0, DType::F32).unwrap();
    let y = conv(&zeros(&[0, 2, 5]), &zeros(&[3, 2, 3]), Some(&bias), &ConvOptions::default()).unwrap();
    assert_eq!(y.shape()[..], [0, 3, 3]);
    let y = conv(&zeros(&[1, 0, 5]), &zeros(&[3, 0, 3]), Some(&bias), &ConvOptions::default()).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [2.0; 9]);
    let y = conv(&zeros(&[1, 2, 5]), &zeros(&[0, 2, 3]), None, &ConvOptions::default()).unwrap();
    assert_eq!(y.shape()[..], [1, 0, 3]);
    let w = op(Product::Weight(Shape::from_slice(&[3]).unwrap()), &[motion(1, 1, 0, 0)], 1);
    let w = apply(w, &[&zeros(&[0, 2, 5]), &zeros(&[0, 3, 3])]).unwrap();
    assert_eq!(w.to_vec::<f32>().unwrap(), [0.0; 18]);
    let x = op(Product::Data(Shape::from_slice(&[5]).unwrap()), &[motion(1, 1, 0, 0)], 1);
    let x = apply(x, &[&zeros(&[2, 0, 3]), &zeros(&[0, 1, 3])]).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [0.0; 10]);
}

#[test]
fn refusals_name_every_shape() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32).unwrap();
    let text = |x: &[usize], w: &[usize], options: ConvOptions| {
        conv(&zeros(x), &zeros(w), None, &options).unwrap_err().to_string()
    };
    let plain = ConvOptions::default;
    assert_eq!(
        text(&[1, 3, 8], &[4, 2, 3], plain()),
        "conv: x (1, 3, 8), weight (4, 2, 3) do not fit: 3 channels against 2"
    );
    assert_eq!(
        text(&[1, 3, 2], &[4, 3, 3], plain()),
        "conv: x (1, 3, 2), weight (4, 3, 3) do not fit: a kernel that spans 3 on a padded axis of 2"
    );
    assert_eq!(
        text(&[1, 3, 8], &[4, 3, 3], ConvOptions { groups: 0, ..plain() }),
        "conv: x (1, 3, 8), weight (4, 3, 3) do not fit: groups must be positive"
    );
    assert_eq!(
        text(&[1, 3, 8], &[4, 1, 3], ConvOptions { groups: 3, ..plain() }),
        "conv: x (1, 3, 8), weight (4, 1, 3) do not fit: 4 output channels in 3 groups"
    );
    assert_eq!(
        text(&[1, 3, 8], &[4, 3, 3], ConvOptions { stride: vec![0], ..plain() }),
        "conv: stride and dilation must be positive, got 0 and 1"
    );
    for hostile in [usize::MAX, isize::MAX as usize, 1 << 60, 1 << 40] {
        for options in [
            ConvOptions { dilation: vec![hostile], ..plain() },
            ConvOptions { padding: Margins::Pairs(vec![(hostile, hostile)]), ..plain() },
        ] {
            assert!(conv(&zeros(&[1, 3, 8]), &zeros(&[4, 3, 3]), None, &options).is_err());
            assert!(conv_transpose(&zeros(&[1, 4, 8]), &zeros(&[4, 3, 3]), None, &[0], &options).is_err());
        }
        let strided = ConvOptions { stride: vec![hostile], ..plain() };
        assert!(conv_transpose(&zeros(&[1, 4, 8]), &zeros(&[4, 3, 3]), None, &[0], &strided).is_err());
        assert!(conv_transpose(&zeros(&[1, 4, 8]), &zeros(&[4, 3, 3]), None, &[hostile], &plain()).is_err());
    }
}
