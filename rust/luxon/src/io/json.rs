//! The part of JSON that a file's header may have: objects, lists, texts and whole numbers.
//!
//! The parser is driven by who knows what comes next, so that no value nests deeper than the format says and
//! nothing is kept that nobody asked for. Texts without escapes are borrowed.

use std::borrow::Cow;

use crate::error::{Error, Result};

/// A reader of the part of JSON that a header may have: no value nests deeper than the format says.
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Parser<'a> {
        Parser { text, at: 0 }
    }

    /// What is wrong, and where.
    pub(super) fn failed(&self, what: &str) -> Error {
        Error::Value(format!("the header, at byte {}: {what}", self.at))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past white space, and past `byte` if it is next.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_space();
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<()> {
        if self.takes(byte) { Ok(()) } else { Err(self.failed(&format!("expected {}", byte as char))) }
    }

    pub(super) fn end(&mut self) -> Result<()> {
        self.skip_space();
        if self.peek().is_none() { Ok(()) } else { Err(self.failed("expected nothing more")) }
    }

    /// `open`, any number of items with commas between them, `close`.
    pub(super) fn items(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(open)?;
        if self.takes(close) {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.takes(b',') {
                return self.expect(close);
            }
        }
    }

    pub(super) fn object(&mut self, mut value: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>) -> Result<()> {
        self.items(b'{', b'}', |parser| {
            let name = parser.string()?;
            parser.expect(b':')?;
            value(parser, name)
        })
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        self.skip_space();
        let digits = self.text[self.at..].bytes().take_while(u8::is_ascii_digit).count();
        let text = &self.text[self.at..self.at + digits];
        let number = text.parse().map_err(|_| self.failed("expected a whole number below 2^64"))?;
        if digits > 1 && text.starts_with('0') {
            return Err(self.failed("a number begins with 0"));
        }
        self.at += digits;
        Ok(number)
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.expect(b'"')?;
        let mut value = Cow::Borrowed("");
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len());
            match &mut value {
                Cow::Borrowed("") => value = Cow::Borrowed(&rest[..plain]),
                _ => value.to_mut().push_str(&rest[..plain]),
            }
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => value.to_mut().push(self.escape()?),
                Some(_) => return Err(self.failed("a control character in a text")),
                None => return Err(self.failed("a text does not end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let code = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match code {
            Some(code @ (b'"' | b'\\' | b'/')) => code as char,
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.failed("an escape that JSON does not have")),
        };
        self.at += 2;
        Ok(plain)
    }

    /// `\uXXXX`, or two of them that are one character together.
    fn unicode(&mut self) -> Result<char> {
        let first = self.unit()?;
        let code = match first {
            0xd800..=0xdbff => match self.unit()? {
                second @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                _ => return Err(self.failed("half of a surrogate pair")),
            },
            _ => first,
        };
        char::from_u32(code).ok_or_else(|| self.failed("half of a surrogate pair"))
    }

    fn unit(&mut self) -> Result<u32> {
        let text = self.text.get(self.at..self.at + 6).and_then(|text| text.strip_prefix("\\u"));
        let digits = text.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.failed("expected \\u and four hexadecimal digits"))?;
        self.at += 6;
        Ok(code)
    }
}
