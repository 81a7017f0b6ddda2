use super::*;
use crate::DType;
use crate::op::testing::{assert_close, check_gradients, sample};
use crate::op::{Family, apply_all};

fn window<'a>(sizes: &'a [usize], stride: &'a [usize], pairs: &'a [(usize, usize)], ceil: bool) -> PoolWindow<'a> {
    PoolWindow { stride: Some(stride), padding: PoolPadding::Pairs(pairs), ceil, ..PoolWindow::new(sizes) }
}

/// Shapes with windows on their last axes.
fn cases() -> Vec<(&'static [usize], [Windows; 3], usize)> {
    let mut cases = Vec::new();
    let mut add = |shape: &'static [usize], window: PoolWindow<'_>| {
        let x = Tensor::zeros(shape, DType::F32).unwrap();
        cases.push((shape, window.on("pool", &x).unwrap(), window.sizes.len()));
    };
    add(&[2, 3, 7], PoolWindow::new(&[2]));
    add(&[2, 6, 8], PoolWindow::new(&[2, 2]));
    add(&[1, 2, 5, 6], window(&[3, 2], &[2, 1], &[(1, 0), (0, 1)], false));
    add(&[2, 5, 7], window(&[3, 3], &[2, 2], &[(1, 1), (1, 1)], true));
    add(&[1, 3, 4, 5], window(&[2, 3, 2], &[1, 2, 2], &[(1, 1), (0, 1), (0, 0)], true));
    add(&[3, 40], window(&[11], &[9], &[(5, 5)], true));
    add(&[0, 2, 4], PoolWindow::new(&[2]));
    add(&[2, 9], PoolWindow { dilation: Some(&[3]), stride: Some(&[1]), ..PoolWindow::new(&[2]) });
    add(&[2, 30], PoolWindow { dilation: Some(&[3]), stride: Some(&[10]), ..PoolWindow::new(&[2]) });
    for (shape, output) in [(&[2, 3, 7, 5][..], &[3, 5][..]), (&[2, 6, 8], &[3, 4]), (&[1, 4, 3, 5], &[3, 1, 7])] {
        let x = Tensor::zeros(shape, DType::F32).unwrap();
        cases.push((shape, adaptive("pool", &x, output).unwrap(), output.len()));
    }
    cases
}

#[test]
fn kernels_equal_their_definitions() {
    for (shape, axes, rank) in cases() {
        let mut takes = vec![Take::Max];
        let pool = |take: Take| Pool { take, axes, rank };
        if pool(Take::Mean { with_padding: true }).runs().is_some_and(|axes| axes.iter().all(|axis| axis.dilation == 1))
        {
            takes.extend([true, false].map(|with_padding| Take::Mean { with_padding }));
            takes.extend([true, false].map(|with_padding| Take::Spread { with_padding }));
        }
        for (dtype, bound) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
            let x = sample(shape, -2.0, 2.0, 5).cast(dtype).unwrap();
            let largest = apply_all(pool(Take::Max).into(), &[&x]).unwrap();
            let dy = sample(largest[0].shape(), -1.0, 1.0, 6).cast(dtype).unwrap();
            for take in takes.iter().copied().chain([Take::Pick, Take::Put]) {
                let inputs = match take {
                    Take::Max | Take::Mean { .. } => vec![x.clone()],
                    Take::Spread { .. } => vec![dy.clone()],
                    Take::Pick => vec![x.clone(), largest[1].clone()],
                    Take::Put => vec![dy.clone(), largest[1].clone()],
                };
                let op = pool(take);
                let outputs = apply_all(op.into(), &inputs.iter().collect::<Vec<_>>()).unwrap();
                let expected = op.expand(&inputs).unwrap().unwrap();
                assert_eq!(outputs.len(), expected.len());
                for (output, expected) in outputs.iter().zip(&expected) {
                    assert_close(output, expected, bound, &format!("{op:?} of {shape:?} in {dtype}"));
                }
            }
        }
    }
}

#[test]
fn gradients_are_right_to_second_order() {
    let x = sample(&[1, 2, 5, 4], 0.5, 2.0, 3);
    let windows = window(&[3, 2], &[2, 1], &[(1, 1), (0, 1)], true);
    let pools: [&dyn Fn(&Tensor) -> Result<Tensor>; 8] = [
        &|x| max_pool(x, &windows),
        &|x| mean_pool(x, &windows, true),
        &|x| mean_pool(x, &windows, false),
        &|x| lp_pool(x, &PoolWindow::new(&[2, 2]), 3.0),
        &|x| adaptive_max_pool(x, &[3, 2]),
        &|x| adaptive_mean_pool(x, &[2, 3]),
        &|x| adaptive_mean_pool(x, &[5, 2]),
        &|x| adaptive_lp_pool(x, &[2, 3], 2.0),
    ];
    for pool in pools {
        check_gradients(|x| pool(&x[0].square()?), std::slice::from_ref(&x));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = Tensor::zeros(&[2, 3, 6, 6], DType::F32).unwrap();
    let huge = [usize::MAX / 4, 2];
    for window in [
        PoolWindow::new(&[7, 2]),
        PoolWindow::new(&[0, 2]),
        PoolWindow::new(&[2, 2, 2, 2]),
        PoolWindow::new(&huge),
        window(&[2, 2], &[0, 1], &[], false),
        window(&[2, 2], &[1], &[], false),
        window(&[2, 2], &[1, 1], &[(2, 0), (0, 0)], false),
        PoolWindow { dilation: Some(&[usize::MAX, 1]), ..PoolWindow::new(&[2, 2]) },
        PoolWindow { dilation: Some(&[1 << 40, 1]), padding: PoolPadding::Same, ..PoolWindow::new(&[3, 2]) },
    ] {
        assert!(max_pool(&x, &window).is_err(), "{window:?}");
        assert!(mean_pool(&x, &window, true).is_err(), "{window:?}");
    }
    assert!(mean_pool(&x, &PoolWindow { dilation: Some(&[2, 2]), ..PoolWindow::new(&[2, 2]) }, true).is_err());
    assert!(max_pool(&x.cast(DType::I32).unwrap(), &PoolWindow::new(&[2, 2])).is_err());
    assert!(adaptive_mean_pool(&x, &[0, 2]).is_err());
    assert!(adaptive_max_pool(&Tensor::zeros(&[2, 0], DType::F32).unwrap(), &[2]).is_err());
    assert!(lp_pool(&x, &PoolWindow::new(&[2, 2]), 0.0).is_err());
    // Many more taps than elements: taken window by window, without laying anything out.
    let window = window(&huge, &[1, 1], &[(usize::MAX / 8, usize::MAX / 8), (0, 0)], false);
    assert_eq!(max_pool(&x, &window).unwrap().shape()[..], [2, 3, 6, 5]);
    assert_eq!(mean_pool(&x, &window, false).unwrap().shape()[..], [2, 3, 6, 5]);
}
