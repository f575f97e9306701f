//! What subscribers of a book have in front of them: its best levels or orders, the changes that keep them so, and the checksum.

use std::collections::HashMap;

use dccd_model::BookSide;

use super::numbers::push;
use super::orders::Orders;
use super::streams::RAW;
use crate::digits::push_u64;
use crate::market::Ladder;
use crate::market::spec::Spec;

/// Rows a side that the checksum is made of.
const CHECKED: usize = 25;
/// Digits that prices have in the finest book; in each coarser one they have one less.
const DIGITS: usize = 5;

/// A row as it is told: of a level its price, how many orders make it and their amount; of a single order its id, price and amount.
/// Prices and amounts are `e8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The order's id; none of a level.
    pub order: Option<u64>,
    pub price: i64,
    /// 0 of a level that is gone.
    pub count: u64,
    pub amount: i64,
}

impl Row {
    /// What it is known by.
    const fn key(&self) -> i64 {
        match self.order {
            Some(id) => id.cast_signed(),
            None => self.price,
        }
    }

    /// `[price,count,amount]` or `[id,price,amount]`; amounts of asks are below zero, what is gone has the amount 1.
    pub(super) fn push(&self, out: &mut Vec<u8>, is_bid: bool) {
        out.push(b'[');
        match self.order {
            Some(id) => {
                push_u64(out, id);
                out.push(b',');
                push(out, if self.count == 0 { 0 } else { self.price });
            }
            None => {
                push(out, self.price);
                out.push(b',');
                push_u64(out, self.count);
            }
        }
        out.push(b',');
        let amount = if self.count == 0 { 100_000_000 } else { self.amount };
        push(out, if is_bid { amount } else { -amount });
        out.push(b']');
    }
}

/// The best rows of a book, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub bids: Vec<Row>,
    pub asks: Vec<Row>,
}

/// A price to so many digits, away from the other side.
fn coarse(price: i64, digits: usize, is_bid: bool) -> i64 {
    let spare = (price.max(1).ilog10() + 1).saturating_sub(u32::try_from(digits).unwrap_or(0));
    let unit = 10_i64.pow(spare);
    if is_bid { price.div_euclid(unit) * unit } else { -(-price).div_euclid(unit) * unit }
}

/// Adds a level to those that it may be one of.
fn add(rows: &mut Vec<Row>, length: usize, row: Row) -> bool {
    if let Some(last) = rows.last_mut().filter(|last| row.order.is_none() && last.price == row.price) {
        last.count += row.count;
        last.amount += row.amount;
        return true;
    }
    let has_room = rows.len() < length;
    if has_room {
        rows.push(row);
    }
    has_room
}

impl View {
    /// The book of this precision (its place among them) and length.
    pub(super) fn of(orders: &Orders, spec: &Spec, precision: usize, length: usize) -> Self {
        let side = |side: BookSide| {
            let is_bid = side == BookSide::Bid;
            let mut rows = Vec::with_capacity(length);
            let take = |(tick, orders): (&i64, &Vec<(u64, i64)>)| {
                let price = tick * spec.price_unit;
                if precision == RAW {
                    return orders.iter().all(|(id, lots)| {
                        let amount = lots * spec.amount_unit;
                        add(&mut rows, length, Row { order: Some(*id), price, count: 1, amount })
                    });
                }
                let amount = orders.iter().map(|order| order.1).sum::<i64>() * spec.amount_unit;
                let price = coarse(price, DIGITS - precision, is_bid);
                add(&mut rows, length, Row { order: None, price, count: orders.len() as u64, amount })
            };
            let mut levels = orders.side(side).iter();
            // Up to the first level that is too deep.
            let _ = if is_bid { levels.rev().all(take) } else { levels.all(take) };
            rows
        };
        Self { bids: side(BookSide::Bid), asks: side(BookSide::Ask) }
    }

    /// A book of which only the levels are known, each of one order.
    pub(super) fn of_ladder(ladder: &Ladder, precision: usize, length: usize) -> Self {
        let side = |levels: &[(i64, i64)], is_bid: bool| {
            let mut rows = Vec::with_capacity(length);
            for (price, amount) in levels {
                let price = coarse(*price, DIGITS.saturating_sub(precision).max(1), is_bid);
                if !add(&mut rows, length, Row { order: None, price, count: 1, amount: *amount }) {
                    break;
                }
            }
            rows
        };
        Self { bids: side(&ladder.bids, true), asks: side(&ladder.asks, false) }
    }

    /// What makes of the earlier view this one, in the order in which it is told: what is gone, bids first, then what is new or
    /// other. Each with whether it is a bid.
    pub(super) fn since(&self, earlier: &Self) -> Vec<(bool, Row)> {
        let sides = [(true, &earlier.bids, &self.bids), (false, &earlier.asks, &self.asks)];
        let mut told = Vec::new();
        for (is_bid, old, new) in sides {
            let held: HashMap<i64, ()> = new.iter().map(|row| (row.key(), ())).collect();
            let gone = old.iter().filter(|row| !held.contains_key(&row.key()));
            told.extend(gone.map(|row| (is_bid, Row { count: 0, ..*row })));
        }
        for (is_bid, old, new) in sides {
            let held: HashMap<i64, &Row> = old.iter().map(|row| (row.key(), row)).collect();
            let fresh = new.iter().filter(|row| held.get(&row.key()).is_none_or(|known| *known != *row));
            told.extend(fresh.map(|row| (is_bid, *row)));
        }
        told
    }

