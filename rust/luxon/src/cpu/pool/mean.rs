//! The mean of every window, and its transpose, which spreads each element over its window.
//!
//! What a mean divides by is a product over the axes (see [`Axis::divisor`]). Sums go row by row of the
//! window and then over its rows, so that a large window loses little; both kernels add in a fixed order.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::lanes::{Simd, load, store};
use super::super::real::Real;
use super::super::rows::{Input, Job, Output, by_width, chunks, rows_each, run};
use super::layout::Phases;
use super::{Axis, halves};
use crate::error::{Error, Result};

/// Writes the mean of each window of each plane.
///
/// # Safety
/// `x` holds `planes` planes of the input sizes, `y` as many of the output sizes; they do not overlap. Taps are
/// next to each other, and every window covers at least one element.
pub unsafe fn mean_pool<T: Real>(
    x: *const T,
    y: *mut T,
    planes: usize,
    axes: [Axis; 3],
    with_padding: bool,
) -> Result<()> {
    if halves::halves(&axes) {
        let job = halves::Mean { x: Input::new(x), y: Output::new(y), axes };
        // SAFETY: the caller's promise.
        unsafe { halves::over(&job, planes, &axes) };
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { launch::<T, false>(x, y, planes, axes, with_padding) }
}

/// The transpose of [`mean_pool`]: each element of `dy`, divided as the mean was, is added to its window.
///
/// # Safety
/// As [`mean_pool`], with `dy` of the output sizes and `dx` of the input sizes.
pub unsafe fn spread<T: Real>(
    dy: *const T,
    dx: *mut T,
    planes: usize,
    axes: [Axis; 3],
    with_padding: bool,
) -> Result<()> {
    if halves::halves(&axes) {
        let job = halves::Back { dy: Input::new(dy), place: Input::new(std::ptr::null()), dx: Output::new(dx), axes };
        // SAFETY: the caller's promise.
        unsafe { halves::over(&job, planes, &axes) };
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { launch::<T, true>(dy, dx, planes, axes, with_padding) }
}

unsafe fn launch<T: Real, const TRANSPOSED: bool>(
    from: *const T,
    to: *mut T,
    planes: usize,
    axes: [Axis; 3],
    with_padding: bool,
) -> Result<()> {
    let phases = Phases::new(axes)?;
    let [depth, height, width] = axes;
    // 1 between rows, where the results do not matter.
    let mut divisors = vec![T::ONE; phases.run + 64];
    for row in 0..height.output {
        let rows = height.divisor(row, with_padding);
        for column in 0..width.output {
            let columns = width.divisor(column, with_padding);
            divisors[row * phases.pitch + column] = T::from_f64(rows as f64 * columns as f64);
        }
    }
    let layers: Vec<T> = (0..depth.output).map(|o| T::from_f64(depth.divisor(o, with_padding) as f64)).collect();
    let plane = depth.input * height.input * width.input;
    let outputs = depth.output * height.output * width.output;
    let failed = AtomicUsize::new(0);
    let taps = depth.window * phases.taps.len();
    let nanoseconds = 20.0 + 0.3 * plane as f64 + 0.05 * (outputs * taps) as f64;
    by_width!(phases.run, |N| {
        let job = Mean::<T, N, TRANSPOSED> {
            from: Input::new(from),
            to: Output::new(to),
            phases: &phases,
            divisors: &divisors,
            layers: &layers,
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

struct Mean<'a, T, const N: usize, const TRANSPOSED: bool> {
    from: Input<T>,
    to: Output<T>,
    phases: &'a Phases,
    /// Height times width, at the places of a run.
    divisors: &'a [T],
    /// The share of the depth.
    layers: &'a [T],
    failed: &'a AtomicUsize,
}

impl<T: Real, const N: usize, const TRANSPOSED: bool> Job for Mean<'_, T, N, TRANSPOSED> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let phases = self.phases;
        let [depth, height, width] = phases.axes;
        let memory = (phases.scratch::<T>(), phases.run_scratch::<T>(), phases.line_scratch::<T>());
        let (Ok(laid), Ok(between), Ok(line)) = memory else {
            self.failed.store(phases.run.max(1), Ordering::Relaxed);
            return;
        };
        let plane = depth.input * height.input * width.input;
        let area = height.output * width.output;
        for index in first..first + count {
            let outputs = index * depth.output * area;
            // SAFETY: the plane is inside the arrays; the runs are inside the scratch memory.
            unsafe {
                if TRANSPOSED {
                    phases.clear(laid.pointer());
                    for output in 0..depth.output {
                        let dy = self.from.at(outputs + output * area);
                        for row in 0..height.output {
                            let to = between.pointer().add(row * phases.pitch);
                            std::ptr::copy_nonoverlapping(dy.add(row * width.output), to, width.output);
                        }
                        self.give::<S>(between.pointer(), output, laid.pointer());
                    }
                    phases.put_together(laid.pointer(), line.pointer(), self.to.at(index * plane));
                } else {
                    phases.take_apart::<S, T>(self.from.at(index * plane), laid.pointer(), T::ZERO);
                    for output in 0..depth.output {
                        let y = self.to.at(outputs + output * area);
                        if phases.is_dense() {
                            self.average::<S>(laid.pointer(), output, y);
                            continue;
                        }
                        self.average::<S>(laid.pointer(), output, between.pointer());
                        for row in 0..height.output {
                            let from = between.pointer().add(row * phases.pitch);
                            std::ptr::copy_nonoverlapping(from, y.add(row * width.output), width.output);
                        }
                    }
                }
            }
        }
    }
}

impl<T: Real, const N: usize, const TRANSPOSED: bool> Mean<'_, T, N, TRANSPOSED> {
    /// The run of one depth of outputs.
    #[inline(always)]
    unsafe fn average<S: Simd>(&self, laid: *const T, output: usize, y: *mut T) {
        let (phases, columns) = (self.phases, self.phases.axes[2].window);
        let layer = self.layers[output];
        chunks!(N, phases.run, |at, length| {
            let mut total = [T::ZERO; N];
            for (_, slice) in phases.depths(output) {
                for taps in phases.taps.chunks_exact(columns) {
                    let mut part = [T::ZERO; N];
                    for &offset in taps {
                        // SAFETY: the run lies within the layout, with slack behind it.
                        let value: [T; N] = unsafe { load(laid.add(slice + offset + at)) };
                        for i in 0..N {
                            part[i] += value[i];
                        }
                    }
                    for i in 0..N {
                        total[i] += part[i];
                    }
                }
            }
            // SAFETY: the divisors have slack too; the outputs hold the run.
            unsafe {
                let divisor: [T; N] = load(self.divisors.as_ptr().add(at));
                for i in 0..N {
                    total[i] = total[i] / (layer * divisor[i]);
                }
                S::store_some(y.add(at), &total, length);
            }
        });
    }

    /// Adds a run of cotangents, which has zeros between rows, to all taps.
    #[inline(always)]
    unsafe fn give<S: Simd>(&self, dy: *mut T, output: usize, laid: *mut T) {
        let phases = self.phases;
        let layer = self.layers[output];
        chunks!(N, phases.run, |at, length| {
            // SAFETY: the memory of the run has slack; behind its end it holds zeros, which change nothing.
            unsafe {
                let mut share: [T; N] = S::load_some(dy.add(at), length, T::ZERO);
                let divisor: [T; N] = load(self.divisors.as_ptr().add(at));
                for i in 0..N {
                    share[i] = share[i] / (layer * divisor[i]);
                }
                for (_, slice) in phases.depths(output) {
                    for &offset in &phases.taps {
                        let to = laid.add(slice + offset + at);
                        let mut sum: [T; N] = load(to);
                        for i in 0..N {
                            sum[i] += share[i];
                        }
                        store(to, &sum);
                    }
                }
            }
        });
    }
}
