//! Rows that wait for the next commit, packed: a busy exchange has hundreds of series, and hundreds of thousands of rows wait.
//!
//! Of each row what differs from the one before it, word by word: half a byte says how many bytes of a word's difference follow.
//! A row of an event with many takes some 20 bytes instead of 64, others 25 to 35. Never on a disk; a crash loses nothing, for the
//! journal has it all.

use crate::Position;
use crate::rows::Row;

/// Grown by a quarter at a time, at least by this much: with as many series as there are, doubling would be half of it.
const GROWTH_BYTES_MIN: usize = 256;

/// The rows of one day of a series, each with the position after its entry.
#[derive(Debug)]
pub(crate) struct Pending<R: Row> {
    bytes: Vec<u8>,
    rows: usize,
    /// The last one's position and words.
    last_at: u64,
    last: R::Words,
}

impl<R: Row> Default for Pending<R> {
    fn default() -> Self {
        Self { bytes: Vec::new(), rows: 0, last_at: 0, last: R::Words::default() }
    }
}

/// Bytes that a number takes without its leading zeros.
const fn length(word: u64) -> usize {
    8 - word.leading_zeros() as usize / 8
}

/// The difference between two words, small where they are near to each other either way.
const fn difference(word: u64, before: u64) -> u64 {
    let apart = word.wrapping_sub(before).cast_signed();
    ((apart << 1) ^ (apart >> 63)).cast_unsigned()
}

/// The word that is so different from the one before.
const fn apply(difference: u64, before: u64) -> u64 {
    before.wrapping_add((difference >> 1) ^ (difference & 1).wrapping_neg())
}

