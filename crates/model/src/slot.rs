//! Records as words of a ring slot, layout 1: what stands at which byte. Knows no ring; `ring` knows no record.
//!
//! Word `i` of a payload lies at byte `8 + 8 * i` of the slot (the stamp has the first eight). Little endian.

use crate::{BookLevel, BookSide, Candle, Decimal, Flags, Quote, Side, Span, Trade, TradeId, UnixNanos};

/// What a ring carries; the number stands in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RecordKind {
    /// Trades.
    Trade = 1,
    /// Best bid and ask.
    Quote = 2,
    /// Order-book levels.
    BookLevel = 3,
    /// Candles.
    Candle = 4,
}

impl RecordKind {
    /// The slot's size in bytes, stamp included.
    #[must_use]
    pub const fn slot_size(self) -> usize {
        match self {
            Self::Candle => 128,
            _ => 64,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub const fn from_u32(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Trade),
            2 => Some(Self::Quote),
            3 => Some(Self::BookLevel),
            4 => Some(Self::Candle),
            _ => None,
        }
    }
}

/// A record that fits a ring slot of `N + 1` words.
pub trait Record<const N: usize>: Copy {
    /// Which kind of ring carries it.
    const KIND: RecordKind;

    /// The payload's words.
    fn encode(&self) -> [u64; N];

    /// The record in these words. Any bits give a record: unknown enum values become "unknown" or the first variant.
    fn decode(words: &[u64; N]) -> Self;
}

#[allow(clippy::cast_sign_loss)] // bit patterns travel as they are
const fn word(value: i64) -> u64 {
    value as u64
}

#[allow(clippy::cast_possible_wrap)]
const fn signed(word: u64) -> i64 {
    word as i64
}

/// Byte `index` of a word, as a number.
const fn byte(word: u64, index: usize) -> u8 {
    word.to_le_bytes()[index]
}

#[allow(clippy::cast_possible_wrap)]
const fn exponent(word: u64, index: usize) -> i8 {
    byte(word, index) as i8
}

#[allow(clippy::cast_sign_loss)]
const fn bits(exponent: i8) -> u8 {
    exponent as u8
}

const fn high_u32(word: u64) -> u32 {
    let b = word.to_le_bytes();
    u32::from_le_bytes([b[4], b[5], b[6], b[7]])
}

const fn tail(bytes: [u8; 4], high: u32) -> u64 {
    let h = high.to_le_bytes();
    u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], h[0], h[1], h[2], h[3]])
}

impl Record<7> for Trade {
    const KIND: RecordKind = RecordKind::Trade;

    fn encode(&self) -> [u64; 7] {
        [
            word(self.ts_venue.0),
            word(self.ts_recv.0),
            word(self.price.mantissa),
            word(self.amount.mantissa),
            self.id.low(),
            tail([bits(self.price.exponent), bits(self.amount.exponent), self.side as u8, self.flags.0], self.epoch),
            self.id.high(),
        ]
    }

    fn decode(w: &[u64; 7]) -> Self {
        Self {
            ts_venue: UnixNanos(signed(w[0])),
            ts_recv: UnixNanos(signed(w[1])),
            price: Decimal::new(signed(w[2]), exponent(w[5], 0)),
            amount: Decimal::new(signed(w[3]), exponent(w[5], 1)),
            id: TradeId::from_halves(w[4], w[6]),
            side: match byte(w[5], 2) {
                1 => Side::Buy,
                2 => Side::Sell,
                _ => Side::Unknown,
            },
            flags: Flags(byte(w[5], 3)),
            epoch: high_u32(w[5]),
        }
    }
}

impl Record<7> for Quote {
    const KIND: RecordKind = RecordKind::Quote;

    fn encode(&self) -> [u64; 7] {
        [
            word(self.ts_venue.0),
            word(self.ts_recv.0),
            word(self.bid.mantissa),
            word(self.bid_amount.mantissa),
            word(self.ask.mantissa),
            word(self.ask_amount.mantissa),
            u64::from_le_bytes([
                bits(self.bid.exponent),
                bits(self.bid_amount.exponent),
                bits(self.ask.exponent),
                bits(self.ask_amount.exponent),
                self.flags.0,
                0,
                0,
                0,
            ]),
        ]
    }

    fn decode(w: &[u64; 7]) -> Self {
        Self {
            ts_venue: UnixNanos(signed(w[0])),
            ts_recv: UnixNanos(signed(w[1])),
            bid: Decimal::new(signed(w[2]), exponent(w[6], 0)),
            bid_amount: Decimal::new(signed(w[3]), exponent(w[6], 1)),
            ask: Decimal::new(signed(w[4]), exponent(w[6], 2)),
            ask_amount: Decimal::new(signed(w[5]), exponent(w[6], 3)),
            flags: Flags(byte(w[6], 4)),
        }
    }
}

impl Record<7> for BookLevel {
    const KIND: RecordKind = RecordKind::BookLevel;

    fn encode(&self) -> [u64; 7] {
        [
            word(self.ts_venue.0),
            word(self.ts_recv.0),
            word(self.price.mantissa),
            word(self.amount.mantissa),
            self.update_id,
            tail([bits(self.price.exponent), bits(self.amount.exponent), self.side as u8, self.flags.0], self.epoch),
            u64::from(self.order_count),
        ]
    }

    fn decode(w: &[u64; 7]) -> Self {
        Self {
            ts_venue: UnixNanos(signed(w[0])),
            ts_recv: UnixNanos(signed(w[1])),
            price: Decimal::new(signed(w[2]), exponent(w[5], 0)),
            amount: Decimal::new(signed(w[3]), exponent(w[5], 1)),
            update_id: w[4],
            side: if byte(w[5], 2) == 2 { BookSide::Ask } else { BookSide::Bid },
            flags: Flags(byte(w[5], 3)),
            epoch: high_u32(w[5]),
            order_count: {
                let b = w[6].to_le_bytes();
                u32::from_le_bytes([b[0], b[1], b[2], b[3]])
            },
        }
    }
}

