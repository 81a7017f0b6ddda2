//! `gammaln`, `digamma` and the scaled Bessel function `i0e`: rarely used, with branches, accurate.
//!
//! `gammaln` around its zeros 1 and 2 is the distance to the zero times a rational function or polynomial; up to 8
//! the recurrence leads back there, beyond 8 it is Stirling's series; negative arguments are reflected. `digamma`
//! likewise, with one rational function around its zero 1.4616 and another from 2 to 3. `i0e` is a polynomial in
//! `x^2` times `exp(-x)` up to 7.75 and a polynomial in `1 / x` over `sqrt(x)` beyond. (The split is that of Cody
//! and Hillstrom 1967, the fits are our own.) Next to the zeros on the negative axis the error is bounded
//! absolutely, not relatively. f32 rounds the f64 result.

use super::exp::exp_f64;
use super::log::ln_f64;
use std::f64::consts::PI;

/// `gammaln(1 + z)` for `z` between -1/4 and 1/2.
#[inline(always)]
fn near_one(z: f64) -> f64 {
    let n = polynomial!(
        z,
        0.0004970126574062616,
        0.018532583076263247,
        0.18757068590168283,
        0.7799084714238458,
        1.434436032375285,
        0.767449661024608,
        -1.0453985343601662,
        -1.5657802472175346,
        -0.5772156649015329
    );
    let d = polynomial!(
        z,
        0.00011378190804715137,
        0.007678897379018564,
        0.1266962141216191,
        0.8807100578388226,
        3.1456948491182435,
        6.258994977393921,
        7.012448527561452,
        4.137530260979765,
        1.0
    );
    // Plus 0, so that the zero itself is positive.
    z * n / d + 0.0
}

/// `gammaln(2 + z)` for `|z| <= 1/2`.
#[inline(always)]
fn near_two(z: f64) -> f64 {
    z * polynomial!(
        z,
        -1.4330240387830112e-07,
        2.784921470218873e-07,
        -4.2003337071883073e-07,
        9.203173762020188e-07,
        -2.0497595961479913e-06,
        4.384588452971163e-06,
        -9.437235198868041e-06,
        2.0505617726210486e-05,
        -4.492653138780288e-05,
        9.945766998395724e-05,
        -0.00022315473514060303,
        0.0005096695156804082,
        -0.0011927539127597373,
        0.0028905103310235313,
        -0.007385551028649674,
        0.020580808427780574,
        -0.06735230105319831,
        0.32246703342411326,
        0.42278433509846713
    )
}

/// `sin(pi x)` and `cos(pi x)` up to one common sign, `x` reduced exactly.
#[inline(always)]
fn sin_cos_pi(x: f64) -> (f64, f64) {
    let r = PI * (x - x.round_ties_even());
    (super::trig::sin_f64(r), super::trig::cos_f64(r))
}

#[inline(always)]
fn gammaln_positive(x: f64) -> f64 {
    if x < 0.5 {
        near_one(x) - ln_f64(x)
    } else if x < 0.75 {
        near_two(x - 1.0) - ln_f64(x)
    } else if x < 1.5 {
        near_one(x - 1.0)
    } else if x < 2.5 {
        near_two(x - 2.0)
    } else if x < 8.0 {
        let mut y = x;
        let mut product = 1.0;
        while y >= 2.5 {
            y -= 1.0;
            product *= y;
        }
        near_two(y - 2.0) + ln_f64(product)
    } else if x < 1.0e17 {
        let z = 1.0 / (x * x);
        let series = polynomial!(
            z,
            -0.029_550_653_594_771_24,
            6.410_256_410_256_41e-3,
            -1.917_526_917_526_917_5e-3,
            8.417_508_417_508_417e-4,
            -5.952_380_952_380_953e-4,
            7.936_507_936_507_937e-4,
            -2.777_777_777_777_778e-3,
            0.083_333_333_333_333_33
        );
        // (x - 1/2) ln x - x + ln(2 pi) / 2 + series / x.
        (x - 0.5) * (ln_f64(x) - 1.0) + (0.418_938_533_204_672_74 + series / x)
    } else {
        x * (ln_f64(x) - 1.0)
    }
}

#[inline(always)]
pub(super) fn gammaln_f64(x: f64) -> f64 {
    if x.is_nan() {
        x
    } else if x.is_infinite() || x == 0.0 {
        f64::INFINITY
    } else if x > 0.0 {
        gammaln_positive(x)
    } else if x == x.floor() {
        f64::INFINITY
    } else if x > -0.25 {
        near_one(x) - ln_f64(-x)
    } else if x > -0.5 {
        near_two(x) - ln_f64(-x * (1.0 + x))
    } else {
        let (sine, _) = sin_cos_pi(x);
        ln_f64(PI / (x * sine).abs()) - gammaln_positive(-x)
    }
}

#[inline(always)]
pub(super) fn gammaln_f32(x: f32) -> f32 {
    gammaln_f64(f64::from(x)) as f32
}

