//! Bybit's messages and answers as they are on the wire, under the exchange's own field names.
//!
//! All answers have one envelope, mostly with status 200 whatever happened: `{"retCode":10001,"retMsg":"Not supported symbols"}`, or
//! `{"retCode":0,"retMsg":"OK","result":{..},"time":1672025956592}`.

use std::borrow::Cow;

use dccd_model::UnixNanos;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::session::{Executed, Levels};
use crate::wire::WireNumber;

/// The answer to `instruments-info`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InstrumentsInfo<'a> {
    pub(super) ret_code: i64,
    #[serde(borrow, default)]
    pub(super) ret_msg: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) result: Option<Instruments<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instruments<'a> {
    /// Each by its own, so that one that can't be read doesn't take the others along.
    #[serde(borrow)]
    pub(super) list: Option<Vec<&'a RawValue>>,
    /// Empty on the last page, and of spot.
    #[serde(borrow, default)]
    pub(super) next_page_cursor: Option<Cow<'a, str>>,
}

/// One of them. What only derivatives have is `None` for spot.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instrument<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) base_coin: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) quote_coin: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) contract_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) settle_coin: Option<Cow<'a, str>>,
    pub(super) price_filter: Option<PriceFilter>,
    pub(super) lot_size_filter: Option<LotSizeFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PriceFilter {
    pub(super) tick_size: Option<WireNumber>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LotSizeFilter {
    /// Of spot.
    pub(super) base_precision: Option<WireNumber>,
    /// Of derivatives.
    pub(super) qty_step: Option<WireNumber>,
    pub(super) min_order_qty: Option<WireNumber>,
    pub(super) max_order_qty: Option<WireNumber>,
    /// Of spot.
    pub(super) min_order_amt: Option<WireNumber>,
    /// Of derivatives.
    pub(super) min_notional_value: Option<WireNumber>,
}

/// What an answer with a list says beside its rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    /// `retCode`; `None` where there is none.
    pub(super) code: Option<i64>,
    /// `retMsg`.
    pub(super) words: Cow<'a, str>,
    /// Whether there was a list of rows.
    pub(super) has_rows: bool,
}

/// One frame, understood. What is in its `data` was left in the [`Batch`] that was given to the parser.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// `publicTrade.BTCUSDT`: [`Batch::trades`]. The symbol.
    Trades(&'a str),
    /// `orderbook.200.BTCUSDT`: [`Batch::levels`], and what else it says.
    Book(BookPart<'a>),
    /// `{"success":true,"ret_msg":"","conn_id":"..","req_id":"1","op":"subscribe"}`.
    Ack(Option<u64>),
    /// `{"success":false,"ret_msg":"Invalid topic: ..","op":"subscribe"}`.
    Refusal { id: Option<u64>, words: Cow<'a, str> },
    /// `{"success":true,"ret_msg":"pong","op":"ping"}`, `{"args":["1672916271846"],"op":"pong"}`.
    Alive,
    /// Anything else that is a message.
    Other,
}

/// `{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":..,"data":{"s":"BTCUSDT","b":[..],"a":[..],"u":18521288,
/// "seq":7961638724},"cts":1672304484976}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BookPart<'a> {
    pub(super) symbol: &'a str,
    /// Levels a side, as the topic says.
    pub(super) depth: u64,
    pub(super) is_snapshot: bool,
    /// Number of the message within its topic, contiguous; 1 where the exchange's service began anew.
    pub(super) update: u64,
    /// Number within everything that happens to the symbol, ascending; that of one state is the same on all connections.
    pub(super) sequence: u64,
    /// `cts`, when it was matched; where that isn't said, `ts`, when it was sent.
    pub(super) ts_venue: UnixNanos,
}

/// Used again for every frame, so that parsing allocates nothing once it is warm.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) trades: Vec<Executed>,
    pub(super) levels: Levels,
}
