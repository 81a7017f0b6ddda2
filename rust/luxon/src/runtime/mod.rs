//! What kernels need from the process: threads, interruption, memory, and whether to compute at all.

pub mod interrupt;
pub mod memory;
#[doc(hidden)]
pub mod shapes;
pub mod threads;
