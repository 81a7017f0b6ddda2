//! The largest element of every window, with its place in the plane.
//!
//! Of equal elements the first in row-major order is taken, and the first NaN before anything else.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::lanes::{Simd, load};
use super::super::real::{Real, is_nan};
use super::super::rows::{Input, Job, Output, by_width, chunks, rows_each, run};
use super::layout::Phases;
use super::{Axis, halves};
use crate::error::{Error, Result};

/// Writes the largest element of each window of each plane, and its index within the plane.
///
/// # Safety
/// `x` holds `planes` planes of the input sizes; `y` and `place` hold as many of the output sizes and overlap
/// nothing. A plane has less than 2^31 elements, and every window covers at least one.
pub unsafe fn max_pool<T: Real>(x: *const T, y: *mut T, place: *mut i32, planes: usize, axes: [Axis; 3]) -> Result<()> {
    if halves::halves(&axes) {
        let job = halves::Max { x: Input::new(x), y: Output::new(y), place: Output::new(place), axes };
        // SAFETY: the caller's promise.
        unsafe { halves::over(&job, planes, &axes) };
        return Ok(());
    }
    let phases = Phases::new(axes)?;
    let [depth, height, width] = axes;
    // The place of the first tap, up to the depth's share; places outside the plane wrap around and back.
    let start = |output: usize, axis: Axis| output as i64 * axis.stride as i64 - axis.before as i64;
    let mut first = vec![0i32; phases.run];
    for (at, place) in first.iter_mut().enumerate() {
        let (row, column) = (at / phases.pitch, at % phases.pitch);
        *place = (start(row, height) * width.input as i64 + start(column, width)) as i32;
    }
    let mut steps = Vec::new();
    for a in 0..height.window {
        steps.extend((0..width.window).map(|b| (a * height.dilation * width.input + b * width.dilation) as i32));
    }
    let plane = depth.input * height.input * width.input;
    let outputs = depth.output * height.output * width.output;
    let (failed, padded) = (AtomicUsize::new(0), axes.iter().any(Axis::is_padded));
    let taps = depth.window * steps.len();
    let nanoseconds = 20.0 + 0.3 * plane as f64 + 0.05 * (outputs * taps) as f64;
    by_width!(phases.run, |N| {
        let job = Max::<T, N> {
            x: Input::new(x),
            y: Output::new(y),
            place: Output::new(place),
            phases: &phases,
            first: &first,
            steps: &steps,
            padded,
            failed: &failed,
        };
        // SAFETY: the caller's promise.
        unsafe { run(&job, planes, rows_each(plane), nanoseconds) }
    });
    match failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        bytes => Err(Error::Memory(bytes)),
    }
}

struct Max<'a, T, const N: usize> {
    x: Input<T>,
    y: Output<T>,
    place: Output<i32>,
    phases: &'a Phases,
    first: &'a [i32],
    /// What the taps of one depth add to the place of the first.
    steps: &'a [i32],
    padded: bool,
    failed: &'a AtomicUsize,
}

impl<T: Real, const N: usize> Job for Max<'_, T, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let phases = self.phases;
        let [depth, height, width] = phases.axes;
        // The places share the size of f32, which is all that working memory knows of a type.
        let memory = (phases.scratch::<T>(), phases.run_scratch::<T>(), phases.run_scratch::<f32>());
        let (Ok(laid), Ok(values), Ok(places)) = memory else {
            self.failed.store(phases.run.max(1), Ordering::Relaxed);
            return;
        };
        let plane = depth.input * height.input * width.input;
        let area = height.output * width.output;
        for index in first..first + count {
            // SAFETY: the plane is inside the arrays; the runs are inside the scratch memory, whose slack
            // takes what is read and written behind their ends.
            unsafe {
                phases.take_apart::<S, T>(self.x.at(index * plane), laid.pointer(), T::NEGATIVE_INFINITY);
                for output in 0..depth.output {
                    let at = (index * depth.output + output) * area;
                    let (y, place) = (self.y.at(at), self.place.at(at));
                    let dense = phases.is_dense();
                    let values = if dense { y } else { values.pointer() };
                    let places = if dense { place } else { places.pointer().cast::<i32>() };
                    self.one_depth::<S>(laid.pointer(), output, values, places);
                    if !dense {
                        for row in 0..height.output {
                            let (from, to) = (row * phases.pitch, row * width.output);
                            copy_row(values.add(from), y.add(to), width.output);
                            copy_row(places.add(from), place.add(to), width.output);
                        }
                    }
                    if self.padded {
                        self.mend(output, y, place);
                    }
                }
            }
        }
    }
}

