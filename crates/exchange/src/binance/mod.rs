//! Binance spot: live trades, quotes and books; repair of trades by id; candles and trades of the past; markets.
//!
//! Not offered yet: live candles (`ohlc`), derivatives. Links: <https://developers.binance.com/docs/binance-spot-api-docs>.

mod book;
mod consts;
mod history;
mod http;
mod klines;
mod messages;
mod parse;
mod session;
mod subscribe;

use std::sync::Arc;

use dccd_model::{Channel, Symbol};

pub use consts::NAME;
use consts::{CHANNELS, DEPTH_MAX, FACTS, LIMITS, REST_URL, WS_URL};

use crate::integrity::IdSpace;
use crate::session::LiveSession;
use crate::{
    Adapter, AdapterOptions, Capabilities, ClientMessage, ExchangeError, Facts, History, HistoryError, Limits, Markets,
    RestRequest, Session, TradeCursor, TradeHole,
};

/// What a user may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinanceOptions {
    /// `aggTrade` instead of `trade`; the ids are then those of the aggregates.
    pub aggregated_trades: bool,
    /// Levels a side of the snapshots that books begin with: 1 to 5000. The weight goes by it.
    pub depth: u32,
}

impl Default for BinanceOptions {
    fn default() -> Self {
        Self { aggregated_trades: false, depth: DEPTH_MAX }
    }
}

impl From<&AdapterOptions> for BinanceOptions {
    fn from(options: &AdapterOptions) -> Self {
        Self { aggregated_trades: options.aggregated_trades, depth: options.depth.unwrap_or(DEPTH_MAX).clamp(1, DEPTH_MAX) }
    }
}

/// The adapter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Binance {
    options: BinanceOptions,
}

impl Binance {
    /// With these options.
    #[must_use]
    pub fn new(options: BinanceOptions) -> Self {
        Self { options }
    }

    fn id_space(self) -> IdSpace {
        if self.options.aggregated_trades { IdSpace::Aggregated } else { IdSpace::Single }
    }

    /// The streams of those feeds that are offered, each with the feed's place.
    fn streams(self, feeds: &[(Symbol, Channel)], markets: &Markets) -> Vec<(usize, String)> {
        let stream = |(place, (symbol, channel)): (usize, &(Symbol, Channel))| {
            let stream = subscribe::stream(&subscribe::id(symbol, markets), *channel, self.options.aggregated_trades)?;
            Some((place, stream))
        };
        feeds.iter().enumerate().filter_map(stream).collect()
    }
}

impl Adapter for Binance {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exchange: NAME,
            channels: CHANNELS,
            trade_ids_contiguous: true,
            trades_repairable: true,
            quotes_have_time: false,
        }
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn limits(&self) -> &'static Limits {
        &LIMITS
    }

    fn rest_url(&self) -> &'static str {
        REST_URL
    }

    fn ws_url(&self) -> &'static str {
        WS_URL
    }

    fn connect_url(&self, ws_base: &str) -> String {
        format!("{}/stream?timeUnit=MICROSECOND", ws_base.trim_end_matches('/'))
    }

    fn markets_request(&self) -> RestRequest {
        http::markets_request()
    }

    fn parse_markets(&self, body: &[u8]) -> Result<Markets, ExchangeError> {
        http::markets(body)
    }

    fn session(&self, markets: Arc<Markets>) -> Box<dyn Session> {
        Box::new(LiveSession::new(session::Dialect::default(), markets))
    }

    fn restore(&self, markets: Arc<Markets>, saved: &[u8]) -> Result<Box<dyn Session>, ExchangeError> {
        Ok(Box::new(LiveSession::restore(session::Dialect::default(), markets, saved)?))
    }

    fn subscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages("SUBSCRIBE", &self.streams(feeds, markets), first_id)
    }

    fn unsubscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages("UNSUBSCRIBE", &self.streams(feeds, markets), first_id)
    }

    fn snapshot_request(&self, symbol: &Symbol, markets: &Markets) -> Option<RestRequest> {
        Some(http::snapshot_request(symbol, &subscribe::id(symbol, markets), self.options.depth))
    }

    /// Only ids are asked for.
    fn trades_request(&self, symbol: &Symbol, at: TradeCursor, limit: u32, markets: &Markets) -> RestRequest {
        http::trades_request(symbol, &subscribe::id(symbol, markets), first_id(at), limit, self.id_space())
    }

    /// Ids are asked for one after the other, whatever an answer holds.
    fn trades_next(
        &self,
        hole: &TradeHole,
        at: TradeCursor,
        limit: u32,
        _: &[u8],
    ) -> Result<Option<TradeCursor>, HistoryError> {
        let next = first_id(at).saturating_add(u64::from(http::trades_limit(limit)));
        Ok((next <= hole.to_id).then_some(TradeCursor::Id(next)))
    }

    fn history(&self) -> Option<&dyn History> {
        Some(self)
    }
}

fn first_id(at: TradeCursor) -> u64 {
    match at {
        TradeCursor::Id(id) | TradeCursor::Mark(id) => id,
        TradeCursor::Time(_) => 0,
    }
}
