//! What subscribers of a book have in front of them: its best levels, the changes that keep them so, and the checksum.

use super::instruments::Instrument;
use super::render::orders;
use crate::digits::push_short;
use crate::market::spec::Spec;
use crate::market::view::View;

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

/// All levels of a view, as they are told.
pub(super) fn levels(view: &View, instrument: &Instrument, spec: &Spec) -> Levels {
    let ladder = view.ladder(spec);
    Levels::of(instrument, &ladder.bids, &ladder.asks)
}

#[cfg(test)]
mod tests {
    use super::*;

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