impl<T: Real, const N: usize> Max<'_, T, N> {
    /// The run of one depth of outputs.
    #[inline(always)]
    unsafe fn one_depth<S: Simd>(&self, laid: *const T, output: usize, values: *mut T, places: *mut i32) {
        let phases = self.phases;
        let [depth, height, width] = phases.axes;
        let area = (height.input * width.input) as i64;
        chunks!(N, phases.run, |at, length| {
            let (mut best, mut place) = ([T::NEGATIVE_INFINITY; N], [0i32; N]);
            // The first tap is taken as it is.
            let mut skip = 1;
            for (tap, slice) in phases.depths(output) {
                let layer = output as i64 * depth.stride as i64 + (tap * depth.dilation) as i64 - depth.before as i64;
                let layer = (layer * area) as i32;
                if skip == 1 {
                    // SAFETY: the run lies within the layout, with slack behind it.
                    best = unsafe { load(laid.add(slice + phases.taps[0] + at)) };
                    place = [layer.wrapping_add(self.steps[0]); N];
                }
                for (&offset, &step) in phases.taps[skip..].iter().zip(&self.steps[skip..]) {
                    let step = step.wrapping_add(layer);
                    // SAFETY: as above.
                    let value: [T; N] = unsafe { load(laid.add(slice + offset + at)) };
                    for i in 0..N {
                        let take = !(value[i] <= best[i]) & !is_nan(best[i]);
                        best[i] = if take { value[i] } else { best[i] };
                        place[i] = if take { step } else { place[i] };
                    }
                }
                skip = 0;
            }
            for i in 0..length {
                place[i] = place[i].wrapping_add(self.first[at + i]);
            }
            // SAFETY: the outputs hold the run.
            unsafe {
                S::store_some(values.add(at), &best, length);
                std::ptr::copy_nonoverlapping(place.as_ptr(), places.add(at), length);
            }
        });
    }

    /// A window of minus infinities may have chosen padding: its first element is chosen instead.
    #[inline(always)]
    unsafe fn mend(&self, output: usize, y: *const T, place: *mut i32) {
        let [depth, height, width] = self.phases.axes;
        let area = height.output * width.output;
        // SAFETY: the caller's promise: `area` elements each.
        unsafe {
            let mut any = false;
            for at in 0..area {
                any |= y.add(at).read() == T::NEGATIVE_INFINITY;
            }
            if !any {
                return;
            }
            for at in (0..area).filter(|&at| y.add(at).read() == T::NEGATIVE_INFINITY) {
                let position = |axis: Axis, output: usize| {
                    let tap = axis.first_tap(output).unwrap_or(0);
                    (output * axis.stride + tap * axis.dilation).saturating_sub(axis.before)
                };
                let (d, h) = (position(depth, output), position(height, at / width.output));
                let w = position(width, at % width.output);
                place.add(at).write(((d * height.input + h) * width.input + w) as i32);
            }
        }
    }
}

#[inline(always)]
unsafe fn copy_row<E: Copy>(from: *const E, to: *mut E, count: usize) {
    // SAFETY: the caller's promise: `count` elements on both sides.
    unsafe { std::ptr::copy_nonoverlapping(from, to, count) }
}
