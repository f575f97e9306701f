//! REST: markets and the newest trades, and what the exchange's errors mean. Makes no request itself.

use dccd_model::{Symbol, UnixNanos};

use super::consts::{
    FORBIDDEN_WAIT, LINEAR, MARKETS_PER_PAGE, NAME, RATE_WAIT, SOCKET_NAMES, SPOT, SPOT_TRADES_PER_PAGE, TRADES_PER_PAGE,
};
use super::messages::{Instrument, Instruments, InstrumentsInfo, Reply};
use crate::wire::{WireNumber, encoded};
use crate::{ExchangeError, HistoryError, Market, MarketStatus, Markets, Product, RestRequest};

/// The place in [`super::consts::SOCKETS`] of the socket on which a symbol's messages come.
pub(super) fn socket_of(symbol: &Symbol) -> usize {
    usize::from(symbol.settle().is_some())
}

/// `category` of a symbol.
pub(super) fn category(symbol: &Symbol) -> &'static str {
    SOCKET_NAMES.get(socket_of(symbol)).copied().unwrap_or(SPOT)
}

/// The exchange's own id of a symbol; for one that the list of markets doesn't have, the form that ids have.
pub(super) fn id(symbol: &Symbol, markets: &Markets) -> String {
    markets.by_symbol(symbol).map_or_else(|| format!("{}{}", symbol.base(), symbol.quote()), |market| market.id.clone())
}

/// First word of the subjects of the answers that hold the markets.
pub(super) const MARKETS_SUBJECT: &str = "instruments-info";

/// The list of all spot markets.
pub(super) fn markets_request() -> RestRequest {
    RestRequest {
        path_and_query: format!("/v5/market/instruments-info?category={SPOT}"),
        weight: 1,
        subject: format!("{MARKETS_SUBJECT} {SPOT}"),
        product: Product::Spot,
    }
}

/// The derivatives after the spot markets, page by page.
pub(super) fn markets_next(request: &RestRequest, body: &[u8]) -> Result<Option<RestRequest>, ExchangeError> {
    let Instruments { next_page_cursor, .. } = instruments(body)?;
    let was_spot = request.subject == markets_request().subject;
    let page = format!("/v5/market/instruments-info?category={LINEAR}&limit={MARKETS_PER_PAGE}");
    let path_and_query = match next_page_cursor.as_deref().unwrap_or_default() {
        _ if was_spot => page,
        "" => return Ok(None),
        // It comes ready for a query, its own signs escaped; it is the exchange's, so what isn't is escaped here.
        cursor if cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)) => {
            format!("{page}&cursor={cursor}")
        }
        cursor => format!("{page}&cursor={}", encoded(cursor)),
    };
    // The same page again would go on for ever.
    if path_and_query == request.path_and_query {
        return Ok(None);
    }
    Ok(Some(RestRequest {
        path_and_query,
        weight: 1,
        subject: format!("{MARKETS_SUBJECT} {LINEAR}"),
        product: Product::Spot,
    }))
}

/// Trades in one answer at most, the newest of this symbol.
pub(super) fn trades_per_page(symbol: &Symbol) -> u32 {
    if socket_of(symbol) == 0 { SPOT_TRADES_PER_PAGE } else { TRADES_PER_PAGE }
}

/// The newest trades; `since` is not asked for, because it can't be, but is what they are wanted for.
pub(super) fn trades_request(symbol: &Symbol, id: &str, since: UnixNanos) -> RestRequest {
    RestRequest {
        path_and_query: format!(
            "/v5/market/recent-trade?category={}&symbol={}&limit={}",
            category(symbol),
            encoded(id),
            trades_per_page(symbol)
        ),
        weight: 1,
        subject: format!("trades {symbol} since {}", since.as_millis()),
        product: Product::Spot,
    }
}

/// What an answer's code means; `None` when it is none of refusal.
pub(super) fn refusal(reply: &Reply<'_>) -> Option<HistoryError> {
    let code = reply.code?;
    let message = format!("{} ({code})", reply.words);
    let exchange = NAME;
    match code {
        0 => None,
        // "Too many visits", "system level frequency protection".
        10_006 | 10_429 => Some(HistoryError::RateLimited { exchange, message, wait: RATE_WAIT }),
        // "Exceeded the IP rate limit", "IP has been banned".
        10_018 | 10_009 => Some(HistoryError::RateLimited { exchange, message, wait: FORBIDDEN_WAIT }),
        // "Server timeout", "server error", "service is restarting".
        10_000 | 10_016 | 10_019 => Some(HistoryError::Unavailable { exchange, message }),
        _ => Some(HistoryError::Refused { exchange, message }),
    }
}

fn instruments(body: &[u8]) -> Result<Instruments<'_>, ExchangeError> {
    let unreadable = |source| ExchangeError::Markets { exchange: NAME, bytes: body.len(), source };
    let answer: InstrumentsInfo<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    if answer.ret_code != 0 {
        let message = answer.ret_msg.into_owned();
        return Err(ExchangeError::MarketsRefused { exchange: NAME, code: Some(answer.ret_code), message });
    }
    answer.result.ok_or_else(|| unreadable(serde::de::Error::missing_field("result")))
}

/// Reads one part of the list of markets.
pub(super) fn markets(body: &[u8]) -> Result<Markets, ExchangeError> {
    let unreadable = |source| ExchangeError::Markets { exchange: NAME, bytes: body.len(), source };
    let listed = instruments(body)?.list.ok_or_else(|| unreadable(serde::de::Error::missing_field("list")))?;
    let mut markets = Vec::with_capacity(listed.len());
    let mut skipped = 0;
    for instrument in listed {
        match serde_json::from_str::<Instrument<'_>>(instrument.get()) {
            // Those that end on a day are another product.
            Ok(instrument) if instrument.contract_type.as_deref().is_some_and(|kind| kind != "LinearPerpetual") => {}
            Ok(instrument) => match market(instrument) {
                Some(market) => markets.push(market),
                None => skipped += 1,
            },
            Err(_) => skipped += 1,
        }
    }
    Ok(Markets::new(markets, skipped))
}

fn market(listed: Instrument<'_>) -> Option<Market> {
    let (base, quote) = (&listed.base_coin, &listed.quote_coin);
    let symbol = match (&listed.contract_type, &listed.settle_coin) {
        (None, _) => Symbol::spot(base, quote).ok()?,
        (Some(_), Some(settle)) => format!("{base}/{quote}:{settle}").parse().ok()?,
        (Some(_), None) => return None,
    };
    // Zero means that there is no such rule.
    let rule = |number: Option<WireNumber>| number.map(|n| n.0).filter(|n| !n.is_zero());
    let lot = listed.lot_size_filter.unwrap_or_default();
    Some(Market {
        symbol,
        id: listed.symbol.into_owned(),
        status: match listed.status.as_deref() {
            Some("Trading") => MarketStatus::Trading,
            Some("PreLaunch" | "Settling" | "Delivering" | "Closed") => MarketStatus::Halted,
            _ => MarketStatus::Unknown,
        },
        price_tick: rule(listed.price_filter.and_then(|filter| filter.tick_size)),
        amount_step: rule(lot.base_precision).or(rule(lot.qty_step)),
        amount_min: rule(lot.min_order_qty),
        amount_max: rule(lot.max_order_qty),
        notional_min: rule(lot.min_order_amt).or(rule(lot.min_notional_value)),
        contract_size: None,
    })
}
