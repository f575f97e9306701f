//! Kraken's answers as they are on the wire, under the exchange's own field names.
//!
//! All have one envelope, with status 200 whatever happened: `{"error":["EQuery:Unknown asset pair"]}`, or
//! `{"error":[],"result":{..}}`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::WireNumber;

/// The answer to `AssetPairs`.
#[derive(Deserialize)]
pub(super) struct AssetPairs<'a> {
    #[serde(borrow, default)]
    pub(super) error: Vec<Cow<'a, str>>,
    /// Each by its own, so that one that can't be read doesn't take the others along.
    #[serde(borrow)]
    pub(super) result: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
}

/// One of them: `"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD","pair_decimals":1,..}`.
#[derive(Deserialize)]
pub(super) struct Pair<'a> {
    #[serde(borrow)]
    pub(super) altname: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) wsname: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) base: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) quote: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) status: Option<Cow<'a, str>>,
    pub(super) pair_decimals: Option<i8>,
    pub(super) lot_decimals: Option<i8>,
    pub(super) tick_size: Option<WireNumber>,
    pub(super) ordermin: Option<WireNumber>,
    pub(super) costmin: Option<WireNumber>,
}

/// What an answer with a table says beside its rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    /// Everything in `error`.
    pub(super) errors: Vec<Cow<'a, str>>,
    /// Whether there was a table of rows.
    pub(super) has_rows: bool,
    /// `last`: of candles the newest closed one in seconds, of trades the newest in nanoseconds.
    pub(super) last: Option<u64>,
}
