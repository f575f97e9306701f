//! Quotes: numbered in order, but with holes by nature. A loss shows in the connections, not in the numbers; but for a quote
//! that comes behind a newer one: it is dropped, because the series doesn't go back, and the gap before the next tells of it.
//! One that is behind all that are remembered can't be told from a repetition, and is taken for one.

use dccd_model::{Gap, GapReason, UnixNanos};
use serde::{Deserialize, Serialize};

/// A number seen before that comes so long after the last new one is the exchange beginning its numbers anew.
pub(super) const RESET_NANOS: i64 = 60_000_000_000;

/// Numbers remembered.
pub(super) const REMEMBERED: usize = 64;

/// The last numbers that came. Saved as a list, the oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<u64>", into = "Vec<u64>")]
struct Recent {
    numbers: [u64; REMEMBERED],
    /// How many are there.
    len: usize,
    /// Where the next one goes.
    next: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self { numbers: [0; REMEMBERED], len: 0, next: 0 }
    }
}

impl Recent {
    fn push(&mut self, number: u64) {
        self.numbers[self.next] = number;
        self.next = (self.next + 1) % REMEMBERED;
        self.len = (self.len + 1).min(REMEMBERED);
    }

    /// In no order.
    fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.numbers[..self.len].iter().copied()
    }
}

impl From<Vec<u64>> for Recent {
    fn from(list: Vec<u64>) -> Self {
        let mut recent = Self::default();
        list.into_iter().for_each(|number| recent.push(number));
        recent
    }
}

impl From<Recent> for Vec<u64> {
    fn from(recent: Recent) -> Self {
        let (newer, older) = recent.numbers[..recent.len].split_at(recent.next % recent.len.max(1));
        [older, newer].concat()
    }
}

/// What a quote's number means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum QuoteStep {
    /// It is newer; something may be missing before it.
    New { gap: Option<Gap> },
    /// A newer one was there before it. The next new one has a gap.
    Late,
    /// It was seen before, or is too old to tell.
    Duplicate,
    /// It is newer, says what the last one said, and nothing can be missing between them.
    Unchanged,
}

/// The sequence of one feed of quotes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Quotes {
    last: Option<u64>,
    /// Of the last quote: the time by which the series is ordered.
    last_ts: UnixNanos,
    last_recv: UnixNanos,
    #[serde(default)]
    recent: Recent,
    /// Whether one was dropped since the last because it came late.
    #[serde(default)]
    late: bool,
}

impl Quotes {
    /// A quote arrived. `broken`: why something may have been lost since the last one.
    pub(crate) fn arrive(&mut self, number: u64, ts: UnixNanos, recv: UnixNanos, broken: Option<GapReason>) -> QuoteStep {
        let gap = match self.last {
            None => None,
            Some(last) if number > last => broken.or(self.late.then_some(GapReason::Sequence)),
            Some(last) if number == last || self.recent.iter().any(|seen| seen == number) => return QuoteStep::Duplicate,
            Some(_) if recv.0.saturating_sub(self.last_recv.0) > RESET_NANOS => {
                self.recent = Recent::default();
                broken.or(Some(GapReason::Sequence))
            }
            Some(_) if self.recent.iter().all(|seen| seen > number) => return QuoteStep::Duplicate,
            Some(_) => {
                self.recent.push(number);
                self.late = true;
                return QuoteStep::Late;
            }
        };
        let gap = gap.map(|reason| Gap { from: self.last_ts, to: ts, reason, repaired: false, ids: None });
        (self.last, self.last_ts, self.last_recv) = (Some(number), ts, recv);
        self.recent.push(number);
        self.late = false;
        QuoteStep::New { gap }
    }

    /// What came after this moment can't be believed: a gap before the next quote begins here.
    pub(crate) fn doubt(&mut self, since: UnixNanos) {
        self.last_ts = self.last_ts.min(since);
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

    use GapReason::{Disconnected, Sequence};
    use QuoteStep::{Duplicate, Late};

    const NEW: QuoteStep = QuoteStep::New { gap: None };

    fn at(quotes: &mut Quotes, second: i64, number: u64) -> QuoteStep {
        quotes.arrive(number, UnixNanos::from_secs(second), UnixNanos::from_secs(second), None)
    }

    fn gap(from: i64, to: i64, reason: GapReason) -> QuoteStep {
        let (from, to) = (UnixNanos::from_secs(from), UnixNanos::from_secs(to));
        QuoteStep::New { gap: Some(Gap { from, to, reason, repaired: false, ids: None }) }
    }

    #[test]
    fn older_numbers_are_dropped_until_so_much_time_went_by_that_they_must_have_begun_anew() {
        let mut quotes = Quotes::default();
        assert_eq!(at(&mut quotes, 1, 10), NEW);
        assert_eq!(at(&mut quotes, 2, 10), Duplicate);
        assert_eq!(at(&mut quotes, 3, 90), NEW);
        assert_eq!(at(&mut quotes, 63, 9), Duplicate);
        assert_eq!(at(&mut quotes, 64, 90), Duplicate, "the current quote, sent again");
        assert_eq!(at(&mut quotes, 64, 1), gap(3, 64, Sequence));
        assert_eq!(at(&mut quotes, 65, 10), NEW);
        let (ts, why) = (UnixNanos::from_secs(70), Some(Disconnected));
        assert_eq!(quotes.arrive(11, ts, ts, why), gap(65, 70, Disconnected));
    }

    #[test]
    fn quotes_that_come_late_are_one_gap_before_the_next() {
        let mut quotes = Quotes::default();
        assert_eq!([(1, 10), (2, 13), (3, 20)].map(|(s, n)| at(&mut quotes, s, n)), [NEW, NEW, NEW]);
        assert_eq!(at(&mut quotes, 4, 12), Late);
        assert_eq!(at(&mut quotes, 5, 14), Late);
        assert_eq!(at(&mut quotes, 6, 12), Duplicate);
        assert_eq!(at(&mut quotes, 6, 9), Duplicate, "it is older than all that is known");
        let mut restored: Quotes = serde_json::from_slice(&serde_json::to_vec(&quotes).unwrap()).unwrap();
        for quotes in [&mut quotes, &mut restored] {
            assert_eq!(at(quotes, 7, 21), gap(3, 7, Sequence));
            assert_eq!([14, 12, 20, 13, 10].map(|n| at(quotes, 8, n)), [const { Duplicate }; 5]);
            assert_eq!(at(quotes, 9, 22), NEW);
        }
    }

    #[test]
    fn the_last_numbers_are_remembered_and_saved_in_their_order() {
        let mut quotes = Quotes::default();
        for number in 1..=200u64 {
            assert_eq!(at(&mut quotes, 1, number * 2), NEW);
            let saved = serde_json::to_vec(&quotes).unwrap();
            quotes = serde_json::from_slice(&saved).unwrap();
            assert_eq!(serde_json::to_vec(&quotes).unwrap(), saved);
        }
        let kept: Vec<u64> = quotes.recent.clone().into();
        assert_eq!(kept, (137..=200).map(|n| n * 2).collect::<Vec<_>>());
        assert_eq!([272, 273, 274].map(|n| at(&mut quotes, 2, n)), [const { Duplicate }; 3]);
        assert_eq!(at(&mut quotes, 2, 275), Late);
    }
}
