//! Batch norm beside its definition in double precision.

use super::super::super::rows::testing::{assert_close, assert_reproducible, assert_slopes, numbers, wide};
use super::*;

const SHAPES: [(usize, usize, usize); 10] = [
    (1, 1, 2),
    (4, 3, 1),
    (33, 10, 1),
    (300, 70, 1),
    (5, 600, 1),
    (3, 5, 4),
    (6, 20, 49),
    (2, 3, 1100),
    (3, 2, 300),
    (0, 3, 4),
];

/// Batch norm in double precision: (y, mean, biased variance, rstd).
fn definition(
    x: &[f64],
    weight: &[f64],
    bias: &[f64],
    (batch, channels, spatial): (usize, usize, usize),
) -> [Vec<f64>; 4] {
    let mut results = [x.to_vec(), vec![], vec![], vec![]];
    for channel in 0..channels {
        let own: Vec<usize> =
            (0..batch * spatial).map(|i| (i / spatial * channels + channel) * spatial + i % spatial).collect();
        let n = own.len() as f64;
        // Around an element, as the mean itself could not be held exactly enough beside an offset.
        let origin = own.first().map_or(f64::NAN, |&i| x[i]);
        let mean = own.iter().map(|&i| x[i] - origin).sum::<f64>() / n;
        let variance = own.iter().map(|&i| (x[i] - origin - mean).powi(2)).sum::<f64>() / n;
        let rstd = 1.0 / (variance + 1e-5).sqrt();
        own.iter().for_each(|&i| results[0][i] = (x[i] - origin - mean) * rstd * weight[channel] + bias[channel]);
        results[1].push(origin + mean);
        results[2].push(variance);
        results[3].push(rstd);
    }
    results
}

fn forward_agrees<T: Real>(tolerance: f64) {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        for offset in [0.0, 1e6] {
            let (batch, channels, spatial) = shape;
            let x = numbers::<T>(batch * channels * spatial, seed as u64, offset);
            let (weight, bias) = (numbers::<T>(channels, 90, 0.0), numbers::<T>(channels, 91, 0.0));
            let mut y = x.clone();
            let mut kept = vec![vec![T::ZERO; channels]; 3];
            let (p, w, b) = (y.as_mut_ptr(), weight.as_ptr(), bias.as_ptr());
            let [m, v, r] = std::array::from_fn(|i| kept[i].as_mut_ptr());
            // SAFETY: the arrays have their sizes; `y` may be `x`.
            unsafe { batch_norm(p.cast_const(), w, b, 1e-5, p, m, v, r, shape) };
            let expected = definition(&wide(&x), &wide(&weight), &wide(&bias), shape);
            assert_close(&y, &expected[0], tolerance, "batch_norm");
            for (kept, expected) in kept.iter().zip(&expected[1..]) {
                assert_close(kept, expected, tolerance, "statistics");
            }
            if offset == 0.0 {
                // SAFETY: as above.
                unsafe { batch_norm_inference(x.as_ptr(), w, b, m, v, 1e-5, p, shape) };
                assert_close(&y, &expected[0], 3.0 * tolerance, "inference");
            }
        }
    }
}

#[test]
fn forward_agrees_with_the_definition() {
    forward_agrees::<f32>(3e-6);
    forward_agrees::<f64>(1e-13);
}

#[test]
fn gradients_agree_with_finite_differences() {
    for (seed, shape) in [(4, 3, 1), (33, 10, 1), (3, 5, 4), (2, 2, 600)].into_iter().enumerate() {
        for training in [true, false] {
            let (batch, channels, spatial) = shape;
            let x = numbers::<f64>(batch * channels * spatial, seed as u64, 0.5);
            let (weight, bias) = (numbers::<f64>(channels, 90, 0.0), vec![0.25; channels]);
            let dy = numbers::<f64>(x.len(), 92, 0.0);
            let given = definition(&x, &weight, &bias, shape);
            let (mut dx, mut dweight, mut dbias) = (dy.clone(), vec![0.0; channels], vec![0.0; channels]);
            let (g, w) = (dx.as_mut_ptr(), weight.as_ptr());
            let (m, r) = (given[1].as_ptr(), given[3].as_ptr());
            let (dw, db) = (dweight.as_mut_ptr(), dbias.as_mut_ptr());
            // SAFETY: the arrays have their sizes; `dx` may be `dy`.
            unsafe { batch_norm_gradient(g.cast_const(), x.as_ptr(), m, r, w, g, dw, db, shape, training) };
            let objective = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
                let mut y = vec![0.0; x.len()];
                let (m, v) = (given[1].as_ptr(), given[2].as_ptr());
                if training {
                    y.clone_from(&definition(x, w, b, shape)[0]);
                } else {
                    let (x, w, b) = (x.as_ptr(), w.as_ptr(), b.as_ptr());
                    // SAFETY: the arrays have their sizes.
                    unsafe { batch_norm_inference(x, w, b, m, v, 1e-5, y.as_mut_ptr(), shape) };
                }
                y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
            };
            assert_slopes(&dx, &x, 1 + x.len() / 40, "dx", |x| objective(x, &weight, &bias));
            assert_slopes(&dweight, &weight, 1, "dweight", |w| objective(&x, w, &bias));
            assert_slopes(&dbias, &bias, 1, "dbias", |b| objective(&x, &weight, b));
        }
    }
}

#[test]
fn bits_depend_on_nothing_but_the_input() {
    for shape in [(64, 24, 49), (2000, 64, 1)] {
        let (batch, channels, spatial) = shape;
        let x = numbers::<f32>(batch * channels * spatial, 1, 0.0);
        assert_reproducible(|| {
            let mut y = vec![0.0f32; x.len() + 3 * channels];
            let none = std::ptr::null();
            let (first, rest) = y.split_at_mut(x.len());
            let p = rest.as_mut_ptr();
            // SAFETY: the arrays have their sizes.
            unsafe {
                let (v, r) = (p.add(channels), p.add(2 * channels));
                batch_norm(x.as_ptr(), none, none, 1e-5, first.as_mut_ptr(), p, v, r, shape);
            }
            y
        });
    }
}
