//! Where the candles of a span lie on the time axis. Pure.
//!
//! Candles open at whole multiples of their span since the Unix epoch; those of whole weeks on Mondays, as exchanges count.

use dccd_model::time::{NANOS_PER_DAY, NANOS_PER_SECOND};
use dccd_model::{Span, UnixNanos};

/// 1970-01-05 was a Monday.
const MONDAY: i64 = 4 * NANOS_PER_DAY;
/// Nanoseconds in a week.
const WEEK: i64 = 7 * NANOS_PER_DAY;

/// The candles of one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    step: i64,
    shift: i64,
}

impl Grid {
    /// That of this span.
    #[must_use]
    pub fn of(span: Span) -> Self {
        let step = i64::from(span.as_secs()) * NANOS_PER_SECOND;
        Self { step, shift: if step % WEEK == 0 { MONDAY } else { 0 } }
    }

    /// Length of a candle in nanoseconds.
    #[must_use]
    pub const fn step(self) -> i64 {
        self.step
    }

    /// When the candle opens that holds this instant.
    #[must_use]
    pub const fn floor(self, at: UnixNanos) -> UnixNanos {
        UnixNanos(at.0.saturating_sub(self.shift).div_euclid(self.step) * self.step + self.shift)
    }

    /// The first opening at or after this instant.
    #[must_use]
    pub const fn ceil(self, at: UnixNanos) -> UnixNanos {
        let floor = self.floor(at);
        if floor.0 == at.0 { floor } else { UnixNanos(floor.0.saturating_add(self.step)) }
    }

    /// The opening `candles` after this one; before it when negative. Saturates.
    #[must_use]
    pub const fn after(self, open: UnixNanos, candles: i64) -> UnixNanos {
        UnixNanos(open.0.saturating_add(self.step.saturating_mul(candles)))
    }

    /// How many candles open in `[from, to)`, both openings of the grid.
    #[must_use]
    pub const fn count(self, from: UnixNanos, to: UnixNanos) -> u64 {
        let length = to.0.saturating_sub(from.0);
        if length <= 0 { 0 } else { (length / self.step).unsigned_abs() }
    }

    /// Whether a candle opens here.
    #[must_use]
    pub const fn holds(self, open: UnixNanos) -> bool {
        self.floor(open).0 == open.0
    }

    /// The end of what is closed at `now`: every candle that opens before it has closed.
    #[must_use]
    pub const fn closed_until(self, now: UnixNanos) -> UnixNanos {
        self.floor(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = NANOS_PER_SECOND;

    #[test]
    fn candles_lie_on_multiples_of_their_span_and_weeks_on_mondays() {
        let minute = Grid::of(Span::from_secs(60).unwrap());
        assert_eq!(minute.floor(UnixNanos(119 * S)), UnixNanos(60 * S));
        assert_eq!(minute.ceil(UnixNanos(61 * S)), UnixNanos(120 * S));
        assert_eq!(minute.ceil(UnixNanos(60 * S)), UnixNanos(60 * S));
        assert_eq!(minute.count(UnixNanos(60 * S), UnixNanos(300 * S)), 4);
        assert_eq!(minute.count(UnixNanos(300 * S), UnixNanos(60 * S)), 0);
        assert_eq!(minute.floor(UnixNanos(-1)), UnixNanos(-60 * S));
        let week = Grid::of(Span::from_secs(604_800).unwrap());
        // 2024-08-08 was a Thursday, 2024-08-05 the Monday before.
        let thursday = dccd_model::time::day_from_label("2024-08-08").unwrap();
        assert_eq!(week.floor(dccd_model::time::day_start(thursday)), dccd_model::time::day_start(thursday - 3));
        assert!(week.holds(UnixNanos(MONDAY)));
        assert!(!week.holds(UnixNanos(0)));
    }

    #[test]
    fn nothing_that_is_still_open_is_closed() {
        let hour = Grid::of(Span::from_secs(3_600).unwrap());
        assert_eq!(hour.closed_until(UnixNanos(7_199 * S)), UnixNanos(3_600 * S));
        assert_eq!(hour.closed_until(UnixNanos(7_200 * S)), UnixNanos(7_200 * S));
    }
}
