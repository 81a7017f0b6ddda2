//! First-order linear recurrences along one axis: `h[k] = u[k] + a[k] h[k - 1]`.
//!
//! The chain of multiply-adds cannot be shortened without changing its rounding, so one line takes a few
//! nanoseconds an element; neighbours (other axes) are independent and run side by side. The state is
//! kept in f64 and rounded once, when it is written.

use crate::cpu::cast::{Shared, in_pieces};
use crate::cpu::isa::per_isa;

/// Neighbours that run together.
const LANES: usize = 64;

/// A stored type whose state is a double.
pub trait Stored: Copy + Send + Sync + 'static {
    /// Its value.
    fn widen(self) -> f64;
    /// The value rounded.
    fn narrow(value: f64) -> Self;
}

impl Stored for f32 {
    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn narrow(value: f64) -> f32 {
        value as f32
    }
}

impl Stored for f64 {
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
    #[inline(always)]
    fn narrow(value: f64) -> f64 {
        value
    }
}

/// Runs the recurrence along the middle axis of contiguous (`rows`, `length`, `inner`) tensors, from the
/// end where `reverse`; the state before the first element is 0.
///
/// # Safety
/// All pointers are valid for all elements, and `h` does not overlap the others.
pub unsafe fn recurrence<T: Stored>(
    rows: usize,
    length: usize,
    inner: usize,
    u: *const T,
    a: *const T,
    h: *mut T,
    reverse: bool,
) {
    let line = length * inner;
    if line == 0 {
        return;
    }
    let (u, a, h) = (Shared::new(u), Shared::new(a), Shared::new(h));
    let strips = inner.div_ceil(LANES);
    let nanoseconds = (rows * line) as f64 * 2.0;
    in_pieces(rows * strips, (1 << 14) / (length * inner.min(LANES)), nanoseconds, |range| {
        for unit in range {
            let (row, start) = (unit / strips, unit % strips * LANES);
            let first = row * line + start + if reverse { (length - 1) * inner } else { 0 };
            let step = if reverse { -(inner as isize) } else { inner as isize };
            let width = LANES.min(inner - start);
            // SAFETY: a unit lies within the tensors and has results of its own.
            unsafe { strip::<T>(u.get().add(first), a.get().add(first), h.get().add(first), length, step, width) };
        }
    });
}

per_isa! {
    unsafe fn strip<T: Stored>(u: *const T, a: *const T, h: *mut T, length: usize, step: isize, width: usize) {
        let mut states = [0.0f64; LANES];
        for index in 0..length {
            let at = index as isize * step;
            for lane in 0..width {
                let place = at + lane as isize;
                // The first product is left out, so that an infinite factor there does no harm.
                let carried = if index == 0 { 0.0 } else { (*a.offset(place)).widen() * states[lane] };
                states[lane] = (*u.offset(place)).widen() + carried;
                *h.offset(place) = T::narrow(states[lane]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::copy::tests::Random;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_plain_loop(seed in any::<u64>(), reverse: bool) {
            let random = &mut Random(seed);
            let (rows, length, inner) = (random.below(4), random.below(9), [1, 2, 63, 64, 65, 130][random.below(6)]);
            let count = rows * length * inner;
            let u: Vec<f64> = (0..count).map(|_| random.real()).collect();
            let a: Vec<f64> = (0..count).map(|_| random.real()).collect();
            let mut h = vec![0.0; count];
            // SAFETY: three vectors of these sizes.
            unsafe { recurrence(rows, length, inner, u.as_ptr(), a.as_ptr(), h.as_mut_ptr(), reverse) };
            for row in 0..rows {
                for lane in 0..inner {
                    let mut state = 0.0;
                    for index in 0..length {
                        let index = if reverse { length - 1 - index } else { index };
                        let at = (row * length + index) * inner + lane;
                        state = u[at] + a[at] * state;
                        prop_assert!((h[at] - state).abs() < 1e-12);
                    }
                }
            }
        }
    }
}
