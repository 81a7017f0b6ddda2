//! `sin`, `cos`, `tan` for arguments of every size, and `sinc`.
//!
//! Up to a limit (1e5 in f32, 2^40 in f64) the multiple of `pi / 2` is subtracted in three fused multiply-adds
//! (Cody and Waite); the first is exact, and what the second loses goes with the third into a low part, so that
//! relative accuracy holds even where `x` is close to a multiple of `pi / 2`. Then two short polynomials on `|r| <=
//! pi / 4`, selected and signed by the quadrant. None of that branches. Larger arguments take the exact reduction
//! of `trig_large.rs`, one by one.
//!
//! A loop over the scalar functions does not vectorise because of that second path. The block functions look at
//! the whole block first, so that ordinary blocks do.

use super::exp::{MAGIC_F32, MAGIC_F64};
use super::trig_large::remainder;

/// Beyond it, and for infinities and NaN, the fast functions are not to be used.
pub(super) const LIMIT_F32: f32 = 1.0e5;
pub(super) const LIMIT_F64: f64 = 1_099_511_627_776.0;

/// `pi / 2` in three parts, each the nearest number to what the earlier ones miss.
const HALF_PI_F32: (f32, f32, f32) = (std::f32::consts::FRAC_PI_2, -4.371_139e-8, -1.715_124_5e-15);
const HALF_PI_F64: (f64, f64, f64) =
    (std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17, -1.497_384_904_859_169_8e-33);

/// `(sin(r) - r) / r^3` for `|r| <= 0.8`, `s = r^2`.
#[inline(always)]
fn sin_series_f32(s: f32) -> f32 {
    polynomial!(s, -1.9505533e-4, 8.332095e-3, -1.6666654e-1)
}

#[inline(always)]
fn sin_series_f64(s: f64) -> f64 {
    polynomial!(
        s,
        1.5892730877079518e-10,
        -2.505069610287072e-8,
        2.75573133659962e-6,
        -0.00019841269829158303,
        0.00833333333332217,
        -0.16666666666666635
    )
}

/// `(cos(r) - 1) / r^2` for `|r| <= 0.8`, `s = r^2`.
#[inline(always)]
fn cos_series_f32(s: f32) -> f32 {
    polynomial!(s, 2.4411622e-5, -1.3887128e-3, 4.166664e-2, -0.5)
}

#[inline(always)]
fn cos_series_f64(s: f64) -> f64 {
    polynomial!(
        s,
        -1.1362104818941333e-11,
        2.0875789183795996e-9,
        -2.7557315007324507e-7,
        2.4801587292510093e-5,
        -0.0013888888888880613,
        0.04166666666666665,
        -0.5
    )
}

