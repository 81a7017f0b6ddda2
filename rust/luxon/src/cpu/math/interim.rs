//! Interim bodies.
#![allow(missing_docs, unused)]
use super::Math;
unsafe extern "C" {
    fn erf(x: f64) -> f64;
    fn erfc(x: f64) -> f64;
    fn lgamma(x: f64) -> f64;
}
macro_rules! next_after {
    ($x:expr,$y:expr) => {{
        let (x, y) = ($x, $y);
        if x.is_nan() || y.is_nan() {
            x + y
        } else if x == y {
            y
        } else if y > x {
            x.next_up()
        } else {
            x.next_down()
        }
    }};
}
macro_rules! floor_div {
    ($t:ty,$x:expr,$y:expr) => {{
        let (x, y) = ($x, $y);
        let mut m = x % y;
        if y == 0.0 {
            (x / y, m)
        } else {
            let mut d = (x - m) / y;
            if m != 0.0 {
                if (y < 0.0) != (m < 0.0) {
                    m += y;
                    d -= 1.0;
                }
            } else {
                m = (0.0 as $t).copysign(y);
            }
            let q = if d != 0.0 {
                let f = d.floor();
                if d - f > 0.5 { f + 1.0 } else { f }
            } else {
                (0.0 as $t).copysign(x / y)
            };
            (q, m)
        }
    }};
}
fn newton_erfinv(x: f64) -> f64 {
    if !(x.abs() < 1.0) {
        return if x == 1.0 {
            f64::INFINITY
        } else if x == -1.0 {
            f64::NEG_INFINITY
        } else {
            f64::NAN
        };
    }
    let a = 0.147;
    let l = (1.0 - x * x).ln();
    let t = 2.0 / (std::f64::consts::PI * a) + 0.5 * l;
    let mut y = ((t * t - l / a).sqrt() - t).sqrt().copysign(x);
    for _ in 0..4 {
        let e = if x.abs() < 0.5 {
            (unsafe { erf(y) }) - x
        } else {
            let c = unsafe { erfc(y.abs()) };
            (1.0 - x.abs() - c).copysign(1.0) * 0.0
                + (if x > 0.0 {
                    (1.0 - x) - c
                } else {
                    c - (1.0 + x)
                })
        };
        let d = std::f64::consts::FRAC_2_SQRT_PI * (-y * y).exp();
        let s = e / d;
        y -= s / (1.0 + y * s);
    }
    y
}
fn digamma_h(mut x: f64) -> f64 {
    let mut r = 0.0;
    if x <= 0.0 {
        if x == x.floor() {
            return if x == 0.0 {
                f64::INFINITY.copysign(-x)
            } else {
                f64::NAN
            };
        }
        r = -std::f64::consts::PI / (std::f64::consts::PI * x).tan();
        x = 1.0 - x;
    }
    while x < 10.0 {
        r -= 1.0 / x;
        x += 1.0;
    }
    let i = 1.0 / (x * x);
    r + x.ln()
        - 0.5 / x
        - i * (1.0 / 12.0
            - i * (1.0 / 120.0 - i * (1.0 / 252.0 - i * (1.0 / 240.0 - i * (1.0 / 132.0)))))
}
fn i0e_h(x: f64) -> f64 {
    let x = x.abs();
    if x.is_nan() {
        return x;
    }
    if x > 700.0 {
        let i = 1.0 / (8.0 * x);
        return (1.0 + i * (1.0 + 4.5 * i * (1.0 + 25.0 / 3.0 * i)))
            / (2.0 * std::f64::consts::PI * x).sqrt();
    }
    let (mut s, mut t, mut k) = (0.0, (-x).exp(), 0.0);
    loop {
        s += t;
        k += 1.0;
        t *= x * x * 0.25 / (k * k);
        if t < s * 1e-17 {
            break s;
        }
    }
}

