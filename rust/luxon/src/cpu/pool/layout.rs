//! How a plane is laid out for pooling: rows and columns sorted by their remainder modulo the stride.
//!
//! With height `h = sh * j + p` and width `w = sw * i + q` (both counted from the first padded position), the
//! element stands in block (depth, p, q) at row j and column i. Tap (a, b) of the window of output (oh, ow)
//! is then at row `oh + a * dilation / sh` and column `ow + b * dilation / sw` of one fixed block: the taps
//! of all outputs of a plane are one run of `pitch`-wide rows. Where a row of the block is wider than a row of
//! outputs, the run has a few results between rows that nobody reads.

use super::super::lanes::{Simd, load, store};
use super::super::real::Real;
use super::super::rows::{Scratch, chunks};
use super::Axis;
use crate::error::{Error, Result};

/// Elements that may be read and written behind the last run.
const SLACK: usize = 64;

/// The layout of one plane; see the module.
pub struct Phases {
    pub axes: [Axis; 3],
    /// Rows of a block.
    rows: usize,
    /// Columns of a block.
    pub pitch: usize,
    /// Elements of the blocks of one depth.
    slice: usize,
    /// Elements of a run: all outputs of one depth, and those between rows.
    pub run: usize,
    /// Taps of one depth: the start of the run from that of the slice, row by row of the window.
    pub taps: Vec<usize>,
}

fn too_large() -> Error {
    Error::Overflow("pooling: the padded input is too large".into())
}

impl Phases {
    pub fn new(axes: [Axis; 3]) -> Result<Phases> {
        let [_, height, width] = axes;
        let (rows, pitch) = (height.reach().div_ceil(height.stride), width.reach().div_ceil(width.stride));
        let slice = [height.stride, width.stride, rows, pitch].into_iter().try_fold(1usize, usize::checked_mul);
        let slice = slice.ok_or_else(too_large)?;
        let count = height.window.checked_mul(width.window).ok_or_else(too_large)?;
        let mut taps = Vec::new();
        taps.try_reserve_exact(count).map_err(|_| Error::Memory(count.saturating_mul(8)))?;
        for a in (0..height.window).map(|tap| tap * height.dilation) {
            for b in (0..width.window).map(|tap| tap * width.dilation) {
                let block = a % height.stride * width.stride + b % width.stride;
                taps.push((block * rows + a / height.stride) * pitch + b / width.stride);
            }
        }
        let run = (height.output - 1) * pitch + width.output;
        Ok(Phases { axes, rows, pitch, slice, run, taps })
    }

    /// Whether the run of a depth is its outputs and nothing else.
    pub fn is_dense(&self) -> bool {
        self.pitch == self.axes[2].output
    }

    /// Working memory for one plane.
    pub fn scratch<T: Real>(&self) -> Result<Scratch<T>> {
        let length = self.slice.checked_mul(self.axes[0].input).and_then(|length| length.checked_add(SLACK));
        let scratch = Scratch::<T>::unwritten(length.ok_or_else(too_large)?)?;
        let filled = self.slice * self.axes[0].input;
        for at in filled..filled + SLACK {
            // SAFETY: within the memory.
            unsafe { scratch.pointer().add(at).write(T::ZERO) }
        }
        Ok(scratch)
    }

    /// Working memory for the run of one depth.
    pub fn run_scratch<T: Real>(&self) -> Result<Scratch<T>> {
        Scratch::zeroed(self.run.checked_add(SLACK).ok_or_else(too_large)?)
    }

    /// Working memory for a row of the plane with its padding.
    pub fn line_scratch<T: Real>(&self) -> Result<Scratch<T>> {
        let length = self.pitch.checked_mul(self.axes[2].stride).and_then(|length| length.checked_add(SLACK));
        Scratch::unwritten(length.ok_or_else(too_large)?)
    }

    /// The depths, with their offset in the laid-out plane, that window `output` of the first axis covers,
    /// each with its tap.
    #[inline(always)]
    pub fn depths(&self, output: usize) -> impl Iterator<Item = (usize, usize)> {
        let (depth, slice) = (self.axes[0], self.slice);
        (0..depth.window).filter_map(move |tap| {
            let at = (output * depth.stride + tap * depth.dilation).checked_sub(depth.before)?;
            (at < depth.input).then_some((tap, at * slice))
        })
    }

