//! Quotes that the exchange doesn't number: ordered by its times, told apart by time and values together. A loss shows in the
//! connections alone, but for a quote that comes behind a newer one, as in [`super::Quotes`].
//!
//! Two quotes may have one time and different values: the exchange's times are coarser than its changes. A connection brings them
//! in their order, so the later one counts; and one may come back to what was said before within the same time. Each connection brings
//! the same sequence, so how often it has brought a quote tells whether it repeats what is there or says it once more.

use std::collections::VecDeque;

use dccd_model::{Decimal, Gap, GapReason, UnixNanos};
use serde::{Deserialize, Serialize};

use super::QuoteStep;
use super::quotes::{REMEMBERED, RESET_NANOS};

/// Connections whose quotes are counted; past that the one that was first is forgotten.
const CONNECTIONS_MAX: usize = 8;

/// The quotes of one time that a connection brought, a digest of each, in their order. One more is kept than are remembered of all:
/// then a connection that is alone repeats nothing, however many there are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Heard {
    conn: u32,
    ts: UnixNanos,
    digests: VecDeque<u64>,
}

/// The sequence of one feed of such quotes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TimedQuotes {
    /// What the last record said.
    values: Option<[Decimal; 4]>,
    /// Of the last record.
    last_ts: UnixNanos,
    /// Of the newest quote, record or not.
    newest_ts: UnixNanos,
    newest_recv: UnixNanos,
    /// The quotes that came last: their times, and a digest of their values. A ring.
    recent: Vec<(UnixNanos, u64)>,
    /// Where the next one goes once the ring is full.
    next: usize,
    /// Whether one was dropped since the last record because it came late.
    late: bool,
    /// By connection, what came of its newest time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heard: Vec<Heard>,
}

impl TimedQuotes {
    /// A quote arrived on this connection: bid, its amount, ask, its amount. `broken`: why something may have been lost since the last one.
    /// `begins`: it is the first that the connection brings.
    pub(crate) fn arrive(
        &mut self,
        ts: UnixNanos,
        values: [Decimal; 4],
        recv: UnixNanos,
        broken: Option<GapReason>,
        conn: u32,
        begins: bool,
    ) -> QuoteStep {
        let seen = (ts, digest(&values));
        let times = self.hear(conn, seen);
        let Some(last) = self.values else {
            self.take(seen, values, recv);
            return QuoteStep::New { gap: None };
        };
        if ts <= self.newest_ts && times <= self.recent.iter().filter(|known| **known == seen).count() {
            return QuoteStep::Duplicate;
        }
        let mut reason = broken.or(self.late.then_some(GapReason::Sequence));
        if ts < self.newest_ts {
            if recv.0.saturating_sub(self.newest_recv.0) <= RESET_NANOS {
                // What a connection begins with may be the state of the moment at which it was subscribed, and not a change.
                let is_state = begins && broken.is_none() && self.was(ts, seen.1);
                if is_state || self.recent.iter().all(|(known, _)| *known > ts) {
                    return QuoteStep::Duplicate;
                }
                self.remember(seen);
                self.late = true;
                return QuoteStep::Late;
            }
            // The exchange set its clock back.
            self.recent.clear();
            self.next = 0;
            reason = reason.or(Some(GapReason::Sequence));
        }
        if reason.is_none() && values == last {
            self.remember(seen);
            (self.newest_ts, self.newest_recv) = (ts, recv);
            return QuoteStep::Unchanged;
        }
        let gap = reason.map(|reason| Gap { from: self.last_ts, to: ts, reason, repaired: false, ids: None });
        self.take(seen, values, recv);
        QuoteStep::New { gap }
    }

    /// How often this connection has brought the quote now.
    fn hear(&mut self, conn: u32, (ts, digest): (UnixNanos, u64)) -> usize {
        let at = match self.heard.iter().position(|heard| heard.conn == conn) {
            Some(at) => at,
            None => {
                if self.heard.len() >= CONNECTIONS_MAX {
                    self.heard.remove(0);
                }
                self.heard.push(Heard { conn, ..Heard::default() });
                self.heard.len() - 1
            }
        };
        let heard = &mut self.heard[at];
        if heard.ts != ts {
            heard.ts = ts;
            heard.digests.clear();
        } else if heard.digests.len() > REMEMBERED {
            heard.digests.pop_front();
        }
        heard.digests.push_back(digest);
        heard.digests.iter().filter(|known| **known == digest).count()
    }

    /// Whether these values are what was known at this time.
    fn was(&self, ts: UnixNanos, values: u64) -> bool {
        let newest = self.recent.iter().map(|(known, _)| *known).filter(|known| *known <= ts).max();
        newest.is_some_and(|newest| self.recent.contains(&(newest, values)))
    }

