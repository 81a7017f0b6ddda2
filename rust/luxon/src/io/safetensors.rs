//! Named tensors in a safetensors file, readable by every library that knows the format.
//!
//! A write is atomic: a temporary file in the same folder is filled, synced and renamed, and the folder
//! synced; killed at any instant, the old or the new file is there. A read checks the header against the
//! file's size before anything is allocated, and never runs code.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use safetensors::{Dtype, SafeTensors, View};

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::tensor::{Tensor, Value};

/// Text that travels with the tensors.
pub type Metadata = HashMap<String, String>;

/// A contiguous host value as the format sees it.
struct Entry {
    value: Value,
}

impl Entry {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the value is contiguous, in host memory, and lives as long as the entry.
        unsafe { std::slice::from_raw_parts(self.value.pointer(), self.value.count() * self.value.dtype().size()) }
    }
}

impl View for Entry {
    fn dtype(&self) -> Dtype {
        match self.value.dtype() {
            DType::Bool => Dtype::BOOL,
            DType::U8 => Dtype::U8,
            DType::I32 => Dtype::I32,
            DType::I64 => Dtype::I64,
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        self.value.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.bytes())
    }

    fn data_len(&self) -> usize {
        self.bytes().len()
    }
}

fn failed(what: &str, path: &Path, error: impl std::fmt::Display) -> Error {
    Error::File(format!("{what} {}: {error}", path.display()))
}

/// A name in the same folder that nobody else uses.
fn temporary(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}-{number}.partial", std::process::id()))
}

/// Writes the tensors, in place of the file that may be there.
///
/// # Errors
/// [`Error::File`] where the file system refuses, [`Error::Value`] for a name given twice.
pub fn write(path: &Path, tensors: &[(String, Tensor)], metadata: &Metadata) -> Result<()> {
    let mut names = std::collections::HashSet::new();
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if !names.insert(name) {
            return Err(Error::value("save", format_args!("the name {name:?} is given twice")));
        }
        entries.push((name, Entry { value: tensor.to_host()?.value().to_contiguous()? }));
    }
    let partial = temporary(path);
    let written = safetensors::serialize_to_file(entries, Some(metadata.clone()), &partial)
        .map_err(|error| failed("could not write", path, error))
        .and_then(|()| replace(&partial, path).map_err(|error| failed("could not write", path, error)));
    if written.is_err() {
        // The error that matters is the first one; a leftover partial file is only untidy.
        let _ = fs::remove_file(&partial);
    }
    written
}

fn replace(partial: &Path, path: &Path) -> std::io::Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Reads every tensor of a file, in the order of the file, and its metadata.
///
/// # Errors
/// [`Error::File`] where the file cannot be read or is malformed.
pub fn read(path: &Path) -> Result<(Vec<(String, Tensor)>, Metadata)> {
    let bytes = fs::read(path).map_err(|error| failed("could not read", path, error))?;
    parse(&bytes).map_err(|error| failed("could not read", path, error))
}

/// Reads the tensors from a file's bytes, such as those of `include_bytes!`.
///
/// # Errors
/// [`Error::File`] where they are malformed.
pub fn parse(bytes: &[u8]) -> Result<(Vec<(String, Tensor)>, Metadata)> {
    let malformed = |error: safetensors::SafeTensorError| Error::File(format!("not a valid safetensors file: {error}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    let file = SafeTensors::deserialize(bytes).map_err(malformed)?;
    let mut tensors = Vec::new();
    for name in header.offset_keys() {
        let view = file.tensor(&name).map_err(malformed)?;
        let dtype = match view.dtype() {
            Dtype::BOOL => DType::Bool,
            Dtype::U8 => DType::U8,
            Dtype::I32 => DType::I32,
            Dtype::I64 => DType::I64,
            Dtype::BF16 => DType::BF16,
            Dtype::F16 => DType::F16,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            other => {
                return Err(Error::File(format!("tensor {name:?} has dtype {other:?}, which luxon does not have")));
            }
        };
        let mut value = Value::empty(dtype, &Shape::from_slice(view.shape())?)?;
        let data = view.data();
        if data.len() != value.count() * dtype.size() {
            return Err(Error::File(format!("tensor {name:?} has {} bytes, its shape needs others", data.len())));
        }
        if dtype == DType::Bool && data.iter().any(|&byte| byte > 1) {
            return Err(Error::File(format!("tensor {name:?} holds truth values other than 0 and 1")));
        }
        // SAFETY: the value is fresh and has exactly this many bytes.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), value.pointer_mut(), data.len()) };
        tensors.push((name, Tensor::from(value)));
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = std::env::temp_dir().join(format!("luxon-io-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.safetensors");
        let dense = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
        let tensors = [
            ("layer.weight".to_string(), dense.matrix_transpose().unwrap()),
            ("flag".to_string(), Tensor::new(&[true, false], &[2]).unwrap()),
            ("empty".to_string(), Tensor::zeros(&[0, 3], DType::F64).unwrap()),
            ("half".to_string(), dense.cast(DType::BF16).unwrap()),
        ];
        let metadata = Metadata::from([("format".to_string(), "luxon".to_string())]);
        write(&path, &tensors, &metadata).unwrap();
        let (read_back, text) = read(&path).unwrap();
        assert_eq!(text, metadata);
        for (name, tensor) in &tensors {
            let (_, found) = read_back.iter().find(|(other, _)| other == name).unwrap();
            assert_eq!(found.shape(), tensor.shape());
            assert_eq!(found.dtype(), tensor.dtype());
        }
        let weight = &read_back.iter().find(|(name, _)| name == "layer.weight").unwrap().1;
        assert_eq!(weight.to_vec::<f32>().unwrap(), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(write(&folder.join("none/a"), &tensors, &metadata).is_err());
        let mut bytes = fs::read(&path).unwrap();
        for position in 0..bytes.len().min(200) {
            let kept = bytes[position];
            bytes[position] ^= 0x5a;
            let _ = parse(&bytes);
            bytes[position] = kept;
            assert!(parse(&bytes[..position]).is_err());
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
