//! The header of a safetensors file: JSON that says of each tensor its name, dtype, shape and place in the
//! bytes that follow, and text under `__metadata__`.
//!
//! The reader takes exactly what the format allows and says where anything else stands. It holds no more than
//! the header's own text and one entry per tensor, does arithmetic on sizes with checks, and refuses names
//! that occur twice, tensors that overlap, bytes that no tensor covers, and sizes that differ from what shape
//! and dtype need. So whoever has a [`Header`] may slice the file by it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::json::Parser;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{MAX_RANK, Shape};

/// Text that travels with the tensors.
pub type Metadata = BTreeMap<String, String>;

/// A longer header is refused, as the format says.
pub(super) const LONGEST: u64 = 100_000_000;

const TEXT: &str = "__metadata__";

/// What the format calls its types, the bits of an element, and ours.
const TYPES: [(&str, u64, Option<DType>); 22] = [
    ("BOOL", 8, Some(DType::Bool)),
    ("U8", 8, Some(DType::U8)),
    ("I32", 32, Some(DType::I32)),
    ("I64", 64, Some(DType::I64)),
    ("BF16", 16, Some(DType::BF16)),
    ("F16", 16, Some(DType::F16)),
    ("F32", 32, Some(DType::F32)),
    ("F64", 64, Some(DType::F64)),
    ("I8", 8, None),
    ("I16", 16, None),
    ("U16", 16, None),
    ("U32", 32, None),
    ("U64", 64, None),
    ("C64", 64, None),
    ("F8_E5M2", 8, None),
    ("F8_E4M3", 8, None),
    ("F8_E8M0", 8, None),
    ("F8_E4M3FNUZ", 8, None),
    ("F8_E5M2FNUZ", 8, None),
    ("F6_E2M3", 6, None),
    ("F6_E3M2", 6, None),
    ("F4", 4, None),
];

/// One tensor of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Its place in [`TYPES`].
    kind: usize,
    pub(super) shape: Shape,
    /// The first byte, counted from the end of the header, and the one after the last.
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Entry {
    /// The entry of a tensor that begins at `begin`.
    pub(super) fn of(name: &str, dtype: DType, shape: &Shape, begin: u64, bytes: u64) -> Entry {
        let kind = TYPES.iter().position(|(_, _, ours)| *ours == Some(dtype)).unwrap_or_default();
        Entry { name: name.to_string(), kind, shape: *shape, begin, end: begin + bytes }
    }

    /// The dtype.
    ///
    /// # Errors
    /// [`Error::Value`] for one of the format that is none of ours.
    pub(super) fn dtype(&self) -> Result<DType> {
        let (label, _, dtype) = TYPES[self.kind];
        dtype.ok_or_else(|| Error::Value(format!("{:?} has dtype {label}, which luxon does not have", self.name)))
    }

    /// The bytes that shape and dtype need, if that is a whole number and not too large.
    fn needs(&self) -> Option<u64> {
        let bits = self.shape.iter().try_fold(TYPES[self.kind].1, |bits, &size| bits.checked_mul(size as u64))?;
        (bits % 8 == 0).then_some(bits / 8)
    }
}

/// What a file says of itself.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) metadata: Metadata,
    /// By place in the file.
    pub(super) entries: Vec<Entry>,
    /// The entries' places in `entries`, by name.
    by_name: Vec<usize>,
}

impl Header {
    /// Reads a header that is followed by `available` bytes.
    ///
    /// # Errors
    /// [`Error::Value`] saying what is wrong and where.
    pub(super) fn parse(header: &[u8], available: u64) -> Result<Header> {
        let text = std::str::from_utf8(header).map_err(|error| Error::Value(format!("the header: {error}")))?;
        let mut parser = Parser::new(text);
        let (mut metadata, mut entries) = (None, Vec::new());
        if !text.starts_with('{') {
            return Err(parser.failed("expected {"));
        }
        parser.object(|parser, name| {
            if name != TEXT {
                entries.push(parser.entry(name.into_owned())?);
                return Ok(());
            }
            match metadata.replace(parser.metadata()?) {
                None => Ok(()),
                Some(_) => Err(parser.failed("__metadata__ is given twice")),
            }
        })?;
        parser.end()?;
        check_places(&mut entries, available)?;
        let mut by_name: Vec<usize> = (0..entries.len()).collect();
        by_name.sort_unstable_by(|&left, &right| entries[left].name.cmp(&entries[right].name));
        if let Some(pair) = by_name.windows(2).find(|pair| entries[pair[0]].name == entries[pair[1]].name) {
            return Err(Error::Value(format!("the name {:?} is given twice", entries[pair[0]].name)));
        }
        Ok(Header { metadata: metadata.unwrap_or_default(), entries, by_name })
    }

    /// The entry of a name.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        let found = self.by_name.binary_search_by(|&place| self.entries[place].name.as_str().cmp(name)).ok()?;
        Some(&self.entries[self.by_name[found]])
    }
}

