//! The single orders that make the levels of a book. The market behind knows levels only: what a level gains is a new order, what it
//! loses is taken from its oldest ones.

use std::collections::BTreeMap;

use dccd_model::BookSide;

use crate::market::book::Book;

/// An order's id and what is left of it, in lots.
pub(super) type Order = (u64, i64);

/// The first order's id.
const FIRST_ID: u64 = 215_000_000_000;

/// All orders of a market by tick, oldest first.
#[derive(Debug)]
pub(super) struct Orders {
    bids: BTreeMap<i64, Vec<Order>>,
    asks: BTreeMap<i64, Vec<Order>>,
    next_id: u64,
    /// Each market's ids are among these many its own.
    stride: u64,
}

impl Orders {
    /// Those of a book: several orders on a level with a number that says so.
    pub(super) fn of(book: &Book, market: usize, markets: usize) -> Self {
        let (market, markets) = (u64::try_from(market).unwrap_or(0), u64::try_from(markets).unwrap_or(1));
        let mut orders =
            Self { bids: BTreeMap::new(), asks: BTreeMap::new(), next_id: FIRST_ID + market, stride: markets.max(1) };
        orders.follow_all(book);
        orders
    }

    pub(super) const fn side(&self, side: BookSide) -> &BTreeMap<i64, Vec<Order>> {
        match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        }
    }

    /// Follows a book after these levels were touched.
    pub(super) fn follow(&mut self, book: &Book, touched: &[(BookSide, i64)]) {
        for (side, tick) in touched {
            self.set(*side, *tick, book.side(*side).get(tick).copied().unwrap_or(0));
        }
    }

    /// Follows a book of which nobody says what was touched.
    pub(super) fn follow_all(&mut self, book: &Book) {
        for side in [BookSide::Bid, BookSide::Ask] {
            let gone: Vec<i64> =
                self.side(side).keys().filter(|tick| !book.side(side).contains_key(tick)).copied().collect();
            gone.into_iter().for_each(|tick| self.set(side, tick, 0));
            book.side(side).iter().for_each(|(tick, lots)| self.set(side, *tick, *lots));
        }
    }

    fn set(&mut self, side: BookSide, tick: i64, lots: i64) {
        let levels = match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        };
        if lots == 0 {
            levels.remove(&tick);
            return;
        }
        let orders = levels.entry(tick).or_default();
        let held: i64 = orders.iter().map(|order| order.1).sum();
        if lots > held {
            orders.push((self.next_id, lots - held));
            self.next_id += self.stride;
            return;
        }
        let mut taken = held - lots;
        orders.retain_mut(|order| {
            let part = taken.min(order.1);
            taken -= part;
            order.1 -= part;
            order.1 > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_gain_orders_at_their_end_and_lose_them_at_their_beginning() {
        let mut book = Book::starting_at(1);
        book.set(BookSide::Bid, 7, 10);
        let mut orders = Orders::of(&book, 1, 4);
        let mut seen = |lots: i64| {
            book.set(BookSide::Bid, 7, lots);
            orders.follow(&book, &[(BookSide::Bid, 7)]);
            orders.side(BookSide::Bid).get(&7).cloned().unwrap_or_default()
        };
        let (first, second, third) = (FIRST_ID + 1, FIRST_ID + 5, FIRST_ID + 9);
        assert_eq!(seen(10), [(first, 10)]);
        assert_eq!(seen(14), [(first, 10), (second, 4)]);
        assert_eq!(seen(11), [(first, 7), (second, 4)]);
        assert_eq!(seen(3), [(second, 3)]);
        assert_eq!(seen(0), []);
        assert_eq!(seen(5), [(third, 5)]);
    }
}
