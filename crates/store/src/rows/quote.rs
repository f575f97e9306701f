//! Best bid and ask: `TS bid bid_amount ask ask_amount ts_recv`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{Float64Builder, Int64Builder};
use arrow_schema::{ArrowError, DataType, Schema};
use dccd_model::{Channel, Quote, UnixNanos};
use parquet::basic::Encoding;
use parquet::file::properties::WriterPropertiesBuilder;

use super::sealed::Codec;
use super::{Columns, Row, field, known, or_zero};
use crate::error::FileProblem;

/// One quote of a day file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuoteRow {
    /// The exchange's clock; where the exchange sends no time, when our socket read finished.
    pub ts: UnixNanos,
    /// Best bid price.
    pub bid: f64,
    /// Amount at the best bid.
    pub bid_amount: f64,
    /// Best ask price.
    pub ask: f64,
    /// Amount at the best ask.
    pub ask_amount: f64,
    /// When our socket read finished: host clock; zero when unknown.
    pub ts_recv: UnixNanos,
}

impl QuoteRow {
    pub(crate) fn new(quote: &Quote) -> Self {
        Self {
            ts: if quote.ts_venue == UnixNanos::UNKNOWN { quote.ts_recv } else { quote.ts_venue },
            bid: quote.bid.to_f64(),
            bid_amount: quote.bid_amount.to_f64(),
            ask: quote.ask.to_f64(),
            ask_amount: quote.ask_amount.to_f64(),
            ts_recv: quote.ts_recv,
        }
    }
}

impl Row for QuoteRow {
    const CHANNEL: Channel = Channel::Quotes;

    fn ts(&self) -> UnixNanos {
        self.ts
    }
}

impl Codec for QuoteRow {
    type Seen = ();
    type Words = [u64; 6];

    fn schema() -> Schema {
        Schema::new(vec![
            field("TS", DataType::Int64, false),
            field("bid", DataType::Float64, false),
            field("bid_amount", DataType::Float64, false),
            field("ask", DataType::Float64, false),
            field("ask_amount", DataType::Float64, false),
            field("ts_recv", DataType::Int64, true),
        ])
    }

    fn encodings(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        let mut properties = properties
            .set_column_encoding("TS".into(), Encoding::DELTA_BINARY_PACKED)
            .set_column_encoding("ts_recv".into(), Encoding::DELTA_BINARY_PACKED);
        for column in ["bid", "bid_amount", "ask", "ask_amount"] {
            properties = properties.set_column_dictionary_enabled(column.into(), true);
        }
        properties
    }

    fn order(&self, other: &Self) -> Ordering {
        self.ts.cmp(&other.ts)
    }

    fn admit(&self, (): &mut ()) -> bool {
        true
    }

    fn encode(rows: &[Self]) -> Result<RecordBatch, ArrowError> {
        let count = rows.len();
        let mut ts = Int64Builder::with_capacity(count);
        let mut numbers: [_; 4] = std::array::from_fn(|_| Float64Builder::with_capacity(count));
        let mut ts_recv = Int64Builder::with_capacity(count);
        for row in rows {
            ts.append_value(row.ts.0);
            for (column, value) in numbers.iter_mut().zip([row.bid, row.bid_amount, row.ask, row.ask_amount]) {
                column.append_value(value);
            }
            ts_recv.append_option(known(row.ts_recv.0));
        }
        let mut columns: Vec<arrow_array::ArrayRef> = vec![Arc::new(ts.finish())];
        columns.extend(numbers.into_iter().map(|mut c| Arc::new(c.finish()) as arrow_array::ArrayRef));
        columns.push(Arc::new(ts_recv.finish()));
        RecordBatch::try_new(Arc::new(Self::schema()), columns)
    }

    fn decode(batch: &RecordBatch, first: u64, out: &mut Vec<Self>) -> Result<(), FileProblem> {
        let columns = Columns { batch, first };
        let ts = columns.i64("TS")?;
        let (bid, bid_amount) = (columns.f64("bid")?, columns.f64("bid_amount")?);
        let (ask, ask_amount) = (columns.f64("ask")?, columns.f64("ask_amount")?);
        let ts_recv = columns.i64_or_null("ts_recv")?;
        out.extend((0..batch.num_rows()).map(|row| Self {
            ts: UnixNanos(ts.value(row)),
            bid: bid.value(row),
            bid_amount: bid_amount.value(row),
            ask: ask.value(row),
            ask_amount: ask_amount.value(row),
            ts_recv: UnixNanos(or_zero(ts_recv, row)),
        }));
        Ok(())
    }

    fn digest(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ts.0.to_le_bytes());
        for value in [self.bid, self.bid_amount, self.ask, self.ask_amount] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&self.ts_recv.0.to_le_bytes());
    }

    fn to_words(&self) -> Self::Words {
        let Self { ts, bid, bid_amount, ask, ask_amount, ts_recv } = *self;
        let [bid, bid_amount, ask, ask_amount] = [bid, bid_amount, ask, ask_amount].map(f64::to_bits);
        [ts.0.cast_unsigned(), ts_recv.0.cast_unsigned(), bid, bid_amount, ask, ask_amount]
    }

    fn of_words(&[ts, ts_recv, bid, bid_amount, ask, ask_amount]: &Self::Words) -> Self {
        let [bid, bid_amount, ask, ask_amount] = [bid, bid_amount, ask, ask_amount].map(f64::from_bits);
        let [ts, ts_recv] = [ts, ts_recv].map(|word| UnixNanos(word.cast_signed()));
        Self { ts, bid, bid_amount, ask, ask_amount, ts_recv }
    }
}
