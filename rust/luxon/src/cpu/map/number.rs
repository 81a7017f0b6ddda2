//! Arithmetic that integers, truth values and floats share, each with its own meaning.
//!
//! Integer arithmetic wraps. Division of integers by zero gives 0, as in NumPy. Truth values add as
//! "or" and multiply as "and".

use crate::cpu::math::Math;

/// A type that numeric kernels are instantiated with.
pub(crate) trait Number: Copy + PartialOrd + Default {
    fn plus(self, y: Self) -> Self;
    fn minus(self, y: Self) -> Self;
    fn times(self, y: Self) -> Self;
    fn negated(self) -> Self;
    fn magnitude(self) -> Self;
    fn signum_or_zero(self) -> Self;
    fn floor_quotient(self, y: Self) -> Self;
    fn floor_remainder(self, y: Self) -> Self;
    fn truncated_remainder(self, y: Self) -> Self;
    fn integer_power(self, y: Self) -> Self;
    fn rounded_down(self) -> Self;
    fn rounded_up(self) -> Self;
    fn rounded_to_zero(self) -> Self;
    fn rounded(self) -> Self;
    /// The smaller; NaN wins.
    fn least(self, y: Self) -> Self;
    /// The larger; NaN wins.
    fn greatest(self, y: Self) -> Self;
    /// The smaller of this and a small constant.
    fn least_of(self, bound: u8) -> Self;
    /// This where above 0, else 0; NaN stays.
    fn positive_part(self) -> Self {
        if self < Self::default() { Self::default() } else { self }
    }
}

/// A type that bitwise kernels are instantiated with.
pub(crate) trait Bits:
    Copy + Default + std::ops::BitAnd<Output = Self> + std::ops::BitOr<Output = Self> + std::ops::BitXor<Output = Self>
{
    fn inverted(self) -> Self;
    fn shifted_left(self, by: Self) -> Self;
    fn shifted_right(self, by: Self) -> Self;
}

macro_rules! float_number {
    ($($T:ty),*) => { $(impl Number for $T {
        #[inline(always)] fn plus(self, y: Self) -> Self { self + y }
        #[inline(always)] fn minus(self, y: Self) -> Self { self - y }
        #[inline(always)] fn times(self, y: Self) -> Self { self * y }
        #[inline(always)] fn negated(self) -> Self { -self }
        #[inline(always)] fn magnitude(self) -> Self { Math::abs(self) }
        #[inline(always)] fn signum_or_zero(self) -> Self { Math::sign(self) }
        #[inline(always)] fn floor_quotient(self, y: Self) -> Self { Math::floor_divide(self, y) }
        #[inline(always)] fn floor_remainder(self, y: Self) -> Self { Math::remainder(self, y) }
        #[inline(always)] fn truncated_remainder(self, y: Self) -> Self { Math::fmod(self, y) }
        #[inline(always)] fn integer_power(self, y: Self) -> Self { Math::pow(self, y) }
        #[inline(always)] fn rounded_down(self) -> Self { Math::floor(self) }
        #[inline(always)] fn rounded_up(self) -> Self { Math::ceil(self) }
        #[inline(always)] fn rounded_to_zero(self) -> Self { Math::trunc(self) }
        #[inline(always)] fn rounded(self) -> Self { Math::round(self) }
        #[inline(always)] fn least(self, y: Self) -> Self { Math::minimum(self, y) }
        #[inline(always)] fn greatest(self, y: Self) -> Self { Math::maximum(self, y) }
        #[inline(always)] fn least_of(self, bound: u8) -> Self { if self > Self::from(bound) { Self::from(bound) } else { self } }
    })* };
}
float_number!(f32, f64);

