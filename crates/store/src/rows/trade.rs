//! Trades: `TS price amount side tid ts_recv`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{Float64Builder, Int64Builder, StringBuilder};
use arrow_schema::{ArrowError, DataType, Schema};
use dccd_model::{Channel, Side, Trade, TradeId, UnixNanos};
use parquet::basic::Encoding;
use parquet::file::properties::WriterPropertiesBuilder;
use rustc_hash::FxHashSet;

use super::ids::IdSet;
use super::sealed::Codec;
use super::{Columns, Row, field, known, or_none, or_zero};
use crate::error::FileProblem;

/// One trade of a day file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TradeRow {
    /// When the exchange matched it: the exchange's clock; where it sends no time, when our socket read finished.
    pub ts: UnixNanos,
    /// Price of one unit of the base currency.
    pub price: f64,
    /// Units of the base currency.
    pub amount: f64,
    /// Who took the liquidity.
    pub side: Side,
    /// The exchange's id; zero when it sends none.
    pub id: TradeId,
    /// When our socket read finished: host clock; zero when unknown.
    pub ts_recv: UnixNanos,
}

impl TradeRow {
    pub(crate) fn new(trade: &Trade) -> Self {
        Self {
            ts: if trade.ts_venue == UnixNanos::UNKNOWN { trade.ts_recv } else { trade.ts_venue },
            price: trade.price.to_f64(),
            amount: trade.amount.to_f64(),
            side: trade.side,
            id: trade.id,
            ts_recv: trade.ts_recv,
        }
    }

    /// Ids that fit 64 bits are numbers and order trades; wider ones are UUIDs or hashes and don't.
    pub(crate) fn number(&self) -> Option<u64> {
        u64::try_from(self.id.0).ok().filter(|n| *n != 0)
    }
}

impl Row for TradeRow {
    const CHANNEL: Channel = Channel::Trades;

    fn ts(&self) -> UnixNanos {
        self.ts
    }
}

/// The ids of trades that were there.
#[derive(Debug, Default)]
pub struct SeenTrades {
    numbers: IdSet,
    /// Wide ids at the time `at` alone: a set of all of them would grow without a bound.
    wide: FxHashSet<TradeId>,
    at: UnixNanos,
}

impl Codec for TradeRow {
    type Seen = SeenTrades;
    type Words = [u64; 7];

    fn schema() -> Schema {
        Schema::new(vec![
            field("TS", DataType::Int64, false),
            field("price", DataType::Float64, false),
            field("amount", DataType::Float64, false),
            field("side", DataType::Utf8, true),
            field("tid", DataType::Utf8, true),
            field("ts_recv", DataType::Int64, true),
        ])
    }

