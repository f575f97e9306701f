//! What can go wrong with a series of candles.

use dccd_model::UnixNanos;

use super::CandleSeriesId;
use crate::error::StoreError;
use crate::lock::LockError;

/// Why something about a series of candles failed.
#[derive(Debug, thiserror::Error)]
pub enum CandleError {
    /// Somebody else writes the series, or its lock can't be made.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A window that is not what it says. Nothing of it was taken.
    #[error("the window {from} to {to} of {series} was refused: {problem}")]
    Landing {
        /// The series.
        series: Box<CandleSeriesId>,
        /// First open time of the window.
        from: UnixNanos,
        /// Its end.
        to: UnixNanos,
        /// What is wrong with it.
        problem: LandingProblem,
    },
}

/// What is wrong with a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LandingProblem {
    /// It is empty, or its ends are no open times of the span.
    #[error("its ends are not open times of the span, first before last")]
    Ends,
    /// More rows than a window may have.
    #[error("{rows} rows, where a window has at most {}", super::stage::WINDOW_ROWS_MAX)]
    TooLong {
        /// How many it has.
        rows: usize,
    },
    /// A row outside the window, out of order, twice, or between open times.
    #[error("row {row} at {ts} is outside, out of order, there twice, or no open time")]
    Row {
        /// Counted from 0.
        row: usize,
        /// Its open time.
        ts: UnixNanos,
    },
    /// A row with a number that is none.
    #[error("row {row} at {ts} has a price or volume that is not a finite number")]
    NotFinite {
        /// Counted from 0.
        row: usize,
        /// Its open time.
        ts: UnixNanos,
    },
    /// A gap of another kind, outside the window, out of order, or with a row in it.
    #[error("gap {gap} is not one of missing candles, outside, out of order, or a row lies in it")]
    Gap {
        /// Counted from 0.
        gap: usize,
    },
    /// The exchange sends every candle, and this one is neither there nor declared missing.
    #[error("the candle at {ts} is neither there nor declared missing")]
    Undeclared {
        /// Its open time.
        ts: UnixNanos,
    },
}