#[inline(always)]
pub(super) fn asin_f32(x: f32) -> f32 {
    x.asin()
}
#[inline(always)]
pub(super) fn acos_f32(x: f32) -> f32 {
    x.acos()
}
#[inline(always)]
pub(super) fn atan_f32(x: f32) -> f32 {
    x.atan()
}
#[inline(always)]
pub(super) fn asinh_f32(x: f32) -> f32 {
    x.asinh()
}
#[inline(always)]
pub(super) fn acosh_f32(x: f32) -> f32 {
    x.acosh()
}
#[inline(always)]
pub(super) fn atanh_f32(x: f32) -> f32 {
    x.atanh()
}
#[inline(always)]
pub(super) fn erfinv_f32(x: f32) -> f32 {
    newton_erfinv(x as f64) as f32
}
#[inline(always)]
pub(super) fn ndtri_f32(x: f32) -> f32 {
    (std::f64::consts::SQRT_2 * newton_erfinv(2.0 * (x as f64) - 1.0)) as f32
}
#[inline(always)]
pub(super) fn gammaln_f32(x: f32) -> f32 {
    (unsafe { lgamma(x as f64) }) as f32
}
#[inline(always)]
pub(super) fn digamma_f32(x: f32) -> f32 {
    digamma_h(x as f64) as f32
}
#[inline(always)]
pub(super) fn i0e_f32(x: f32) -> f32 {
    i0e_h(x as f64) as f32
}
#[inline(always)]
pub(super) fn entr_f32(x: f32) -> f32 {
    if x > 0.0 {
        -x * x.ln()
    } else if x == 0.0 {
        0.0
    } else if x < 0.0 {
        f32::NEG_INFINITY
    } else {
        x
    }
}
#[inline(always)]
pub(super) fn sqrt_f32(x: f32) -> f32 {
    x.sqrt()
}
#[inline(always)]
pub(super) fn rsqrt_f32(x: f32) -> f32 {
    1.0 / x.sqrt()
}
#[inline(always)]
pub(super) fn reciprocal_f32(x: f32) -> f32 {
    1.0 / x
}
#[inline(always)]
pub(super) fn square_f32(x: f32) -> f32 {
    x * x
}
#[inline(always)]
pub(super) fn floor_f32(x: f32) -> f32 {
    x.floor()
}
#[inline(always)]
pub(super) fn ceil_f32(x: f32) -> f32 {
    x.ceil()
}
#[inline(always)]
pub(super) fn trunc_f32(x: f32) -> f32 {
    x.trunc()
}
#[inline(always)]
pub(super) fn round_f32(x: f32) -> f32 {
    x.round_ties_even()
}
#[inline(always)]
pub(super) fn rint_f32(x: f32) -> f32 {
    x.round_ties_even()
}
#[inline(always)]
pub(super) fn abs_f32(x: f32) -> f32 {
    x.abs()
}
#[inline(always)]
pub(super) fn sign_f32(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}
#[inline(always)]
pub(super) fn pow_f32(x: f32, y: f32) -> f32 {
    x.powf(y)
}
#[inline(always)]
pub(super) fn atan2_f32(x: f32, y: f32) -> f32 {
    x.atan2(y)
}
#[inline(always)]
pub(super) fn hypot_f32(x: f32, y: f32) -> f32 {
    x.hypot(y)
}
#[inline(always)]
pub(super) fn logaddexp_f32(x: f32, y: f32) -> f32 {
    if x == y {
        x + std::f64::consts::LN_2 as f32
    } else {
        let m = if x > y || x.is_nan() { x } else { y };
        let d = -(x - y).abs();
        m + d.exp().ln_1p()
    }
}
#[inline(always)]
pub(super) fn xlogy_f32(x: f32, y: f32) -> f32 {
    if x == 0.0 && !y.is_nan() {
        0.0
    } else {
        x * y.ln()
    }
}
#[inline(always)]
pub(super) fn xlog1py_f32(x: f32, y: f32) -> f32 {
    if x == 0.0 && !y.is_nan() {
        0.0
    } else {
        x * y.ln_1p()
    }
}
#[inline(always)]
pub(super) fn copysign_f32(x: f32, y: f32) -> f32 {
    x.copysign(y)
}
#[inline(always)]
pub(super) fn nextafter_f32(x: f32, y: f32) -> f32 {
    next_after!(x, y)
}
#[inline(always)]
pub(super) fn fmod_f32(x: f32, y: f32) -> f32 {
    x % y
}
#[inline(always)]
pub(super) fn floor_divide_f32(x: f32, y: f32) -> f32 {
    floor_div!(f32, x, y).0
}
#[inline(always)]
pub(super) fn remainder_f32(x: f32, y: f32) -> f32 {
    floor_div!(f32, x, y).1
}
#[inline(always)]
pub(super) fn minimum_f32(x: f32, y: f32) -> f32 {
    if x < y || x.is_nan() { x } else { y }
}
#[inline(always)]
pub(super) fn maximum_f32(x: f32, y: f32) -> f32 {
    if x > y || x.is_nan() { x } else { y }
}
#[inline(always)]
pub(super) fn asin_f64(x: f64) -> f64 {
    x.asin()
}
#[inline(always)]
pub(super) fn acos_f64(x: f64) -> f64 {
    x.acos()
}
#[inline(always)]
pub(super) fn atan_f64(x: f64) -> f64 {
    x.atan()
}
#[inline(always)]
pub(super) fn asinh_f64(x: f64) -> f64 {
    x.asinh()
}
#[inline(always)]
pub(super) fn acosh_f64(x: f64) -> f64 {
    x.acosh()
}
#[inline(always)]
pub(super) fn atanh_f64(x: f64) -> f64 {
    x.atanh()
}
#[inline(always)]
pub(super) fn erfinv_f64(x: f64) -> f64 {
    newton_erfinv(x as f64) as f64
}
#[inline(always)]
pub(super) fn ndtri_f64(x: f64) -> f64 {
    (std::f64::consts::SQRT_2 * newton_erfinv(2.0 * (x as f64) - 1.0)) as f64
}
#[inline(always)]
pub(super) fn gammaln_f64(x: f64) -> f64 {
    (unsafe { lgamma(x as f64) }) as f64
}
#[inline(always)]
pub(super) fn digamma_f64(x: f64) -> f64 {
    digamma_h(x as f64) as f64
}
#[inline(always)]
pub(super) fn i0e_f64(x: f64) -> f64 {
    i0e_h(x as f64) as f64
}
#[inline(always)]
pub(super) fn entr_f64(x: f64) -> f64 {
    if x > 0.0 {
        -x * x.ln()
    } else if x == 0.0 {
        0.0
    } else if x < 0.0 {
        f64::NEG_INFINITY
    } else {
        x
    }
}
#[inline(always)]
pub(super) fn sqrt_f64(x: f64) -> f64 {
    x.sqrt()
}
#[inline(always)]
pub(super) fn rsqrt_f64(x: f64) -> f64 {
    1.0 / x.sqrt()
}
#[inline(always)]
pub(super) fn reciprocal_f64(x: f64) -> f64 {
    1.0 / x
}
#[inline(always)]
pub(super) fn square_f64(x: f64) -> f64 {
    x * x
}
#[inline(always)]
pub(super) fn floor_f64(x: f64) -> f64 {
    x.floor()
}
#[inline(always)]
pub(super) fn ceil_f64(x: f64) -> f64 {
    x.ceil()
}
#[inline(always)]
pub(super) fn trunc_f64(x: f64) -> f64 {
    x.trunc()
}
#[inline(always)]
pub(super) fn round_f64(x: f64) -> f64 {
    x.round_ties_even()
}
#[inline(always)]
pub(super) fn rint_f64(x: f64) -> f64 {
    x.round_ties_even()
}
#[inline(always)]
pub(super) fn abs_f64(x: f64) -> f64 {
    x.abs()
}
#[inline(always)]
pub(super) fn sign_f64(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}
#[inline(always)]
pub(super) fn pow_f64(x: f64, y: f64) -> f64 {
    x.powf(y)
}
#[inline(always)]
pub(super) fn atan2_f64(x: f64, y: f64) -> f64 {
    x.atan2(y)
}
#[inline(always)]
pub(super) fn hypot_f64(x: f64, y: f64) -> f64 {
    x.hypot(y)
}
#[inline(always)]
pub(super) fn logaddexp_f64(x: f64, y: f64) -> f64 {
    if x == y {
        x + std::f64::consts::LN_2 as f64
    } else {
        let m = if x > y || x.is_nan() { x } else { y };
        let d = -(x - y).abs();
        m + d.exp().ln_1p()
    }
}
#[inline(always)]
pub(super) fn xlogy_f64(x: f64, y: f64) -> f64 {
    if x == 0.0 && !y.is_nan() {
        0.0
    } else {
        x * y.ln()
    }
}
#[inline(always)]
pub(super) fn xlog1py_f64(x: f64, y: f64) -> f64 {
    if x == 0.0 && !y.is_nan() {
        0.0
    } else {
        x * y.ln_1p()
    }
}
#[inline(always)]
pub(super) fn copysign_f64(x: f64, y: f64) -> f64 {
    x.copysign(y)
}
#[inline(always)]
pub(super) fn nextafter_f64(x: f64, y: f64) -> f64 {
    next_after!(x, y)
}
#[inline(always)]
pub(super) fn fmod_f64(x: f64, y: f64) -> f64 {
    x % y
}
#[inline(always)]
pub(super) fn floor_divide_f64(x: f64, y: f64) -> f64 {
    floor_div!(f64, x, y).0
}
#[inline(always)]
pub(super) fn remainder_f64(x: f64, y: f64) -> f64 {
    floor_div!(f64, x, y).1
}
#[inline(always)]
pub(super) fn minimum_f64(x: f64, y: f64) -> f64 {
    if x < y || x.is_nan() { x } else { y }
}
#[inline(always)]
pub(super) fn maximum_f64(x: f64, y: f64) -> f64 {
    if x > y || x.is_nan() { x } else { y }
}
