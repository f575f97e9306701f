//! How exchanges write numbers and text, read without a detour through doubles; and how text goes into a query.

mod bytes;
mod cursor;
mod level;
mod time;

use std::borrow::Cow;
use std::fmt;

use dccd_model::Decimal;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, Visitor};
use serde_json::value::RawValue;

use bytes::plain;
pub(crate) use cursor::Cursor;
pub(crate) use level::{level, levels, positive};

/// Text, borrowed unless it has escapes.
pub(crate) struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Of a text that is nothing but what [`plain`] reads.
pub(crate) fn plain_decimal(text: &[u8]) -> Option<Decimal> {
    plain(text, 0).filter(|(_, end)| *end == text.len()).map(|(decimal, _)| decimal)
}

/// A decimal number from its text.
pub(crate) fn decimal<E: serde::de::Error>(text: &str) -> Result<Decimal, E> {
    match plain_decimal(text.as_bytes()) {
        Some(decimal) => Ok(decimal),
        None => Decimal::parse(text.as_bytes()).map_err(E::custom),
    }
}

/// A decimal from its own digits, quoted or not.
#[derive(Clone, Copy)]
pub(crate) struct NumberSeed {
    /// Read the raw token: needed for fractions without quotes.
    pub(crate) raw: bool,
}

impl<'de> DeserializeSeed<'de> for NumberSeed {
    type Value = Decimal;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decimal, D::Error> {
        if !self.raw {
            return deserializer.deserialize_any(self);
        }
        let token: &RawValue = serde::Deserialize::deserialize(deserializer)?;
        number(token).map_err(D::Error::custom)
    }
}

/// A decimal between quotes, from its bytes: whether they are text needn't be asked, digits are.
#[derive(Clone, Copy)]
pub(crate) struct DigitsSeed;

impl<'de> DeserializeSeed<'de> for DigitsSeed {
    type Value = Decimal;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Decimal, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for DigitsSeed {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number in quotes")
    }

    fn visit_bytes<E: serde::de::Error>(self, digits: &[u8]) -> Result<Decimal, E> {
        Decimal::parse(digits).map_err(E::custom)
    }
}

/// A decimal number from its token, quoted or not.
pub(crate) fn number(token: &RawValue) -> Result<Decimal, String> {
    let text = token.get();
    let text: Cow<'_, str> = match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(quoted) if quoted.contains('\\') => Cow::Owned(serde_json::from_str(text).map_err(|e| e.to_string())?),
        Some(quoted) => Cow::Borrowed(quoted),
        None => Cow::Borrowed(text),
    };
    Decimal::parse(text.as_bytes()).map_err(|e| e.to_string())
}

impl Visitor<'_> for NumberSeed {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
        decimal(text)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Decimal, E> {
        i64::try_from(number).map(|n| Decimal::new(n, 0)).map_err(E::custom)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Decimal, E> {
        Ok(Decimal::new(number, 0))
    }
}

/// A decimal from its own digits, quoted or not.
pub(crate) struct WireNumber(pub(crate) Decimal);

impl<'de> Deserialize<'de> for WireNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        NumberSeed { raw: true }.deserialize(deserializer).map(Self)
    }
}

/// A symbol in a query: few have letters that must be escaped, but some have.
pub(crate) fn encoded(id: &str) -> Cow<'_, str> {
    if id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
        return Cow::Borrowed(id);
    }
    let mut text = String::with_capacity(id.len() * 3);
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    Cow::Owned(text)
}

/// What follows each `key` in a frame that may be broken, up to the next quote.
pub(crate) fn values_after<'a>(frame: &'a [u8], key: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    let places = frame.windows(key.len()).enumerate().filter(move |(_, window)| *window == key);
    places.filter_map(move |(at, _)| {
        let value = &frame[at + key.len()..];
        Some(&value[..value.iter().position(|byte| *byte == b'"')?])
    })
}