#[inline(always)]
fn digamma_positive(x: f64) -> f64 {
    /// The zero, in two parts.
    const ZERO: (f64, f64) = (1.461_632_144_968_362_3, 9.549_995_429_965_697e-17);
    // The recurrence leads between 1 and 3, unless x is large enough for the asymptotic series.
    let (mut y, mut sum) = (x, 0.0);
    if y < 1.0 {
        sum = -1.0 / y;
        y += 1.0;
    }
    while y > 3.0 && x < 10.0 {
        y -= 1.0;
        sum += 1.0 / y;
    }
    let value = if y <= 2.0 {
        let t = y - 1.5;
        let n = polynomial!(
            t,
            -2.2098492947976666e-7,
            1.9644036098574925e-5,
            0.00358029608319985,
            0.06598752098340745,
            0.4202599671565596,
            1.0802588948399654,
            0.9510558760318328
        );
        let d = polynomial!(
            t,
            0.0008695240065540526,
            0.024201526797639955,
            0.22339326896658565,
            0.8933138169391331,
            1.5812807154887807,
            1.0
        );
        ((y - ZERO.0) - ZERO.1) * n / d
    } else if y <= 3.0 {
        let t = y - 2.0;
        let n = polynomial!(
            t,
            -3.08491240396543e-9,
            4.531522590110569e-7,
            0.00015415467654377019,
            0.0050972179705987275,
            0.06150713008236778,
            0.3365191908054774,
            0.8446256726766335,
            0.7853075386041053
        );
        let d = polynomial!(
            t,
            3.329141614796785e-5,
            0.0015799842563239187,
            0.02591278437075852,
            0.1974123135902955,
            0.7570588855927097,
            1.4075563687118493,
            1.0
        );
        ((y - ZERO.0) - ZERO.1) * n / d
    } else {
        let z = 1.0 / (y * y);
        let series = polynomial!(
            z,
            -0.443_259_803_921_568_6,
            0.083_333_333_333_333_33,
            -0.021_092_796_092_796_094,
            7.575_757_575_757_576e-3,
            -4.166_666_666_666_667e-3,
            3.968_253_968_253_968e-3,
            -8.333_333_333_333_333e-3,
            0.083_333_333_333_333_33
        );
        ln_f64(y) - (0.5 / y + z * series)
    };
    value + sum
}

#[inline(always)]
pub(super) fn digamma_f64(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        x
    } else if x == 0.0 {
        f64::INFINITY.copysign(-x)
    } else if x > 0.0 {
        digamma_positive(x)
    } else if x == x.floor() {
        f64::NAN
    } else {
        let (sine, cosine) = sin_cos_pi(x);
        digamma_positive(1.0 - x) - PI * cosine / sine
    }
}

#[inline(always)]
pub(super) fn digamma_f32(x: f32) -> f32 {
    digamma_f64(f64::from(x)) as f32
}

#[inline(always)]
pub(super) fn i0e_f64(x: f64) -> f64 {
    let y = x.abs();
    if y < 7.75 {
        let s = y * y;
        exp_f64(-y)
            * polynomial!(
                s,
                4.214601972775736e-49,
                -1.1264372915631022e-47,
                4.9456790988710104e-43,
                4.098728316826953e-40,
                5.447467999917691e-37,
                5.42178183363442e-34,
                4.905200492245354e-31,
                3.8425112333757644e-28,
                2.597836361888789e-25,
                1.496332176276964e-22,
                7.242259607279928e-20,
                2.896903348604338e-17,
                9.385967002868702e-15,
                2.4028075492600867e-12,
                4.709502797107372e-10,
                6.781684027773783e-08,
                6.781684027778035e-06,
                0.00043402777777777683,
                0.015625000000000003,
                0.25,
                1.0
            )
    } else {
        let t = 1.0 / y;
        polynomial!(
            t,
            -2.2947558561984906e+18,
            3.323546952987138e+18,
            -2.220111506205757e+18,
            9.053138516405883e+17,
            -2.5122938242406125e+17,
            5.0011478393454104e+16,
            -7316296432048641.0,
            787929921155099.5,
            -60602605358282.3,
            2945577366871.1553,
            -32643934190.20316,
            -8588932262.048371,
            896233619.3974535,
            -52441090.34416958,
            2142514.71696428,
            -64486.726555512905,
            1452.3315143618802,
            -23.537656772408628,
            0.5241674134754823,
            0.0880411986086384,
            0.04475726751341147,
            0.029219349190559723,
            0.02805062921027144,
            0.049867785050057005,
            0.3989422804014327
        ) / y.sqrt()
    }
}

#[inline(always)]
pub(super) fn i0e_f32(x: f32) -> f32 {
    i0e_f64(f64::from(x)) as f32
}

#[cfg(test)]
mod tests {
    use super::super::Math;
    use super::super::reference::{exact, measure};
    use super::PI;

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("gamma", unary: gammaln 0.6 3.0, digamma 0.6 3.8, i0e 0.6 3.2);

    #[test]
    fn exceptional_values() {
        exact!(gammaln: 1.0 => 0.0, 2.0 => 0.0, 0.0 => INF, -3.0 => INF, INF => INF, -INF => INF, NAN => NAN);
        exact!(digamma: 0.0 => -INF, -0.0 => INF, -2.0 => NAN, INF => INF, -INF => NAN, NAN => NAN);
        exact!(i0e: 0.0 => 1.0, INF => 0.0, -INF => 0.0, NAN => NAN);
    }

    #[test]
    fn reflected_values() {
        for x in [-0.5_f64, -1.25, -3.5, -7.75, -20.1] {
            // gamma(x) gamma(1 - x) sin(pi x) = pi, digamma(1 - x) - digamma(x) = pi / tan(pi x).
            let product = Math::gammaln(x) + Math::gammaln(1.0 - x) + (PI * x).sin().abs().ln();
            assert!((product - PI.ln()).abs() < 1e-13);
            assert!((Math::digamma(1.0 - x) - Math::digamma(x) - PI / (PI * x).tan()).abs() < 1e-11);
        }
    }
}
