//! Kraken spot: markets, candles and trades of the past.
//!
//! Not offered yet: anything live, derivatives. Candles of its own reach back 720 of each span; its trades reach back to the
//! listing, by a cursor in nanoseconds. Links: <https://docs.kraken.com/api/docs/rest-api/get-ohlc-data>.

mod consts;
mod history;
mod http;
mod messages;
mod parse;

use std::sync::Arc;

use dccd_model::{Channel, Symbol};

pub use consts::NAME;
use consts::{LIMITS, REST_URL, WS_URL};

use crate::{Adapter, AdapterOptions, Capabilities, ExchangeError, History, Limits, Markets, NoLive, RestRequest, Session};

/// The adapter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kraken;

impl Kraken {
    /// With these options, none of which concerns what there is so far.
    #[must_use]
    pub fn new(_: &AdapterOptions) -> Self {
        Self
    }
}

impl Adapter for Kraken {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exchange: NAME,
            channels: &[],
            trade_ids_contiguous: true,
            trades_repairable: false,
            quotes_have_time: true,
        }
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

    fn session(&self, _: Arc<Markets>) -> Box<dyn Session> {
        Box::new(NoLive::new())
    }

    fn restore(&self, _: Arc<Markets>, saved: &[u8]) -> Result<Box<dyn Session>, ExchangeError> {
        Ok(Box::new(NoLive::restore(NAME, saved)?))
    }

    /// Nothing: no channel is offered.
    fn subscribe(&self, _: &[(Symbol, Channel)], _: &Markets, _: u64) -> Vec<String> {
        Vec::new()
    }

    /// Nothing: no channel is offered.
    fn unsubscribe(&self, _: &[(Symbol, Channel)], _: &Markets, _: u64) -> Vec<String> {
        Vec::new()
    }

    fn snapshot_request(&self, symbol: &Symbol, markets: &Markets) -> RestRequest {
        http::snapshot_request(symbol, &http::id(symbol, markets))
    }

    /// The newest trades: the exchange can't be asked for an id.
    fn trades_request(&self, symbol: &Symbol, from_id: u64, limit: u32, markets: &Markets) -> RestRequest {
        http::trades_request(symbol, &http::id(symbol, markets), from_id, limit)
    }

    fn history(&self) -> Option<&dyn History> {
        Some(self)
    }
}
