//! The table of elementwise operations: one row each.
//!
//! A row reads: variant, name, domain, arguments, the scalar function, the same in CUDA (with the functions of
//! `cuda/math.cuh`), what its documentation shows, then one derivative per argument as
//! `what it reads => |args, y, g| derivative times g`, written in tensor operations, so that it is differentiable
//! again. `A`, `B`, `C` stand for the arguments and `Y` for the output; an empty list means that gradients are exact
//! zeros. Sub-gradients at kinks are PyTorch's.
#![allow(clippy::redundant_closure_call)]

use super::define::{example, method, table};
use super::slopes::{
    GELU_CUBE, LN_2, LN_10, SELU_ALPHA, SELU_SCALE, SQRT_2_OVER_PI, TWO_OVER_SQRT_PI, bounded, gaussian, keep, near,
    on, one_minus_square, over_square, zero_outside, zero_where, zero_where_both,
};
use super::{Derivative, Domain, MAX_ARITY, Operand, map};
use crate::cpu::map::{Block, Truth, blocks, erased, loop1, loop2, loop3};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;

const A: u32 = 1;
const B: u32 = 2;
const C: u32 = 4;
const Y: u32 = 8;
const NOTHING: u32 = 0;

table! {
    /// Elementwise sum.
    Add add_elementwise Number (x, y) { x.plus(y) } cuda "m::plus(x, y)" cost 0.2 [
        NOTHING => |_, _, g| Ok(g.clone()),
        NOTHING => |_, _, g| Ok(g.clone()),
    ];
    /// Elementwise difference.
    Subtract subtract Number (x, y) { x.minus(y) } cuda "m::minus(x, y)" cost 0.2 [
        NOTHING => |_, _, g| Ok(g.clone()),
        NOTHING => |_, _, g| g.neg(),
    ];
    /// Elementwise product.
    Multiply multiply Number (x, y) { x.times(y) } cuda "m::times(x, y)" cost 0.2 [
        B => |a, _, g| g.mul(a.b()),
        A => |a, _, g| g.mul(a.a()),
    ];
    /// Elementwise quotient; integers give floats.
    Divide divide Float (x, y) { x / y } cuda "x / y" cost 0.3 [
        B => |a, _, g| g.div(a.b()),
        B | Y => |a, y, g| g.mul(y)?.div(a.b())?.neg(),
    ];
    /// The quotient rounded towards minus infinity.
    FloorDivide floor_divide Number (x, y) { x.floor_quotient(y) } cuda "m::floor_quotient(x, y)" cost 1.0 shown ([7.0, -7.0], 2.0) => (3.0, -4.0) [
        NOTHING => |_, _, g| g.zeros_like(),
        NOTHING => |_, _, g| g.zeros_like(),
    ];
    /// The remainder with the sign of the divisor.
    Remainder remainder Number (x, y) { x.floor_remainder(y) } cuda "m::floor_remainder(x, y)" cost 1.0 shown ([7.0, -7.0], 3.0) => (1.0, 2.0) [
        NOTHING => |_, _, g| Ok(g.clone()),
        A | B => |a, _, g| g.mul(&on(Kernel::FloorDivide, &[a.a(), a.b()])?)?.neg(),
    ];
    /// The remainder with the sign of the dividend, as C's `fmod`.
    Fmod fmod Number (x, y) { x.truncated_remainder(y) } cuda "m::truncated_remainder(x, y)" cost 1.0 shown ([7.0, -7.0], 3.0) => (1.0, -1.0) [
        NOTHING => |_, _, g| Ok(g.clone()),
        A | B => |a, _, g| g.mul(&on(Kernel::Divide, &[a.a(), a.b()])?.trunc()?)?.neg(),
    ];
    /// The smaller of two; NaN propagates, ties share the gradient.
    Minimum minimum Number (x, y) { x.least(y) } cuda "m::least(x, y)" cost 0.2 shown ([1.0, 5.0], 2.0) => (1.0, 2.0) [
        A | B => |a, _, g| g.mul(&on(Kernel::LargerShare, &[a.b(), a.a()])?),
        A | B => |a, _, g| g.mul(&on(Kernel::LargerShare, &[a.a(), a.b()])?),
    ];
    /// The larger of two; NaN propagates, ties share the gradient.
    Maximum maximum Number (x, y) { x.greatest(y) } cuda "m::greatest(x, y)" cost 0.2 shown ([1.0, 5.0], 2.0) => (2.0, 5.0) [
        A | B => |a, _, g| g.mul(&on(Kernel::LargerShare, &[a.a(), a.b()])?),
        A | B => |a, _, g| g.mul(&on(Kernel::LargerShare, &[a.b(), a.a()])?),
    ];
    /// 1 where the first argument is the larger, 1/2 at ties, else 0: how `maximum` shares a gradient.
    LargerShare larger_share Float (x, y) { if x < y { T::ZERO } else if x == y { T::from_f64(0.5) } else { T::ONE } } cuda "x < y ? (T)0 : x == y ? (T)0.5 : (T)1" cost 0.3 [
        NOTHING => |_, _, g| g.zeros_like(),
        NOTHING => |_, _, g| g.zeros_like(),
    ];
    /// `x` to the power `y` for floats.
    Pow float_pow Float (x, y) { x.pow(y) } cuda "m::pow(x, y)" cost 6.0 [
        A | B => |a, _, g| match a.b() {
            // x^0 is constant, also at x = 0 where the product would be 0 * inf.
            Operand::Scalar(power) if power.as_f64() == 0.0 => g.zeros_like(),
            Operand::Scalar(power) => {
                let power = power.as_f64();
                g.mul(&on(Kernel::Pow, &[a.a(), (power - 1.0).into()])?.mul(power)?)
            }
            Operand::Tensor(power) => {
                let slope = on(Kernel::Pow, &[a.a(), (&power.sub(1.0)?).into()])?.mul(power)?;
                on(Kernel::Where, &[(&power.equal(0.0)?).into(), 0.0.into(), (&g.mul(&slope)?).into()])
            }
        },
        A | B | Y => |a, y, g| {
            let slope = g.mul(y)?.mul(&a.tensor(0)?.log()?)?;
            let zero = on(Kernel::LogicalAnd, &[
                (&on(Kernel::Equal, &[a.a(), 0.0.into()])?).into(),
                (&on(Kernel::GreaterEqual, &[a.b(), 0.0.into()])?).into(),
            ])?;
            on(Kernel::Where, &[(&zero).into(), 0.0.into(), (&slope).into()])
        },
    ];
    /// `x` to the power `y` for integers.
    IntegerPow integer_pow Number (x, y) { x.integer_power(y) } cuda "m::integer_power(x, y)" cost 4.0 [];
    /// The angle of the point (y, x), in radians.
    Atan2 atan2 Float (x, y) { x.atan2(y) } cuda "m::atan2(x, y)" cost 2.0 shown ([1.0, -1.0], 1.0) => (0.7853981633974483, -0.7853981633974483) [
        A | B => |a, _, g| over_square(&g.mul(a.b())?, a),
        A | B => |a, _, g| over_square(&g.mul(a.a())?.neg()?, a),
    ];
    /// The square root of the sum of squares, without overflow.
    Hypot hypot Float (x, y) { x.hypot(y) } cuda "m::hypot(x, y)" cost 1.5 shown ([3.0, 0.0], 4.0) => (5.0, 4.0) [
        A | Y => |a, y, g| g.mul(a.a())?.div(y),
        B | Y => |a, y, g| g.mul(a.b())?.div(y),
    ];
    /// log(exp x + exp y), without overflow.
    LogAddExp logaddexp Float (x, y) { x.logaddexp(y) } cuda "m::logaddexp(x, y)" cost 2.0 shown ([0.0, 1000.0], 0.0) => (0.6931471805599453, 1000.0) [
        A | B => |a, _, g| g.mul(&on(Kernel::Subtract, &[a.a(), a.b()])?.sigmoid()?),
        A | B => |a, _, g| g.mul(&on(Kernel::Subtract, &[a.b(), a.a()])?.sigmoid()?),
    ];
    /// x log y, and 0 where x is 0.
    XLogY xlogy Float (x, y) { x.xlogy(y) } cuda "m::xlogy(x, y)" cost 1.0 shown ([0.0, 2.0], 3.0) => (0.0, 2.1972245773362196) [
        A | B => |a, _, g| {
            let y = a.tensor(1)?;
            g.mul(&zero_where_both(a.a(), &y.less_equal(0.0)?, &y.log()?)?)
        },
        A | B => |a, _, g| g.mul(a.a())?.div(a.b()),
    ];
    /// x log(1 + y), and 0 where x is 0.
    XLog1pY xlog1py Float (x, y) { x.xlog1py(y) } cuda "m::xlog1py(x, y)" cost 1.0 shown ([0.0, 2.0], 3.0) => (0.0, 2.772588722239781) [
        A | B => |a, _, g| {
            let y = a.tensor(1)?;
            g.mul(&zero_where_both(a.a(), &y.less_equal(-1.0)?, &y.log1p()?)?)
        },
        A | B => |a, _, g| g.mul(a.a())?.div(&a.tensor(1)?.add(1.0)?),
    ];
    /// The magnitude of the first with the sign of the second.
    CopySign copysign Float (x, y) { x.copysign(y) } cuda "m::copysign(x, y)" cost 0.3 shown ([1.0, 2.0], -1.0) => (-1.0, -2.0) [
        A | Y => |a, y, g| {
            let zero = on(Kernel::Equal, &[a.a(), 0.0.into()])?;
            on(Kernel::Where, &[(&zero).into(), 0.0.into(), (&g.mul(&y.div(a.a())?)?).into()])
        },
        NOTHING => |_, _, g| g.zeros_like(),
    ];
    /// The next representable number after `x` towards `y`.
    NextAfter nextafter Float (x, y) { x.nextafter(y) } cuda "m::nextafter(x, y)" cost 1.0 shown ([0.0, 1.0], 2.0) => (5e-324, 1.0000000000000002) [];

    /// The negative.
    Negative negative Number (x) { x.negated() } cuda "m::negated(x)" cost 0.2 [NOTHING => |_, _, g| g.neg()];
    /// The absolute value; its slope at 0 is 0.
    Abs abs Number (x) { x.magnitude() } cuda "m::magnitude(x)" cost 0.2 shown ([-2.0, 3.0]) => (2.0, 3.0) [A => |a, _, g| on(Kernel::AbsGrad, &[g.into(), a.a()])];
    /// g with the sign of x, and 0 where x is 0 or NaN: the derivative of abs.
    AbsGrad abs_grad Float (g, x) { g * if x > T::ZERO { T::ONE } else if x < T::ZERO { -T::ONE } else { T::ZERO } } cuda "g * (x > (T)0 ? (T)1 : x < (T)0 ? (T)-1 : (T)0)" cost 0.2 [
        B => |a, _, g| on(Kernel::AbsGrad, &[g.into(), a.b()]),
        NOTHING => |_, _, g| g.zeros_like(),
    ];
    /// -1, 0 or 1; NaN stays.
    Sign sign Number (x) { x.signum_or_zero() } cuda "m::signum(x)" cost 0.3 shown ([-2.0, 0.0]) => (-1.0, 0.0) [NOTHING => |_, _, g| g.zeros_like()];
    /// The square.
    Square square Number (x) { x.times(x) } cuda "m::times(x, x)" cost 0.2 shown ([-2.0, 3.0]) => (4.0, 9.0) [A => |a, _, g| g.mul(a.a())?.mul(2.0)];
    /// Rounded towards minus infinity.
    Floor floor Number (x) { x.rounded_down() } cuda "m::rounded_down(x)" cost 0.2 shown ([-1.5, 1.5]) => (-2.0, 1.0) [NOTHING => |_, _, g| g.zeros_like()];
    /// Rounded towards plus infinity.
    Ceil ceil Number (x) { x.rounded_up() } cuda "m::rounded_up(x)" cost 0.2 shown ([-1.5, 1.5]) => (-1.0, 2.0) [NOTHING => |_, _, g| g.zeros_like()];
    /// Rounded towards zero.
    Trunc trunc Number (x) { x.rounded_to_zero() } cuda "m::rounded_to_zero(x)" cost 0.2 shown ([-1.5, 1.5]) => (-1.0, 1.0) [NOTHING => |_, _, g| g.zeros_like()];
    /// Rounded to the nearest integer, halves to even.
    Round round Number (x) { x.rounded() } cuda "m::rounded(x)" cost 0.2 shown ([0.5, 1.5]) => (0.0, 2.0) [NOTHING => |_, _, g| g.zeros_like()];
    /// The square root.
    Sqrt sqrt Float (x) { x.sqrt() } cuda "m::sqrt(x)" cost 0.5 shown ([4.0, 9.0]) => (2.0, 3.0) [Y => |_, y, g| g.div(&y.mul(2.0)?)];
    /// One over the square root.
    Rsqrt rsqrt Float (x) { x.rsqrt() } cuda "m::rsqrt(x)" cost 0.7 shown ([4.0, 16.0]) => (0.5, 0.25) [Y => |_, y, g| g.mul(&y.square()?.mul(y)?)?.mul(-0.5)];
    /// One over x.
    Reciprocal reciprocal Float (x) { T::ONE / x } cuda "(T)1 / x" cost 0.4 shown ([2.0, -4.0]) => (0.5, -0.25) [Y => |_, y, g| g.mul(&y.square()?)?.neg()];

    /// e to the x.
    Exp exp Float (x) { x.exp() } cuda "m::exp(x)" cost 0.4 shown ([0.0, 1.0]) => (1.0, 2.718281828459045) [Y => |_, y, g| g.mul(y)];
    /// 2 to the x.
    Exp2 exp2 Float (x) { x.exp2() } cuda "m::exp2(x)" cost 0.4 shown ([3.0, -1.0]) => (8.0, 0.5) [Y => |_, y, g| g.mul(y)?.mul(LN_2)];
    /// exp(x) - 1, accurate near 0.
    Expm1 expm1 Float (x) { x.expm1() } cuda "m::expm1(x)" cost 0.5 shown ([0.0, 1e-10]) => (0.0, 1.00000000005e-10) [Y => |_, y, g| g.mul(&y.add(1.0)?)];
    /// The natural logarithm.
    Log log Float (x) { x.ln() } cuda "m::ln(x)" cost 0.5 shown ([1.0, 10.0]) => (0.0, 2.302585092994046) [A => |a, _, g| g.div(a.a())];
    /// The logarithm to base 2.
    Log2 log2 Float (x) { x.log2() } cuda "m::log2(x)" cost 0.5 shown ([8.0, 0.5]) => (3.0, -1.0) [A => |a, _, g| g.div(a.a())?.mul(1.0 / LN_2)];
    /// The logarithm to base 10.
    Log10 log10 Float (x) { x.log10() } cuda "m::log10(x)" cost 0.5 shown ([1000.0, 0.1]) => (3.0, -1.0) [A => |a, _, g| g.div(a.a())?.mul(1.0 / LN_10)];
    /// log(1 + x), accurate near 0.
    Log1p log1p Float (x) { x.ln_1p() } cuda "m::ln_1p(x)" cost 0.6 shown ([0.0, 1e-10]) => (0.0, 9.999999999500001e-11) [A => |a, _, g| g.div(&on(Kernel::Add, &[a.a(), 1.0.into()])?)];
    /// The sine of an angle in radians.
    Sin sin Float (x) { x.sin() } cuda "m::sin(x)" cost 0.8 shown ([0.0, 1.0]) => (0.0, 0.8414709848078965) [A => |a, _, g| g.mul(&on(Kernel::Cos, &[a.a()])?)];
    /// The cosine of an angle in radians.
    Cos cos Float (x) { x.cos() } cuda "m::cos(x)" cost 0.8 shown ([0.0, 1.0]) => (1.0, 0.5403023058681398) [A => |a, _, g| g.mul(&on(Kernel::Sin, &[a.a()])?)?.neg()];
    /// The tangent of an angle in radians.
    Tan tan Float (x) { x.tan() } cuda "m::tan(x)" cost 1.0 shown ([0.0, 1.0]) => (0.0, 1.5574077246549023) [Y => |_, y, g| g.mul(&y.square()?.add(1.0)?)];
    /// The inverse sine.
    Asin asin Float (x) { x.asin() } cuda "m::asin(x)" cost 1.0 shown ([0.0, 0.5]) => (0.0, 0.5235987755982989) [A => |a, _, g| g.mul(&one_minus_square(a.a())?.rsqrt()?)];
    /// The inverse cosine.
    Acos acos Float (x) { x.acos() } cuda "m::acos(x)" cost 1.0 shown ([0.0, 0.5]) => (1.5707963267948966, 1.0471975511965976) [A => |a, _, g| g.mul(&one_minus_square(a.a())?.rsqrt()?)?.neg()];
    /// The inverse tangent.
    Atan atan Float (x) { x.atan() } cuda "m::atan(x)" cost 1.0 shown ([0.0, 0.5]) => (0.0, 0.4636476090008061) [A => |a, _, g| g.div(&on(Kernel::Square, &[a.a()])?.add(1.0)?)];
    /// The hyperbolic sine.
    Sinh sinh Float (x) { x.sinh() } cuda "m::sinh(x)" cost 1.0 shown ([0.0, 1.0]) => (0.0, 1.1752011936438014) [A => |a, _, g| g.mul(&on(Kernel::Cosh, &[a.a()])?)];
    /// The hyperbolic cosine.
    Cosh cosh Float (x) { x.cosh() } cuda "m::cosh(x)" cost 1.0 shown ([0.0, 1.0]) => (1.0, 1.5430806348152437) [A => |a, _, g| g.mul(&on(Kernel::Sinh, &[a.a()])?)];
    /// The hyperbolic tangent.
    Tanh tanh Float (x) { x.tanh() } cuda "m::tanh(x)" cost 0.5 shown ([0.0, 1.0]) => (0.0, 0.7615941559557649) [Y => |_, y, g| on(Kernel::TanhGrad, &[g.into(), y.into()])];
    /// g (1 - y^2): the derivative of tanh by its output.
    TanhGrad tanh_grad Float (g, y) { g * (-y).mul_add(y, T::ONE) } cuda "g * fma(-y, y, (T)1)" cost 0.3 [
        B => |a, _, g| on(Kernel::TanhGrad, &[g.into(), a.b()]),
        A | B => |a, _, g| on(Kernel::TanhBend, &[g.into(), a.a(), a.b()]),
    ];
    /// -2 g t y: the derivative of `tanh_grad` by y.
    TanhBend tanh_bend Float (g, t, y) { T::from_f64(-2.0) * g * t * y } cuda "(T)-2 * g * t * y" cost 0.3 [
        B | C => |a, _, g| on(Kernel::TanhBend, &[g.into(), a.b(), a.c()]),
        A | C => |a, _, g| on(Kernel::TanhBend, &[g.into(), a.a(), a.c()]),
        A | B => |a, _, g| on(Kernel::TanhBend, &[g.into(), a.a(), a.b()]),
    ];
    /// The inverse hyperbolic sine.
    Asinh asinh Float (x) { x.asinh() } cuda "m::asinh(x)" cost 1.0 shown ([0.0, 0.5]) => (0.0, 0.48121182505960347) [A => |a, _, g| g.mul(&on(Kernel::Square, &[a.a()])?.add(1.0)?.rsqrt()?)];
    /// The inverse hyperbolic cosine.
    Acosh acosh Float (x) { x.acosh() } cuda "m::acosh(x)" cost 1.0 shown ([1.0, 2.0]) => (0.0, 1.3169578969248168) [A => |a, _, g| g.mul(&on(Kernel::Square, &[a.a()])?.sub(1.0)?.rsqrt()?)];
    /// The inverse hyperbolic tangent.
    Atanh atanh Float (x) { x.atanh() } cuda "m::atanh(x)" cost 1.0 shown ([0.0, 0.5]) => (0.0, 0.5493061443340549) [A => |a, _, g| g.div(&one_minus_square(a.a())?)];
    /// The error function.
    Erf erf Float (x) { x.erf() } cuda "m::erf(x)" cost 0.7 shown ([0.0, 0.5]) => (0.0, 0.5204998778130465) [A => |a, _, g| g.mul(&gaussian(a.a())?)?.mul(TWO_OVER_SQRT_PI)];
    /// The complementary error function, accurate in the tail.
    Erfc erfc Float (x) { x.erfc() } cuda "m::erfc(x)" cost 1.5 shown ([0.0, 0.5]) => (1.0, 0.4795001221869535) [A => |a, _, g| g.mul(&gaussian(a.a())?)?.mul(-TWO_OVER_SQRT_PI)];
    /// The inverse of the error function.
    Erfinv erfinv Float (x) { x.erfinv() } cuda "m::erfinv(x)" cost 1.0 shown ([0.0, 0.5]) => (0.0, 0.4769362762044699) [Y => |_, y, g| g.mul(&y.square()?.exp()?)?.mul(1.0 / TWO_OVER_SQRT_PI)];
    /// The logarithm of the gamma function's absolute value.
    Gammaln gammaln Float (x) { x.gammaln() } cuda "m::gammaln(x)" cost 10.0 shown ([1.0, 5.0]) => (0.0, 3.1780538303479458) [A => |a, _, g| g.mul(&on(Kernel::Digamma, &[a.a()])?)];
    /// The logarithmic derivative of the gamma function.
    Digamma digamma Float (x) { x.digamma() } cuda "m::digamma(x)" cost 10.0 shown ([1.0, 5.0]) => (-0.5772156649015329, 1.5061176684318003) [A => |a, _, g| g.mul(&on(Kernel::Polygamma, &[1.0.into(), a.a()])?)];
    /// The derivative of digamma of the given order (a whole number from 1 on).
    Polygamma polygamma Float (order, x) { x.polygamma(order) } cuda "m::polygamma(x, order)" cost 10.0 shown ([1.0, 2.0], 2.0) => (0.6449340668482266, -0.4041138063191886) [
        NOTHING => |_, _, g| g.zeros_like(),
        A | B => |a, _, g| {
            let next = on(Kernel::Add, &[a.a(), 1.0.into()])?;
            g.mul(&on(Kernel::Polygamma, &[(&next).into(), a.b()])?)
        },
    ];
    /// The logarithm of the normal distribution's cumulative function.
    LogNdtr log_ndtr Float (x) { x.log_ndtr() } cuda "m::log_ndtr(x)" cost 5.0 shown ([0.0, 0.5]) => (-0.6931471805599453, -0.36894641528865635) [A => |a, _, g| g.mul(&on(Kernel::NormalRatio, &[a.a()])?)];
    /// The normal distribution's density over its cumulative function: the derivative of log_ndtr.
    NormalRatio normal_ratio Float (x) { x.normal_ratio() } cuda "m::normal_ratio(x)" cost 10.0 [A | Y => |a, y, g| g.mul(y)?.mul(&y.add(a.a())?)?.neg()];
    /// exp(-|x|) times the modified Bessel function of order 0.
    I0e i0e Float (x) { x.i0e() } cuda "m::i0e(x)" cost 5.0 shown ([0.0, 2.0]) => (1.0, 0.308508322553671) [A | Y => |a, y, g| {
        g.mul(&on(Kernel::I1e, &[a.a()])?.sub(&y.mul(&on(Kernel::Sign, &[a.a()])?)?)?)
    }];
    /// exp(-|x|) times the modified Bessel function of order 1.
    I1e i1e Float (x) { x.i1e() } cuda "m::i1e(x)" cost 5.0 shown ([0.0, 2.0]) => (0.0, 0.2152692892489377) [A | Y => |a, y, g| {
        let zero = on(Kernel::Equal, &[a.a(), 0.0.into()])?;
        let ratio = on(Kernel::Where, &[(&zero).into(), 0.5.into(), (&y.div(a.a())?).into()])?;
        g.mul(&on(Kernel::I0e, &[a.a()])?.sub(&ratio)?.sub(&y.mul(&on(Kernel::Sign, &[a.a()])?)?)?)
    }];
    /// sin(pi x) / (pi x).
    Sinc sinc Float (x) { x.sinc() } cuda "m::sinc(x)" cost 2.0 shown ([0.0, 0.5]) => (1.0, 0.6366197723675814) [A | Y => |a, y, g| {
        let angle = on(Kernel::Multiply, &[a.a(), std::f64::consts::PI.into()])?;
        let slope = angle.cos()?.sub(y)?.div(a.a())?;
        let zero = on(Kernel::Equal, &[a.a(), 0.0.into()])?;
        g.mul(&on(Kernel::Where, &[(&zero).into(), 0.0.into(), (&slope).into()])?)
    }];
    /// -x log x, 0 at 0 and -inf below.
    Entr entr Float (x) { x.entr() } cuda "m::entr(x)" cost 1.0 shown ([0.0, 0.5]) => (0.0, 0.34657359027997264) [A => |a, _, g| g.mul(&on(Kernel::Log, &[a.a()])?.neg()?.sub(1.0)?)];
    /// log(x / (1 - x)).
    Logit logit Float (x) { x.logit() } cuda "m::logit(x)" cost 1.0 shown ([0.5, 0.75]) => (0.0, 1.0986122886681098) [A | Y => |a, y, g| {
        let one_minus = on(Kernel::Subtract, &[1.0.into(), a.a()])?;
        let slope = g.div(&one_minus.mul(a.a())?)?;
        // Beyond [0, 1], where there is no logit, the formula has a value.
        on(Kernel::Where, &[(&y.isnan()?).into(), y.into(), (&slope).into()])
    }];

    /// max(x, 0); its slope at 0 is 0.
    Relu relu Number (x) { x.positive_part() } cuda "m::positive_part(x)" cost 0.2 shown ([-1.0, 2.0]) => (0.0, 2.0) [Y => |_, y, g| on(Kernel::Gate, &[g.into(), y.into()])];
    /// g where y > 0 (or NaN), else 0: the derivative of relu by its output.
    Gate gate Float (g, y) { if y <= T::ZERO { T::ZERO } else { g } } cuda "y <= (T)0 ? (T)0 : g" cost 0.2 [
        B => |a, _, g| on(Kernel::Gate, &[g.into(), a.b()]),
        NOTHING => |_, _, g| g.zeros_like(),
    ];
    /// min(max(x, 0), 6).
    Relu6 relu6 Number (x) { x.positive_part().least_of(6) } cuda "m::at_most(m::positive_part(x), (T)6)" cost 0.2 shown ([-1.0, 8.0]) => (0.0, 6.0) [A => |a, _, g| {
        zero_outside(a.a(), 0.0.into(), 6.0.into(), g)
    }];
    /// x for x > 0, else slope * x.
    LeakyRelu leaky_relu Float (x, slope) { if x > T::ZERO { x } else { x * slope } } cuda "x > (T)0 ? x : x * slope" cost 0.2 shown ([-1.0, 2.0], 0.1) => (-0.1, 2.0) [
        A | B => |a, _, g| {
            let positive = on(Kernel::Greater, &[a.a(), 0.0.into()])?;
            on(Kernel::Where, &[(&positive).into(), g.into(), (&g.mul(a.b())?).into()])
        },
        A => |a, _, g| {
            let positive = on(Kernel::Greater, &[a.a(), 0.0.into()])?;
            on(Kernel::Where, &[(&positive).into(), 0.0.into(), (&g.mul(a.a())?).into()])
        },
    ];
    /// x for x > 0, else alpha (exp x - 1).
    Elu elu Float (x, alpha) { if x > T::ZERO { x } else { alpha * x.expm1() } } cuda "x > (T)0 ? x : alpha * m::expm1(x)" cost 0.6 shown ([-1.0, 2.0], 1.0) => (-0.6321205588285577, 2.0) [
        A | B => |a, _, g| {
            let positive = on(Kernel::LessEqual, &[a.a(), 0.0.into()])?.logical_not()?;
            let below = on(Kernel::Exp, &[(&on(Kernel::Minimum, &[a.a(), 0.0.into()])?).into()])?.mul(a.b())?;
            on(Kernel::Where, &[(&positive).into(), g.into(), (&g.mul(&below)?).into()])
        },
    ];
    /// x for x > 0, else alpha (exp(x / alpha) - 1).
    Celu celu Float (x, alpha) { if x > T::ZERO { x } else { alpha * (x / alpha).expm1() } } cuda "x > (T)0 ? x : alpha * m::expm1(x / alpha)" cost 0.7 shown ([-1.0, 2.0], 2.0) => (-0.7869386805747332, 2.0) [
        A | B => |a, _, g| {
            let positive = on(Kernel::LessEqual, &[a.a(), 0.0.into()])?.logical_not()?;
            let below = on(Kernel::Minimum, &[a.a(), 0.0.into()])?.div(a.b())?.exp()?;
            on(Kernel::Where, &[(&positive).into(), g.into(), (&g.mul(&below)?).into()])
        },
    ];
    /// The self-normalising unit: scale * elu(x, alpha) (Klambauer et al. 2017).
    Selu selu Float (x) {
        let scale = T::from_f64(1.050_700_987_355_480_5);
        if x > T::ZERO { scale * x } else { T::from_f64(1.673_263_242_354_377_2 * 1.050_700_987_355_480_5) * x.expm1() }
    } cuda "m::selu(x)" cost 0.6 shown ([-1.0, 2.0]) => (-1.1113307378125625, 2.101401974710961) [A => |a, _, g| {
        let positive = on(Kernel::LessEqual, &[a.a(), 0.0.into()])?.logical_not()?;
        let below = on(Kernel::Minimum, &[a.a(), 0.0.into()])?.exp()?.mul(SELU_ALPHA)?;
        on(Kernel::Where, &[(&positive).into(), g.into(), (&g.mul(&below)?).into()])?.mul(SELU_SCALE)
    }];
    /// x times the normal distribution's cumulative function (the exact form).
    Gelu gelu Float (x) { x.gelu() } cuda "m::gelu(x)" cost 0.9 shown ([-1.0, 2.0]) => (-0.15865525393145707, 1.9544997361036416) [A => |a, _, g| on(Kernel::GeluGrad, &[g.into(), a.a()])];
    /// g (Phi(x) + x phi(x)): the derivative of gelu.
    GeluGrad gelu_grad Float (g, x) {
        let x = super::bounded(x);
        let density = T::from_f64(0.398_942_280_401_432_7) * (T::from_f64(-0.5) * x * x).exp();
        g * x.mul_add(density, x.ndtr())
    } cuda "m::gelu_grad(g, x)" cost 1.5 [
        B => |a, _, g| on(Kernel::GeluGrad, &[g.into(), a.b()]),
        A | B => |a, _, g| {
            // phi(x) (2 - x^2)
            let square = near(a.b())?.square()?;
            let density = square.mul(-0.5)?.exp()?.mul(0.398_942_280_401_432_7)?;
            g.mul(a.a())?.mul(&density)?.mul(&square.neg()?.add(2.0)?)
        },
    ];
    /// gelu by the tanh approximation.
    GeluTanh gelu_tanh Float (x) { x.gelu_tanh() } cuda "m::gelu_tanh(x)" cost 0.7 shown ([-1.0, 2.0]) => (-0.1588080093917233, 1.954597694087775) [A => |a, _, g| on(Kernel::GeluTanhGrad, &[g.into(), a.a()])];
    /// g s (1 + x w (1 - s)) with s = (1 + tanh u) / 2 = sigmoid(2 u) and w = 2 u': the derivative of gelu_tanh.
    GeluTanhGrad gelu_tanh_grad Float (g, x) {
        let x = super::bounded(x);
        let square = x * x;
        let twice = T::from_f64(2.0 * super::SQRT_2_OVER_PI);
        let s = (twice * x * square.mul_add(T::from_f64(super::GELU_CUBE), T::ONE)).sigmoid();
        let w = twice * square.mul_add(T::from_f64(3.0 * super::GELU_CUBE), T::ONE);
        g * s * (x * w).mul_add(T::ONE - s, T::ONE)
    } cuda "m::gelu_tanh_grad(g, x)" cost 0.9 [
        B => |a, _, g| on(Kernel::GeluTanhGrad, &[g.into(), a.b()]),
        A | B => |a, _, g| {
            // s (1 - s) (2 w + x w' + x (1 - 2 s) w^2)
            let x = near(a.b())?;
            let square = x.square()?;
            let s = square.mul(GELU_CUBE)?.add(1.0)?.mul(&x)?.mul(2.0 * SQRT_2_OVER_PI)?.sigmoid()?;
            let w = square.mul(3.0 * GELU_CUBE)?.add(1.0)?.mul(2.0 * SQRT_2_OVER_PI)?;
            let bend = w.mul(2.0)?.add(&square.mul(12.0 * GELU_CUBE * SQRT_2_OVER_PI)?)?;
            let bend = bend.add(&s.mul(-2.0)?.add(1.0)?.mul(&x)?.mul(&w.square()?)?)?;
            on(Kernel::SigmoidGrad, &[(&g.mul(a.a())?).into(), (&s).into()])?.mul(&bend)
        },
    ];
    /// x sigmoid(x), also called swish.
    Silu silu Float (x) { x.silu() } cuda "m::silu(x)" cost 0.6 shown ([-1.0, 2.0]) => (-0.2689414213699951, 1.7615941559557646) [A => |a, _, g| on(Kernel::SiluGrad, &[g.into(), a.a()])];
    /// g s (1 + x (1 - s)) with s = sigmoid(x): the derivative of silu.
    SiluGrad silu_grad Float (g, x) {
        let (x, s) = (super::bounded(x), x.sigmoid());
        g * s * x.mul_add(T::ONE - s, T::ONE)
    } cuda "m::silu_grad(g, x)" cost 0.8 [
        B => |a, _, g| on(Kernel::SiluGrad, &[g.into(), a.b()]),
        A | B => |a, _, g| {
            // s (1 - s) (2 + x (1 - 2 s))
            let s = on(Kernel::Sigmoid, &[a.b()])?;
            let bend = s.mul(-2.0)?.add(1.0)?.mul(&near(a.b())?)?.add(2.0)?;
            on(Kernel::SigmoidGrad, &[(&g.mul(a.a())?).into(), (&s).into()])?.mul(&bend)
        },
    ];
    /// x relu6(x + 3) / 6.
    HardSwish hard_swish Float (x) {
        let t = x + T::from_f64(3.0);
        let t = if t < T::ZERO { T::ZERO } else if t > T::from_f64(6.0) { T::from_f64(6.0) } else { t };
        x * t / T::from_f64(6.0)
    } cuda "m::hard_swish(x)" cost 0.3 shown ([-1.0, 2.0]) => (-0.3333333333333333, 1.6666666666666667) [A => |a, _, g| {
        let low = on(Kernel::LessEqual, &[a.a(), (-3.0).into()])?;
        let high = on(Kernel::GreaterEqual, &[a.a(), 3.0.into()])?;
        let middle = on(Kernel::Divide, &[a.a(), 3.0.into()])?.add(0.5)?;
        let slope = on(Kernel::Where, &[(&high).into(), 1.0.into(), (&middle).into()])?;
        g.mul(&on(Kernel::Where, &[(&low).into(), 0.0.into(), (&slope).into()])?)
    }];
    /// x tanh(softplus(x)).
    Mish mish Float (x) { x.mish() } cuda "m::mish(x)" cost 1.2 shown ([-1.0, 2.0]) => (-0.30340146137410895, 1.9439589595339946) [A => |a, _, g| {
        let t = on(Kernel::LogOnePlusExp, &[a.a()])?.tanh()?;
        let s = on(Kernel::Sigmoid, &[a.a()])?;
        let tail = t.square()?.neg()?.add(1.0)?.mul(&s)?.mul(&near(a.a())?)?;
        g.mul(&t.add(&tail)?)
    }];
    /// 1 / (1 + exp(-x)).
    Sigmoid sigmoid Float (x) { x.sigmoid() } cuda "m::sigmoid(x)" cost 0.5 shown ([-1.0, 2.0]) => (0.2689414213699951, 0.8807970779778823) [Y => |_, y, g| on(Kernel::SigmoidGrad, &[g.into(), y.into()])];
    /// g y (1 - y): the derivative of sigmoid by its output.
    SigmoidGrad sigmoid_grad Float (g, y) { g * y * (T::ONE - y) } cuda "g * y * ((T)1 - y)" cost 0.3 [
        B => |a, _, g| on(Kernel::SigmoidGrad, &[g.into(), a.b()]),
        A | B => |a, _, g| g.mul(a.a())?.mul(&on(Kernel::Multiply, &[a.b(), (-2.0).into()])?.add(1.0)?),
    ];
    /// relu6(x + 3) / 6.
    HardSigmoid hard_sigmoid Float (x) {
        let t = x / T::from_f64(6.0) + T::from_f64(0.5);
        if t < T::ZERO { T::ZERO } else if t > T::ONE { T::ONE } else { t }
    } cuda "m::hard_sigmoid(x)" cost 0.3 shown ([-1.0, 2.0]) => (0.3333333333333333, 0.8333333333333334) [A => |a, _, g| {
        let inside = on(Kernel::Less, &[(&on(Kernel::Abs, &[a.a()])?).into(), 3.0.into()])?;
        keep(&inside, &g.mul(1.0 / 6.0)?)
    }];
    /// log(sigmoid(x)), without overflow.
    LogSigmoid log_sigmoid Float (x) { x.log_sigmoid() } cuda "m::log_sigmoid(x)" cost 0.8 shown ([-1.0, 2.0]) => (-1.3132616875182228, -0.1269280110429725) [A => |a, _, g| g.mul(&on(Kernel::Sigmoid, &[(&on(Kernel::Negative, &[a.a()])?).into()])?)];
    /// x clipped to [min, max]; its slope is 0 at and beyond the bounds.
    HardTanh hard_tanh Float (x, min, max) { if x < min { min } else if x > max { max } else { x } } cuda "x < min ? min : x > max ? max : x" cost 0.3 shown ([-3.0, 0.5], -1.0, 1.0) => (-1.0, 0.5) [
        A | B | C => |a, _, g| {
            zero_outside(a.a(), a.b(), a.c(), g)
        },
    ];
    /// x - tanh(x).
    TanhShrink tanh_shrink Float (x) { x - x.tanh() } cuda "x - m::tanh(x)" cost 0.6 shown ([-1.0, 2.0]) => (-0.23840584404423515, 1.035972419924183) [A => |a, _, g| g.mul(&on(Kernel::Tanh, &[a.a()])?.square()?)];
    /// x moved towards 0 by the threshold, 0 within it.
    SoftShrink soft_shrink Float (x, threshold) {
        if x > threshold { x - threshold } else if x < -threshold { x + threshold } else { x * T::ZERO }
    } cuda "x > threshold ? x - threshold : x < -threshold ? x + threshold : x * (T)0" cost 0.3 shown ([0.3, 2.0], 0.5) => (0.0, 1.5) [
        A | B => |a, _, g| {
            let inside = on(Kernel::LessEqual, &[(&on(Kernel::Abs, &[a.a()])?).into(), a.b()])?;
            zero_where(&inside, g)
        },
    ];
    /// x, but 0 where |x| <= threshold.
    HardShrink hard_shrink Float (x, threshold) { if x <= threshold && x >= -threshold { T::ZERO } else { x } } cuda "x <= threshold && x >= -threshold ? (T)0 : x" cost 0.3 shown ([0.3, 2.0], 0.5) => (0.0, 2.0) [
        A | B => |a, _, g| {
            let inside = on(Kernel::LessEqual, &[(&on(Kernel::Abs, &[a.a()])?).into(), a.b()])?;
            zero_where(&inside, g)
        },
    ];
    /// log(1 + exp x), without overflow.
    LogOnePlusExp log_one_plus_exp Float (x) { x.softplus() } cuda "m::softplus(x)" cost 0.8 shown ([-1.0, 2.0]) => (0.31326168751822286, 2.1269280110429727) [A => |a, _, g| g.mul(&on(Kernel::Sigmoid, &[a.a()])?)];
    /// log(1 + exp(beta x)) / beta, and x where beta x > threshold.
    Softplus softplus_with Float (x, beta, threshold) { if x * beta > threshold { x } else { (x * beta).softplus() / beta } } cuda "x * beta > threshold ? x : m::softplus(x * beta) / beta" cost 0.9 shown ([-1.0, 2.0], 2.0, 3.0) => (0.06346400552148625, 2.0) [
        A | B | C => |a, _, g| {
            let scaled = on(Kernel::Multiply, &[a.a(), a.b()])?;
            let linear = on(Kernel::Greater, &[(&scaled).into(), a.c()])?;
            let slope = scaled.sigmoid()?;
            on(Kernel::Where, &[(&linear).into(), g.into(), (&g.mul(&slope)?).into()])
        },
    ];
    /// x / (1 + |x|).
    Softsign softsign Float (x) { x / (T::ONE + x.abs()) } cuda "x / ((T)1 + m::abs(x))" cost 0.4 shown ([-1.0, 2.0]) => (-0.5, 0.6666666666666666) [A => |a, _, g| {
        g.div(&on(Kernel::Abs, &[a.a()])?.add(1.0)?.square()?)
    }];
    /// log(cosh x), without overflow.
    LogCosh log_cosh Float (x) { x.log_cosh() } cuda "m::log_cosh(x)" cost 1.0 shown ([-1.0, 2.0]) => (0.4337808304830271, 1.3250027473578645) [A => |a, _, g| g.mul(&on(Kernel::Tanh, &[a.a()])?)];
    /// x tanh(x).
    Lisht lisht Float (x) { x * x.tanh() } cuda "x * m::tanh(x)" cost 0.6 shown ([-1.0, 2.0]) => (0.7615941559557649, 1.9280551601516338) [A => |a, _, g| {
        let t = on(Kernel::Tanh, &[a.a()])?;
        let tail = t.square()?.neg()?.add(1.0)?.mul(&near(a.a())?)?;
        g.mul(&t.add(&tail)?)
    }];
    /// x where x > threshold, else 0.
    ThresholdRelu threshold_relu Float (x, threshold) { if x <= threshold { T::ZERO } else { x } } cuda "x <= threshold ? (T)0 : x" cost 0.2 shown ([-1.0, 2.0], 1.0) => (0.0, 2.0) [
        A | B => |a, _, g| {
            zero_where(&on(Kernel::LessEqual, &[a.a(), a.b()])?, g)
        },
    ];
    /// x limited to [min, max]; the gradient passes inside and at the bounds.
    Clip clip_between Number (x, min, max) { x.greatest(min).least(max) } cuda "m::least(m::greatest(x, min), max)" cost 0.3 [
        A | B | C => |a, _, g| {
            let inside = on(Kernel::LogicalAnd, &[
                (&on(Kernel::GreaterEqual, &[a.a(), a.b()])?).into(),
                (&on(Kernel::LessEqual, &[a.a(), a.c()])?).into(),
            ])?;
            keep(&inside, g)
        },
        A | B | C => |a, _, g| {
            let low = on(Kernel::Less, &[a.a(), a.b()])?;
            let ordered = on(Kernel::LessEqual, &[a.b(), a.c()])?;
            keep(&on(Kernel::LogicalAnd, &[(&low).into(), (&ordered).into()])?, g)
        },
        A | B | C => |a, _, g| {
            let high = on(Kernel::Greater, &[a.a(), a.c()])?;
            let crossed = on(Kernel::Greater, &[a.b(), a.c()])?;
            keep(&on(Kernel::LogicalOr, &[(&high).into(), (&crossed).into()])?, g)
        },
    ];

    /// x == y.
    Equal equal Compare (x, y) { x == y } cuda "x == y" cost 0.2 shown ([1.0, 2.0], 2.0) => (false, true) [];
    /// x != y.
    NotEqual not_equal Compare (x, y) { x != y } cuda "x != y" cost 0.2 shown ([1.0, 2.0], 2.0) => (true, false) [];
    /// x < y.
    Less less Compare (x, y) { x < y } cuda "x < y" cost 0.2 shown ([1.0, 2.0], 2.0) => (true, false) [];
    /// x <= y.
    LessEqual less_equal Compare (x, y) { x <= y } cuda "x <= y" cost 0.2 shown ([1.0, 2.0], 2.0) => (true, true) [];
    /// x > y.
    Greater greater Compare (x, y) { x > y } cuda "x > y" cost 0.2 shown ([1.0, 2.0], 2.0) => (false, false) [];
    /// x >= y.
    GreaterEqual greater_equal Compare (x, y) { x >= y } cuda "x >= y" cost 0.2 shown ([1.0, 2.0], 2.0) => (false, true) [];
    /// Whether x is not a number.
    IsNan isnan Test (x) { x.is_nan() } cuda "m::is_nan(x)" cost 0.2 shown ([1.0, f64::NAN]) => (false, true) [];
    /// Whether x is an infinity.
    IsInf isinf Test (x) { x.is_infinite() } cuda "m::is_infinite(x)" cost 0.2 shown ([1.0, f64::INFINITY]) => (false, true) [];
    /// Whether x is neither an infinity nor NaN.
    IsFinite isfinite Test (x) { x.is_finite() } cuda "m::is_finite(x)" cost 0.2 shown ([1.0, f64::INFINITY]) => (true, false) [];
    /// Whether the sign bit is set.
    SignBit signbit Test (x) { x.is_sign_negative() } cuda "m::is_sign_negative(x)" cost 0.2 shown ([1.0, -0.0]) => (false, true) [];
    /// Both.
    LogicalAnd logical_and Logical (x, y) { x & y } cuda "x & y" cost 0.1 shown ([true, false], true) => (true, false) [];
    /// Either or both.
    LogicalOr logical_or Logical (x, y) { x | y } cuda "x | y" cost 0.1 shown ([true, false], true) => (true, true) [];
    /// Exactly one.
    LogicalXor logical_xor Logical (x, y) { x ^ y } cuda "x ^ y" cost 0.1 shown ([true, false], true) => (false, true) [];
    /// The opposite.
    LogicalNot logical_not Logical (x) { x ^ 1 } cuda "!x" cost 0.1 shown ([true, false]) => (false, true) [];
    /// Bits set in both.
    BitwiseAnd bitwise_and Bits (x, y) { x & y } cuda "x & y" cost 0.2 shown ([6, 5], 3) => (2, 1) [];
    /// Bits set in either.
    BitwiseOr bitwise_or Bits (x, y) { x | y } cuda "x | y" cost 0.2 shown ([6, 5], 3) => (7, 7) [];
    /// Bits set in exactly one.
    BitwiseXor bitwise_xor Bits (x, y) { x ^ y } cuda "x ^ y" cost 0.2 shown ([6, 5], 3) => (5, 6) [];
    /// Every bit flipped; of a truth value, the opposite.
    BitwiseInvert bitwise_invert Bits (x) { x.inverted() } cuda "m::inverted(x)" cost 0.2 shown ([6, -1]) => (-7, 0) [];
    /// Bits moved towards the higher places.
    BitwiseLeftShift bitwise_left_shift Bits (x, y) { x.shifted_left(y) } cuda "m::shifted_left(x, y)" cost 0.3 shown ([1, 3], 2) => (4, 12) [];
    /// Bits moved towards the lower places; the sign stays.
    BitwiseRightShift bitwise_right_shift Bits (x, y) { x.shifted_right(y) } cuda "m::shifted_right(x, y)" cost 0.3 shown ([8, -8], 2) => (2, -2) [];
    /// The first value where the condition holds, else the second.
    Where where_raw Select (condition, x, y) { if condition { x } else { y } } cuda "condition ? x : y" cost 0.2 [
        NOTHING => |_, _, g| g.zeros_like(),
        A => |a, _, g| on(Kernel::Where, &[a.a(), g.into(), 0.0.into()]),
        A => |a, _, g| on(Kernel::Where, &[a.a(), 0.0.into(), g.into()]),
    ];
}

impl Kernel {
    /// Whether a numeric kernel also has a meaning for truth values.
    pub(super) fn takes_bool(self) -> bool {
        matches!(
            self,
            Kernel::Add | Kernel::Multiply | Kernel::Minimum | Kernel::Maximum | Kernel::IntegerPow | Kernel::Square
        )
    }
}
