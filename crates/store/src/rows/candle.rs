//! Candles: `TS open high low close volume quote_volume trades`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, Int64Builder};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, Schema};
use dccd_model::{Candle, Channel, UnixNanos};
use parquet::basic::Encoding;
use parquet::file::properties::WriterPropertiesBuilder;

use super::sealed::Codec;
use super::{Columns, Row, field};
use crate::error::FileProblem;

/// One closed candle of a year file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CandleRow {
    /// When it opens: the exchange's clock.
    pub ts: UnixNanos,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Traded units of the base currency.
    pub volume: f64,
    /// Traded units of the quote currency; `None` where the exchange doesn't send it.
    pub quote_volume: Option<f64>,
    /// Number of trades; `None` where the exchange doesn't send it.
    pub trades: Option<i64>,
}

impl CandleRow {
    /// A candle as it stands in a file, in the nearest doubles. The record can't tell a zero from what the exchange doesn't send,
    /// so the caller says whether it sends the quote volume and the number of trades.
    #[must_use]
    pub fn new(candle: &Candle, has_quote_volume: bool, has_trades: bool) -> Self {
        Self {
            ts: candle.ts_open,
            open: candle.open.to_f64(),
            high: candle.high.to_f64(),
            low: candle.low.to_f64(),
            close: candle.close.to_f64(),
            volume: candle.volume.to_f64(),
            quote_volume: has_quote_volume.then(|| candle.quote_volume.to_f64()),
            trades: has_trades.then(|| i64::try_from(candle.trades).unwrap_or(i64::MAX)),
        }
    }

    /// Whether every number is one.
    pub(crate) fn is_finite(&self) -> bool {
        [self.open, self.high, self.low, self.close, self.volume, self.quote_volume.unwrap_or(0.0)]
            .iter()
            .all(|number| number.is_finite())
    }
}

impl Row for CandleRow {
    const CHANNEL: Channel = Channel::Ohlc;

    fn ts(&self) -> UnixNanos {
        self.ts
    }
}

impl Codec for CandleRow {
    /// The last open time; rows come in order.
    type Seen = Option<UnixNanos>;
    type Words = [u64; 9];

    /// Small, because what a year's next file encodes anew is its last row group.
    const GROUP_ROWS: usize = 32_768;

    fn schema() -> Schema {
        Schema::new(vec![
            field("TS", DataType::Int64, false),
            field("open", DataType::Float64, false),
            field("high", DataType::Float64, false),
            field("low", DataType::Float64, false),
            field("close", DataType::Float64, false),
            field("volume", DataType::Float64, false),
            field("quote_volume", DataType::Float64, true),
            field("trades", DataType::Int64, true),
        ])
    }

    fn encodings(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        // Numbers as they are: a candle opens where the one before it closed, and zstd finds such repetitions faster, and makes them
        // smaller, than dictionaries or split bytes (docs/decisions/0004-candles.md).
        properties
            .set_column_encoding("TS".into(), Encoding::DELTA_BINARY_PACKED)
            .set_column_encoding("trades".into(), Encoding::DELTA_BINARY_PACKED)
    }

    fn order(&self, other: &Self) -> Ordering {
        self.ts.cmp(&other.ts)
    }

    fn admit(&self, seen: &mut Self::Seen) -> bool {
        seen.replace(self.ts) != Some(self.ts)
    }

    fn encode(rows: &[Self]) -> Result<RecordBatch, ArrowError> {
        let numbers =
            |get: fn(&Self) -> f64| -> ArrayRef { Arc::new(Float64Array::from(rows.iter().map(get).collect::<Vec<f64>>())) };
        let ts: Vec<i64> = rows.iter().map(|row| row.ts.0).collect();
        RecordBatch::try_new(
            Arc::new(Self::schema()),
            vec![
                Arc::new(Int64Array::from(ts)),
                numbers(|row| row.open),
                numbers(|row| row.high),
                numbers(|row| row.low),
                numbers(|row| row.close),
                numbers(|row| row.volume),
                quote_volumes(rows),
                trade_counts(rows),
            ],
        )
    }

