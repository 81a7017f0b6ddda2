//! Kernels against the plain loops over random settings; the same bits for any number of threads.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::runtime::threads::with_threads;

/// The three products by their definition, in f64.
struct Plain {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
}

fn plain(p: &Problem, x: &[f64], w: &[f64], dy: &[f64]) -> Plain {
    let Problem { batch, groups, channels, filters, axes } = *p;
    let [a, b, c] = axes;
    let mut sums = Plain { y: vec![0.0; dy.len()], dx: vec![0.0; x.len()], dw: vec![0.0; w.len()] };
    let place = |axis: &Axis, out: usize, tap: usize| {
        let at = (out * axis.stride + tap * axis.dilation) as isize - axis.before;
        usize::try_from(at).ok().filter(|&at| at < axis.size)
    };
    for unit in 0..batch * groups {
        let group = unit % groups;
        for filter in 0..filters {
            for out in 0..p.out() {
                let (t0, t1, t2) = (out / c.out / b.out, out / c.out % b.out, out % c.out);
                let at_y = (unit * filters + filter) * p.out() + out;
                for channel in 0..channels {
                    for tap in 0..p.taps() {
                        let (k0, k1, k2) = (tap / c.kernel / b.kernel, tap / c.kernel % b.kernel, tap % c.kernel);
                        let (Some(i0), Some(i1), Some(i2)) = (place(&a, t0, k0), place(&b, t1, k1), place(&c, t2, k2))
                        else {
                            continue;
                        };
                        let at_x = (unit * channels + channel) * p.size() + (i0 * b.size + i1) * c.size + i2;
                        let at_w = ((group * filters + filter) * channels + channel) * p.taps() + tap;
                        sums.y[at_y] += x[at_x] * w[at_w];
                        sums.dx[at_x] += dy[at_y] * w[at_w];
                        sums.dw[at_w] += dy[at_y] * x[at_x];
                    }
                }
            }
        }
    }
    sums
}

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f64::from(((state >> 11) as f64 / (1u64 << 53) as f64 - 0.5) as f32)
        })
        .collect()
}

fn close<T: Element>(actual: &[T], expected: &[f64], terms: usize, what: &str) {
    let bound = if size_of::<T>() == 8 { 1e-14 } else { 3e-7 } * (4.0 + terms as f64);
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let actual = actual.to_f64();
        assert!((actual - expected).abs() <= bound, "{what} {index}: {actual} against {expected}");
    }
}

fn check<T: Element>(p: &Problem) {
    let x = numbers(p.batch * p.groups * p.channels * p.size(), 1);
    let w = numbers(p.groups * p.filters * p.channels * p.taps(), 2);
    let dy = numbers(p.batch * p.groups * p.filters * p.out(), 3);
    let bias = numbers(p.groups * p.filters.max(p.channels), 4);
    let expected = plain(p, &x, &w, &dy);
    let narrow = |from: &[f64]| from.iter().map(|&x| T::from_f64(x)).collect::<Vec<T>>();
    let (x, w, dy, bias) = (narrow(&x), narrow(&w), narrow(&dy), narrow(&bias));
    let run = |biased: bool| {
        let mut results = [vec![T::ONE; dy.len()], vec![T::ONE; x.len()], vec![T::ONE; w.len()]];
        let bias = if biased { bias.as_ptr() } else { std::ptr::null() };
        let [y, dx, dw] = &mut results;
        // SAFETY: sizes as the problem says.
        unsafe {
            let operands = Operands { from: x.as_ptr(), weight: w.as_ptr(), bias, to: y.as_mut_ptr(), finish: None };
            forward(p, operands).unwrap();
            data(p, Operands { from: dy.as_ptr(), to: dx.as_mut_ptr(), ..operands }).unwrap();
            weight(p, x.as_ptr(), dy.as_ptr(), dw.as_mut_ptr()).unwrap();
        }
        results
    };
    let [y, dx, dw] = with_threads(1, || run(false));
    close(&y, &expected.y, p.channels * p.taps(), "forward");
    close(&dx, &expected.dx, p.filters * p.taps(), "data");
    close(&dw, &expected.dw, p.batch * p.out(), "weight");
    let bits = |results: &[Vec<T>; 3]| {
        results.clone().map(|result| result.iter().map(|x| x.to_f64().to_bits()).collect::<Vec<_>>())
    };
    assert_eq!(bits(&[y.clone(), dx.clone(), dw.clone()]), bits(&with_threads(3, || run(false))));
    let [with, dx_with, _] = run(true);
    for (index, (with, without)) in with.iter().zip(&y).enumerate() {
        let bias = bias[index / p.out() % (p.groups * p.filters)].to_f64();
        assert!((with.to_f64() - without.to_f64() - bias).abs() < 1e-4);
    }
    for (index, (with, without)) in dx_with.iter().zip(&dx).enumerate() {
        let bias = bias[index / p.size() % (p.groups * p.channels)].to_f64();
        assert!((with.to_f64() - without.to_f64() - bias).abs() < 1e-4);
    }
}

