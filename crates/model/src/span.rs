//! Candle spans: whole seconds inside, labels such as `1m` and `4h` outside.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The length of a candle in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(u32);

/// Why something is not a span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a span (a whole number of seconds, or a label such as 1m, 4h, 1d)")]
pub struct SpanError {
    text: String,
}

const UNITS: [(u32, char); 5] = [(604_800, 'w'), (86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];

impl Span {
    /// A span of this many seconds; `None` for zero.
    #[must_use]
    pub const fn from_secs(seconds: u32) -> Option<Self> {
        if seconds == 0 { None } else { Some(Self(seconds)) }
    }

    /// One second.
    pub const ONE_SECOND: Self = Self(1);
    /// One minute: that of the candles that come live.
    pub const ONE_MINUTE: Self = Self(60);

    /// Its length in seconds.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

/// The label: the largest unit that divides it (`90` seconds is `90s`).
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, unit) = UNITS.into_iter().find(|(size, _)| self.0.is_multiple_of(*size)).unwrap_or((1, 's'));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError { text: text.to_owned() };
        let (number, size) = match UNITS.into_iter().find(|(_, unit)| text.ends_with(*unit)) {
            Some((size, unit)) => (text.strip_suffix(unit).unwrap_or(text), size),
            None => (text, 1),
        };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        number.parse::<u32>().ok().and_then(|n| n.checked_mul(size)).and_then(Self::from_secs).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_seconds_agree() {
        for (seconds, label) in [
            (60, "1m"),
            (300, "5m"),
            (3_600, "1h"),
            (14_400, "4h"),
            (86_400, "1d"),
            (604_800, "1w"),
            (90, "90s"),
            (5_400, "90m"),
        ] {
            let span = Span::from_secs(seconds).unwrap();
            assert_eq!(span.to_string(), label);
            assert_eq!(label.parse::<Span>().unwrap(), span);
            assert_eq!(seconds.to_string().parse::<Span>().unwrap(), span);
        }
        for bad in ["", "m", "0", "0m", "-1m", "1.5h", "9999999999", "1x", "1mm", "+1m"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
