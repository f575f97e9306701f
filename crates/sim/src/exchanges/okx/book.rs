//! What subscribers of a book have in front of them: its best levels, the changes that keep them so, and the checksum.

use dccd_model::BookSide;

use super::instruments::Instrument;
use super::render::orders;
use crate::digits::push_short;
use crate::market::book::Book;
use crate::market::spec::Spec;

/// Levels a side.
pub(super) const DEPTH: usize = 400;
/// Levels a side that the checksum is made of.
const CHECKED: usize = 25;

/// A level as it is told: price, size (both `e8`) and how many orders make it; no size and no orders: gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub price: i64,
    pub size: i64,
    pub orders: u64,
}

/// Levels of both sides, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    pub bids: Vec<Level>,
    pub asks: Vec<Level>,
}

impl Levels {
    pub(super) fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }

    /// From a book's price levels, `e8`.
    pub(super) fn of(instrument: &Instrument, bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Self {
        let level = |(price, amount): &(i64, i64)| {
            let size = instrument.size(*amount);
            Level { price: *price, size, orders: orders(*price, size) }
        };
        Self { bids: bids.iter().map(level).collect(), asks: asks.iter().map(level).collect() }
    }

    /// The best of them.
    pub(super) fn best(&self, count: usize) -> (&[Level], &[Level]) {
        (&self.bids[..count.min(self.bids.len())], &self.asks[..count.min(self.asks.len())])
    }

    /// The checksum of a book: `bid:size:ask:size:…` of the best levels, those of the longer side alone at the end.
    pub(super) fn checksum(&self) -> i32 {
        let mut text = Vec::with_capacity(CHECKED * 48);
        for at in 0..CHECKED {
            for level in [self.bids.get(at), self.asks.get(at)].into_iter().flatten() {
                for number in [level.price, level.size] {
                    if !text.is_empty() {
                        text.push(b':');
                    }
                    push_short(&mut text, number);
                }
            }
        }
        crc32fast::hash(&text).cast_signed()
    }
}

/// The best levels of a book in ticks and lots, as every subscriber has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    bids: Vec<(i64, i64)>,
    asks: Vec<(i64, i64)>,
}

impl View {
    pub(super) fn of(book: &Book) -> Self {
        let level = |(tick, lots): (&i64, &i64)| (*tick, *lots);
        Self {
            bids: book.side(BookSide::Bid).iter().rev().take(DEPTH).map(level).collect(),
            asks: book.side(BookSide::Ask).iter().take(DEPTH).map(level).collect(),
        }
    }

    /// All of it.
    pub(super) fn levels(&self, instrument: &Instrument, spec: &Spec) -> Levels {
        let units = |side: &[(i64, i64)]| -> Vec<_> {
            side.iter().map(|(tick, lots)| (tick * spec.price_unit, lots * spec.amount_unit)).collect()
        };
        Levels::of(instrument, &units(&self.bids), &units(&self.asks))
    }

    /// What makes of the earlier view this one: also levels that came back into the depth, and the end of those that fell out of it.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self { bids: changes(&earlier.bids, &self.bids, -1), asks: changes(&earlier.asks, &self.asks, 1) }
    }
}

/// Levels to set, best first; no lots: gone.
fn changes(old: &[(i64, i64)], new: &[(i64, i64)], sign: i64) -> Vec<(i64, i64)> {
    let (mut old, mut new) = (old.iter().copied().peekable(), new.iter().copied().peekable());
    let mut told = Vec::new();
    loop {
        let rank = |level: Option<&(i64, i64)>| level.map_or(i64::MAX, |(tick, _)| sign * tick);
        match (rank(old.peek()), rank(new.peek())) {
            (i64::MAX, i64::MAX) => return told,
            (before, after) if before < after => told.extend(old.next().map(|(tick, _)| (tick, 0))),
            (before, after) if before > after => told.extend(new.next()),
            _ => {
                let (before, after) = (old.next(), new.next());
                told.extend(after.filter(|_| before != after));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::instruments::spec;
    use super::*;
    use crate::market::engine::{Engine, Scene};
    use crate::market::history::History;
    use std::collections::BTreeMap;

    #[test]
    fn changes_make_of_one_view_the_next_and_end_what_fell_out_of_the_depth() {
        let spec = spec("BTC/USDT:USDT").unwrap();
        let (mut engine, mut book) = Engine::new(&spec, 9, 420, None);
        let mut history = History::keeping(10);
        let mut view = View::of(&book);
        let map = |side: &[(i64, i64)]| side.iter().copied().collect::<BTreeMap<_, _>>();
        let (mut bids, mut asks) = (map(&view.bids), map(&view.asks));
        let mut ended = 0;
        for step in 0..4_000 {
            let events = &mut Vec::new();
            engine.step(
                step % 3 == 0,
                &mut Scene { now_us: step, spec: &spec, book: &mut book, history: &mut history, events },
            );
            if step % 7 != 0 {
                continue;
            }
            let next = View::of(&book);
            let told = next.since(&view);
            for (held, changes) in [(&mut bids, &told.bids), (&mut asks, &told.asks)] {
                for (tick, lots) in changes {
                    if *lots > 0 {
                        held.insert(*tick, *lots);
                    } else {
                        assert!(held.remove(tick).is_some(), "a level was ended that nobody had");
                        let is_there = [BookSide::Bid, BookSide::Ask].iter().any(|side| book.side(*side).contains_key(tick));
                        ended += usize::from(is_there);
                    }
                }
            }
            assert_eq!((&bids, &asks), (&map(&next.bids), &map(&next.asks)), "{step}");
            assert!(next.since(&next).bids.is_empty());
            view = next;
        }
        assert!(ended > 10, "{ended}");
    }

    #[test]
    fn the_checksum_is_that_of_a_recorded_book() {
        // A short recorded snapshot: an option of 2021 with four asks and five bids.
        let level = |price: i64, size: i64| Level { price: price * 10_000, size: size * 100_000_000, orders: 1 };
        let levels = Levels {
            asks: vec![level(3_415, 5), level(3_420, 300), level(3_425, 301), level(3_445, 305)],
            bids: vec![level(3_350, 5), level(3_345, 300), level(3_340, 301), level(3_295, 305), level(5, 10)],
        };
        assert_eq!(levels.checksum(), -1_431_042_442);
    }
}
