//! The best levels of a book of which all levels are kept: what a message changes of them, so that whoever applies what is given out
//! row by row has the exchange's best levels at all times.
//!
//! A level that falls out of the depth is ended; one that comes up into it, because a better one ended, is given out although the
//! message says nothing of it. An end of a level that wasn't there says nothing.

use dccd_model::{BookSide, Decimal};

use crate::Ladder;
use crate::session::{Level, Levels};

/// Room for what one message changes; used again for each.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    changed: Vec<(BookSide, Level)>,
    /// Whether there was something at the price of each level of the message.
    known: Vec<bool>,
}

impl View {
    /// Applies the levels of a message to a book. Returns what changes of its best `depth` levels a side.
    pub(super) fn apply(&mut self, ladder: &mut Ladder, depth: usize, levels: &Levels) -> &[(BookSide, Level)] {
        self.changed.clear();
        self.side(ladder, BookSide::Bid, depth, &levels.bids);
        self.side(ladder, BookSide::Ask, depth, &levels.asks);
        &self.changed
    }

    fn side(&mut self, ladder: &mut Ladder, side: BookSide, depth: usize, levels: &[Level]) {
        let before = Bound::of(ladder, side, depth);
        self.known.clear();
        self.known.extend(levels.iter().map(|level| ladder.set(side, level.price, level.amount)));
        let after = Bound::of(ladder, side, depth);
        for (level, known) in levels.iter().zip(&self.known) {
            // What lay below the depth and is in it now comes further down.
            let was_within = !before.is_past(level.price);
            let is_told = if after.is_past(level.price) {
                level.amount.is_zero() && *known
            } else {
                !level.amount.is_zero() || *known
            };
            if was_within && is_told {
                self.changed.push((side, *level));
            }
        }
        let all = ladder.best_last(side, usize::MAX);
        let (below, within) = all.split_at(all.len().saturating_sub(depth));
        let came_up = within.iter().take_while(|(price, _)| before.is_past(*price));
        self.changed.extend(came_up.map(|(price, amount)| (side, Level { price: *price, amount: *amount })));
        for (price, _) in below.iter().rev().take_while(|(price, _)| !before.is_past(*price)) {
            let at = levels.iter().position(|level| level.price == *price);
            let was_there = at.is_none_or(|at| self.known.get(at).copied().unwrap_or(false));
            if was_there {
                self.changed.push((side, Level { price: *price, amount: Decimal::ZERO }));
            }
        }
    }
}

/// How far a side's best levels reach.
#[derive(Clone, Copy)]
struct Bound {
    side: BookSide,
    /// The last of them; `None`: there is room for more.
    last: Option<Decimal>,
}

impl Bound {
    fn of(ladder: &Ladder, side: BookSide, depth: usize) -> Self {
        let best = ladder.best_last(side, depth);
        let last = best.first().filter(|_| best.len() >= depth).map(|(price, _)| *price);
        Self { side, last }
    }

    /// Whether a price lies behind it.
    fn is_past(self, price: Decimal) -> bool {
        self.last.is_some_and(|last| match self.side {
            BookSide::Bid => price < last,
            BookSide::Ask => price > last,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level((price, amount): (i64, i64)) -> Level {
        Level { price: Decimal::new(price, 0), amount: Decimal::new(amount, 0) }
    }

    type Pairs = Vec<(i64, i64)>;

    fn messages() -> impl Strategy<Value = Vec<(Pairs, Pairs)>> {
        let side = |prices: std::ops::Range<i64>| proptest::collection::vec((prices, 0i64..4), 0..6);
        proptest::collection::vec((side(1..20), side(21..40)), 1..60)
    }

    proptest! {
        #[test]
        fn what_is_given_out_makes_the_best_levels(messages in messages(), depth in 1usize..12) {
            let (mut whole, mut given, mut view) = (Ladder::new(), Ladder::new(), View::default());
            for (bids, asks) in messages {
                let levels = Levels { bids: bids.into_iter().map(level).collect(), asks: asks.into_iter().map(level).collect() };
                for (side, level) in view.apply(&mut whole, depth, &levels) {
                    given.set(*side, level.price, level.amount);
                }
                for side in [BookSide::Bid, BookSide::Ask] {
                    prop_assert_eq!(given.best_last(side, usize::MAX), whole.best_last(side, depth));
                }
            }
        }

        #[test]
        fn of_prices_that_stand_once_nothing_is_said_that_changes_nothing_but_an_amount(messages in messages(), depth in 1usize..12) {
            let (mut whole, mut given, mut view) = (Ladder::new(), Ladder::new(), View::default());
            for (mut bids, _) in messages {
                bids.sort_by_key(|level| level.0);
                bids.dedup_by_key(|level| level.0);
                let levels = Levels { bids: bids.into_iter().map(level).collect(), asks: Vec::new() };
                for (side, level) in view.apply(&mut whole, depth, &levels) {
                    let was_there = given.set(*side, level.price, level.amount);
                    prop_assert!(was_there || !level.amount.is_zero(), "the end of a level that was never given out: {:?}", level);
                }
            }
        }
    }

    #[test]
    fn levels_move_in_and_out_of_the_depth() {
        let (mut book, mut view) = (Ladder::new(), View::default());
        let mut bids = |levels: &[(i64, i64)]| -> Vec<String> {
            let levels = Levels { bids: levels.iter().copied().map(level).collect(), asks: Vec::new() };
            view.apply(&mut book, 2, &levels).iter().map(|(_, l)| format!("{}x{}", l.price, l.amount)).collect()
        };
        assert_eq!(bids(&[(10, 1), (9, 1), (8, 1)]), ["10x1", "9x1"]);
        assert_eq!(bids(&[(8, 2), (7, 1), (6, 0)]), [""; 0], "below the depth");
        assert_eq!(bids(&[(11, 1)]), ["11x1", "9x0"], "one is pushed out");
        assert_eq!(bids(&[(11, 0), (10, 0)]), ["11x0", "10x0", "8x2", "9x1"], "two come up");
        assert_eq!(bids(&[(12, 0), (9, 0), (13, 1), (12, 5)]), ["9x0", "13x1", "12x5", "8x0"]);
    }
}
