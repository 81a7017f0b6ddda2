//! Elementwise functions: a name for each row of the core's table.
//!
//! All take tensors, arrays, numbers and nested lists, broadcast, and promote as the operators do. Numbers
//! are weak scalars: they take the tensor's dtype.

use luxon::op::elementwise::{Kernel, map};
use luxon::{DType, Error};
use pyo3::prelude::*;

use crate::convert::Argument;
use crate::error::Out;
use crate::gil::{elements, released};
use crate::tensor::PyTensor;

/// A kernel of one argument.
#[inline]
pub fn one(kernel: Kernel, x: &Bound<'_, PyAny>) -> Out<PyTensor> {
    let py = x.py();
    let x = Argument::any(x)?;
    let operand = x.operand();
    Ok(released(py, x.count() as f64 * f64::from(kernel.cost()), || map(kernel, &[operand]))?.into())
}

/// A kernel of two arguments, not both of them numbers.
#[inline]
pub fn two(kernel: Kernel, x1: &Bound<'_, PyAny>, x2: &Bound<'_, PyAny>) -> Out<PyTensor> {
    let (a, b) = (Argument::any(x1)?, Argument::any(x2)?);
    if let (Argument::Scalar(_), Argument::Scalar(_)) = (&a, &b) {
        return Err(Error::Type(format!(
            "{}: both arguments are numbers; make one a tensor with asarray",
            kernel.name()
        ))
        .into());
    }
    Ok(crate::tensor::binary(x1.py(), kernel, a.operand(), b.operand())?.into())
}

/// A kernel of three arguments.
#[inline]
pub fn three(kernel: Kernel, a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>, c: &Bound<'_, PyAny>) -> Out<PyTensor> {
    let py = a.py();
    let (a, b, c) = (Argument::any(a)?, Argument::any(b)?, Argument::any(c)?);
    let operands = [a.operand(), b.operand(), c.operand()];
    let count = a.count().max(b.count()).max(c.count());
    Ok(released(py, count as f64 * f64::from(kernel.cost()), || map(kernel, &operands))?.into())
}

macro_rules! unary {
    ($register:ident: $($name:ident $kernel:ident $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[pyfunction]
            #[pyo3(signature = (x, /))]
            fn $name(x: &Bound<'_, PyAny>) -> Out<PyTensor> {
                $crate::function::elementwise::one(Kernel::$kernel, x)
            }
        )*

        fn $register(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add_function(wrap_pyfunction!($name, module)?)?;)*
            Ok(())
        }
    };
}
pub(crate) use unary;

macro_rules! binary {
    ($register:ident: $($name:ident $kernel:ident $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[pyfunction]
            #[pyo3(signature = (x1, x2, /))]
            fn $name(x1: &Bound<'_, PyAny>, x2: &Bound<'_, PyAny>) -> Out<PyTensor> {
                $crate::function::elementwise::two(Kernel::$kernel, x1, x2)
            }
        )*

        fn $register(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add_function(wrap_pyfunction!($name, module)?)?;)*
            Ok(())
        }
    };
}

unary! { register_unary:
    abs Abs "The absolute value; its slope at 0 is 0.";
    acos Acos "The inverse cosine, in radians.";
    acosh Acosh "The inverse hyperbolic cosine.";
    asin Asin "The inverse sine, in radians.";
    asinh Asinh "The inverse hyperbolic sine.";
    atan Atan "The inverse tangent, in radians.";
    atanh Atanh "The inverse hyperbolic tangent.";
    bitwise_invert BitwiseInvert "Every bit inverted; of truth values the negation.";
    ceil Ceil "Rounded towards plus infinity.";
    cos Cos "The cosine of an angle in radians.";
    cosh Cosh "The hyperbolic cosine.";
    exp Exp "e to the x.";
    exp2 Exp2 "2 to the x.";
    expm1 Expm1 "exp(x) - 1, accurate near 0.";
    floor Floor "Rounded towards minus infinity.";
    isfinite IsFinite "Whether each element is neither infinite nor NaN.";
    isinf IsInf "Whether each element is infinite.";
    isnan IsNan "Whether each element is NaN.";
    log Log "The natural logarithm.";
    log10 Log10 "The logarithm to base 10.";
    log1p Log1p "log(1 + x), accurate near 0.";
    log2 Log2 "The logarithm to base 2.";
    logical_not LogicalNot "Whether each element is false (zero).";
    negative Negative "The negative.";
    reciprocal Reciprocal "One over x.";
    rsqrt Rsqrt "One over the square root.";
    sign Sign "-1, 0 or 1 by the sign; NaN stays.";
    signbit SignBit "Whether the sign bit is set (-0.0 has one).";
    sin Sin "The sine of an angle in radians.";
    sinh Sinh "The hyperbolic sine.";
    sqrt Sqrt "The square root.";
    square Square "The square.";
    tan Tan "The tangent of an angle in radians.";
    trunc Trunc "Rounded towards zero.";
}

