//! An order book kept from the levels that a session gives out. Allocates only while it grows.
//!
//! Both sides are sorted vectors with the best price at the end: nearly every update is near the touch, so little has to be
//! moved, and the best price is the last element. Measured against a `BTreeMap` in `benches/ladder.rs`.

use dccd_model::{BookLevel, BookSide, Decimal, Flags};

use crate::session::{Level, Levels};

/// Levels kept on one side; past that the ones farthest from the touch are dropped. Ten times the deepest snapshot.
const LEVELS_MAX: usize = 50_000;

/// An order book.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    /// Ascending: the best bid is last.
    bids: Vec<(Decimal, Decimal)>,
    /// Descending: the best ask is last.
    asks: Vec<(Decimal, Decimal)>,
    /// Where the last bid and the last ask was set: the next one mostly is beside it.
    near: [usize; 2],
    epoch: u32,
    update_id: u64,
    dropped: u64,
    /// A snapshot is coming in: its levels are appended, and sorted when it is whole.
    unsorted: bool,
}

impl Ladder {
    /// An empty book.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one level. The first level of a snapshot, and the first of another epoch, clears the book before. Ask for what the
    /// book holds between events, never within one.
    pub fn apply(&mut self, level: &BookLevel) {
        if level.flags.contains(Flags::SNAPSHOT | Flags::FIRST) || level.epoch != self.epoch {
            self.clear();
            self.epoch = level.epoch;
        }
        self.update_id = level.update_id;
        if level.flags.contains(Flags::SNAPSHOT) {
            self.append(level);
            if level.flags.contains(Flags::LAST) {
                self.sort();
            }
            return;
        }
        if self.unsorted {
            self.sort();
        }
        self.set(level.side, level.price, level.amount);
    }

    /// Sets what there is at a price now; zero: nothing. Says whether there was something.
    #[inline]
    pub(crate) fn set(&mut self, side: BookSide, price: Decimal, amount: Decimal) -> bool {
        let [near_bid, near_ask] = &mut self.near;
        let (side, near, found) = match side {
            BookSide::Bid => {
                let found = position(&self.bids, *near_bid, |known| *known < price, price);
                (&mut self.bids, near_bid, found)
            }
            BookSide::Ask => {
                let found = position(&self.asks, *near_ask, |known| *known > price, price);
                (&mut self.asks, near_ask, found)
            }
        };
        let (Ok(at) | Err(at)) = found;
        *near = at;
        match found {
            Ok(at) if !amount.is_zero() => side[at].1 = amount,
            Ok(at) => {
                side.remove(at);
            }
            Err(_) if amount.is_zero() => {}
            Err(at) => {
                side.insert(at, (price, amount));
                if side.len() > LEVELS_MAX {
                    side.remove(0);
                    self.dropped += 1;
                }
            }
        }
        found.is_ok()
    }

    /// Drops what is past the best `depth` levels of each side; `gone` gets each of them, the one farthest from the touch first.
    pub(crate) fn truncate(&mut self, depth: usize, mut gone: impl FnMut(BookSide, Decimal)) {
        for (side, levels) in [(BookSide::Bid, &mut self.bids), (BookSide::Ask, &mut self.asks)] {
            let past = levels.len().saturating_sub(depth);
            levels.drain(..past).for_each(|(price, _)| gone(side, price));
        }
    }

    /// Takes these levels for all there are; of a price that stands twice the last one counts.
    pub(crate) fn replace(&mut self, levels: &Levels) {
        self.clear();
        let pair = |level: &Level| (!level.amount.is_zero()).then_some((level.price, level.amount));
        self.bids.extend(levels.bids.iter().filter_map(pair));
        self.asks.extend(levels.asks.iter().filter_map(pair));
        self.sort();
    }

