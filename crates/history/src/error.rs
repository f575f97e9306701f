//! Why a series could not be made whole. Everything that was fetched before is stored; the next run goes on there.

use dccd_exchange::ExchangeError;
use dccd_model::{Span, Symbol};
use dccd_store::{CandleError, StoreError};

use crate::cancel::Cancelled;
use crate::fetch::FetchError;

/// Why a job ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum HistoryJobError {
    /// It was told to.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The exchange has no market of this name.
    #[error("{exchange} has no market {symbol}{}", suggestion(.near))]
    UnknownMarket {
        /// The exchange.
        exchange: &'static str,
        /// What was asked for.
        symbol: Symbol,
        /// What may have been meant.
        near: Vec<Symbol>,
    },
    /// Neither the exchange's candles nor its trades give this span.
    #[error("{exchange} has no candles of {span} for {symbol}; it has those of {offered}")]
    SpanNotOffered {
        /// The exchange.
        exchange: &'static str,
        /// The market.
        symbol: Symbol,
        /// What was asked for.
        span: Span,
        /// What there is.
        offered: String,
    },
    /// This version can't fetch the exchange's history.
    #[error("this version can't fetch the history of {exchange}")]
    NoHistory {
        /// The exchange.
        exchange: &'static str,
    },
    /// The exchange's list of markets could not be had.
    #[error("the list of markets of {exchange} could not be fetched")]
    MarketsUnavailable {
        /// The exchange.
        exchange: &'static str,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
    /// The exchange's list of markets can't be read.
    #[error("the list of markets can't be used")]
    Markets(#[source] Box<ExchangeError>),
    /// A page that the rest depends on could not be had.
    #[error("{what} of {symbol} could not be fetched")]
    Fetch {
        /// What it was.
        what: &'static str,
        /// Of which market.
        symbol: Symbol,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
    /// So many pages in a row failed that going on makes no sense now.
    #[error("{failed} pages of {symbol} in a row could not be fetched; the next run tries again")]
    GaveUp {
        /// The market.
        symbol: Symbol,
        /// How many.
        failed: u32,
        /// Why the last one wasn't.
        #[source]
        source: Box<FetchError>,
    },
    /// The store can't be read.
    #[error("the store can't be read")]
    Store(#[source] Box<StoreError>),
    /// The candles can't be written.
    #[error("the candles can't be stored")]
    Candles(#[source] Box<CandleError>),
}

impl From<StoreError> for HistoryJobError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<CandleError> for HistoryJobError {
    fn from(error: CandleError) -> Self {
        Self::Candles(Box::new(error))
    }
}

fn suggestion(near: &[Symbol]) -> String {
    if near.is_empty() {
        return "; `dccd search` finds those it has".to_owned();
    }
    let near: Vec<String> = near.iter().map(ToString::to_string).collect();
    format!("; did you mean {}?", near.join(", "))
}

/// An error with all its causes, outermost first, each once.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
