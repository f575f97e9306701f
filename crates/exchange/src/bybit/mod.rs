//! Bybit, fifth version of its interface, spot and perpetuals that are settled in what they are priced in (`BTC/USDT:USDT`): live
//! trades, quotes and books over two sockets; markets, candles of the past.
//!
//! What can be known to be lost, and what can't: books are numbered message by message. Trades have ids that don't count, so on a
//! connection that lives nothing tells of a trade that the exchange left out; each time without one is a gap, made good where the
//! newest trades over REST (60 of spot, 1,000 of derivatives) reach over it. Quotes are whole in each message. `update_id` of a
//! book's rows is `seq`, which doesn't depend on the connection; `u` may.
//!
//! Not offered yet: live candles (`ohlc`), inverse and dated derivatives, options. The exchange has no trades of the past over
//! REST. Links: <https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook>,
//! <https://bybit-exchange.github.io/docs/v5/market/kline>.

mod book;
mod candle;
mod consts;
mod history;
mod http;
mod messages;
mod parse;
mod session;
mod subscribe;

use std::sync::Arc;

use dccd_model::{Channel, Symbol, Trading, UnixNanos};

pub use consts::NAME;
use consts::{CHANNELS, FACTS, LIMITS, REST_URL, SOCKETS, WS_URL};

use crate::session::LiveSession;
use crate::{
    Adapter, AdapterOptions, Capabilities, ClientMessage, ExchangeError, Facts, History, HistoryError, Limits, Markets,
    RestRequest, Session, Socket, TradeCursor, TradeHole,
};

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Bybit {
    /// Levels a side of the books that are subscribed: one of those that the exchange offers.
    depth: u32,
}

impl Bybit {
    /// With these options; there is but one kind of trades.
    #[must_use]
    pub fn new(options: &AdapterOptions) -> Self {
        Self { depth: consts::depth(options.depth) }
    }
}

impl Adapter for Bybit {
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
        self.socket_url(0, ws_base)
    }

    fn sockets(&self) -> &'static [Socket] {
        SOCKETS
    }

    fn socket_of(&self, symbol: &Symbol, _: Channel) -> usize {
        http::socket_of(symbol)
    }

    fn socket_url(&self, socket: usize, ws_base: &str) -> String {
        let name = SOCKETS.get(socket).map_or(consts::SPOT, |socket| socket.name);
        format!("{}/v5/public/{name}", ws_base.trim_end_matches('/'))
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
        Box::new(LiveSession::new(session::Dialect::default(), markets))
    }

    fn restore(&self, markets: Arc<Markets>, saved: &[u8]) -> Result<Box<dyn Session>, ExchangeError> {
        Ok(Box::new(LiveSession::restore(session::Dialect::default(), markets, saved)?))
    }

    fn subscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(subscribe::SUBSCRIBE, feeds, self.depth, markets, first_id)
    }

    fn unsubscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(subscribe::UNSUBSCRIBE, feeds, self.depth, markets, first_id)
    }

    fn ping(&self, id: u64) -> Option<String> {
        Some(format!(r#"{{"req_id":"{id}","op":"ping"}}"#))
    }

    /// None: a book begins with a snapshot on its connection.
    fn snapshot_request(&self, _: &Symbol, _: &Markets) -> Option<RestRequest> {
        None
    }

    fn trades_begin(&self, hole: &TradeHole) -> TradeCursor {
        TradeCursor::Time(hole.ts_before)
    }

    /// The newest trades, whatever is asked for.
    fn trades_request(&self, symbol: &Symbol, at: TradeCursor, _: u32, markets: &Markets) -> RestRequest {
        let since = match at {
            TradeCursor::Time(time) => time,
            TradeCursor::Id(_) | TradeCursor::Mark(_) => UnixNanos::UNKNOWN,
        };
        http::trades_request(symbol, &http::id(symbol, markets), since)
    }

    /// There is but one answer, with the newest trades.
    fn trades_next(&self, _: &TradeHole, at: TradeCursor, _: u32, body: &[u8]) -> Result<Option<TradeCursor>, HistoryError> {
        self.parse_trades_page(body, at, UnixNanos::UNKNOWN, &mut Vec::new())?;
        Ok(None)
    }

    fn history(&self) -> Option<&dyn History> {
        Some(self)
    }
}
