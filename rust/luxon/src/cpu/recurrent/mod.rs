//! Recurrent cells over whole sequences: the loop over time, forward and backward.
//!
//! What depends on the input alone (`x W_ih^T + b`) was computed for all steps at once; a step is then one
//! small product with the hidden state and one pass of gate arithmetic (`gates`). Examples of a batch do not
//! meet, so a task takes some of them through all of time and the state stays in its nearest cache; only
//! weights too large for the second-level cache are read once a step for the whole batch instead. How the
//! batch is cut depends on the sizes alone.
//!
//! Arrays over time are (time, batch, width) or, not `time_major`, (batch, time, width), contiguous. For the
//! backward pass, `kept` holds the gates after their activations and `before` the states before each step.

mod gates;

use std::ops::Range;

use super::gemm::{Element, Gemm, gemm};
use super::real::Real;
use super::rows::{Input, Output, Scratch, rows_each, run};
use crate::error::Result;
use crate::runtime::{interrupt, threads};
use gates::{StepBackward, StepForward, Strided};

/// A kind of cell.
///
/// ```
/// use luxon::{Cell, DType, RecurrentOptions, RecurrentWeights, Tensor, recurrent};
/// let (x, w, u) = (Tensor::ones(&[2, 3], DType::F32)?, Tensor::ones(&[16, 3], DType::F32)?, Tensor::ones(&[16, 4], DType::F32)?);
/// let lstm = RecurrentWeights { input: &w, hidden: &u, input_bias: None, hidden_bias: None };
/// let (h, _) = recurrent(Cell::Lstm, &x, &lstm, None, RecurrentOptions::default())?; // One step, four units.
/// assert_eq!(h.shape()[..], [2, 4]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `tanh(z + p)`, with z from the input and p from the hidden state.
    Tanh,
    /// `relu(z + p)`.
    Relu,
    /// Gates i, f, g, o.
    Lstm,
    /// Gates r, z, n; the reset gate acts on the product.
    Gru,
}

impl Cell {
    /// Rows of the weights per hidden unit.
    #[doc(hidden)]
    pub fn gates(self) -> usize {
        match self {
            Cell::Tanh | Cell::Relu => 1,
            Cell::Lstm => 4,
            Cell::Gru => 3,
        }
    }

    /// Numbers per hidden unit and step that the backward pass reads.
    #[doc(hidden)]
    pub fn kept(self) -> usize {
        match self {
            Cell::Tanh | Cell::Relu => 1,
            Cell::Lstm | Cell::Gru => 4,
        }
    }
}

/// A recurrence: its cell, sizes and order.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The cell.
    pub cell: Cell,
    /// Steps, at least 1.
    pub steps: usize,
    /// Examples.
    pub batch: usize,
    /// Hidden units.
    pub hidden: usize,
    /// Whether time is the first axis, before the batch.
    pub time_major: bool,
    /// Whether the last element of a sequence comes first.
    pub reverse: bool,
    /// Whether the result has the hidden states of all steps, or that after the last.
    pub sequence: bool,
    /// Whether the LSTM's memory after the last step follows in the result.
    pub memory: bool,
}

/// Weights of more bytes are read once a step for the whole batch.
const LARGE: usize = 2 << 20;
/// Columns of a panel of the turned weight: its rows are close enough together for the nearest caches.
const PANEL: usize = 128;
/// A task is worth about this many nanoseconds at most, so that an interruption is noticed.
const LONGEST_TASK: f64 = 20e6;

impl Sizes {
    /// Rows of the result along time.
    pub fn results(&self) -> usize {
        (if self.sequence { self.steps } else { 1 }) + usize::from(self.memory)
    }

    /// From a time to the next and from an example to the next, of an array with so many times.
    fn strides(&self, times: usize, width: usize) -> (usize, usize) {
        if self.time_major { (self.batch * width, width) } else { (width, times * width) }
    }

