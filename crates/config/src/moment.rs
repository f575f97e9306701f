//! A date or date and time as a user writes it: exact with an offset, in the configured zone without.

use jiff::civil::{Date, DateTime, Time};
use serde::{Deserialize, Deserializer};

use dccd_model::UnixNanos;

use crate::Timezone;

/// A moment as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// With an offset: exact.
    Exact(UnixNanos),
    /// Without: it depends on the zone.
    Civil(DateTime),
}

impl Moment {
    /// Reads `2020-01-01`, `2020-01-01 12:00`, `2020-01-01T12:00:00Z`, `2020-01-01 12:00:00.5+02:00`; `None` for others.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
            return i64::try_from(timestamp.as_nanosecond()).ok().map(|nanos| Self::Exact(UnixNanos(nanos)));
        }
        // A year of four digits: `20200101` is a number to most people.
        if !(text.len() >= 10 && text.as_bytes()[4] == b'-') {
            return None;
        }
        if text.len() == 10 {
            return text.parse::<Date>().ok().map(|date| Self::Civil(date.to_datetime(Time::midnight())));
        }
        if text.contains('[') {
            return None;
        }
        text.parse::<DateTime>().ok().map(Self::Civil)
    }

    /// The instant, with dates read in this zone. A time that a change of clocks skipped or repeated is read as before it.
    #[must_use]
    pub fn instant(&self, zone: &Timezone) -> Option<UnixNanos> {
        match self {
            Self::Exact(instant) => Some(*instant),
            Self::Civil(civil) => {
                let timestamp = civil.to_zoned(zone.rules()).ok()?.timestamp();
                i64::try_from(timestamp.as_nanosecond()).ok().map(UnixNanos)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).ok_or_else(|| serde::de::Error::custom("not a moment"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_the_zone_and_offsets_as_they_stand() {
        let instant = |text: &str, zone: Timezone| Moment::from_text(text).unwrap().instant(&zone).unwrap().to_string();
        assert_eq!(instant("2020-01-01", Timezone::Utc), "2020-01-01T00:00:00Z");
        assert_eq!(instant("2020-01-01", Timezone::Named("Europe/Paris".to_owned())), "2019-12-31T23:00:00Z");
        assert_eq!(instant("2020-01-01 12:30", Timezone::Utc), "2020-01-01T12:30:00Z");
        assert_eq!(instant("2020-01-01 12:30:01", Timezone::Utc), "2020-01-01T12:30:01Z");
        assert_eq!(instant("2020-01-01T12:30:01.5+02:00", Timezone::Local), "2020-01-01T10:30:01.500Z");
        for bad in ["", "20200101", "2020-13-01", "2020-02-30", "yesterday", "2020-1-1", "2020-01-01T25:00", "9999999999999"]
        {
            assert_eq!(Moment::from_text(bad), None, "{bad}");
        }
    }
}
