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
            (1.0 - x.abs() - c).copysign(1.0) * 0.0 + (if x > 0.0 { (1.0 - x) - c } else { c - (1.0 + x) })
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
            return if x == 0.0 { f64::INFINITY.copysign(-x) } else { f64::NAN };
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
        - i * (1.0 / 12.0 - i * (1.0 / 120.0 - i * (1.0 / 252.0 - i * (1.0 / 240.0 - i * (1.0 / 132.0)))))
}
fn i0e_h(x: f64) -> f64 {
    let x = x.abs();
    if x.is_nan() {
        return x;
    }
    if x > 700.0 {
        let i = 1.0 / (8.0 * x);
        return (1.0 + i * (1.0 + 4.5 * i * (1.0 + 25.0 / 3.0 * i))) / (2.0 * std::f64::consts::PI * x).sqrt();
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
pub(super) fn rint_f32(x: f32) -> f32 {
    x.round_ties_even()
}
#[inline(always)]
pub(super) fn rint_f64(x: f64) -> f64 {
    x.round_ties_even()
}
