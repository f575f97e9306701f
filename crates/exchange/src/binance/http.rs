//! REST: what is asked for, what it costs, and how the answers are read. Makes no request itself.

use std::borrow::Cow;
use std::fmt;

use dccd_model::{Side, Symbol, UnixNanos};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::consts::{
    AGG_TRADES_WEIGHT, EXCHANGE_INFO_WEIGHT, HISTORICAL_TRADES_WEIGHT, LIMITS, LINEAR_AGG_TRADES_WEIGHT,
    LINEAR_EXCHANGE_INFO_WEIGHT, NAME, depth_weight, linear_depth, linear_depth_weight,
};
use super::parse::{LevelsSeed, check, time};
use super::subscribe::product;
use crate::integrity::IdSpace;
use crate::session::{Levels, Traded};
use crate::wire::{WireNumber, encoded};
use crate::{ExchangeError, FrameError, Market, MarketStatus, Markets, Product, RestRequest};

/// First word of the subjects of the answers that hold the markets.
pub(super) const MARKETS_SUBJECT: &str = "exchangeInfo";

/// Where requests of a product are below its base address.
pub(super) fn root(product: Product) -> &'static str {
    match product {
        Product::Spot => "/api/v3",
        Product::Linear => "/fapi/v1",
    }
}

/// The list of all markets of a product.
pub(super) fn markets_request(product: Product) -> RestRequest {
    let (weight, subject) = match product {
        Product::Spot => (EXCHANGE_INFO_WEIGHT, MARKETS_SUBJECT.to_owned()),
        Product::Linear => (LINEAR_EXCHANGE_INFO_WEIGHT, format!("{MARKETS_SUBJECT} usdm")),
    };
    RestRequest { path_and_query: format!("{}/exchangeInfo", root(product)), weight, subject, product }
}

/// A snapshot of a book.
pub(super) fn snapshot_request(symbol: &Symbol, id: &str, depth: u32) -> RestRequest {
    let product = product(symbol);
    let (depth, weight) = match product {
        Product::Spot => (depth, depth_weight(depth)),
        Product::Linear => (linear_depth(depth), linear_depth_weight(linear_depth(depth))),
    };
    RestRequest {
        path_and_query: format!("{}/depth?symbol={}&limit={depth}", root(product), encoded(id)),
        weight,
        subject: format!("depth {symbol}"),
        product,
    }
}

/// How many trades one answer gives.
pub(super) fn trades_limit(wanted: u32) -> u32 {
    wanted.clamp(1, LIMITS.trades_per_request)
}

/// Trades from this id on.
pub(super) fn trades_request(symbol: &Symbol, id: &str, from_id: u64, limit: u32, space: IdSpace) -> RestRequest {
    let product = product(symbol);
    let (path, weight) = match (space, product) {
        (IdSpace::Single, _) => ("historicalTrades", HISTORICAL_TRADES_WEIGHT),
        (IdSpace::Aggregated, product) => ("aggTrades", agg_trades_weight(product)),
    };
    let limit = trades_limit(limit);
    RestRequest {
        path_and_query: format!("{}/{path}?symbol={}&fromId={from_id}&limit={limit}", root(product), encoded(id)),
        weight,
        subject: format!("trades {symbol} {from_id}"),
        product,
    }
}

/// Weight of a page of aggregated trades.
pub(super) fn agg_trades_weight(product: Product) -> u32 {
    match product {
        Product::Spot => AGG_TRADES_WEIGHT,
        Product::Linear => LINEAR_AGG_TRADES_WEIGHT,
    }
}

/// `{"lastUpdateId":1027024,"bids":[["4.0","431.0"]],"asks":[["4.000002","12.0"]]}` into `levels`; returns the `lastUpdateId`.
pub(super) fn snapshot(body: &[u8], levels: &mut Levels) -> Result<u64, FrameError> {
    levels.clear();
    let read = |levels: &mut Levels, raw| {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let id = SnapshotSeed { levels, raw }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok::<_, serde_json::Error>(id)
    };
    let id = read(levels, false).or_else(|_| read(levels, true))?;
    check(levels, "depth")?;
    id.ok_or(FrameError::Missing { event: "depth", field: "lastUpdateId" })
}

struct SnapshotSeed<'l> {
    levels: &'l mut Levels,
    raw: bool,
}

impl<'de> DeserializeSeed<'de> for SnapshotSeed<'_> {
    type Value = Option<u64>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for SnapshotSeed<'_> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot of a book")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut id = None;
        let (mut bids, mut asks) = (false, false);
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match key.as_ref() {
                "lastUpdateId" => id = Some(map.next_value()?),
                "bids" => {
                    map.next_value_seed(LevelsSeed { side: &mut self.levels.bids, raw: self.raw })?;
                    bids = true;
                }
                "asks" => {
                    map.next_value_seed(LevelsSeed { side: &mut self.levels.asks, raw: self.raw })?;
                    asks = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(id.filter(|_| bids && asks))
    }
}

/// A page of `historicalTrades` (`[{"id":28457,"price":"4.0","qty":"12.0","time":..,"isBuyerMaker":true}]`) or of `aggTrades`
/// (`[{"a":26129,"p":"0.0163","q":"4.70","T":..,"m":true}]`).
pub(super) fn trades(body: &[u8]) -> Result<Vec<Traded>, FrameError> {
    let page: Vec<PageRow> = serde_json::from_slice(body)?;
    page.iter().map(PageRow::trade).collect()
}

