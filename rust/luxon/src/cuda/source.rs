//! The texts of kernels: written once, known by a key.
//!
//! A text is the prelude, macros that choose types and variants, and a body: a `.cu` file, or what a table
//! prints. The key says body and macros, so that neither writing nor comparing texts is part of a launch.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::dtype::DType;

/// What every text begins with; see the file.
pub const PRELUDE: &str = include_str!("prelude.cuh");
/// Scalar functions, for texts that need them; goes first in a body.
pub const MATH: &str = include_str!("math.cuh");
/// What warps and blocks do together, with [`MATH`].
pub const BLOCK: &str = concat!(include_str!("math.cuh"), include_str!("block.cuh"));
/// The words of random numbers, likewise.
pub const THREEFRY: &str = include_str!("threefry.cuh");
/// Walking along rows, behind the macros of [`super::rows::Rows`].
pub const ROWS: &str = include_str!("rows.cuh");

/// CUDA text with the key that stands for it.
#[derive(Debug)]
pub struct Source {
    /// Names the text: two sources with one key are the same.
    pub key: String,
    /// The text, prelude included.
    pub text: String,
}

/// The source with this key, written by `body` where it is new.
pub fn source(key: String, body: impl FnOnce() -> String) -> Arc<Source> {
    static KNOWN: OnceLock<Mutex<HashMap<String, Arc<Source>>>> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(source) = known.get(&key) {
        return Arc::clone(source);
    }
    let text = format!("{PRELUDE}\n{}", body());
    let source = Arc::new(Source { key: key.clone(), text });
    known.insert(key, Arc::clone(&source));
    source
}

/// A `.cu` file specialised by macros: `file("softmax", include_str!("softmax.cu"), &[("T", "f32")])`.
pub fn file(name: &str, text: &str, macros: &[(&str, &str)]) -> Arc<Source> {
    kernel(name, &[], &[text], macros)
}

/// `.cu` files specialised by macros, behind libraries that the macros do not concern.
pub fn kernel(name: &str, libraries: &[&str], texts: &[&str], macros: &[(&str, &str)]) -> Arc<Source> {
    let mut key = name.to_owned();
    for (name, value) in macros {
        let _ = write!(key, " {name}={value}");
    }
    source(key, || {
        let mut body = libraries.concat();
        for (name, value) in macros {
            let _ = writeln!(body, "#define {name} {value}");
        }
        body + &texts.concat()
    })
}

/// The type of a dtype's elements in kernels, as the prelude names it.
pub const fn c_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::U8 => "u8",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::BF16 => "bf16",
        DType::F16 => "f16",
        DType::F32 => "f32",
        DType::F64 => "f64",
    }
}

/// The type that a dtype is computed in: f32 for the half types.
pub const fn c_working(dtype: DType) -> &'static str {
    if dtype.is_half() { "f32" } else { c_type(dtype) }
}
