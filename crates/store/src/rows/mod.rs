//! Rows as they stand in files: what each channel's columns are, in which order rows come, which of two is the same.
//!
//! Zero stands for "unknown" in memory where the file has null, as in `dccd_model`.

mod book;
mod candle;
mod ids;
mod quote;
mod trade;

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use dccd_model::{Channel, UnixNanos};
use parquet::file::properties::WriterPropertiesBuilder;

pub use book::BookRow;
pub use candle::CandleRow;
pub(crate) use ids::IdSet;
pub use quote::QuoteRow;
pub use trade::TradeRow;

use crate::error::FileProblem;

/// One row of a day file.
pub trait Row: Copy + PartialEq + Send + std::fmt::Debug + sealed::Codec {
    /// The channel whose rows these are.
    const CHANNEL: Channel;

    /// `TS`: what days and order go by.
    fn ts(&self) -> UnixNanos;
}

pub(crate) mod sealed {
    use super::{ArrowError, FileProblem, Ordering, RecordBatch, Schema, WriterPropertiesBuilder};

    /// How rows become columns and back.
    pub trait Codec: Sized {
        /// Remembers which rows were there.
        type Seen: Default + Send;

        /// A row as whole numbers, the same ones of each row at the same place.
        type Words: Copy + Default + std::fmt::Debug + Send + AsRef<[u64]> + AsMut<[u64]>;

        /// Rows in a row group; fixed, so that the same rows give the same bytes. Whole batches of the writer.
        const GROUP_ROWS: usize = 131_072;

        /// Names and types, in their order.
        fn schema() -> Schema;

        /// How each column is encoded.
        fn encodings(properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder;

        /// The order of rows in a file; equal ones stay in the order in which they came.
        fn order(&self, other: &Self) -> Ordering;

        /// Whether this row is new; asked in the order of rows.
        fn admit(&self, seen: &mut Self::Seen) -> bool;

        /// Rows as columns.
        fn encode(rows: &[Self]) -> Result<RecordBatch, ArrowError>;

        /// Columns as rows, appended; `first` is the number of the batch's first row in its file.
        fn decode(batch: &RecordBatch, first: u64, out: &mut Vec<Self>) -> Result<(), FileProblem>;

        /// The row's values as bytes, for the checksum.
        fn digest(&self, out: &mut Vec<u8>);

        /// The row as words, every bit of it.
        fn to_words(&self) -> Self::Words;

        /// The row of words that [`Self::to_words`] gave.
        fn of_words(words: &Self::Words) -> Self;
    }
}

fn field(name: &str, data_type: DataType, nullable: bool) -> Field {
    Field::new(name, data_type, nullable)
}

/// Zero as null.
fn known(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

/// The columns of a batch, by name and type.
struct Columns<'a> {
    batch: &'a RecordBatch,
    first: u64,
}

impl<'a> Columns<'a> {
    fn get(&self, column: &'static str) -> Result<&'a dyn Array, FileProblem> {
        let array = self.batch.column_by_name(column).ok_or(FileProblem::Column { column })?;
        Ok(array.as_ref())
    }

    /// A column without nulls.
    fn full<T: 'static>(
        &self,
        column: &'static str,
        cast: impl Fn(&'a dyn Array) -> Option<&'a T>,
    ) -> Result<&'a T, FileProblem> {
        let array = self.get(column)?;
        if let Some(row) = (array.null_count() > 0).then(|| (0..array.len()).find(|i| array.is_null(*i))).flatten() {
            return Err(self.bad(row, column));
        }
        cast(array).ok_or(FileProblem::Column { column })
    }

    fn i64(&self, column: &'static str) -> Result<&'a Int64Array, FileProblem> {
        self.full(column, |a| a.as_primitive_opt::<Int64Type>())
    }

    fn i32(&self, column: &'static str) -> Result<&'a Int32Array, FileProblem> {
        self.full(column, |a| a.as_primitive_opt::<Int32Type>())
    }

    fn f64(&self, column: &'static str) -> Result<&'a Float64Array, FileProblem> {
        self.full(column, |a| a.as_primitive_opt::<Float64Type>())
    }

    fn bool(&self, column: &'static str) -> Result<&'a BooleanArray, FileProblem> {
        self.full(column, |a| a.as_boolean_opt())
    }

    fn text(&self, column: &'static str) -> Result<&'a StringArray, FileProblem> {
        self.full(column, |a| a.as_string_opt::<i32>())
    }

    /// A nullable column; one that is missing is all null.
    fn i64_or_null(&self, column: &'static str) -> Result<Option<&'a Int64Array>, FileProblem> {
        let Some(array) = self.batch.column_by_name(column) else { return Ok(None) };
        array.as_primitive_opt::<Int64Type>().map(Some).ok_or(FileProblem::Column { column })
    }

    fn f64_or_null(&self, column: &'static str) -> Result<Option<&'a Float64Array>, FileProblem> {
        let Some(array) = self.batch.column_by_name(column) else { return Ok(None) };
        array.as_primitive_opt::<Float64Type>().map(Some).ok_or(FileProblem::Column { column })
    }

    fn text_or_null(&self, column: &'static str) -> Result<Option<&'a StringArray>, FileProblem> {
        let Some(array) = self.batch.column_by_name(column) else { return Ok(None) };
        array.as_string_opt::<i32>().map(Some).ok_or(FileProblem::Column { column })
    }

    fn bad(&self, row: usize, column: &'static str) -> FileProblem {
        FileProblem::Value { row: self.first + row as u64, column }
    }
}

/// A nullable column's value; null as zero.
fn or_zero(column: Option<&Int64Array>, row: usize) -> i64 {
    column.map_or(0, |c| if c.is_null(row) { 0 } else { c.value(row) })
}

/// A nullable column's text.
fn or_none(column: Option<&StringArray>, row: usize) -> Option<&str> {
    column.and_then(|c| if c.is_null(row) { None } else { Some(c.value(row)) })
}
