use super::*;
use crate::DType;
use crate::op::apply;
use crate::op::testing::{assert_close, assert_threads_change_no_bit, check_gradients, sample};

/// Batch, heads, heads of keys, queries, keys, dim, dim of values.
type Case = [usize; 7];

fn operations() -> Vec<Attention> {
    let mut all = Vec::new();
    for (causal, heads_first, mask, bias) in [
        (false, true, false, false),
        (true, true, false, false),
        (true, false, false, true),
        (false, false, true, false),
        (true, true, true, true),
    ] {
        all.push(Attention { scale: 0.4, causal, heads_first, mask, bias });
    }
    all
}

fn operands(op: &Attention, [batch, heads, kv_heads, queries, keys, dim, value_dim]: Case) -> Vec<Tensor> {
    let shape = |heads: usize, time: usize, dim: usize| match op.heads_first {
        true => [batch, heads, time, dim],
        false => [batch, time, heads, dim],
    };
    let mut operands = vec![
        sample(&shape(heads, queries, dim), -2.0, 2.0, 1),
        sample(&shape(kv_heads, keys, dim), -2.0, 2.0, 2),
        sample(&shape(kv_heads, keys, value_dim), -2.0, 2.0, 3),
    ];
    if op.mask {
        // One query of the first example meets no key.
        let shape = [batch, 1, queries, keys];
        let mut mask: Vec<bool> =
            sample(&shape, 0.0, 1.0, 4).to_vec::<f64>().unwrap().into_iter().map(|x| x < 0.7).collect();
        let empty = keys.min(mask.len());
        mask[..empty].fill(false);
        operands.push(Tensor::new(&mask, &shape).unwrap());
    }
    operands.extend(op.bias.then(|| sample(&[1, heads, queries, keys], -1.0, 1.0, 5)));
    operands
}

#[test]
fn kernels_equal_their_definitions() {
    let cases: [Case; 9] = [
        [1, 1, 1, 1, 1, 1, 1],
        [2, 2, 1, 3, 5, 4, 3],
        [2, 4, 2, 40, 40, 16, 16],
        [1, 1, 1, 33, 130, 5, 70],
        [1, 3, 3, 130, 33, 70, 5],
        [3, 2, 2, 129, 257, 8, 8],
        // Few heads and many keys: the keys are cut.
        [1, 2, 1, 70, 1100, 4, 4],
        [0, 2, 2, 3, 3, 2, 2],
        [2, 2, 2, 3, 0, 2, 2],
    ];
    for case in cases {
        for op in operations() {
            let wide = operands(&op, case);
            for (dtype, bound) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
                let what = format!("{op:?} of {case:?} in {dtype}");
                let convert = |input: &Tensor| match input.dtype() {
                    DType::Bool => input.clone(),
                    _ => input.cast(dtype).unwrap(),
                };
                let inputs: Vec<Tensor> = wide.iter().map(convert).collect();
                let outputs = apply_all(op.into(), &inputs.iter().collect::<Vec<_>>()).unwrap();
                let expected = op.expand(&inputs).unwrap().unwrap();
                for (output, expected) in outputs.iter().zip(&expected) {
                    assert_close(output, expected, bound, &what);
                }
                let mut given = vec![sample(outputs[0].shape(), -1.0, 1.0, 9).cast(dtype).unwrap()];
                given.extend(inputs);
                given.extend(outputs.iter().cloned());
                let gradient = AttentionGradient { of: op };
                let outputs = apply_all(gradient.into(), &given.iter().collect::<Vec<_>>()).unwrap();
                let expected = gradient.expand(&given).unwrap().unwrap();
                for (output, expected) in outputs.iter().zip(&expected) {
                    assert_close(output, expected, 20.0 * bound, &format!("gradient of {what}"));
                }
            }
        }
    }
}

#[test]
fn gradients_are_right_to_second_order() {
    for op in operations() {
        let all = operands(&op, [1, 2, 1, 2, 3, 2, 1]);
        let (floats, rest): (Vec<Tensor>, Vec<Tensor>) = all.into_iter().partition(|x| x.dtype() != DType::Bool);
        let function = |x: &[Tensor]| {
            let inputs: Vec<&Tensor> = x[..3].iter().chain(&rest).chain(&x[3..]).collect();
            apply(op, &inputs)
        };
        check_gradients(function, &floats);
    }
}

#[test]
fn threads_change_no_bit() {
    for case in [[3, 4, 2, 150, 150, 16, 16], [1, 1, 1, 64, 1300, 8, 8]] {
        for op in operations().into_iter().filter(|op| !op.bias) {
            let mut inputs = operands(&op, case);
            for input in &mut inputs[..3] {
                *input = input.cast(DType::F32).unwrap();
            }
            let rest = &inputs[3..];
            let function = |x: &[Tensor]| apply(op, &x.iter().chain(rest).collect::<Vec<_>>());
            assert_threads_change_no_bit(function, &inputs[..3], &format!("{op:?}"));
        }
    }
}
