//! REST: markets and trades, and what the exchange's errors mean. Makes no request itself.

use std::borrow::Cow;

use dccd_model::{Symbol, UnixNanos};
use serde::de::Error as _;

use super::consts::{CONF_WEIGHT, NAME, RATE_WAIT, TRADES_PER_PAGE, TRADES_WEIGHT};
use super::parse;
use crate::wire::encoded;
use crate::{ExchangeError, FrameError, HistoryError, Market, MarketStatus, Markets, Product, RestRequest, TradeCursor};

/// First word of the subjects of the answers that hold the markets.
pub(super) const MARKETS_SUBJECT: &str = "pairs";
const SPOT: &str = "/v2/conf/pub:info:pair";
const FUTURES: &str = "/v2/conf/pub:info:pair:futures";

/// What the exchange calls a currency, and what the rest of the world does.
const CURRENCIES: &[(&str, &str)] = &[
    ("UST", "USDT"),
    ("ALG", "ALGO"),
    ("AMP", "AMPL"),
    ("ATO", "ATOM"),
    ("BCHABC", "XEC"),
    ("BCHN", "BCH"),
    ("DAT", "DATA"),
    ("DOG", "MDOGE"),
    ("DSH", "DASH"),
    ("EUS", "EURS"),
    ("EUT", "EURT"),
    ("IDX", "ID"),
    ("IOT", "IOTA"),
    ("IQX", "IQ"),
    ("LUNA", "LUNC"),
    ("LUNA2", "LUNA"),
    ("MNA", "MANA"),
    ("QSH", "QASH"),
    ("QTM", "QTUM"),
    ("RBT", "RBTC"),
    ("SNG", "SNGLS"),
    ("STJ", "STORJ"),
    ("TERRAUST", "USTC"),
    ("TSD", "TUSD"),
    ("UDC", "USDC"),
    ("VSY", "VSYS"),
    ("WAX", "WAXP"),
    ("XCH", "XCHF"),
    ("YGG", "YEED"),
];

/// At the end of each currency of a perpetual: `BTCF0:USTF0`.
const PERPETUAL: &str = "F0";

fn currency(name: &str) -> &str {
    CURRENCIES.iter().find(|(own, _)| *own == name).map_or(name, |(_, unified)| unified)
}

fn own(currency: &str) -> &str {
    CURRENCIES.iter().find(|(_, unified)| *unified == currency).map_or(currency, |(own, _)| own)
}

/// The exchange's own id of a symbol; for one that the list of markets doesn't have, the form that ids have.
pub(super) fn id(symbol: &Symbol, markets: &Markets) -> String {
    if let Some(market) = markets.by_symbol(symbol) {
        return market.id.clone();
    }
    let (base, quote) = (own(symbol.base()), own(symbol.quote()));
    match symbol.settle() {
        Some(_) => format!("t{base}{PERPETUAL}:{quote}{PERPETUAL}"),
        None if base.len() > 3 || quote.len() > 3 => format!("t{base}:{quote}"),
        None => format!("t{base}{quote}"),
    }
}

/// The list of all spot markets.
pub(super) fn markets_request() -> RestRequest {
    RestRequest {
        product: Product::Spot,
        path_and_query: SPOT.to_owned(),
        weight: CONF_WEIGHT,
        subject: format!("{MARKETS_SUBJECT} spot"),
    }
}

/// The perpetuals after the spot markets.
pub(super) fn markets_next(request: &RestRequest, body: &[u8]) -> Result<Option<RestRequest>, ExchangeError> {
    markets(body)?;
    let next = RestRequest {
        product: Product::Spot,
        path_and_query: FUTURES.to_owned(),
        weight: CONF_WEIGHT,
        subject: format!("{MARKETS_SUBJECT} futures"),
    };
    Ok((request.path_and_query == SPOT).then_some(next))
}

/// Reads one part of the list of markets.
pub(super) fn markets(body: &[u8]) -> Result<Markets, ExchangeError> {
    if let Some((code, message)) = parse::refusal(body) {
        return Err(ExchangeError::MarketsRefused { exchange: NAME, code: Some(code), message });
    }
    let unreadable = |fault: FrameError| ExchangeError::Markets { exchange: NAME, bytes: body.len(), source: json(fault) };
    let (pairs, mut skipped) = parse::pairs(body).map_err(unreadable)?;
    let mut markets = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let Some(symbol) = symbol(pair.name) else {
            skipped += 1;
            continue;
        };
        let [amount_min, amount_max] = pair.amounts;
        markets.push(Market {
            symbol,
            id: format!("t{}", pair.name),
            // What isn't traded any more is not on the list.
            status: MarketStatus::Trading,
            // Prices have five digits, wherever the point is.
            price_tick: None,
            amount_step: None,
            amount_min,
            amount_max,
            notional_min: None,
            contract_size: None,
        });
    }
    Ok(Markets::new(markets, skipped))
}

/// `BTCUSD`, `DOGE:USD`, `BTCF0:USTF0`.
fn symbol(pair: &str) -> Option<Symbol> {
    let (base, quote) = match pair.split_once(':') {
        Some(both) => both,
        None if pair.len() == 6 => pair.split_at_checked(3)?,
        None => return None,
    };
    match (base.strip_suffix(PERPETUAL), quote.strip_suffix(PERPETUAL)) {
        (Some(base), Some(quote)) => {
            let quote = currency(quote);
            format!("{}/{quote}:{quote}", currency(base)).parse().ok()
        }
        _ => Symbol::spot(currency(base), currency(quote)).ok(),
    }
}

/// The request for the page of trades that begins here, under the exchange's own id of the market: the oldest first.
pub(super) fn trades_request(symbol: &Symbol, id: &str, cursor: TradeCursor) -> RestRequest {
    let start = since(cursor);
    RestRequest {
        product: Product::Spot,
        path_and_query: format!("/v2/trades/{}/hist?start={start}&limit={TRADES_PER_PAGE}&sort=1", path(id)),
        weight: TRADES_WEIGHT,
        subject: format!("trades {symbol} since {start}"),
    }
}

/// The first millisecond that isn't before a cursor. Ids can't be asked for.
pub(super) fn since(cursor: TradeCursor) -> i64 {
    match cursor {
        TradeCursor::Time(UnixNanos(nanos)) => nanos.max(0).saturating_add(999_999) / 1_000_000,
        TradeCursor::Id(_) | TradeCursor::Mark(_) => 0,
    }
}

/// An id within a path, where colons may stand as they are.
pub(super) fn path(id: &str) -> Cow<'_, str> {
    match id.split_once(':') {
        Some((base, quote)) => Cow::Owned(format!("{}:{}", encoded(base), encoded(quote))),
        None => encoded(id),
    }
}

/// What an answer's code means.
pub(super) fn refusal(code: i64, words: &str) -> HistoryError {
    let message = format!("{words} ({code})");
    let exchange = NAME;
    match code {
        // "ratelimit: error".
        11_010 => HistoryError::RateLimited { exchange, message, wait: RATE_WAIT },
        _ if words.to_ascii_lowercase().contains("ratelimit") => {
            HistoryError::RateLimited { exchange, message, wait: RATE_WAIT }
        }
        // "temporarily unavailable", "platform in maintenance".
        20_006 | 20_060 => HistoryError::Unavailable { exchange, message },
        _ => HistoryError::Refused { exchange, message },
    }
}

/// As an error of JSON, which is what it is about.
pub(super) fn json(fault: FrameError) -> serde_json::Error {
    match fault {
        FrameError::Json(source) => source,
        fault => serde_json::Error::custom(fault),
    }
}