/// One row of such a page.
#[derive(Deserialize)]
pub(super) struct PageRow {
    id: Option<u64>,
    a: Option<u64>,
    /// Of an aggregated trade: the id of its first single trade; -1 where it stands for none.
    f: Option<i64>,
    #[serde(alias = "p")]
    price: WireNumber,
    #[serde(alias = "q")]
    qty: WireNumber,
    #[serde(alias = "T")]
    time: i64,
    #[serde(alias = "m", rename = "isBuyerMaker")]
    buyer_is_maker: Option<bool>,
}

impl PageRow {
    /// Of an aggregated trade: the id of its first single trade, where it has any.
    pub(super) fn first_single(&self) -> Option<u64> {
        self.f.and_then(|id| u64::try_from(id).ok())
    }

    /// When it was matched.
    pub(super) fn ts_venue(&self) -> UnixNanos {
        time(self.time)
    }

    /// The trade.
    pub(super) fn trade(&self) -> Result<Traded, FrameError> {
        let event = "trade";
        let (space, id) = match (self.id, self.a) {
            (Some(id), _) => (IdSpace::Single, id),
            (None, Some(id)) => (IdSpace::Aggregated, id),
            (None, None) => return Err(FrameError::Missing { event, field: "id" }),
        };
        let (price, amount) = (self.price.0, self.qty.0);
        if price.mantissa < 0 || amount.mantissa < 0 {
            return Err(FrameError::OutOfRange { event, field: if price.mantissa < 0 { "price" } else { "qty" } });
        }
        let side = match self.buyer_is_maker {
            Some(true) => Side::Sell,
            Some(false) => Side::Buy,
            None => Side::Unknown,
        };
        Ok(Traded { space, id, ts_venue: self.ts_venue(), price, amount, side })
    }
}

/// An error's body: `{"code":-1121,"msg":"Invalid symbol."}`.
#[derive(Deserialize)]
pub(super) struct ErrorBody<'a> {
    pub(super) code: i64,
    #[serde(borrow, default)]
    pub(super) msg: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ExchangeInfo<'a> {
    #[serde(borrow)]
    symbols: Vec<ListedSymbol<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedSymbol<'a> {
    symbol: Cow<'a, str>,
    status: Cow<'a, str>,
    base_asset: Cow<'a, str>,
    quote_asset: Cow<'a, str>,
    /// Of contracts alone, as is the next.
    #[serde(borrow)]
    contract_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    margin_asset: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    filters: Vec<Filter<'a>>,
}

/// The union of the filters that are of interest; others have none of these fields, or are not asked for them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter<'a> {
    #[serde(borrow)]
    filter_type: Cow<'a, str>,
    tick_size: Option<WireNumber>,
    step_size: Option<WireNumber>,
    min_qty: Option<WireNumber>,
    max_qty: Option<WireNumber>,
    #[serde(alias = "notional")]
    min_notional: Option<WireNumber>,
}

/// Reads the list of markets of either product. Dated contracts, and those of which nothing is known yet, are none of ours.
pub(super) fn markets(body: &[u8]) -> Result<Markets, ExchangeError> {
    let info: ExchangeInfo<'_> = match serde_json::from_slice(body) {
        Ok(info) => info,
        Err(source) => {
            return Err(match serde_json::from_slice::<ErrorBody<'_>>(body) {
                Ok(error) => {
                    ExchangeError::MarketsRefused { exchange: NAME, code: Some(error.code), message: error.msg.into_owned() }
                }
                Err(_) => ExchangeError::Markets { exchange: NAME, bytes: body.len(), source },
            });
        }
    };
    let is_ours = |listed: &ListedSymbol<'_>| listed.contract_type.as_deref().is_none_or(|kind| kind.contains("PERPETUAL"));
    let ours: Vec<ListedSymbol<'_>> = info.symbols.into_iter().filter(is_ours).collect();
    let listed = ours.len();
    let markets: Vec<Market> = ours.into_iter().filter_map(market).collect();
    let skipped = listed - markets.len();
    Ok(Markets::new(markets, skipped))
}

fn market(listed: ListedSymbol<'_>) -> Option<Market> {
    let (base, quote) = (&listed.base_asset, &listed.quote_asset);
    let symbol = match (&listed.contract_type, &listed.margin_asset) {
        (None, _) => Symbol::spot(base, quote),
        (Some(_), Some(margin)) => format!("{base}/{quote}:{margin}").parse(),
        (Some(_), None) => return None,
    };
    let mut market = Market {
        symbol: symbol.ok()?,
        id: listed.symbol.into_owned(),
        status: match listed.status.as_ref() {
            "TRADING" => MarketStatus::Trading,
            "HALT" | "BREAK" | "CANCEL_ONLY" | "PRE_TRADING" | "POST_TRADING" | "END_OF_DAY" | "AUCTION_MATCH" => {
                MarketStatus::Halted
            }
            "PENDING_TRADING" | "PRE_SETTLE" | "SETTLING" | "PRE_DELIVERING" | "DELIVERING" | "DELIVERED" | "CLOSE" => {
                MarketStatus::Halted
            }
            _ => MarketStatus::Unknown,
        },
        price_tick: None,
        amount_step: None,
        amount_min: None,
        amount_max: None,
        notional_min: None,
        contract_size: None,
    };
    // Zero means that the rule is off.
    let rule = |number: Option<WireNumber>| number.map(|n| n.0).filter(|n| !n.is_zero());
    for filter in listed.filters {
        match filter.filter_type.as_ref() {
            "PRICE_FILTER" => market.price_tick = rule(filter.tick_size),
            "LOT_SIZE" => {
                market.amount_step = rule(filter.step_size);
                market.amount_min = rule(filter.min_qty);
                market.amount_max = rule(filter.max_qty);
            }
            "NOTIONAL" | "MIN_NOTIONAL" => market.notional_min = rule(filter.min_notional),
            _ => {}
        }
    }
    Some(market)
}
