//! KuCoin, spot: live trades and quotes on its classic socket, books on that of its unified account; markets, candles of the past.
//!
//! What can be known to be lost, and what can't: books are numbered, each message by the changes in it. Trades have ids that don't
//! count, so on a connection that lives nothing tells of a trade that the exchange left out; each time without one is a gap, made good
//! where the newest hundred trades over REST reach over it. Quotes are whole in each message, and nothing numbers them.
//!
//! A connection to the classic socket wants a ticket, which is asked for over REST before each. No key is needed for anything here.
//!
//! Not offered yet: live candles (`ohlc`), futures. The exchange has no trades of the past over REST. Links:
//! <https://www.kucoin.com/docs-new/websocket-api/base-info/introduction-uta>, <https://www.kucoin.com/docs-new/3470221w0> (books),
//! <https://www.kucoin.com/docs-new/3470067w0> (quotes), <https://www.kucoin.com/docs-new/rest/spot-trading/market-data/get-klines>.

mod book;
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
use consts::{CHANNELS, CLASSIC, CLASSIC_URL, FACTS, LIMITS, PRO, REST_URL, SOCKETS, WS_URL};

use crate::session::LiveSession;
use crate::{
    Adapter, Capabilities, ClientMessage, ExchangeError, Facts, History, HistoryError, Limits, Markets, RestRequest,
    Session, Socket, TradeCursor, TradeHole,
};

/// The adapter. There is but one kind of trades, and one depth of books.
#[derive(Clone, Copy, Debug)]
pub struct Kucoin;

impl Adapter for Kucoin {
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
            trading: Trading::Never,
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
        self.socket_url(CLASSIC, ws_base)
    }

    fn sockets(&self) -> &'static [Socket] {
        SOCKETS
    }

    fn socket_of(&self, _: &Symbol, channel: Channel) -> usize {
        if channel == Channel::Book { PRO } else { CLASSIC }
    }

    /// Of the classic socket only what it is called: where it is comes with the ticket.
    fn socket_url(&self, socket: usize, ws_base: &str) -> String {
        let (base, path) = match socket {
            CLASSIC if ws_base == WS_URL => (CLASSIC_URL, "endpoint"),
            CLASSIC => (ws_base, "endpoint"),
            _ => (ws_base, ""),
        };
        format!("{}/{path}", base.trim_end_matches('/'))
    }

    fn ticket_request(&self, socket: usize) -> Option<RestRequest> {
        (socket == CLASSIC).then(http::ticket_request)
    }

    fn ticket_url(&self, _: usize, ws_base: Option<&str>, body: &[u8]) -> Result<String, HistoryError> {
        http::ticket_url(ws_base, body)
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
        subscribe::messages(subscribe::SUBSCRIBE, feeds, markets, first_id)
    }

    fn unsubscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(subscribe::UNSUBSCRIBE, feeds, markets, first_id)
    }

    /// Both sockets take the same.
    fn ping(&self, id: u64) -> Option<String> {
        Some(format!(r#"{{"id":"{id}","type":"ping"}}"#))
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
        http::trades_request(symbol, &http::id(symbol, markets), history::since(at))
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