    fn decode(batch: &RecordBatch, first: u64, out: &mut Vec<Self>) -> Result<(), FileProblem> {
        let columns = Columns { batch, first };
        let ts = columns.i64("TS")?;
        let (open, high) = (columns.f64("open")?, columns.f64("high")?);
        let (low, close) = (columns.f64("low")?, columns.f64("close")?);
        let volume = columns.f64("volume")?;
        let (quote_volume, trades) = (columns.f64_or_null("quote_volume")?, columns.i64_or_null("trades")?);
        out.extend((0..batch.num_rows()).map(|row| Self {
            ts: UnixNanos(ts.value(row)),
            open: open.value(row),
            high: high.value(row),
            low: low.value(row),
            close: close.value(row),
            volume: volume.value(row),
            quote_volume: quote_volume.filter(|c| c.is_valid(row)).map(|c| c.value(row)),
            trades: trades.filter(|c| c.is_valid(row)).map(|c| c.value(row)),
        }));
        Ok(())
    }

    fn digest(&self, out: &mut Vec<u8>) {
        let mut bytes = [0; 65];
        let known = u8::from(self.quote_volume.is_some()) | u8::from(self.trades.is_some()) << 1;
        let prices = [self.open, self.high, self.low, self.close, self.volume, self.quote_volume.unwrap_or(0.0)];
        bytes[..8].copy_from_slice(&self.ts.0.to_le_bytes());
        for (place, number) in bytes[8..56].chunks_exact_mut(8).zip(prices) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[56..64].copy_from_slice(&self.trades.unwrap_or(0).to_le_bytes());
        bytes[64] = known;
        out.extend_from_slice(&bytes);
    }

    fn to_words(&self) -> Self::Words {
        let numbers =
            [self.open, self.high, self.low, self.close, self.volume, self.quote_volume.unwrap_or(0.0)].map(f64::to_bits);
        let known = u64::from(self.quote_volume.is_some()) | u64::from(self.trades.is_some()) << 1;
        let [open, high, low, close, volume, quote_volume] = numbers;
        let trades = self.trades.unwrap_or(0).cast_unsigned();
        [self.ts.0.cast_unsigned(), open, high, low, close, volume, quote_volume, trades, known]
    }

    fn of_words(&[ts, open, high, low, close, volume, quote_volume, trades, known]: &Self::Words) -> Self {
        let [open, high, low, close, volume, quote_volume] =
            [open, high, low, close, volume, quote_volume].map(f64::from_bits);
        Self {
            ts: UnixNanos(ts.cast_signed()),
            open,
            high,
            low,
            close,
            volume,
            quote_volume: (known & 1 != 0).then_some(quote_volume),
            trades: (known & 2 != 0).then_some(trades.cast_signed()),
        }
    }
}

fn quote_volumes(rows: &[CandleRow]) -> ArrayRef {
    // Mostly an exchange sends it or it doesn't: without nulls the numbers are taken over as they are.
    match rows.iter().map(|row| row.quote_volume).collect::<Option<Vec<f64>>>() {
        Some(all) => Arc::new(Float64Array::from(all)),
        None => {
            let mut column = Float64Builder::with_capacity(rows.len());
            rows.iter().for_each(|row| column.append_option(row.quote_volume));
            Arc::new(column.finish())
        }
    }
}

fn trade_counts(rows: &[CandleRow]) -> ArrayRef {
    match rows.iter().map(|row| row.trades).collect::<Option<Vec<i64>>>() {
        Some(all) => Arc::new(Int64Array::from(all)),
        None => {
            let mut column = Int64Builder::with_capacity(rows.len());
            rows.iter().for_each(|row| column.append_option(row.trades));
            Arc::new(column.finish())
        }
    }
}
