//! JSON read from left to right, straight from its bytes: for messages whose numbers aren't quoted, which serde_json would hand
//! over as doubles or copy. Never panics, allocates nothing, keeps each number's own digits, and reads what it knows in one
//! pass. What is skipped is checked for its brackets and quotes only.

use std::borrow::Cow;
use std::ops::Range;

use dccd_model::{Decimal, UnixNanos};

use super::bytes::{integer, is_token, plain, text_end, token_end};
use super::time::rfc3339;
use crate::FrameError;

/// Brackets within brackets; more is no message of anybody.
const DEPTH_MAX: usize = 64;

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn fault(&self, expected: &'static str) -> FrameError {
        FrameError::Syntax { at: self.at, expected }
    }

    /// The next byte that isn't blank.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.past_blanks(),
        }
    }

    #[cold]
    fn past_blanks(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes this byte if it is the next.
    #[inline]
    fn takes(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), FrameError> {
        if self.takes(byte) { Ok(()) } else { Err(self.fault(expected)) }
    }

    /// Begins an object; then [`Self::key`] until it gives `None`.
    pub(crate) fn object(&mut self) -> Result<(), FrameError> {
        self.take(b'{', "an object")
    }

    /// The next key, in its own bytes, and the place at its value; `None` at the object's end. `first`: true before the first.
    #[inline]
    pub(crate) fn key(&mut self, first: &mut bool) -> Result<Option<&'a [u8]>, FrameError> {
        if self.takes(b'}') {
            return Ok(None);
        }
        if !std::mem::take(first) {
            self.take(b',', "a comma or the end of the object")?;
        }
        let key = self.text()?;
        self.take(b':', "a colon")?;
        Ok(Some(key))
    }

    /// Begins a list; then [`Self::item`] before each item, until it gives false.
    pub(crate) fn list(&mut self) -> Result<(), FrameError> {
        self.take(b'[', "a list")
    }

    /// Whether there is one more item. `first`: true before the first.
    #[inline]
    pub(crate) fn item(&mut self, first: &mut bool) -> Result<bool, FrameError> {
        if self.takes(b']') {
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.take(b',', "a comma or the end of the list")?;
        }
        Ok(true)
    }

    /// What stands between quotes, in its own bytes: escapes stay as they are.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a [u8], FrameError> {
        self.take(b'"', "a text")?;
        self.rest_of_text()
    }

    /// As [`Self::text`], whose first quote is taken.
    #[inline]
    pub(crate) fn rest_of_text(&mut self) -> Result<&'a [u8], FrameError> {
        let begin = self.at;
        loop {
            self.at = text_end(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let text = &self.bytes[begin..self.at];
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => self.at += 2,
                // What controls a terminal must be escaped.
                _ => return Err(self.fault("the end of a text")),
            }
        }
    }

    /// As [`Self::text`]: where it stands in all that is read.
    pub(crate) fn text_range(&mut self) -> Result<Range<usize>, FrameError> {
        let length = self.text()?.len();
        let end = self.at - 1;
        Ok(end - length..end)
    }

    /// Takes these bytes if they are the next, blanks and all.
    #[inline]
    pub(crate) fn takes_exactly(&mut self, bytes: &[u8]) -> bool {
        let found = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(bytes));
        if found {
            self.at += bytes.len();
        }
        found
    }

    /// What stands between quotes, as it reads.
    pub(crate) fn words(&mut self) -> Result<Cow<'a, str>, FrameError> {
        let text = self.text()?;
        if text.contains(&b'\\') {
            let end = self.at;
            let begin = end - text.len() - 2;
            return Ok(Cow::Owned(serde_json::from_slice(&self.bytes[begin..end])?));
        }
        std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| self.fault("text in UTF-8"))
    }

    /// A number or a word without quotes, in its own bytes.
    fn token(&mut self) -> &'a [u8] {
        self.peek();
        let begin = self.at;
        self.at = token_end(self.bytes, begin);
        self.bytes.get(begin..self.at).unwrap_or_default()
    }

    /// `"0.0024","10"` at the beginning of a list, or after a comma in it: two numbers as they nearly always stand. `None`: something
    /// else, and still to be read.
    #[inline]
    pub(crate) fn quoted_pair(&mut self, first: &mut bool) -> Option<(Decimal, Decimal)> {
        let opening = if *first { b"\"".as_slice() } else { b",\"" };
        let mut begun = *self;
        if !begun.takes_exactly(opening) {
            return None;
        }
        let (one, end) = plain(begun.bytes, begun.at)?;
        begun.at = end;
        if !begun.takes_exactly(b"\",\"") {
            return None;
        }
        let (other, end) = plain(begun.bytes, begun.at)?;
        begun.at = end;
        if !begun.takes_exactly(b"\"") {
            return None;
        }
        (*self, *first) = (begun, false);
        Some((one, other))
    }

    /// A decimal number in its own digits, quoted or not.
    #[inline]
    pub(crate) fn decimal(&mut self) -> Result<Decimal, FrameError> {
        let is_quoted = self.peek() == Some(b'"');
        if let Some((number, end)) = plain(self.bytes, self.at + usize::from(is_quoted)) {
            let is_whole = match self.bytes.get(end) {
                Some(b'"') => is_quoted,
                Some(b'e' | b'E' | b'+' | b'-' | b'.') => false,
                _ => !is_quoted,
            };
            if is_whole {
                self.at = end + usize::from(is_quoted);
                return Ok(number);
            }
        }
        self.unusual_decimal(is_quoted)
    }

    #[cold]
    fn unusual_decimal(&mut self, is_quoted: bool) -> Result<Decimal, FrameError> {
        let begin = self.at;
        let digits = if is_quoted { self.text()? } else { self.token() };
        Decimal::parse(digits).map_err(|_| {
            self.at = begin;
            self.fault("a decimal number")
        })
    }

    /// A whole number, zero or more.
    #[inline]
    pub(crate) fn integer(&mut self) -> Result<u64, FrameError> {
        self.peek();
        match integer(self.bytes, self.at) {
            Some((number, end)) if !is_token(self.bytes, end) => {
                self.at = end;
                Ok(number)
            }
            _ => self.unusual_integer(),
        }
    }

    #[cold]
    fn unusual_integer(&mut self) -> Result<u64, FrameError> {
        let begin = self.at;
        let digits = self.token();
        let number = digits.iter().try_fold(0u64, |number, byte| {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 { number.checked_mul(10)?.checked_add(u64::from(digit)) } else { None }
        });
        match number {
            Some(number) if !digits.is_empty() => Ok(number),
            _ => {
                self.at = begin;
                Err(self.fault("a whole number"))
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn truth(&mut self) -> Result<bool, FrameError> {
        let begin = self.at;
        match self.token() {
            b"true" => Ok(true),
            b"false" => Ok(false),
            _ => {
                self.at = begin;
                Err(self.fault("true or false"))
            }
        }
    }

    /// Takes a `null` if it is the next.
    pub(crate) fn is_null(&mut self) -> bool {
        let begin = self.at;
        let found = self.token() == b"null";
        if !found {
            self.at = begin;
        }
        found
    }

    /// A time as RFC 3339 writes it, in UTC: `2023-10-06T17:35:55.440295Z`.
    pub(crate) fn time(&mut self) -> Result<UnixNanos, FrameError> {
        let begin = self.at;
        let text = self.text()?;
        rfc3339(text).ok_or_else(|| {
            self.at = begin;
            self.fault("a time in UTC")
        })
    }

    /// Goes past whatever value comes next.
    #[inline]
    pub(crate) fn skip(&mut self) -> Result<(), FrameError> {
        match self.peek() {
            Some(b'"') => self.text().map(drop),
            Some(b'{' | b'[') => self.skip_nested(),
            _ if self.token().is_empty() => Err(self.fault("a value")),
            _ => Ok(()),
        }
    }

    fn skip_nested(&mut self) -> Result<(), FrameError> {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.text()?;
                }
                Some(b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(self.fault("fewer brackets"));
                    }
                    continue;
                }
                Some(b'}' | b']') if depth > 0 => {
                    self.at += 1;
                    depth -= 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ if self.token().is_empty() => return Err(self.fault("a value")),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Nothing may follow.
    pub(crate) fn end(&mut self) -> Result<(), FrameError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.fault("the end")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Reads any value to the end, every text, number and word of it.
    fn walk(cursor: &mut Cursor<'_>, depth: usize) -> Result<Value, FrameError> {
        match cursor.peek() {
            Some(b'{') if depth < 50 => {
                let (mut first, mut object) = (true, serde_json::Map::new());
                cursor.object()?;
                while let Some(key) = cursor.key(&mut first)? {
                    let key = String::from_utf8_lossy(key).into_owned();
                    object.insert(key, walk(cursor, depth + 1)?);
                }
                Ok(Value::Object(object))
            }
            Some(b'[') if depth < 50 => {
                let (mut first, mut list) = (true, Vec::new());
                cursor.list()?;
                while cursor.item(&mut first)? {
                    list.push(walk(cursor, depth + 1)?);
                }
                Ok(Value::Array(list))
            }
            Some(b'"') => Ok(Value::String(cursor.words()?.into_owned())),
            Some(b't' | b'f') => Ok(Value::Bool(cursor.truth()?)),
            Some(b'n') if cursor.is_null() => Ok(Value::Null),
            _ => Ok(Value::String(format!("number {}", cursor.decimal()?))),
        }
    }

    #[test]
    fn values_are_read_as_they_stand() {
        let text = r#" {"a" : [1.50, -2,3e-7 ,[]], "b":{"c":true,"d":null},"e":"x\u0041\"y" } "#;
        let mut cursor = Cursor::new(text.as_bytes());
        let value = walk(&mut cursor, 0).unwrap();
        cursor.end().unwrap();
        let expected = r#"{"a":["number 1.50","number -2","number 0.0000003",[]],"b":{"c":true,"d":null},"e":"xA\"y"}"#;
        assert_eq!(value.to_string(), expected);
    }

    #[test]
    fn what_is_no_json_is_said_where() {
        for (text, at, expected) in [
            ("", 0, "a value"),
            ("{\"a\":1", 6, "a comma or the end of the object"),
            ("{\"a\" 1}", 5, "a colon"),
            ("{\"a\":1,}", 7, "a text"),
            ("[1 2]", 3, "a comma or the end of the list"),
            ("[1,]", 3, "a decimal number"),
            ("\"a", 2, "the end of a text"),
            ("\"a\\", 4, "the end of a text"),
            ("\"a\nb\"", 2, "the end of a text"),
            ("1..2", 0, "a decimal number"),
            ("[nul]", 1, "a decimal number"),
            ("1 2", 2, "the end"),
        ] {
            let mut cursor = Cursor::new(text.as_bytes());
            let fault = if text.is_empty() { cursor.skip() } else { walk(&mut cursor, 0).and_then(|_| cursor.end()) };
            let expected = format!("not a readable message: expected {expected} at byte {at}");
            assert_eq!(fault.unwrap_err().to_string(), expected, "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert!(Cursor::new(deep.as_bytes()).skip().is_err());
    }

    #[test]
    fn numbers_keep_their_digits() {
        for text in ["0", "0.00000000", "45283.5", "4831.75496356", "123456789012345678", "1234567890.12345678", "0.1", "7."]
        {
            let decimal = Cursor::new(text.as_bytes()).decimal().unwrap();
            let long = Decimal::parse(text.as_bytes()).unwrap();
            assert_eq!((decimal.mantissa, decimal.exponent), (long.mantissa, long.exponent), "{text}");
        }
        for text in ["", "-", ".", "1.2.3", "abc", "99999999999999999999.5", "\"1", "{}"] {
            assert!(Cursor::new(text.as_bytes()).decimal().is_err(), "{text}");
        }
        assert_eq!(Cursor::new(b"18446744073709551615").integer().unwrap(), u64::MAX);
        for text in ["18446744073709551616", "-1", "1.0", "", "1e3", "\"1\""] {
            assert!(Cursor::new(text.as_bytes()).integer().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = walk(&mut Cursor::new(&bytes), 0);
            let _ = Cursor::new(&bytes).skip();
            let _ = Cursor::new(&bytes).decimal();
            let _ = Cursor::new(&bytes).integer();
        }

        #[test]
        fn what_looks_like_json_returns_and_valid_json_is_skipped_whole(text in "[\\[\\]{},:\"\\\\ a0.e-]{0,40}") {
            let mut cursor = Cursor::new(text.as_bytes());
            let skipped = cursor.skip().and_then(|()| cursor.end()).is_ok();
            prop_assert!(skipped || serde_json::from_str::<Value>(&text).is_err(), "{}", text);
            let _ = walk(&mut Cursor::new(text.as_bytes()), 0);
        }

        #[test]
        fn plain_numbers_are_what_the_long_way_reads(text in "[0-9]{1,21}(\\.[0-9]{0,20})?") {
            let short = Cursor::new(text.as_bytes()).decimal().ok().map(|d| (d.mantissa, d.exponent));
            let long = Decimal::parse(text.as_bytes()).ok().map(|d| (d.mantissa, d.exponent));
            prop_assert_eq!(short, long);
        }
    }
}
