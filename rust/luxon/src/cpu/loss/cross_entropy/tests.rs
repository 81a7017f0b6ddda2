//! Cross entropy beside its definition in double precision.

use super::super::super::rows::testing::{assert_close, assert_reproducible, numbers, slope, wide};
use super::*;
use std::ptr::{null, null_mut};

/// The losses of all rows for dense targets (weights and smoothing applied), from the definition.
fn definition(x: &[f64], dense: &[f64], classes: usize) -> Vec<f64> {
    let rows = x.chunks_exact(classes).zip(dense.chunks_exact(classes));
    rows.map(|(x, t)| {
        let maximum = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total = x.iter().map(|x| (x - maximum).exp()).sum::<f64>().ln() + maximum;
        x.iter().zip(t).map(|(x, t)| t * (total - x)).sum()
    })
    .collect()
}

/// What a cross entropy compares with, dense: classes or probabilities smoothed and weighted.
fn dense(targets: &[f64], weight: &[f64], smoothing: f64) -> Vec<f64> {
    let classes = weight.len();
    let smooth = |(i, t): (usize, &f64)| (t * (1.0 - smoothing) + smoothing / classes as f64) * weight[i % classes];
    targets.iter().enumerate().map(smooth).collect()
}

fn cross_entropy_agrees<T: Real>(tolerance: f64) {
    for (rows, classes) in [(0, 3), (1, 1), (6, 10), (128, 10), (5, 17), (4, 64), (3, 1001)] {
        for (case, smoothing) in [0.0, 0.1, 0.0, 0.1, 0.0, 0.1].into_iter().enumerate() {
            let x = numbers::<T>(rows * classes, case as u64, 3.0);
            let index: Vec<i64> =
                (0..rows).map(|row| if row % 5 == 4 { -100 } else { (row * 7 % classes) as i64 }).collect();
            // Rows that sum to about 1: the oracle's difference quotients lose digits to a large loss.
            let share = T::from_f64(0.5 / classes as f64);
            let given: Vec<T> = numbers::<T>(rows * classes, 31, 2.0).into_iter().map(|t| t * share).collect();
            let weighted = case % 3 > 0;
            let weight = if weighted { numbers::<T>(classes, 9, 2.5) } else { vec![T::ONE; classes] };
            let (targets, hot) = if case < 3 {
                let mut hot = vec![0.0; rows * classes];
                for row in 0..rows {
                    if index[row] >= 0 {
                        hot[row * classes + index[row] as usize] = 1.0;
                    }
                }
                (Targets::Classes { index: index.as_ptr(), ignore: Some(-100) }, hot)
            } else {
                (Targets::Probabilities(given.as_ptr()), wide(&given))
            };
            let mut compared = dense(&hot, &wide(&weight), smoothing);
            for row in (0..rows).filter(|&row| case < 3 && index[row] < 0) {
                compared[row * classes..(row + 1) * classes].fill(0.0);
            }
            let operands = CrossEntropy {
                logits: x.as_ptr(),
                targets,
                weight: if weighted { weight.as_ptr() } else { null() },
                label_smoothing: smoothing,
                rows,
                classes,
            };
            let (mut losses, mut weights) = (vec![T::ONE; rows], vec![T::ONE; rows]);
            let (mut saved, mut gradient) = (vec![T::ONE; 2 * rows], vec![T::ONE; rows * classes]);
            let [l, w, s] = [losses.as_mut_ptr(), weights.as_mut_ptr(), saved.as_mut_ptr()];
            // SAFETY: all arrays have their sizes.
            unsafe { cross_entropy(&operands, l, w, s, gradient.as_mut_ptr()) };
            let expected = definition(&wide(&x), &compared, classes);
            assert_close(&losses, &expected, tolerance, "loss");
            let mut slopes = vec![0.0; rows * classes];
            for row in 0..rows {
                let range = row * classes..(row + 1) * classes;
                let (x, t) = (&wide(&x[range.clone()]), &compared[range.clone()]);
                let (mass, maximum) = (t.iter().sum::<f64>(), x.iter().copied().fold(f64::MIN, f64::max));
                let total: f64 = x.iter().map(|x| (x - maximum).exp()).sum();
                for (i, slope) in slopes[range].iter_mut().enumerate() {
                    *slope = mass * (x[i] - maximum).exp() / total - t[i];
                }
                let ignored = case < 3 && index[row] < 0;
                let own = if ignored {
                    0.0
                } else if case < 3 {
                    weight[index[row] as usize].to_f64()
                } else {
                    1.0
                };
                assert_eq!(weights[row].to_f64(), own);
            }
            assert_close(&gradient, &slopes, tolerance, "gradient at once");
            let half = [T::from_f64(0.5)];
            // SAFETY: all arrays have their sizes; a stride of 0 reads one number.
            unsafe { cross_entropy_gradient(&operands, saved.as_ptr(), half.as_ptr(), 0, gradient.as_mut_ptr()) };
            slopes.iter_mut().for_each(|slope| *slope *= 0.5);
            assert_close(&gradient, &slopes, tolerance, "gradient from what was saved");
            for i in (0..rows * classes).step_by(1 + rows * classes / 7) {
                let range = i / classes * classes..(i / classes + 1) * classes;
                let (x, t) = (wide(&x[range.clone()]), &compared[range]);
                let numeric = slope(&x, i % classes, |x| definition(x, t, classes)[0]);
                assert_close(&[0.5 * numeric], &slopes[i..=i], 1e-8, "finite difference");
            }
        }
    }
}