impl<R: Row> Pending<R> {
    pub(crate) const fn len(&self) -> usize {
        self.rows
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Takes a row.
    pub(crate) fn push(&mut self, at: Position, row: &R) {
        let words = row.to_words();
        let count = 1 + words.as_ref().len();
        let most = count.div_ceil(2) + 8 * count;
        if self.bytes.capacity() - self.bytes.len() < most {
            self.bytes.reserve_exact(most.max(GROWTH_BYTES_MIN).max(self.bytes.len() / 4));
        }
        let lengths = self.bytes.len();
        self.bytes.resize(lengths + count.div_ceil(2), 0);
        let pairs = words.as_ref().iter().copied().zip(self.last.as_ref().iter().copied());
        let pairs = std::iter::once((at.0, self.last_at)).chain(pairs);
        for (place, (word, before)) in pairs.enumerate() {
            let different = difference(word, before);
            let length = length(different);
            // At most 8.
            #[allow(clippy::cast_possible_truncation)]
            let half = (length as u8) << (4 * (place % 2));
            self.bytes[lengths + place / 2] |= half;
            self.bytes.extend_from_slice(&different.to_le_bytes()[..length]);
        }
        (self.last_at, self.last) = (at.0, words);
        self.rows += 1;
    }

    /// The rows whose positions are wanted, in the order in which they came.
    pub(crate) fn rows(&self, is_wanted: impl Fn(Position) -> bool) -> Vec<(Position, R)> {
        let mut rows = Vec::with_capacity(self.rows);
        let (mut at, mut row) = (0, R::Words::default());
        let count = 1 + row.as_ref().len();
        let mut rest = self.bytes.as_slice();
        for _ in 0..self.rows {
            let (lengths, mut words) = rest.split_at(count.div_ceil(2));
            let mut take = |place: usize, before: u64| {
                let length = usize::from(lengths[place / 2] >> (4 * (place % 2)) & 0xf);
                let (bytes, after) = words.split_at(length);
                words = after;
                let mut word = [0; 8];
                word[..length].copy_from_slice(bytes);
                apply(u64::from_le_bytes(word), before)
            };
            at = take(0, at);
            for (place, word) in (1..).zip(row.as_mut()) {
                *word = take(place, *word);
            }
            rest = words;
            if is_wanted(Position(at)) {
                rows.push((Position(at), R::of_words(&row)));
            }
        }
        rows
    }

    /// Forgets all rows, and gives their memory back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use dccd_model::{BookSide, Side, TradeId, UnixNanos};

    use super::*;
    use crate::rows::{BookRow, QuoteRow, TradeRow};

    fn comes_back<R: Row>(rows: Vec<R>) -> usize {
        let mut pending = Pending::default();
        let positions = |n: usize| Position(if n.is_multiple_of(5) { u64::MAX - n as u64 } else { n as u64 * 77 });
        let all: Vec<(Position, R)> = rows.into_iter().enumerate().map(|(n, row)| (positions(n), row)).collect();
        all.iter().for_each(|(at, row)| pending.push(*at, row));
        assert_eq!((pending.len(), pending.rows(|_| true)), (all.len(), all.clone()));
        let is_wanted = |at: Position| at.0 > 300;
        let wanted: Vec<_> = all.into_iter().filter(|(at, _)| is_wanted(*at)).collect();
        assert_eq!(pending.rows(is_wanted), wanted);
        let bytes = pending.bytes.len();
        pending.clear();
        assert!(pending.is_empty() && pending.rows(|_| true).is_empty());
        bytes
    }

    #[test]
    fn rows_come_back_as_they_were_whatever_they_hold() {
        let mut rng = fastrand::Rng::with_seed(7);
        let times = [i64::MIN, -1, 0, 1, 1_700_000_000_000_000_000, i64::MAX].map(UnixNanos);
        let numbers = [0.0, -0.0, 61_837.63, f64::MIN_POSITIVE, f64::MAX, -1.5, f64::INFINITY];
        let number = |rng: &mut fastrand::Rng| *rng.choice(&numbers).unwrap();
        let sides = [Side::Buy, Side::Sell, Side::Unknown];
        let trades = (0..500).map(|_| TradeRow {
            ts: *rng.choice(&times).unwrap(),
            price: number(&mut rng),
            amount: number(&mut rng),
            side: *rng.choice(&sides).unwrap(),
            id: TradeId(rng.u128(..) >> rng.u32(0..128)),
            ts_recv: *rng.choice(&times).unwrap(),
        });
        comes_back(trades.collect());
        let quotes = (0..500).map(|_| QuoteRow {
            ts: *rng.choice(&times).unwrap(),
            bid: number(&mut rng),
            bid_amount: number(&mut rng),
            ask: number(&mut rng),
            ask_amount: number(&mut rng),
            ts_recv: *rng.choice(&times).unwrap(),
        });
        comes_back(quotes.collect());
        let levels = (0..500).map(|_| BookRow {
            ts: *rng.choice(&times).unwrap(),
            side: if rng.bool() { BookSide::Bid } else { BookSide::Ask },
            price: number(&mut rng),
            amount: number(&mut rng),
            count: rng.u32(..),
            is_snapshot: rng.bool(),
            ts_recv: *rng.choice(&times).unwrap(),
            update_id: rng.u64(..),
            epoch: rng.u32(..),
        });
        comes_back(levels.collect());
    }

    #[test]
    fn levels_of_events_take_a_third_of_their_size_in_memory() {
        let level = |n: i64| BookRow {
            ts: UnixNanos(1_700_000_000_000_000_000 + n / 10 * 100_000_000),
            side: if n % 2 == 0 { BookSide::Bid } else { BookSide::Ask },
            price: 61_837.63 + 0.01 * f64::from(u32::try_from(n * 7919 % 500).unwrap()),
            amount: 0.00001 * f64::from(u32::try_from(n * 104_729 % 100_000).unwrap()),
            count: 0,
            is_snapshot: false,
            ts_recv: UnixNanos(1_700_000_000_000_012_345 + n / 10 * 100_000_000),
            update_id: 50_000 + (n / 10).cast_unsigned(),
            epoch: 3,
        };
        let bytes = comes_back((0..1_000).map(level).collect());
        assert!(bytes <= 1_000 * size_of::<(Position, BookRow)>() / 3, "{bytes}");
    }
}
