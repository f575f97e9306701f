//! Whether a market's book and its quotes tell the same best prices: a check for books that nothing else proves wrong. The two come on
//! different ways at different paces, so what counts is only that each side was equal at some moment lately; a side that isn't
//! for a while, although both feeds go on to speak, is a book gone wrong. Keeps time by what it is told, and allocates nothing.

use dccd_model::{Decimal, UnixNanos};

const SECOND: i64 = 1_000_000_000;
/// A side may differ for so long.
const PATIENCE: i64 = 5 * SECOND;
/// A price of one feed is looked for among those that the other told within this time.
const WINDOW: i64 = SECOND;
/// Prices of a side that are remembered: of a market that moves faster the oldest are forgotten before their time.
const REMEMBERED: usize = 16;
/// Each feed has to speak so often while they differ, and once in the second half of that time: one that says nothing proves nothing.
const SPOKEN: u32 = 5;
/// What comes later than the promptest record of its feed by so much is late, and isn't held against the other.
const LATE: i64 = SECOND;
/// Between two looks. After a longer time the process stood still, and what was waiting for it comes in any order.
const LOOK: i64 = SECOND;

/// The prices that a feed told of one side, each with the time until which it was so; a ring.
#[derive(Clone, Copy, Debug)]
struct Told {
    now: Option<Decimal>,
    before: [(Option<Decimal>, i64); REMEMBERED],
    next: usize,
    /// Until then it moves faster than is remembered.
    fast_until: i64,
}

impl Told {
    const NOTHING: Self = Self { now: None, before: [(None, 0); REMEMBERED], next: 0, fast_until: i64::MIN };

    fn tell(&mut self, price: Option<Decimal>, now: i64) {
        if self.now == price {
            return;
        }
        let forgotten = std::mem::replace(&mut self.before[self.next], (self.now, now));
        // More prices than are remembered within the time in which they count: nothing can be said.
        self.fast_until = if forgotten.0.is_some() && now - forgotten.1 <= WINDOW { now + WINDOW } else { self.fast_until };
        self.next = (self.next + 1) % REMEMBERED;
        self.now = price;
    }

    fn was_lately(&self, price: Option<Decimal>, now: i64) -> bool {
        self.before.iter().any(|(told, until)| *told == price && price.is_some() && now - until <= WINDOW)
    }
}

/// One side of the market.
#[derive(Clone, Copy, Debug)]
struct Side {
    quotes: Told,
    book: Told,
    /// Since when they differ.
    since: Option<i64>,
    /// What came meanwhile: of quotes, of the book.
    spoken: (u32, u32),
}

impl Side {
    const NOTHING: Self = Self { quotes: Told::NOTHING, book: Told::NOTHING, since: None, spoken: (0, 0) };

    /// Says whether they are the same.
    fn compare(&mut self, now: i64, of_book: bool) -> bool {
        let (quote, book) = (self.quotes.now, self.book.now);
        if quote.is_none() || book.is_none() {
            self.since = None;
            return false;
        }
        if now < self.quotes.fast_until || now < self.book.fast_until {
            self.since = None;
            return false;
        }
        if quote == book || self.quotes.was_lately(book, now) || self.book.was_lately(quote, now) {
            self.since = None;
            return true;
        }
        if self.since.is_none() {
            (self.since, self.spoken) = (Some(now), (0, 0));
        }
        let spoken = if of_book { &mut self.spoken.1 } else { &mut self.spoken.0 };
        *spoken = spoken.saturating_add(1);
        false
    }
}

/// How promptly a feed comes: the least time by which its records follow the exchange's own.
#[derive(Clone, Copy, Debug)]
struct Promptness(i64);

impl Promptness {
    /// Whether a record is late. One without a time of the exchange isn't.
    fn is_late(&mut self, ts_venue: UnixNanos, ts_recv: UnixNanos) -> bool {
        if ts_venue == UnixNanos::UNKNOWN {
            return false;
        }
        let behind = ts_recv.0.saturating_sub(ts_venue.0);
        self.0 = self.0.min(behind);
        behind.saturating_sub(self.0) > LATE
    }
}

/// A market's book beside its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreement {
    bid: Side,
    ask: Side,
    quotes_behind: Promptness,
    book_behind: Promptness,
    /// When each spoke last.
    last_quote: i64,
    last_event: i64,
    looked: i64,
    /// Whether they were the same since they were last said to differ. Where a new book isn't, either, it is the quotes that are
    /// of something else, and nothing more is said.
    agreed: bool,
}

