//! Kraken spot: live trades, quotes and books over the second version of its socket; repair of trades by time; markets, candles
//! and trades of the past.
//!
//! Not offered yet: live candles (`ohlc`), derivatives, tokenised assets. Candles of its own reach back 720 of each span; its
//! trades reach back to the listing, by a cursor in nanoseconds. Links: <https://docs.kraken.com/api/docs/websocket-v2/book>,
//! <https://docs.kraken.com/api/docs/rest-api/get-ohlc-data>.

mod book;
mod checksum;
mod consts;
mod history;
mod http;
mod messages;
mod parse;
mod session;
mod subscribe;

use std::sync::Arc;

use dccd_model::{Channel, Symbol, Trading, UnixNanos};
use serde::Deserialize;

pub use consts::NAME;
use consts::{CHANNELS, FACTS, LIMITS, REST_URL, TRADE_TIME_SLACK, WS_URL};

use crate::session::LiveSession;
use crate::{
    Adapter, AdapterOptions, Capabilities, ClientMessage, ExchangeError, Facts, History, HistoryError, Limits, Markets,
    RestRequest, Session, TradeCursor, TradeHole,
};

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Kraken {
    /// Levels a side of the books that are subscribed: one of those that the exchange offers.
    depth: u32,
}

impl Kraken {
    /// With these options; there is but one kind of trades.
    #[must_use]
    pub fn new(options: &AdapterOptions) -> Self {
        Self { depth: consts::depth(options.depth) }
    }

    fn dialect(self) -> session::Dialect {
        session::Dialect::new(self.depth)
    }
}

/// What was saved while nothing of this exchange was collected live: nothing that a session could go on with.
#[derive(Deserialize)]
struct NothingLive {
    version: u32,
    no_live: bool,
}

impl Adapter for Kraken {
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

    /// Its quotes tell of changes of the best prices alone: a market may trade for long at the same ones.
    fn speaks_when_traded(&self, channel: Channel) -> bool {
        channel != Channel::Quotes
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
        format!("{}/v2", ws_base.trim_end_matches('/'))
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
        if serde_json::from_slice(saved).is_ok_and(|NothingLive { version, no_live }| version == 1 && no_live) {
            return Ok(self.session(markets));
        }
        Ok(Box::new(LiveSession::restore(self.dialect(), markets, saved)?))
    }

    fn subscribe(&self, feeds: &[(Symbol, Channel)], _: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(subscribe::SUBSCRIBE, feeds, self.depth, first_id)
    }

    fn unsubscribe(&self, feeds: &[(Symbol, Channel)], _: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(subscribe::UNSUBSCRIBE, feeds, self.depth, first_id)
    }

    /// The exchange takes pings of the protocol, too; this one it answers with its times.
    fn ping(&self, id: u64) -> Option<String> {
        Some(format!(r#"{{"method":"ping","req_id":{id}}}"#))
    }

    /// None: a book begins with a snapshot on its connection, and one over REST couldn't be joined to it.
    fn snapshot_request(&self, _: &Symbol, _: &Markets) -> Option<RestRequest> {
        None
    }

    /// A little before the last trade that we have: it then stands on the page and proves that nothing is left out between.
    fn trades_begin(&self, hole: &TradeHole) -> TradeCursor {
        TradeCursor::Time(UnixNanos(hole.ts_before.0.saturating_sub(TRADE_TIME_SLACK).max(0)))
    }

    /// Always whole pages: what stands before the hole is on the first one, too.
    fn trades_request(&self, symbol: &Symbol, at: TradeCursor, _: u32, markets: &Markets) -> RestRequest {
        history::trades_request(symbol, &http::id(symbol, markets), at)
    }

    fn trades_next(
        &self,
        hole: &TradeHole,
        at: TradeCursor,
        _: u32,
        body: &[u8],
    ) -> Result<Option<TradeCursor>, HistoryError> {
        let mut trades = Vec::new();
        let page = self.parse_trades_page(body, at, UnixNanos::UNKNOWN, &mut trades)?;
        let reached = trades.iter().any(|trade| trade.id.0 >= u128::from(hole.to_id));
        Ok((!reached && !page.is_last).then_some(page.next))
    }

    fn history(&self) -> Option<&dyn History> {
        Some(self)
    }
}