    /// The best `count` levels of a side as (price, amount), the best one last.
    pub(crate) fn best_last(&self, side: BookSide, count: usize) -> &[(Decimal, Decimal)] {
        let levels = match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        };
        &levels[levels.len().saturating_sub(count)..]
    }

    /// All levels, best first.
    pub(crate) fn levels(&self) -> Levels {
        let level = |(price, amount)| Level { price, amount };
        Levels { bids: self.bids().map(level).collect(), asks: self.asks().map(level).collect() }
    }

    /// Whether both hold the same amounts at the same prices.
    pub(crate) fn holds_the_same(&self, other: &Self) -> bool {
        self.bids == other.bids && self.asks == other.asks
    }

    /// Forgets all levels.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
        self.unsorted = false;
    }

    /// A level of a snapshot: exchanges send the best first, which would be inserted at the far end of all the others.
    fn append(&mut self, level: &BookLevel) {
        self.unsorted = true;
        let side = match level.side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        };
        if side.len() >= LEVELS_MAX {
            self.dropped += 1;
        } else if !level.amount.is_zero() {
            side.push((level.price, level.amount));
        }
    }

    fn sort(&mut self) {
        self.unsorted = false;
        self.bids.sort_by_key(|level| level.0);
        self.asks.sort_by_key(|level| std::cmp::Reverse(level.0));
        // Of a price that came twice the last one counts: the sort is stable, so it stands after the others.
        for side in [&mut self.bids, &mut self.asks] {
            side.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    *kept = *later;
                }
                same
            });
        }
    }

    /// Highest price that someone would pay, and how much.
    #[must_use]
    pub fn best_bid(&self) -> Option<(Decimal, Decimal)> {
        self.bids.last().copied()
    }

    /// Lowest price that someone would sell at, and how much.
    #[must_use]
    pub fn best_ask(&self) -> Option<(Decimal, Decimal)> {
        self.asks.last().copied()
    }

    /// Bids as (price, amount), best first.
    pub fn bids(&self) -> impl ExactSizeIterator<Item = (Decimal, Decimal)> + '_ {
        self.bids.iter().rev().copied()
    }

    /// Asks as (price, amount), best first.
    pub fn asks(&self) -> impl ExactSizeIterator<Item = (Decimal, Decimal)> + '_ {
        self.asks.iter().rev().copied()
    }

    /// The best `depth` levels of both sides, best first: bids, asks.
    #[must_use]
    #[allow(clippy::type_complexity)] // (price, amount) of two sides, named in the line above
    pub fn top(&self, depth: usize) -> (Vec<(Decimal, Decimal)>, Vec<(Decimal, Decimal)>) {
        (self.bids().take(depth).collect(), self.asks().take(depth).collect())
    }

    /// Whether the best bid reaches the best ask: no exchange's book does, so something was lost or misread.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        matches!((self.bids.last(), self.asks.last()), (Some(bid), Some(ask)) if bid.0 >= ask.0)
    }

    /// Number of bids and of asks.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.bids.len(), self.asks.len())
    }

    /// Whether there is no level at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }

    /// Epoch of the last level applied.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The exchange's sequence number of the last event applied.
    #[must_use]
    pub fn update_id(&self) -> u64 {
        self.update_id
    }

    /// Levels dropped because a side was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Where this price stands, or would. `before` tells whether a price belongs before it. It is looked for from `near` on, in steps
/// that grow, and then in what is left between two of them.
#[inline]
fn position(
    side: &[(Decimal, Decimal)],
    near: usize,
    before: impl Fn(&Decimal) -> bool,
    price: Decimal,
) -> Result<usize, usize> {
    // Messages mostly go from the touch on, level by level.
    for at in [near.wrapping_sub(1), near] {
        if side.get(at).is_some_and(|(known, _)| *known == price) {
            return Ok(at);
        }
    }
    let is_before = |at: usize| side.get(at).is_some_and(|(known, _)| before(known));
    let (mut low, mut high) = (near.min(side.len()), near.min(side.len()));
    let mut step = 1;
    if is_before(low) {
        // All up to `low` belong before it, and what is at `high` doesn't.
        loop {
            low = high + 1;
            high = (high + step).min(side.len());
            if !is_before(high) {
                break;
            }
            step *= 2;
        }
    } else {
        while low > 0 {
            low = low.saturating_sub(step);
            if is_before(low) {
                low += 1;
                break;
            }
            high = low;
            step *= 2;
        }
    }
    let at = low + side[low..high].partition_point(|(known, _)| before(known));
    if side.get(at).is_some_and(|(known, _)| *known == price) { Ok(at) } else { Err(at) }
}

/// How a book within saved state is written: as its levels.
pub(crate) mod as_levels {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Ladder;
    use crate::session::Levels;

