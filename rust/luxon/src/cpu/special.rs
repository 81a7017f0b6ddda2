//! Rarely used special functions that appear as derivatives of others: polygamma, i1e, the normal ratio.
//!
//! All are computed in f64 by formulas that converge everywhere, and are not on any hot path.

use crate::cpu::real::Real;

/// Special functions beyond [`Real`].
pub(crate) trait Special: Real {
    /// The derivative of digamma of a whole `order` >= 1: recurrence upwards, then the series of Euler
    /// and Maclaurin for the Hurwitz zeta (DLMF 25.11.5). Relative error below 1e-12 in f64 for x > 0.
    fn polygamma(self, order: Self) -> Self;
    /// exp(-|x|) I1(x). The integral of DLMF 10.32.3 by the trapezoidal rule, which converges
    /// geometrically for a periodic integrand, and Hankel's series (10.40.1) from 30 on. Relative error below 1e-13.
    fn i1e(self) -> Self;
    /// The normal distribution's density over its cumulative function, accurate in both tails: a quotient, and
    /// Laplace's continued fraction (DLMF 7.9.2) below -5. Relative error below 1e-13.
    fn normal_ratio(self) -> Self;
}

fn normal_ratio(x: f64) -> f64 {
    if x > -5.0 {
        return 0.398_942_280_401_432_7 * (-0.5 * x * x).exp() / crate::cpu::math::Math::ndtr(x);
    }
    // 1 / R(y) = y + 1/(y + 2/(y + 3/(y + ...))) with y = -x; also NaN takes this way.
    (1..=60).rev().fold(-x, |below, step| f64::from(step) / below - x)
}

fn polygamma(order: f64, x: f64) -> f64 {
    let n = order;
    if !(n >= 1.0) || n.fract() != 0.0 || x.is_nan() {
        return f64::NAN;
    }
    if n == 1.0 && x < 0.5 {
        let sine = (std::f64::consts::PI * x).sin();
        return (std::f64::consts::PI / sine).powi(2) - polygamma(1.0, 1.0 - x);
    }
    // psi_n(x) = (-1)^(n+1) n! zeta(n+1, x), with the Hurwitz zeta by Euler and Maclaurin.
    let power = n + 1.0;
    let (mut from, mut zeta) = (x, 0.0);
    let floor = 8.0 + n;
    if x < -LONGEST_RECURRENCE {
        return f64::NAN;
    }
    while from < floor {
        zeta += from.powf(-power);
        from += 1.0;
    }
    zeta += from.powf(1.0 - power) / n + 0.5 * from.powf(-power);
    let mut factor = power * from.powf(-power - 1.0);
    for (index, bernoulli) in BERNOULLI.iter().enumerate() {
        let k = 2.0 * index as f64;
        // B_2j / (2j)! times the rising factorial of the power.
        let factorial: f64 = (1..=2 * (index + 1)).map(|i| i as f64).product();
        zeta += bernoulli / factorial * factor;
        factor *= (power + k + 1.0) * (power + k + 2.0) / (from * from);
    }
    let factorial: f64 = (1..=n as u64).map(|i| i as f64).product();
    if n % 2.0 == 0.0 { -factorial * zeta } else { factorial * zeta }
}

/// Steps of the recurrence beyond which a negative argument is given up.
const LONGEST_RECURRENCE: f64 = 1e5;
/// B2, B4, ... of the asymptotic series.
const BERNOULLI: [f64; 8] =
    [1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 5.0 / 66.0, -691.0 / 2730.0, 7.0 / 6.0, -3617.0 / 510.0];

fn i1e(x: f64) -> f64 {
    let size = x.abs();
    if x.is_nan() || x == 0.0 {
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
    fn polygamma(self, order: f32) -> f32 {
        polygamma(f64::from(order), f64::from(self)) as f32
    }
    fn i1e(self) -> f32 {
        i1e(f64::from(self)) as f32
    }
    fn normal_ratio(self) -> f32 {
        normal_ratio(f64::from(self)) as f32
    }
}

impl Special for f64 {
    fn polygamma(self, order: f64) -> f64 {
        polygamma(order, self)
    }
    fn i1e(self) -> f64 {
        i1e(self)
    }
    fn normal_ratio(self) -> f64 {
        normal_ratio(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let pi2 = std::f64::consts::PI.powi(2);
        for (x, expected) in [(1.0, pi2 / 6.0), (0.5, pi2 / 2.0), (2.0, pi2 / 6.0 - 1.0), (-0.5, pi2 / 2.0 + 4.0)] {
            assert!((polygamma(1.0, x) / expected - 1.0).abs() < 1e-13, "{x}");
        }
        // psi_2(1) = -2 zeta(3), and the recurrence across 0.
        assert!((polygamma(2.0, 1.0) + 2.404_113_806_319_188_6).abs() < 1e-12);
        assert!((polygamma(2.0, -0.5) - polygamma(2.0, 0.5) - 16.0).abs() < 1e-10);
        // Values of SciPy 1.17.
        for (x, expected) in
            [(1.0, 0.207_910_415_349_708_45), (10.0, 0.121_262_681_384_455_55), (50.0, 0.055_993_123_892_895_395)]
        {
            assert!((i1e(x) / expected - 1.0).abs() < 1e-12, "{x}: {}", i1e(x));
        }
        assert_eq!(i1e(0.0), 0.0);
        // sqrt(2 / pi) / erfcx(-x / sqrt(2)) by SciPy 1.17.
        for (x, expected) in [
            (0.0, 0.797_884_560_802_865_4),
            (-1.0, 1.525_135_276_160_981_3),
            (3.0, 0.004_437_839_042_125_667),
            (-4.99, 5.176_831_473_609_47),
            (-5.01, 5.196_177_543_221_178),
            (-20.0, 20.049_753_068_527_853),
            (-13437.7, 13_437.700_074_417_498),
        ] {
            assert!((normal_ratio(x) / expected - 1.0).abs() < 2e-14, "{x}: {}", normal_ratio(x));
        }
        assert_eq!((normal_ratio(f64::INFINITY), normal_ratio(f64::NEG_INFINITY)), (0.0, f64::INFINITY));
        assert!(normal_ratio(f64::NAN).is_nan());
        assert!((i1e(29.999_999) / i1e(30.000_001) - 1.0).abs() < 1e-7);
    }
}
