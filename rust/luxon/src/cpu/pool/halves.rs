//! Windows of 2 by 2, side by side: what most networks pool with.
//!
//! Neighbours are compared (or added) along the whole plane as one run, which leaves half of it, and then rows of
//! what is left; nothing is laid out. Two comparisons in this order choose what one walk through the window
//! would: the first of equal elements, and the first NaN before anything else. As windows share nothing,
//! the transposes write each element of the plane once.

use super::super::lanes::{SHORT, Simd, load, store};
use super::super::real::{Real, is_nan};
use super::super::rows::{Input, Job, Output, chunks, rows_each, run};
use super::Axis;

/// Halved elements that are kept between the two steps; two rows of them at least.
const BLOCK: usize = 1024;

/// Whether windows are 2 by 2, side by side, and cover whole rows, which are not long.
pub fn halves(axes: &[Axis; 3]) -> bool {
    let pairs = |axis: &Axis| {
        (axis.window, axis.stride, axis.dilation, axis.before) == (2, 2, 1, 0) && 2 * axis.output <= axis.input
    };
    let rows_fit = 2 * axes[2].output == axes[2].input && axes[2].input <= BLOCK;
    axes[0].input == 1 && axes[0].output == 1 && axes[1..].iter().all(pairs) && rows_fit
}

#[derive(Clone, Copy)]
struct Sizes {
    /// Elements of a plane.
    plane: usize,
    /// Rows and columns of outputs.
    rows: usize,
    columns: usize,
}

impl Sizes {
    fn new([_, height, width]: &[Axis; 3]) -> Sizes {
        Sizes { plane: height.input * width.input, rows: height.output, columns: width.output }
    }

    /// Rows of outputs that are computed between two visits of the halved elements.
    fn block(&self) -> usize {
        BLOCK / (2 * self.columns)
    }

    /// Planes as runs and rows of outputs of a run: all planes are one unless rows are left over in between.
    fn runs(&self, planes: usize) -> (usize, usize) {
        if self.plane == self.rows * 4 * self.columns { (1, planes * self.rows) } else { (planes, self.rows) }
    }
}

/// Whether a later element is taken instead of an earlier one.
#[inline(always)]
fn takes<T: Real>(later: T, earlier: T) -> bool {
    !(later <= earlier) & !is_nan(earlier)
}

/// Every other lane of `length` pairs, from the first and from the second on.
#[inline(always)]
unsafe fn pairs<S: Simd, T: Real>(from: *const T, length: usize) -> [[T; SHORT]; 2] {
    // SAFETY: the caller's promise: so many pairs.
    let both: [T; 2 * SHORT] = unsafe { S::load_some(from, 2 * length, T::ZERO) };
    let mut apart = [[T::ZERO; SHORT]; 2];
    for i in 0..SHORT {
        apart[0][i] = both[2 * i];
        apart[1][i] = both[2 * i + 1];
    }
    apart
}

/// Writes `length` pairs.
#[inline(always)]
unsafe fn write_pairs<S: Simd, T: Real>(to: *mut T, first: &[T; SHORT], second: &[T; SHORT], length: usize) {
    let mut both = [T::ZERO; 2 * SHORT];
    for i in 0..SHORT {
        both[2 * i] = first[i];
        both[2 * i + 1] = second[i];
    }
    // SAFETY: the caller's promise: room for so many pairs.
    unsafe { S::store_some(to, &both, 2 * length) }
}

/// The largest element of each window and its index within the plane.
pub(super) struct Max<T> {
    pub x: Input<T>,
    pub y: Output<T>,
    pub place: Output<i32>,
    pub axes: [Axis; 3],
}

impl<T: Real> Job for Max<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let sizes = Sizes::new(&self.axes);
        let Sizes { plane, rows, columns } = sizes;
        // With room for a chunk behind the end.
        let (mut values, mut steps) = ([T::ZERO; BLOCK + SHORT], [0i32; BLOCK + SHORT]);
        let (values, steps) = (values.as_mut_ptr(), steps.as_mut_ptr());
        let (planes, lines) = sizes.runs(count);
        for index in 0..planes {
            for start in (0..lines).step_by(sizes.block()) {
                let end = (start + sizes.block()).min(lines);
                // SAFETY: the rows lie in the plane; the arrays hold a block of them and a chunk more.
                unsafe {
                    let x = self.x.at((first + index) * plane + start * 4 * columns);
                    chunks!(SHORT, (end - start) * 2 * columns, |at, length| {
                        let [mut best, right] = pairs::<S, T>(x.add(2 * at), length);
                        let mut step = [0i32; SHORT];
                        for i in 0..SHORT {
                            step[i] = if takes(right[i], best[i]) { 1 } else { 0 };
                            best[i] = if takes(right[i], best[i]) { right[i] } else { best[i] };
                        }
                        store(values.add(at), &best);
                        steps.add(at).cast::<[i32; SHORT]>().write(step);
                    });
                    for row in start..end {
                        let from = (row - start) * 2 * columns;
                        let to = ((first + index) * rows + row) * columns;
                        chunks!(SHORT, columns, |at, length| {
                            let mut best: [T; SHORT] = load(values.add(from + at));
                            let below: [T; SHORT] = load(values.add(from + columns + at));
                            let mut step = steps.add(from + at).cast::<[i32; SHORT]>().read();
                            let step_below = steps.add(from + columns + at).cast::<[i32; SHORT]>().read();
                            let corner = (row % rows * 4 * columns + 2 * at) as i32;
                            let mut place = [0f32; SHORT];
                            for i in 0..SHORT {
                                let next = step_below[i] + 2 * columns as i32;
                                step[i] = if takes(below[i], best[i]) { next } else { step[i] };
                                best[i] = if takes(below[i], best[i]) { below[i] } else { best[i] };
                                place[i] = f32::from_bits((corner + 2 * i as i32 + step[i]) as u32);
                            }
                            S::store_some(self.y.at(to + at), &best, length);
                            // As numbers of the same size, which is all that a store knows of a type.
                            S::store_some(self.place.at(to + at).cast::<f32>(), &place, length);
                        });
                    }
                }
            }
        }
    }
}