    /// Lays out the plane at `x`, with `fill` on padding.
    ///
    /// # Safety
    /// `x` is a plane of the input sizes, `to` memory from [`Phases::scratch`].
    #[inline(always)]
    pub unsafe fn take_apart<S: Simd, T: Real>(&self, x: *const T, to: *mut T, fill: T) {
        let [depth, height, width] = self.axes;
        for d in 0..depth.input {
            for p in 0..height.stride {
                for q in 0..width.stride {
                    // The columns of this phase that lie on the input.
                    let low = width.before.saturating_sub(q).div_ceil(width.stride).min(self.pitch);
                    let end = (width.before + width.input).saturating_sub(q).div_ceil(width.stride);
                    let high = end.clamp(low, self.pitch);
                    for j in 0..self.rows {
                        let line = d * self.slice + ((p * width.stride + q) * self.rows + j) * self.pitch;
                        let row = (j * height.stride + p).wrapping_sub(height.before);
                        // SAFETY: the caller's promise; what lies on the input is inside the plane, and lines are
                        // inside the layout.
                        unsafe {
                            let to = to.add(line);
                            if row >= height.input || low >= high {
                                fill_run(to, self.pitch, fill);
                                continue;
                            }
                            let first =
                                (d * height.input + row) * width.input + (low * width.stride + q - width.before);
                            fill_run(to, low, fill);
                            fill_run(to.add(high), self.pitch - high, fill);
                            pick::<S, T>(x.add(first), to.add(low), high - low, width.stride);
                        }
                    }
                }
            }
        }
    }

    /// Zeros everywhere.
    ///
    /// # Safety
    /// `to` is memory from [`Phases::scratch`].
    #[inline(always)]
    pub unsafe fn clear<T: Real>(&self, to: *mut T) {
        // SAFETY: the caller's promise.
        unsafe { fill_run(to, self.slice * self.axes[0].input, T::ZERO) }
    }

    /// The transpose: adds nothing up, as every element of the plane stands in the layout at most once;
    /// those that stand nowhere become 0.
    ///
    /// # Safety
    /// As [`Phases::take_apart`], with the plane written; `line` is memory from [`Phases::line_scratch`].
    #[inline(always)]
    pub unsafe fn put_together<T: Real>(&self, from: *const T, line: *mut T, x: *mut T) {
        let [depth, height, width] = self.axes;
        for row in 0..depth.input * height.input {
            let (d, h) = (row / height.input, row % height.input + height.before);
            let (p, j) = (h % height.stride, h / height.stride);
            // SAFETY: the caller's promise; rows and columns beyond the layout are left out.
            unsafe {
                let x = x.add(row * width.input);
                if j >= self.rows {
                    fill_run(x, width.input, T::ZERO);
                    continue;
                }
                let phase = |q: usize| from.add(d * self.slice + ((p * width.stride + q) * self.rows + j) * self.pitch);
                let known = (self.pitch * width.stride).saturating_sub(width.before).min(width.input);
                match width.stride {
                    1 => std::ptr::copy_nonoverlapping(phase(0).add(width.before), x, known),
                    2 => {
                        interleave(phase(0), phase(1), line, self.pitch);
                        std::ptr::copy_nonoverlapping(line.add(width.before), x, known);
                    }
                    stride => {
                        for q in 0..stride {
                            let first = (q + stride - width.before % stride) % stride;
                            for at in (first..known).step_by(stride) {
                                x.add(at).write(phase(q).add((at + width.before) / stride).read());
                            }
                        }
                    }
                }
                fill_run(x.add(known), width.input - known, T::ZERO);
            }
        }
    }
}

#[inline(always)]
unsafe fn fill_run<T: Real>(to: *mut T, count: usize, value: T) {
    for i in 0..count {
        // SAFETY: the caller's promise: `count` elements.
        unsafe { to.add(i).write(value) }
    }
}

/// Copies every `stride`-th of the elements at `from`.
#[inline(always)]
unsafe fn pick<S: Simd, T: Real>(from: *const T, to: *mut T, count: usize, stride: usize) {
    // SAFETY: the caller's promise: `count` elements on both sides, the last one at (count - 1) * stride.
    unsafe {
        match stride {
            1 => std::ptr::copy_nonoverlapping(from, to, count),
            2 => chunks!(16, count, |at, length| {
                let both: [T; 32] = S::load_some(from.add(2 * at), 2 * length - 1, T::ZERO);
                let one: [T; 16] = std::array::from_fn(|i| both[2 * i]);
                S::store_some(to.add(at), &one, length);
            }),
            _ => {
                for i in 0..count {
                    to.add(i).write(from.add(i * stride).read());
                }
            }
        }
    }
}

/// Writes the elements at `first` and `second` in turn, `pairs` of each, and up to `SLACK` more behind them.
#[inline(always)]
unsafe fn interleave<T: Real>(first: *const T, second: *const T, to: *mut T, pairs: usize) {
    for at in (0..pairs).step_by(16) {
        // SAFETY: the caller's promise; what is read and written behind the ends is slack.
        unsafe {
            let (a, b): ([T; 16], [T; 16]) = (load(first.add(at)), load(second.add(at)));
            store(to.add(2 * at), &std::array::from_fn::<T, 32, _>(|i| if i % 2 == 0 { a[i / 2] } else { b[i / 2] }));
        }
    }
}
