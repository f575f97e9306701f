//! Candles as the exchange sends them live: the one that grows, again and again, and each once more when it is closed. Closed ones
//! follow each other without a hole; their opening times tell what is missing.

use dccd_model::{Gap, GapReason, Grid, UnixNanos};
use serde::{Deserialize, Serialize};

/// What a candle that arrived means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CandleStep {
    /// It is the next closed one; those that the gap spans are missing before it.
    Closed { gap: Option<Gap> },
    /// It grows.
    Growing,
    /// It was closed before, or a newer one was.
    Duplicate,
}

/// The sequence of one feed of candles.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Candles {
    /// When the newest closed one opened.
    closed: Option<UnixNanos>,
}

impl Candles {
    /// A candle arrived that opens then. `reason`: why some may be missing before it.
    pub(crate) fn arrive(&mut self, open: UnixNanos, is_closed: bool, grid: Grid, reason: GapReason) -> CandleStep {
        if self.closed.is_some_and(|closed| open <= closed) {
            return CandleStep::Duplicate;
        }
        if !is_closed {
            return CandleStep::Growing;
        }
        let expected = self.closed.replace(open).map(|closed| grid.after(closed, 1)).filter(|expected| *expected < open);
        let gap = expected.map(|from| Gap { from, to: open, reason, repaired: false, ids: None });
        CandleStep::Closed { gap }
    }

    /// When the newest closed candle opened.
    pub(crate) fn last_ts(&self) -> UnixNanos {
        self.closed.unwrap_or(UnixNanos::UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use dccd_model::Span;

    use super::*;

    const fn minute(minute: i64) -> UnixNanos {
        UnixNanos(minute * 60_000_000_000)
    }

    #[test]
    fn closed_candles_follow_each_other_and_what_lies_between_them_is_missing() {
        let (mut candles, grid) = (Candles::default(), Grid::new(Span::ONE_MINUTE));
        let mut arrive = |at, is_closed| candles.arrive(minute(at), is_closed, grid, GapReason::Disconnected);
        let whole = || CandleStep::Closed { gap: None };
        assert_eq!([arrive(5, false), arrive(5, true)], [CandleStep::Growing, whole()], "it begins anywhere");
        assert_eq!(
            [arrive(6, false), arrive(6, true), arrive(6, true)],
            [CandleStep::Growing, whole(), CandleStep::Duplicate]
        );
        assert_eq!([arrive(6, false), arrive(4, true)], [CandleStep::Duplicate, CandleStep::Duplicate]);
        let gap = Gap { from: minute(7), to: minute(9), reason: GapReason::Disconnected, repaired: false, ids: None };
        assert_eq!([arrive(9, false), arrive(9, true)], [CandleStep::Growing, CandleStep::Closed { gap: Some(gap) }]);
    }
}
