//! Exchanges: the contract that every adapter fulfils, its conformance suite, and one folder for each exchange.
//!
//! An adapter knows an exchange's addresses, limits, messages and sequence rules, and nothing else: no I/O, no clock, no
//! files. What reaches the process from outside comes as [`dccd_model::Entry`], what follows from it leaves through
//! [`Output`]; so the same code serves the live path and the replay of a journal, and gives the same records in both.
//!
//! A new exchange is a folder beside `binance` and a line in [`NAMES`] and [`adapter`].

pub mod binance;
pub mod bitfinex;
pub mod bybit;
mod candles;
pub mod coinbase;
pub mod conformance;
pub mod contract;
pub mod deribit;
mod integrity;
pub mod kraken;
pub mod kucoin;
mod ladder;
mod markets;
mod markets_list;
pub mod okx;
mod search;
mod session;
mod wire;

use std::sync::Arc;

pub use contract::{
    Adapter, AdapterOptions, CandlePages, Capabilities, ChannelFacts, ClientMessage, Counters, Depths, EntryFault,
    ExchangeError, Facts, Feed, FeedIndex, FeedStatus, FrameError, History, HistoryError, Limits, Notice, Output, Product,
    RESYNC_SILENT, RestQuota, RestRequest, Session, Socket, TradeCursor, TradeHole, TradePage, TradePages, Want,
    resync_since,
};
pub use ladder::Ladder;
pub use markets::{Market, MarketStatus, Markets};
pub use markets_list::MarketsList;
pub use search::{Match, search};

/// The exchanges there is an adapter for.
pub const NAMES: &[&str] =
    &[binance::NAME, bitfinex::NAME, bybit::NAME, coinbase::NAME, deribit::NAME, kraken::NAME, kucoin::NAME, okx::NAME];

/// The adapter of the exchange with this name; `None` when there is none.
#[must_use]
pub fn adapter(name: &str, options: &AdapterOptions) -> Option<Arc<dyn Adapter>> {
    match name {
        binance::NAME => Some(Arc::new(binance::Binance::new(binance::BinanceOptions::from(options)))),
        bitfinex::NAME => Some(Arc::new(bitfinex::Bitfinex::new(options))),
        bybit::NAME => Some(Arc::new(bybit::Bybit::new(options))),
        deribit::NAME => Some(Arc::new(deribit::Deribit)),
        coinbase::NAME => Some(Arc::new(coinbase::Coinbase::new(options))),
        kraken::NAME => Some(Arc::new(kraken::Kraken::new(options))),
        kucoin::NAME => Some(Arc::new(kucoin::Kucoin)),
        okx::NAME => Some(Arc::new(okx::Okx)),
        _ => None,
    }
}
