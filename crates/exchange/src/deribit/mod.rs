//! Deribit, spot and futures, perpetual or not: live trades, quotes and books; repair of trades by number; markets and candles of
//! the past.
//!
//! Futures that are settled in a stable coin (`BTC/USDC:USDC`) and spot count amounts in the base currency. Inverse futures, which
//! are settled in it (`BTC/USD:BTC`, the exchange's `BTC-PERPETUAL`), are worth a sum of dollars: their amounts are recorded as the
//! exchange counts them, in dollars; [`Symbol::amount_currency`] says which. Candles have both, as those of other exchanges: the
//! volume in the base currency, and in the quote currency.
//!
//! Not offered: options, combinations of instruments (`BTC-FS-25DEC26_PERP`), live candles (`ohlc`), and trades of the past but to
//! fill holes. Links: <https://docs.deribit.com/>.

mod book;
mod consts;
mod history;
mod http;
mod messages;
mod parse;
mod platform;
mod session;
mod subscribe;

use std::sync::Arc;

use dccd_model::{Channel, Symbol, Trading};

pub use consts::NAME;
use consts::{CHANNELS, FACTS, LIMITS, REST_URL, WS_URL};

use crate::session::LiveSession;
use crate::{
    Adapter, Capabilities, ClientMessage, ExchangeError, Facts, History, HistoryError, Limits, Markets, RestRequest,
    Session, TradeCursor, TradeHole,
};

/// The adapter. There is nothing to choose: one kind of trades is lossless, and books have all their levels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deribit;

impl Adapter for Deribit {
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
        format!("{}/ws/api/v2", ws_base.trim_end_matches('/'))
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

    fn greeting(&self, id: u64) -> Option<String> {
        Some(subscribe::set_heartbeat(id))
    }

    fn pong(&self, id: u64) -> Option<String> {
        Some(subscribe::test(id))
    }

    /// Books always begin on their connection.
    fn snapshot_request(&self, _: &Symbol, _: &Markets) -> Option<RestRequest> {
        None
    }

    /// Only numbers are asked for.
    fn trades_request(&self, symbol: &Symbol, at: TradeCursor, limit: u32, markets: &Markets) -> RestRequest {
        http::trades_request(symbol, &subscribe::id(symbol, markets), first_id(at), limit)
    }

    /// The next page begins after what was asked for, or after what came, where the exchange says that there is more of it.
    fn trades_next(
        &self,
        hole: &TradeHole,
        at: TradeCursor,
        limit: u32,
        body: &[u8],
    ) -> Result<Option<TradeCursor>, HistoryError> {
        let (page, has_more) = parse::trades(body, None)?;
        let first = first_id(at);
        let asked = first.saturating_add(u64::from(http::asked(limit)));
        let came = page.last().map(|last| last.id.saturating_add(1)).filter(|next| has_more && *next > first);
        let next = came.map_or(asked, |came| came.min(asked));
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
