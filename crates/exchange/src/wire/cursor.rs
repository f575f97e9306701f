//! JSON read from left to right, straight from its bytes: for messages whose numbers aren't quoted, which serde_json would hand
//! over as doubles or copy. Never panics, allocates nothing, keeps each number's own digits, and reads what it knows in one
//! pass. What is skipped is checked for its brackets and quotes only.

use std::borrow::Cow;
use std::ops::Range;

use dccd_model::{Decimal, UnixNanos};

use super::plain_decimal;
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
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes this byte if it is the next.
    fn takes(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), FrameError> {
        if self.takes(byte) { Ok(()) } else { Err(self.fault(expected)) }
    }

    /// Begins an object; then [`Self::key`] until it gives `None`.
    pub(crate) fn object(&mut self) -> Result<(), FrameError> {
        self.take(b'{', "an object")
    }

    /// The next key, in its own bytes, and the place at its value; `None` at the object's end. `first`: true before the first.
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
    pub(crate) fn text(&mut self) -> Result<&'a [u8], FrameError> {
        self.take(b'"', "a text")?;
        let begin = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let text = &self.bytes[begin..self.at];
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => self.at += 2,
                // What controls a terminal must be escaped.
                Some(0..0x20) | None => return Err(self.fault("the end of a text")),
                Some(_) => self.at += 1,
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
        while self.bytes.get(self.at).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) {
            self.at += 1;
        }
        &self.bytes[begin..self.at]
    }

    /// A decimal number in its own digits, quoted or not.
    pub(crate) fn decimal(&mut self) -> Result<Decimal, FrameError> {
        let quoted = self.peek() == Some(b'"');
        if !quoted && let Some(decimal) = self.plain() {
            return Ok(decimal);
        }
        let begin = self.at;
        let digits = if quoted { self.text()? } else { self.token() };
        let number = plain_decimal(digits).or_else(|| Decimal::parse(digits).ok());
        if number.is_none() {
            self.at = begin;
        }
        number.ok_or_else(|| self.fault("a decimal number"))
    }

    /// What nearly every number looks like, in one go; at anything else it stays where it is.
    fn plain(&mut self) -> Option<Decimal> {
        let rest = self.bytes.get(self.at..)?;
        let rest = rest.get(..20).unwrap_or(rest);
        let (mut mantissa, mut point, mut length) = (0i64, None, 0usize);
        for byte in rest {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(i64::from(digit));
            } else if *byte == b'.' && point.is_none() && length > 0 {
                point = Some(length + 1);
            } else {
                if matches!(byte, b'e' | b'E' | b'+' | b'-' | b'.') {
                    return None;
                }
                break;
            }
            length += 1;
        }
        // With at most 18 of them nothing can have overflowed.
        if length == 0 || length > 19 || (length == 19 && point.is_none()) {
            return None;
        }
        let fraction = point.map_or(0, |from| length - from);
        self.at += length;
        Some(Decimal::new(mantissa, -i8::try_from(fraction).ok()?))
    }

    /// A whole number, zero or more.
    pub(crate) fn integer(&mut self) -> Result<u64, FrameError> {
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
    pub(crate) fn skip(&mut self) -> Result<(), FrameError> {
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

/// A time in UTC with any number of fraction digits; what is below a nanosecond is cut off. `None`: something else, or out of
/// the range of what nanoseconds can count.
pub(crate) fn rfc3339(text: &[u8]) -> Option<UnixNanos> {
    let number = |from: usize, to: usize| {
        text.get(from..to)?.iter().try_fold(0i64, |number, byte| {
            let digit = byte.wrapping_sub(b'0');
            (digit < 10).then(|| number * 10 + i64::from(digit))
        })
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| text.get(*at) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let rest = &text[19..];
    let (fraction, zone) = match rest.strip_prefix(b".") {
        Some(rest) => rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?),
        None => (&rest[..0], rest),
    };
    if (rest.first() == Some(&b'.') && fraction.is_empty()) || !(zone == b"Z" || zone == b"+00:00") {
        return None;
    }
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !in_range {
        return None;
    }
    let nanos = (0..9).fold(0i64, |nanos, at| nanos * 10 + fraction.get(at).map_or(0, |byte| i64::from(byte - b'0')));
    // Days since the epoch, as Howard Hinnant computes them, from the year that begins in March.
    let years = if month <= 2 { year - 1 } else { year };
    let era = years.div_euclid(400);
    let year_of_era = years.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos).map(UnixNanos)
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

    #[test]
    fn times_are_read_to_the_nanosecond() {
        let read = |text: &str| rfc3339(text.as_bytes()).map(|time| time.to_string());
        for text in [
            "1970-01-01T00:00:00Z",
            "2023-10-06T17:35:55.440295Z",
            "2024-02-29T23:59:59.999999999Z",
            "2000-12-31T12:00:00.100Z",
            "1969-07-20T20:17:40Z",
        ] {
            assert_eq!(read(text).as_deref(), Some(text), "{text}");
        }
        assert_eq!(read("2023-10-06T17:35:55.4402951239Z").as_deref(), Some("2023-10-06T17:35:55.440295123Z"));
        assert_eq!(read("2023-10-06T17:35:55+00:00").as_deref(), Some("2023-10-06T17:35:55Z"));
        for text in [
            "",
            "2023-10-06",
            "2023-10-06 17:35:55Z",
            "2023-10-06T17:35:55",
            "2023-10-06T17:35:55.Z",
            "2023-13-06T17:35:55Z",
            "2023-10-06T17:35:55+02:00",
            "2023-10-06T25:35:55Z",
            "2o23-10-06T17:35:55Z",
            "9999-10-06T17:35:55Z",
            "2023-10-06T17:35:55.5",
            "2023-1é-06T17:35:55Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = walk(&mut Cursor::new(&bytes), 0);
            let _ = Cursor::new(&bytes).skip();
            let _ = Cursor::new(&bytes).decimal();
            let _ = Cursor::new(&bytes).integer();
            let _ = rfc3339(&bytes);
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
