//! Binance spot and its USD-M perpetuals (`BTC/USDT:USDT`): live trades, quotes and books; repair of trades by id; candles of the
//! past, of spot trades, too; markets.
//!
//! Perpetuals live at addresses of their own, with limits of their own, and have two sockets: books and quotes come on one, trades
//! on the other. Their trades are aggregates, whatever is configured for spot: single ones are in no document. Missing ones can be
//! had for 24 hours; what is older is in files that aren't read here.
//!
//! Not offered yet: live candles (`ohlc`), dated and coin-margined contracts. Links:
//! <https://developers.binance.com/docs/binance-spot-api-docs>, <https://developers.binance.com/docs/derivatives/usds-margined-futures>.

mod book;
mod candle;
mod consts;
mod history;
mod http;
mod klines;
mod messages;
mod parse;
mod session;
mod subscribe;

use std::sync::Arc;

use dccd_model::{Channel, Symbol, Trading};

pub use consts::NAME;
use consts::{CHANNELS, DEPTH_MAX, FACTS, LIMITS, LINEAR_REST_URL, LINEAR_WS_URL, REST_URL, SOCKET_PATHS, SOCKETS, WS_URL};

use crate::integrity::IdSpace;
use crate::session::LiveSession;
use crate::{
    Adapter, AdapterOptions, Capabilities, ClientMessage, ExchangeError, Facts, History, HistoryError, Limits, Markets,
    Product, RestRequest, Session, Socket, TradeCursor, TradeHole,
};

/// What a user may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinanceOptions {
    /// Of spot `aggTrade` instead of `trade`; the ids are then those of the aggregates.
    pub aggregated_trades: bool,
    /// Levels a side of the snapshots that books begin with: 1 to 5000, of perpetuals 1000 at most. The weight goes by it.
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

    fn id_space(self, product: Product) -> IdSpace {
        if self.options.aggregated_trades || product == Product::Linear { IdSpace::Aggregated } else { IdSpace::Single }
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
            trading: Trading::NotYet,
        }
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn limits(&self) -> &'static Limits {
        &LIMITS
    }

    fn limits_of(&self, product: Product) -> &'static Limits {
        subscribe::limits(product)
    }

    fn rest_url(&self) -> &'static str {
        REST_URL
    }

    fn ws_url(&self) -> &'static str {
        WS_URL
    }

    fn rest_products(&self) -> &'static [Product] {
        &[Product::Spot, Product::Linear]
    }

    fn rest_of(&self, symbol: &Symbol) -> Product {
        subscribe::product(symbol)
    }

    fn rest_url_of(&self, product: Product) -> &'static str {
        match product {
            Product::Spot => REST_URL,
            Product::Linear => LINEAR_REST_URL,
        }
    }

    fn ws_url_of(&self, product: Product) -> &'static str {
        match product {
            Product::Spot => WS_URL,
            Product::Linear => LINEAR_WS_URL,
        }
    }

    fn connect_url(&self, ws_base: &str) -> String {
        self.socket_url(0, ws_base)
    }

    fn sockets(&self) -> &'static [Socket] {
        SOCKETS
    }

    fn socket_of(&self, symbol: &Symbol, channel: Channel) -> usize {
        subscribe::socket_of(symbol, channel)
    }

    fn socket_url(&self, socket: usize, ws_base: &str) -> String {
        let path = SOCKET_PATHS.get(socket).copied().unwrap_or(SOCKET_PATHS[0]);
        format!("{}{path}", ws_base.trim_end_matches('/'))
    }

    fn markets_request(&self) -> RestRequest {
        http::markets_request(Product::Spot)
    }

    /// The perpetuals after spot.
    fn markets_next(&self, request: &RestRequest, _: &[u8]) -> Result<Option<RestRequest>, ExchangeError> {
        Ok((request.product == Product::Spot).then(|| http::markets_request(Product::Linear)))
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
        subscribe::messages("SUBSCRIBE", feeds, self.options.aggregated_trades, markets, first_id)
    }

    fn unsubscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages("UNSUBSCRIBE", feeds, self.options.aggregated_trades, markets, first_id)
    }

    fn snapshot_request(&self, symbol: &Symbol, markets: &Markets) -> Option<RestRequest> {
        Some(http::snapshot_request(symbol, &subscribe::id(symbol, markets), self.options.depth))
    }

    /// Only ids are asked for.
    fn trades_request(&self, symbol: &Symbol, at: TradeCursor, limit: u32, markets: &Markets) -> RestRequest {
        let space = self.id_space(subscribe::product(symbol));
        http::trades_request(symbol, &subscribe::id(symbol, markets), first_id(at), limit, space)
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
