//! Element types, Python-style scalars, and the rules by which types combine.
//!
//! Promotion follows the Array API within a kind. Across kinds the floating type wins at its own
//! width (`i64 + f32` is `f32`, as in PyTorch and JAX), so an index tensor never doubles the width of
//! a network. Scalars are weak (NEP 50): they take the tensor's dtype unless their kind is higher.

use std::fmt;

use half::{bf16, f16};

use crate::error::{Error, Result};

/// The type of a tensor's elements.
///
/// ```
/// use luxon::{DType, Tensor};
/// assert_eq!(DType::F32.promote(DType::I64), DType::F32);
/// assert_eq!(Tensor::zeros(&[2], DType::BF16)?.dtype().to_string(), "bfloat16");
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// bfloat16: stored in 16 bits, computed in f32.
    BF16,
    /// IEEE half precision: stored in 16 bits, computed in f32.
    F16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
}

/// The classes of element types, ordered as promotion climbs.
///
/// ```
/// use luxon::{DType, Kind};
/// assert!(Kind::Bool < Kind::Int && Kind::Int < Kind::Float);
/// assert_eq!(DType::U8.kind(), Kind::Int);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Truth values.
    Bool,
    /// Integers.
    Int,
    /// Floating-point numbers.
    Float,
}

impl DType {
    /// Every dtype, in declaration order.
    pub const ALL: [DType; 8] =
        [DType::Bool, DType::U8, DType::I32, DType::I64, DType::BF16, DType::F16, DType::F32, DType::F64];
    /// The dtype of floating-point results that nothing else decides.
    pub const DEFAULT_FLOAT: DType = DType::F32;
    /// The dtype of indices and of integer results that nothing else decides.
    pub const DEFAULT_INT: DType = DType::I64;

    /// Bytes of one element.
    ///
    /// ```
    /// use luxon::DType;
    /// assert_eq!(DType::F64.size(), 8);
    /// ```
    #[inline]
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::BF16 | DType::F16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// Its class.
    ///
    /// ```
    /// use luxon::{DType, Kind};
    /// assert_eq!(DType::F16.kind(), Kind::Float);
    /// ```
    #[inline]
    pub const fn kind(self) -> Kind {
        match self {
            DType::Bool => Kind::Bool,
            DType::U8 | DType::I32 | DType::I64 => Kind::Int,
            DType::BF16 | DType::F16 | DType::F32 | DType::F64 => Kind::Float,
        }
    }

    /// Whether it is a floating type: only those are differentiated.
    ///
    /// ```
    /// use luxon::DType;
    /// assert!(DType::BF16.is_float() && !DType::I32.is_float());
    /// ```
    #[inline]
    pub const fn is_float(self) -> bool {
        matches!(self.kind(), Kind::Float)
    }

    /// Whether it is an integer type (bool is not).
    ///
    /// ```
    /// use luxon::DType;
    /// assert!(DType::U8.is_int() && !DType::Bool.is_int());
    /// ```
    #[inline]
    pub const fn is_int(self) -> bool {
        matches!(self.kind(), Kind::Int)
    }

    /// Whether it is stored in 16 bits and computed in f32.
    ///
    /// ```
    /// use luxon::DType;
    /// assert!(DType::F16.is_half() && !DType::F32.is_half());
    /// ```
    #[inline]
    pub const fn is_half(self) -> bool {
        matches!(self, DType::BF16 | DType::F16)
    }

