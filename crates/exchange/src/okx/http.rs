//! REST: what is asked for, what it costs, and how the list of markets is read. Makes no request itself.

use dccd_model::{Decimal, Symbol};

use super::consts::{BOOK_LEVELS, BOOK_WEIGHT, IDS_PER_PAGE, NAME, TRADES_PER_PAGE, WEIGHT};
use super::copy::in_base_units;
use super::messages::{Instrument, Reply};
use super::subscribe::SWAP;
use crate::wire::encoded;
use crate::{ExchangeError, Market, MarketStatus, Markets, Product, RestRequest};

/// Subject of the answers that hold the markets, but for the kind of instrument.
pub(super) const MARKETS_SUBJECT: &str = "instruments";

/// The kinds of instruments that are listed; each is a request of its own.
pub(super) const KINDS: [&str; 2] = ["SPOT", "SWAP"];

/// The list of all instruments of a kind.
pub(super) fn markets_request(kind: &str) -> RestRequest {
    RestRequest {
        path_and_query: format!("/api/v5/public/instruments?instType={kind}"),
        weight: WEIGHT,
        subject: format!("{MARKETS_SUBJECT} {kind}"),
        product: Product::Spot,
    }
}

/// A book, as deep as the one on the socket.
pub(super) fn snapshot_request(symbol: &Symbol, id: &str) -> RestRequest {
    RestRequest {
        path_and_query: format!("/api/v5/market/books?instId={}&sz={BOOK_LEVELS}&source=0", encoded(id)),
        weight: BOOK_WEIGHT,
        subject: format!("depth {symbol}"),
        product: Product::Spot,
    }
}

/// How many ids one page of trades is asked for.
pub(super) fn ids(wanted: u32) -> u32 {
    wanted.clamp(1, IDS_PER_PAGE)
}

/// The page with the trades from this id on, and the ones right before and after them. Pages are asked for by the id that they end
/// before, the newest first.
pub(super) fn trades_request(symbol: &Symbol, id: &str, from_id: u64, wanted: u32) -> RestRequest {
    let end = from_id.saturating_add(u64::from(ids(wanted)) + 1);
    RestRequest {
        path_and_query: format!(
            "/api/v5/market/history-trades?instId={}&type=1&after={end}&limit={TRADES_PER_PAGE}",
            encoded(id)
        ),
        weight: WEIGHT,
        subject: format!("trades {symbol} {from_id}"),
        product: Product::Spot,
    }
}

/// Reads a list of instruments.
pub(super) fn markets(body: &[u8]) -> Result<Markets, ExchangeError> {
    let unreadable = |source| ExchangeError::Markets { exchange: NAME, bytes: body.len(), source };
    let reply: Reply<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    if reply.code != "0" {
        let (code, message) = (reply.code.parse().ok(), reply.msg.into_owned());
        return Err(ExchangeError::MarketsRefused { exchange: NAME, code, message });
    }
    let rows = reply.data.ok_or_else(|| unreadable(serde::de::Error::missing_field("data")))?;
    let listed = rows.len();
    let read = |row: &serde_json::value::RawValue| market(&serde_json::from_str::<Instrument<'_>>(row.get()).ok()?);
    let markets: Vec<Market> = rows.into_iter().filter_map(read).collect();
    let skipped = listed - markets.len();
    Ok(Markets::new(markets, skipped))
}

/// A spot market or a linear perpetual swap. Of others the amounts can't be told in base units: contracts of an inverse swap are
/// worth a number of dollars.
fn market(listed: &Instrument<'_>) -> Option<Market> {
    let number = |text: &str| Decimal::parse(text.as_bytes()).ok().filter(|number| number.mantissa > 0);
    let (symbol, contract_size) = match listed.inst_type.as_ref() {
        "SPOT" => (Symbol::spot(&listed.base_ccy, &listed.quote_ccy).ok()?, None),
        "SWAP" => {
            let (base, quote) = listed.inst_id.strip_suffix(SWAP)?.split_once('-')?;
            if listed.ct_type != "linear" || listed.settle_ccy != quote || listed.ct_val_ccy != base {
                return None;
            }
            let times = if listed.ct_mult.is_empty() { Some(Decimal::new(1, 0)) } else { number(&listed.ct_mult) };
            let size = in_base_units(number(&listed.ct_val)?, Some(times?))?;
            (format!("{base}/{quote}:{}", listed.settle_ccy).parse().ok()?, Some(size))
        }
        _ => return None,
    };
    let amount = |text: &str| number(text).and_then(|amount| in_base_units(amount, contract_size));
    Some(Market {
        symbol,
        id: listed.inst_id.clone().into_owned(),
        status: match listed.state.as_ref() {
            "live" => MarketStatus::Trading,
            "suspend" | "preopen" | "expired" | "test" | "rebase" | "settling" => MarketStatus::Halted,
            _ => MarketStatus::Unknown,
        },
        price_tick: number(&listed.tick_sz),
        amount_step: amount(&listed.lot_sz),
        amount_min: amount(&listed.min_sz),
        amount_max: amount(&listed.max_lmt_sz),
        notional_min: None,
        contract_size,
    })
}
