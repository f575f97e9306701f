//! What subscribers of a book have in front of them, and the changes that keep it so.

use std::collections::BTreeMap;

use dccd_model::BookSide;

use crate::market::Ladder;
use crate::market::book::Book;
use crate::market::spec::Spec;

/// A book as it was told last, in ticks and lots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Told {
    pub(super) fn of(book: &Book) -> Self {
        Self { bids: book.side(BookSide::Bid).clone(), asks: book.side(BookSide::Ask).clone() }
    }

    /// Takes over what became of these levels; gives those that are other than they were told, best first. One that came and went
    /// in between is none of them.
    pub(super) fn follow(&mut self, book: &Book, spec: &Spec, mut touched: Vec<(BookSide, i64)>) -> Ladder {
        touched.sort_unstable_by_key(|(side, tick)| (*side as u8, *tick));
        touched.dedup();
        let mut changes = Ladder::default();
        for (side, tick) in touched {
            let lots = book.side(side).get(&tick).copied().unwrap_or(0);
            let (told, out) = match side {
                BookSide::Bid => (&mut self.bids, &mut changes.bids),
                BookSide::Ask => (&mut self.asks, &mut changes.asks),
            };
            let before = if lots == 0 { told.remove(&tick) } else { told.insert(tick, lots) };
            if before.unwrap_or(0) != lots {
                out.push((tick * spec.price_unit, lots * spec.amount_unit));
            }
        }
        changes.bids.reverse();
        changes
    }

    /// All of it.
    pub(super) fn ladder(&self, spec: &Spec) -> Ladder {
        let level = |(tick, lots): (&i64, &i64)| (tick * spec.price_unit, lots * spec.amount_unit);
        Ladder { bids: self.bids.iter().rev().map(level).collect(), asks: self.asks.iter().map(level).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::products::spec;
    use super::*;
    use crate::market::engine::{Engine, Scene};
    use crate::market::history::History;

    #[test]
    fn what_was_told_becomes_the_book_and_nothing_is_ended_that_nobody_had() {
        let spec = spec("BTC/USD").unwrap();
        let (mut engine, mut book) = Engine::new(&spec, 9, 60, None);
        book.take_touched();
        let mut history = History::keeping(10);
        let mut told = Told::of(&book);
        let mut held = told.ladder(&spec);
        let mut ended = 0;
        for step in 0..4_000 {
            let (book_now, history, events) = (&mut book, &mut history, &mut Vec::new());
            engine.step(step % 3 == 0, &mut Scene { now_us: step, spec: &spec, book: book_now, history, events });
            if step % 7 != 0 {
                continue;
            }
            let touched = book.take_touched();
            let changes = told.follow(&book, &spec, touched);
            for (side, levels) in [(&mut held.bids, changes.bids), (&mut held.asks, changes.asks)] {
                for (price, size) in levels {
                    let before = side.iter().position(|level| level.0 == price);
                    assert!(size > 0 || before.is_some(), "a level was ended that nobody had");
                    ended += usize::from(size == 0);
                    before.map(|at| side.remove(at));
                    if size > 0 {
                        side.push((price, size));
                    }
                }
            }
            assert_eq!(told, Told::of(&book), "{step}");
        }
        held.bids.sort_unstable_by(|a, b| b.cmp(a));
        held.asks.sort_unstable();
        assert!(held == told.ladder(&spec) && ended > 50, "{ended}");
    }
}
