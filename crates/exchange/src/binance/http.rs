//! REST: what is asked for, what it costs, and how the answers are read. Makes no request itself.

use std::borrow::Cow;
use std::fmt;

use dccd_model::{Side, Symbol, UnixNanos};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::consts::{AGG_TRADES_WEIGHT, EXCHANGE_INFO_WEIGHT, HISTORICAL_TRADES_WEIGHT, LIMITS, NAME, depth_weight};
use super::parse::{LevelsSeed, check, time};
use crate::integrity::IdSpace;
use crate::session::{Levels, Traded};
use crate::wire::{WireNumber, encoded};
use crate::{ExchangeError, FrameError, Market, MarketStatus, Markets, RestRequest};

/// Subject of the answer that holds the markets.
pub(super) const MARKETS_SUBJECT: &str = "exchangeInfo";

/// The list of all markets.
pub(super) fn markets_request() -> RestRequest {
    RestRequest {
        path_and_query: "/api/v3/exchangeInfo".to_owned(),
        weight: EXCHANGE_INFO_WEIGHT,
        subject: MARKETS_SUBJECT.to_owned(),
    }
}

/// A snapshot of a book.
pub(super) fn snapshot_request(symbol: &Symbol, id: &str, depth: u32) -> RestRequest {
    RestRequest {
        path_and_query: format!("/api/v3/depth?symbol={}&limit={depth}", encoded(id)),
        weight: depth_weight(depth),
        subject: format!("depth {symbol}"),
    }
}

/// How many trades one answer gives.
pub(super) fn trades_limit(wanted: u32) -> u32 {
    wanted.clamp(1, LIMITS.trades_per_request)
}

/// Trades from this id on.
pub(super) fn trades_request(symbol: &Symbol, id: &str, from_id: u64, limit: u32, space: IdSpace) -> RestRequest {
    let (path, weight) = match space {
        IdSpace::Single => ("historicalTrades", HISTORICAL_TRADES_WEIGHT),
        IdSpace::Aggregated => ("aggTrades", AGG_TRADES_WEIGHT),
    };
    let limit = trades_limit(limit);
    RestRequest {
        path_and_query: format!("/api/v3/{path}?symbol={}&fromId={from_id}&limit={limit}", encoded(id)),
        weight,
        subject: format!("trades {symbol} {from_id}"),
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
    min_notional: Option<WireNumber>,
}

/// Reads the list of markets.
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
    let listed = info.symbols.len();
    let markets: Vec<Market> = info.symbols.into_iter().filter_map(market).collect();
    let skipped = listed - markets.len();
    Ok(Markets::new(markets, skipped))
}

fn market(listed: ListedSymbol<'_>) -> Option<Market> {
    let mut market = Market {
        symbol: Symbol::spot(&listed.base_asset, &listed.quote_asset).ok()?,
        id: listed.symbol.into_owned(),
        status: match listed.status.as_ref() {
            "TRADING" => MarketStatus::Trading,
            "HALT" | "BREAK" | "CANCEL_ONLY" | "PRE_TRADING" | "POST_TRADING" | "END_OF_DAY" | "AUCTION_MATCH" => {
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
