//! Named tensors in a safetensors file, readable by every library that knows the format.
//!
//! A write is atomic: a temporary file in the same folder is filled, synced and renamed, and the folder
//! synced; killed at any instant, the old or the new file is there. A [`Reader`] checks the whole header
//! against the file's size first, reads only the tensors it is asked for, each straight into its own memory,
//! and never runs code.
//!
//! ```
//! use luxon::io::safetensors::{self, Metadata, Reader};
//! use luxon::{DType, Tensor};
//! let path = std::env::temp_dir().join(format!("luxon-example-{}.safetensors", std::process::id()));
//! let weight = Tensor::ones(&[2, 3], DType::F32)?;
//! safetensors::write(&path, &[("weight".into(), weight)], &Metadata::new())?;
//! let mut file = Reader::open(&path)?;
//! assert_eq!(file.names().collect::<Vec<_>>(), ["weight"]);
//! assert_eq!(file.read("weight")?.shape()[..], [2, 3]);
//! # std::fs::remove_file(path).map_err(|error| luxon::Error::File(error.to_string()))?;
//! # Ok::<(), luxon::Error>(())
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::header::{self, Entry, Header, LONGEST};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, Value};
use crate::tree::near;

pub use super::header::Metadata;

/// The bytes that give the header's length.
const PREFIX: u64 = 8;

fn failed(what: &str, path: &Path, error: impl std::fmt::Display) -> Error {
    Error::File(format!("{what} {}: {error}", path.display()))
}

/// The bytes of a contiguous host value.
fn bytes_of(value: &Value) -> &[u8] {
    // SAFETY: callers pass contiguous values in host memory; the memory lives as long as the value.
    unsafe { std::slice::from_raw_parts(value.pointer(), value.count() * value.dtype().size()) }
}

/// Writes the tensors, in place of the file that may be there.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::io::safetensors::{self, Metadata};
/// # let path = std::env::temp_dir().join(format!("luxon-write-{}.safetensors", std::process::id()));
/// let about = Metadata::from([("by".to_string(), "me".to_string())]);
/// safetensors::write(&path, &[("bias".to_string(), Tensor::zeros(&[3], DType::F32)?)], &about)?;
/// assert_eq!(safetensors::read(&path)?.1["by"], "me");
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::File`] where the file system refuses, [`Error::Value`] for a name given twice.
pub fn write(path: &Path, tensors: &[(String, Tensor)], metadata: &Metadata) -> Result<()> {
    let refused = |error: io::Error| failed("could not write", path, error);
    // Who writes to a link means the file behind it.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let (text, values) = prepare(tensors, metadata)?;
    let (file, partial) = temporary(&target).map_err(refused)?;
    // A file that others may not read stays so; a new one is as the system makes them.
    let permissions = fs::metadata(&target).map(|known| known.permissions()).ok();
    let written = permissions
        .map_or(Ok(()), |permissions| file.set_permissions(permissions))
        .and_then(|()| fill(BufWriter::new(&file), &text, &values))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&partial, &target))
        .and_then(|()| sync_folder(&target));
    if written.is_err() {
        // The error that matters is the first one; a leftover partial file is only untidy.
        let _ = fs::remove_file(&partial);
    }
    written.map_err(refused)
}

/// The bytes of a file with these tensors.
///
/// ```
/// use luxon::Tensor;
/// use luxon::io::safetensors::{self, Metadata};
/// let bytes = safetensors::to_bytes(&[("x".to_string(), Tensor::new(&[1u8, 2], &[2])?)], &Metadata::new())?;
/// assert_eq!(bytes[bytes.len() - 2..], [1, 2]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for a name given twice, [`Error::Memory`].
pub fn to_bytes(tensors: &[(String, Tensor)], metadata: &Metadata) -> Result<Vec<u8>> {
    let (text, values) = prepare(tensors, metadata)?;
    let mut bytes = Vec::new();
    fill(&mut bytes, &text, &values).map_err(|error| Error::File(error.to_string()))?;
    Ok(bytes)
}

/// The header, and the values in the order of the file: wide elements first, so that all are aligned.
fn prepare(tensors: &[(String, Tensor)], metadata: &Metadata) -> Result<(String, Vec<Value>)> {
    let mut order: Vec<&(String, Tensor)> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size()));
    let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::value("save", format_args!("the name {:?} is given twice", pair[0])));
    }
    let (mut entries, mut values, mut at) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()), 0);
    for (name, tensor) in order {
        let value = tensor.to_host()?.value().to_contiguous()?;
        let entry = Entry::of(name, value.dtype(), tensor.shape(), at, bytes_of(&value).len() as u64);
        at = entry.end;
        entries.push(entry);
        values.push(value);
    }
    Ok((header::print(metadata, &entries)?, values))
}

