//! Binance's USD-M perpetuals, on one host with spot: REST under `/fapi/v1`, WebSockets under `/public` and `/market`.
//!
//! As since the spring of 2026, `/public` carries books, best prices and single trades, `/market` all else; a stream on the wrong one
//! is acknowledged and stays silent. The old addresses without a route are those of spot here. Where no spot market is played
//! at all, the host is that of perpetuals, and they carry what `/public` does: clients that never moved have books, and wait
//! for everything else in vain.
//!
//! What it does not play: accounts, dated contracts, liquidations (their stream is silent), streams of all markets, candles of
//! mark and index prices, statistics under `/futures/data`. Mark and index prices, funding and open interest are drawn, not
//! made by positions.

mod channels;
mod market;
mod options;
mod render;
pub(crate) mod rest;
pub(crate) mod streams;
pub(crate) mod tickers;

use std::cell::RefCell;

use hyper::Uri;

use super::rest::limiter::RestLimiter;
use super::{MARKET, USDM, prefix};
use crate::market::SymbolState;
use crate::options::{Limits, SimOptions};
use crate::ws::queue::Conn;
use channels::Untold;
use market::Market;
pub(super) use market::spec;
use streams::{CANDLES, DIFFS, KINDS, PARTIAL_LEVELS, Route};

pub use options::UsdmOptions;

/// What stands before the names of streams, so that faults and the ledger tell them from those of spot.
pub(super) const NAMES: &str = "usdm:";

/// What the side of perpetuals adds.
pub(super) struct Usdm {
    pub(super) options: UsdmOptions,
    /// Each market and its first stream, by place; none where that is spot.
    markets: Vec<Option<(Market, usize)>>,
    /// The combined wrapper up to the data, by stream.
    prefixes: Vec<Vec<u8>>,
    pub(super) limiter: RefCell<RestLimiter>,
    untold: RefCell<Vec<[Untold; DIFFS]>>,
    /// The book's count when each partial book was last sent.
    shown: RefCell<Vec<[u64; 3 * PARTIAL_LEVELS.len()]>>,
    /// When the candle that was last sent opened.
    kline_open: RefCell<Vec<[i64; CANDLES]>>,
}

impl Usdm {
    /// `firsts`: the first stream of each market.
    pub(super) fn new(options: &SimOptions, symbols: &[SymbolState], firsts: &[usize], names: &[String]) -> Self {
        let weight_per_minute = options.usdm.weight_per_minute;
        let limits = Limits { weight_per_minute, ..options.limits.clone() };
        let markets = symbols.iter().zip(firsts);
        let markets = markets.map(|(s, first)| s.spec.settle.is_some().then(|| (Market::of(&s.spec, options.seed), *first)));
        Self {
            options: options.usdm.clone(),
            markets: markets.collect(),
            prefixes: names.iter().map(|name| prefix(name.strip_prefix(NAMES).unwrap_or(name))).collect(),
            limiter: RefCell::new(RestLimiter::new(&limits)),
            untold: RefCell::new(symbols.iter().map(|_| Default::default()).collect()),
            shown: RefCell::new(symbols.iter().map(|_| Default::default()).collect()),
            kline_open: RefCell::new(symbols.iter().map(|_| Default::default()).collect()),
        }
    }

    /// The names of a market's streams.
    pub(super) fn names(symbol_lower: &str) -> impl Iterator<Item = String> {
        (0..KINDS).map(move |kind| format!("{NAMES}{}", streams::name(symbol_lower, kind)))
    }

    /// Whether a market is a perpetual.
    pub(super) fn has(&self, place: usize) -> bool {
        self.markets.get(place).is_some_and(Option::is_some)
    }

    /// The place of the perpetual with this exchange name.
    fn place(&self, id: &str) -> Option<usize> {
        self.markets.iter().position(|market| market.as_ref().is_some_and(|(market, _)| market.id == id))
    }

    /// The route of an address: none is one of spot.
    pub(super) fn route(&self, address: &Uri) -> Option<Route> {
        let is_alone = !self.markets.is_empty() && self.markets.iter().all(Option::is_some);
        Route::of(address.path()).map(|(route, _)| route).or_else(|| is_alone.then_some(Route::Public))
    }

    /// The stream of a name on a connection's route; `None`: it delivers nothing.
    pub(super) fn index(&self, conn: &Conn, name: &str) -> Option<usize> {
        let route = if conn.form.get() & MARKET != 0 { Route::Market } else { Route::Public };
        let (symbol, kind) = streams::parse(name).filter(|(_, kind)| route.carries(*kind))?;
        let (_, first) = self.markets[self.place(&symbol.to_ascii_uppercase())?].as_ref()?;
        Some(first + kind)
    }

    /// The number of a book's last change, as clients are told it.
    pub(super) fn book_id(&self, place: usize, count: u64) -> u64 {
        self.markets[place].as_ref().map_or(count, |(market, _)| market.update_id(count))
    }
}

/// Whether a connection was opened for perpetuals.
pub(super) fn is_usdm(conn: &Conn) -> bool {
    conn.form.get() & USDM != 0
}