    /// NumPy's name.
    ///
    /// ```
    /// use luxon::DType;
    /// assert_eq!(DType::I64.name(), "int64");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "uint8",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::BF16 => "bfloat16",
            DType::F16 => "float16",
            DType::F32 => "float32",
            DType::F64 => "float64",
        }
    }

    /// The dtype of the given NumPy name.
    ///
    /// ```
    /// use luxon::DType;
    /// assert_eq!(DType::from_name("float32"), Some(DType::F32));
    /// assert_eq!(DType::from_name("complex64"), None);
    /// ```
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// The dtype that holds values of both; see the module for the rule.
    ///
    /// ```
    /// use luxon::DType;
    /// assert_eq!(DType::I32.promote(DType::I64), DType::I64);
    /// assert_eq!(DType::BF16.promote(DType::F16), DType::F32);
    /// ```
    #[inline]
    pub fn promote(self, other: DType) -> DType {
        if self == other {
            return self;
        }
        let (low, high) = if self < other { (self, other) } else { (other, self) };
        match (low, high) {
            // Neither half type holds the other's values.
            (DType::BF16, DType::F16) => DType::F32,
            _ => high,
        }
    }

    /// The dtype that floating-point functions compute this one in: itself, or the default for
    /// integers and truth values.
    ///
    /// ```
    /// use luxon::DType;
    /// assert_eq!(DType::I64.to_float(), DType::F32);
    /// assert_eq!(DType::F64.to_float(), DType::F64);
    /// ```
    #[inline]
    pub const fn to_float(self) -> DType {
        if self.is_float() { self } else { DType::DEFAULT_FLOAT }
    }

    /// The dtype of a tensor of this dtype combined with a weak scalar.
    #[inline]
    #[doc(hidden)]
    pub fn promote_scalar(self, scalar: Scalar) -> DType {
        match scalar {
            Scalar::Bool(_) => self,
            Scalar::Int(_) if self == DType::Bool => DType::DEFAULT_INT,
            Scalar::Int(_) => self,
            Scalar::Float(_) => self.to_float(),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A weakly typed number: a parameter of an operation, not a tensor.
///
/// ```
/// use luxon::{DType, Scalar, Tensor};
/// let x = Tensor::new(&[1.0f32, 2.0], &[2])?;
/// assert_eq!(x.mul(2.0)?.dtype(), DType::F32); // A number takes the tensor's dtype.
/// assert_eq!(x.sum(None, false)?.item()?, Scalar::Float(3.0));
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A real number.
    Float(f64),
}

impl Scalar {
    /// Its value as a double.
    ///
    /// ```
    /// use luxon::Scalar;
    /// assert_eq!(Scalar::from(3).as_f64(), 3.0);
    /// ```
    #[inline]
    pub fn as_f64(self) -> f64 {
        match self {
            Scalar::Bool(value) => f64::from(u8::from(value)),
            Scalar::Int(value) => value as f64,
            Scalar::Float(value) => value,
        }
    }

    /// Its value as an integer, truncated and saturated.
    ///
    /// ```
    /// use luxon::Scalar;
    /// assert_eq!(Scalar::from(-2.7).as_i64(), -2);
    /// ```
    #[inline]
    pub fn as_i64(self) -> i64 {
        match self {
            Scalar::Bool(value) => i64::from(value),
            Scalar::Int(value) => value,
            Scalar::Float(value) => value as i64,
        }
    }

    /// The dtype that the scalar has when it stands alone.
    ///
    /// ```
    /// use luxon::{DType, Scalar};
    /// assert_eq!(Scalar::from(0.5).dtype(), DType::F32);
    /// ```
    pub fn dtype(self) -> DType {
        match self {
            Scalar::Bool(_) => DType::Bool,
            Scalar::Int(_) => DType::DEFAULT_INT,
            Scalar::Float(_) => DType::DEFAULT_FLOAT,
        }
    }

    /// Refuses an integer that `dtype` cannot hold.
    #[doc(hidden)]
    pub fn check_fits(self, dtype: DType) -> Result<()> {
        let bounds = match dtype {
            DType::U8 => (0, 255),
            DType::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => return Ok(()),
        };
        match self {
            Scalar::Int(value) if value < bounds.0 || value > bounds.1 => {
                Err(Error::Overflow(format!("integer {value} is out of bounds for {dtype}")))
            }
            _ => Ok(()),
        }
    }

    /// Writes the value as one element of `dtype` into the first bytes of an 8-byte word.
    #[inline]
    #[doc(hidden)]
    pub fn to_bytes(self, dtype: DType) -> [u8; 8] {
        let mut bytes = [0; 8];
        macro_rules! put {
            ($value:expr) => {{
                let value = $value.to_ne_bytes();
                bytes[..value.len()].copy_from_slice(&value);
            }};
        }
        match dtype {
            DType::Bool => bytes[0] = u8::from(self.as_f64() != 0.0),
            DType::U8 => bytes[0] = self.as_i64() as u8,
            DType::I32 => put!((self.as_i64() as i32)),
            DType::I64 => put!(self.as_i64()),
            DType::BF16 => put!(bf16::from_f64(self.as_f64())),
            DType::F16 => put!(f16::from_f64(self.as_f64())),
            DType::F32 => put!((self.as_f64() as f32)),
            DType::F64 => put!(self.as_f64()),
        }
        bytes
    }

    /// Reads one element of `dtype`.
    ///
    /// # Safety
    /// `pointer` is valid for reads of one element.
    #[doc(hidden)]
    pub unsafe fn read(dtype: DType, pointer: *const u8) -> Scalar {
        // SAFETY: the caller promises one readable element.
        unsafe {
            match dtype {
                DType::Bool => Scalar::Bool(*pointer != 0),
                DType::U8 => Scalar::Int(i64::from(*pointer)),
                DType::I32 => Scalar::Int(i64::from(pointer.cast::<i32>().read_unaligned())),
                DType::I64 => Scalar::Int(pointer.cast::<i64>().read_unaligned()),
                DType::BF16 => Scalar::Float(pointer.cast::<bf16>().read_unaligned().to_f64()),
                DType::F16 => Scalar::Float(pointer.cast::<f16>().read_unaligned().to_f64()),
                DType::F32 => Scalar::Float(f64::from(pointer.cast::<f32>().read_unaligned())),
                DType::F64 => Scalar::Float(pointer.cast::<f64>().read_unaligned()),
            }
        }
    }
}

macro_rules! scalar_from {
    ($($source:ty => $variant:ident as $target:ty),*) => {
        $(impl From<$source> for Scalar {
            #[inline]
            fn from(value: $source) -> Scalar {
                Scalar::$variant(value as $target)
            }
        })*
    };
}
scalar_from!(bool => Bool as bool, i32 => Int as i64, i64 => Int as i64, usize => Int as i64, f32 => Float as f64, f64 => Float as f64);

/// A Rust type that is the element of a dtype.
///
/// ```
/// use luxon::{DType, Element, Tensor};
/// fn ones<T: Element + From<u8>>(count: usize) -> luxon::Result<Tensor> {
///     Tensor::new(&vec![T::from(1u8); count], &[count])
/// }
/// assert_eq!(ones::<f64>(3)?.dtype(), DType::F64);
/// # Ok::<(), luxon::Error>(())
/// ```
pub trait Element: Copy + Default + Send + Sync + fmt::Debug + PartialEq + 'static {
    /// The dtype that the type stores.
    const DTYPE: DType;
}

