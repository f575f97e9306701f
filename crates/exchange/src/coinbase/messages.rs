//! Coinbase's messages and answers as they are on the wire, under the exchange's own field names.
//!
//! Answers are lists without an envelope; a refusal is an object with a status of its own: `{"message":"NotFound"}`.

use std::borrow::Cow;

use dccd_model::UnixNanos;
use serde::Deserialize;

use crate::session::{Quoted, Traded};
use crate::wire::{Cursor, WireNumber};

/// A listed product: `{"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","quote_increment":"0.01","base_increment":"0.00000001",
/// "min_market_funds":"1","trading_disabled":false,"status":"online",..}`.
#[derive(Deserialize)]
pub(super) struct Product<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) base_currency: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) quote_currency: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) status: Option<Cow<'a, str>>,
    pub(super) trading_disabled: Option<bool>,
    pub(super) quote_increment: Option<WireNumber>,
    pub(super) base_increment: Option<WireNumber>,
    /// Until June 2022, as the next.
    pub(super) base_min_size: Option<WireNumber>,
    pub(super) base_max_size: Option<WireNumber>,
    pub(super) min_market_funds: Option<WireNumber>,
}

/// A refusal in the place of an answer.
#[derive(Deserialize)]
pub(super) struct Refusal<'a> {
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
}

/// One frame, understood; each with the product that it is about. The levels of books were left in the [`crate::session::Levels`] that
/// were given to the parser.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// `{"type":"match","trade_id":10,"sequence":50,"maker_order_id":"..","taker_order_id":"..","time":"2014-11-07T08:19:27.028459Z",
    /// "product_id":"BTC-USD","size":"5.23512","price":"400.23","side":"sell"}`; `last_match`, the same, once after the subscription.
    Trade { product: &'a str, trade: Traded },
    /// `{"type":"ticker","sequence":37475248783,"product_id":"ETH-USD","price":"1285.22",..,"best_bid":"1285.04","best_bid_size":"0.46",
    /// "best_ask":"1285.27","best_ask_size":"1.56","side":"buy","time":"..","trade_id":370843401,"last_size":"11.4396987"}`.
    Quote { product: &'a str, quote: Quoted },
    /// `{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"2014-11-07T08:19:28.464459Z"}`.
    Heartbeat { product: &'a str, last_trade_id: u64, time: UnixNanos },
    /// `{"type":"snapshot","product_id":"BTC-USD","bids":[["10101.10","0.45054140"]],"asks":[["10102.55","0.57753524"]]}`.
    Snapshot { product: &'a str, time: Option<UnixNanos> },
    /// `{"type":"l2update","product_id":"BTC-USD","time":"2019-08-14T20:42:27.265Z","changes":[["buy","10101.80000000","0.162567"]]}`.
    Update { product: &'a str, time: UnixNanos },
    /// `{"type":"error","message":"Failed to subscribe","reason":"FOO-USD is not a valid product"}`.
    Refusal { words: Cow<'a, str>, reason: Cow<'a, str> },
    /// `{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}`: all that is subscribed on the connection.
    /// It stands before the list.
    Subscriptions { channels: Cursor<'a> },
    /// Anything else that is a message.
    Other,
}