fn fill(mut to: impl Write, text: &str, values: &[Value]) -> io::Result<()> {
    to.write_all(&(text.len() as u64).to_le_bytes())?;
    to.write_all(text.as_bytes())?;
    for value in values {
        to.write_all(bytes_of(value))?;
    }
    to.flush()
}

/// A new file in the same folder, under a name that nobody else uses.
fn temporary(path: &Path) -> io::Result<(File, PathBuf)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::other("it is no file's name"))?.to_string_lossy();
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let partial = path.with_file_name(format!(".{name}.{}-{number}.partial", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&partial) {
            // A killed process of the same number left it behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((opened?, partial)),
        }
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Tensors with their names.
pub type Named = Vec<(String, Tensor)>;

/// Every tensor of a file, in its order, and its metadata.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::io::safetensors::{self, Metadata};
/// use luxon::tree::Tree;
/// # let path = std::env::temp_dir().join(format!("luxon-read-{}.safetensors", std::process::id()));
/// # safetensors::write(&path, &[("ps.layer_1.weight".to_string(), Tensor::zeros(&[3], DType::F32)?)], &Metadata::new())?;
/// let (tensors, _) = safetensors::read(&path)?;
/// let all = Tree::from_paths(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())))?;
/// assert_eq!(all.get("ps.layer_1.weight")?.tensor()?.shape()[..], [3]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`Reader::open`] and [`Reader::read`].
pub fn read(path: &Path) -> Result<(Named, Metadata)> {
    Reader::open(path)?.read_all()
}

/// The tensors and metadata in a file's bytes, such as those of `include_bytes!`.
///
/// ```
/// use luxon::Tensor;
/// use luxon::io::safetensors::{self, Metadata};
/// # let bytes = safetensors::to_bytes(&[("x".to_string(), Tensor::new(&[1u8, 2], &[2])?)], &Metadata::new())?;
/// let (tensors, metadata) = safetensors::parse(&bytes)?; // Such as those of `include_bytes!`.
/// assert!(tensors[0].0 == "x" && tensors[0].1.to_vec::<u8>()? == [1, 2] && metadata.is_empty());
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`Reader::from_bytes`] and [`Reader::read`].
pub fn parse(bytes: &[u8]) -> Result<(Named, Metadata)> {
    Reader::from_bytes(bytes)?.read_all()
}

/// An open file whose header has been read and found to be sound.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::io::safetensors::{self, Metadata, Reader};
/// # let named = ["a", "b"].map(|name| Ok((name.to_string(), Tensor::zeros(&[3], DType::F32)?)));
/// # let named: Vec<_> = named.into_iter().collect::<luxon::Result<_>>()?;
/// let bytes = safetensors::to_bytes(&named, &Metadata::new())?;
/// let mut reader = Reader::from_bytes(&bytes)?; // Reads the header alone,
/// assert_eq!(reader.names().collect::<Vec<_>>(), ["a", "b"]);
/// assert_eq!(reader.read("b")?.shape()[..], [3]); // and single tensors when asked.
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Debug)]
pub struct Reader<S> {
    source: S,
    /// What errors call it.
    origin: String,
    header: Header,
    /// Where the tensors' bytes begin.
    start: u64,
}

impl Reader<File> {
    /// Opens a file and reads its header.
    ///
    /// ```
    /// use luxon::io::safetensors::Reader;
    /// assert!(Reader::open("no/such/file".as_ref()).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be read, [`Error::Value`] where it is malformed.
    pub fn open(path: &Path) -> Result<Reader<File>> {
        let refused = |error: io::Error| failed("could not read", path, error);
        // Opening a pipe would wait for a writer.
        let about = fs::metadata(path).map_err(refused)?;
        if !about.is_file() {
            return Err(failed("could not read", path, "it is no regular file"));
        }
        let file = File::open(path).map_err(refused)?;
        let length = file.metadata().map_err(refused)?.len();
        Reader::new(file, length, path.display().to_string())
    }
}