impl Agreement {
    pub(crate) const fn new() -> Self {
        Self {
            bid: Side::NOTHING,
            ask: Side::NOTHING,
            quotes_behind: Promptness(i64::MAX),
            book_behind: Promptness(i64::MAX),
            last_quote: 0,
            last_event: 0,
            looked: 0,
            agreed: false,
        }
    }

    /// A quote came.
    pub(crate) fn quote(&mut self, bid: Decimal, ask: Decimal, ts_venue: UnixNanos, ts_recv: UnixNanos) {
        let now = ts_recv.0;
        self.bid.quotes.tell(Some(bid), now);
        self.ask.quotes.tell(Some(ask), now);
        self.last_quote = now;
        let is_late = self.quotes_behind.is_late(ts_venue, ts_recv);
        self.compare(now, false, is_late);
    }

    /// An event of the book came; its best prices after it.
    pub(crate) fn event(&mut self, best: (Option<Decimal>, Option<Decimal>), ts_venue: UnixNanos, ts_recv: UnixNanos) {
        let now = ts_recv.0;
        self.bid.book.tell(best.0, now);
        self.ask.book.tell(best.1, now);
        self.last_event = now;
        let is_late = self.book_behind.is_late(ts_venue, ts_recv);
        self.compare(now, true, is_late);
    }

    fn compare(&mut self, now: i64, of_book: bool, is_late: bool) {
        if is_late {
            (self.bid.since, self.ask.since) = (None, None);
            return;
        }
        let sides = [self.bid.compare(now, of_book), self.ask.compare(now, of_book)];
        self.agreed |= sides == [true, true];
    }

    /// What was told so far says nothing about what comes: the book began anew, a feed was interrupted.
    pub(crate) fn forget(&mut self) {
        (self.bid, self.ask) = (Side::NOTHING, Side::NOTHING);
        (self.quotes_behind, self.book_behind) = (Promptness(i64::MAX), Promptness(i64::MAX));
    }