    /// All of it, bids first.
    pub(super) fn rows(&self) -> impl Iterator<Item = (bool, &Row)> {
        self.bids.iter().map(|row| (true, row)).chain(self.asks.iter().map(|row| (false, row)))
    }

    /// The checksum of a book: `bid:amount:ask:-amount:…` of its best rows, those of the longer side alone at the end; of single orders
    /// the id stands for the price.
    pub(super) fn checksum(&self) -> i32 {
        let mut text = Vec::with_capacity(CHECKED * 48);
        for at in 0..CHECKED {
            for (side, sign) in [(&self.bids, 1), (&self.asks, -1)] {
                let Some(row) = side.get(at) else { continue };
                if !text.is_empty() {
                    text.push(b':');
                }
                match row.order {
                    Some(id) => push_u64(&mut text, id),
                    None => push(&mut text, row.price),
                }
                text.push(b':');
                push(&mut text, sign * row.amount);
            }
        }
        crc32fast::hash(&text).cast_signed()
    }

    /// What the best rows of a side offer together.
    pub(super) fn offered(side: &[Row]) -> f64 {
        side.iter().take(CHECKED).map(|row| super::numbers::double(row.amount)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pairs::spec;
    use super::super::streams::{LENGTHS, PRECISIONS};
    use super::*;
    use crate::market::engine::{Engine, Scene};
    use crate::market::history::History;

    #[test]
    fn changes_make_of_one_view_the_next_at_every_precision_and_length() {
        let spec = spec("BTC/USD").unwrap();
        let (mut engine, mut book) = Engine::new(&spec, 9, 300, None);
        let mut history = History::keeping(10);
        let mut orders = Orders::of(&book, 0, 1);
        book.take_touched();
        let kinds = || (0..PRECISIONS.len()).flat_map(|precision| LENGTHS.map(|length| (precision, length)));
        let view = |orders: &Orders, (precision, length)| View::of(orders, &spec, precision, length);
        let mut views: Vec<View> = kinds().map(|kind| view(&orders, kind)).collect();
        for step in 0..2_000 {
            let events = &mut Vec::new();
            let scene = &mut Scene { now_us: step, spec: &spec, book: &mut book, history: &mut history, events };
            engine.step(step % 3 == 0, scene);
            if step % 20 != 0 {
                continue;
            }
            let touched = book.take_touched();
            orders.follow(&book, &touched);
            for (kind, held) in kinds().zip(&mut views) {
                let next = view(&orders, kind);
                for (is_bid, row) in next.since(held) {
                    let side = if is_bid { &mut held.bids } else { &mut held.asks };
                    let known = side.iter().position(|known| known.key() == row.key());
                    match (known, row.count) {
                        (Some(at), 0) => drop(side.remove(at)),
                        (None, 0) => panic!("a row was ended that nobody had"),
                        (Some(at), _) => side[at] = row,
                        (None, _) => side.push(row),
                    }
                }
                // Best first; orders of one price by their age.
                held.bids.sort_by_key(|row| (-row.price, row.order));
                held.asks.sort_by_key(|row| (row.price, row.order));
                assert_eq!(*held, next, "{kind:?} {step}");
                assert!(next.since(&next).is_empty() && next.bids.len() <= kind.1);
                assert!(next.bids.windows(2).all(|pair| pair[0].price >= pair[1].price));
                assert!(kind.0 > 0 || next.bids[0].price < next.asks[0].price);
            }
        }
        let counts: u64 = views[1].bids.iter().map(|row| row.count).sum();
        assert!(counts > 30, "{counts}");
    }

    #[test]
    fn the_checksum_is_that_of_the_documents_and_skips_a_side_that_is_short() {
        let row = |price: i64, amount: i64| Row {
            order: None,
            price: price * 100_000_000,
            count: 1,
            amount: amount * 100_000_000,
        };
        let view = View { bids: vec![row(6_000, 1), row(5_900, 1)], asks: vec![row(6_100, 3), row(6_200, 4)] };
        assert_eq!(view.checksum(), 1_361_075_891);
        let short = View { bids: view.bids.clone(), asks: vec![row(6_100, 3)] };
        assert_eq!(short.checksum(), crc32fast::hash(b"6000:1:6100:-3:5900:1").cast_signed());
    }

    #[test]
    fn coarser_prices_lie_away_from_the_other_side() {
        let price = 6_183_700_000_000;
        let at = |digits, is_bid| coarse(price, digits, is_bid) / 100_000_000;
        assert_eq!(
            [at(5, true), at(4, true), at(4, false), at(1, true), at(1, false)],
            [61_837, 61_830, 61_840, 60_000, 70_000]
        );
    }
}
