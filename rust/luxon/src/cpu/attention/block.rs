//! What is done to the rows of a block between its products.

use super::super::lanes::{LANES, Simd, largest_lane, load, store, sum_lanes};
use super::super::real::{Real, larger};
use super::super::rows::{Job, chunks};
use super::{KEYS, Operands, Sizes};

macro_rules! shared {
    ($($job:ident),*) => {
        // SAFETY: plain addresses; the jobs run on the thread that made them.
        $(unsafe impl<T: Sync> Sync for $job<T> {})*
    };
}
shared!(Scale, Scores, Finish, Weights, Delta);

/// Rows copied with a factor.
pub(super) struct Scale<T> {
    pub from: *const T,
    pub from_row: isize,
    pub to: *mut T,
    pub to_row: isize,
    pub columns: usize,
    pub by: T,
}

impl<T: Real> Job for Scale<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        for row in first..first + count {
            let from = self.from.wrapping_offset(row as isize * self.from_row);
            let to = self.to.wrapping_offset(row as isize * self.to_row);
            chunks!(LANES, self.columns, |at, length| {
                // SAFETY: the caller's promise: chunks of the rows.
                unsafe {
                    let mut lanes: [T; LANES] = S::load_some(from.add(at), length, T::ZERO);
                    for lane in &mut lanes {
                        *lane *= self.by;
                    }
                    S::store_some(to.add(at), &lanes, length);
                }
            });
        }
    }
}

/// The scores of a row of a block as they count: with the bias, and minus infinity where a key is not met.
/// Everything from the last column up to the block's end is minus infinity too.
///
/// # Safety
/// The row has `KEYS` elements, and the operands this row and these columns.
#[inline(always)]
unsafe fn settle<S: Simd, T: Real>(
    sizes: &Sizes,
    operands: &Operands<T>,
    (batch, head, query, key): (usize, usize, usize, usize),
    columns: usize,
    row: *mut T,
) {
    let met = if sizes.causal { columns.min((query + 1).saturating_sub(key)) } else { columns };
    // SAFETY: the caller's promise.
    unsafe {
        if !operands.bias.first.is_null() {
            let bias = operands.bias.at(batch, head, query).wrapping_offset(key as isize * operands.bias.column);
            if operands.bias.column == 1 {
                chunks!(LANES, met, |at, length| {
                    let mut lanes: [T; LANES] = load(row.add(at));
                    let added: [T; LANES] = S::load_some(bias.add(at), length, T::ZERO);
                    for i in 0..LANES {
                        lanes[i] += added[i];
                    }
                    store(row.add(at), &lanes);
                });
            } else {
                for i in 0..met {
                    *row.add(i) += *bias.wrapping_offset(i as isize * operands.bias.column);
                }
            }
        }
        if !operands.mask.first.is_null() {
            let mask = operands.mask.at(batch, head, query).wrapping_offset(key as isize * operands.mask.column);
            let mut bytes = [0u8; KEYS];
            if operands.mask.column == 1 {
                std::ptr::copy_nonoverlapping(mask, bytes.as_mut_ptr(), met);
            } else {
                for (i, byte) in bytes[..met].iter_mut().enumerate() {
                    *byte = *mask.wrapping_offset(i as isize * operands.mask.column);
                }
            }
            for at in (0..met).step_by(LANES) {
                let mut lanes: [T; LANES] = load(row.add(at));
                for i in 0..LANES {
                    lanes[i] = if bytes[at + i] == 0 { T::NEGATIVE_INFINITY } else { lanes[i] };
                }
                store(row.add(at), &lanes);
            }
        }
        let mut at = met;
        let end = met.next_multiple_of(LANES).max(columns.next_multiple_of(LANES));
        while at < end {
            *row.add(at) = T::NEGATIVE_INFINITY;
            at += 1;
        }
    }
}

/// The exponentials of a block's scores, with the running maxima, totals and sums brought up to date.
pub(super) struct Scores<T> {
    pub sizes: Sizes,
    pub operands: Operands<T>,
    /// Example, head, first query and first key.
    pub place: (usize, usize, usize, usize),
    pub columns: usize,
    /// Scores, then exponentials; rows of `KEYS`.
    pub scores: *mut T,
    pub maxima: *mut T,
    pub totals: *mut T,
    /// What is rescaled when a maximum grows; null for nothing yet.
    pub sums: *mut T,
}