    /// From a time to that of the step that follows, forward or backward, of an array whose times are so far apart.
    fn ahead(&self, time: usize, backward: bool) -> isize {
        if self.reverse == backward { time as isize } else { -(time as isize) }
    }

    /// The position in the sequence of the `index`-th step.
    fn position(&self, index: usize) -> usize {
        if self.reverse { self.steps - 1 - index } else { index }
    }

    /// Whether the weight is too large for the second-level cache.
    fn is_large<T>(&self) -> bool {
        self.cell.gates() * self.hidden * self.hidden * size_of::<T>() > LARGE
    }

    /// Examples that go through time together.
    fn rows<T>(&self) -> usize {
        if self.is_large::<T>() { self.batch } else { (self.batch / 4).clamp(8, 16) }.max(1)
    }

    /// A guess of the time of a step for `rows` examples.
    fn nanoseconds<T>(&self, rows: usize) -> f64 {
        let product = (rows * self.cell.gates() * self.hidden * self.hidden) as f64 * 2.0 / 80.0;
        let gates = (rows * self.cell.gates() * self.hidden) as f64 * 0.5;
        (product + gates) * size_of::<T>() as f64 / 4.0 + 100.0
    }

    /// Takes groups of examples through all steps: `step(group, rows, index)` for ascending (or, `backward`,
    /// descending) indices, one group's steps in order.
    fn march<T>(&self, backward: bool, step: impl Fn(usize, Range<usize>, usize) + Sync) {
        let rows = self.rows::<T>();
        let groups = self.batch.div_ceil(rows);
        let once = self.nanoseconds::<T>(rows);
        // Long sequences are cut in time, with a join in between.
        let stretch = ((LONGEST_TASK / once) as usize).max(1);
        for first in (0..self.steps).step_by(stretch) {
            let last = (first + stretch).min(self.steps);
            let nanoseconds = once * (groups * (last - first)) as f64;
            let task = |group: usize| {
                let range = group * rows..((group + 1) * rows).min(self.batch);
                for index in first..last {
                    step(group, range.clone(), if backward { self.steps - 1 - index } else { index });
                    if interrupt::pending() {
                        return;
                    }
                }
            };
            // A lone group is not a task: its products and passes are shared themselves.
            if groups == 1 {
                task(0)
            } else {
                threads::parallel(groups, nanoseconds, &task)
            }
            if interrupt::pending() {
                return;
            }
        }
    }
}

/// Pointers of a forward pass.
pub struct Forward<T> {
    /// What the input contributes: gates * hidden numbers a step.
    pub z: *const T,
    /// The weight of the hidden state, (gates * hidden, hidden).
    pub weight: *const T,
    /// Added to the product with the hidden state; null for none.
    pub bias: *const T,
    /// The first hidden state, (batch, hidden).
    pub hidden: *const T,
    /// The first memory of an LSTM, (batch, hidden).
    pub memory: *const T,
    /// The result.
    pub y: *mut T,
    /// For the backward pass; null where none follows.
    pub kept: *mut T,
    /// Hidden states before each step; as `kept`.
    pub before: *mut T,
    /// Memories before each step; as `kept`.
    pub memory_before: *mut T,
}

