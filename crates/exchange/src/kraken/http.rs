//! REST: markets and what else is asked for beside the past, and what the exchange's errors mean. Makes no request itself.

use std::borrow::Cow;
use std::time::Duration;

use dccd_model::{Decimal, Symbol};

use super::consts::{LOCKOUT_WAIT, NAME, RATE_WAIT};
use super::messages::{AssetPairs, Pair};
use crate::{ExchangeError, HistoryError, Market, MarketStatus, Markets, Product, RestRequest};

/// The exchange's own id of a symbol; for one that the list of markets doesn't have, the form that ids have.
pub(super) fn id(symbol: &Symbol, markets: &Markets) -> String {
    markets.by_symbol(symbol).map_or_else(|| format!("{}{}", symbol.base(), symbol.quote()), |market| market.id.clone())
}

/// Subject of the answer that holds the markets.
pub(super) const MARKETS_SUBJECT: &str = "AssetPairs";

/// The list of all markets.
pub(super) fn markets_request() -> RestRequest {
    RestRequest {
        path_and_query: "/0/public/AssetPairs".to_owned(),
        weight: 1,
        subject: MARKETS_SUBJECT.to_owned(),
        product: Product::Spot,
    }
}

/// What the list of an answer's errors means; `None` when there is none. Warnings (`W..`) are no errors.
pub(super) fn refusal(errors: &[Cow<'_, str>]) -> Option<HistoryError> {
    let error = errors.iter().find(|error| !error.starts_with('W'))?;
    let message = error.clone().into_owned();
    let too_often = |wait: Duration| HistoryError::RateLimited { exchange: NAME, message: message.clone(), wait };
    let has = |words: &str| error.to_ascii_lowercase().contains(words);
    Some(if has("temporary lockout") {
        too_often(LOCKOUT_WAIT)
    } else if has("rate limit exceeded") || has("too many requests") {
        too_often(RATE_WAIT)
    } else if error.starts_with("EService:") || has("internal error") {
        HistoryError::Unavailable { exchange: NAME, message }
    } else {
        HistoryError::Refused { exchange: NAME, message }
    })
}

/// Reads the list of markets.
pub(super) fn markets(body: &[u8]) -> Result<Markets, ExchangeError> {
    let unreadable = |source| ExchangeError::Markets { exchange: NAME, bytes: body.len(), source };
    let answer: AssetPairs<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    if let Some(error) = answer.error.iter().find(|error| !error.starts_with('W')) {
        let message = error.clone().into_owned();
        return Err(ExchangeError::MarketsRefused { exchange: NAME, code: None, message });
    }
    let listed = answer.result.ok_or_else(|| unreadable(serde::de::Error::missing_field("result")))?;
    let mut markets = Vec::with_capacity(listed.len());
    let mut skipped = 0;
    // The dark pools (`XXBTZUSD.d`) are no markets of their own: they publish nothing and share the symbol.
    for (id, pair) in listed.into_iter().filter(|(id, _)| !id.ends_with(".d")) {
        match serde_json::from_str::<Pair<'_>>(pair.get()).ok().and_then(|pair| market(id.into_owned(), &pair)) {
            Some(market) => markets.push(market),
            None => skipped += 1,
        }
    }
    Ok(Markets::new(markets, skipped))
}

fn market(id: String, pair: &Pair<'_>) -> Option<Market> {
    let (base, quote) = match pair.wsname.as_deref().and_then(|name| name.split_once('/')) {
        Some((base, quote)) => (base, quote),
        None => {
            // `XBTUSD` is taken apart by the quote asset, whose own name may have the old prefix (`ZUSD`).
            let quote = short_asset(&pair.quote);
            (pair.altname.strip_suffix(quote).unwrap_or_else(|| short_asset(&pair.base)), quote)
        }
    };
    let step = |decimals: Option<i8>| decimals.filter(|d| (0..=18).contains(d)).map(|d| Decimal::new(1, -d));
    // Zero means that there is no such rule.
    let rule = |number: &Option<crate::wire::WireNumber>| number.as_ref().map(|n| n.0).filter(|n| !n.is_zero());
    Some(Market {
        symbol: Symbol::spot(currency(base), currency(quote)).ok()?,
        id,
        status: match pair.status.as_deref() {
            Some("online") => MarketStatus::Trading,
            Some(
                "cancel_only" | "post_only" | "limit_only" | "reduce_only" | "maintenance" | "delisted" | "work_in_progress",
            ) => MarketStatus::Halted,
            _ => MarketStatus::Unknown,
        },
        price_tick: rule(&pair.tick_size).or_else(|| step(pair.pair_decimals)),
        amount_step: step(pair.lot_decimals),
        amount_min: rule(&pair.ordermin),
        amount_max: None,
        notional_min: rule(&pair.costmin),
        contract_size: None,
    })
}

/// What the rest of the world calls a currency that Kraken has a name of its own for.
fn currency(code: &str) -> &str {
    match code {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        other => other,
    }
}

/// An asset's name without the prefix that the oldest ones have: `XXBT`, `ZUSD`.
fn short_asset(name: &str) -> &str {
    match name.strip_prefix(['X', 'Z']) {
        Some(short) if name.len() == 4 => short,
        _ => name,
    }
}
