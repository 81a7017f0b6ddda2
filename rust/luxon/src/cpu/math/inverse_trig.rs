//! `asin`, `acos`, `atan`, `atan2`.
//!
//! `atan` and `atan2` divide the smaller magnitude by the larger, evaluate an odd minimax polynomial on [0, 1] and
//! reflect: by `pi / 2` where numerator and denominator changed places, by `pi` in the left half plane. `pi` and
//! `pi / 2` are subtracted in two parts. A longer polynomial on [0, 1] costs no more than a second reduction to
//! `tan(pi / 8)` with its selected operands, and rounds less. `asin` is an odd polynomial up to 1/2; beyond it
//! `asin(x) = pi / 2 - 2 asin(sqrt((1 - x) / 2))`, where the rounding error of the square root is put back (Cody
//! and Waite).

const PI_F32: (f32, f32) = (std::f32::consts::PI, -8.742_278e-8);
const PI_F64: (f64, f64) = (std::f64::consts::PI, 1.224_646_799_147_353_2e-16);

/// `(atan(t) - t) / t^3` for `s = t^2`, `|t| <= 1`.
#[inline(always)]
fn atan_series_f32(s: f32) -> f32 {
    polynomial!(
        s,
        -1.7824953e-3,
        1.0867654e-2,
        -3.1095725e-2,
        5.7880647e-2,
        -8.3992854e-2,
        1.0950878e-1,
        -1.4264016e-1,
        1.999853e-1,
        -3.33333e-1
    )
}

#[inline(always)]
fn atan_series_f64(s: f64) -> f64 {
    polynomial!(
        s,
        -8.500106399478136e-6,
        0.00010258393685644944,
        -0.0005883162207511879,
        0.002143253352833593,
        -0.005607025933973494,
        0.011328722898648317,
        -0.018650396593688567,
        0.02620605450132547,
        -0.0328397561288599,
        0.038249481218478314,
        -0.042885392793745494,
        0.0474581695230675,
        -0.05259715128316514,
        0.05881783313910281,
        -0.06666595649588963,
        0.07692301247664064,
        -0.0909090868524541,
        0.1111111109460579,
        -0.14285714285325918,
        0.19999999999995668,
        -0.3333333333333332
    )
}

// Both 0 or both infinite: the quotient is taken as 0 and as 1. A zero or infinite argument is otherwise what the
// division makes of it.

macro_rules! arc_tangent {
    ($t:ident, $atan:ident, $atan_series:ident, $pi:ident, $atan2:ident) => {
        #[inline(always)]
        pub(super) fn $atan(x: $t) -> $t {
            let y = x.abs();
            let inverted = y > 1.0;
            let t = if inverted { 1.0 / y } else { y };
            let s = t * t;
            let tail = t * s * $atan_series(s);
            let value = if inverted { 0.5 * $pi.0 - (t + (tail - 0.5 * $pi.1)) } else { t + tail };
            value.copysign(x)
        }

        #[inline(always)]
        pub(super) fn $atan2(y: $t, x: $t) -> $t {
            let (a, b) = (y.abs(), x.abs());
            let inverted = a > b;
            let (n, d) = if inverted { (b, a) } else { (a, b) };
            let t = if n == d { if n == 0.0 { 0.0 } else { 1.0 } } else { n / d };
            let s = t * t;
            let tail = t * s * $atan_series(s);
            // The angle is `turn -+ (t + tail)`.
            let left = x.is_sign_negative();
            let turns = if inverted {
                0.5
            } else if left {
                1.0
            } else {
                0.0
            };
            let sign = if inverted != left { -1.0 } else { 1.0 };
            let value = turns * $pi.0 + (sign * t + (sign * tail + turns * $pi.1));
            (if x.is_nan() || y.is_nan() { x + y } else { value }).copysign(y)
        }
    };
}
arc_tangent!(f32, atan_f32, atan_series_f32, PI_F32, atan2_f32);
arc_tangent!(f64, atan_f64, atan_series_f64, PI_F64, atan2_f64);

