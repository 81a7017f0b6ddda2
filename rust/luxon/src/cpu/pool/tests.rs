use super::*;
use crate::cpu::rows::testing::{assert_reproducible, numbers};

/// Windows of several kinds over planes of 3 x 9 x 21.
fn cases() -> Vec<[Axis; 3]> {
    let axis = |input: usize, window: usize, stride: usize, dilation: usize, before: usize| {
        let room = input + 2 * before - (window - 1) * dilation - 1;
        Axis { input, output: room / stride + 1, window, stride, dilation, before, after: before }
    };
    vec![
        [axis(3, 1, 1, 1, 0), axis(9, 2, 2, 1, 0), axis(21, 2, 2, 1, 0)],
        [axis(3, 2, 1, 1, 0), axis(9, 3, 2, 1, 1), axis(21, 3, 2, 1, 1)],
        [axis(3, 3, 2, 1, 1), axis(9, 3, 1, 2, 2), axis(21, 4, 3, 2, 3)],
        [axis(3, 1, 2, 1, 0), axis(9, 5, 4, 1, 2), axis(21, 1, 5, 1, 0)],
    ]
}

fn sizes(axes: &[Axis; 3]) -> (usize, usize) {
    (axes.iter().map(|axis| axis.input).product(), axes.iter().map(|axis| axis.output).product())
}

const PLANES: usize = 150;

#[test]
fn bits_depend_on_neither_threads_nor_instructions() {
    for axes in cases() {
        let (plane, outputs) = sizes(&axes);
        let x: Vec<f32> = numbers(PLANES * plane, 1, 0.0);
        let dy: Vec<f32> = numbers(PLANES * outputs, 2, 0.0);
        assert_reproducible(|| {
            let (mut y, mut place) = (vec![0f32; dy.len()], vec![0i32; dy.len()]);
            // SAFETY: vectors of the sizes that the axes say.
            unsafe { max_pool(x.as_ptr(), y.as_mut_ptr(), place.as_mut_ptr(), PLANES, axes).unwrap() };
            y.extend(place.into_iter().map(|place| place as f32));
            y
        });
        assert_reproducible(|| {
            let mut y = vec![0f32; dy.len()];
            // SAFETY: as above.
            unsafe { mean_pool(x.as_ptr(), y.as_mut_ptr(), PLANES, axes, true).unwrap() };
            y
        });
        assert_reproducible(|| {
            let mut dx = vec![1f32; x.len()];
            // SAFETY: as above.
            unsafe { spread(dy.as_ptr(), dx.as_mut_ptr(), PLANES, axes, false).unwrap() };
            dx
        });
    }
}

#[test]
fn the_first_nan_and_the_first_of_minus_infinities_are_taken() {
    for axes in cases() {
        let (plane, outputs) = sizes(&axes);
        for (special, every) in [(f64::NAN, 5), (f64::NEG_INFINITY, 1), (f64::NEG_INFINITY, 2)] {
            let mut x: Vec<f64> = numbers(plane, 3, 0.0);
            x.iter_mut().step_by(every).for_each(|x| *x = special);
            let (mut y, mut place) = (vec![0f64; outputs], vec![0i32; outputs]);
            // SAFETY: vectors of the sizes that the axes say.
            unsafe { max_pool(x.as_ptr(), y.as_mut_ptr(), place.as_mut_ptr(), 1, axes).unwrap() };
            for (at, (&y, &place)) in y.iter().zip(&place).enumerate() {
                let [depth, height, width] = axes;
                let window = [at / width.output / height.output, at / width.output % height.output, at % width.output];
                let positions = |axis: usize| {
                    let Axis { input, stride, dilation, before, .. } = axes[axis];
                    (0..axes[axis].window)
                        .filter_map(move |tap| (window[axis] * stride + tap * dilation).checked_sub(before))
                        .filter(move |&position| position < input)
                };
                let mut expected: Option<usize> = None;
                for d in positions(0) {
                    for h in positions(1) {
                        for w in positions(2) {
                            let here = (d * height.input + h) * width.input + w;
                            let better = |best: usize| !(x[here] <= x[best]) && !x[best].is_nan();
                            if expected.is_none_or(better) {
                                expected = Some(here);
                            }
                        }
                    }
                }
                assert_eq!(Some(place as usize), expected, "window {at} of {axes:?}");
                assert!(y == x[place as usize] || y.is_nan() && x[place as usize].is_nan());
                let _ = depth;
            }
        }
    }
}

#[test]
fn spans_of_any_width_find_the_first_of_the_largest() {
    let span = |start: usize, end: usize| Span { start, end };
    let x: Vec<f32> = numbers::<f32>(3 * 4 * 90, 7, 0.0).iter().map(|x| (x * 4.0).round()).collect();
    for special in [None, Some(f32::NAN), Some(f32::NEG_INFINITY)] {
        let x: Vec<f32> = match special {
            Some(special) if special.is_nan() => {
                x.iter().enumerate().map(|(i, &x)| if i % 37 == 5 { special } else { x }).collect()
            }
            Some(special) => vec![special; x.len()],
            None => x.clone(),
        };
        let (depths, heights) = ([span(0, 2), span(1, 3)], [span(0, 1), span(1, 4)]);
        let widths = [span(0, 1), span(0, 16), span(3, 20), span(10, 90), span(89, 90)];
        let (mut y, mut place) = (vec![0f32; 20], vec![0i32; 20]);
        // SAFETY: vectors of these sizes.
        unsafe {
            max_spans(x.as_ptr(), y.as_mut_ptr(), place.as_mut_ptr(), 1, [3, 4, 90], [&depths, &heights, &widths])
        };
        for at in 0..20 {
            let (depth, height, width) = (depths[at / 10], heights[at / 5 % 2], widths[at % 5]);
            let mut best: Option<usize> = None;
            for d in depth.start..depth.end {
                for h in height.start..height.end {
                    for here in (d * 4 + h) * 90 + width.start..(d * 4 + h) * 90 + width.end {
                        if best.is_none_or(|best| !(x[here] <= x[best]) && !x[best].is_nan()) {
                            best = Some(here);
                        }
                    }
                }
            }
            assert_eq!(Some(place[at] as usize), best);
        }
    }
}

#[test]
fn places_outside_the_plane_are_left_alone() {
    let (x, place) = ([1f32, 2.0, 3.0, 4.0], [3i32, -1, 4, 0]);
    let (mut y, mut back) = ([9f32; 4], [9f32; 4]);
    // SAFETY: one plane of four elements and four places.
    unsafe {
        pick(x.as_ptr(), place.as_ptr(), y.as_mut_ptr(), 1, 4, 4);
        put(x.as_ptr(), place.as_ptr(), back.as_mut_ptr(), 1, 4, 4);
    }
    assert_eq!(y, [4.0, 0.0, 0.0, 1.0]);
    assert_eq!(back, [4.0, 0.0, 0.0, 1.0]);
}
