//! The arithmetic of one step, for some examples: what is left of a cell when its products are done.

use super::super::gemm::vector::prefetch;
use super::super::lanes::Simd;
use super::super::real::Real;
use super::super::rows::{Job, chunks};
use super::Cell;

/// Hidden units that are computed together: one vector of each gate.
const WIDE: usize = 16;

/// Rows that lie at a stride; none where `first` is null.
#[derive(Clone, Copy)]
pub(super) struct Strided<P> {
    /// The first row.
    pub first: P,
    /// Elements from a row to the next.
    pub stride: usize,
    /// Elements from a row to that of the same example in the step that follows.
    pub ahead: isize,
}

/// Asks for lanes of the first `G` of a row's parts, `n` elements apart, in the step that follows: its product comes
/// before them, time enough for what would be waited for, as the rows of an array over time are too short and too far
/// apart for the hardware to see a pattern.
#[inline(always)]
fn fetch<T, const G: usize>(row: *const T, ahead: isize, n: usize, at: usize) {
    if row.is_null() {
        return;
    }
    for part in 0..G {
        let lanes = row.wrapping_offset(ahead).wrapping_add(part * n + at);
        for line in 0..(WIDE * size_of::<T>()).div_ceil(64) {
            prefetch(lanes.wrapping_add(line * 64 / size_of::<T>()));
        }
    }
}

// SAFETY: plain addresses; the jobs' caller promises that tasks write disjoint rows.
unsafe impl<P> Sync for Strided<P> {}

impl<T> Strided<*const T> {
    /// Row `row`, null where there are none.
    #[inline(always)]
    fn row(self, row: usize) -> *const T {
        if self.first.is_null() { self.first } else { self.first.wrapping_add(row * self.stride) }
    }

    #[inline(always)]
    fn fetch<const G: usize>(self, row: usize, n: usize, at: usize) {
        fetch::<T, G>(self.row(row), self.ahead, n, at);
    }
}

impl<T> Strided<*mut T> {
    /// Row `row`, null where there are none.
    #[inline(always)]
    fn row(self, row: usize) -> *mut T {
        if self.first.is_null() { self.first } else { self.first.wrapping_add(row * self.stride) }
    }

    #[inline(always)]
    fn fetch<const G: usize>(self, row: usize, n: usize, at: usize) {
        fetch::<T, G>(self.row(row), self.ahead, n, at);
    }
}

/// One step forward. Rows without a stride are contiguous.
pub(super) struct StepForward<T> {
    pub cell: Cell,
    pub hidden: usize,
    /// The products with the hidden state.
    pub product: *mut T,
    pub z: Strided<*const T>,
    /// The hidden state, which is replaced.
    pub h: *mut T,
    /// The memory, which is replaced.
    pub c: *mut T,
    pub y: Strided<*mut T>,
    pub memory: Strided<*mut T>,
    pub kept: Strided<*mut T>,
    pub before: Strided<*mut T>,
    pub memory_before: Strided<*mut T>,
}

// SAFETY: as for `Strided`.
unsafe impl<T: Sync> Sync for StepForward<T> {}

#[inline(always)]
unsafe fn load<S: Simd, T: Real>(from: *const T, length: usize) -> [T; WIDE] {
    // SAFETY: the caller's promise.
    unsafe { S::load_some(from, length, T::ZERO) }
}

/// The sum of lanes from two places.
#[inline(always)]
unsafe fn load_sum<S: Simd, T: Real>(a: *const T, b: *const T, length: usize) -> [T; WIDE] {
    // SAFETY: the caller's promise.
    let (mut a, b): ([T; WIDE], [T; WIDE]) = unsafe { (load::<S, T>(a, length), load::<S, T>(b, length)) };
    for k in 0..WIDE {
        a[k] += b[k];
    }
    a
}

/// Lanes of the first `G` of a row's gates, `n` elements apart. A function, not a closure: what is not inlined for
/// certain is compiled for the baseline.
#[inline(always)]
unsafe fn gates<S: Simd, T: Real, const G: usize>(row: *const T, n: usize, at: usize, length: usize) -> [[T; WIDE]; G] {
    let mut lanes = [[T::ZERO; WIDE]; G];
    for (index, lanes) in lanes.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *lanes = unsafe { load::<S, T>(row.add(index * n + at), length) };
    }
    lanes
}

