//! What derivatives in the [`table`](super::table) share: choices between gradients, slopes and constants.

use super::{Args, Kernel, Operand, map};
use crate::error::Result;
use crate::tensor::Tensor;

pub(super) const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
/// The cube's share in the tanh approximation of gelu.
pub(super) const GELU_CUBE: f64 = 0.044_715;
pub(super) const TWO_OVER_SQRT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;
pub(super) const LN_2: f64 = std::f64::consts::LN_2;
pub(super) const LN_10: f64 = std::f64::consts::LN_10;
pub(super) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
pub(super) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// A scalar or tensor operand as a tensor operation's first argument.
pub(super) fn on(kernel: Kernel, operands: &[Operand<'_>]) -> Result<Tensor> {
    map(kernel, operands)
}

/// `g` where `condition`, else 0.
pub(super) fn keep(condition: &Tensor, g: &Tensor) -> Result<Tensor> {
    on(Kernel::Where, &[condition.into(), g.into(), 0.0.into()])
}

/// 0 where `condition`, else `g`: unlike [`keep`] of the opposite, it lets the gradient pass at NaN.
pub(super) fn zero_where(condition: &Tensor, g: &Tensor) -> Result<Tensor> {
    on(Kernel::Where, &[condition.into(), 0.0.into(), g.into()])
}

/// `g`, but 0 at and beyond the bounds.
pub(super) fn zero_outside(x: Operand<'_>, low: Operand<'_>, high: Operand<'_>, g: &Tensor) -> Result<Tensor> {
    let (below, above) = (on(Kernel::LessEqual, &[x, low])?, on(Kernel::GreaterEqual, &[x, high])?);
    zero_where(&below.logical_or(&above)?, g)
}

/// `slope`, but 0 where `x` is 0 and `edge` holds.
pub(super) fn zero_where_both(x: Operand<'_>, edge: &Tensor, slope: &Tensor) -> Result<Tensor> {
    zero_where(&on(Kernel::Equal, &[x, 0.0.into()])?.logical_and(edge)?, slope)
}

/// `g / (a^2 + b^2)`, and 0 where both are 0.
pub(super) fn over_square(g: &Tensor, args: &Args<'_>) -> Result<Tensor> {
    let square = args.tensor(0)?.square()?.add(&args.tensor(1)?.square()?)?;
    zero_where(&square.equal(0.0)?, &g.div(&square)?)
}

/// Where the activations have long become straight, and their bends exactly 0 in every dtype.
const FAR: f64 = 1e4;

/// The argument as far as it matters to derivatives: an infinity, or a square of one, times 0 would be NaN.
#[inline(always)]
pub(super) fn bounded<T: crate::cpu::real::Real>(x: T) -> T {
    let far = T::from_f64(FAR);
    if x > far {
        far
    } else if x < -far {
        -far
    } else {
        x
    }
}

/// [`bounded`] of a tensor; the slope beyond is 0, which is right where it multiplies what is 0 there.
pub(super) fn near(x: Operand<'_>) -> Result<Tensor> {
    on(Kernel::Clip, &[x, (-FAR).into(), FAR.into()])
}

/// 1 - x^2, as (1 - x)(1 + x): exact near the ends.
pub(super) fn one_minus_square(x: Operand<'_>) -> Result<Tensor> {
    let less = on(Kernel::Subtract, &[1.0.into(), x])?;
    less.mul(&on(Kernel::Add, &[1.0.into(), x])?)
}

/// exp(-x^2)
pub(super) fn gaussian(x: Operand<'_>) -> Result<Tensor> {
    on(Kernel::Square, &[x])?.neg()?.exp()
}