macro_rules! quadrants {
    (
        $t:ident, $bits:ident, $reduce:ident, $magic:ident, $half_pi:ident, $quadrant:ident, $sin_series:ident,
        $cos_series:ident, $sin_fast:ident, $cos_fast:ident, $tan_quadrant:ident, $tan_fast:ident
    ) => {
        /// `(r, low, q)`: the remainder `r + low` of `x` by `pi / 2` and, in the low bits of `q`, the quotient.
        #[inline(always)]
        fn $reduce(x: $t) -> ($t, $t, $bits) {
            let t = x.mul_add(std::$t::consts::FRAC_2_PI, $magic);
            let n = t - $magic;
            let exact = n.mul_add(-$half_pi.0, x);
            let second = n * $half_pi.1;
            let r = exact - second;
            let low = (exact - r) - second - n.mul_add($half_pi.1, -second);
            (r, n.mul_add(-$half_pi.2, low), t.to_bits())
        }

        /// The sine of `r` (even quadrants) or its cosine (odd ones), negative in quadrants 2 and 3.
        #[inline(always)]
        fn $quadrant(r: $t, low: $t, q: $bits) -> $t {
            let s = r * r;
            let value = if q & 1 == 0 {
                r + (r * s).mul_add($sin_series(s), low)
            } else {
                1.0 + s.mul_add($cos_series(s), -(r * low))
            };
            $t::from_bits(value.to_bits() ^ ((q & 2) << ($bits::BITS - 2)))
        }

        /// `sin` for `|x| <= LIMIT_F32`; infinities give NaN.
        #[inline(always)]
        pub(super) fn $sin_fast(x: $t) -> $t {
            let (r, low, q) = $reduce(x.abs());
            $t::from_bits($quadrant(r, low, q).to_bits() ^ (x.to_bits() & (1 << ($bits::BITS - 1))))
        }

        #[inline(always)]
        pub(super) fn $cos_fast(x: $t) -> $t {
            let (r, low, q) = $reduce(x.abs());
            $quadrant(r, low, q.wrapping_add(1))
        }

        /// Sine over cosine, or minus the inverse in odd quadrants; both are sums of a large and a small part, whose rounding
        /// errors the quotient gets back.
        #[inline(always)]
        fn $tan_quadrant(r: $t, low: $t, q: $bits) -> $t {
            let s = r * r;
            let (sine, cosine) =
                ((r, (r * s).mul_add($sin_series(s), low)), (1.0, s.mul_add($cos_series(s), -(r * low))));
            let odd = q & 1 == 1;
            let (n, d) = if odd { (cosine, sine) } else { (sine, cosine) };
            let (n_sum, d_sum) = (n.0 + n.1, d.0 + d.1);
            let (n_low, d_low) = (n.1 - (n_sum - n.0), d.1 - (d_sum - d.0));
            let inverse = 1.0 / d_sum;
            let quotient = n_sum * inverse;
            let rest = quotient.mul_add(-d_sum, n_sum) + quotient.mul_add(-d_low, n_low);
            let value = rest.mul_add(inverse, quotient);
            $t::from_bits(value.to_bits() ^ ((q & 1) << ($bits::BITS - 1)))
        }

        #[inline(always)]
        pub(super) fn $tan_fast(x: $t) -> $t {
            let (r, low, q) = $reduce(x.abs());
            $t::from_bits($tan_quadrant(r, low, q).to_bits() ^ (x.to_bits() & (1 << ($bits::BITS - 1))))
        }
    };
}
quadrants!(
    f32,
    u32,
    reduce_f32,
    MAGIC_F32,
    HALF_PI_F32,
    quadrant_f32,
    sin_series_f32,
    cos_series_f32,
    sin_fast_f32,
    cos_fast_f32,
    tan_quadrant_f32,
    tan_fast_f32
);
quadrants!(
    f64,
    u64,
    reduce_f64,
    MAGIC_F64,
    HALF_PI_F64,
    quadrant_f64,
    sin_series_f64,
    cos_series_f64,
    sin_fast_f64,
    cos_fast_f64,
    tan_quadrant_f64,
    tan_fast_f64
);

/// The three functions beyond the limit, by the exact reduction; NaN for infinities and NaN.
macro_rules! slow {
    ($name:ident, $t:ty, $bits:ty, $negative:expr, $shift:expr, $quadrant:ident) => {
        #[cold]
        #[inline(never)]
        fn $name(x: $t) -> $t {
            if !x.is_finite() {
                return x - x;
            }
            let (high, low, q) = remainder(f64::from(x.abs()));
            let r = high as $t;
            let low = (high - f64::from(r) + low) as $t;
            let value = $quadrant(r, low, q as $bits + $shift);
            if $negative && x < 0.0 { -value } else { value }
        }
    };
}
slow!(sin_slow_f32, f32, u32, true, 0, quadrant_f32);
slow!(sin_slow_f64, f64, u64, true, 0, quadrant_f64);
slow!(cos_slow_f32, f32, u32, false, 1, quadrant_f32);
slow!(cos_slow_f64, f64, u64, false, 1, quadrant_f64);
slow!(tan_slow_f32, f32, u32, true, 0, tan_quadrant_f32);
slow!(tan_slow_f64, f64, u64, true, 0, tan_quadrant_f64);

