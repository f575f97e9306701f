//! What subscribers of a book have in front of them, and what is said of each level that changes: `new`, `change` or `delete`.

use std::collections::BTreeMap;

use dccd_model::BookSide;

use crate::market::book::Book;
use crate::market::spec::Spec;

/// What becomes of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    New,
    Change,
    Delete,
}

impl Action {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Change => "change",
            Self::Delete => "delete",
        }
    }
}

/// A level as it is told, `e8`; a deleted one has no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub action: Action,
    pub price: i64,
    pub amount: i64,
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

    /// A whole book.
    pub(super) fn of(bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Self {
        let level = |(price, amount): &(i64, i64)| Level { action: Action::New, price: *price, amount: *amount };
        Self { bids: bids.iter().map(level).collect(), asks: asks.iter().map(level).collect() }
    }

    fn side(&mut self, side: BookSide) -> &mut Vec<Level> {
        match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        }
    }
}

/// A book in ticks and lots, as every subscriber of its pace has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    /// The number that was told last.
    pub id: u64,
}

impl View {
    pub(super) fn of(book: &Book, id: u64) -> Self {
        Self { bids: book.side(BookSide::Bid).clone(), asks: book.side(BookSide::Ask).clone(), id }
    }

    /// All of it.
    pub(super) fn levels(&self, spec: &Spec) -> Levels {
        let level = |(tick, lots): (&i64, &i64)| Level {
            action: Action::New,
            price: tick * spec.price_unit,
            amount: lots * spec.amount_unit,
        };
        Levels { bids: self.bids.iter().rev().map(level).collect(), asks: self.asks.iter().map(level).collect() }
    }

    /// Catches up with the book where it was touched; `touched` is then in order. What subscribers are to be told, maybe nothing.
    pub(super) fn follow(&mut self, book: &Book, touched: &mut Vec<(BookSide, i64)>, spec: &Spec) -> Levels {
        let rank = |(side, tick): &(BookSide, i64)| match side {
            BookSide::Bid => (0, -*tick),
            BookSide::Ask => (1, *tick),
        };
        touched.sort_unstable_by_key(rank);
        touched.dedup();
        let mut told = Levels::default();
        for (side, tick) in touched.iter().copied() {
            let held = match side {
                BookSide::Bid => &mut self.bids,
                BookSide::Ask => &mut self.asks,
            };
            let (before, lots) = (held.get(&tick).copied(), book.side(side).get(&tick).copied());
            let action = match (before, lots) {
                (None, None) => continue,
                (Some(before), Some(lots)) if before == lots => continue,
                (None, Some(_)) => Action::New,
                (Some(_), Some(_)) => Action::Change,
                (Some(_), None) => Action::Delete,
            };
            match lots {
                Some(lots) => held.insert(tick, lots),
                None => held.remove(&tick),
            };
            let (price, amount) = (tick * spec.price_unit, lots.unwrap_or(0) * spec.amount_unit);
            told.side(side).push(Level { action, price, amount });
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::super::instruments::spec;
    use super::*;
    use crate::market::engine::{Engine, Scene};
    use crate::market::history::History;

    #[test]
    fn each_level_is_named_for_what_becomes_of_it_and_the_book_follows() {
        let spec = spec("BTC/USD:BTC").unwrap();
        let (mut engine, mut book) = Engine::new(&spec, 9, 60, None);
        book.take_touched();
        let mut history = History::keeping(10);
        let mut view = View::of(&book, 7);
        let (mut touched, mut seen) = (Vec::new(), [0; 3]);
        for step in 0..4_000 {
            let (events, history) = (&mut Vec::new(), &mut history);
            engine.step(step % 3 == 0, &mut Scene { now_us: step, spec: &spec, book: &mut book, history, events });
            touched.extend(book.take_touched());
            if step % 7 != 0 {
                continue;
            }
            let before = view.clone();
            let told = view.follow(&book, &mut touched, &spec);
            touched.clear();
            assert!(told.bids.is_sorted_by(|a, b| a.price > b.price) && told.asks.is_sorted_by(|a, b| a.price < b.price));
            for (side, levels) in [(&before.bids, &told.bids), (&before.asks, &told.asks)] {
                for level in levels {
                    let had = side.contains_key(&(level.price / spec.price_unit));
                    assert_eq!((had, level.amount == 0), (level.action != Action::New, level.action == Action::Delete));
                    seen[level.action as usize] += 1;
                }
            }
            assert_eq!(view, View::of(&book, 7));
        }
        assert!(seen.iter().all(|count| *count > 300), "{seen:?}");
        let mut again = vec![(BookSide::Bid, 1), (BookSide::Ask, *book.side(BookSide::Ask).keys().next().unwrap())];
        assert!(view.follow(&book, &mut again, &spec).is_empty());
    }
}