/// The text of a header, filled up with spaces so that what follows is aligned.
///
/// # Errors
/// [`Error::Value`] for a name that the format keeps for itself, and a header that is too long.
pub(super) fn print(metadata: &Metadata, entries: &[Entry]) -> Result<String> {
    let mut text = String::from("{");
    let mut separator = "";
    if !metadata.is_empty() {
        quote(&mut text, TEXT);
        text.push_str(":{");
        for (name, value) in metadata {
            text.push_str(separator);
            quote(&mut text, name);
            text.push(':');
            quote(&mut text, value);
            separator = ",";
        }
        text.push('}');
    }
    for entry in entries {
        if entry.name == TEXT {
            return Err(Error::value("save", format_args!("a tensor cannot be called {TEXT:?}")));
        }
        text.push_str(separator);
        quote(&mut text, &entry.name);
        let (label, ..) = TYPES[entry.kind];
        let shape = entry.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let (begin, end) = (entry.begin, entry.end);
        // Writing to a string cannot fail.
        let _ = write!(text, r#":{{"dtype":"{label}","shape":[{shape}],"data_offsets":[{begin},{end}]}}"#);
        separator = ",";
    }
    text.push('}');
    while text.len() % 8 != 0 {
        text.push(' ');
    }
    if text.len() as u64 > LONGEST {
        return Err(Error::value("save", format_args!("names and metadata take more than {LONGEST} bytes")));
    }
    Ok(text)
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\0'..='\x1f' => {
                let _ = write!(text, "\\u{:04x}", character as u32);
            }
            _ => text.push(character),
        }
    }
    text.push('"');
}

/// Puts the entries in order and refuses gaps, overlaps, and sizes that are not those of the shapes.
fn check_places(entries: &mut [Entry], available: u64) -> Result<()> {
    entries.sort_by_key(|entry| (entry.begin, entry.end));
    let mut expected = 0;
    for entry in entries {
        let Entry { name, begin, end, .. } = &*entry;
        if *begin != expected {
            let what = if *begin < expected { "overlaps the tensor before it" } else { "leaves a gap before it" };
            return Err(Error::Value(format!("{name:?} begins at byte {begin}, not {expected}: it {what}")));
        }
        let needs =
            entry.needs().ok_or_else(|| Error::Value(format!("{name:?}: no file has the bytes of its shape")))?;
        if end.checked_sub(*begin) != Some(needs) {
            return Err(Error::Value(format!(
                "{name:?} lies from byte {begin} to {end}, its shape needs {needs} bytes"
            )));
        }
        if *end > available {
            return Err(Error::Value(format!("{name:?} ends at byte {end}, the file at {available}")));
        }
        expected = *end;
    }
    if expected != available {
        return Err(Error::Value(format!("the tensors end at byte {expected}, the file at {available}")));
    }
    Ok(())
}

impl Parser<'_> {
    fn metadata(&mut self) -> Result<Metadata> {
        let mut metadata = Metadata::new();
        self.object(|parser, name| {
            let text = parser.string()?.into_owned();
            match metadata.insert(name.into_owned(), text) {
                None => Ok(()),
                Some(_) => Err(parser.failed("a name of the metadata is given twice")),
            }
        })?;
        Ok(metadata)
    }

    fn entry(&mut self, name: String) -> Result<Entry> {
        let (mut kind, mut shape, mut place) = (None, None, None);
        self.object(|parser, field| {
            let again = match &*field {
                "dtype" => kind.replace(parser.kind()?).is_some(),
                "shape" => shape.replace(parser.shape()?).is_some(),
                "data_offsets" => place.replace(parser.place()?).is_some(),
                _ => return Err(parser.failed("expected dtype, shape or data_offsets")),
            };
            if again { Err(parser.failed("a field is given twice")) } else { Ok(()) }
        })?;
        match (kind, shape, place) {
            (Some(kind), Some(shape), Some((begin, end))) => Ok(Entry { name, kind, shape, begin, end }),
            _ => Err(self.failed("a tensor lacks dtype, shape or data_offsets")),
        }
    }

    fn kind(&mut self) -> Result<usize> {
        let label = self.string()?;
        TYPES
            .iter()
            .position(|(known, ..)| *known == label)
            .ok_or_else(|| self.failed(&format!("{label:?} is no dtype of the format")))
    }

    fn shape(&mut self) -> Result<Shape> {
        let (mut sizes, mut rank) = ([0; MAX_RANK], 0);
        self.items(b'[', b']', |parser| {
            let size = usize::try_from(parser.number()?).map_err(|_| parser.failed("a size is too large"))?;
            *sizes.get_mut(rank).ok_or_else(|| parser.failed(&format!("more than {MAX_RANK} axes")))? = size;
            rank += 1;
            Ok(())
        })?;
        Shape::from_slice(&sizes[..rank])
    }

    fn place(&mut self) -> Result<(u64, u64)> {
        self.expect(b'[')?;
        let begin = self.number()?;
        self.expect(b',')?;
        let end = self.number()?;
        self.expect(b']')?;
        Ok((begin, end))
    }
}