/// The sums of gates from two rows.
#[inline(always)]
unsafe fn gate_sums<S: Simd, T: Real, const G: usize>(
    a: *const T,
    b: *const T,
    n: usize,
    at: usize,
    length: usize,
) -> [[T; WIDE]; G] {
    let mut lanes = [[T::ZERO; WIDE]; G];
    for (index, lanes) in lanes.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *lanes = unsafe { load_sum::<S, T>(a.add(index * n + at), b.add(index * n + at), length) };
    }
    lanes
}

/// Writes lanes, unless there is no place for them.
#[inline(always)]
unsafe fn put<S: Simd, T: Real>(to: *mut T, at: usize, lanes: &[T; WIDE], length: usize) {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { S::store_some(to.add(at), lanes, length) }
    }
}

#[inline(always)]
fn sigmoid<T: Real>(lanes: &mut [T; WIDE]) {
    for lane in lanes {
        *lane = lane.sigmoid();
    }
}

#[inline(always)]
fn tanh<T: Real>(lanes: &mut [T; WIDE]) {
    for lane in lanes {
        *lane = lane.tanh();
    }
}

impl<T: Real> StepForward<T> {
    /// Asks for where the next step's results go, `G` gates of them kept.
    #[inline(always)]
    fn fetch_results<const G: usize>(&self, row: usize, at: usize) {
        self.kept.fetch::<G>(row, self.hidden, at);
        self.before.fetch::<1>(row, 0, at);
        self.memory_before.fetch::<1>(row, 0, at);
        self.y.fetch::<1>(row, 0, at);
    }

    #[inline(always)]
    unsafe fn plain<S: Simd>(&self, row: usize, relu: bool) {
        let n = self.hidden;
        // SAFETY: the caller's promise: this row of every array.
        unsafe {
            let (p, z, h) = (self.product.add(row * n), self.z.row(row), self.h.add(row * n));
            chunks!(WIDE, n, |at, length| {
                self.z.fetch::<1>(row, n, at);
                self.fetch_results::<1>(row, at);
                let mut new = load_sum::<S, T>(p.add(at), z.add(at), length);
                if relu {
                    for lane in &mut new {
                        // A NaN stays.
                        *lane = if *lane <= T::ZERO { T::ZERO } else { *lane };
                    }
                } else {
                    tanh(&mut new);
                }
                put::<S, T>(self.before.row(row), at, &load::<S, T>(h.add(at), length), length);
                put::<S, T>(self.kept.row(row), at, &new, length);
                put::<S, T>(h, at, &new, length);
                put::<S, T>(self.y.row(row), at, &new, length);
            });
        }
    }

    #[inline(always)]
    unsafe fn lstm<S: Simd>(&self, row: usize) {
        let n = self.hidden;
        // SAFETY: the caller's promise: this row of every array.
        unsafe {
            let (p, z) = (self.product.add(row * 4 * n), self.z.row(row));
            let (h, c, kept) = (self.h.add(row * n), self.c.add(row * n), self.kept.row(row));
            chunks!(WIDE, n, |at, length| {
                self.z.fetch::<4>(row, n, at);
                self.fetch_results::<4>(row, at);
                let [mut i, mut f, mut g, mut o] = gate_sums::<S, T, 4>(p, z, n, at, length);
                sigmoid(&mut i);
                sigmoid(&mut f);
                tanh(&mut g);
                sigmoid(&mut o);
                let mut memory = load::<S, T>(c.add(at), length);
                put::<S, T>(self.memory_before.row(row), at, &memory, length);
                for k in 0..WIDE {
                    memory[k] = f[k] * memory[k] + i[k] * g[k];
                }
                let mut new = memory;
                tanh(&mut new);
                for k in 0..WIDE {
                    new[k] *= o[k];
                }
                put::<S, T>(self.before.row(row), at, &load::<S, T>(h.add(at), length), length);
                for (index, gate) in [&i, &f, &g, &o].into_iter().enumerate() {
                    put::<S, T>(kept, index * n + at, gate, length);
                }
                put::<S, T>(c, at, &memory, length);
                put::<S, T>(h, at, &new, length);
                put::<S, T>(self.memory.row(row), at, &memory, length);
                put::<S, T>(self.y.row(row), at, &new, length);
            });
        }
    }

