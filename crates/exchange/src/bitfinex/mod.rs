//! Bitfinex, second version of its interface, spot and perpetuals (`BTC/USDT:USDT`, whose amounts are in base units): live trades,
//! quotes and books over one socket; markets, candles and trades of the past.
//!
//! What can be known to be lost, and what can't: on each connection all messages are numbered together, heartbeats included, so one that
//! is missing always shows, but not what it was about: everything on that connection is suspect then. Books have a checksum of their best
//! 25 levels besides. Trades have ids that don't count: what is missing between two connections is fetched by time.
//!
//! Not offered yet: live candles (`ohlc`), the raw books of single orders, funding. Links:
//! <https://docs.bitfinex.com/docs/ws-general>, <https://docs.bitfinex.com/reference/ws-public-books>,
//! <https://docs.bitfinex.com/docs/ws-websocket-checksum>.

mod book;
mod checksum;
mod connections;
mod consts;
mod history;
mod http;
mod messages;
mod parse;
mod quotes;
mod session;
mod subscribe;

use std::sync::Arc;

use dccd_model::{Channel, Symbol, Trading};

pub use consts::NAME;
use consts::{CHANNELS, FACTS, LIMITS, REST_URL, WS_URL};

use crate::session::LiveSession;
use crate::{
    Adapter, AdapterOptions, Capabilities, ClientMessage, ExchangeError, Facts, History, HistoryError, Limits, Markets,
    RestRequest, Session, TradeCursor, TradeHole,
};

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Bitfinex {
    /// Levels a side of the books that are subscribed: one of those that the exchange offers.
    depth: u32,
}

impl Bitfinex {
    /// With these options; there is but one kind of trades.
    #[must_use]
    pub fn new(options: &AdapterOptions) -> Self {
        Self { depth: consts::depth(options.depth) }
    }

    fn dialect(self) -> session::Dialect {
        session::Dialect::new(self.depth)
    }
}

impl Adapter for Bitfinex {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exchange: NAME,
            channels: CHANNELS,
            trade_ids_contiguous: false,
            trades_repairable: true,
            quotes_have_time: true,
            trading: Trading::NotYet,
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
        format!("{}/ws/2", ws_base.trim_end_matches('/'))
    }

    fn markets_request(&self) -> RestRequest {
        http::markets_request()
    }

    fn markets_next(&self, request: &RestRequest, body: &[u8]) -> Result<Option<RestRequest>, ExchangeError> {
        http::markets_next(request, body)
    }

    fn parse_markets(&self, body: &[u8]) -> Result<Markets, ExchangeError> {
        http::markets(body)
    }

    fn session(&self, markets: Arc<Markets>) -> Box<dyn Session> {
        Box::new(LiveSession::new(self.dialect(), markets))
    }

    fn restore(&self, markets: Arc<Markets>, saved: &[u8]) -> Result<Box<dyn Session>, ExchangeError> {
        Ok(Box::new(LiveSession::restore(self.dialect(), markets, saved)?))
    }

    /// What all that the session proves rests on.
    fn greeting(&self, _: u64) -> Option<String> {
        Some(subscribe::conf())
    }

    fn subscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(feeds, self.depth, markets, first_id)
    }

    fn numbers_subscriptions(&self) -> bool {
        true
    }

    /// None: only the session knows the numbers of subscriptions.
    fn unsubscribe(&self, _: &[(Symbol, Channel)], _: &Markets, _: u64) -> Vec<ClientMessage> {
        Vec::new()
    }

    fn ping(&self, id: u64) -> Option<String> {
        Some(format!(r#"{{"event":"ping","cid":{id}}}"#))
    }

    /// None: a book begins with a snapshot on its connection.
    fn snapshot_request(&self, _: &Symbol, _: &Markets) -> Option<RestRequest> {
        None
    }

    /// At the last trade that we have: it then stands on the page and proves that nothing is left out between.
    fn trades_begin(&self, hole: &TradeHole) -> TradeCursor {
        TradeCursor::Time(hole.ts_before)
    }

    /// Always whole pages: what stands before the hole is on the first one, too.
    fn trades_request(&self, symbol: &Symbol, at: TradeCursor, _: u32, markets: &Markets) -> RestRequest {
        http::trades_request(symbol, &http::id(symbol, markets), at)
    }

    fn trades_next(&self, _: &TradeHole, at: TradeCursor, _: u32, body: &[u8]) -> Result<Option<TradeCursor>, HistoryError> {
        Ok(history::next(at, &history::trades(body)?))
    }

    fn history(&self) -> Option<&dyn History> {
        Some(self)
    }
}