/// The mean of each window.
pub(super) struct Mean<T> {
    pub x: Input<T>,
    pub y: Output<T>,
    pub axes: [Axis; 3],
}

impl<T: Real> Job for Mean<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let sizes = Sizes::new(&self.axes);
        let Sizes { plane, rows, columns } = sizes;
        let mut sums = [T::ZERO; BLOCK + SHORT];
        let sums = sums.as_mut_ptr();
        let quarter = T::from_f64(0.25);
        let (planes, lines) = sizes.runs(count);
        for index in 0..planes {
            for start in (0..lines).step_by(sizes.block()) {
                let end = (start + sizes.block()).min(lines);
                // SAFETY: as for the largest element.
                unsafe {
                    let x = self.x.at((first + index) * plane + start * 4 * columns);
                    chunks!(SHORT, (end - start) * 2 * columns, |at, length| {
                        let [mut sum, right] = pairs::<S, T>(x.add(2 * at), length);
                        for i in 0..SHORT {
                            sum[i] += right[i];
                        }
                        store(sums.add(at), &sum);
                    });
                    for row in start..end {
                        let from = sums.add((row - start) * 2 * columns).cast_const();
                        chunks!(SHORT, columns, |at, length| {
                            let (mut mean, bottom): ([T; SHORT], [T; SHORT]) =
                                (load(from.add(at)), load(from.add(columns + at)));
                            for i in 0..SHORT {
                                mean[i] = (mean[i] + bottom[i]) * quarter;
                            }
                            S::store_some(self.y.at(((first + index) * rows + row) * columns + at), &mean, length);
                        });
                    }
                }
            }
        }
    }
}

/// The transposes: each cotangent at its place, or a quarter of it everywhere in its window.
pub(super) struct Back<T> {
    pub dy: Input<T>,
    /// Null for the mean.
    pub place: Input<i32>,
    pub dx: Output<T>,
    pub axes: [Axis; 3],
}

impl<T: Real> Job for Back<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let Sizes { plane, rows, columns } = Sizes::new(&self.axes);
        let quarter = T::from_f64(0.25);
        for index in first..first + count {
            for row in 0..rows {
                let from = (index * rows + row) * columns;
                let to = index * plane + row * 4 * columns;
                chunks!(SHORT, columns, |at, length| {
                    // SAFETY: the chunk lies in its row, and its windows in the plane.
                    unsafe {
                        let mut dy: [T; SHORT] = S::load_some(self.dy.at(from + at), length, T::ZERO);
                        let (top, bottom) = (self.dx.at(to + 2 * at), self.dx.at(to + 2 * columns + 2 * at));
                        if !self.place.is_some() {
                            for i in 0..SHORT {
                                dy[i] *= quarter;
                            }
                            write_pairs::<S, T>(top, &dy, &dy, length);
                            write_pairs::<S, T>(bottom, &dy, &dy, length);
                        } else {
                            let place: [f32; SHORT] = S::load_some(self.place.at(from + at).cast(), length, 0.0);
                            let (corner, below) = ((row * 4 * columns + 2 * at) as i32, 2 * columns as i32);
                            let mut parts = [[T::ZERO; SHORT]; 4];
                            for (part, offset) in [0, 1, below, below + 1].into_iter().enumerate() {
                                for i in 0..SHORT {
                                    let here = place[i].to_bits() as i32 - 2 * i as i32 == corner + offset;
                                    parts[part][i] = if here { dy[i] } else { T::ZERO };
                                }
                            }
                            write_pairs::<S, T>(top, &parts[0], &parts[1], length);
                            write_pairs::<S, T>(bottom, &parts[2], &parts[3], length);
                        }
                    }
                });
            }
            for at in 4 * rows * columns..plane {
                // SAFETY: a row below the last window.
                unsafe { self.dx.at(index * plane + at).write(T::ZERO) }
            }
        }
    }
}

/// Runs a job over so many planes of about `each` elements.
///
/// # Safety
/// As the job's.
pub(super) unsafe fn over<J: Job>(job: &J, planes: usize, axes: &[Axis; 3]) {
    let plane = Sizes::new(axes).plane;
    // SAFETY: the caller's promise.
    unsafe { run(job, planes, rows_each(plane), 20.0 + 0.25 * plane as f64) }
}
