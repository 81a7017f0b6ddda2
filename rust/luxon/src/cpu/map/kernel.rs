//! From a scalar function to a loop: kernels, their loops per instruction set, and the choice by dtype.

use crate::cpu::isa::per_isa;

/// A function of one element.
pub(crate) trait Kernel1<T> {
    /// The element that comes out.
    type Output: Copy + Default;
    /// The function.
    fn apply(x: T) -> Self::Output;
    /// The function of a chunk; of its own where a chunk as a whole is tested for rare arguments.
    #[inline(always)]
    fn apply_chunk<const N: usize>(x: [T; N]) -> [Self::Output; N]
    where
        T: Copy,
    {
        let mut y = [<Self::Output>::default(); N];
        for index in 0..N {
            y[index] = Self::apply(x[index]);
        }
        y
    }
}

/// A function of two elements.
pub(crate) trait Kernel2<T> {
    /// The element that comes out.
    type Output: Copy + Default;
    /// The function.
    fn apply(x: T, y: T) -> Self::Output;
}

/// A function of three elements, the first of a type of its own.
pub(crate) trait Kernel3<S, T> {
    /// The function.
    fn apply(x: S, y: T, z: T) -> T;
}

/// Elements per chunk of locals: four 512-bit vectors of f32 hide the latency of a polynomial.
const CHUNK: usize = 64;
/// Elements in the last, partial chunks.
const TAIL: usize = 16;

/// Walks `$count` elements in full chunks, then in short ones, the last of them partial.
macro_rules! in_chunks {
    ($count:ident, |$start:ident, $length:ident, $N:ident| $body:block) => {{
        let mut $start = 0usize;
        while $start + CHUNK <= $count {
            const $N: usize = CHUNK;
            let $length = CHUNK;
            $body
            $start += CHUNK;
        }
        while $start < $count {
            const $N: usize = TAIL;
            let $length = if $count - $start < TAIL { $count - $start } else { TAIL };
            $body
            $start += TAIL;
        }
    }};
}

#[inline(always)]
unsafe fn load<T: Copy + Default, const N: usize>(from: *const T, start: usize, length: usize) -> [T; N] {
    // SAFETY: the caller promises `start + length` readable elements.
    unsafe {
        if length == N {
            return from.add(start).cast::<[T; N]>().read_unaligned();
        }
        let mut chunk = [T::default(); N];
        for index in 0..length {
            chunk[index] = *from.add(start + index);
        }
        chunk
    }
}

#[inline(always)]
unsafe fn save<T: Copy, const N: usize>(chunk: [T; N], to: *mut T, start: usize, length: usize) {
    // SAFETY: the caller promises `start + length` writable elements.
    unsafe {
        if length == N {
            return to.add(start).cast::<[T; N]>().write_unaligned(chunk);
        }
        for index in 0..length {
            *to.add(start + index) = chunk[index];
        }
    }
}

/// Elements that loops move around.
pub(crate) trait Item: Copy + Default {}
impl<T: Copy + Default> Item for T {}

per_isa! {
    /// # Safety
    /// `count` elements can be read from `x` and written to `out`; `out` is `x` or does not overlap it.
    pub(crate) unsafe fn loop1<T: Item, K: Kernel1<T>>(x: *const T, out: *mut K::Output, count: usize) {
        in_chunks!(count, |start, length, N| {
            let x: [T; N] = load(x, start, length);
            save(K::apply_chunk(x), out, start, length);
        });
    }
}

per_isa! {
    /// # Safety
    /// As [`loop1`], for both operands.
    pub(crate) unsafe fn loop2<T: Item, K: Kernel2<T>>(x: *const T, y: *const T, out: *mut K::Output, count: usize) {
        in_chunks!(count, |start, length, N| {
            let x: [T; N] = load(x, start, length);
            let y: [T; N] = load(y, start, length);
            let mut z = [<K::Output>::default(); N];
            for index in 0..N {
                z[index] = K::apply(x[index], y[index]);
            }
            save(z, out, start, length);
        });
    }
}

per_isa! {
    /// # Safety
    /// As [`loop1`], for the three operands.
    pub(crate) unsafe fn loop3<S: Item, T: Item, K: Kernel3<S, T>>(x: *const S, y: *const T, z: *const T, out: *mut T, count: usize) {
        in_chunks!(count, |start, length, N| {
            let x: [S; N] = load(x, start, length);
            let y: [T; N] = load(y, start, length);
            let z: [T; N] = load(z, start, length);
            let mut w = [T::default(); N];
            for index in 0..N {
                w[index] = K::apply(x[index], y[index], z[index]);
            }
            save(w, out, start, length);
        });
    }
}

