//! The largest element of windows that differ in length, or are far apart, one window after the other.
//!
//! Adaptive windows whose number does not divide the axis overlap by at most one position and differ by one in
//! length, so there is no layout in which their taps are runs.

use super::super::lanes::{SHORT, Simd, largest_lane};
use super::super::real::{Real, is_nan, larger};
use super::super::rows::{Input, Job, Output, chunks, rows_each, run};

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
                            let (value, place) = self.largest::<S>(self.x.at(index * plane), [depth, height, width]);
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
    /// The largest element of a box, then its place: in vectors, and the second pass ends at the first hit.
    #[inline(always)]
    unsafe fn largest<S: Simd>(&self, x: *const T, [depth, height, width]: [&Span; 3]) -> (T, usize) {
        let rows = || {
            let row = |d: usize, h: usize| (d * self.input[1] + h) * self.input[2] + width.start;
            (depth.start..depth.end).flat_map(move |d| (height.start..height.end).map(move |h| row(d, h)))
        };
        let columns = width.end - width.start;
        let mut lanes = [T::NEGATIVE_INFINITY; SHORT];
        let mut wrong = [T::ZERO; SHORT];
        for row in rows() {
            chunks!(SHORT, columns, |at, length| {
                // SAFETY: the chunk lies within the box.
                let value: [T; SHORT] = unsafe { S::load_some(x.add(row + at), length, T::NEGATIVE_INFINITY) };
                for i in 0..SHORT {
                    lanes[i] = larger(value[i], lanes[i]);
                    wrong[i] = if is_nan(value[i]) { T::ONE } else { wrong[i] };
                }
            });
        }
        let best = largest_lane(lanes);
        let any_nan = largest_lane(wrong) == T::ONE;
        for row in rows() {
            let mut found = columns;
            chunks!(SHORT, columns, |at, length| {
                if found == columns {
                    // SAFETY: as above.
                    let value: [T; SHORT] = unsafe { S::load_some(x.add(row + at), length, T::ZERO) };
                    let hit = |i: usize| if any_nan { is_nan(value[i]) } else { value[i] == best };
                    let mut hits = 0u32;
                    for i in 0..SHORT {
                        hits |= u32::from(hit(i)) << i;
                    }
                    hits &= (1u32 << length) - 1;
                    if hits != 0 {
                        found = at + hits.trailing_zeros() as usize;
                    }
                }
            });
            if found < columns {
                // SAFETY: the place lies within the box.
                return unsafe { (x.add(row + found).read(), row + found) };
            }
        }
        (best, rows().next().unwrap_or(0))
    }
}