binary! { register_binary:
    add Add "The sum.";
    atan2 Atan2 "The angle of the point (x2, x1), in radians.";
    bitwise_and BitwiseAnd "The bits set in both.";
    bitwise_left_shift BitwiseLeftShift "The bits of x1 shifted left by x2.";
    bitwise_or BitwiseOr "The bits set in either.";
    bitwise_right_shift BitwiseRightShift "The bits of x1 shifted right by x2, keeping the sign.";
    bitwise_xor BitwiseXor "The bits set in exactly one.";
    copysign CopySign "The magnitude of x1 with the sign of x2.";
    divide Divide "The quotient; integers give floats.";
    equal Equal "Whether x1 == x2.";
    floor_divide FloorDivide "The quotient rounded towards minus infinity.";
    fmod Fmod "The remainder with the sign of x1.";
    greater Greater "Whether x1 > x2.";
    greater_equal GreaterEqual "Whether x1 >= x2.";
    hypot Hypot "The square root of x1^2 + x2^2, without overflow.";
    less Less "Whether x1 < x2.";
    less_equal LessEqual "Whether x1 <= x2.";
    logaddexp LogAddExp "log(exp(x1) + exp(x2)), without overflow.";
    logical_and LogicalAnd "Whether both are true.";
    logical_or LogicalOr "Whether either is true.";
    logical_xor LogicalXor "Whether exactly one is true.";
    maximum Maximum "The larger of two; NaN wins, ties share the gradient.";
    minimum Minimum "The smaller of two; NaN wins, ties share the gradient.";
    multiply Multiply "The product.";
    nextafter NextAfter "The next representable number after x1 towards x2.";
    not_equal NotEqual "Whether x1 != x2.";
    pow Pow "x1 to the power x2.";
    remainder Remainder "The remainder with the sign of x2.";
    subtract Subtract "The difference.";
}

unary! { register_special_unary:
    erf Erf "The error function.";
    erfc Erfc "The complementary error function, accurate in the tail.";
    erfinv Erfinv "The inverse of the error function.";
    expit Sigmoid "The logistic sigmoid 1 / (1 + exp(-x)).";
    logit Logit "log(x / (1 - x)), the inverse of expit.";
    gammaln Gammaln "The logarithm of the gamma function's absolute value.";
    digamma Digamma "The logarithmic derivative of the gamma function.";
    entr Entr "-x log(x); 0 at 0 and -inf below.";
    log_ndtr LogNdtr "The logarithm of the normal distribution's cumulative function.";
    sinc Sinc "sin(pi x) / (pi x).";
    i0e I0e "exp(-|x|) times the modified Bessel function of order 0.";
    i1e I1e "exp(-|x|) times the modified Bessel function of order 1.";
}

binary! { register_special_binary:
    xlogy XLogY "x1 log(x2), and 0 where x1 is 0.";
    xlog1py XLog1pY "x1 log(1 + x2), and 0 where x1 is 0.";
}

/// Functions that are the identity on real numbers, under the name that users see.
macro_rules! identity {
    ($($name:ident $text:literal;)*) => {$(
        #[doc = $text]
        #[pyfunction]
        #[pyo3(signature = (x, /))]
        fn $name(x: &Bound<'_, PyAny>) -> Out<PyTensor> {
            let tensor = Argument::any(x)?.into_tensor();
            if tensor.dtype() == DType::Bool {
                return Err(Error::unsupported(stringify!($name), DType::Bool, "numbers").into());
            }
            Ok(tensor.into())
        }
    )*};
}

identity! {
    conj "The complex conjugate: x itself, as all numbers here are real.";
    positive "x as a tensor of numbers.";
    real "The real part: x itself, as all numbers here are real.";
}

/// Rounded to the nearest integer, halves to even; with `decimals`, to that many digits after the point.
#[pyfunction]
#[pyo3(signature = (x, /, decimals=0))]
fn round(x: &Bound<'_, PyAny>, decimals: i32) -> Out<PyTensor> {
    if decimals == 0 {
        return one(Kernel::Round, x);
    }
    let tensor = Argument::any(x)?.into_tensor();
    if !tensor.dtype().is_float() && decimals > 0 {
        return Ok(tensor.into());
    }
    let dtype = tensor.dtype();
    let factor = 10f64.powi(decimals.abs());
    let wide = tensor.cast(dtype.to_float())?;
    let rounded =
        if decimals > 0 { wide.mul(factor)?.round()?.div(factor)? } else { wide.div(factor)?.round()?.mul(factor)? };
    Ok(rounded.cast(dtype)?.into())
}

/// Each element limited to [min, max]; None for no limit. The gradient passes at the limits.
#[pyfunction]
#[pyo3(signature = (x, /, min=None, max=None))]
pub fn clip(x: &Bound<'_, PyAny>, min: Option<&Bound<'_, PyAny>>, max: Option<&Bound<'_, PyAny>>) -> Out<PyTensor> {
    let py = x.py();
    let x = Argument::any(x)?.into_tensor();
    let (min, max) = (min.map(Argument::any).transpose()?, max.map(Argument::any).transpose()?);
    let (min, max) = (min.as_ref().map(Argument::operand), max.as_ref().map(Argument::operand));
    Ok(released(py, elements(x.count()), || x.clip(min, max))?.into())
}

/// x1 where the condition holds, else x2.
#[pyfunction(name = "where")]
#[pyo3(signature = (condition, x1, x2, /))]
fn choose(condition: &Bound<'_, PyAny>, x1: &Bound<'_, PyAny>, x2: &Bound<'_, PyAny>) -> Out<PyTensor> {
    three(Kernel::Where, condition, x1, x2)
}

/// Adds the functions to the module, and those of `luxon.special` to its submodule.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    register_unary(module)?;
    register_binary(module)?;
    module.add_function(wrap_pyfunction!(conj, module)?)?;
    module.add_function(wrap_pyfunction!(positive, module)?)?;
    module.add_function(wrap_pyfunction!(real, module)?)?;
    module.add_function(wrap_pyfunction!(round, module)?)?;
    module.add_function(wrap_pyfunction!(clip, module)?)?;
    module.add_function(wrap_pyfunction!(choose, module)?)?;
    let special = PyModule::new(module.py(), "special")?;
    register_special_unary(&special)?;
    register_special_binary(&special)?;
    module.add_submodule(&special)?;
    // A submodule of an extension module is importable by its full name only once it is listed.
    module.py().import("sys")?.getattr("modules")?.set_item("luxon._core.special", &special)
}
