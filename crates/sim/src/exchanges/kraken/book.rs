//! What subscribers of a book have in front of them: its best levels, the changes that keep them so, and the checksum.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use dccd_model::BookSide;

use super::pairs::Digits;
use crate::digits::push_i64;
use crate::market::Ladder;
use crate::market::book::Book;
use crate::market::spec::Spec;

/// Levels a side that the checksum is made of.
const CHECKED: usize = 10;

/// The best levels of a book, as every subscriber of this depth has them.
#[derive(Debug)]
pub(super) struct View {
    depth: usize,
    /// Lots by tick, the ticks of bids negative: the best come first on both sides.
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

/// Levels to tell of: tick and lots, 0 of one that is gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub bids: Vec<(i64, i64)>,
    pub asks: Vec<(i64, i64)>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }

    /// In hundred-millionths.
    pub(super) fn ladder(&self, spec: &Spec) -> Ladder {
        let level = |(tick, lots): &(i64, i64)| (tick * spec.price_unit, lots * spec.amount_unit);
        Ladder { bids: self.bids.iter().map(level).collect(), asks: self.asks.iter().map(level).collect() }
    }
}

impl View {
    /// The view of a fresh snapshot.
    pub(super) fn of(book: &Book, depth: usize) -> Self {
        Self {
            depth,
            bids: book.side(BookSide::Bid).iter().rev().take(depth).map(|(tick, lots)| (-tick, *lots)).collect(),
            asks: book.side(BookSide::Ask).iter().take(depth).map(|(tick, lots)| (*tick, *lots)).collect(),
        }
    }

    /// Follows the book after these levels were touched, and says what subscribers are to be told: not of levels that fell out
    /// of the depth, but of those that came back into it.
    pub(super) fn follow(&mut self, book: &Book, touched: &[(BookSide, i64)]) -> Changes {
        let depth = self.depth;
        let one = |side, view: &mut BTreeMap<i64, i64>| {
            let touched = touched.iter().filter(|(of, _)| *of == side).map(|(_, tick)| *tick);
            follow(view, depth, side, book.side(side), touched)
        };
        Changes { bids: one(BookSide::Bid, &mut self.bids), asks: one(BookSide::Ask, &mut self.asks) }
    }

    /// All of it, in hundred-millionths.
    pub(super) fn ladder(&self, spec: &Spec) -> Ladder {
        let level = |(tick, lots): (&i64, &i64)| (tick.abs() * spec.price_unit, lots * spec.amount_unit);
        Ladder { bids: self.bids.iter().map(level).collect(), asks: self.asks.iter().map(level).collect() }
    }

    /// The checksum that a subscriber's book must have.
    pub(super) fn checksum(&self, spec: &Spec, digits: Digits) -> u32 {
        let level = |(tick, lots): (&i64, &i64)| (tick.abs() * spec.price_unit, lots * spec.amount_unit);
        checksum(self.asks.iter().map(level), self.bids.iter().map(level), digits)
    }
}

fn follow(
    view: &mut BTreeMap<i64, i64>,
    depth: usize,
    side: BookSide,
    levels: &BTreeMap<i64, i64>,
    touched: impl Iterator<Item = i64>,
) -> Vec<(i64, i64)> {
    let sign = if side == BookSide::Bid { -1 } else { 1 };
    // Up to here the view has all of the book; a view that is not full has all there is.
    let reach = if view.len() < depth { i64::MAX } else { view.last_key_value().map_or(i64::MAX, |(rank, _)| *rank) };
    let mut told = Vec::new();
    for tick in touched {
        let lots = levels.get(&tick).copied().unwrap_or(0);
        if lots == 0 {
            if view.remove(&(sign * tick)).is_some() {
                told.push((tick, 0));
            }
        } else if sign * tick <= reach && view.insert(sign * tick, lots) != Some(lots) {
            told.push((tick, lots));
        }
    }
    while view.len() > depth {
        view.pop_last();
    }
    if view.len() == depth || reach == i64::MAX {
        return told;
    }
    let missing = depth - view.len();
    let mut come_back = |tick: i64, lots: i64| {
        view.insert(sign * tick, lots);
        told.push((tick, lots));
    };
    match side {
        BookSide::Bid => {
            levels.range(..-reach).rev().take(missing).for_each(|(tick, lots)| come_back(*tick, *lots));
        }
        BookSide::Ask => {
            let beyond = levels.range((Excluded(reach), Unbounded));
            beyond.take(missing).for_each(|(tick, lots)| come_back(*tick, *lots));
        }
    }
    told
}

