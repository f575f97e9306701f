//! Candles: windows as the exchange answered for them, staged and then merged into year files.
//!
//! [`CandleWriter`] is the one writer of a series. A [`Landing`] is appended to the stage in one write and is from then on known,
//! whatever dies; [`CandleWriter::publish`] merges the stage into Parquet files. [`Coverage`] says what is known of a series:
//! *covered* is what the exchange has answered for, and a candle that is missing inside of it is known not to exist.

mod coverage;
mod error;
mod merge;
mod publish;
mod read;
mod stage;
mod writer;
mod years;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use dccd_model::{ExchangeName, Gap, GapReason, Grid, SeriesId, SeriesKind, Span, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

pub use coverage::{Coverage, candle_coverage};
pub(crate) use coverage::{combine, no_data};
pub use error::{CandleError, LandingProblem};
pub(crate) use publish::add_rows;
pub use read::{CandleRows, read_candles};
pub(crate) use stage::{StageView, path as stage_path};
pub use writer::{CandleWriter, Published};
pub(crate) use years::{SECONDS_MAX, YearFacts, check_form, files as year_files, year_of_file};

use crate::ranges::Ranges;
use crate::rows::CandleRow;

/// One series of candles: `binance/BTC/USDT/1h`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandleSeriesId {
    /// Where it is traded.
    pub exchange: ExchangeName,
    /// What is traded.
    pub symbol: Symbol,
    /// How long a candle is.
    pub span: Span,
}

impl fmt::Display for CandleSeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.exchange, self.symbol, self.span)
    }
}

impl CandleSeriesId {
    /// The series as others name it.
    #[must_use]
    pub fn series(&self) -> SeriesId {
        let Self { exchange, symbol, span } = self.clone();
        SeriesId { exchange, symbol, kind: SeriesKind::Candles(span) }
    }

    /// The candles that a series' name means; `None` when it is a live series.
    #[must_use]
    pub fn of(series: &SeriesId) -> Option<Self> {
        match series.kind {
            SeriesKind::Candles(span) => {
                Some(Self { exchange: series.exchange.clone(), symbol: series.symbol.clone(), span })
            }
            SeriesKind::Live(_) => None,
        }
    }
}

/// What a source of candles does about a stretch without trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empties {
    /// It sends a flat candle. A candle that is missing is one that the exchange doesn't have: it is declared.
    Sent,
    /// It sends nothing. A candle that is missing is a quiet stretch.
    Omitted,
}

impl Empties {
    /// The word in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Omitted => "omitted",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Sent, Self::Omitted].into_iter().find(|e| e.as_str() == text)
    }
}

/// A window of a series for which the exchange has answered in full.
#[derive(Clone, Copy, Debug)]
pub struct Landing<'a> {
    /// First open time of the window; one at which a candle of the series may open ([`Grid`]).
    pub from: UnixNanos,
    /// Where the window ends, exclusive; likewise.
    pub to: UnixNanos,
    /// The candles in it, ascending, each open time once.
    pub rows: &'a [CandleRow],
    /// What the exchange says it doesn't have, or doesn't send although it was asked again ([`GapReason::NoData`]). Where
    /// empties are [sent](Empties::Sent), rows and gaps fill the window together.
    pub gaps: &'a [Gap],
}

/// A declared gap of candles, as the stretch from the first that is missing to the end of the last.
pub(crate) fn stretch(gap: &Gap, grid: Grid) -> (UnixNanos, UnixNanos) {
    (gap.from, UnixNanos(gap.to.0.saturating_add(grid.step())))
}

/// The inverse of [`stretch`], for many.
pub(crate) fn declared(missing: &Ranges, grid: Grid) -> impl Iterator<Item = Gap> {
    missing.iter().map(move |(from, to)| Gap {
        from,
        to: UnixNanos(to.0 - grid.step()),
        reason: GapReason::NoData,
        repaired: false,
        ids: None,
    })
}
