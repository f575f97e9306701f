//! The history side of an adapter: what of the past an exchange gives, how it is asked for, how its answers are read. Pure.
//!
//! Two sources: the exchange's own candles, page by page, and its trades, by the exchange's own cursor, of which candles can
//! be built where its own don't reach back. Whether an answer is whole and true is the pager's to judge; what is here only reads.

use std::time::Duration;

use dccd_model::{Candle, Span, Symbol, Trade, UnixNanos};

use super::RestRequest;
use crate::Market;

/// How an exchange gives its candles of one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandlePages {
    /// Candles in one answer at most.
    pub per_page: u32,
    /// How many of the newest candles can be had at all, the open one included; `None`: all since the market was listed.
    pub reach: Option<u32>,
    /// A candle without trades is sent, flat at the last price; otherwise it is left out.
    pub sends_empty: bool,
    /// Candles carry the traded amount of the quote currency.
    pub has_quote_volume: bool,
    /// Candles carry the number of trades.
    pub has_trades: bool,
    /// Asked from the beginning of time, the exchange answers with the market's first candles.
    pub begins_at_listing: bool,
}

/// How an exchange gives the trades of a market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradePages {
    /// Trades in one answer at most.
    pub per_page: u32,
    /// Ids are contiguous: a page that doesn't go on where the last one ended has lost some.
    pub contiguous_ids: bool,
}

/// Where the next page of trades begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TradeCursor {
    /// At the first trade at or after this time, the exchange's clock.
    Time(UnixNanos),
    /// At the trade with this id.
    Id(u64),
    /// Where the exchange's own mark says; what it means is known to the adapter alone.
    Mark(u64),
}

/// What a page of trades says beside its trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradePage {
    /// Where the next page begins. A page may be there only to find this, and bring no trades.
    pub next: TradeCursor,
    /// Nothing comes after this page now: the present is reached.
    pub is_last: bool,
}

/// Why an answer with status 200 is no page.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Not JSON, cut off, or not of the shape that such an answer has.
    #[error("the answer of {exchange} to \"{subject}\" can't be read ({bytes} bytes)")]
    Unreadable {
        /// Who answered.
        exchange: &'static str,
        /// What was asked for: candles, trades.
        subject: &'static str,
        /// How long the body was.
        bytes: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A row that can't be: a price below zero, a high below the low.
    #[error("row {row} of the answer of {exchange} to \"{subject}\" can't be: {field}")]
    BadRow {
        /// Who answered.
        exchange: &'static str,
        /// What was asked for.
        subject: &'static str,
        /// Counted from 0.
        row: usize,
        /// The field that is wrong.
        field: &'static str,
    },
    /// The exchange says that it was asked too often. Nothing may be asked for `wait`.
    #[error("{exchange} says that it is asked too often: {message}")]
    RateLimited {
        /// Who.
        exchange: &'static str,
        /// The exchange's own words.
        message: String,
        /// How long to keep away.
        wait: Duration,
    },
    /// The exchange can't answer now.
    #[error("{exchange} can't answer now: {message}")]
    Unavailable {
        /// Who.
        exchange: &'static str,
        /// The exchange's own words.
        message: String,
    },
    /// The exchange will not answer this request, however often it is asked.
    #[error("{exchange} refuses the request: {message}")]
    Refused {
        /// Who.
        exchange: &'static str,
        /// The exchange's own words, with its code if it has one.
        message: String,
    },
}

impl HistoryError {
    /// Whether the same request may bring an answer another time.
    #[must_use]
    pub const fn is_worth_retrying(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// What an adapter knows of its exchange's past. Stateless, no I/O.
pub trait History: Send + Sync {
    /// The spans of which the exchange has candles of its own, ascending, in seconds.
    fn spans(&self) -> &'static [u32];

    /// How its candles of this span come; `None` where it has none.
    fn candle_pages(&self, span: Span) -> Option<CandlePages>;

    /// The request for the candles that open in `[from, to)`, `limit` at most, the oldest first in line where there are more.
    /// Exchanges that can't be asked so are asked for as little as they can; the pager cuts off what lies outside.
    fn candles_request(&self, market: &Market, span: Span, from: UnixNanos, to: UnixNanos, limit: u32) -> RestRequest;

    /// Reads an answer to [`Self::candles_request`] and appends its candles as they come, the open one included, ascending
    /// whatever the exchange's order. `ts_recv` is put into each. Whatever it is given, it returns.
    ///
    /// # Errors
    /// When the body is no such answer, or the exchange's own error. `out` may then have some candles more.
    fn parse_candles(&self, body: &[u8], span: Span, ts_recv: UnixNanos, out: &mut Vec<Candle>) -> Result<(), HistoryError>;

    /// As [`Self::parse_candles`], of an answer about this market: which column holds the amount may depend on what is traded.
    ///
    /// # Errors
    /// As [`Self::parse_candles`].
    fn parse_candles_of(
        &self,
        _market: &Market,
        body: &[u8],
        span: Span,
        ts_recv: UnixNanos,
        out: &mut Vec<Candle>,
    ) -> Result<(), HistoryError> {
        self.parse_candles(body, span, ts_recv, out)
    }

    /// How its trades come; `None` where their past can't be had.
    fn trade_pages(&self) -> Option<TradePages>;

    /// As [`Self::trade_pages`], of this symbol, where they can be had of some alone.
    fn trade_pages_of(&self, _symbol: &Symbol) -> Option<TradePages> {
        self.trade_pages()
    }

    /// The request for the page of trades that begins here; as many as a page holds.
    fn trades_page_request(&self, market: &Market, cursor: TradeCursor) -> RestRequest;

    /// Reads an answer to [`Self::trades_page_request`] for that cursor and appends its trades in the exchange's order.
    /// Pages may overlap: trades of the page before can come again, and are told by their ids.
    ///
    /// # Errors
    /// As [`Self::parse_candles`].
    fn parse_trades_page(
        &self,
        body: &[u8],
        cursor: TradeCursor,
        ts_recv: UnixNanos,
        out: &mut Vec<Trade>,
    ) -> Result<TradePage, HistoryError>;
}
