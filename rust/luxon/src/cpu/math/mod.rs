//! Scalar mathematics for `f32` and `f64`, written so that LLVM vectorises loops over it.

/// Horner's rule with fused multiply-adds, the highest coefficient first.
macro_rules! polynomial {
    ($x:expr, $first:expr $(, $next:expr)* $(,)?) => {{
        let x = $x;
        let sum = $first;
        $(let sum = x.mul_add(sum, $next);)*
        sum
    }};
}

mod activation;
mod arithmetic;
mod error_function;
mod error_inverse;
mod exp;
mod gamma;
mod gelu;
mod hyperbolic;
mod information;
mod inverse_hyperbolic;
mod inverse_trig;
mod log;
mod normal;
mod power;
#[cfg(test)]
mod reference;
mod trig;
mod trig_large;

/// Declares [`Math`] and implements it for both types from one table.
macro_rules! define_math {
    (unary { $($(#[$unary_doc:meta])* $unary:ident = $u32:path, $u64:path;)* }
     binary { $($(#[$binary_doc:meta])* $binary:ident = $b32:path, $b64:path;)* }) => {
        /// Elementary functions of `f32` and `f64`, every one `#[inline(always)]`.
        ///
        /// In code on a concrete type write `Math::exp(x)`: `x.exp()` would be the inherent method of `std`.
        pub trait Math: Copy + PartialOrd + Send + Sync + 'static {
            $($(#[$unary_doc])* fn $unary(self) -> Self;)*
            $($(#[$binary_doc])* fn $binary(self, y: Self) -> Self;)*
            /// `self * a + b` with one rounding.
            fn mul_add(self, a: Self, b: Self) -> Self;
            /// `sin` of every element of a block, vectorised unless some argument is huge.
            fn sin_block<const N: usize>(block: &mut [Self; N]);
            /// `cos` of every element of a block, vectorised unless some argument is huge.
            fn cos_block<const N: usize>(block: &mut [Self; N]);
            /// `tan` of every element of a block, vectorised unless some argument is huge.
            fn tan_block<const N: usize>(block: &mut [Self; N]);
        }
        impl Math for f32 {
            $(#[inline(always)] fn $unary(self) -> f32 { $u32(self) })*
            $(#[inline(always)] fn $binary(self, y: f32) -> f32 { $b32(self, y) })*
            #[inline(always)] fn mul_add(self, a: f32, b: f32) -> f32 { f32::mul_add(self, a, b) }
            #[inline(always)] fn sin_block<const N: usize>(block: &mut [f32; N]) { trig::sin_block_f32(block) }
            #[inline(always)] fn cos_block<const N: usize>(block: &mut [f32; N]) { trig::cos_block_f32(block) }
            #[inline(always)] fn tan_block<const N: usize>(block: &mut [f32; N]) { trig::tan_block_f32(block) }
        }
        impl Math for f64 {
            $(#[inline(always)] fn $unary(self) -> f64 { $u64(self) })*
            $(#[inline(always)] fn $binary(self, y: f64) -> f64 { $b64(self, y) })*
            #[inline(always)] fn mul_add(self, a: f64, b: f64) -> f64 { f64::mul_add(self, a, b) }
            #[inline(always)] fn sin_block<const N: usize>(block: &mut [f64; N]) { trig::sin_block_f64(block) }
            #[inline(always)] fn cos_block<const N: usize>(block: &mut [f64; N]) { trig::cos_block_f64(block) }
            #[inline(always)] fn tan_block<const N: usize>(block: &mut [f64; N]) { trig::tan_block_f64(block) }
        }
    };
}

define_math! {
    unary {
        /// e to the power `self`.
        exp = exp::exp_f32, exp::exp_f64;
        /// 2 to the power `self`.
        exp2 = exp::exp2_f32, exp::exp2_f64;
        /// `exp(self) - 1` without cancellation near 0.
        expm1 = exp::expm1_f32, exp::expm1_f64;
        /// Natural logarithm.
        ln = log::ln_f32, log::ln_f64;
        /// Logarithm to base 2.
        log2 = log::log2_f32, log::log2_f64;
        /// Logarithm to base 10.
        log10 = log::log10_f32, log::log10_f64;
        /// `ln(1 + self)` without cancellation near 0.
        ln_1p = log::ln_1p_f32, log::ln_1p_f64;
        /// Sine.
        sin = trig::sin_f32, trig::sin_f64;
        /// Cosine.
        cos = trig::cos_f32, trig::cos_f64;
        /// Tangent.
        tan = trig::tan_f32, trig::tan_f64;
        /// Inverse sine.
        asin = inverse_trig::asin_f32, inverse_trig::asin_f64;
        /// Inverse cosine.
        acos = inverse_trig::acos_f32, inverse_trig::acos_f64;
        /// Inverse tangent.
        atan = inverse_trig::atan_f32, inverse_trig::atan_f64;
        /// Hyperbolic sine.
        sinh = hyperbolic::sinh_f32, hyperbolic::sinh_f64;
        /// Hyperbolic cosine.
        cosh = hyperbolic::cosh_f32, hyperbolic::cosh_f64;
        /// Hyperbolic tangent.
        tanh = hyperbolic::tanh_f32, hyperbolic::tanh_f64;
        /// Inverse hyperbolic sine.
        asinh = inverse_hyperbolic::asinh_f32, inverse_hyperbolic::asinh_f64;
        /// Inverse hyperbolic cosine.
        acosh = inverse_hyperbolic::acosh_f32, inverse_hyperbolic::acosh_f64;
        /// Inverse hyperbolic tangent.
        atanh = inverse_hyperbolic::atanh_f32, inverse_hyperbolic::atanh_f64;
        /// Error function.
        erf = error_function::erf_f32, error_function::erf_f64;
        /// Complementary error function `1 - erf`, accurate in the tail.
        erfc = normal::erfc_f32, normal::erfc_f64;
        /// Inverse error function.
        erfinv = error_inverse::erfinv_f32, error_inverse::erfinv_f64;
        /// Standard normal distribution function.
        ndtr = normal::ndtr_f32, normal::ndtr_f64;
        /// Logarithm of `ndtr`, accurate in both tails.
        log_ndtr = normal::log_ndtr_f32, normal::log_ndtr_f64;
        /// `1 / (1 + exp(-self))`.
        sigmoid = activation::sigmoid_f32, activation::sigmoid_f64;
        /// `ln(1 + exp(self))`.
        softplus = activation::softplus_f32, activation::softplus_f64;
        /// `ln(sigmoid(self))`.
        log_sigmoid = activation::log_sigmoid_f32, activation::log_sigmoid_f64;
        /// `ln(self / (1 - self))`, the inverse of `sigmoid`.
        logit = activation::logit_f32, activation::logit_f64;
        /// `self * ndtr(self)`, relative error small in the negative tail too.
        gelu = gelu::gelu_f32, gelu::gelu_f64;
        /// The tanh approximation of `gelu`.
        gelu_tanh = gelu::gelu_tanh_f32, gelu::gelu_tanh_f64;
        /// `self * sigmoid(self)`.
        silu = activation::silu_f32, activation::silu_f64;
        /// `self * tanh(softplus(self))`.
        mish = activation::mish_f32, activation::mish_f64;
        /// `ln(cosh(self))`.
        log_cosh = hyperbolic::log_cosh_f32, hyperbolic::log_cosh_f64;
        /// Logarithm of the absolute value of the gamma function.
        gammaln = gamma::gammaln_f32, gamma::gammaln_f64;
        /// Derivative of `gammaln`.
        digamma = gamma::digamma_f32, gamma::digamma_f64;
        /// `exp(-|self|)` times the modified Bessel function of order 0.
        i0e = gamma::i0e_f32, gamma::i0e_f64;
        /// `sin(pi self) / (pi self)`, 1 at 0.
        sinc = trig::sinc_f32, trig::sinc_f64;
        /// `-self * ln(self)`, 0 at 0, minus infinity below.
        entr = information::entr_f32, information::entr_f64;
        /// Square root, correctly rounded.
        sqrt = arithmetic::sqrt_f32, arithmetic::sqrt_f64;
        /// `1 / sqrt(self)`.
        rsqrt = arithmetic::rsqrt_f32, arithmetic::rsqrt_f64;
        /// `1 / self`, correctly rounded.
        reciprocal = arithmetic::reciprocal_f32, arithmetic::reciprocal_f64;
        /// `self * self`.
        square = arithmetic::square_f32, arithmetic::square_f64;
        /// Largest integer not above.
        floor = arithmetic::floor_f32, arithmetic::floor_f64;
        /// Smallest integer not below.
        ceil = arithmetic::ceil_f32, arithmetic::ceil_f64;
        /// Integer part.
        trunc = arithmetic::trunc_f32, arithmetic::trunc_f64;
        /// Nearest integer, halves to even; the same as `round`.
        rint = arithmetic::round_f32, arithmetic::round_f64;
        /// Nearest integer, halves to even (as NumPy and C `rint`).
        round = arithmetic::round_f32, arithmetic::round_f64;
        /// Absolute value.
        abs = arithmetic::abs_f32, arithmetic::abs_f64;
        /// -1, 0 or 1; NaN and the sign of zero are kept.
        sign = arithmetic::sign_f32, arithmetic::sign_f64;
    }
    binary {
        /// `self` to the power `y`, C's special cases.
        pow = power::pow_f32, power::pow_f64;
        /// Angle of the point (`y`, `self`): `self` is the ordinate.
        atan2 = inverse_trig::atan2_f32, inverse_trig::atan2_f64;
        /// `sqrt(self^2 + y^2)` without overflow.
        hypot = arithmetic::hypot_f32, arithmetic::hypot_f64;
        /// `ln(exp(self) + exp(y))`.
        logaddexp = information::logaddexp_f32, information::logaddexp_f64;
        /// `self * ln(y)`, 0 where `self` is 0 and `y` is not NaN.
        xlogy = information::xlogy_f32, information::xlogy_f64;
        /// `self * ln_1p(y)`, 0 where `self` is 0 and `y` is not NaN.
        xlog1py = information::xlog1py_f32, information::xlog1py_f64;
        /// Magnitude of `self`, sign of `y`.
        copysign = arithmetic::copysign_f32, arithmetic::copysign_f64;
        /// The neighbour of `self` towards `y`.
        nextafter = arithmetic::nextafter_f32, arithmetic::nextafter_f64;
        /// C remainder: the sign of `self`.
        fmod = arithmetic::fmod_f32, arithmetic::fmod_f64;
        /// NumPy's `floor_divide`.
        floor_divide = arithmetic::floor_divide_f32, arithmetic::floor_divide_f64;
        /// NumPy's `remainder`: the sign of `y`.
        remainder = arithmetic::remainder_f32, arithmetic::remainder_f64;
        /// Smaller of the two; NaN if either is NaN.
        minimum = arithmetic::minimum_f32, arithmetic::minimum_f64;
        /// Larger of the two; NaN if either is NaN.
        maximum = arithmetic::maximum_f32, arithmetic::maximum_f64;
    }
}