#[test]
fn cross_entropy_agrees_with_the_definition() {
    cross_entropy_agrees::<f32>(1e-4);
    cross_entropy_agrees::<f64>(1e-12);
}

#[test]
fn a_large_offset_keeps_loss_and_gradient() {
    let (rows, classes) = (4, 10);
    let x = numbers::<f32>(rows * classes, 5, 1e6);
    let index = vec![3i64; rows];
    let operands = CrossEntropy {
        logits: x.as_ptr(),
        targets: Targets::Classes { index: index.as_ptr(), ignore: None },
        weight: null(),
        label_smoothing: 0.0,
        rows,
        classes,
    };
    let hot: Vec<f64> = (0..rows * classes).map(|i| f64::from(u8::from(i % classes == 3))).collect();
    let (mut losses, mut saved) = (vec![0.0; rows], vec![0.0; 2 * rows]);
    let mut gradient = vec![0.0f32; rows * classes];
    // SAFETY: all arrays have their sizes.
    unsafe {
        cross_entropy(&operands, losses.as_mut_ptr(), null_mut(), saved.as_mut_ptr(), null_mut());
        cross_entropy_gradient(&operands, saved.as_ptr(), [1.0].as_ptr(), 0, gradient.as_mut_ptr());
    }
    assert_close(&losses, &definition(&wide(&x), &hot, classes), 1e-6, "loss");
    assert!(gradient.chunks_exact(classes).all(|row| row.iter().sum::<f32>().abs() < 1e-6));
}

#[test]
fn bits_depend_on_nothing_but_the_input() {
    for (rows, classes) in [(5000, 10), (500, 300)] {
        let x = numbers::<f32>(rows * classes, 5, 0.0);
        let index: Vec<i64> = (0..rows as i64).map(|row| row % 7).collect();
        let operands = CrossEntropy {
            logits: x.as_ptr(),
            targets: Targets::Classes { index: index.as_ptr(), ignore: Some(3) },
            weight: null(),
            label_smoothing: 0.1,
            rows,
            classes,
        };
        assert_reproducible(|| {
            let mut result = vec![0.0f32; rows * classes + rows];
            let (gradient, losses) = result.split_at_mut(rows * classes);
            let (g, l) = (gradient.as_mut_ptr(), losses.as_mut_ptr());
            // SAFETY: all arrays have their sizes.
            unsafe { cross_entropy(&operands, l, null_mut(), null_mut(), g) };
            result
        });
    }
}

#[test]
fn an_ignored_row_gives_zeros_whatever_it_holds() {
    for classes in [4, 90] {
        let mut x = numbers::<f32>(3 * classes, 5, 0.0);
        x[classes] = f32::NAN;
        let index = [1i64, -1, 2];
        let operands = CrossEntropy {
            logits: x.as_ptr(),
            targets: Targets::Classes { index: index.as_ptr(), ignore: Some(-1) },
            weight: null(),
            label_smoothing: 0.1,
            rows: 3,
            classes,
        };
        let (mut losses, mut saved) = (vec![1.0; 3], vec![1.0; 6]);
        let mut gradient = vec![1.0f32; 3 * classes];
        let (l, s, g) = (losses.as_mut_ptr(), saved.as_mut_ptr(), gradient.as_mut_ptr());
        // SAFETY: all arrays have their sizes.
        unsafe { cross_entropy(&operands, l, null_mut(), s, g) };
        assert!(losses[0] > 0.0 && losses[1] == 0.0 && losses[2] > 0.0);
        assert!(gradient[classes..2 * classes].iter().all(|&g| g == 0.0));
        // SAFETY: all arrays have their sizes.
        unsafe { cross_entropy_gradient(&operands, s, [1.0].as_ptr(), 0, g) };
        assert!(gradient[classes..2 * classes].iter().all(|&g| g == 0.0));
        assert!(gradient[..classes].iter().all(|g| g.is_finite() && *g != 0.0));
    }
}