    #[inline(always)]
    unsafe fn gru<S: Simd>(&self, row: usize) {
        let n = self.hidden;
        // SAFETY: the caller's promise: this row of every array.
        unsafe {
            let (p, z) = (self.product.add(row * 3 * n), self.z.row(row));
            let (h, kept) = (self.h.add(row * n), self.kept.row(row));
            chunks!(WIDE, n, |at, length| {
                self.z.fetch::<3>(row, n, at);
                self.fetch_results::<4>(row, at);
                let [mut reset, mut update] = gate_sums::<S, T, 2>(p, z, n, at, length);
                sigmoid(&mut reset);
                sigmoid(&mut update);
                let product = load::<S, T>(p.add(2 * n + at), length);
                let mut new = load::<S, T>(z.add(2 * n + at), length);
                for k in 0..WIDE {
                    new[k] += reset[k] * product[k];
                }
                tanh(&mut new);
                let old = load::<S, T>(h.add(at), length);
                for (index, gate) in [&reset, &update, &new, &product].into_iter().enumerate() {
                    put::<S, T>(kept, index * n + at, gate, length);
                }
                put::<S, T>(self.before.row(row), at, &old, length);
                for k in 0..WIDE {
                    new[k] += update[k] * (old[k] - new[k]);
                }
                put::<S, T>(h, at, &new, length);
                put::<S, T>(self.y.row(row), at, &new, length);
            });
        }
    }
}

impl<T: Real> Job for StepForward<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        for row in first..first + count {
            // SAFETY: the caller's promise.
            unsafe {
                match self.cell {
                    Cell::Tanh => self.plain::<S>(row, false),
                    Cell::Relu => self.plain::<S>(row, true),
                    Cell::Lstm => self.lstm::<S>(row),
                    Cell::Gru => self.gru::<S>(row),
                }
            }
        }
    }
}

/// One step backward; `dh` and `dc` are the cotangents of the states after it, then of those before it
/// (`dh` without what comes through the product).
pub(super) struct StepBackward<T> {
    pub cell: Cell,
    pub hidden: usize,
    /// The cotangent of this step's result, none for zeros.
    pub dy: Strided<*const T>,
    /// That of the last memory, none for zeros.
    pub dmemory: Strided<*const T>,
    pub kept: Strided<*const T>,
    pub before: Strided<*const T>,
    pub memory_before: Strided<*const T>,
    pub dh: *mut T,
    pub dc: *mut T,
    /// The cotangent of the product with the hidden state.
    pub dproduct: *mut T,
    pub dz: Strided<*mut T>,
    pub every_dproduct: Strided<*mut T>,
}

// SAFETY: as for `Strided`.
unsafe impl<T: Sync> Sync for StepBackward<T> {}

impl<T: Real> StepBackward<T> {
    /// Asks for what the step before reads, `K` gates, and for where its `G` results go.
    #[inline(always)]
    fn fetch<const K: usize, const G: usize>(&self, row: usize, at: usize) {
        self.dy.fetch::<1>(row, 0, at);
        self.kept.fetch::<K>(row, self.hidden, at);
        self.before.fetch::<1>(row, 0, at);
        self.memory_before.fetch::<1>(row, 0, at);
        self.dz.fetch::<G>(row, self.hidden, at);
        self.every_dproduct.fetch::<G>(row, self.hidden, at);
    }

    /// Adds lanes from a row that may be absent.
    #[inline(always)]
    unsafe fn add<S: Simd>(lanes: &mut [T; WIDE], row: *const T, at: usize, length: usize) {
        if !row.is_null() {
            // SAFETY: the caller's promise.
            let more = unsafe { load::<S, T>(row.add(at), length) };
            for k in 0..WIDE {
                lanes[k] += more[k];
            }
        }
    }

    #[inline(always)]
    unsafe fn plain<S: Simd>(&self, row: usize, relu: bool) {
        let n = self.hidden;
        // SAFETY: the caller's promise: this row of every array.
        unsafe {
            let (dh, kept) = (self.dh.add(row * n), self.kept.row(row));
            chunks!(WIDE, n, |at, length| {
                self.fetch::<1, 1>(row, at);
                let mut slope = load::<S, T>(dh.add(at), length);
                Self::add::<S>(&mut slope, self.dy.row(row), at, length);
                let y = load::<S, T>(kept.add(at), length);
                for k in 0..WIDE {
                    let factor =
                        if relu { if y[k] > T::ZERO { T::ONE } else { T::ZERO } } else { T::ONE - y[k] * y[k] };
                    slope[k] *= factor;
                }
                put::<S, T>(self.dproduct.add(row * n), at, &slope, length);
                put::<S, T>(self.dz.row(row), at, &slope, length);
            });
        }
    }

