//! REST: what is asked for, and how the list of markets is read. Makes no request itself.

use dccd_model::Symbol;
use serde_json::value::RawValue;

use super::consts::{IDS_PER_PAGE, NAME};
use super::messages::{Product, Refusal};
use crate::wire::{WireNumber, encoded};
use crate::{ExchangeError, Market, MarketStatus, Markets, RestRequest};

/// Currencies that the exchange has a name of its own for, and what the rest of the world calls them.
const CURRENCIES: &[(&str, &str)] = &[("CGLD", "CELO")];

/// The exchange's own id of a symbol; for one that the list of markets doesn't have, the form that ids have.
pub(super) fn id(symbol: &Symbol, markets: &Markets) -> String {
    let own = |currency| CURRENCIES.iter().find(|(_, common)| *common == currency).map_or(currency, |(own, _)| *own);
    let form = || format!("{}-{}", own(symbol.base()), own(symbol.quote()));
    markets.by_symbol(symbol).map_or_else(form, |market| market.id.clone())
}

/// Subject of the answer that holds the markets.
pub(super) const MARKETS_SUBJECT: &str = "products";

/// The list of all markets.
pub(super) fn markets_request() -> RestRequest {
    RestRequest {
        product: crate::Product::Spot,
        path_and_query: "/products".to_owned(),
        weight: 1,
        subject: MARKETS_SUBJECT.to_owned(),
    }
}

/// The page of trades that ends before this id, the newest first.
pub(super) fn trades_page(symbol: &Symbol, id: &str, end: u64, limit: u32, name: &str) -> RestRequest {
    RestRequest {
        product: crate::Product::Spot,
        path_and_query: format!("/products/{}/trades?limit={limit}&after={end}", encoded(id)),
        weight: 1,
        subject: format!("trades {symbol} {name}"),
    }
}

/// How many ids one page of missing trades is asked for.
pub(super) fn ids(wanted: u32) -> u32 {
    wanted.clamp(1, IDS_PER_PAGE)
}

/// The page with the trades from this id on, and the ones right before and after them.
pub(super) fn trades_request(symbol: &Symbol, id: &str, from_id: u64, wanted: u32) -> RestRequest {
    let end = from_id.saturating_add(u64::from(ids(wanted)) + 1);
    trades_page(symbol, id, end, ids(wanted) + 2, &from_id.to_string())
}

/// Reads the list of markets.
pub(super) fn markets(body: &[u8]) -> Result<Markets, ExchangeError> {
    let unreadable = |source| ExchangeError::Markets { exchange: NAME, bytes: body.len(), source };
    if let Ok(Refusal { message }) = serde_json::from_slice(body) {
        return Err(ExchangeError::MarketsRefused { exchange: NAME, code: None, message: message.into_owned() });
    }
    // Each by its own, so that one that can't be read doesn't take the others along.
    let listed: Vec<&RawValue> = serde_json::from_slice(body).map_err(unreadable)?;
    let mut markets = Vec::with_capacity(listed.len());
    let mut skipped = 0;
    for product in listed {
        match serde_json::from_str::<Product<'_>>(product.get()) {
            // An auction (`BTCAUCTION-USD`) is no market of its own, and shares the symbol.
            Ok(product) if product.id != format!("{}-{}", product.base_currency, product.quote_currency) => {}
            Ok(product) => match market(product) {
                Some(market) => markets.push(market),
                None => skipped += 1,
            },
            Err(_) => skipped += 1,
        }
    }
    Ok(Markets::new(markets, skipped))
}

fn market(listed: Product<'_>) -> Option<Market> {
    let common =
        |own: &str| CURRENCIES.iter().find(|(known, _)| *known == own).map_or(own.to_owned(), |(_, c)| (*c).to_owned());
    // Zero means that there is no such rule.
    let rule = |number: Option<WireNumber>| number.map(|number| number.0).filter(|number| number.mantissa > 0);
    Some(Market {
        symbol: Symbol::spot(&common(&listed.base_currency), &common(&listed.quote_currency)).ok()?,
        status: match (listed.status.as_deref(), listed.trading_disabled) {
            (Some("online"), Some(false) | None) => MarketStatus::Trading,
            (Some("online" | "offline" | "internal" | "delisted"), _) => MarketStatus::Halted,
            _ => MarketStatus::Unknown,
        },
        id: listed.id.into_owned(),
        price_tick: rule(listed.quote_increment),
        amount_step: rule(listed.base_increment),
        amount_min: rule(listed.base_min_size),
        amount_max: rule(listed.base_max_size),
        notional_min: rule(listed.min_market_funds),
        contract_size: None,
    })
}
