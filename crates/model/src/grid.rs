//! Where candles of a span may open. Pure.

use crate::Span;
use crate::time::{NANOS_PER_DAY, NANOS_PER_SECOND, UnixNanos, day_from_label, day_label, day_start};

const WEEK_SECS: u32 = 604_800;
/// The first Monday after the epoch.
const MONDAY: i64 = 4 * NANOS_PER_DAY;

/// The open times of a span: multiples of it since the epoch, whole weeks since a Monday 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    step: i64,
    origin: i64,
}

impl Grid {
    /// The open times of this span.
    #[must_use]
    pub const fn new(span: Span) -> Self {
        let weeks = span.as_secs().is_multiple_of(WEEK_SECS);
        // At most 2^32 seconds: far within the range.
        Self { step: span.as_secs() as i64 * NANOS_PER_SECOND, origin: if weeks { MONDAY } else { 0 } }
    }

    /// Nanoseconds from one open time to the next.
    #[must_use]
    pub const fn step(self) -> i64 {
        self.step
    }

    /// Whether a candle may open at this moment.
    #[must_use]
    pub const fn is_open(self, ts: UnixNanos) -> bool {
        ts.0.saturating_sub(self.origin).rem_euclid(self.step) == 0
    }

    /// The first open time at or after this moment.
    #[must_use]
    pub const fn ceil(self, ts: UnixNanos) -> UnixNanos {
        let past = ts.0.saturating_sub(self.origin).rem_euclid(self.step);
        UnixNanos(if past == 0 { ts.0 } else { ts.0.saturating_add(self.step - past) })
    }

    /// The last open time at or before this moment.
    #[must_use]
    pub const fn floor(self, ts: UnixNanos) -> UnixNanos {
        UnixNanos(ts.0.saturating_sub(ts.0.saturating_sub(self.origin).rem_euclid(self.step)))
    }

    /// How many candles open in `[from, to)`.
    #[must_use]
    pub const fn count(self, from: UnixNanos, to: UnixNanos) -> u64 {
        let (first, end) = (self.ceil(from).0, self.ceil(to).0);
        if first < end { (end.saturating_sub(first) / self.step).unsigned_abs() } else { 0 }
    }

    /// The open time `candles` after this one; before it when negative. Saturates.
    #[must_use]
    pub const fn after(self, open: UnixNanos, candles: i64) -> UnixNanos {
        UnixNanos(open.0.saturating_add(self.step.saturating_mul(candles)))
    }

    /// The end of what is closed at `now`: every candle that opens before it has closed.
    #[must_use]
    pub const fn closed_until(self, now: UnixNanos) -> UnixNanos {
        self.floor(now)
    }

    /// The stretch of a year's candles: from the first open time in it to the first in the next.
    #[must_use]
    pub fn year(self, year: i32) -> (UnixNanos, UnixNanos) {
        (self.ceil(year_start(year)), self.ceil(year_start(year + 1)))
    }
}

/// The first moment of a year, UTC.
fn year_start(year: i32) -> UnixNanos {
    day_start(day_from_label(&format!("{year:04}-01-01")).unwrap_or(0))
}

/// The year in which a moment lies, UTC.
#[must_use]
pub fn year_of(ts: UnixNanos) -> i32 {
    day_label(ts.day()).split('-').next().and_then(|year| year.parse().ok()).unwrap_or(1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(label: &str) -> Grid {
        Grid::new(label.parse().unwrap())
    }

    fn at(label: &str) -> UnixNanos {
        day_start(day_from_label(label).unwrap())
    }

    #[test]
    fn weeks_begin_on_mondays_and_belong_to_the_year_in_which_they_begin() {
        let weeks = grid("1w");
        assert_eq!(weeks.ceil(at("2024-01-01")), at("2024-01-01"));
        assert_eq!(weeks.floor(at("2025-01-01")), at("2024-12-30"));
        assert_eq!(weeks.year(2024), (at("2024-01-01"), at("2025-01-06")));
        assert_eq!(weeks.year(2025), (at("2025-01-06"), at("2026-01-05")));
        assert_eq!(weeks.count(at("2024-01-01"), at("2025-01-06")), 53);
        assert!(weeks.is_open(at("2024-12-30")) && !weeks.is_open(at("2025-01-01")));
    }

    #[test]
    fn nothing_that_is_still_open_is_closed() {
        let (hours, second) = (grid("1h"), NANOS_PER_SECOND);
        assert_eq!(hours.closed_until(UnixNanos(7_199 * second)), UnixNanos(3_600 * second));
        assert_eq!(hours.closed_until(UnixNanos(7_200 * second)), UnixNanos(7_200 * second));
        assert_eq!(hours.after(UnixNanos(7_200 * second), -2), UnixNanos(0));
        assert_eq!(hours.after(UnixNanos(0), i64::MAX), UnixNanos(i64::MAX));
        assert_eq!(hours.floor(UnixNanos(-1)), UnixNanos(-3_600 * second));
    }

    #[test]
    fn a_year_of_minutes_is_the_calendar_s() {
        let minutes = grid("1m");
        assert_eq!(minutes.year(2024), (at("2024-01-01"), at("2025-01-01")));
        assert_eq!(minutes.count(at("2024-01-01"), at("2025-01-01")), 527_040);
        assert_eq!(minutes.count(at("2025-01-01"), at("2024-01-01")), 0);
        assert_eq!(minutes.ceil(UnixNanos(at("2024-01-01").0 + 1)).0 - at("2024-01-01").0, 60_000_000_000);
        assert_eq!((year_of(at("2024-12-31")), year_of(UnixNanos(-1))), (2024, 1969));
    }
}