    pub(crate) fn serialize<S: Serializer>(ladder: &Ladder, serializer: S) -> Result<S::Ok, S::Error> {
        ladder.levels().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ladder, D::Error> {
        let mut ladder = Ladder::new();
        ladder.replace(&Levels::deserialize(deserializer)?);
        Ok(ladder)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dccd_model::UnixNanos;
    use proptest::prelude::*;

    use super::*;

    fn level(side: BookSide, price: &str, amount: &str, flags: Flags, epoch: u32) -> BookLevel {
        BookLevel {
            ts_venue: UnixNanos(1),
            ts_recv: UnixNanos(2),
            price: Decimal::parse(price.as_bytes()).unwrap(),
            amount: Decimal::parse(amount.as_bytes()).unwrap(),
            update_id: 7,
            side,
            flags,
            epoch,
            order_count: 0,
        }
    }

    #[test]
    fn levels_are_set_replaced_and_removed_and_the_best_comes_first() {
        let mut book = Ladder::new();
        for (side, price, amount) in [
            (BookSide::Bid, "9.0", "1"),
            (BookSide::Bid, "9.5", "2"),
            (BookSide::Bid, "9.50", "3"),
            (BookSide::Bid, "8", "1"),
            (BookSide::Bid, "8", "0"),
            (BookSide::Bid, "7", "0.000"),
            (BookSide::Ask, "10", "1"),
            (BookSide::Ask, "9.9", "4"),
        ] {
            book.apply(&level(side, price, amount, Flags::NONE, 1));
        }
        let (bids, asks) = book.top(10);
        assert_eq!(
            format!("{bids:?}"),
            "[(Decimal { mantissa: 95, exponent: -1 }, Decimal { mantissa: 3, exponent: 0 }), (Decimal { mantissa: 90, exponent: -1 }, Decimal { mantissa: 1, exponent: 0 })]"
        );
        assert_eq!(asks.iter().map(|a| a.0.to_string()).collect::<Vec<_>>(), ["9.9", "10"]);
        assert_eq!(book.best_bid().unwrap().1, Decimal::new(3, 0));
        assert!(!book.is_crossed());
        book.apply(&level(BookSide::Bid, "9.90", "1", Flags::NONE, 1));
        assert!(book.is_crossed());
    }

    #[test]
    fn a_snapshot_or_a_new_epoch_replaces_the_book() {
        let mut book = Ladder::new();
        book.apply(&level(BookSide::Bid, "1", "1", Flags::NONE, 1));
        book.apply(&level(BookSide::Ask, "2", "1", Flags::SNAPSHOT | Flags::FIRST, 2));
        book.apply(&level(BookSide::Ask, "3", "1", Flags::SNAPSHOT | Flags::LAST, 2));
        assert_eq!((book.len(), book.epoch()), ((0, 2), 2));
        book.apply(&level(BookSide::Ask, "4", "1", Flags::SNAPSHOT | Flags::FIRST, 2));
        assert_eq!(book.len(), (0, 1));
        book.apply(&level(BookSide::Bid, "1", "1", Flags::FIRST, 3));
        assert_eq!(book.len(), (1, 0));
    }

    #[test]
    fn a_snapshot_may_come_in_any_order_and_the_last_of_equal_prices_counts() {
        let mut book = Ladder::new();
        let snapshot = [("5", "1"), ("7", "1"), ("6.0", "1"), ("6", "2"), ("4", "0")];
        for (i, (price, amount)) in snapshot.into_iter().enumerate() {
            let mut flags = Flags::SNAPSHOT;
            if i == 0 {
                flags |= Flags::FIRST;
            }
            if i + 1 == snapshot.len() {
                flags |= Flags::LAST;
            }
            book.apply(&level(BookSide::Bid, price, amount, flags, 1));
            book.apply(&level(BookSide::Ask, price, amount, Flags(flags.0 & !Flags::FIRST.0), 1));
        }
        let prices = |side: Vec<(Decimal, Decimal)>| side.iter().map(|(p, a)| format!("{p}x{a}")).collect::<Vec<_>>();
        let (bids, asks) = book.top(9);
        assert_eq!(
            (prices(bids), prices(asks)),
            (vec!["7x1".to_owned(), "6x2".into(), "5x1".into()], vec!["5x1".to_owned(), "6x2".into(), "7x1".into()])
        );
        // Without its end it is whole when the next event begins.
        book.apply(&level(BookSide::Bid, "1", "1", Flags::SNAPSHOT | Flags::FIRST, 2));
        book.apply(&level(BookSide::Bid, "2", "1", Flags::SNAPSHOT, 2));
        book.apply(&level(BookSide::Bid, "3", "1", Flags::FIRST | Flags::LAST, 2));
        assert_eq!(prices(book.top(9).0), ["3x1", "2x1", "1x1"]);
    }

    #[test]
    fn a_full_side_drops_what_is_farthest_from_the_touch() {
        let mut book = Ladder::new();
        for price in 1..=LEVELS_MAX + 10 {
            let price = price.to_string();
            book.apply(&level(BookSide::Ask, &price, "1", Flags::NONE, 0));
        }
        assert_eq!((book.len().1, book.dropped()), (LEVELS_MAX, 10));
        assert_eq!(book.asks().last().unwrap().0, Decimal::new(i64::try_from(LEVELS_MAX).unwrap(), 0));
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_would(updates in proptest::collection::vec((any::<bool>(), 1i64..400, -2i8..1, 0i64..3), 0..600)) {
            let mut book = Ladder::new();
            let mut maps = [BTreeMap::new(), BTreeMap::new()];
            for (bid, price, exponent, amount) in updates {
                let (price, amount) = (Decimal::new(price, exponent), Decimal::new(amount, 0));
                let side = if bid { BookSide::Bid } else { BookSide::Ask };
                book.apply(&BookLevel { price, amount, ..level(side, "1", "1", Flags::NONE, 0) });
                let map = &mut maps[usize::from(bid)];
                if amount.is_zero() { map.remove(&price); } else { map.insert(price, amount); }
            }
            prop_assert_eq!(book.bids().collect::<Vec<_>>(), maps[1].iter().rev().map(|(p, a)| (*p, *a)).collect::<Vec<_>>());
            prop_assert_eq!(book.asks().collect::<Vec<_>>(), maps[0].iter().map(|(p, a)| (*p, *a)).collect::<Vec<_>>());
        }
    }
}
