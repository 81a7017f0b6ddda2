//! The functions of the module, by family; each file registers its own.

use pyo3::prelude::*;

pub mod activation;
pub mod create;
pub mod elementwise;
pub mod linalg;
pub mod manipulate;
pub mod order;
pub mod reduce;
pub mod types;

/// Adds every function to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    elementwise::register(module)?;
    activation::register(module)?;
    create::register(module)?;
    manipulate::register(module)?;
    reduce::register(module)?;
    linalg::register(module)?;
    order::register(module)?;
    types::register(module)
}