/// Runs the recurrence.
///
/// # Safety
/// The arrays have the sizes that `sizes` says, the results do not overlap anything.
pub unsafe fn forward<T: Real + Element>(sizes: &Sizes, call: &Forward<T>) -> Result<()> {
    let Sizes { cell, steps, batch, hidden, .. } = *sizes;
    let width = cell.gates() * hidden;
    // The product reads the weight along its rows' ends: transposed once, in panels, it is read in place every step.
    // Weights too large for that meet the whole batch at once, in products that are shared among threads.
    let panel = if sizes.is_large::<T>() { width } else { PANEL.min(width) }.max(1);
    let turned = Scratch::<T>::zeroed(hidden * width)?;
    let states = Scratch::<T>::zeroed(batch * hidden * 2)?;
    let products = Scratch::<T>::zeroed(batch * width)?;
    let (h, c) = (Output::new(states.pointer()), Output::new(states.pointer().wrapping_add(batch * hidden)));
    // SAFETY: the caller's promise, and the scratch memory has these sizes.
    unsafe {
        for first in (0..width).step_by(panel) {
            let columns = panel.min(width - first);
            super::copy::copy(
                size_of::<T>(),
                &[hidden, columns],
                call.weight.wrapping_add(first * hidden).cast(),
                &[1, hidden as isize],
                turned.pointer().wrapping_add(first * hidden).cast(),
                &[columns as isize, 1],
            );
        }
        std::ptr::copy_nonoverlapping(call.hidden, h.at(0), batch * hidden);
        if cell == Cell::Lstm {
            std::ptr::copy_nonoverlapping(call.memory, c.at(0), batch * hidden);
        }
    }
    let (turned, product) = (Input::new(turned.pointer().cast_const()), Output::new(products.pointer()));
    let (z, bias, y) = (Input::new(call.z), Input::new(call.bias), Output::new(call.y));
    let (kept, before, memory_before) =
        (Output::new(call.kept), Output::new(call.before), Output::new(call.memory_before));
    sizes.march::<T>(false, |_, rows, index| {
        let at = sizes.position(index);
        let (first, count) = (rows.start, rows.len());
        let input = |array: Input<T>, width: usize| {
            let (time, row) = sizes.strides(steps, width);
            // SAFETY: a place inside the array.
            Strided {
                first: unsafe { array.at(at * time + first * row) },
                stride: row,
                ahead: sizes.ahead(time, false),
            }
        };
        let output = |array: Output<T>, times: usize, place: usize, width: usize| {
            let (time, row) = sizes.strides(times, width);
            // SAFETY: a place inside the array, unless it is absent.
            let first =
                if array.is_some() { unsafe { array.at(place * time + first * row) } } else { std::ptr::null_mut() };
            Strided { first, stride: row, ahead: sizes.ahead(time, false) }
        };
        let last = index + 1 == steps;
        let none = Strided { first: std::ptr::null_mut(), stride: 0, ahead: 0 };
        // SAFETY: the caller's promise; a task has rows of its own in every array.
        unsafe {
            let job = StepForward {
                cell,
                hidden,
                product: product.at(first * width),
                z: input(z, width),
                h: h.at(first * hidden),
                c: c.at(first * hidden),
                y: match sizes.sequence {
                    true => output(y, sizes.results(), at, hidden),
                    false if last => output(y, sizes.results(), 0, hidden),
                    false => none,
                },
                memory: if last && sizes.memory {
                    output(y, sizes.results(), sizes.results() - 1, hidden)
                } else {
                    none
                },
                kept: output(kept, steps, at, cell.kept() * hidden),
                before: output(before, steps, at, hidden),
                memory_before: output(memory_before, steps, at, hidden),
            };
            let bias = if bias.is_some() { bias.at(0) } else { std::ptr::null() };
            for left in (0..width).step_by(panel) {
                let columns = panel.min(width - left);
                let bias = if bias.is_null() { bias } else { bias.add(left) };
                let (part, to) = (turned.at(left * hidden), job.product.add(left));
                let product = matrices((count, columns, hidden), job.h, part, to, false, bias);
                gemm(&Gemm { c_row: width as isize, ..product }, None);
            }
            run(&job, count, rows_each(width), 2.0 * width as f64);
        }
    });
    Ok(())
}

/// Pointers of a backward pass.
pub struct Backward<T> {
    /// The cotangent of the result.
    pub dy: *const T,
    /// As in [`Forward`].
    pub weight: *const T,
    /// As in [`Forward`].
    pub kept: *const T,
    /// As in [`Forward`].
    pub before: *const T,
    /// As in [`Forward`].
    pub memory_before: *const T,
    /// The cotangent of z.
    pub dz: *mut T,
    /// That of the product with the hidden state, where it differs from `dz` (GRU); else null.
    pub dproduct: *mut T,
    /// That of the first hidden state.
    pub dhidden: *mut T,
    /// That of the first memory; null without one.
    pub dmemory: *mut T,
}

