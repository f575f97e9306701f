//! Coinbase Exchange, spot: live trades, quotes and books over its public socket; repair of trades by id; markets, candles and trades of
//! the past.
//!
//! What can be known to be lost, and what can't: trade ids are contiguous, and each second a heartbeat tells the last one, so each
//! missing trade shows within a second. Quotes come with trades alone, one for each: between trades the best prices move unseen. Books
//! are whole and in order, and nothing numbers their messages.
//!
//! Not offered yet: live candles (`ohlc`), which the exchange doesn't send; single orders (`full`, `level3`); what needs a key (`level2`
//! without the delay of a twentieth of a second, the direct socket). Links:
//! <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels>, <https://docs.cdp.coinbase.com/exchange/websocket-feed/rate-limits>.

mod book;
mod consts;
mod history;
mod http;
mod messages;
mod parse;
mod session;
mod subscribe;
mod subscriptions;
mod view;

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
pub struct Coinbase {
    /// Levels a side of the books that are given out; `None`: all.
    depth: Option<u32>,
}

impl Coinbase {
    /// With these options; there is but one kind of trades.
    #[must_use]
    pub fn new(options: &AdapterOptions) -> Self {
        Self { depth: options.depth }
    }

    fn dialect(self) -> session::Dialect {
        session::Dialect::new(self.depth)
    }
}

impl Adapter for Coinbase {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exchange: NAME,
            channels: CHANNELS,
            trade_ids_contiguous: true,
            trades_repairable: true,
            quotes_have_time: true,
            trading: Trading::NotYet,
        }
    }

    /// They are those of the ticker, which comes with trades alone.
    fn quotes_follow_book(&self) -> bool {
        false
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
        ws_base.trim_end_matches('/').to_owned()
    }

    fn markets_request(&self) -> RestRequest {
        http::markets_request()
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

    fn replies_have_ids(&self) -> bool {
        false
    }

    fn subscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(subscribe::SUBSCRIBE, feeds, markets, first_id)
    }

    fn unsubscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(subscribe::UNSUBSCRIBE, feeds, markets, first_id)
    }

    /// None: a book begins with a snapshot on its connection, and one over REST couldn't be joined to it.
    fn snapshot_request(&self, _: &Symbol, _: &Markets) -> Option<RestRequest> {
        None
    }

    /// Only ids are asked for.
    fn trades_request(&self, symbol: &Symbol, at: TradeCursor, limit: u32, markets: &Markets) -> RestRequest {
        http::trades_request(symbol, &http::id(symbol, markets), first_id(at), limit)
    }

    /// Ids are asked for one after the other, whatever an answer holds, unless it is a refusal.
    fn trades_next(
        &self,
        hole: &TradeHole,
        at: TradeCursor,
        limit: u32,
        body: &[u8],
    ) -> Result<Option<TradeCursor>, HistoryError> {
        parse::trades(body, history::TRADES)?;
        let next = first_id(at).saturating_add(u64::from(http::ids(limit)));
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