fn axis() -> impl Strategy<Value = Axis> {
    (1usize..12, 1usize..5, 1usize..4, 1usize..4, -2isize..5, -2isize..5).prop_filter_map(
        "the kernel fits",
        |(size, kernel, stride, dilation, before, after)| {
            let padded = usize::try_from(size as isize + before + after).ok()?;
            let out = padded.checked_sub((kernel - 1) * dilation + 1)? / stride + 1;
            let stride = if out == 1 { 1 } else { stride };
            Some(Axis { size, kernel, out, stride, dilation, before })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn kernels_equal_the_plain_loops(
        outer in axis(), middle in axis(), inner in axis(), axes in 1usize..4,
        batch in 1usize..12, groups in 1usize..4, channels in 1usize..10, filters in 1usize..20,
    ) {
        let mut all = [outer, middle, inner];
        all[..3 - axes].fill(Axis::NONE);
        let mut p = Problem { batch, groups, channels, filters, axes: all };
        if axes == 3 {
            (p.batch, p.channels, p.filters) = (1 + batch % 3, 1 + channels % 3, 1 + filters % 7);
        }
        check::<f64>(&p);
        check::<f32>(&p);
    }
}

#[test]
fn large_and_special_shapes() {
    let axis = |size: usize, kernel: usize, stride: usize, padding: usize| Axis {
        size,
        kernel,
        out: (size + 2 * padding - kernel) / stride + 1,
        stride,
        dilation: 1,
        before: padding as isize,
    };
    let square = |batch, groups, channels, filters, axis| Problem {
        batch,
        groups,
        channels,
        filters,
        axes: [Axis::NONE, axis, axis],
    };
    for p in [
        square(9, 1, 20, 40, axis(32, 3, 1, 1)),
        square(9, 1, 16, 33, axis(32, 1, 1, 0)),
        square(8, 1, 5, 3, axis(16, 1, 1, 0)),
        square(9, 1, 17, 20, axis(16, 3, 2, 1)),
        square(2, 1, 3, 5, axis(32, 16, 16, 0)),
        square(12, 24, 1, 1, axis(20, 3, 1, 1)),
        square(12, 24, 1, 2, axis(20, 3, 2, 1)),
        square(40, 1, 1, 6, axis(28, 5, 1, 2)),
        square(40, 1, 6, 16, axis(14, 5, 1, 0)),
        square(12, 2, 3, 9, axis(9, 5, 1, 1)),
        square(9, 1, 32, 40, axis(32, 3, 1, 1)),
        square(9, 2, 33, 25, axis(13, 3, 1, 0)),
        square(2, 1, 30, 70, axis(19, 3, 1, 2)),
        square(1, 1, 70, 90, axis(7, 3, 1, 1)),
        square(9, 2, 20, 36, axis(5, 2, 1, 0)),
        Problem { axes: [axis(4, 2, 1, 0); 3], ..square(9, 1, 9, 17, axis(4, 2, 1, 0)) },
    ] {
        check::<f32>(&p);
        check::<f64>(&p);
    }
}
