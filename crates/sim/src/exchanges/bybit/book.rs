//! What subscribers of a book have in front of them, and what they are to be told so that they keep its best levels.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use dccd_model::BookSide;

use crate::market::Ladder;
use crate::market::book::Book;
use crate::market::spec::Spec;

/// Levels by rank, best first: the tick, negative on the side of the bids, and lots.
type Ranked = Vec<(i64, i64)>;

/// The best levels of a book, as every subscriber of this depth was last told.
#[derive(Clone, Debug)]
pub(super) struct View {
    depth: usize,
    bids: Ranked,
    asks: Ranked,
    /// The number of the last message.
    pub u: u64,
    /// The book's own count when that was made.
    pub seq: u64,
    /// When what it tells of came about, and when it was told, microseconds.
    pub changed_us: i64,
    pub told_us: i64,
}

fn best(book: &Book, side: BookSide, depth: usize) -> Ranked {
    let levels: &BTreeMap<i64, i64> = book.side(side);
    match side {
        BookSide::Bid => levels.iter().rev().take(depth).map(|(tick, lots)| (-tick, *lots)).collect(),
        BookSide::Ask => levels.iter().take(depth).map(|(tick, lots)| (*tick, *lots)).collect(),
    }
}

/// What leads from one to the other, best first; levels that are gone, out of the depth as well, have no lots.
fn changes(from: &Ranked, to: &Ranked) -> Ranked {
    let mut told = Vec::new();
    let (mut from, mut to) = (from.iter().peekable(), to.iter().peekable());
    loop {
        let order = match (from.peek(), to.peek()) {
            (None, None) => return told,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.0.cmp(&new.0),
        };
        let old = if order.is_le() { from.next() } else { None };
        let new = if order.is_ge() { to.next() } else { None };
        match (old, new) {
            (Some(old), None) => told.push((old.0, 0)),
            (old, Some(new)) if old != Some(new) => told.push(*new),
            _ => {}
        }
    }
}

fn ladder(bids: &Ranked, asks: &Ranked, spec: &Spec) -> Ladder {
    let level = |(rank, lots): &(i64, i64)| (rank.abs() * spec.price_unit, lots * spec.amount_unit);
    Ladder { bids: bids.iter().map(level).collect(), asks: asks.iter().map(level).collect() }
}

impl View {
    /// The view of a book as it is, which was told under this number.
    pub(super) fn of(book: &Book, depth: usize, u: u64, now_us: i64) -> Self {
        Self {
            depth,
            bids: best(book, BookSide::Bid, depth),
            asks: best(book, BookSide::Ask, depth),
            u,
            seq: book.update_id(),
            changed_us: now_us,
            told_us: now_us,
        }
    }

    /// Catches up with the book under the next number and gives what has changed; `None` when nothing has.
    pub(super) fn follow(&mut self, book: &Book, changed_us: i64, now_us: i64, spec: &Spec) -> Option<Ladder> {
        let (bids, asks) = (best(book, BookSide::Bid, self.depth), best(book, BookSide::Ask, self.depth));
        let (new_bids, new_asks) = (changes(&self.bids, &bids), changes(&self.asks, &asks));
        if new_bids.is_empty() && new_asks.is_empty() {
            return None;
        }
        (self.bids, self.asks, self.seq) = (bids, asks, book.update_id());
        (self.changed_us, self.told_us) = (changed_us, now_us);
        self.u += 1;
        Some(ladder(&new_bids, &new_asks, spec))
    }

    /// All of it, in hundred-millionths.
    pub(super) fn ladder(&self, spec: &Spec) -> Ladder {
        ladder(&self.bids, &self.asks, spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::engine::{Engine, Scene};
    use crate::market::history::History;

    #[test]
    fn whoever_applies_what_is_told_has_the_best_levels_and_no_others() {
        let spec = Spec::of("BTC/USDT").unwrap();
        let (mut engine, mut book) = Engine::new(&spec, 9, 60, None);
        let mut history = History::keeping(10);
        for depth in [1, 50, 200] {
            let mut view = View::of(&book, depth, 7, 0);
            let start = view.ladder(&spec);
            let mut bids: BTreeMap<i64, i64> = start.bids.into_iter().collect();
            let mut asks: BTreeMap<i64, i64> = start.asks.into_iter().collect();
            let (mut told, mut quiet) = (0, 0);
            for step in 0..4_000 {
                let (book_now, events) = (&mut book, &mut Vec::new());
                let history = &mut history;
                engine.step(step % 4 == 0, &mut Scene { now_us: step, spec: &spec, book: book_now, history, events });
                book.take_touched();
                if step % 3 > 0 {
                    continue;
                }
                let before = view.u;
                let Some(changes) = view.follow(&book, step, step, &spec) else {
                    quiet += 1;
                    assert_eq!(view.u, before);
                    continue;
                };
                told += 1;
                assert_eq!(view.u, before + 1);
                assert!(changes.bids.windows(2).all(|pair| pair[0].0 > pair[1].0));
                assert!(changes.asks.windows(2).all(|pair| pair[0].0 < pair[1].0));
                for (side, changed) in [(&mut bids, changes.bids), (&mut asks, changes.asks)] {
                    for (price, amount) in changed {
                        if amount == 0 {
                            assert!(side.remove(&price).is_some(), "a level was ended that nobody had");
                        } else {
                            side.insert(price, amount);
                        }
                    }
                }
                let exact = book.ladder(depth, &spec);
                assert_eq!(bids.iter().rev().map(|(p, a)| (*p, *a)).collect::<Vec<_>>(), exact.bids);
                assert_eq!(asks.iter().map(|(p, a)| (*p, *a)).collect::<Vec<_>>(), exact.asks);
            }
            assert!(told > 300 && (depth > 1 || quiet > 100), "{depth} {told} {quiet}");
        }
    }
}