impl Record<15> for Candle {
    const KIND: RecordKind = RecordKind::Candle;

    fn encode(&self) -> [u64; 15] {
        let span = self.span.as_secs().to_le_bytes();
        let mut words = [0; 15];
        words[0] = word(self.ts_open.0);
        words[1] = word(self.ts_recv.0);
        let values = [self.open, self.high, self.low, self.close, self.volume, self.quote_volume];
        for (slot, value) in words[2..8].iter_mut().zip(values) {
            *slot = word(value.mantissa);
        }
        words[8] = self.trades;
        let e = values.map(|v| bits(v.exponent));
        words[9] = u64::from_le_bytes([span[0], span[1], span[2], span[3], e[0], e[1], e[2], e[3]]);
        words[10] = u64::from_le_bytes([e[4], e[5], self.flags.0, 0, 0, 0, 0, 0]);
        words
    }

    fn decode(w: &[u64; 15]) -> Self {
        let span = w[9].to_le_bytes();
        Self {
            ts_open: UnixNanos(signed(w[0])),
            ts_recv: UnixNanos(signed(w[1])),
            open: Decimal::new(signed(w[2]), exponent(w[9], 4)),
            high: Decimal::new(signed(w[3]), exponent(w[9], 5)),
            low: Decimal::new(signed(w[4]), exponent(w[9], 6)),
            close: Decimal::new(signed(w[5]), exponent(w[9], 7)),
            volume: Decimal::new(signed(w[6]), exponent(w[10], 0)),
            quote_volume: Decimal::new(signed(w[7]), exponent(w[10], 1)),
            trades: w[8],
            span: Span::from_secs(u32::from_le_bytes([span[0], span[1], span[2], span[3]])).unwrap_or(Span::ONE_SECOND),
            flags: Flags(byte(w[10], 2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The byte at an offset of the slot, as interfaces count: the stamp has bytes 0 to 7.
    fn at(words: &[u64], offset: usize) -> u8 {
        words[(offset - 8) / 8].to_le_bytes()[offset % 8]
    }

    #[test]
    fn trade_fields_lie_where_layout_1_puts_them() {
        let trade = Trade {
            ts_venue: UnixNanos(1),
            ts_recv: UnixNanos(2),
            price: Decimal::new(-3, -8),
            amount: Decimal::new(4, 5),
            id: TradeId::from_halves(6, 7),
            side: Side::Sell,
            flags: Flags(0x83),
            epoch: 0x0102_0304,
        };
        let w = trade.encode();
        assert_eq!((at(&w, 8), at(&w, 16), at(&w, 24), at(&w, 32), at(&w, 40), at(&w, 56)), (1, 2, 0xfd, 4, 6, 7));
        assert_eq!([48, 49, 50, 51, 52, 55].map(|o| at(&w, o)), [0xf8, 5, 2, 0x83, 4, 1]);
        assert_eq!(Trade::decode(&w), trade);
    }

    #[test]
    fn quote_fields_lie_where_layout_1_puts_them() {
        let quote = Quote {
            ts_venue: UnixNanos(1),
            ts_recv: UnixNanos(2),
            bid: Decimal::new(3, -1),
            bid_amount: Decimal::new(4, -2),
            ask: Decimal::new(5, -3),
            ask_amount: Decimal::new(6, -4),
            flags: Flags::GAP,
        };
        let w = quote.encode();
        assert_eq!(
            [8, 16, 24, 32, 40, 48, 56, 57, 58, 59, 60].map(|o| at(&w, o)),
            [1, 2, 3, 4, 5, 6, 0xff, 0xfe, 0xfd, 0xfc, 128]
        );
        assert_eq!(Quote::decode(&w), quote);
    }

    #[test]
    fn level_fields_lie_where_layout_1_puts_them() {
        let level = BookLevel {
            ts_venue: UnixNanos(1),
            ts_recv: UnixNanos(2),
            price: Decimal::new(3, -8),
            amount: Decimal::ZERO,
            update_id: 9,
            side: BookSide::Ask,
            flags: Flags::FIRST | Flags::SNAPSHOT,
            epoch: 10,
            order_count: 11,
        };
        let w = level.encode();
        assert_eq!([8, 16, 24, 32, 40, 48, 49, 50, 51, 52, 56].map(|o| at(&w, o)), [1, 2, 3, 0, 9, 0xf8, 0, 2, 5, 10, 11]);
        assert_eq!(BookLevel::decode(&w), level);
    }

    #[test]
    fn candle_fields_lie_where_layout_1_puts_them() {
        let d = |m, e| Decimal::new(m, e);
        let candle = Candle {
            ts_open: UnixNanos(1),
            ts_recv: UnixNanos(2),
            open: d(3, -1),
            high: d(4, -2),
            low: d(5, -3),
            close: d(6, -4),
            volume: d(7, -5),
            quote_volume: d(8, -6),
            trades: 9,
            span: Span::from_secs(60).unwrap(),
            flags: Flags::CLOSED,
        };
        let w = candle.encode();
        assert_eq!([8, 16, 24, 32, 40, 48, 56, 64, 72, 80].map(|o| at(&w, o)), [1, 2, 3, 4, 5, 6, 7, 8, 9, 60]);
        assert_eq!([84, 85, 86, 87, 88, 89, 90].map(|o| at(&w, o)), [0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 32]);
        assert_eq!(Candle::decode(&w), candle);
    }
}