macro_rules! integer_number {
    ($($T:ty, $negated:expr, $magnitude:expr, $sign:expr);*) => { $(impl Number for $T {
        #[inline(always)] fn plus(self, y: Self) -> Self { self.wrapping_add(y) }
        #[inline(always)] fn minus(self, y: Self) -> Self { self.wrapping_sub(y) }
        #[inline(always)] fn times(self, y: Self) -> Self { self.wrapping_mul(y) }
        #[inline(always)] fn negated(self) -> Self { self.wrapping_neg() }
        #[inline(always)] fn magnitude(self) -> Self { $magnitude(self) }
        #[inline(always)] fn signum_or_zero(self) -> Self { $sign(self) }
        #[inline(always)] fn floor_quotient(self, y: Self) -> Self {
            if y == 0 { return 0; }
            let quotient = self.wrapping_div(y);
            let exact = self.wrapping_rem(y) == 0;
            #[allow(unused_comparisons)]
            if !exact && ((self < 0) != (y < 0)) { quotient.wrapping_sub(1) } else { quotient }
        }
        #[inline(always)] fn floor_remainder(self, y: Self) -> Self {
            if y == 0 { return 0; }
            let rest = self.wrapping_rem(y);
            #[allow(unused_comparisons)]
            if rest != 0 && ((rest < 0) != (y < 0)) { rest.wrapping_add(y) } else { rest }
        }
        #[inline(always)] fn truncated_remainder(self, y: Self) -> Self { if y == 0 { 0 } else { self.wrapping_rem(y) } }
        #[inline(always)] fn integer_power(self, y: Self) -> Self {
            #[allow(unused_comparisons)]
            if y < 0 {
                // 1 and -1 have integer inverses; every other base rounds to 0.
                return match self { 1 => 1, base if base == (0 as $T).wrapping_sub(1) => if y & 1 == 0 { 1 } else { base }, _ => 0 };
            }
            let (mut base, mut rest, mut power) = (self, y as u64, 1 as $T);
            while rest > 0 {
                if rest & 1 == 1 { power = power.wrapping_mul(base); }
                base = base.wrapping_mul(base);
                rest >>= 1;
            }
            power
        }
        #[inline(always)] fn rounded_down(self) -> Self { self }
        #[inline(always)] fn rounded_up(self) -> Self { self }
        #[inline(always)] fn rounded_to_zero(self) -> Self { self }
        #[inline(always)] fn rounded(self) -> Self { self }
        #[inline(always)] fn least(self, y: Self) -> Self { if self < y { self } else { y } }
        #[inline(always)] fn greatest(self, y: Self) -> Self { if self > y { self } else { y } }
        #[inline(always)] fn least_of(self, bound: u8) -> Self { self.least(bound as $T) }
    }
    impl Bits for $T {
        #[inline(always)] fn inverted(self) -> Self { !self }
        #[inline(always)] fn shifted_left(self, by: Self) -> Self {
            #[allow(unused_comparisons)]
            if by < 0 || by as u64 >= u64::from(<$T>::BITS) { 0 } else { self << by }
        }
        #[inline(always)] fn shifted_right(self, by: Self) -> Self {
            #[allow(unused_comparisons)]
            if by < 0 || by as u64 >= u64::from(<$T>::BITS) {
                if self < 0 { (0 as $T).wrapping_sub(1) } else { 0 }
            } else { self >> by }
        }
    })* };
}
integer_number!(
    u8, u8::wrapping_neg, |x: u8| x, |x: u8| u8::from(x != 0);
    i32, i32::wrapping_neg, i32::wrapping_abs, i32::signum;
    i64, i64::wrapping_neg, i64::wrapping_abs, i64::signum
);

/// A truth value stored as 0 or 1.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
#[repr(transparent)]
pub(crate) struct Truth(u8);

impl Number for Truth {
    #[inline(always)]
    fn plus(self, y: Self) -> Self {
        Truth(self.0 | y.0)
    }
    #[inline(always)]
    fn minus(self, y: Self) -> Self {
        Truth(self.0 ^ y.0)
    }
    #[inline(always)]
    fn times(self, y: Self) -> Self {
        Truth(self.0 & y.0)
    }
    #[inline(always)]
    fn negated(self) -> Self {
        self
    }
    #[inline(always)]
    fn magnitude(self) -> Self {
        self
    }
    #[inline(always)]
    fn signum_or_zero(self) -> Self {
        self
    }
    #[inline(always)]
    fn floor_quotient(self, y: Self) -> Self {
        Truth(self.0 & y.0)
    }
    #[inline(always)]
    fn floor_remainder(self, _y: Self) -> Self {
        Truth(0)
    }
    #[inline(always)]
    fn truncated_remainder(self, _y: Self) -> Self {
        Truth(0)
    }
    #[inline(always)]
    fn integer_power(self, y: Self) -> Self {
        Truth(self.0 | (1 - y.0))
    }
    #[inline(always)]
    fn rounded_down(self) -> Self {
        self
    }
    #[inline(always)]
    fn rounded_up(self) -> Self {
        self
    }
    #[inline(always)]
    fn rounded_to_zero(self) -> Self {
        self
    }
    #[inline(always)]
    fn rounded(self) -> Self {
        self
    }
    #[inline(always)]
    fn least(self, y: Self) -> Self {
        Truth(self.0 & y.0)
    }
    #[inline(always)]
    fn greatest(self, y: Self) -> Self {
        Truth(self.0 | y.0)
    }
    #[inline(always)]
    fn least_of(self, _bound: u8) -> Self {
        self
    }
}

macro_rules! truth_bits {
    ($($name:ident $method:ident $op:tt),*) => { $(impl std::ops::$name for Truth {
        type Output = Truth;
        #[inline(always)]
        fn $method(self, y: Truth) -> Truth { Truth(self.0 $op y.0) }
    })* };
}
truth_bits!(BitAnd bitand &, BitOr bitor |, BitXor bitxor ^);

impl Bits for Truth {
    #[inline(always)]
    fn inverted(self) -> Self {
        Truth(self.0 ^ 1)
    }
    #[inline(always)]
    fn shifted_left(self, by: Self) -> Self {
        Truth(self.0 & (1 - by.0))
    }
    #[inline(always)]
    fn shifted_right(self, by: Self) -> Self {
        Truth(self.0 & (1 - by.0))
    }
}
