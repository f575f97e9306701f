//! REST: markets, tickets and the newest trades, and what the exchange's errors mean. Makes no request itself.

use dccd_model::{Symbol, UnixNanos};
use serde::de::Error as _;

use super::consts::{NAME, RATE_WAIT};
use super::messages::{Bullet, Listed, ListedSymbol, Ticket};
use crate::wire::{WireNumber, encoded};
use crate::{ExchangeError, HistoryError, Market, MarketStatus, Markets, Product, RestRequest};

/// The exchange's own id of a symbol; for one that the list of markets doesn't have, the form that ids have.
pub(super) fn id(symbol: &Symbol, markets: &Markets) -> String {
    markets.by_symbol(symbol).map_or_else(|| format!("{}-{}", symbol.base(), symbol.quote()), |market| market.id.clone())
}

/// Subject of the answer that holds the markets.
pub(super) const MARKETS_SUBJECT: &str = "symbols";

/// All spot markets, in one answer.
pub(super) fn markets_request() -> RestRequest {
    RestRequest {
        product: Product::Spot,
        path_and_query: "/api/v2/symbols".to_owned(),
        weight: 4,
        subject: MARKETS_SUBJECT.to_owned(),
    }
}

/// The newest trades; `since` is not asked for, because it can't be, but is what they are wanted for.
pub(super) fn trades_request(symbol: &Symbol, id: &str, since: UnixNanos) -> RestRequest {
    RestRequest {
        product: Product::Spot,
        path_and_query: format!("/api/v1/market/histories?symbol={}", encoded(id)),
        weight: 3,
        subject: format!("trades {symbol} since {}", since.as_millis()),
    }
}

/// A ticket for one connection to the classic socket; no account is asked for.
pub(super) fn ticket_request() -> RestRequest {
    RestRequest {
        product: Product::Spot,
        path_and_query: "/api/v1/bullet-public".to_owned(),
        weight: 10,
        subject: "ticket".to_owned(),
    }
}

/// What an answer's code means; `None` when it is none of refusal.
pub(super) fn refusal(code: &str, words: &str) -> Option<HistoryError> {
    let (message, exchange) = (format!("{words} ({code})"), NAME);
    match code {
        "200000" => None,
        "429000" => Some(HistoryError::RateLimited { exchange, message, wait: RATE_WAIT }),
        // Unavailable now, busy, fault inside.
        "230005" | "500000" | "503000" => Some(HistoryError::Unavailable { exchange, message }),
        _ => Some(HistoryError::Refused { exchange, message }),
    }
}

/// The address to which a ticket leads, ticket included. A configured address takes the place of scheme, host and port, and what path
/// it has comes first.
pub(super) fn ticket_url(ws_base: Option<&str>, body: &[u8]) -> Result<String, HistoryError> {
    // What is wrong with the answer may be told, the answer may not.
    let unreadable = |source| HistoryError::Unreadable { exchange: NAME, subject: "ticket", bytes: body.len(), source };
    let bullet: Bullet<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    if let Some(refusal) = refusal(&bullet.code, &bullet.msg) {
        return Err(refusal);
    }
    let Ticket { token, instance_servers } =
        bullet.data.ok_or_else(|| unreadable(serde_json::Error::missing_field("data")))?;
    let server = instance_servers.iter().find(|s| s.protocol.as_deref().is_none_or(|protocol| protocol == "websocket"));
    let server = server.ok_or_else(|| unreadable(serde_json::Error::custom("no server for WebSockets")))?;
    let (scheme, rest) = server.endpoint.split_once("://").unwrap_or_default();
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !matches!(scheme, "ws" | "wss") || host.is_empty() {
        return Err(unreadable(serde_json::Error::custom("the endpoint is no address of a WebSocket")));
    }
    if token.is_empty() {
        return Err(unreadable(serde_json::Error::custom("the token is empty")));
    }
    let base = ws_base.map_or_else(|| format!("{scheme}://{host}"), |base| base.trim_end_matches('/').to_owned());
    let slash = if path.starts_with('/') { "" } else { "/" };
    let sign = if path.contains('?') { '&' } else { '?' };
    Ok(format!("{base}{slash}{path}{sign}token={}", encoded(&token)))
}

/// Reads the list of markets.
pub(super) fn markets(body: &[u8]) -> Result<Markets, ExchangeError> {
    let unreadable = |source| ExchangeError::Markets { exchange: NAME, bytes: body.len(), source };
    let answer: Listed<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    if answer.code != "200000" {
        let (code, message) = (answer.code.parse().ok(), answer.msg.into_owned());
        return Err(ExchangeError::MarketsRefused { exchange: NAME, code, message });
    }
    let listed = answer.data.ok_or_else(|| unreadable(serde_json::Error::missing_field("data")))?;
    let mut markets = Vec::with_capacity(listed.len());
    let mut skipped = 0;
    for row in listed {
        match serde_json::from_str::<ListedSymbol<'_>>(row.get()).ok().and_then(market) {
            Some(market) => markets.push(market),
            None => skipped += 1,
        }
    }
    Ok(Markets::new(markets, skipped))
}

fn market(listed: ListedSymbol<'_>) -> Option<Market> {
    // Zero means that there is no such rule.
    let rule = |number: Option<WireNumber>| number.map(|n| n.0).filter(|n| !n.is_zero());
    Some(Market {
        symbol: Symbol::spot(&listed.base_currency, &listed.quote_currency).ok()?,
        id: listed.symbol.into_owned(),
        status: match listed.enable_trading {
            Some(true) => MarketStatus::Trading,
            Some(false) => MarketStatus::Halted,
            None => MarketStatus::Unknown,
        },
        price_tick: rule(listed.price_increment),
        amount_step: rule(listed.base_increment),
        amount_min: rule(listed.base_min_size),
        amount_max: rule(listed.base_max_size),
        notional_min: rule(listed.min_funds),
        contract_size: None,
    })
}
