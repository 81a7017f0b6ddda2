//! What kernels need from the process: threads, interruption and memory.

pub mod interrupt;
pub mod memory;
pub mod threads;
