//! DLPack, versions 0 and 1, both ways.
//!
//! Here are the structures of the protocol as C lays them out; `import` is what luxon takes, `export` what it
//! gives. Memory of the host and of CUDA devices goes through; who waits for whom on a device is arranged in
//! `cuda::exchange`.

use std::ffi::{CStr, c_int, c_void};

use luxon::DType;

mod export;
mod import;

pub use export::{device_of, export};
pub use import::import;

const CPU: c_int = 1;
const CUDA: c_int = 2;
/// Host memory that a CUDA device can reach.
const CUDA_HOST: c_int = 3;
/// Memory that the host and every CUDA device can reach.
const CUDA_MANAGED: c_int = 13;
const READ_ONLY: u64 = 1;
const IS_COPIED: u64 = 2;
const VERSION: Version = Version { major: 1, minor: 1 };

const PLAIN: &CStr = c"dltensor";
const PLAIN_USED: &CStr = c"used_dltensor";
const VERSIONED: &CStr = c"dltensor_versioned";
const VERSIONED_USED: &CStr = c"used_dltensor_versioned";

#[repr(C)]
#[derive(Clone, Copy)]
struct Device {
    kind: c_int,
    id: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct Array {
    data: *mut c_void,
    device: Device,
    rank: c_int,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

#[repr(C)]
struct Managed {
    array: Array,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Version {
    major: u32,
    minor: u32,
}

#[repr(C)]
struct ManagedVersioned {
    version: Version,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut ManagedVersioned)>,
    flags: u64,
    array: Array,
}

/// DLPack's description of each dtype.
const DTYPES: [(DType, DataType); 8] = [
    (DType::Bool, DataType { code: 6, bits: 8, lanes: 1 }),
    (DType::U8, DataType { code: 1, bits: 8, lanes: 1 }),
    (DType::I32, DataType { code: 0, bits: 32, lanes: 1 }),
    (DType::I64, DataType { code: 0, bits: 64, lanes: 1 }),
    (DType::BF16, DataType { code: 4, bits: 16, lanes: 1 }),
    (DType::F16, DataType { code: 2, bits: 16, lanes: 1 }),
    (DType::F32, DataType { code: 2, bits: 32, lanes: 1 }),
    (DType::F64, DataType { code: 2, bits: 64, lanes: 1 }),
];
