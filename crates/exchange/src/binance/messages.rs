//! Binance's messages as they are on the wire, under the exchange's own field names, and what they stand for.

use std::borrow::Cow;

use dccd_model::{Decimal, Side, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::integrity::IdSpace;

/// One frame, understood.
#[derive(Debug, PartialEq)]
pub(super) enum Message<'a> {
    /// `trade` or `aggTrade`.
    Trade(TradeEvent<'a>),
    /// `bookTicker`.
    Quote(QuoteEvent<'a>),
    /// `depthUpdate`; its levels are in the [`Levels`] that were given to the parser.
    Depth(DepthEvent<'a>),
    /// `{"result":..,"id":1}`.
    Ack { id: u64 },
    /// `{"error":{"code":..,"msg":..},"id":1}`, also without the wrapper.
    Error { id: Option<u64>, code: i64, message: Cow<'a, str> },
    /// `serverShutdown`.
    Shutdown,
    /// Anything else that is a message.
    Other,
}

/// `{"e":"trade","E":..,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":..,"m":true}`; `aggTrade` has its id in `a`.
#[derive(Debug, PartialEq)]
pub(super) struct TradeEvent<'a> {
    pub(super) space: IdSpace,
    pub(super) symbol: Cow<'a, str>,
    pub(super) id: u64,
    pub(super) ts_venue: UnixNanos,
    pub(super) price: Decimal,
    pub(super) amount: Decimal,
    /// `m`, the buyer is the maker: then the taker sold.
    pub(super) side: Side,
}

/// `{"u":400900217,"s":"BNBUSDT","b":"25.35","B":"31.21","a":"25.36","A":"40.66"}`. Spot sends no time.
#[derive(Debug, PartialEq)]
pub(super) struct QuoteEvent<'a> {
    pub(super) symbol: Cow<'a, str>,
    pub(super) number: u64,
    pub(super) ts_venue: UnixNanos,
    pub(super) bid: Decimal,
    pub(super) bid_amount: Decimal,
    pub(super) ask: Decimal,
    pub(super) ask_amount: Decimal,
}

/// `{"e":"depthUpdate","E":..,"s":"BNBBTC","U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}`.
#[derive(Debug, PartialEq)]
pub(super) struct DepthEvent<'a> {
    pub(super) symbol: Cow<'a, str>,
    /// `U`: number of the first change in it.
    pub(super) first: u64,
    /// `u`: number of the last change in it.
    pub(super) last: u64,
    pub(super) ts_venue: UnixNanos,
}

/// A price and the amount now at it; zero: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i64, i8, i64, i8)", into = "(i64, i8, i64, i8)")]
pub(super) struct Level {
    pub(super) price: Decimal,
    pub(super) amount: Decimal,
}

impl From<(i64, i8, i64, i8)> for Level {
    fn from((p, pe, a, ae): (i64, i8, i64, i8)) -> Self {
        Self { price: Decimal::new(p, pe), amount: Decimal::new(a, ae) }
    }
}

impl From<Level> for (i64, i8, i64, i8) {
    fn from(level: Level) -> Self {
        (level.price.mantissa, level.price.exponent, level.amount.mantissa, level.amount.exponent)
    }
}

/// Both sides of an event or snapshot. Used again for every event, so that parsing allocates nothing once it is warm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Levels {
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
}

impl Levels {
    pub(super) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }
}