    #[inline(always)]
    unsafe fn lstm<S: Simd>(&self, row: usize) {
        let n = self.hidden;
        // SAFETY: the caller's promise: this row of every array.
        unsafe {
            let (dh, dc, kept) = (self.dh.add(row * n), self.dc.add(row * n), self.kept.row(row));
            let (dproduct, dz) = (self.dproduct.add(row * 4 * n), self.dz.row(row));
            chunks!(WIDE, n, |at, length| {
                self.fetch::<4, 4>(row, at);
                let [mut i, mut f, mut g, mut o] = gates::<S, T, 4>(kept, n, at, length);
                let old = load::<S, T>(self.memory_before.row(row).add(at), length);
                let mut out = old;
                for k in 0..WIDE {
                    out[k] = f[k] * old[k] + i[k] * g[k];
                }
                tanh(&mut out);
                let mut slope = load::<S, T>(dh.add(at), length);
                Self::add::<S>(&mut slope, self.dy.row(row), at, length);
                let mut memory = load::<S, T>(dc.add(at), length);
                Self::add::<S>(&mut memory, self.dmemory.row(row), at, length);
                let mut carried = memory;
                for k in 0..WIDE {
                    memory[k] += slope[k] * o[k] * (T::ONE - out[k] * out[k]);
                    carried[k] = memory[k] * f[k];
                    o[k] = slope[k] * out[k] * o[k] * (T::ONE - o[k]);
                    f[k] = memory[k] * old[k] * f[k] * (T::ONE - f[k]);
                    let input = i[k];
                    i[k] = memory[k] * g[k] * input * (T::ONE - input);
                    g[k] = memory[k] * input * (T::ONE - g[k] * g[k]);
                }
                put::<S, T>(dc, at, &carried, length);
                for (index, gate) in [&i, &f, &g, &o].into_iter().enumerate() {
                    put::<S, T>(dproduct, index * n + at, gate, length);
                    put::<S, T>(dz, index * n + at, gate, length);
                }
            });
        }
    }

    #[inline(always)]
    unsafe fn gru<S: Simd>(&self, row: usize) {
        let n = self.hidden;
        // SAFETY: the caller's promise: this row of every array.
        unsafe {
            let (dh, kept, before) = (self.dh.add(row * n), self.kept.row(row), self.before.row(row));
            let (dproduct, dz) = (self.dproduct.add(row * 3 * n), self.dz.row(row));
            let every = self.every_dproduct.row(row);
            chunks!(WIDE, n, |at, length| {
                self.fetch::<4, 3>(row, at);
                let [mut reset, mut update, mut new, mut product] = gates::<S, T, 4>(kept, n, at, length);
                let old = load::<S, T>(before.add(at), length);
                let mut slope = load::<S, T>(dh.add(at), length);
                Self::add::<S>(&mut slope, self.dy.row(row), at, length);
                for k in 0..WIDE {
                    let keep = update[k];
                    update[k] = slope[k] * (old[k] - new[k]) * keep * (T::ONE - keep);
                    new[k] = slope[k] * (T::ONE - keep) * (T::ONE - new[k] * new[k]);
                    slope[k] *= keep;
                    let open = reset[k];
                    reset[k] = new[k] * product[k] * open * (T::ONE - open);
                    product[k] = new[k] * open;
                }
                put::<S, T>(dh, at, &slope, length);
                for (index, gate) in [&reset, &update, &product].into_iter().enumerate() {
                    put::<S, T>(dproduct, index * n + at, gate, length);
                    put::<S, T>(every, index * n + at, gate, length);
                }
                for (index, gate) in [&reset, &update, &new].into_iter().enumerate() {
                    put::<S, T>(dz, index * n + at, gate, length);
                }
            });
        }
    }
}

impl<T: Real> Job for StepBackward<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        for row in first..first + count {
            // SAFETY: the caller's promise.
            unsafe {
                match self.cell {
                    Cell::Tanh => self.plain::<S>(row, false),
                    Cell::Relu => self.plain::<S>(row, true),
                    Cell::Lstm => self.lstm::<S>(row),
                    Cell::Gru => self.gru::<S>(row),
                }
            }
        }
    }
}