/// The checksum of a book's best levels (`e8`, best first): the digits of ten asks, then of ten bids, each price before its
/// amount, without the point and the zeros before the first other digit.
pub(super) fn checksum(
    asks: impl Iterator<Item = (i64, i64)>,
    bids: impl Iterator<Item = (i64, i64)>,
    digits: Digits,
) -> u32 {
    // A number without its point, cut at the decimals that are sent, is a whole number.
    let (price_cut, amount_cut) = (10_i64.pow(8 - digits.price.min(8)), 10_i64.pow(8 - digits.amount.min(8)));
    let mut text = Vec::with_capacity(2 * CHECKED * 20);
    for (price, amount) in asks.take(CHECKED).chain(bids.take(CHECKED)) {
        push_i64(&mut text, price / price_cut);
        push_i64(&mut text, amount / amount_cut);
    }
    crc32fast::hash(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::engine::{Engine, Scene};
    use crate::market::history::History;

    fn e8(text: &str) -> i64 {
        let (whole, fraction) = text.split_once('.').unwrap();
        format!("{whole}{fraction:0<8}").parse().unwrap()
    }

    #[test]
    fn the_checksum_is_that_of_the_exchanges_own_example() {
        let level = |(price, amount): (&str, &str)| (e8(price), e8(amount));
        let bids = [
            ("45283.5", "0.10000000"),
            ("45283.4", "1.54582015"),
            ("45282.1", "0.10000000"),
            ("45281.0", "0.10000000"),
            ("45280.3", "1.54592586"),
            ("45279.0", "0.07990000"),
            ("45277.6", "0.03310103"),
            ("45277.5", "0.30000000"),
            ("45277.3", "1.54602737"),
            ("45276.6", "0.15445238"),
        ];
        let asks = [
            ("45285.2", "0.00100000"),
            ("45286.4", "1.54571953"),
            ("45286.6", "1.54571109"),
            ("45289.6", "1.54560911"),
            ("45290.2", "0.15890660"),
            ("45291.8", "1.54553491"),
            ("45294.7", "0.04454749"),
            ("45296.1", "0.35380000"),
            ("45297.5", "0.09945542"),
            ("45299.5", "0.18772827"),
            ("45299.6", "9.00000000"),
        ];
        let digits = Digits { price: 1, amount: 8 };
        assert_eq!(checksum(asks.into_iter().map(level), bids.into_iter().map(level), digits), 3_310_070_434);
    }

    /// What a client does with a message: sets and removes levels, then forgets those beyond its depth.
    fn apply(held: &mut BTreeMap<i64, i64>, sign: i64, changes: &[(i64, i64)], depth: usize) {
        for (tick, lots) in changes {
            if *lots == 0 {
                assert!(held.remove(&(sign * tick)).is_some(), "a level was removed that nobody had");
            } else {
                held.insert(sign * tick, *lots);
            }
        }
        while held.len() > depth {
            held.pop_last();
        }
    }

    #[test]
    fn subscribers_have_the_best_levels_after_each_message_and_are_told_no_more_than_they_need() {
        let spec = Spec::of("BTC/USD").unwrap();
        let (mut engine, mut book) = Engine::new(&spec, 9, 60, None);
        book.take_touched();
        let mut history = History::keeping(10);
        for depth in [10, 25, 1_000] {
            let mut view = View::of(&book, depth);
            let (mut bids, mut asks) = (view.bids.clone(), view.asks.clone());
            let (mut told, mut quiet) = (0, 0);
            for step in 0..5_000 {
                let (book_now, events) = (&mut book, &mut Vec::new());
                let history = &mut history;
                engine.step(step % 4 == 0, &mut Scene { now_us: step, spec: &spec, book: book_now, history, events });
                let touched = book.take_touched();
                let changes = view.follow(&book, &touched);
                told += changes.bids.len() + changes.asks.len();
                quiet += usize::from(changes.is_empty());
                apply(&mut bids, -1, &changes.bids, depth);
                apply(&mut asks, 1, &changes.asks, depth);
                let fresh = View::of(&book, depth);
                assert_eq!((&bids, &asks), (&fresh.bids, &fresh.asks), "{depth} {step}");
                assert_eq!((&view.bids, &view.asks), (&fresh.bids, &fresh.asks));
            }
            assert!(told > 1_000, "{told}");
            // A book of sixty levels lies beyond ten of them now and then.
            assert!(depth > 25 || quiet > 50, "{depth} {quiet}");
        }
    }
}
