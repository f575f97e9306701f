//! The store: the raw journal, what is derived from it, candles, and proofs that all are whole.
//!
//! - [`journal`]: entries as they came, acknowledged by one write, torn tails cut, followed while it grows.
//! - [`Recorder`]: rows of trades, quotes and books into day files of Parquet, exactly once whatever dies when.
//! - [`CandleWriter`]: windows of candles, staged in one write each and published into year files; [`Coverage`] says what is known.
//! - [`inventory`](fn@inventory), [`verify`](mod@verify): what is stored, and whether it is what it should be.
//! - [`read_candles`], [`read_series_trades`] and the like: rows of a series between two times; [`read_trades`], [`read_quotes`],
//!   [`read_book`]: the rows of a day file; [`ExportWriter`]: rows into a file somewhere else.
//! - [`convert_legacy`]: files of candles that dccd 2.x wrote.
//! - [`StoreLock`]: one writer a store.
//!
//! Knows no exchange, no network, no ring and no clock: every time in here comes with a record or from the caller. Everything
//! blocks; call it from a thread of its own.

pub mod candles;
mod catalog;
mod convert;
mod coverage_map;
mod disk;
mod ends;
pub mod error;
mod export;
mod file;
mod footer;
mod head;
pub mod inventory;
pub mod journal;
mod layout;
mod leftovers;
pub mod lock;
mod merge;
mod ranges;
mod read;
pub mod recorder;
pub mod rows;
#[cfg(test)]
mod testing;
pub mod verify;

use std::path::Path;

pub use candles::{
    CandleError, CandleRows, CandleSeriesId, CandleWriter, Coverage, Empties, Landing, LandingProblem, Published,
    candle_coverage, read_candles,
};
pub use catalog::durable_position;
pub use convert::{ConvertReport, ConvertedFile, convert_legacy};
pub use disk::write_atomically;
pub use ends::series_end;
pub use error::StoreError;
pub use export::ExportWriter;
pub use file::Rows;
pub use inventory::{GapRow, InventoryRow, RepairReport, gaps, inventory, inventory_from_files, repair_coverage};
pub use journal::{JournalError, JournalOptions, JournalReader, JournalSync, JournalWriter, Position, Recovered, retain};
pub use leftovers::sweep_leftovers;
pub use lock::{Holder, LockError, StoreLock};
pub use ranges::Ranges;
pub use read::{SeriesRows, read_series_book, read_series_quotes, read_series_trades};
pub use recorder::{Checkpoint, CommitMode, CommitReport, Recorder, RecorderOptions, SeriesHandle};
pub use rows::{BookRow, CandleRow, QuoteRow, TradeRow};
pub use verify::{Finding, Problem, SeriesReport, VerifyReport, verify};

/// The trades of a file, in its order; an error ends them.
///
/// # Errors
/// When the file can't be opened, or is no file of trades.
pub fn read_trades(path: &Path) -> Result<Rows<TradeRow>, StoreError> {
    Rows::open(path)
}

/// The quotes of a file; see [`read_trades`].
///
/// # Errors
/// When the file can't be opened, or is no file of quotes.
pub fn read_quotes(path: &Path) -> Result<Rows<QuoteRow>, StoreError> {
    Rows::open(path)
}

/// The order-book levels of a file; see [`read_trades`].
///
/// # Errors
/// When the file can't be opened, or is no file of an order book.
pub fn read_book(path: &Path) -> Result<Rows<BookRow>, StoreError> {
    Rows::open(path)
}

/// The gaps that a file declares.
///
/// # Errors
/// When the file can't be opened, or is no file of ours.
pub fn read_gaps(path: &Path) -> Result<Vec<dccd_model::Gap>, StoreError> {
    Ok(footer::FileInfo::read(path)?.gaps)
}
