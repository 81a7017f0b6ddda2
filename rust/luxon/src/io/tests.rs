//! Round trips, headers that lie, and mutated files.

use std::fs;

use super::safetensors::{Metadata, Reader, parse, read, to_bytes, write};
use crate::dtype::DType;
use crate::tensor::Tensor;

fn named() -> Vec<(String, Tensor)> {
    let dense = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    vec![
        ("layer.weight".into(), dense.matrix_transpose().unwrap()),
        ("flag".into(), Tensor::new(&[true, false, true], &[3]).unwrap()),
        ("empty".into(), Tensor::zeros(&[0, 3], DType::F64).unwrap()),
        ("half \"quoted\"\n\u{1F600}".into(), dense.cast(DType::BF16).unwrap()),
        ("count".into(), Tensor::new(&[7i64], &[]).unwrap()),
    ]
}

fn text() -> Metadata {
    Metadata::from([("format".into(), "luxon \\ \u{1}".into()), ("é".into(), String::new())])
}

/// A file of this header and so many zero bytes.
fn file(header: &str, bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + bytes, 0);
    file
}

#[test]
fn what_is_written_is_read() {
    let folder = std::env::temp_dir().join(format!("luxon-io-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a.safetensors");
    write(&path, &named(), &text()).unwrap();
    write(&path, &named(), &text()).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes, to_bytes(&named(), &text()).unwrap());
    let (read_back, metadata) = read(&path).unwrap();
    assert_eq!(metadata, text());
    assert_eq!(read_back.len(), named().len());
    for (name, tensor) in &named() {
        let (_, found) = read_back.iter().find(|(other, _)| other == name).unwrap();
        assert_eq!((found.shape(), found.dtype()), (tensor.shape(), tensor.dtype()), "{name}");
    }
    let mut file = Reader::open(&path).unwrap();
    assert_eq!(file.read("layer.weight").unwrap().to_vec::<f32>().unwrap(), [1.0, 3.0, 2.0, 4.0]);
    assert!(file.read("layer.wieght").unwrap_err().to_string().contains("nearest: layer.weight"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    assert!(write(&folder.join("none/a"), &named(), &text()).is_err());
    assert!(Reader::open(&folder).unwrap_err().to_string().contains("no regular file"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&path, folder.join("link")).unwrap();
        write(&folder.join("link"), &named()[..1], &text()).unwrap();
        assert_eq!(read(&path).unwrap().0.len(), 1);
        assert!(folder.join("link").is_symlink());
    }
    fs::remove_dir_all(&folder).unwrap();
    let twice = [named().remove(0), named().remove(0)];
    assert!(to_bytes(&twice, &text()).is_err());
    assert!(to_bytes(&[("__metadata__".into(), named().remove(0).1)], &text()).is_err());
    assert!(bytes.len() > 8 && (0..bytes.len()).all(|length| parse(&bytes[..length]).is_err()));
}

#[test]
fn headers_that_lie_are_refused() {
    let one = |place: &str, shape: &str| format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{place}}}}}"#);
    let two = |first: &str, second: &str| {
        let field = |place: &str| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":{place}}}"#);
        format!(r#"{{"a":{},"b":{}}}"#, field(first), field(second))
    };
    assert!(parse(&file(&one("[0,8]", "[2]"), 8)).is_ok());
    assert!(parse(&file(&two("[4,8]", "[0,4]"), 8)).is_ok());
    assert!(parse(&file(" {}", 0)).is_err());
    assert!(parse(&file("{}  \n\t ", 0)).unwrap().0.is_empty());
    let huge = u64::MAX;
    let spread: Vec<String> = (0..8u64)
        .map(|place| {
            let size = (1u64 << 61) - 1;
            let (begin, end) = (place * size, (place + 1) * size);
            format!(r#""{place}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{begin},{end}]}}"#)
        })
        .collect();
    let cases: Vec<(String, usize, &str)> = vec![
        (one("[0,4]", "[2]"), 4, "its shape needs 8 bytes"),
        (one("[0,8]", "[2]"), 9, "the file at 9"),
        (one("[0,8]", "[2]"), 7, "the file at 7"),
        (one("[4,12]", "[2]"), 12, "gap"),
        (one("[8,0]", "[2]"), 8, "begins at byte 8"),
        (one("[0,-8]", "[2]"), 8, "whole number"),
        (one("[0,8.0]", "[2]"), 8, "expected ]"),
        (one("[0,08]", "[2]"), 8, "begins with 0"),
        (one(&format!("[0,{huge}]"), "[2]"), 8, "its shape needs 8 bytes"),
        (one(&format!("[{huge},{huge}]"), "[0]"), 8, "gap"),
        (one("[0,99999999999999999999]", "[2]"), 8, "below 2^64"),
        (one("[0,8]", "[4294967296,4294967296]"), 8, "no file has the bytes"),
        (one("[0,8]", &format!("[{huge}]")), 8, "no file has the bytes"),
        (one("[0,8]", "[1,1,1,1,1,1,1,1,2]"), 8, "more than 8 axes"),
        (two("[0,4]", "[0,4]"), 8, "overlaps"),
        (two("[0,4]", "[2,6]"), 8, "overlaps"),
        (two("[0,4]", "[5,9]"), 9, "gap"),
        (two("[0,4]", "[4,8]").replace("\"b\"", "\"a\""), 8, "\"a\" is given twice"),
        (two("[0,4]", "[4,8]").replace("\"b\"", "\"\\u0061\""), 8, "\"a\" is given twice"),
        (format!("{{{}}}", spread.join(",")), 64, "the file at 64"),
        (r#"{"__metadata__":{"a":"1","a":"2"}}"#.into(), 0, "metadata is given twice"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0, "__metadata__ is given twice"),
        (r#"{"__metadata__":{"a":1}}"#.into(), 0, "expected \""),
        (r#"{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}"#.into(), 4, "field is given twice"),
        (r#"{"a":{"dtype":"F99","shape":[],"data_offsets":[0,4]}}"#.into(), 4, "no dtype of the format"),
        (r#"{"a":{"dtype":"U32","shape":[],"data_offsets":[0,4]}}"#.into(), 4, "U32, which luxon does not have"),
        (r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#.into(), 1, "no file has the bytes"),
        (r#"{"a":{"shape":[],"data_offsets":[0,4]}}"#.into(), 4, "lacks"),
        (r#"{"a":{"dtype":"F32","other":0}}"#.into(), 4, "expected dtype, shape"),
        (r#"{"a\ud800":{}}"#.into(), 0, "hexadecimal"),
        (r#"{"a\ud800\u0061":{}}"#.into(), 0, "surrogate"),
        (r#"{"a\u00"#.into(), 0, "hexadecimal"),
        ("{\"a\nb\":{}}".into(), 0, "control character"),
        ("{".repeat(100_000), 0, "expected \""),
        ("[".repeat(100_000), 0, "expected {"),
        ("{} x".into(), 0, "nothing more"),
        ("{\"a".into(), 0, "does not end"),
    ];
    for (header, bytes, message) in cases {
        let error = parse(&file(&header, bytes)).unwrap_err().to_string();
        assert!(error.contains(message), "{}: {error}", &header[..header.len().min(100)]);
    }
    for length in [1, 100_000_001, 1 << 32, huge - 8, huge - 7, huge] {
        let mut bytes = file("", 0);
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert!(parse(&bytes).unwrap_err().to_string().contains("a header of"));
    }
    assert!(parse(&[0xff; 64]).is_err() && parse(b"").is_err());
    let truth = r#"{"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}"#;
    let mut bytes = file(truth, 1);
    assert!(parse(&bytes).is_ok());
    *bytes.last_mut().unwrap() = 2;
    assert!(parse(&bytes).unwrap_err().to_string().contains("truth values"));
}

/// A small generator, so that every run sees the same files.
struct Source(u64);

impl Source {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// One change of the kinds that bit rot, cut transfers and hostile writers make.
fn mutate(bytes: &mut Vec<u8>, source: &mut Source) {
    const PIECES: [&[u8]; 14] = [
        b"18446744073709551615",
        b"18446744073709551608",
        b"9223372036854775808",
        b"2305843009213693951",
        b"4294967296",
        b"0",
        b"-1",
        b"\"",
        b"\\u0061",
        b"[",
        b"}",
        b",",
        b"\"F32\"",
        b"__metadata__",
    ];
    let (length, at) = (bytes.len(), source.below(bytes.len()));
    match source.below(8) {
        0 if length > 0 => bytes[at] ^= 1 << source.below(8),
        1 if length > 0 => bytes[at] = source.below(256) as u8,
        2 => bytes.truncate(at),
        3 => bytes.extend((0..source.below(20)).map(|_| 0)),
        // A piece in place of some bytes, the length of the header kept right half of the time.
        4 | 5 if length >= 8 => {
            let piece = PIECES[source.below(PIECES.len())];
            let end = (at + source.below(4)).min(length);
            bytes.splice(at..end, piece.iter().copied());
            if source.below(2) == 0 && at >= 8 {
                let header = u64::from_le_bytes(std::array::from_fn(|place| bytes[place]));
                let longer = header.wrapping_add(piece.len() as u64).wrapping_sub((end - at) as u64);
                bytes[..8].copy_from_slice(&longer.to_le_bytes());
            }
        }
        6 => {
            let end = (at + source.below(80)).min(length);
            let part = bytes[at..end].to_vec();
            let to = source.below(length);
            bytes.splice(to..to, part);
        }
        _ if length >= 8 => {
            let size = 1u64 << source.below(64);
            let size = if source.below(2) == 0 { size.wrapping_neg() } else { size };
            bytes[..8].copy_from_slice(&size.to_le_bytes());
        }
        _ => {}
    }
}

/// Every mutated file gives an error, or tensors that the file has room for and that are written and read
/// again alike. `LUXON_MUTATIONS` asks for another number of them.
#[test]
fn mutated_files_are_refused_or_read() {
    let count = std::env::var("LUXON_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let plain = [("a".to_string(), Tensor::new(&[1u8, 2], &[2]).unwrap())];
    let originals = [to_bytes(&named(), &text()).unwrap(), to_bytes(&plain, &Metadata::new()).unwrap()];
    let (mut source, mut loaded) = (Source(0x9e37_79b9_7f4a_7c15), 0);
    for round in 0..count {
        let mut bytes = originals[round % 2].clone();
        for _ in 0..=source.below(3) {
            mutate(&mut bytes, &mut source);
        }
        let Ok((tensors, metadata)) = parse(&bytes) else { continue };
        loaded += 1;
        let held: usize = tensors.iter().map(|(_, tensor)| tensor.value().count() * tensor.dtype().size()).sum();
        assert!(held <= bytes.len());
        let again = to_bytes(&tensors, &metadata).unwrap();
        assert_eq!(to_bytes(&parse(&again).unwrap().0, &metadata).unwrap(), again);
    }
    assert!(loaded > count / 100 && loaded < count * 9 / 10, "{loaded} of {count} mutated files were read");
}
