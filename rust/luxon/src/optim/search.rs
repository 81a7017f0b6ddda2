//! A line search for the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6).
//!
//! First steps grow until they bracket an acceptable one, then the bracket shrinks; new steps come from the
//! cubic through the values and slopes at its ends, kept away from the ends as in PyTorch's search.

use crate::error::Result;
use crate::tensor::Tensor;

/// The objective somewhere along the direction.
#[derive(Clone, Debug)]
pub struct Point {
    /// How far along.
    pub step: f64,
    /// The objective.
    pub value: f64,
    /// Its derivative along the direction.
    pub slope: f64,
    /// Its gradient.
    pub gradient: Vec<Tensor>,
}

/// The share of the slope's promise that a value must keep.
const ENOUGH: f64 = 1e-4;
/// The share of the first slope that may be left.
const FLAT: f64 = 0.9;

/// The lowest point of the cubic through two points, kept between the bounds; their middle where it has none.
fn cubic_lowest(a: &Point, b: &Point, bounds: (f64, f64)) -> f64 {
    let (left, right) = if a.step <= b.step { (a, b) } else { (b, a) };
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step);
    let square = d1 * d1 - a.slope * b.slope;
    if !(square >= 0.0) {
        return f64::midpoint(bounds.0, bounds.1);
    }
    let d2 = square.sqrt();
    let share = (right.slope + d2 - d1) / (right.slope - left.slope + 2.0 * d2);
    let lowest = right.step - (right.step - left.step) * share;
    lowest.max(bounds.0).min(bounds.1)
}

/// A point that satisfies the strong Wolfe conditions, or the best that was met, and the evaluations that it took.
///
/// # Errors
/// What `probe` fails with.
pub fn strong_wolfe(
    probe: &mut dyn FnMut(f64) -> Result<Point>,
    start: Point,
    guess: f64,
    reach: f64,
    tolerance: f64,
    tries: u64,
) -> Result<(Point, u64)> {
    let (first_value, first_slope) = (start.value, start.slope);
    let too_high = |point: &Point| point.value > first_value + ENOUGH * point.step * first_slope;
    let flat = |point: &Point| point.slope.abs() <= -FLAT * first_slope;
    let mut calls = 1;
    let mut tried = 0;
    let mut previous = start.clone();
    let mut point = probe(guess)?;
    let bracket = loop {
        if tried >= tries {
            break (start, point);
        }
        if too_high(&point) || (tried > 1 && point.value >= previous.value) || !point.value.is_finite() {
            break (previous, point);
        }
        if flat(&point) {
            return Ok((point, calls));
        }
        if point.slope >= 0.0 {
            break (previous, point);
        }
        let bounds = (point.step + 0.01 * (point.step - previous.step), point.step * 10.0);
        let next = cubic_lowest(&previous, &point, bounds);
        previous = point;
        point = probe(next)?;
        calls += 1;
        tried += 1;
    };
    let (mut low, mut high) = if bracket.0.value <= bracket.1.value || !bracket.1.value.is_finite() {
        bracket
    } else {
        (bracket.1, bracket.0)
    };
    let mut stuck = false;
    while tried < tries && (high.step - low.step).abs() * reach >= tolerance {
        let (left, right) = (low.step.min(high.step), low.step.max(high.step));
        let mut step = cubic_lowest(&low, &high, (left, right));
        if !step.is_finite() {
            step = f64::midpoint(left, right);
        }
        let margin = 0.1 * (right - left);
        if (right - step).min(step - left) < margin {
            // Near an end: once is allowed, the second time the step is moved inwards.
            if stuck || step >= right || step <= left {
                step = if right - step < step - left { right - margin } else { left + margin };
                stuck = false;
            } else {
                stuck = true;
            }
        } else {
            stuck = false;
        }
        let point = probe(step)?;
        calls += 1;
        tried += 1;
        if too_high(&point) || point.value >= low.value || !point.value.is_finite() {
            high = point;
            if high.value < low.value {
                std::mem::swap(&mut low, &mut high);
            }
        } else {
            if flat(&point) {
                return Ok((point, calls));
            }
            if point.slope * (high.step - low.step) >= 0.0 {
                high = low;
            }
            low = point;
        }
    }
    Ok((low, calls))
}
