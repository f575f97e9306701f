//! Binance's messages as they are on the wire, under the exchange's own field names, and what they stand for.

use std::borrow::Cow;

use dccd_model::{Decimal, Side, UnixNanos};

use crate::integrity::IdSpace;

/// One frame, understood.
#[derive(Debug, PartialEq)]
pub(super) enum Message<'a> {
    /// `trade` or `aggTrade`.
    Trade(TradeEvent<'a>),
    /// `bookTicker`.
    Quote(QuoteEvent<'a>),
    /// `depthUpdate`; its levels are in the [`crate::session::Levels`] that were given to the parser.
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

/// `{"u":400900217,"s":"BNBUSDT","b":"25.35","B":"31.21","a":"25.36","A":"40.66"}`. Spot sends no time; perpetuals `E` and `T`, the
/// time of the match.
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

/// `{"e":"depthUpdate","E":..,"s":"BNBBTC","U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}`; of perpetuals with `T`,
/// the time of the match, and `pu`.
#[derive(Debug, PartialEq)]
pub(super) struct DepthEvent<'a> {
    pub(super) symbol: Cow<'a, str>,
    /// `U`: number of the first change in it.
    pub(super) first: u64,
    /// `u`: number of the last change in it.
    pub(super) last: u64,
    /// `pu`: `last` of the event before. Perpetuals count changes of all symbols together, so `first` doesn't follow it closely.
    pub(super) previous: Option<u64>,
    pub(super) ts_venue: UnixNanos,
}
