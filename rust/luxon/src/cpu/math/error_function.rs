//! `erf`: two polynomials and an exponential.
//!
//! Small arguments: `x + x p(x^2)`. Beyond: `1 - 2^-q(|x|)`, where `q = -log2(erfc)` is a polynomial; there
//! `erfc` is so far below 1 that neither it nor the exponential needs full relative accuracy. Both
//! are computed and one selected. (The idea of exponentiating a polynomial: N. Juffa's public
//! remarks on `erff`; the fits are our own.) `erfc` and the normal distribution, which need the
//! tail itself, are in `normal.rs`.

use super::exp::{MAGIC_F32, MAGIC_F64, power_of_two_f32, power_of_two_f64};

#[allow(clippy::approx_constant, reason = "a minimax coefficient close to ln 2, not ln 2")]
#[inline(always)]
pub(super) fn erf_f32(x: f32) -> f32 {
    let y = x.abs();
    let s = x * x;
    let p = polynomial!(
        s,
        7.996649e-5,
        -8.0497697e-4,
        5.192405e-3,
        -2.6855731e-2,
        1.1283626e-1,
        -3.761263e-1,
        1.2837917e-1
    );
    let small = y.mul_add(p, y);
    // erf rounds to 1 from 3.92 on.
    let z = if y > 4.0 { 4.0 } else { y };
    let q =
        polynomial!(z, -2.8124725e-4, 4.3766745e-3, -3.201298e-2, 1.4983281e-1, 9.193805e-1, 1.6268222e0, 2.9870815e-4);
    let t = MAGIC_F32 - q;
    let r = -q - (t - MAGIC_F32);
    let p = polynomial!(r, 1.3304437e-3, 9.672797e-3, 5.550648e-2, 2.4022222e-1, 6.93147e-1);
    let scale = power_of_two_f32(t);
    let large = 1.0 - (r * scale).mul_add(p, scale);
    (if y < 0.925 { small } else { large }).copysign(x)
}

#[inline(always)]
pub(super) fn erf_f64(x: f64) -> f64 {
    let y = x.abs();
    let s = x * x;
    let p = polynomial!(
        s,
        1.4618859929549897e-10,
        -1.6615891020209993e-9,
        1.6049167785708828e-8,
        -1.6561976756581888e-7,
        1.6481466752445818e-6,
        -1.492690364872304e-5,
        0.0001205538697445482,
        -0.000854832855311606,
        0.005223977652919196,
        -0.02686617064804648,
        0.11283791670971137,
        -0.376126389031841,
        0.1283791670955126
    );
    let small = y.mul_add(p, y);
    let z = if y > 6.0 { 6.0 } else { y };
    let q = polynomial!(
        z,
        -1.541769274507348e-12,
        7.035255487238175e-11,
        -1.502585961413986e-9,
        1.993667586132396e-8,
        -1.8369435727262041e-7,
        1.2416530855261257e-6,
        -6.311470057576114e-6,
        2.4079183088679506e-5,
        -6.571968468954662e-5,
        0.00010325225800119846,
        6.143678237367585e-5,
        -0.0009202286294807314,
        0.0025465108514903887,
        -0.00039951568647461345,
        -0.027527556154521012,
        0.14823480304962947,
        0.9184601022193148,
        1.627904523560466,
        2.4404082976270975e-7
    );
    let t = MAGIC_F64 - q;
    let r = -q - (t - MAGIC_F64);
    let p = polynomial!(
        r,
        6.907089600663609e-9,
        1.0208887028725161e-7,
        1.3216440491213972e-6,
        1.5252656695623775e-5,
        0.00015403528373390593,
        0.0013333558229911826,
        0.009618129109293537,
        0.05550410866446362,
        0.24022650695905826,
        0.6931471805599492
    );
    let scale = power_of_two_f64(t);
    let large = 1.0 - (r * scale).mul_add(p, scale);
    (if y < 1.0 { small } else { large }).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("error_function", unary: erf 1.5 1.4);

    #[test]
    fn exceptional_values() {
        exact!(erf: 0.0 => 0.0, -0.0 => -0.0, INF => 1.0, -INF => -1.0, NAN => NAN);
    }
}
