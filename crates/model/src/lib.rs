//! The vocabulary that every other crate speaks: decimals, times, symbols, series, records, gaps, entries.
//!
//! No I/O, no async, no clock. A type lives here when two crates need it and not before.

pub mod decimal;
pub mod end;
pub mod entry;
pub mod gap;
pub mod grid;
pub mod name;
pub mod record;
pub mod slot;
pub mod span;
pub mod sum;
pub mod symbol;
pub mod time;
pub mod trading;

pub use decimal::{Decimal, DecimalError};
pub use end::SeriesEnd;
pub use entry::{Entry, EntryKind};
pub use gap::{Gap, GapReason};
pub use grid::Grid;
pub use name::{Channel, ExchangeName, NameError, SeriesId, SeriesKind};
pub use record::{BookLevel, BookSide, BookState, Candle, Flags, Quote, Side, Trade, TradeId};
pub use slot::{Record, RecordKind};
pub use span::{Span, SpanError};
pub use sum::DecimalSum;
pub use symbol::{Symbol, SymbolError};
pub use time::UnixNanos;
pub use trading::Trading;
