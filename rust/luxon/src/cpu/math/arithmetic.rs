//! Functions that need no series: roots, integers, signs, remainders, order.
//!
//! What the hardware does in one instruction is passed on; the rest is compare and select. `fmod` is the C
//! library's (exact, with a loop), so `floor_divide` and `remainder` do not vectorise. They follow NumPy: the
//! remainder has the sign of the divisor, and the quotient is the integer that goes with it.

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
pub(super) fn abs_f32(x: f32) -> f32 {
    x.abs()
}

#[inline(always)]
pub(super) fn sign_f32(x: f32) -> f32 {
    if x == 0.0 || x.is_nan() { x + 0.0 } else { 1.0_f32.copysign(x) }
}

#[inline(always)]
pub(super) fn copysign_f32(x: f32, y: f32) -> f32 {
    x.copysign(y)
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
pub(super) fn nextafter_f32(x: f32, y: f32) -> f32 {
    let step = if y > x { x.next_up() } else { x.next_down() };
    let moved = if x == y { y } else { step };
    if x.is_nan() || y.is_nan() { x + y } else { moved }
}

#[inline(always)]
pub(super) fn fmod_f32(x: f32, y: f32) -> f32 {
    x % y
}

/// Whether the quotient is one below the truncated one: the C remainder is not 0 and has the other sign than the
/// divisor.
#[inline(always)]
fn rounds_down_f32(c_remainder: f32, y: f32) -> bool {
    c_remainder != 0.0 && (c_remainder < 0.0) != (y < 0.0)
}

#[inline(always)]
pub(super) fn remainder_f32(x: f32, y: f32) -> f32 {
    let r = x % y;
    let shifted = if rounds_down_f32(r, y) { r + y } else { r };
    if r == 0.0 { 0.0_f32.copysign(y) } else { shifted }
}

#[inline(always)]
pub(super) fn floor_divide_f32(x: f32, y: f32) -> f32 {
    let r = x % y;
    // An integer but for the rounding of the division.
    let near = (x - r) / y - if rounds_down_f32(r, y) { 1.0 } else { 0.0 };
    let quotient = if near == 0.0 { 0.0_f32.copysign(x / y) } else { near.round_ties_even() };
    if y == 0.0 { x / y } else { quotient }
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
pub(super) fn abs_f64(x: f64) -> f64 {
    x.abs()
}

#[inline(always)]
pub(super) fn sign_f64(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() { x + 0.0 } else { 1.0_f64.copysign(x) }
}

#[inline(always)]
pub(super) fn copysign_f64(x: f64, y: f64) -> f64 {
    x.copysign(y)
}

#[inline(always)]
pub(super) fn minimum_f64(x: f64, y: f64) -> f64 {
    if x < y || x.is_nan() { x } else { y }
}

#[inline(always)]
pub(super) fn maximum_f64(x: f64, y: f64) -> f64 {
    if x > y || x.is_nan() { x } else { y }
}

#[inline(always)]
pub(super) fn nextafter_f64(x: f64, y: f64) -> f64 {
    let step = if y > x { x.next_up() } else { x.next_down() };
    let moved = if x == y { y } else { step };
    if x.is_nan() || y.is_nan() { x + y } else { moved }
}

// Both arguments are scaled by one power of two where a square would overflow or vanish.
macro_rules! hypot {
    ($t:ident, $hypot:ident, large $large:literal, down $down:literal, up $up:literal, small $small:literal) => {
        #[inline(always)]
        pub(super) fn $hypot(x: $t, y: $t) -> $t {
            let (a, b) = (x.abs(), y.abs());
            let larger = if a > b { a } else { b };
            let (scale, back) = if larger > $large { ($down, $up) } else { (1.0, 1.0) };
            let (scale, back) = if larger < $small { ($up, $down) } else { (scale, back) };
            let (u, v) = (a * scale, b * scale);
            let length = u.mul_add(u, v * v).sqrt() * back;
            if a == $t::INFINITY || b == $t::INFINITY { $t::INFINITY } else { length }
        }
    };
}
hypot!(f32, hypot_f32, large 1.0e18, down 8.271_806_1e-25, up 1.208_925_8e24, small 1.0e-18);
hypot!(f64, hypot_f64, large 1.0e150, down 2.409_919_865_102_884e-181, up 4.149_515_568_880_993e180, small 1.0e-150);

#[inline(always)]
pub(super) fn fmod_f64(x: f64, y: f64) -> f64 {
    x % y
}

/// Whether the quotient is one below the truncated one: the C remainder is not 0 and has the other sign than the
/// divisor.
#[inline(always)]
fn rounds_down_f64(c_remainder: f64, y: f64) -> bool {
    c_remainder != 0.0 && (c_remainder < 0.0) != (y < 0.0)
}

#[inline(always)]
pub(super) fn remainder_f64(x: f64, y: f64) -> f64 {
    let r = x % y;
    let shifted = if rounds_down_f64(r, y) { r + y } else { r };
    if r == 0.0 { 0.0_f64.copysign(y) } else { shifted }
}

#[inline(always)]
pub(super) fn floor_divide_f64(x: f64, y: f64) -> f64 {
    let r = x % y;
    // An integer but for the rounding of the division.
    let near = (x - r) / y - if rounds_down_f64(r, y) { 1.0 } else { 0.0 };
    let quotient = if near == 0.0 { 0.0_f64.copysign(x / y) } else { near.round_ties_even() };
    if y == 0.0 { x / y } else { quotient }
}

#[cfg(test)]
mod tests {
    use super::super::Math;
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("arithmetic", unary: rsqrt 1.6 1.5);
    measure!("arithmetic", binary: hypot 1.2 1.2);

    #[test]
    fn exceptional_values() {
        exact!(rsqrt: 0.0 => INF, 4.0 => 0.5, INF => 0.0, -1.0 => NAN, NAN => NAN);
        exact!(round: 0.5 => 0.0, 1.5 => 2.0, -0.5 => -0.0, 2.5 => 2.0, INF => INF, NAN => NAN);
        exact!(sign: 3.0 => 1.0, -0.5 => -1.0, 0.0 => 0.0, -0.0 => 0.0, -INF => -1.0, NAN => NAN);
        exact!(hypot: (3.0, -4.0) => 5.0, (INF, NAN) => INF, (NAN, -INF) => INF, (NAN, 1.0) => NAN, (0.0, -0.0) => 0.0);
        exact!(minimum: (1.0, 2.0) => 1.0, (NAN, 1.0) => NAN, (1.0, NAN) => NAN, (-INF, INF) => -INF);
        exact!(maximum: (1.0, 2.0) => 2.0, (NAN, 1.0) => NAN, (1.0, NAN) => NAN, (-INF, INF) => INF);
        exact!(copysign: (1.0, -0.0) => -1.0, (-INF, 2.0) => INF);
        exact!(nextafter: (1.0, 1.0) => 1.0, (0.0, -0.0) => -0.0, (INF, INF) => INF, (NAN, 1.0) => NAN, (1.0, NAN) => NAN);
        assert_eq!(Math::nextafter(1.0_f32, 2.0), 1.0 + f32::EPSILON);
        assert_eq!(Math::nextafter(0.0_f64, -1.0), -f64::from_bits(1));
    }

    #[test]
    fn quotients_and_remainders_are_those_of_numpy() {
        exact!(fmod: (-7.0, 3.0) => -1.0, (7.0, -3.0) => 1.0, (-6.0, 3.0) => -0.0, (1.0, 0.0) => NAN, (5.0, INF) => 5.0);
        exact!(remainder: (-7.0, 3.0) => 2.0, (7.0, -3.0) => -2.0, (-6.0, 3.0) => 0.0, (6.0, -3.0) => -0.0);
        exact!(remainder: (5.0, INF) => 5.0, (-5.0, INF) => INF, (5.0, -INF) => -INF, (1.0, 0.0) => NAN, (INF, 1.0) => NAN);
        exact!(floor_divide: (-7.0, 3.0) => -3.0, (7.0, 3.0) => 2.0, (7.0, -3.0) => -3.0, (0.5, 3.0) => 0.0, (-0.0, 3.0) => -0.0);
        exact!(floor_divide: (5.0, INF) => 0.0, (-5.0, INF) => -1.0, (1.0, 0.0) => INF, (-1.0, 0.0) => -INF, (0.0, 0.0) => NAN);
        exact!(floor_divide: (INF, 1.0) => NAN, (1.0, NAN) => NAN, (1.0, 0.125) => 8.0);
        assert_eq!(Math::floor_divide(1.0_f64, 0.1), 9.0);
        assert_eq!(Math::remainder(1.0_f64, 0.1), 0.099_999_999_999_999_95);
    }
}
