//! Arithmetic as users write it, and powers.

use super::{Kernel, Operand, map};
use crate::dtype::Scalar;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

impl Tensor {
    /// Elementwise sum.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1.0, 2.0], &[2, 1])?;
    /// assert_eq!(x.add(&Tensor::new(&[10.0, 20.0], &[2])?)?.to_vec::<f64>()?, [11.0, 21.0, 12.0, 22.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn add<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        map(Kernel::Add, &[self.into(), other.into()])
    }

    /// Elementwise difference.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[5, 7], &[2])?.sub(2)?.to_vec::<i32>()?, [3, 5]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn sub<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        map(Kernel::Subtract, &[self.into(), other.into()])
    }

    /// Elementwise product.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[5, 7], &[2])?.mul(2)?.to_vec::<i32>()?, [10, 14]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn mul<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        map(Kernel::Multiply, &[self.into(), other.into()])
    }

    /// Elementwise quotient.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 3], &[2])?.div(2)?; // Integers give floats.
    /// assert_eq!(x.to_vec::<f32>()?, [0.5, 1.5]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn div<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        map(Kernel::Divide, &[self.into(), other.into()])
    }

    /// The negative.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1, -2], &[2])?.neg()?.to_vec::<i32>()?, [-1, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn neg(&self) -> Result<Tensor> {
        map(Kernel::Negative, &[self.into()])
    }
}

/// `base` to the power `exponent`; squares, roots and reciprocals by scalar exponents take their own kernels.
///
/// ```
/// use luxon::{Tensor, pow};
/// let x = Tensor::new(&[2.0, 3.0], &[2])?;
/// assert!(pow(&x, 3)?.allclose(&Tensor::new(&[8.0, 27.0], &[2])?, 1e-14, 0.0, false)?);
/// assert!(pow(2.0, &x)?.allclose(&Tensor::new(&[4.0, 8.0], &[2])?, 1e-14, 0.0, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for integers to a negative integer scalar, and those of [`map()`].
pub fn pow<'a>(base: impl Into<Operand<'a>>, exponent: impl Into<Operand<'a>>) -> Result<Tensor> {
    let (base, exponent) = (base.into(), exponent.into());
    if let (Operand::Tensor(x), Operand::Scalar(power)) = (base, exponent) {
        let integral = !x.dtype().is_float();
        match (power.as_f64(), power) {
            (value, Scalar::Int(_)) if value < 0.0 && integral => {
                return Err(Error::value(
                    "pow",
                    "integers to a negative integer power are not integers; cast the base to a float",
                ));
            }
            (2.0, _) if !integral || matches!(power, Scalar::Int(_)) => return x.square(),
            (1.0, _) if !integral => return Ok(x.clone()),
            (0.5, _) if !integral => return x.sqrt(),
            (-0.5, _) if !integral => return x.rsqrt(),
            (-1.0, _) if !integral => return x.reciprocal(),
            (3.0, _) if !integral => return x.square()?.mul(x),
            _ => {}
        }
    }
    let integral = |operand: &Operand<'_>| match operand {
        Operand::Tensor(tensor) => !tensor.dtype().is_float(),
        Operand::Scalar(scalar) => !matches!(scalar, Scalar::Float(_)),
    };
    let kernel = if integral(&base) && integral(&exponent) { Kernel::IntegerPow } else { Kernel::Pow };
    map(kernel, &[base, exponent])
}
