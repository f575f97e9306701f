//! REST: what is asked for, what it costs, and how the list of markets is read. Makes no request itself.

use dccd_model::Symbol;

use super::consts::{MARKETS_WEIGHT, NAME, TRADES_ASKED, WEIGHT};
use super::messages::{Instrument, Reply};
use crate::wire::{WireNumber, encoded};
use crate::{ExchangeError, Market, MarketStatus, Markets, Product, RestRequest};

/// First word of the subjects of the answers that hold the markets.
pub(super) const MARKETS_SUBJECT: &str = "instruments";

/// The kinds of instruments that are listed; each is a request of its own. Options are thousands, and not offered.
pub(super) const KINDS: [&str; 2] = ["spot", "future"];

/// The list of all instruments of a kind.
pub(super) fn markets_request(kind: &str) -> RestRequest {
    RestRequest {
        product: Product::Spot,
        path_and_query: format!("/api/v2/public/get_instruments?currency=any&kind={kind}&expired=false"),
        weight: MARKETS_WEIGHT,
        subject: format!("{MARKETS_SUBJECT} {kind}"),
    }
}

/// How many trades one page is asked for.
pub(super) fn asked(wanted: u32) -> u32 {
    wanted.clamp(1, TRADES_ASKED)
}

/// The page with the trades from this number on, and the ones right before and after them.
pub(super) fn trades_request(symbol: &Symbol, id: &str, from: u64, wanted: u32) -> RestRequest {
    let begin = from.saturating_sub(1);
    let end = from.saturating_add(u64::from(asked(wanted)));
    RestRequest {
        product: Product::Spot,
        path_and_query: format!(
            "/api/v2/public/get_last_trades_by_instrument?instrument_name={}&start_seq={begin}&end_seq={end}&count={}&sorting=asc",
            encoded(id),
            end - begin + 1
        ),
        weight: WEIGHT,
        subject: format!("trades {symbol} {from}"),
    }
}

/// Reads a list of instruments.
pub(super) fn markets(body: &[u8]) -> Result<Markets, ExchangeError> {
    let unreadable = |source| ExchangeError::Markets { exchange: NAME, bytes: body.len(), source };
    let reply: Reply<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    if let Some(fault) = reply.error {
        let (code, message) = (Some(fault.code), fault.message.into_owned());
        return Err(ExchangeError::MarketsRefused { exchange: NAME, code, message });
    }
    let rows = reply.result.ok_or_else(|| unreadable(serde::de::Error::missing_field("result")))?;
    let mut markets = Vec::with_capacity(rows.len());
    let mut skipped = 0;
    for row in rows {
        match serde_json::from_str::<Instrument<'_>>(row.get()) {
            // Options, and orders that join several instruments, are other products.
            Ok(listed) if !KINDS.contains(&listed.kind.as_ref()) => {}
            Ok(listed) => match market(listed) {
                Some(market) => markets.push(market),
                None => skipped += 1,
            },
            Err(_) => skipped += 1,
        }
    }
    Ok(Markets::new(markets, skipped))
}

/// A spot market or a future. Amounts are those of the exchange: in the base currency, and of inverse futures, which are settled in
/// it, in the quote currency. One that is settled in a third currency is counted in nothing that a symbol tells of.
fn market(listed: Instrument<'_>) -> Option<Market> {
    let (base, quote) = (&listed.base_currency, &listed.quote_currency);
    let symbol: Symbol = if listed.kind == "spot" {
        Symbol::spot(base, quote).ok()?
    } else {
        let settle = listed.settlement_currency.as_ref().unwrap_or(base);
        if settle != base && settle != quote {
            return None;
        }
        let expiry = match listed.settlement_period.as_deref()? {
            "perpetual" => String::new(),
            _ => format!("-{}", day(listed.expiration_timestamp?)?),
        };
        format!("{base}/{quote}:{settle}{expiry}").parse().ok()?
    };
    let rule = |number: Option<WireNumber>| number.map(|n| n.0).filter(|n| n.mantissa > 0);
    Some(Market {
        symbol,
        id: listed.instrument_name.into_owned(),
        status: match listed.is_active {
            Some(true) => MarketStatus::Trading,
            Some(false) => MarketStatus::Halted,
            None => MarketStatus::Unknown,
        },
        price_tick: rule(listed.tick_size),
        amount_step: rule(listed.contract_size),
        amount_min: rule(listed.min_trade_amount),
        amount_max: None,
        notional_min: None,
        contract_size: None,
    })
}

/// The day of a time in milliseconds, UTC: `261225`.
fn day(ms: i64) -> Option<String> {
    let text = dccd_model::UnixNanos(ms.checked_mul(1_000_000)?).to_string();
    let part = |from: usize, to: usize| text.get(from..to);
    Some(format!("{}{}{}", part(2, 4)?, part(5, 7)?, part(8, 10)?))
}