    fn take(&mut self, seen: (UnixNanos, u64), values: [Decimal; 4], recv: UnixNanos) {
        self.remember(seen);
        self.values = Some(values);
        (self.last_ts, self.newest_ts, self.newest_recv) = (seen.0, seen.0, recv);
        self.late = false;
    }

    fn remember(&mut self, seen: (UnixNanos, u64)) {
        if self.recent.len() < REMEMBERED {
            self.recent.push(seen);
        } else if let Some(oldest) = self.recent.get_mut(self.next) {
            *oldest = seen;
            self.next = (self.next + 1) % REMEMBERED;
        }
    }

    pub(crate) fn last_ts(&self) -> UnixNanos {
        self.last_ts
    }
}

/// Of the digits as they came: the same quote has the same ones on every connection. It is saved, so it must not change.
fn digest(values: &[Decimal; 4]) -> u64 {
    values.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, value| {
        let mixed = (hash ^ value.mantissa.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29) ^ u64::from(value.exponent.cast_unsigned())).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    use GapReason::{Disconnected, Sequence};
    use QuoteStep::{Duplicate, Late, Unchanged};

    const NEW: QuoteStep = QuoteStep::New { gap: None };

    fn at(quotes: &mut TimedQuotes, second: i64, ts: i64, bid: i64) -> QuoteStep {
        on(1, quotes, second, ts, bid, None)
    }

    fn other(quotes: &mut TimedQuotes, second: i64, ts: i64, bid: i64) -> QuoteStep {
        on(2, quotes, second, ts, bid, None)
    }

    fn broken(quotes: &mut TimedQuotes, second: i64, ts: i64, bid: i64, why: Option<GapReason>) -> QuoteStep {
        on(3, quotes, second, ts, bid, why)
    }

    fn on(conn: u32, quotes: &mut TimedQuotes, second: i64, ts: i64, bid: i64, why: Option<GapReason>) -> QuoteStep {
        let values = [bid, 1, 100, 1].map(|n| Decimal::new(n, 0));
        quotes.arrive(UnixNanos(ts), values, UnixNanos::from_secs(second), why, conn, false)
    }

    fn gap(from: i64, to: i64, reason: GapReason) -> QuoteStep {
        QuoteStep::New { gap: Some(Gap { from: UnixNanos(from), to: UnixNanos(to), reason, repaired: false, ids: None }) }
    }

    #[test]
    fn only_changes_are_new_unless_something_may_be_missing_between() {
        let mut quotes = TimedQuotes::default();
        assert_eq!(at(&mut quotes, 1, 10, 5), NEW);
        assert_eq!(at(&mut quotes, 1, 20, 5), Unchanged);
        assert_eq!(other(&mut quotes, 1, 20, 5), Duplicate, "the same once more");
        assert_eq!(at(&mut quotes, 1, 30, 6), NEW);
        assert_eq!(at(&mut quotes, 1, 30, 5), NEW, "two changes within one tick of the exchange's clock");
        assert_eq!(other(&mut quotes, 1, 30, 6), Duplicate, "the other connection is a little behind");
        assert_eq!(at(&mut quotes, 1, 40, 6), NEW);
        assert_eq!(broken(&mut quotes, 2, 50, 6, Some(Disconnected)), gap(40, 50, Disconnected));
        assert_eq!(at(&mut quotes, 2, 50, 6), Duplicate);
        assert_eq!(at(&mut quotes, 2, 60, 6), Unchanged);
        // A gap begins at the last record.
        assert_eq!(broken(&mut quotes, 2, 70, 7, Some(Disconnected)), gap(50, 70, Disconnected));
    }

    #[test]
    fn a_quote_that_returns_within_one_tick_of_the_clock_is_there_once_for_each_time_whoever_is_ahead() {
        let mut quotes = TimedQuotes::default();
        assert_eq!([5, 6].map(|bid| at(&mut quotes, 1, 10, bid)), [NEW, NEW]);
        assert_eq!([5, 6, 5, 5].map(|bid| other(&mut quotes, 1, 10, bid)), [Duplicate, Duplicate, NEW, Unchanged]);
        assert_eq!([5, 5, 6].map(|bid| at(&mut quotes, 1, 10, bid)), [Duplicate, Duplicate, NEW]);
        // One that is alone, and takes over from another within the same tick.
        assert_eq!([5, 6, 5, 5, 6, 7].map(|bid| broken(&mut quotes, 1, 10, bid, None))[4..], [Duplicate, NEW]);
        // What only one of them brought is missing before the next.
        assert_eq!(at(&mut quotes, 1, 11, 8), NEW);
        assert_eq!(other(&mut quotes, 1, 10, 6), Duplicate);
        assert_eq!(other(&mut quotes, 1, 10, 6), Late);
        assert_eq!(at(&mut quotes, 1, 12, 9), gap(11, 12, Sequence));
    }

    proptest! {
        #[test]
        fn what_several_connections_bring_is_what_the_exchange_sent(
            sent in proptest::collection::vec((0i64..3, 0i64..3), 1..60),
            turns in proptest::collection::vec(1u32..4, 0..300),
        ) {
            // Times that seldom go on, few values: all come back within one tick.
            let mut ts = 10;
            let sent: Vec<(i64, i64)> = sent.into_iter().map(|(step, bid)| {
                ts += i64::from(step == 2);
                (ts, bid)
            }).collect();
            let (mut quotes, mut places, mut came) = (TimedQuotes::default(), [0usize; 3], Vec::new());
            for conn in turns.into_iter().chain(std::iter::repeat_n(1, sent.len())) {
                let place = &mut places[conn as usize - 1];
                let Some((ts, bid)) = sent.get(*place) else { continue };
                *place += 1;
                match on(conn, &mut quotes, 1, *ts, *bid, None) {
                    NEW => came.push(*bid),
                    step => prop_assert!(matches!(step, Duplicate | Unchanged), "{:?}", step),
                }
            }
            let mut changes: Vec<i64> = sent.iter().map(|(_, bid)| *bid).collect();
            changes.dedup();
            prop_assert_eq!(came, changes);
        }
    }

    #[test]
    fn what_comes_late_is_a_gap_and_a_clock_that_was_set_back_is_believed_after_a_while() {
        let mut quotes = TimedQuotes::default();
        assert_eq!([(10, 1), (20, 2), (30, 3)].map(|(ts, bid)| at(&mut quotes, 1, ts, bid)), [NEW, NEW, NEW]);
        assert_eq!(other(&mut quotes, 1, 20, 2), Duplicate);
        assert_eq!(other(&mut quotes, 1, 25, 9), Late);
        assert_eq!(at(&mut quotes, 1, 25, 9), Duplicate);
        assert_eq!(at(&mut quotes, 1, 5, 9), Duplicate, "older than all that is known");
        assert_eq!(at(&mut quotes, 1, 40, 3), gap(30, 40, Sequence), "also where the values are the same");
        assert_eq!(at(&mut quotes, 62, 7, 3), gap(40, 7, Sequence));
        assert_eq!(at(&mut quotes, 62, 8, 4), NEW);
    }

    #[test]
    fn what_a_connection_begins_with_may_be_older_than_what_another_brought() {
        let mut quotes = TimedQuotes::default();
        assert_eq!([(10, 1), (20, 2), (30, 3)].map(|(ts, bid)| at(&mut quotes, 1, ts, bid)), [NEW, NEW, NEW]);
        let begin = |conn, quotes: &mut TimedQuotes, ts, bid, why| {
            let values = [bid, 1, 100, 1].map(|n| Decimal::new(n, 0));
            quotes.arrive(UnixNanos(ts), values, UnixNanos::from_secs(1), why, conn, true)
        };
        assert_eq!(begin(4, &mut quotes, 25, 2, None), Duplicate, "the state at 25, as it was from 20 on");
        assert_eq!(at(&mut quotes, 1, 40, 4), NEW);
        assert_eq!(begin(5, &mut quotes, 25, 2, Some(Disconnected)), Late, "nobody else brought it");
        assert_eq!(broken(&mut quotes, 1, 50, 5, Some(Disconnected)), gap(40, 50, Disconnected));
        assert_eq!(begin(6, &mut quotes, 45, 9, None), Late, "a state that was not known");
        assert_eq!(at(&mut quotes, 1, 60, 6), gap(50, 60, Sequence));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_saved_as_it_is() {
        let mut quotes = TimedQuotes::default();
        for n in 1..=200 {
            assert_eq!(at(&mut quotes, 1, n * 2, n), NEW);
            let saved = serde_json::to_vec(&quotes).unwrap();
            quotes = serde_json::from_slice(&saved).unwrap();
            assert_eq!(serde_json::to_vec(&quotes).unwrap(), saved);
        }
        assert_eq!(quotes.recent.len(), REMEMBERED);
        assert_eq!(at(&mut quotes, 1, 274, 137), Duplicate);
        assert_eq!(at(&mut quotes, 1, 273, 1), Duplicate, "too old to tell");
        assert_eq!(at(&mut quotes, 1, 275, 1), Late);
    }
}
