//! What a row of the [`table`](super::table) becomes: a variant of `Kernel` with its answers, the loops, a method.
//!
//! The macros are used in the table alone, and name what stands beside it.

macro_rules! table {
    ($($(#[$doc:meta])* $variant:ident $name:ident $domain:ident ($($arg:ident),+) $body:block cuda $cuda:literal cost $cost:literal $(shown $given:tt => $result:tt)? [$($reads:expr => $rule:expr),* $(,)?];)*) => {
        /// The kernels, by name.
        ///
        /// ```
        /// use luxon::{DType, Kernel, Tensor, activation, linear};
        /// let relu = activation(Kernel::Relu, &[])?; // For the layers that take an activation.
        /// let (x, weight) = (Tensor::new(&[1.0, -1.0], &[2, 1])?, Tensor::ones(&[1, 1], DType::F64)?);
        /// assert_eq!(linear(&x, &weight, None, Some(relu))?.to_vec::<f64>()?, [1.0, 0.0]);
        /// # Ok::<(), luxon::Error>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kernel { $($(#[$doc])* $variant),* }

        impl Kernel {
            /// Every kernel, in the order of the table.
            pub const ALL: &'static [Kernel] = &[$(Kernel::$variant),*];

            /// The name that users and errors use.
            ///
            /// ```
            /// assert_eq!(luxon::Kernel::LeakyRelu.name(), "leaky_relu");
            /// ```
            #[inline]
            pub const fn name(self) -> &'static str {
                match self {
                    // Their rows' methods are not what users call.
                    Kernel::Add => "add",
                    Kernel::Pow | Kernel::IntegerPow => "pow",
                    Kernel::Softplus => "softplus",
                    Kernel::Clip => "clip",
                    Kernel::Where => "where",
                    _ => self.row_name(),
                }
            }

            const fn row_name(self) -> &'static str {
                match self { $(Kernel::$variant => stringify!($name)),* }
            }

            /// The number of arguments.
            #[inline]
            #[doc(hidden)]
            pub const fn arity(self) -> usize {
                match self { $(Kernel::$variant => [$(stringify!($arg)),+].len()),* }
            }

            /// The dtypes that it takes.
            #[inline]
            #[doc(hidden)]
            pub const fn domain(self) -> Domain {
                match self { $(Kernel::$variant => Domain::$domain),* }
            }

            /// Rough nanoseconds per f32 element on one thread, for deciding about threads.
            #[inline]
            #[doc(hidden)]
            pub const fn cost(self) -> f32 {
                match self { $(Kernel::$variant => $cost),* }
            }

            /// The scalar function as a CUDA expression in the arguments' names; `T` is the type computed in.
            pub(crate) const fn cuda_text(self) -> &'static str {
                match self { $(Kernel::$variant => $cuda),* }
            }

            /// The arguments' names.
            pub(crate) const fn arguments(self) -> &'static [&'static str] {
                match self { $(Kernel::$variant => &[$(stringify!($arg)),+]),* }
            }

            /// One derivative per argument; none where gradients are zero.
            #[inline]
            #[doc(hidden)]
            pub fn derivatives(self) -> &'static [Derivative] {
                match self { $(Kernel::$variant => &[$(Derivative { reads: $reads, rule: $rule }),*]),* }
            }

            /// The loop for a dtype (half types have none of their own: they are computed in f32).
            #[inline]
            pub(crate) fn block(self, dtype: DType) -> Option<Block> {
                match self { $(Kernel::$variant => blocks!($domain, $variant, dtype, ($($arg),+))),* }
            }
        }

        /// One type per kernel, which the loops are instantiated with.
        mod kernels {
            use crate::cpu::map::{scalar_kernel, Bits, Kernel1, Kernel2, Kernel3, Number};
            use crate::cpu::special::Special as Real;
            $(scalar_kernel!($domain, $variant, ($($arg),+), $body);)*
        }
        use kernels::*;

        $(method!($(#[$doc])* $variant $name $domain ($($arg),+) $(shown $given => $result)?);)*
    };
}

macro_rules! method {
    // A row that shows nothing is a part of others: its method is not one of the crate's.
    ($(#[$doc:meta])* $variant:ident $name:ident $domain:ident ($($arg:ident),+)) => {
        method!($(#[$doc])* #[doc(hidden)] $variant $name $domain ($($arg),+) shown () => ());
    };
    ($(#[$doc:meta])* $variant:ident $name:ident $domain:ident ($x:ident) shown $given:tt => $result:tt) => {
        impl Tensor {
            $(#[$doc])*
            #[doc = example!($domain $name $given => $result)]
            #[inline]
            pub fn $name(&self) -> Result<Tensor> {
                map(Kernel::$variant, &[self.into()])
            }
        }
    };
    ($(#[$doc:meta])* $variant:ident $name:ident $domain:ident ($x:ident, $y:ident) shown $given:tt => $result:tt) => {
        impl Tensor {
            $(#[$doc])*
            #[doc = example!($domain $name $given => $result)]
            #[inline]
            pub fn $name<'a>(&'a self, $y: impl Into<Operand<'a>>) -> Result<Tensor> {
                map(Kernel::$variant, &[self.into(), $y.into()])
            }
        }
    };
    ($(#[$doc:meta])* $variant:ident $name:ident $domain:ident ($x:ident, $y:ident, $z:ident) shown $given:tt => $result:tt) => {
        impl Tensor {
            $(#[$doc])*
            #[doc = example!($domain $name $given => $result)]
            #[inline]
            pub fn $name<'a>(&'a self, $y: impl Into<Operand<'a>>, $z: impl Into<Operand<'a>>) -> Result<Tensor> {
                map(Kernel::$variant, &[self.into(), $y.into(), $z.into()])
            }
        }
    };
}

/// The example in a method's documentation: what the row shows, two elements in and two out.
macro_rules! example {
    ($domain:ident $name:ident () => ()) => {
        ""
    };
    (Float $name:ident ([$($x:expr),+] $(, $other:expr)*) => ($($y:expr),+)) => {
        example!(@ $name [$($x),+] ($($other),*)
            "assert!(y.allclose(&Tensor::new(&[" [$($y),+] "], &[2])?, 1e-13, 0.0, false)?);")
    };
    (Number $name:ident $given:tt => $result:tt) => {
        example!(Float $name $given => $result)
    };
    (Bits $name:ident ([$($x:expr),+] $(, $other:expr)*) => ($($y:expr),+)) => {
        example!(@ $name [$($x),+] ($($other),*) "assert_eq!(y.to_vec::<i32>()?, [" [$($y),+] "]);")
    };
    ($domain:ident $name:ident ([$($x:expr),+] $(, $other:expr)*) => ($($y:expr),+)) => {
        example!(@ $name [$($x),+] ($($other),*) "assert_eq!(y.to_vec::<bool>()?, [" [$($y),+] "]);")
    };
    (@ $name:ident [$($x:expr),+] ($($other:expr),*) $before:literal [$($y:expr),+] $after:literal) => {
        concat!(
            "\n```\n# use luxon::Tensor;\nlet x = Tensor::new(&[", stringify!($($x),+), "], &[2])?;\n",
            "let y = x.", stringify!($name), "(", stringify!($($other),*), ")?;\n",
            $before, stringify!($($y),+), $after, "\n# Ok::<(), luxon::Error>(())\n```"
        )
    };
}

pub(super) use {example, method, table};
