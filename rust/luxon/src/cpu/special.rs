//! Rarely used special functions that appear as derivatives of others: trigamma and i1e.
//!
//! Both are computed in f64 by formulas that converge everywhere, and are not on any hot path.

use crate::cpu::real::Real;

/// Special functions beyond [`Real`].
pub(crate) trait Special: Real {
    /// The derivative of digamma. Recurrence up to 8, then the asymptotic series (DLMF 5.15.8);
    /// reflection below 1/2. Relative error below 1e-13 in f64.
    fn trigamma(self) -> Self;
    /// exp(-|x|) I1(x). The integral of DLMF 10.32.3 by the trapezoidal rule, which converges
    /// geometrically for a periodic integrand, and Hankel's series (10.40.1) from 30 on. Relative error below 1e-13.
    fn i1e(self) -> Self;
}

fn trigamma(x: f64) -> f64 {
    if x < 0.5 {
        let sine = (std::f64::consts::PI * x).sin();
        return (std::f64::consts::PI / sine).powi(2) - trigamma(1.0 - x);
    }
    let (mut x, mut sum) = (x, 0.0);
    while x < 8.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    // Bernoulli numbers B2, B4, ... of the asymptotic series.
    const BERNOULLI: [f64; 8] =
        [1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 5.0 / 66.0, -691.0 / 2730.0, 7.0 / 6.0, -3617.0 / 510.0];
    let inverse = 1.0 / (x * x);
    let series = BERNOULLI.iter().rev().fold(0.0, |tail, b| (tail + b) * inverse);
    sum + 1.0 / x + 0.5 * inverse + series / x
}

fn i1e(x: f64) -> f64 {
    let size = x.abs();
    if x.is_nan() {
        return x;
    }
    let value = if size < 30.0 {
        const POINTS: usize = 64;
        let sum: f64 = (1..POINTS)
            .map(|point| (std::f64::consts::PI * point as f64 / POINTS as f64).cos())
            .map(|cosine| cosine * (size * (cosine - 1.0)).exp())
            .sum();
        (sum + 0.5 * (1.0 - (-2.0 * size).exp())) / POINTS as f64
    } else {
        let (mut term, mut sum) = (1.0, 1.0);
        for order in 1..20 {
            let odd = f64::from(2 * order - 1);
            term *= -(4.0 - odd * odd) / (f64::from(order) * 8.0 * size);
            sum += term;
        }
        sum / (2.0 * std::f64::consts::PI * size).sqrt()
    };
    value.copysign(x)
}

impl Special for f32 {
    fn trigamma(self) -> f32 {
        trigamma(f64::from(self)) as f32
    }
    fn i1e(self) -> f32 {
        i1e(f64::from(self)) as f32
    }
}

impl Special for f64 {
    fn trigamma(self) -> f64 {
        trigamma(self)
    }
    fn i1e(self) -> f64 {
        i1e(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let pi2 = std::f64::consts::PI.powi(2);
        for (x, expected) in [(1.0, pi2 / 6.0), (0.5, pi2 / 2.0), (2.0, pi2 / 6.0 - 1.0), (-0.5, pi2 / 2.0 + 4.0)] {
            assert!((trigamma(x) / expected - 1.0).abs() < 1e-13, "{x}");
        }
        // From Abramowitz and Stegun, table 9.8.
        for (x, expected) in [(1.0, 0.207_910_415_349_708_45), (10.0, 0.121_262_681_384_455_55), (50.0, 0.055_993_126_739_374_16)] {
            assert!((i1e(x) / expected - 1.0).abs() < 1e-12, "{x}: {}", i1e(x));
        }
        assert_eq!(i1e(0.0), 0.0);
        assert!((i1e(29.999_999) / i1e(30.000_001) - 1.0).abs() < 1e-7);
    }
}