/// Defines the type of a kernel and its scalar function for every element type of its domain.
macro_rules! scalar_kernel {
    (Float, Sin, ($x:ident), $body:block) => { scalar_kernel!(@chunk Sin, sin_block, $x, $body); };
    (Float, Cos, ($x:ident), $body:block) => { scalar_kernel!(@chunk Cos, cos_block, $x, $body); };
    (Float, Tan, ($x:ident), $body:block) => { scalar_kernel!(@chunk Tan, tan_block, $x, $body); };
    (Float, $name:ident, ($x:ident), $body:block) => { scalar_kernel!(@one Real, $name, $x, $body); };
    (Float, $name:ident, ($x:ident, $y:ident), $body:block) => { scalar_kernel!(@two Real, $name, $x, $y, $body); };
    (Float, $name:ident, ($x:ident, $y:ident, $z:ident), $body:block) => { scalar_kernel!(@three Real, $name, $x, $y, $z, $body); };
    (Number, $name:ident, ($x:ident), $body:block) => { scalar_kernel!(@one Number, $name, $x, $body); };
    (Number, $name:ident, ($x:ident, $y:ident), $body:block) => { scalar_kernel!(@two Number, $name, $x, $y, $body); };
    (Number, $name:ident, ($x:ident, $y:ident, $z:ident), $body:block) => { scalar_kernel!(@three Number, $name, $x, $y, $z, $body); };
    (Bits, $name:ident, ($x:ident), $body:block) => { scalar_kernel!(@one Bits, $name, $x, $body); };
    (Bits, $name:ident, ($x:ident, $y:ident), $body:block) => { scalar_kernel!(@two Bits, $name, $x, $y, $body); };
    (Logical, $name:ident, ($x:ident), $body:block) => {
        pub(super) struct $name;
        impl Kernel1<u8> for $name {
            type Output = u8;
            #[inline(always)]
            fn apply($x: u8) -> u8 { $body }
        }
    };
    (Logical, $name:ident, ($x:ident, $y:ident), $body:block) => {
        pub(super) struct $name;
        impl Kernel2<u8> for $name {
            type Output = u8;
            #[inline(always)]
            fn apply($x: u8, $y: u8) -> u8 { $body }
        }
    };
    (Compare, $name:ident, ($x:ident, $y:ident), $body:block) => {
        pub(super) struct $name;
        impl<T: PartialOrd> Kernel2<T> for $name {
            type Output = u8;
            #[inline(always)]
            fn apply($x: T, $y: T) -> u8 { u8::from($body) }
        }
    };
    (Test, $name:ident, ($x:ident), $body:block) => {
        pub(super) struct $name;
        impl Kernel1<f32> for $name {
            type Output = u8;
            #[inline(always)]
            fn apply($x: f32) -> u8 { u8::from($body) }
        }
        impl Kernel1<f64> for $name {
            type Output = u8;
            #[inline(always)]
            fn apply($x: f64) -> u8 { u8::from($body) }
        }
    };
    (Select, $name:ident, ($c:ident, $x:ident, $y:ident), $body:block) => {
        pub(super) struct $name;
        impl<T> Kernel3<u8, T> for $name {
            #[inline(always)]
            fn apply($c: u8, $x: T, $y: T) -> T { let $c = $c != 0; $body }
        }
    };
    // Functions whose arguments are reduced: large ones are rare, and a chunk is tested for them at once.
    (@chunk $name:ident, $chunk:ident, $x:ident, $body:block) => {
        pub(super) struct $name;
        impl<T: Real + Default> Kernel1<T> for $name {
            type Output = T;
            #[inline(always)]
            fn apply($x: T) -> T { $body }
            #[inline(always)]
            fn apply_chunk<const N: usize>(mut x: [T; N]) -> [T; N] {
                T::$chunk(&mut x);
                x
            }
        }
    };
    (@one $bound:ident, $name:ident, $x:ident, $body:block) => {
        pub(super) struct $name;
        impl<T: $bound + Default> Kernel1<T> for $name {
            type Output = T;
            #[inline(always)]
            fn apply($x: T) -> T { $body }
        }
    };
    (@two $bound:ident, $name:ident, $x:ident, $y:ident, $body:block) => {
        pub(super) struct $name;
        impl<T: $bound + Default> Kernel2<T> for $name {
            type Output = T;
            #[inline(always)]
            fn apply($x: T, $y: T) -> T { $body }
        }
    };
    (@three $bound:ident, $name:ident, $x:ident, $y:ident, $z:ident, $body:block) => {
        pub(super) struct $name;
        impl<T: $bound + Default> Kernel3<T, T> for $name {
            #[inline(always)]
            fn apply($x: T, $y: T, $z: T) -> T { $body }
        }
    };
}
pub(crate) use scalar_kernel;

