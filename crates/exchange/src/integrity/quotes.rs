//! Quotes: numbered in order, but with holes by nature. A loss shows only in the connections, not in the numbers.

use dccd_model::{Gap, GapReason, UnixNanos};
use serde::{Deserialize, Serialize};

/// A number seen before that comes so long after the last new one is the exchange beginning its numbers anew.
const RESET_NANOS: i64 = 60_000_000_000;

/// What a quote's number means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum QuoteStep {
    /// It is newer; something may be missing before it.
    New { gap: Option<Gap> },
    /// It, or a newer one, was seen before.
    Duplicate,
}

/// The sequence of one feed of quotes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Quotes {
    last: Option<u64>,
    /// Of the last quote: the time by which the series is ordered.
    last_ts: UnixNanos,
    last_recv: UnixNanos,
}

impl Quotes {
    /// A quote arrived. `broken`: why something may have been lost since the last one.
    pub(crate) fn arrive(&mut self, number: u64, ts: UnixNanos, recv: UnixNanos, broken: Option<GapReason>) -> QuoteStep {
        let gap = match self.last {
            None => None,
            Some(last) if number > last => broken,
            Some(_) if recv.0.saturating_sub(self.last_recv.0) > RESET_NANOS => broken.or(Some(GapReason::Sequence)),
            Some(_) => return QuoteStep::Duplicate,
        };
        let gap = gap.map(|reason| Gap { from: self.last_ts, to: ts, reason, repaired: false, ids: None });
        (self.last, self.last_ts, self.last_recv) = (Some(number), ts, recv);
        QuoteStep::New { gap }
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    pub(crate) fn last_ts(&self) -> UnixNanos {
        self.last_ts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_numbers_are_dropped_until_so_much_time_went_by_that_they_must_have_begun_anew() {
        let mut quotes = Quotes::default();
        let at = UnixNanos::from_secs;
        assert_eq!(quotes.arrive(10, at(1), at(1), None), QuoteStep::New { gap: None });
        assert_eq!(quotes.arrive(10, at(2), at(2), None), QuoteStep::Duplicate);
        assert_eq!(quotes.arrive(90, at(3), at(3), None), QuoteStep::New { gap: None });
        assert_eq!(quotes.arrive(89, at(63), at(63), None), QuoteStep::Duplicate);
        let gap = Gap { from: at(3), to: at(64), reason: GapReason::Sequence, repaired: false, ids: None };
        assert_eq!(quotes.arrive(1, at(64), at(64), None), QuoteStep::New { gap: Some(gap) });
        let gap = Gap { from: at(64), to: at(70), reason: GapReason::Disconnected, repaired: false, ids: None };
        assert_eq!(quotes.arrive(2, at(70), at(70), Some(GapReason::Disconnected)), QuoteStep::New { gap: Some(gap) });
    }
}
