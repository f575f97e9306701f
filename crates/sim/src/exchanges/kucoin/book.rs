//! What an update of a book tells: each change under a number of its own, and numbers under which nothing is to be seen.

use dccd_model::BookSide;

use crate::deep::past::mix;
use crate::market::book::Book;
use crate::market::spec::Spec;

/// A level as it is told under a number: price and size, `e8`. No size: gone; no price: under this number there is nothing to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub price: i64,
    pub size: i64,
    pub seq: u64,
}

/// An update of a book.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    pub first: u64,
    pub last: u64,
    pub bids: Vec<Entry>,
    pub asks: Vec<Entry>,
}

impl Update {
    /// What happened after number `seq`: these levels were touched. Of a level that was touched more than once the last time tells all;
    /// of the others some have an entry without a price, and some are told by the range of numbers alone.
    pub(super) fn of(touched: &[(BookSide, i64)], seq: u64, book: &Book, spec: &Spec) -> Self {
        let mut update = Self { first: seq + 1, last: seq, ..Self::default() };
        for (at, (side, tick)) in touched.iter().enumerate() {
            update.last += 1;
            let seq = update.last;
            let comes_again = touched[at + 1..].contains(&(*side, *tick));
            let entry = if comes_again {
                Entry { price: 0, size: 0, seq }
            } else {
                let lots = book.side(*side).get(tick).copied().unwrap_or(0);
                Entry { price: tick * spec.price_unit, size: lots * spec.amount_unit, seq }
            };
            if !comes_again || is_told(seq) {
                update.push(*side, entry);
            }
        }
        update
    }

    /// An order that came in and changed nothing that can be seen.
    pub(super) fn unseen(side: BookSide, seq: u64) -> Self {
        let mut update = Self { first: seq, last: seq, ..Self::default() };
        update.push(side, Entry { price: 0, size: 0, seq });
        update
    }

    fn push(&mut self, side: BookSide, entry: Entry) {
        match side {
            BookSide::Bid => self.bids.push(entry),
            BookSide::Ask => self.asks.push(entry),
        }
    }
}

/// Whether a number under which nothing is to be seen has an entry.
pub(super) const fn is_told(seq: u64) -> bool {
    mix(seq).is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::super::markets::spec;
    use super::*;

    #[test]
    fn each_change_has_a_number_and_the_last_of_a_level_tells_its_size() {
        let spec = spec("BTC/USDT").unwrap();
        let mut book = Book::starting_at(100);
        for (side, tick, lots) in
            [(BookSide::Bid, 10, 5), (BookSide::Ask, 12, 3), (BookSide::Bid, 10, 7), (BookSide::Ask, 12, 0)]
        {
            book.set(side, tick, lots);
        }
        let touched = book.take_touched();
        let update = Update::of(&touched, 1_000, &book, &spec);
        assert_eq!((update.first, update.last), (1_001, 1_004));
        let seen = |entries: &[Entry]| entries.iter().filter(|e| e.price > 0).copied().collect::<Vec<_>>();
        assert_eq!(seen(&update.bids), [Entry { price: 10 * spec.tick, size: 7, seq: 1_003 }]);
        assert_eq!(seen(&update.asks), [Entry { price: 12 * spec.tick, size: 0, seq: 1_004 }]);
        assert_eq!(update.bids.len() + update.asks.len(), 2 + usize::from(is_told(1_001)) + usize::from(is_told(1_002)));
        let told: Vec<u64> = (0..100).filter(|seq| is_told(*seq)).collect();
        assert!((20..80).contains(&told.len()), "{told:?}");
    }
}
