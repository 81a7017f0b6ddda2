//! Elements at given places of planes, and the transpose: what pooling by the largest element is once its
//! places are known.

use super::super::lanes::Simd;
use super::super::real::Real;
use super::super::rows::{Input, Job, Output, rows_each, run};
use super::{Axis, halves};

/// `y[p, o] = x[p, place[p, o]]`; 0 for a place outside the plane.
///
/// # Safety
/// `x` holds planes * plane elements, `place` and `y` planes * outputs; they do not overlap.
pub unsafe fn pick<T: Real>(x: *const T, place: *const i32, y: *mut T, planes: usize, plane: usize, outputs: usize) {
    let job = Pick { x: Input::new(x), place: Input::new(place), y: Output::new(y), plane, outputs };
    // SAFETY: the caller's promise.
    unsafe { run(&job, planes, rows_each(outputs), outputs as f64) }
}

/// `x[p, place[p, o]] += y[p, o]` over zeros, in the order of o; places outside the plane get nothing.
///
/// # Safety
/// As [`pick`], with `x` written.
pub unsafe fn put<T: Real>(y: *const T, place: *const i32, x: *mut T, planes: usize, plane: usize, outputs: usize) {
    let job = Put { y: Input::new(y), place: Input::new(place), x: Output::new(x), plane, outputs };
    // SAFETY: the caller's promise.
    unsafe { run(&job, planes, rows_each(plane.max(outputs)), 0.1 * plane as f64 + outputs as f64) }
}

/// [`put`] for places that are each in its window.
///
/// # Safety
/// As [`put`], with the sizes of the axes.
pub unsafe fn put_back<T: Real>(y: *const T, place: *const i32, x: *mut T, planes: usize, axes: [Axis; 3]) {
    if halves::halves(&axes) {
        let job = halves::Back { dy: Input::new(y), place: Input::new(place), dx: Output::new(x), axes };
        // SAFETY: the caller's promise.
        return unsafe { halves::over(&job, planes, &axes) };
    }
    let [plane, outputs] =
        [axes.map(|axis| axis.input), axes.map(|axis| axis.output)].map(|sizes| sizes.iter().product());
    // SAFETY: the caller's promise.
    unsafe { put(y, place, x, planes, plane, outputs) }
}

struct Pick<T> {
    x: Input<T>,
    place: Input<i32>,
    y: Output<T>,
    plane: usize,
    outputs: usize,
}

impl<T: Real> Job for Pick<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        for index in first..first + count {
            // SAFETY: the plane is inside the arrays, and so is every place that passes the test.
            unsafe {
                let (x, y) = (self.x.at(index * self.plane), self.y.at(index * self.outputs));
                let place = self.place.at(index * self.outputs);
                for at in 0..self.outputs {
                    let place = place.add(at).read() as u32 as usize;
                    y.add(at).write(if place < self.plane { x.add(place).read() } else { T::ZERO });
                }
            }
        }
    }
}

struct Put<T> {
    y: Input<T>,
    place: Input<i32>,
    x: Output<T>,
    plane: usize,
    outputs: usize,
}

impl<T: Real> Job for Put<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, _task: usize, first: usize, count: usize) {
        for index in first..first + count {
            // SAFETY: as for `pick`.
            unsafe {
                let (x, y) = (self.x.at(index * self.plane), self.y.at(index * self.outputs));
                let place = self.place.at(index * self.outputs);
                for at in 0..self.plane {
                    x.add(at).write(T::ZERO);
                }
                for at in 0..self.outputs {
                    let place = place.add(at).read() as u32 as usize;
                    if place < self.plane {
                        *x.add(place) += y.add(at).read();
                    }
                }
            }
        }
    }
}
