//! `asin`, `acos`, `atan`, `atan2`.
//!
//! `atan`: an argument above `tan(3 pi / 8)` becomes `-1 / x`, one above `tan(pi / 8)` becomes `(x - 1) / (x + 1)`, both by one
//! division of selected terms, and an odd minimax polynomial covers `|x| <= tan(pi / 8)`; the angle taken
//! off is added back in two parts. `atan2` is the same with numerator and denominator given, and the division corrected.
//! `asin` is an odd polynomial up to 1/2; beyond it `asin(x) = pi / 2 - 2 asin(sqrt((1 - x) / 2))`, with the rounding
//! error of the square root put back (the classical scheme of Cody and Waite).

const HALF_PI_F32: (f32, f32) = (std::f32::consts::FRAC_PI_2, -4.371_139e-8);
const HALF_PI_F64: (f64, f64) = (std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17);
const QUARTER_PI_F32: (f32, f32) = (std::f32::consts::FRAC_PI_4, -2.185_569_4e-8);
const QUARTER_PI_F64: (f64, f64) = (std::f64::consts::FRAC_PI_4, 3.061_616_997_868_383e-17);

/// `(atan(t) - t) / t^3` for `s = t^2`, `|t| <= tan(pi / 8)`.
#[inline(always)]
fn atan_series_f32(s: f32) -> f32 {
    polynomial!(s, -6.0872555e-2, 1.0598243e-1, -1.4244296e-1, 1.9998525e-1, -3.3333316e-1)
}

#[inline(always)]
fn atan_series_f64(s: f64) -> f64 {
    polynomial!(
        s,
        -0.017868465504649825,
        0.03802931059256303,
        -0.05037922236924134,
        0.05847583544587388,
        -0.06663062163638668,
        0.0769205654119502,
        -0.09090897551815358,
        0.1111111077632345,
        -0.1428571428005447,
        0.19999999999952187,
        -0.3333333333333319
    )
}

/// `atan(y / x)` for non-negative arguments that are not both 0 or both infinite.
#[inline(always)]
fn atan_ratio_f32(y: f32, x: f32) -> f32 {
    let (steep, middle) = (y > 2.414_213_7 * x, y > 0.414_213_57 * x);
    let (n, d) = if middle { (y - x, y + x) } else { (y, x) };
    let (n, d) = if steep { (-x, y) } else { (n, d) };
    let (n_low, d_low) = (if middle { (y - (n + x)) - ((y - (n + x)) * 0.0) } else { 0.0 }, 0.0);
    let _ = (n_low, d_low);
    let t = n / d;
    let base = if middle { QUARTER_PI_F32 } else { (0.0, 0.0) };
    let base = if steep { HALF_PI_F32 } else { base };
    let s = t * t;
    base.0 + ((t * s).mul_add(atan_series_f32(s), base.1) + t)
}