/// The scalar function, and the one over a block.
macro_rules! any_size {
    ($name:ident, $block:ident, $t:ty, $limit:ident, $fast:ident, $slow:ident) => {
        #[inline(always)]
        pub(super) fn $name(x: $t) -> $t {
            if x.abs() <= $limit { $fast(x) } else { $slow(x) }
        }

        #[inline(always)]
        pub(super) fn $block<const N: usize>(block: &mut [$t; N]) {
            let mut ordinary = true;
            for x in block.iter() {
                ordinary &= x.abs() <= $limit;
            }
            if ordinary {
                for x in block {
                    *x = $fast(*x);
                }
            } else {
                for x in block {
                    *x = $name(*x);
                }
            }
        }
    };
}
any_size!(sin_f32, sin_block_f32, f32, LIMIT_F32, sin_fast_f32, sin_slow_f32);
any_size!(sin_f64, sin_block_f64, f64, LIMIT_F64, sin_fast_f64, sin_slow_f64);
any_size!(cos_f32, cos_block_f32, f32, LIMIT_F32, cos_fast_f32, cos_slow_f32);
any_size!(cos_f64, cos_block_f64, f64, LIMIT_F64, cos_fast_f64, cos_slow_f64);
any_size!(tan_f32, tan_block_f32, f32, LIMIT_F32, tan_fast_f32, tan_slow_f32);
any_size!(tan_f64, tan_block_f64, f64, LIMIT_F64, tan_fast_f64, tan_slow_f64);

// sin(pi x) / (pi x) = (r / x) S(r^2) (-1)^n with x = n + r, and r / x = 1 for n = 0.

#[inline(always)]
pub(super) fn sinc_f32(x: f32) -> f32 {
    let n = x.round_ties_even();
    let r = x - n;
    let s = r * r;
    let p = s * polynomial!(s, -2.2159077e-3, 2.6104905e-2, -1.907454e-1, 8.11742e-1, -1.644934e0);
    let half = 0.5 * n;
    let ratio = if n == 0.0 { 1.0 } else { r / x };
    let ratio = if half == half.floor() { ratio } else { -ratio };
    ratio.mul_add(p, ratio)
}

#[inline(always)]
pub(super) fn sinc_f64(x: f64) -> f64 {
    let n = x.round_ties_even();
    let r = x - n;
    let s = r * r;
    let p = s * polynomial!(
        s,
        -5.124298206713471e-9,
        2.507812269897684e-7,
        -6.974790283292518e-6,
        0.0001484285204813064,
        -0.00234608099544856,
        0.026147847814216932,
        -0.19075182412192004,
        0.8117424252833498,
        -1.6449340668482264
    );
    let half = 0.5 * n;
    let ratio = if n == 0.0 { 1.0 } else { r / x };
    let ratio = if half == half.floor() { ratio } else { -ratio };
    ratio.mul_add(p, ratio)
}

#[cfg(test)]
mod tests {
    use super::super::Math;
    use super::super::reference::{exact, measure, same};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("trig", unary: sin 1.3 1.1, cos 1.3 1.1, tan 1.7 1.4, sinc 2.0 1.8);

    #[test]
    fn exceptional_values() {
        exact!(sin: 0.0 => 0.0, -0.0 => -0.0, INF => NAN, -INF => NAN, NAN => NAN);
        exact!(cos: 0.0 => 1.0, -0.0 => 1.0, INF => NAN, NAN => NAN);
        exact!(tan: 0.0 => 0.0, -0.0 => -0.0, INF => NAN, NAN => NAN);
        exact!(sinc: 0.0 => 1.0, -0.0 => 1.0, 1.0 => 0.0, NAN => NAN);
    }

    #[test]
    fn blocks_agree_with_single_values_on_both_paths() {
        for huge in [0.5, 1.0e30, f64::INFINITY] {
            let mut block: [f64; 16] = std::array::from_fn(|i| (i as f64 - 8.0) * 1.25);
            block[5] = huge;
            let single = block.map(|x| x as f32);
            let functions: [(fn(&mut [f64; 16]), fn(&mut [f32; 16]), fn(f64) -> f64, fn(f32) -> f32); 3] = [
                (Math::sin_block, Math::sin_block, Math::sin, Math::sin),
                (Math::cos_block, Math::cos_block, Math::cos, Math::cos),
                (Math::tan_block, Math::tan_block, Math::tan, Math::tan),
            ];
            for (of_f64, of_f32, f, g) in functions {
                let (mut y, mut z) = (block, single);
                of_f64(&mut y);
                of_f32(&mut z);
                for i in 0..16 {
                    assert!(same(y[i], f(block[i])) && same(f64::from(z[i]), f64::from(g(single[i]))));
                }
            }
        }
    }
}