/// The gradients that need the loop; the weight's is one product over all steps of what comes out here.
///
/// # Safety
/// As for [`forward`].
pub unsafe fn backward<T: Real + Element>(sizes: &Sizes, call: &Backward<T>) -> Result<()> {
    let Sizes { cell, steps, batch, hidden, .. } = *sizes;
    let width = cell.gates() * hidden;
    let states = Scratch::<T>::zeroed(batch * hidden * 2)?;
    let products = Scratch::<T>::zeroed(batch * width)?;
    let (dh, dc) = (Output::new(states.pointer()), Output::new(states.pointer().wrapping_add(batch * hidden)));
    let dproduct = Output::new(products.pointer());
    let (dy, weight, kept) = (Input::new(call.dy), Input::new(call.weight), Input::new(call.kept));
    let (before, memory_before) = (Input::new(call.before), Input::new(call.memory_before));
    let (dz, every_dproduct) = (Output::new(call.dz), Output::new(call.dproduct));
    sizes.march::<T>(true, |_, rows, index| {
        let at = sizes.position(index);
        let (first, count) = (rows.start, rows.len());
        let input = |array: Input<T>, times: usize, place: usize, width: usize| {
            let (time, row) = sizes.strides(times, width);
            // SAFETY: a place inside the array, unless it is absent.
            let first =
                if array.is_some() { unsafe { array.at(place * time + first * row) } } else { std::ptr::null() };
            Strided { first, stride: row, ahead: sizes.ahead(time, true) }
        };
        let output = |array: Output<T>| {
            let (time, row) = sizes.strides(steps, width);
            // SAFETY: as above.
            let first =
                if array.is_some() { unsafe { array.at(at * time + first * row) } } else { std::ptr::null_mut() };
            Strided { first, stride: row, ahead: sizes.ahead(time, true) }
        };
        let last = index + 1 == steps;
        let none = Strided { first: std::ptr::null(), stride: 0, ahead: 0 };
        // SAFETY: the caller's promise; a task has rows of its own in every array.
        unsafe {
            let job = StepBackward {
                cell,
                hidden,
                dy: match sizes.sequence {
                    true => input(dy, sizes.results(), at, hidden),
                    false if last => input(dy, sizes.results(), 0, hidden),
                    false => none,
                },
                dmemory: if last && sizes.memory {
                    input(dy, sizes.results(), sizes.results() - 1, hidden)
                } else {
                    none
                },
                kept: input(kept, steps, at, cell.kept() * hidden),
                before: input(before, steps, at, hidden),
                memory_before: input(memory_before, steps, at, hidden),
                dh: dh.at(first * hidden),
                dc: dc.at(first * hidden),
                dproduct: dproduct.at(first * width),
                dz: output(dz),
                every_dproduct: output(every_dproduct),
            };
            run(&job, count, rows_each(width), 2.0 * width as f64);
            let add = cell == Cell::Gru;
            let product = matrices((count, hidden, width), job.dproduct, weight.at(0), job.dh, add, std::ptr::null());
            gemm(&product, None);
        }
    });
    // SAFETY: the caller's promise.
    unsafe {
        std::ptr::copy_nonoverlapping(dh.at(0), call.dhidden, batch * hidden);
        if !call.dmemory.is_null() {
            std::ptr::copy_nonoverlapping(dc.at(0), call.dmemory, batch * hidden);
        }
    }
    Ok(())
}

/// The product of contiguous matrices, (m, k) and (k, n).
fn matrices<T>(
    (m, n, k): (usize, usize, usize),
    a: *const T,
    b: *const T,
    c: *mut T,
    accumulate: bool,
    bias: *const T,
) -> Gemm<T> {
    let (a_row, b_row) = (k as isize, n as isize);
    Gemm { m, n, k, a, a_row, a_column: 1, b, b_row, b_column: 1, c, c_row: n as isize, accumulate, bias }
}