/// `(asin(t) - t) / t^3` for `s = t^2`, `|t| <= 1/2`.
#[inline(always)]
fn asin_series_f32(s: f32) -> f32 {
    polynomial!(s, 4.2230695e-2, 2.414388e-2, 4.54771e-2, 7.495248e-2, 1.6666754e-1)
}

#[inline(always)]
fn asin_series_f64(s: f64) -> f64 {
    polynomial!(
        s,
        0.0327573655457908,
        -0.021199836923723247,
        0.021845601857701426,
        0.003651215862332002,
        0.010794424823453492,
        0.011396466531543328,
        0.013981108664312144,
        0.017351588953528556,
        0.02237221621173791,
        0.030381942666719088,
        0.04464285717541026,
        0.07499999999970036,
        0.16666666666666763
    )
}

macro_rules! arc_sine {
    ($t:ident, $asin_parts:ident, $asin_series:ident, $asin:ident, $pi:ident, $acos:ident) => {
        /// `(large, t, tail)`: `asin(|x|)` is `t + tail` if not large, else `pi / 2 - 2 (t + tail)`; NaN above 1.
        #[inline(always)]
        fn $asin_parts(x: $t) -> (bool, $t, $t) {
            let y = x.abs();
            let large = y > 0.5;
            let z = 0.5 - 0.5 * y;
            let root = z.sqrt();
            let lost = if root > 0.0 { root.mul_add(-root, z) / (root + root) } else { 0.0 };
            let (t, s, lost) = if large { (root, z, lost) } else { (y, x * x, 0.0) };
            (large, t, (t * s).mul_add($asin_series(s), lost))
        }

        #[inline(always)]
        pub(super) fn $asin(x: $t) -> $t {
            let (large, t, tail) = $asin_parts(x);
            let reflected = 0.5 * $pi.0 - (2.0 * t + (2.0 * tail - 0.5 * $pi.1));
            (if large { reflected } else { t + tail }).copysign(x)
        }

        #[inline(always)]
        pub(super) fn $acos(x: $t) -> $t {
            let (large, t, tail) = $asin_parts(x);
            let right = 2.0 * t + 2.0 * tail;
            let left = $pi.0 - (2.0 * t + (2.0 * tail - $pi.1));
            let middle = 0.5 * $pi.0 - (t.copysign(x) + (tail.copysign(x) - 0.5 * $pi.1));
            let outer = if x < 0.0 { left } else { right };
            if large { outer } else { middle }
        }
    };
}
arc_sine!(f32, asin_parts_f32, asin_series_f32, asin_f32, PI_F32, acos_f32);
arc_sine!(f64, asin_parts_f64, asin_series_f64, asin_f64, PI_F64, acos_f64);

#[cfg(test)]
mod tests {
    use super::super::Math;
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("inverse_trig", unary: asin 1.3 1.2, acos 0.9 0.8, atan 1.3 1.1);
    measure!("inverse_trig", binary: atan2 1.6 1.3);

    #[test]
    fn exceptional_values() {
        exact!(asin: 0.0 => 0.0, -0.0 => -0.0, 1.5 => NAN, -INF => NAN, NAN => NAN);
        exact!(acos: 1.0 => 0.0, 1.5 => NAN, -INF => NAN, NAN => NAN);
        exact!(atan: 0.0 => 0.0, -0.0 => -0.0, NAN => NAN);
        exact!(atan2: (0.0, 1.0) => 0.0, (-0.0, 1.0) => -0.0, (0.0, 0.0) => 0.0, (-0.0, 0.0) => -0.0);
        exact!(atan2: (1.0, INF) => 0.0, (-1.0, INF) => -0.0, (NAN, 1.0) => NAN, (1.0, NAN) => NAN);
        for (y, x) in [(0.0, -0.0), (-0.0, -1.0), (1.0, 0.0), (INF, INF), (-INF, INF), (INF, -INF), (3.0, -INF)] {
            assert!((Math::atan2(y, x) - f64::atan2(y, x)).abs() < 1e-15);
            assert!((Math::atan2(y as f32, x as f32) - f32::atan2(y as f32, x as f32)).abs() < 3e-7);
        }
    }
}