    /// Looks whether the book has gone wrong, a few times a second; gives since when at the earliest. It is to begin anew then.
    pub(crate) fn look(&mut self, now: UnixNanos) -> Option<UnixNanos> {
        let stood_still = now.0.saturating_sub(self.looked) > LOOK;
        self.looked = now.0;
        if stood_still {
            (self.bid.since, self.ask.since) = (None, None);
            return None;
        }
        let differs = |side: &Side| {
            let since = side.since?;
            let half = since + PATIENCE / 2;
            let spoken = side.spoken.0.min(side.spoken.1) >= SPOKEN && self.last_quote >= half && self.last_event >= half;
            (now.0 - since >= PATIENCE && spoken).then_some(since)
        };
        let since = [differs(&self.bid), differs(&self.ask)].into_iter().flatten().min()?;
        self.forget();
        // What was taken for equal by what had been told before may have differed since then.
        std::mem::take(&mut self.agreed).then_some(UnixNanos(since - WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(price: i64) -> Decimal {
        Decimal::new(price, 0)
    }

    const fn ms(ms: i64) -> UnixNanos {
        UnixNanos(1_700_000_000 * SECOND + ms * 1_000_000)
    }

    /// A market whose best prices are what `best` tells of a moment; the book shows it as of `lag` later, every 100 ms, the quotes every
    /// 10 ms. `wrong` alters the book's bid. When it was said to be wrong, and since when, in ms.
    fn play(
        agreement: &mut Agreement,
        span: std::ops::Range<i64>,
        lag: i64,
        best: impl Fn(i64) -> i64,
        wrong: impl Fn(i64, i64) -> i64,
    ) -> Vec<(i64, i64)> {
        let mut said = Vec::new();
        for at in span.step_by(10) {
            let bid = best(at);
            agreement.quote(d(bid), d(bid + 1), ms(at), ms(at + 1));
            if at % 100 == 0 {
                let then = best(at - lag);
                let bid = wrong(at, then);
                agreement.event((Some(d(bid)), Some(d(then + 1))), ms(at - lag), ms(at + 2));
            }
            if at % 250 == 0
                && let Some(since) = agreement.look(ms(at + 3))
            {
                said.push((at, (since.0 - ms(0).0) / 1_000_000));
            }
        }
        said
    }

    fn right(_: i64, bid: i64) -> i64 {
        bid
    }

    #[test]
    fn feeds_of_different_pace_agree_however_fast_the_market_moves() {
        // Every 10 ms another price, up and down and up again; the book is behind by up to half a second.
        for lag in [0, 50, 300, 500] {
            let mut agreement = Agreement::new();
            let up = |at: i64| 100 + at / 70;
            let waves = |at: i64| 100 + (at / 40) % 23 - (at / 90) % 17;
            assert_eq!(play(&mut agreement, 0..60_000, lag, up, right), [], "{lag}");
            assert_eq!(play(&mut agreement, 60_000..120_000, lag, waves, right), [], "{lag}");
        }
    }

    #[test]
    fn a_market_that_moves_faster_than_is_remembered_is_not_judged() {
        let mut agreement = Agreement::new();
        assert_eq!(play(&mut agreement, 0..10_000, 100, |_| 5_000, right), []);
        // It falls with every quote for many seconds, and the book is behind.
        let falls = |at: i64| 5_000 - (at - 10_000).max(0) / 10;
        assert_eq!(play(&mut agreement, 10_000..40_000, 300, falls, right), []);
        assert_eq!(
            play(&mut agreement, 40_000..60_000, 0, |_| 2_000, |_, _| 2_500).len(),
            1,
            "when it is calm it is judged again"
        );
    }

    #[test]
    fn a_level_that_stays_although_it_ended_is_told_once_and_again_only_after_they_agreed() {
        let mut agreement = Agreement::new();
        let best = |at: i64| 100 + at / 700 % 5;
        // Nothing is told before they ever agreed.
        assert_eq!(play(&mut agreement, 0..20_000, 0, best, |_, _| 300), []);
        agreement.forget();
        assert_eq!(play(&mut agreement, 20_000..30_000, 0, best, right), []);
        let ghost = |at: i64, bid: i64| if at >= 31_000 { 200 } else { bid };
        let said = play(&mut agreement, 30_000..60_000, 0, best, ghost);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!((36_000..=37_000).contains(&said[0].0) && (30_000..=31_000).contains(&said[0].1), "{said:?}");
        // The new book is right; it goes wrong once more.
        assert_eq!(play(&mut agreement, 60_000..70_000, 0, best, right), []);
        assert_eq!(play(&mut agreement, 70_000..80_000, 0, best, |_, _| 200).len(), 1);
    }

    #[test]
    fn a_feed_that_says_nothing_or_comes_late_proves_nothing() {
        let mut agreement = Agreement::new();
        let (mut now, price) = (0, d(100));
        let mut look = |agreement: &mut Agreement, until: i64| {
            let mut said = None;
            while now < until {
                now += 250;
                said = said.or(agreement.look(ms(now)));
            }
            said
        };
        agreement.quote(price, d(101), ms(0), ms(0));
        agreement.event((Some(price), Some(d(101))), ms(0), ms(0));
        // The quotes have fallen silent, the book moves on.
        for at in 1..200 {
            agreement.event((Some(d(100 + at)), Some(d(101 + at))), ms(at * 100), ms(at * 100));
        }
        assert_eq!(look(&mut agreement, 20_000), None);
        // The exchange is behind with its quotes: what they say now was so ten seconds ago.
        for at in 200..400 {
            agreement.quote(d(at), d(1 + at), ms(at * 100 - 10_000), ms(at * 100));
            agreement.event((Some(d(100 + at)), Some(d(101 + at))), ms(at * 100), ms(at * 100));
            assert_eq!(look(&mut agreement, at * 100), None);
        }
    }

    #[test]
    fn a_process_that_stood_still_judges_nothing_by_what_had_waited() {
        let mut agreement = Agreement::new();
        assert_eq!(play(&mut agreement, 0..10_000, 0, |_| 100, right), []);
        // It goes on eight seconds later: all of the book first, then the quotes, one by one.
        for at in 0..80 {
            agreement.event((Some(d(101 + at)), Some(d(102 + at))), ms(10_000 + at * 100), ms(18_000));
        }
        for at in 0..80 {
            agreement.quote(d(101 + at), d(102 + at), ms(10_000 + at * 100), ms(18_000));
        }
        assert_eq!(agreement.look(ms(18_010)), None);
        assert_eq!(play(&mut agreement, 18_250..30_000, 0, |_| 180, right), []);
    }
}
