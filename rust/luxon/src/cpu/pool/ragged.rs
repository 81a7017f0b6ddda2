//! The largest element of windows that differ in length, one window after the other.
//!
//! Adaptive windows whose number does not divide the axis overlap by at most one position and differ by one in
//! length, so there is no layout in which their taps are runs.

use super::super::lanes::Simd;
use super::super::real::Real;
use super::super::rows::{Input, Job, Output, rows_each, run};

/// The positions `start .. end` of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first position.
    pub start: usize,
    /// The position behind the last.
    pub end: usize,
}

/// Writes the largest element of each box of spans of each plane, and its index within the plane; of equal ones
/// the first, and the first NaN before anything else.
///
/// # Safety
/// `x` holds `planes` planes of the sizes `input`, `y` and `place` an element per plane and box; they do not
/// overlap. Spans are not empty and end within the sizes; a plane has less than 2^31 elements.
pub unsafe fn max_spans<T: Real>(
    x: *const T,
    y: *mut T,
    place: *mut i32,
    planes: usize,
    input: [usize; 3],
    spans: [&[Span]; 3],
) {
    let plane: usize = input.iter().product();
    let job = Boxes { x: Input::new(x), y: Output::new(y), place: Output::new(place), input, spans };
    // SAFETY: the caller's promise.
    unsafe { run(&job, planes, rows_each(plane), 2.0 * plane as f64) }
}

struct Boxes<'a, T> {
    x: Input<T>,
    y: Output<T>,
    place: Output<i32>,
    input: [usize; 3],
    spans: [&'a [Span]; 3],
}

impl<T: Real> Job for Boxes<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let plane: usize = self.input.iter().product();
        let outputs: usize = self.spans.iter().map(|spans| spans.len()).product();
        for index in first..first + count {
            let mut at = index * outputs;
            for depth in self.spans[0] {
                for height in self.spans[1] {
                    for width in self.spans[2] {
                        // SAFETY: the box lies within the plane, the output within the arrays.
                        unsafe {
                            let (value, place) = self.largest(self.x.at(index * plane), [depth, height, width]);
                            self.y.at(at).write(value);
                            self.place.at(at).write(place as i32);
                        }
                        at += 1;
                    }
                }
            }
        }
    }
}

impl<T: Real> Boxes<'_, T> {
    #[inline(always)]
    unsafe fn largest(&self, x: *const T, [depth, height, width]: [&Span; 3]) -> (T, usize) {
        let row = |d: usize, h: usize| (d * self.input[1] + h) * self.input[2];
        let mut place = row(depth.start, height.start) + width.start;
        // SAFETY: the caller's promise.
        unsafe {
            let mut best = x.add(place).read();
            for d in depth.start..depth.end {
                for h in height.start..height.end {
                    for at in row(d, h) + width.start..row(d, h) + width.end {
                        let value = x.add(at).read();
                        if !(value <= best) && best == best {
                            (best, place) = (value, at);
                        }
                    }
                }
            }
            (best, place)
        }
    }
}
