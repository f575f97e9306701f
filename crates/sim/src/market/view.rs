//! The best levels of a book as its followers have them before them, and what changes them into the next.

use dccd_model::BookSide;

use super::Ladder;
use super::book::Book;
use super::spec::Spec;

/// Levels of both sides in ticks and lots, best first. In what [`View::since`] gives, a level without lots is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    bids: Vec<(i64, i64)>,
    asks: Vec<(i64, i64)>,
}

impl View {
    /// The best `depth` levels a side.
    pub(crate) fn of(book: &Book, depth: usize) -> Self {
        let level = |(tick, lots): (&i64, &i64)| (*tick, *lots);
        Self {
            bids: book.side(BookSide::Bid).iter().rev().take(depth).map(level).collect(),
            asks: book.side(BookSide::Ask).iter().take(depth).map(level).collect(),
        }
    }

    /// All of it, `e8`.
    pub(crate) fn ladder(&self, spec: &Spec) -> Ladder {
        let units = |side: &[(i64, i64)]| -> Vec<_> {
            side.iter().map(|(tick, lots)| (tick * spec.price_unit, lots * spec.amount_unit)).collect()
        };
        Ladder { bids: units(&self.bids), asks: units(&self.asks) }
    }

    /// What makes of the earlier view this one: also levels that came back into the depth, and the end of those that fell out of it.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
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
    use super::*;
    use crate::market::engine::{Engine, Scene};
    use crate::market::history::History;
    use std::collections::BTreeMap;

    #[test]
    fn changes_make_of_one_view_the_next_and_end_what_fell_out_of_the_depth() {
        const DEPTH: usize = 400;
        let spec = Spec::of("BTC/USDT").unwrap();
        let (mut engine, mut book) = Engine::new(&spec, 9, 420, None);
        let mut history = History::keeping(10);
        let mut view = View::of(&book, DEPTH);
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
            let next = View::of(&book, DEPTH);
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
}