    fn encodings(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        properties
            .set_column_encoding("TS".into(), Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_enabled("price".into(), true)
            .set_column_dictionary_enabled("amount".into(), true)
            .set_column_dictionary_enabled("side".into(), true)
            .set_column_encoding("tid".into(), Encoding::DELTA_BYTE_ARRAY)
            .set_column_encoding("ts_recv".into(), Encoding::DELTA_BINARY_PACKED)
    }

    fn order(&self, other: &Self) -> Ordering {
        self.ts.cmp(&other.ts).then_with(|| self.number().cmp(&other.number()))
    }

    fn admit(&self, seen: &mut SeenTrades) -> bool {
        if self.id.0 == 0 {
            return true;
        }
        if let Some(number) = self.number() {
            return seen.numbers.insert(number);
        }
        if seen.at != self.ts {
            seen.at = self.ts;
            seen.wide.clear();
        }
        seen.wide.insert(self.id)
    }

    fn encode(rows: &[Self]) -> Result<RecordBatch, ArrowError> {
        let count = rows.len();
        let mut ts = Int64Builder::with_capacity(count);
        let mut price = Float64Builder::with_capacity(count);
        let mut amount = Float64Builder::with_capacity(count);
        let mut side = StringBuilder::with_capacity(count, count * 4);
        let mut tid = StringBuilder::with_capacity(count, count * 12);
        let mut ts_recv = Int64Builder::with_capacity(count);
        let mut digits = [0; 39];
        for row in rows {
            ts.append_value(row.ts.0);
            price.append_value(row.price);
            amount.append_value(row.amount);
            side.append_option(row.side.as_str());
            match row.id.0 {
                0 => tid.append_null(),
                id => tid.append_value(decimal(id, &mut digits)),
            }
            ts_recv.append_option(known(row.ts_recv.0));
        }
        RecordBatch::try_new(
            Arc::new(Self::schema()),
            vec![
                Arc::new(ts.finish()),
                Arc::new(price.finish()),
                Arc::new(amount.finish()),
                Arc::new(side.finish()),
                Arc::new(tid.finish()),
                Arc::new(ts_recv.finish()),
            ],
        )
    }

    fn decode(batch: &RecordBatch, first: u64, out: &mut Vec<Self>) -> Result<(), FileProblem> {
        let columns = Columns { batch, first };
        let (ts, price, amount) = (columns.i64("TS")?, columns.f64("price")?, columns.f64("amount")?);
        let (side, tid) = (columns.text_or_null("side")?, columns.text_or_null("tid")?);
        let ts_recv = columns.i64_or_null("ts_recv")?;
        out.reserve(batch.num_rows());
        for row in 0..batch.num_rows() {
            out.push(Self {
                ts: UnixNanos(ts.value(row)),
                price: price.value(row),
                amount: amount.value(row),
                side: match or_none(side, row) {
                    None => Side::Unknown,
                    Some("buy") => Side::Buy,
                    Some("sell") => Side::Sell,
                    Some(_) => return Err(columns.bad(row, "side")),
                },
                id: match or_none(tid, row) {
                    None => TradeId(0),
                    Some(text) => parse_id(text).ok_or_else(|| columns.bad(row, "tid"))?,
                },
                ts_recv: UnixNanos(or_zero(ts_recv, row)),
            });
        }
        Ok(())
    }

    fn digest(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ts.0.to_le_bytes());
        out.extend_from_slice(&self.price.to_le_bytes());
        out.extend_from_slice(&self.amount.to_le_bytes());
        out.push(self.side as u8);
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.ts_recv.0.to_le_bytes());
    }

    fn to_words(&self) -> Self::Words {
        let Self { ts, price, amount, side, id, ts_recv } = *self;
        let side = match side {
            Side::Unknown => 0,
            Side::Buy => 1,
            Side::Sell => 2,
        };
        let times = [ts, ts_recv].map(|time| time.0.cast_unsigned());
        [times[0], times[1], id.low(), id.high(), price.to_bits(), amount.to_bits(), side]
    }

    fn of_words(&[ts, ts_recv, low, high, price, amount, side]: &Self::Words) -> Self {
        let [ts, ts_recv] = [ts, ts_recv].map(|word| UnixNanos(word.cast_signed()));
        let side = match side {
            1 => Side::Buy,
            2 => Side::Sell,
            _ => Side::Unknown,
        };
        let [price, amount] = [price, amount].map(f64::from_bits);
        Self { ts, price, amount, side, id: TradeId::from_halves(low, high), ts_recv }
    }
}

/// An id as decimal text; formatting goes through `u64` where it can, which is several times faster.
fn decimal(id: u128, digits: &mut [u8; 39]) -> &str {
    let mut at = digits.len();
    let mut put = |digit: u8| {
        at -= 1;
        digits[at] = b'0' + digit;
    };
    // Remainders of ten fit a byte.
    #[allow(clippy::cast_possible_truncation)]
    match u64::try_from(id) {
        Ok(mut id) => loop {
            put((id % 10) as u8);
            id /= 10;
            if id == 0 {
                break;
            }
        },
        Err(_) => {
            let mut id = id;
            while id != 0 {
                put((id % 10) as u8);
                id /= 10;
            }
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or("0")
}

/// The id that [`decimal`] writes as `text`; `None` for anything else, so that no id changes by being written anew.
fn parse_id(text: &str) -> Option<TradeId> {
    let bytes = text.as_bytes();
    if bytes.first().is_none_or(|b| !(b'1'..=b'9').contains(b)) {
        return None;
    }
    if bytes.len() <= 19 {
        let mut number = 0u64;
        for byte in bytes {
            number = number * 10 + u64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        return Some(TradeId(number.into()));
    }
    bytes.iter().all(u8::is_ascii_digit).then(|| text.parse().ok().map(TradeId)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_their_decimal_text_and_back() {
        let mut digits = [0; 39];
        for id in [1, 9, 10, 3_735_683_259, u64::MAX.into(), u128::from(u64::MAX) + 1, 10u128.pow(20), u128::MAX] {
            assert_eq!(decimal(id, &mut digits), id.to_string());
            assert_eq!(parse_id(&id.to_string()), Some(TradeId(id)));
        }
        let too_large = format!("{}0", u128::MAX);
        for bad in ["", "0", "007", "+1", "-1", "1a", " 1", "12345678901234567890x", &too_large] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }
}
