//! Order-book levels: `TS side price amount count is_snapshot ts_recv update_id epoch`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, StringBuilder};
use arrow_schema::{ArrowError, DataType, Schema};
use dccd_model::{BookLevel, BookSide, Channel, Flags, UnixNanos};
use parquet::basic::Encoding;
use parquet::file::properties::WriterPropertiesBuilder;

use super::sealed::Codec;
use super::{Columns, Row, field, known, or_zero};
use crate::error::FileProblem;

/// One level of a day file, set to a new amount.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BookRow {
    /// The event's time: the exchange's clock. Never before that of the event before it.
    pub ts: UnixNanos,
    /// Bid or ask.
    pub side: BookSide,
    /// The level's price.
    pub price: f64,
    /// Amount now at this price; zero: the level is gone.
    pub amount: f64,
    /// Orders at this level; 0 when unknown.
    pub count: u32,
    /// Part of the snapshot that an epoch begins with.
    pub is_snapshot: bool,
    /// When our socket read finished: host clock; zero when unknown.
    pub ts_recv: UnixNanos,
    /// The exchange's sequence number of the event; 0 where it has none.
    pub update_id: u64,
    /// Grows with every snapshot.
    pub epoch: u32,
}

impl BookRow {
    pub(crate) fn new(level: &BookLevel, ts: UnixNanos) -> Self {
        Self {
            ts,
            side: level.side,
            price: level.price.to_f64(),
            amount: level.amount.to_f64(),
            count: level.order_count,
            is_snapshot: level.flags.contains(Flags::SNAPSHOT),
            ts_recv: level.ts_recv,
            update_id: level.update_id,
            epoch: level.epoch,
        }
    }
}

impl Row for BookRow {
    const CHANNEL: Channel = Channel::Book;

    fn ts(&self) -> UnixNanos {
        self.ts
    }
}

impl Codec for BookRow {
    type Seen = ();
    type Words = [u64; 7];

    fn schema() -> Schema {
        Schema::new(vec![
            field("TS", DataType::Int64, false),
            field("side", DataType::Utf8, false),
            field("price", DataType::Float64, false),
            field("amount", DataType::Float64, false),
            field("count", DataType::Int64, true),
            field("is_snapshot", DataType::Boolean, false),
            field("ts_recv", DataType::Int64, true),
            field("update_id", DataType::Int64, true),
            field("epoch", DataType::Int32, false),
        ])
    }

    fn encodings(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        properties
            .set_column_encoding("TS".into(), Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_enabled("side".into(), true)
            .set_column_dictionary_enabled("price".into(), true)
            .set_column_dictionary_enabled("amount".into(), true)
            .set_column_dictionary_enabled("count".into(), true)
            .set_column_encoding("ts_recv".into(), Encoding::DELTA_BINARY_PACKED)
            .set_column_encoding("update_id".into(), Encoding::DELTA_BINARY_PACKED)
            .set_column_encoding("epoch".into(), Encoding::DELTA_BINARY_PACKED)
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
        let mut side = StringBuilder::with_capacity(count, count * 3);
        let mut price = Float64Builder::with_capacity(count);
        let mut amount = Float64Builder::with_capacity(count);
        let mut orders = Int64Builder::with_capacity(count);
        let mut is_snapshot = BooleanBuilder::with_capacity(count);
        let mut ts_recv = Int64Builder::with_capacity(count);
        let mut update_id = Int64Builder::with_capacity(count);
        let mut epoch = Int32Builder::with_capacity(count);
        for row in rows {
            ts.append_value(row.ts.0);
            side.append_value(row.side.as_str());
            price.append_value(row.price);
            amount.append_value(row.amount);
            orders.append_option(known(row.count.into()));
            is_snapshot.append_value(row.is_snapshot);
            ts_recv.append_option(known(row.ts_recv.0));
            update_id.append_option(known(row.update_id.cast_signed()));
            epoch.append_value(row.epoch.cast_signed());
        }
        RecordBatch::try_new(
            Arc::new(Self::schema()),
            vec![
                Arc::new(ts.finish()),
                Arc::new(side.finish()),
                Arc::new(price.finish()),
                Arc::new(amount.finish()),
                Arc::new(orders.finish()),
                Arc::new(is_snapshot.finish()),
                Arc::new(ts_recv.finish()),
                Arc::new(update_id.finish()),
                Arc::new(epoch.finish()),
            ],
        )
    }

    fn decode(batch: &RecordBatch, first: u64, out: &mut Vec<Self>) -> Result<(), FileProblem> {
        let columns = Columns { batch, first };
        let (ts, side) = (columns.i64("TS")?, columns.text("side")?);
        let (price, amount) = (columns.f64("price")?, columns.f64("amount")?);
        let (count, is_snapshot) = (columns.i64_or_null("count")?, columns.bool("is_snapshot")?);
        let (ts_recv, update_id) = (columns.i64_or_null("ts_recv")?, columns.i64_or_null("update_id")?);
        let epoch = columns.i32("epoch")?;
        out.reserve(batch.num_rows());
        for row in 0..batch.num_rows() {
            out.push(Self {
                ts: UnixNanos(ts.value(row)),
                side: match side.value(row) {
                    "bid" => BookSide::Bid,
                    "ask" => BookSide::Ask,
                    _ => return Err(columns.bad(row, "side")),
                },
                price: price.value(row),
                amount: amount.value(row),
                count: u32::try_from(or_zero(count, row)).map_err(|_| columns.bad(row, "count"))?,
                is_snapshot: is_snapshot.value(row),
                ts_recv: UnixNanos(or_zero(ts_recv, row)),
                update_id: or_zero(update_id, row).cast_unsigned(),
                epoch: epoch.value(row).cast_unsigned(),
            });
        }
        Ok(())
    }

    fn digest(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ts.0.to_le_bytes());
        out.push(self.side as u8 | u8::from(self.is_snapshot) << 7);
        out.extend_from_slice(&self.price.to_le_bytes());
        out.extend_from_slice(&self.amount.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.ts_recv.0.to_le_bytes());
        out.extend_from_slice(&self.update_id.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
    }

    fn to_words(&self) -> Self::Words {
        let Self { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch } = *self;
        let is_ask = u64::from(side == BookSide::Ask);
        let what = u64::from(count) << 2 | u64::from(is_snapshot) << 1 | is_ask;
        let times = [ts, ts_recv].map(|time| time.0.cast_unsigned());
        [times[0], times[1], update_id, price.to_bits(), amount.to_bits(), epoch.into(), what]
    }

    // 32 bits each, as they were put in.
    #[allow(clippy::cast_possible_truncation)]
    fn of_words(&[ts, ts_recv, update_id, price, amount, epoch, what]: &Self::Words) -> Self {
        let [ts, ts_recv] = [ts, ts_recv].map(|word| UnixNanos(word.cast_signed()));
        let [price, amount] = [price, amount].map(f64::from_bits);
        let side = if what & 1 == 0 { BookSide::Bid } else { BookSide::Ask };
        let (count, is_snapshot) = ((what >> 2) as u32, what & 2 != 0);
        Self { ts, side, price, amount, count, is_snapshot, ts_recv, update_id, epoch: epoch as u32 }
    }
}