impl<'a> Reader<Cursor<&'a [u8]>> {
    /// Reads the header in a file's bytes.
    ///
    /// ```
    /// use luxon::io::safetensors::Reader;
    /// assert!(Reader::from_bytes(b"not a file at all").is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where it is malformed.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Reader<Cursor<&'a [u8]>>> {
        Reader::new(Cursor::new(bytes), bytes.len() as u64, "safetensors".into())
    }
}

impl<S: Read + Seek> Reader<S> {
    /// Reads the header of a source of `length` bytes.
    fn new(mut source: S, length: u64, origin: String) -> Result<Reader<S>> {
        let malformed = |what: String| Error::Value(format!("{origin}: {what}"));
        let lost = |error: io::Error| Error::File(format!("could not read {origin}: {error}"));
        let after = length.checked_sub(PREFIX).ok_or_else(|| malformed(format!("{length} bytes are no file")))?;
        let mut prefix = [0; PREFIX as usize];
        source.read_exact(&mut prefix).map_err(lost)?;
        let size = u64::from_le_bytes(prefix);
        if size > after.min(LONGEST) {
            return Err(malformed(format!("a header of {size} bytes in a file of {length}")));
        }
        let mut text = vec![0; size as usize];
        source.read_exact(&mut text).map_err(lost)?;
        let header = Header::parse(&text, after - size).map_err(|error| malformed(error.to_string()))?;
        Ok(Reader { source, origin, header, start: PREFIX + size })
    }

    /// The file's text.
    ///
    /// ```
    /// use luxon::io::safetensors::{self, Metadata, Reader};
    /// let bytes = safetensors::to_bytes(&[], &Metadata::from([("epoch".into(), "3".into())]))?;
    /// assert_eq!(Reader::from_bytes(&bytes)?.metadata()["epoch"], "3");
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// The names of the tensors, in the file's order.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// use luxon::io::safetensors::{self, Metadata, Reader};
    /// let bytes = safetensors::to_bytes(&[("x".into(), Tensor::scalar(1, DType::I32))], &Metadata::new())?;
    /// assert!(Reader::from_bytes(&bytes)?.names().eq(["x"]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.header.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The tensor of a name.
    ///
    /// ```
    /// use luxon::{DType, Scalar, Tensor};
    /// use luxon::io::safetensors::{self, Metadata, Reader};
    /// let bytes = safetensors::to_bytes(&[("weight".into(), Tensor::scalar(1, DType::I32))], &Metadata::new())?;
    /// let mut reader = Reader::from_bytes(&bytes)?;
    /// assert_eq!(reader.read("weight")?.item()?, Scalar::Int(1));
    /// assert!(reader.read("wieght").unwrap_err().to_string().contains("nearest: weight"));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where there is none (naming the nearest), where its dtype is none of ours, and for
    /// truth values other than 0 and 1; [`Error::File`] where it cannot be read; [`Error::Memory`].
    pub fn read(&mut self, name: &str) -> Result<Tensor> {
        let entry = self.header.find(name).ok_or_else(|| {
            let near = near(name, self.names().map(str::to_string));
            Error::Value(format!("{} has no tensor {name:?}; {near}", self.origin))
        })?;
        let malformed = |what: String| Error::Value(format!("{}: {what}", self.origin));
        let dtype = entry.dtype().map_err(|error| malformed(error.to_string()))?;
        let mut value = Value::empty(dtype, &entry.shape)?;
        let count = (entry.end - entry.begin) as usize;
        // SAFETY: the value is fresh, and the header was checked: dtype and shape take this many bytes.
        let bytes = unsafe {
            std::ptr::write_bytes(value.pointer_mut(), 0, count);
            std::slice::from_raw_parts_mut(value.pointer_mut(), count)
        };
        let lost = |error: io::Error| Error::File(format!("could not read {}: {error}", self.origin));
        self.source.seek(SeekFrom::Start(self.start + entry.begin)).map_err(lost)?;
        self.source.read_exact(bytes).map_err(lost)?;
        if dtype == DType::Bool && bytes.iter().any(|&byte| byte > 1) {
            return Err(malformed(format!("{name:?} has truth values other than 0 and 1")));
        }
        Ok(Tensor::from(value))
    }

    /// Every tensor, in the file's order, and the text.
    fn read_all(mut self) -> Result<(Named, Metadata)> {
        let names: Vec<String> = self.names().map(str::to_string).collect();
        let tensors = names.into_iter().map(|name| Ok((name.clone(), self.read(&name)?))).collect::<Result<_>>()?;
        Ok((tensors, self.header.metadata))
    }
}
