//! OKX, spot and linear perpetual swaps: live trades, quotes and books; repair of trades by id; markets and candles of the past.
//!
//! The exchange counts swaps in contracts. Here all amounts are in base units, contracts times `ctVal * ctMult`, exactly; what can't be told
//! so is not offered: inverse swaps, dated futures, options. Nor are live candles (`ohlc`), and trades of the past but to fill holes.
//! Links: <https://www.okx.com/docs-v5/en/#order-book-trading-market-data>.

mod book;
mod candle;
mod checksum;
mod consts;
mod copy;
mod history;
mod http;
mod messages;
mod parse;
mod session;
mod subscribe;

use std::sync::Arc;

use dccd_model::{Channel, Symbol, Trading};

pub use consts::NAME;
use consts::{BUSINESS, CHANNELS, FACTS, LIMITS, PUBLIC, REST_URL, SOCKETS, WS_URL};

use crate::session::LiveSession;
use crate::{
    Adapter, Capabilities, ClientMessage, ExchangeError, Facts, History, HistoryError, Limits, Markets, RestRequest,
    Session, Socket, TradeCursor, TradeHole,
};

/// The adapter. There is nothing to choose: one kind of trades is lossless, and books have one depth.
#[derive(Clone, Copy, Debug, Default)]
pub struct Okx;

impl Adapter for Okx {
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
        self.socket_url(PUBLIC, ws_base)
    }

    fn sockets(&self) -> &'static [Socket] {
        SOCKETS
    }

    fn socket_of(&self, _: &Symbol, channel: Channel) -> usize {
        if matches!(channel, Channel::Trades | Channel::Ohlc) { BUSINESS } else { PUBLIC }
    }

    fn socket_url(&self, socket: usize, ws_base: &str) -> String {
        let name = SOCKETS.get(socket).map_or(SOCKETS[PUBLIC].name, |socket| socket.name);
        format!("{}/ws/v5/{name}", ws_base.trim_end_matches('/'))
    }

    fn markets_request(&self) -> RestRequest {
        http::markets_request(http::KINDS[0])
    }

    fn markets_next(&self, request: &RestRequest, _: &[u8]) -> Result<Option<RestRequest>, ExchangeError> {
        let all = http::KINDS.map(http::markets_request);
        let at = all.iter().position(|known| known == request);
        Ok(at.and_then(|at| all.into_iter().nth(at + 1)))
    }

    fn parse_markets(&self, body: &[u8]) -> Result<Markets, ExchangeError> {
        http::markets(body)
    }

    fn session(&self, markets: Arc<Markets>) -> Box<dyn Session> {
        Box::new(LiveSession::new(session::Dialect::new(&markets), markets))
    }

    fn restore(&self, markets: Arc<Markets>, saved: &[u8]) -> Result<Box<dyn Session>, ExchangeError> {
        Ok(Box::new(LiveSession::restore(session::Dialect::new(&markets), markets, saved)?))
    }

    fn subscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(subscribe::SUBSCRIBE, feeds, markets, first_id)
    }

    fn unsubscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage> {
        subscribe::messages(subscribe::UNSUBSCRIBE, feeds, markets, first_id)
    }

    fn ping(&self, _: u64) -> Option<String> {
        Some("ping".to_owned())
    }

    /// Where no snapshot comes on the connection.
    fn snapshot_request(&self, symbol: &Symbol, markets: &Markets) -> Option<RestRequest> {
        Some(http::snapshot_request(symbol, &subscribe::id(symbol, markets)))
    }

    /// Only ids are asked for.
    fn trades_request(&self, symbol: &Symbol, at: TradeCursor, limit: u32, markets: &Markets) -> RestRequest {
        http::trades_request(symbol, &subscribe::id(symbol, markets), first_id(at), limit)
    }

    /// Ids are asked for one after the other, whatever an answer holds, unless it is a refusal.
    fn trades_next(
        &self,
        hole: &TradeHole,
        at: TradeCursor,
        limit: u32,
        body: &[u8],
    ) -> Result<Option<TradeCursor>, HistoryError> {
        parse::reply(body, "trades")?;
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