impl<T: Real> Job for Scores<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let (batch, head, query, key) = self.place;
        for i in first..first + count {
            // SAFETY: the caller's promise: rows of this block.
            unsafe {
                let row = self.scores.add(i * KEYS);
                settle::<S, T>(&self.sizes, &self.operands, (batch, head, query + i, key), self.columns, row);
                let mut largest = [T::NEGATIVE_INFINITY; LANES];
                for at in (0..self.columns).step_by(LANES) {
                    let lanes: [T; LANES] = load(row.add(at));
                    for k in 0..LANES {
                        largest[k] = larger(lanes[k], largest[k]);
                    }
                }
                let before = *self.maxima.add(i);
                let maximum = larger(largest_lane(largest), before);
                // A row that has met no key yet: its scores are minus infinity, and their exponentials zero.
                let shift = if maximum == T::NEGATIVE_INFINITY { T::ZERO } else { maximum };
                let mut totals = [T::ZERO; LANES];
                for at in (0..self.columns).step_by(LANES) {
                    let mut lanes: [T; LANES] = load(row.add(at));
                    for lane in &mut lanes {
                        *lane = (*lane - shift).exp();
                    }
                    for k in 0..LANES {
                        totals[k] += lanes[k];
                    }
                    store(row.add(at), &lanes);
                }
                let factor = (before - shift).exp();
                *self.maxima.add(i) = maximum;
                *self.totals.add(i) = *self.totals.add(i) * factor + sum_lanes(totals);
                if !self.sums.is_null() && factor != T::ONE {
                    let columns = self.sizes.value_dim;
                    let sums = self.sums.add(i * columns);
                    chunks!(LANES, columns, |at, length| {
                        let mut lanes: [T; LANES] = S::load_some(sums.add(at), length, T::ZERO);
                        for lane in &mut lanes {
                            *lane *= factor;
                        }
                        S::store_some(sums.add(at), &lanes, length);
                    });
                }
            }
        }
    }
}

/// The results of a block of queries.
pub(super) struct Finish<T> {
    /// Weighted sums of values; null where no key was met.
    pub sums: *mut T,
    pub maxima: *mut T,
    pub totals: *mut T,
    pub columns: usize,
    pub y: *mut T,
    pub y_row: isize,
    /// Null where they are not wanted.
    pub logsums: *mut T,
}

impl<T: Real> Job for Finish<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        for i in first..first + count {
            // SAFETY: the caller's promise: rows of this block.
            unsafe {
                let total = *self.totals.add(i);
                let factor = if total == T::ZERO { T::ZERO } else { T::ONE / total };
                let y = self.y.wrapping_offset(i as isize * self.y_row);
                chunks!(LANES, self.columns, |at, length| {
                    let mut lanes = [T::ZERO; LANES];
                    if !self.sums.is_null() {
                        lanes = S::load_some(self.sums.add(i * self.columns + at), length, T::ZERO);
                    }
                    for lane in &mut lanes {
                        *lane *= factor;
                    }
                    S::store_some(y.add(at), &lanes, length);
                });
                if !self.logsums.is_null() {
                    let logsum =
                        if total == T::ZERO { -T::NEGATIVE_INFINITY } else { *self.maxima.add(i) + total.ln() };
                    *self.logsums.add(i) = logsum;
                }
            }
        }
    }
}

/// Backward: the weights of a block from its scores, and the cotangents of the scores from those of the weights.
pub(super) struct Weights<T> {
    pub sizes: Sizes,
    pub operands: Operands<T>,
    /// Example, head, first query and first key.
    pub place: (usize, usize, usize, usize),
    pub columns: usize,
    /// Scores, then weights; rows of `KEYS`.
    pub scores: *mut T,
    /// Cotangents of the weights, then of the scores; rows of `KEYS`.
    pub slopes: *mut T,
    pub logsums: *const T,
    /// For each query the inner product of its result and the cotangent of that.
    pub deltas: *const T,
}

impl<T: Real> Job for Weights<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        let (batch, head, query, key) = self.place;
        for i in first..first + count {
            // SAFETY: the caller's promise: rows of this block.
            unsafe {
                let (row, slopes) = (self.scores.add(i * KEYS), self.slopes.add(i * KEYS));
                settle::<S, T>(&self.sizes, &self.operands, (batch, head, query + i, key), self.columns, row);
                let (shift, delta) = (*self.logsums.add(i), *self.deltas.add(i));
                for at in (0..self.columns).step_by(LANES) {
                    let mut lanes: [T; LANES] = load(row.add(at));
                    for lane in &mut lanes {
                        *lane = (*lane - shift).exp();
                    }
                    let mut slope: [T; LANES] = load(slopes.add(at));
                    for k in 0..LANES {
                        slope[k] = lanes[k] * (slope[k] - delta);
                    }
                    store(row.add(at), &lanes);
                    store(slopes.add(at), &slope);
                }
            }
        }
    }
}

/// Inner products of the rows of two arrays.
pub(super) struct Delta<T> {
    pub a: *const T,
    pub a_row: isize,
    pub b: *const T,
    pub b_row: isize,
    pub columns: usize,
    pub to: *mut T,
}

impl<T: Real> Job for Delta<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        for i in first..first + count {
            let (a, b) =
                (self.a.wrapping_offset(i as isize * self.a_row), self.b.wrapping_offset(i as isize * self.b_row));
            let mut sums = [T::ZERO; LANES];
            chunks!(LANES, self.columns, |at, length| {
                // SAFETY: the caller's promise: chunks of the rows.
                unsafe {
                    let left: [T; LANES] = S::load_some(a.add(at), length, T::ZERO);
                    let right: [T; LANES] = S::load_some(b.add(at), length, T::ZERO);
                    for k in 0..LANES {
                        sums[k] += left[k] * right[k];
                    }
                }
            });
            // SAFETY: the caller's promise: a number per row.
            unsafe { *self.to.add(i) = sum_lanes(sums) };
        }
    }
}