macro_rules! element {
    ($($rust:ty => $dtype:ident),*) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}
element!(bool => Bool, u8 => U8, i32 => I32, i64 => I64, bf16 => BF16, f16 => F16, f32 => F32, f64 => F64);

/// Runs an expression with `$T` bound to the Rust type of a dtype; bool is read as `u8`.
macro_rules! with_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::Bool | $crate::dtype::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::dtype::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::dtype::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::dtype::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            $crate::dtype::DType::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::dtype::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}
pub(crate) use with_element;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_dtype() -> impl Strategy<Value = DType> {
        (0..DType::ALL.len()).prop_map(|index| DType::ALL[index])
    }

    proptest! {
        #[test]
        fn promotion_is_a_join(a in any_dtype(), b in any_dtype(), c in any_dtype()) {
            prop_assert_eq!(a.promote(b), b.promote(a));
            prop_assert_eq!(a.promote(a), a);
            prop_assert!(a.promote(b).kind() == a.kind().max(b.kind()));
            prop_assert_eq!(a.promote(b).promote(b), a.promote(b));
            // Three half and single types meet in f32 whatever the order.
            prop_assert_eq!(a.promote(b).promote(c).kind(), a.promote(b.promote(c)).kind());
        }
    }

    #[test]
    fn scalars_are_weak() {
        assert_eq!(DType::F32.promote_scalar(Scalar::Float(2.0)), DType::F32);
        assert_eq!(DType::U8.promote_scalar(Scalar::Int(3)), DType::U8);
        assert_eq!(DType::I64.promote_scalar(Scalar::Float(0.5)), DType::F32);
        assert_eq!(DType::Bool.promote_scalar(Scalar::Int(1)), DType::I64);
        assert!(Scalar::Int(300).check_fits(DType::U8).is_err());
    }
}
