//! A book on its way from a process to its successor: epoch, number of the last event, number of bids, and the levels of both sides, the best
//! first, each as two decimals. All numbers little endian.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use dccd_exchange::Ladder;
use dccd_model::{BookLevel, BookSide, Decimal, Flags, UnixNanos};

/// Bytes of a level: two decimals, of eight and of one each.
const LEVEL_BYTES: usize = 2 * (8 + 1);

/// A book, of this epoch.
pub(crate) fn encode_book(ladder: &Ladder) -> Bytes {
    let (bids, asks) = ladder.len();
    let mut bytes = BytesMut::with_capacity(16 + (bids + asks) * LEVEL_BYTES);
    bytes.put_u32_le(ladder.epoch());
    bytes.put_u64_le(ladder.update_id());
    bytes.put_u32_le(u32::try_from(bids).unwrap_or(u32::MAX));
    for number in ladder.bids().chain(ladder.asks()).flat_map(|(price, amount)| [price, amount]) {
        bytes.put_i64_le(number.mantissa);
        bytes.put_i8(number.exponent);
    }
    bytes.freeze()
}

/// The same read back, as the levels of a snapshot; `None`: it is no book.
pub(crate) fn decode_book(mut bytes: &[u8]) -> Option<(u32, Vec<BookLevel>)> {
    if bytes.len() < 16 || !(bytes.len() - 16).is_multiple_of(LEVEL_BYTES) {
        return None;
    }
    let (epoch, update_id) = (bytes.get_u32_le(), bytes.get_u64_le());
    let bids = usize::try_from(bytes.get_u32_le()).ok()?;
    let count = bytes.len() / LEVEL_BYTES;
    let level = |place: usize| {
        let mut number = || Decimal { mantissa: bytes.get_i64_le(), exponent: bytes.get_i8() };
        let (price, amount) = (number(), number());
        let mut flags = Flags::SNAPSHOT;
        if place == 0 {
            flags |= Flags::FIRST;
        }
        if place + 1 == count {
            flags |= Flags::LAST;
        }
        BookLevel {
            ts_venue: UnixNanos::UNKNOWN,
            ts_recv: UnixNanos::UNKNOWN,
            price,
            amount,
            update_id,
            side: if place < bids { BookSide::Bid } else { BookSide::Ask },
            flags,
            epoch,
            order_count: 0,
        }
    };
    Some((epoch, (0..count).map(level).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_is_the_same_on_the_other_side() {
        let of = |side, price, amount, flags| BookLevel {
            ts_venue: UnixNanos(1),
            ts_recv: UnixNanos(2),
            price: Decimal::new(price, -2),
            amount: Decimal::new(amount, 3),
            update_id: 77,
            side,
            flags,
            epoch: 4,
            order_count: 0,
        };
        let mut book = Ladder::new();
        for (side, price) in [(BookSide::Bid, 100), (BookSide::Bid, 99), (BookSide::Ask, 101)] {
            book.apply(&of(side, price, price * 2, Flags::default()));
        }
        let (epoch, levels) = decode_book(&encode_book(&book)).unwrap();
        let mut other = Ladder::new();
        levels.iter().for_each(|level| other.apply(level));
        assert_eq!((epoch, other.epoch(), other.update_id(), other.top(9)), (4, 4, 77, book.top(9)));
        assert_eq!(decode_book(&encode_book(&Ladder::new())).unwrap().1, []);
        assert!(decode_book(b"").is_none() && decode_book(&[0; 17]).is_none());
    }
}
