//! Scalar mathematics for `f32` and `f64`, written so that LLVM vectorises loops over it.
//!
//! [`Math`] is implemented by straight-line code: fused multiply-adds, selects and integer operations on the bits,
//! without tables, calls or branches, so that one body serves every instruction set and gives the same bits on all
//! of them. Exceptional values (infinities, NaN, signed zeros, denormals) are exact and part of the same path. Only
//! what is rarely used has loops or branches: `gammaln`, `digamma`, `i0e`, the remainders, and the circular
//! functions beyond 1e5 (f32) or 2^40 (f64), for which there are block functions that vectorise all other blocks.
//! The trade-off throughout: two short formulas and a select rather than one long formula, f32 arithmetic rather
//! than f64 at half the lanes (except in `pow` and `log_ndtr`), corrections of known rounding errors rather than
//! longer types.
//!
//! Largest errors in ULPs, f32 / f64, over the whole range (the tests hold the code to them; how they were measured:
//! `reference.rs`; `logaddexp` in ULPs of its larger argument where the result is smaller):
//!
//! | | |
//! |---|---|
//! | exponentials | `exp` 0.9 / 0.9, `exp2` 1.0 / 0.8, `expm1` 1.4 / 1.4 |
//! | logarithms | `ln` 1.0 / 0.8, `log2` 1.6 / 1.0, `log10` 1.5 / 0.9, `ln_1p` 1.2 / 0.9 |
//! | circular | `sin` 1.3 / 1.1, `cos` 1.3 / 1.1, `tan` 1.7 / 1.4, `sinc` 2.0 / 1.8 |
//! | inverse circular | `asin` 1.3 / 1.2, `acos` 0.9 / 0.8, `atan` 1.3 / 1.1, `atan2` 1.6 / 1.3 |
//! | hyperbolic | `sinh` 1.7 / 1.4, `cosh` 1.5 / 1.3, `tanh` 1.5 / 1.2, `log_cosh` 2.0 / 1.7 |
//! | inverse hyperbolic | `asinh` 1.3 / 1.1, `acosh` 1.1 / 0.9, `atanh` 0.8 / 0.7 |
//! | normal distribution | `erf` 1.5 / 1.4, `erfc` 1.8 / 1.8, `erfinv` 2.6 / 1.9, `ndtr` 2.1 / 2.2, `log_ndtr` 0.6 / 2.3 |
//! | activations | `sigmoid` 1.6 / 1.2, `silu` 1.9 / 1.6, `softplus` 1.8 / 1.4, `log_sigmoid` 1.8 / 1.4, `mish` 2.0 / 1.9, `gelu` 3.8 / 1.8, `gelu_tanh` 2.1 / 1.6 |
//! | of probabilities | `logit` 1.0 / 0.8, `entr` 1.7 / 1.5, `xlogy` 1.9 / 1.5, `xlog1py` 2.0 / 1.7, `logaddexp` 2.2 / 1.4 |
//! | others | `pow` 0.6 / 0.9, `hypot` 1.2 / 1.2, `rsqrt` 1.6 / 1.5, `gammaln` 0.6 / 3.0, `digamma` 0.6 / 3.8, `i0e` 0.6 / 3.2 |
//!
//! Coefficients are minimax fits made for this crate (Remez exchange in 60 digits, coefficients rounded one after
//! the other and the rest refitted).

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
        /// e to the power `self`; 0.9 ULP in f32, 0.9 in f64.
        exp = exp::exp_f32, exp::exp_f64;
        /// 2 to the power `self`; 1.0 ULP in f32, 0.8 in f64.
        exp2 = exp::exp2_f32, exp::exp2_f64;
        /// `exp(self) - 1` without cancellation near 0; 1.4 ULP in f32, 1.4 in f64.
        expm1 = exp::expm1_f32, exp::expm1_f64;
        /// Natural logarithm; 1.0 ULP in f32, 0.8 in f64.
        ln = log::ln_f32, log::ln_f64;
        /// Logarithm to base 2; 1.6 ULP in f32, 1.0 in f64.
        log2 = log::log2_f32, log::log2_f64;
        /// Logarithm to base 10; 1.5 ULP in f32, 0.9 in f64.
        log10 = log::log10_f32, log::log10_f64;
        /// `ln(1 + self)` without cancellation near 0; 1.2 ULP in f32, 0.9 in f64.
        ln_1p = log::ln_1p_f32, log::ln_1p_f64;
        /// Sine, of arguments of any size; in loops use [`Math::sin_block`]; 1.3 ULP in f32, 1.1 in f64.
        sin = trig::sin_f32, trig::sin_f64;
        /// Cosine, of arguments of any size; in loops use [`Math::cos_block`]; 1.3 ULP in f32, 1.1 in f64.
        cos = trig::cos_f32, trig::cos_f64;
        /// Tangent, of arguments of any size; in loops use [`Math::tan_block`]; 1.7 ULP in f32, 1.4 in f64.
        tan = trig::tan_f32, trig::tan_f64;
        /// Inverse sine; 1.3 ULP in f32, 1.2 in f64.
        asin = inverse_trig::asin_f32, inverse_trig::asin_f64;
        /// Inverse cosine; 0.9 ULP in f32, 0.8 in f64.
        acos = inverse_trig::acos_f32, inverse_trig::acos_f64;
        /// Inverse tangent; 1.3 ULP in f32, 1.1 in f64.
        atan = inverse_trig::atan_f32, inverse_trig::atan_f64;
        /// Hyperbolic sine; 1.7 ULP in f32, 1.4 in f64.
        sinh = hyperbolic::sinh_f32, hyperbolic::sinh_f64;
        /// Hyperbolic cosine; 1.5 ULP in f32, 1.3 in f64.
        cosh = hyperbolic::cosh_f32, hyperbolic::cosh_f64;
        /// Hyperbolic tangent; 1.5 ULP in f32, 1.2 in f64.
        tanh = hyperbolic::tanh_f32, hyperbolic::tanh_f64;
        /// Inverse hyperbolic sine; 1.3 ULP in f32, 1.1 in f64.
        asinh = inverse_hyperbolic::asinh_f32, inverse_hyperbolic::asinh_f64;
        /// Inverse hyperbolic cosine; 1.1 ULP in f32, 0.9 in f64.
        acosh = inverse_hyperbolic::acosh_f32, inverse_hyperbolic::acosh_f64;
        /// Inverse hyperbolic tangent; 0.8 ULP in f32, 0.7 in f64.
        atanh = inverse_hyperbolic::atanh_f32, inverse_hyperbolic::atanh_f64;
        /// Error function; 1.5 ULP in f32, 1.4 in f64.
        erf = error_function::erf_f32, error_function::erf_f64;
        /// Complementary error function `1 - erf`, accurate in the tail; 1.8 ULP in f32, 1.8 in f64.
        erfc = normal::erfc_f32, normal::erfc_f64;
        /// Inverse error function; 2.6 ULP in f32, 1.9 in f64.
        erfinv = error_inverse::erfinv_f32, error_inverse::erfinv_f64;
        /// Standard normal distribution function; 2.1 ULP in f32, 2.2 in f64.
        ndtr = normal::ndtr_f32, normal::ndtr_f64;
        /// Logarithm of `ndtr`, accurate in both tails; 0.6 ULP in f32, 2.3 in f64.
        log_ndtr = normal::log_ndtr_f32, normal::log_ndtr_f64;
        /// `1 / (1 + exp(-self))`; 1.6 ULP in f32, 1.2 in f64.
        sigmoid = activation::sigmoid_f32, activation::sigmoid_f64;
        /// `ln(1 + exp(self))`; 1.8 ULP in f32, 1.4 in f64.
        softplus = activation::softplus_f32, activation::softplus_f64;
        /// `ln(sigmoid(self))`; 1.8 ULP in f32, 1.4 in f64.
        log_sigmoid = activation::log_sigmoid_f32, activation::log_sigmoid_f64;
        /// `ln(self / (1 - self))`, the inverse of `sigmoid`; 1.0 ULP in f32, 0.8 in f64.
        logit = activation::logit_f32, activation::logit_f64;
        /// `self * ndtr(self)`, its relative error small in the negative tail too; 3.8 ULP in f32, 1.8 in f64 (1.4 above -20).
        gelu = gelu::gelu_f32, gelu::gelu_f64;
        /// The tanh approximation of `gelu`; 2.1 ULP in f32, 1.6 in f64.
        gelu_tanh = gelu::gelu_tanh_f32, gelu::gelu_tanh_f64;
        /// `self * sigmoid(self)`; 1.9 ULP in f32, 1.6 in f64.
        silu = activation::silu_f32, activation::silu_f64;
        /// `self * tanh(softplus(self))`; 2.0 ULP in f32, 1.9 in f64.
        mish = activation::mish_f32, activation::mish_f64;
        /// `ln(cosh(self))`; 2.0 ULP in f32, 1.7 in f64.
        log_cosh = hyperbolic::log_cosh_f32, hyperbolic::log_cosh_f64;
        /// Logarithm of the absolute value of the gamma function; for `self > -1` 0.6 ULP in f32, 3.0 in f64,
        /// absolute error of a few ULPs of the larger term below.
        gammaln = gamma::gammaln_f32, gamma::gammaln_f64;
        /// Derivative of `gammaln`; for `self > -0.3` 0.6 ULP in f32, 3.8 in f64.
        digamma = gamma::digamma_f32, gamma::digamma_f64;
        /// `exp(-|self|)` times the modified Bessel function of order 0; 0.6 ULP in f32, 3.2 in f64.
        i0e = gamma::i0e_f32, gamma::i0e_f64;
        /// `sin(pi self) / (pi self)`, 1 at 0; 2.0 ULP in f32, 1.8 in f64.
        sinc = trig::sinc_f32, trig::sinc_f64;
        /// `-self * ln(self)`, 0 at 0, minus infinity below; 1.7 ULP in f32, 1.5 in f64.
        entr = information::entr_f32, information::entr_f64;
        /// Square root, correctly rounded.
        sqrt = arithmetic::sqrt_f32, arithmetic::sqrt_f64;
        /// `1 / sqrt(self)`; 1.6 ULP in f32, 1.5 in f64.
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
        /// Nearest integer, halves to even (as NumPy, and C's `rint`).
        round = arithmetic::round_f32, arithmetic::round_f64;
        /// Absolute value.
        abs = arithmetic::abs_f32, arithmetic::abs_f64;
        /// -1, 0 or 1; 0 for either zero, and NaN is kept.
        sign = arithmetic::sign_f32, arithmetic::sign_f64;
    }
    binary {
        /// `self` to the power `y`, with C's special cases; 0.6 ULP in f32, 0.9 in f64.
        pow = power::pow_f32, power::pow_f64;
        /// Angle of the point (`y`, `self`): `self` is the ordinate; 1.6 ULP in f32, 1.3 in f64.
        atan2 = inverse_trig::atan2_f32, inverse_trig::atan2_f64;
        /// `sqrt(self^2 + y^2)` without overflow; 1.2 ULP in f32, 1.2 in f64.
        hypot = arithmetic::hypot_f32, arithmetic::hypot_f64;
        /// `ln(exp(self) + exp(y))`; 2.2 ULP of the largest of the arguments and the result in f32, 1.4 in f64.
        logaddexp = information::logaddexp_f32, information::logaddexp_f64;
        /// `self * ln(y)`, 0 where `self` is 0 and `y` is not NaN; 1.9 ULP in f32, 1.5 in f64.
        xlogy = information::xlogy_f32, information::xlogy_f64;
        /// `self * ln_1p(y)`, 0 where `self` is 0 and `y` is not NaN; 2.0 ULP in f32, 1.7 in f64.
        xlog1py = information::xlog1py_f32, information::xlog1py_f64;
        /// Magnitude of `self`, sign of `y`.
        copysign = arithmetic::copysign_f32, arithmetic::copysign_f64;
        /// The neighbour of `self` towards `y`.
        nextafter = arithmetic::nextafter_f32, arithmetic::nextafter_f64;
        /// C remainder, exact: the sign of `self`.
        fmod = arithmetic::fmod_f32, arithmetic::fmod_f64;
        /// NumPy's `floor_divide`: the integer that goes with [`Math::remainder`].
        floor_divide = arithmetic::floor_divide_f32, arithmetic::floor_divide_f64;
        /// NumPy's `remainder`: the sign of `y`.
        remainder = arithmetic::remainder_f32, arithmetic::remainder_f64;
        /// Smaller of the two; NaN if either is NaN.
        minimum = arithmetic::minimum_f32, arithmetic::minimum_f64;
        /// Larger of the two; NaN if either is NaN.
        maximum = arithmetic::maximum_f32, arithmetic::maximum_f64;
    }
}