/// The loop of a kernel with its element type forgotten; the arity follows from the arguments' names.
macro_rules! erased {
    ($T:ty, $name:ident, ($x:ident)) => {{
        unsafe fn block(operands: &[*const u8; MAX_ARITY], output: *mut u8, count: usize) {
            // SAFETY: the caller gives operands and an output of these types.
            unsafe { loop1::<$T, $name>(operands[0].cast(), output.cast(), count) }
        }
        Some(block as Block)
    }};
    ($T:ty, $name:ident, ($x:ident, $y:ident)) => {{
        unsafe fn block(operands: &[*const u8; MAX_ARITY], output: *mut u8, count: usize) {
            // SAFETY: as above.
            unsafe { loop2::<$T, $name>(operands[0].cast(), operands[1].cast(), output.cast(), count) }
        }
        Some(block as Block)
    }};
    ($T:ty, $name:ident, ($x:ident, $y:ident, $z:ident)) => { erased!(@three $T, $T, $name) };
    (@three $S:ty, $T:ty, $name:ident) => {{
        unsafe fn block(operands: &[*const u8; MAX_ARITY], output: *mut u8, count: usize) {
            // SAFETY: as above.
            unsafe { loop3::<$S, $T, $name>(operands[0].cast(), operands[1].cast(), operands[2].cast(), output.cast(), count) }
        }
        Some(block as Block)
    }};
}
pub(crate) use erased;

/// The loop of a kernel for a dtype, none where its domain does not have the dtype.
macro_rules! blocks {
    (Float, $name:ident, $dtype:expr, $args:tt) => {
        match $dtype {
            DType::F32 => erased!(f32, $name, $args),
            DType::F64 => erased!(f64, $name, $args),
            _ => None,
        }
    };
    (Test, $name:ident, $dtype:expr, $args:tt) => { blocks!(Float, $name, $dtype, $args) };
    (Number, $name:ident, $dtype:expr, $args:tt) => {
        match $dtype {
            DType::Bool => erased!(Truth, $name, $args),
            DType::U8 => erased!(u8, $name, $args),
            DType::I32 => erased!(i32, $name, $args),
            DType::I64 => erased!(i64, $name, $args),
            DType::F32 => erased!(f32, $name, $args),
            DType::F64 => erased!(f64, $name, $args),
            _ => None,
        }
    };
    (Compare, $name:ident, $dtype:expr, $args:tt) => {
        match $dtype {
            DType::Bool | DType::U8 => erased!(u8, $name, $args),
            DType::I32 => erased!(i32, $name, $args),
            DType::I64 => erased!(i64, $name, $args),
            DType::F32 => erased!(f32, $name, $args),
            DType::F64 => erased!(f64, $name, $args),
            _ => None,
        }
    };
    (Bits, $name:ident, $dtype:expr, $args:tt) => {
        match $dtype {
            DType::Bool => erased!(Truth, $name, $args),
            DType::U8 => erased!(u8, $name, $args),
            DType::I32 => erased!(i32, $name, $args),
            DType::I64 => erased!(i64, $name, $args),
            _ => None,
        }
    };
    (Logical, $name:ident, $dtype:expr, $args:tt) => {
        match $dtype {
            DType::Bool => erased!(u8, $name, $args),
            _ => None,
        }
    };
    // A select moves bits: one loop per element size.
    (Select, $name:ident, $dtype:expr, $args:tt) => {
        match $dtype.size() {
            1 => erased!(@three u8, u8, $name),
            2 => erased!(@three u8, u16, $name),
            4 => erased!(@three u8, u32, $name),
            _ => erased!(@three u8, u64, $name),
        }
    };
}
pub(crate) use blocks;
