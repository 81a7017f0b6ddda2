//! The Python module `luxon._core`: translation only.
//!
//! What a tensor is and does is in the crate `luxon`; here are Python's number slots and protocols,
//! conversions, exceptions and interchange with other libraries. No path panics: whatever goes wrong is an
//! exception of the class that a Python user expects.

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

mod allocator;
mod convert;
mod cuda;
mod device;
mod dlpack;
mod dtype;
mod error;
mod file;
mod function;
mod gil;
mod memory;
mod network;
mod numpy;
mod optimize;
mod random;
mod tensor;
mod transform;
mod tree;

/// The compiled core of luxon.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    luxon::runtime::interrupt::set_hook(error::check_signals);
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<tensor::PyTensor>()?;
    module.add_class::<tensor::PyAt>()?;
    module.add_class::<tensor::PyAtIndex>()?;
    module.add_class::<device::PyDevice>()?;
    module.add_function(wrap_pyfunction!(tensor::protocol::_from_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(device::cpu, module)?)?;
    module.add_function(wrap_pyfunction!(device::threads, module)?)?;
    module.add_function(wrap_pyfunction!(device::memory_statistics, module)?)?;
    module.add_function(wrap_pyfunction!(device::set_threads, module)?)?;
    module.add_function(wrap_pyfunction!(cuda::synchronize, module)?)?;
    module.add_function(wrap_pyfunction!(cuda::_start_device_report, module)?)?;
    module.add_function(wrap_pyfunction!(cuda::_stop_device_report, module)?)?;
    network::register(module)?;
    random::register(module)?;
    file::register(module)?;
    optimize::register(module)?;
    tree::register(module)?;
    transform::register(module)?;
    function::register(module)?;
    // What is public is said by the Python package, not by the order of registration here.
    for part in [module.as_any().clone(), module.getattr("random")?, module.getattr("special")?] {
        part.delattr("__all__")?;
    }
    Ok(())
}
