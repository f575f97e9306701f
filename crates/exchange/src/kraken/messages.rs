//! Kraken's messages and answers as they are on the wire, under the exchange's own field names.
//!
//! All answers have one envelope, with status 200 whatever happened: `{"error":["EQuery:Unknown asset pair"]}`, or
//! `{"error":[],"result":{..}}`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use dccd_model::UnixNanos;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::session::{Levels, Quoted, Traded};
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

/// One frame, understood. What is in its `data` was left in the [`Batch`] that was given to the parser.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// `trade`: [`Batch::trades`].
    Trades,
    /// `ticker`: [`Batch::quotes`].
    Quotes,
    /// `book`: [`Batch::books`].
    Books {
        /// `"type":"snapshot"`.
        is_snapshot: bool,
    },
    /// `{"channel":"status",..,"data":[{"system":"online",..}]}`: its `system`.
    Status(Cow<'a, str>),
    /// `{"method":"subscribe","result":{"channel":"book","symbol":"BTC/USD","depth":10},"success":true,"req_id":1}`.
    Ack {
        id: Option<u64>,
        /// Of a book that is subscribed: its symbol and its depth.
        book: Option<(&'a [u8], u64)>,
    },
    /// `{"method":"subscribe","error":"..","success":false,"symbol":"..","req_id":1}`, `{"Error":"Exceeded msg rate"}`.
    Refusal { id: Option<u64>, symbol: Option<&'a [u8]>, words: Cow<'a, str> },
    /// `{"channel":"heartbeat"}`, `{"method":"pong",..}`.
    Alive,
    /// Anything else that is a message.
    Other,
}

/// What the `data` of a message holds, each under its symbol: where that stands in the frame. Used again for every frame, so
/// that parsing allocates nothing once it is warm.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) trades: Vec<(Range<usize>, Traded)>,
    pub(super) quotes: Vec<(Range<usize>, Quoted)>,
    pub(super) books: Vec<(Range<usize>, BookPart)>,
    /// Of all books.
    pub(super) levels: Levels,
}

/// `{"symbol":"BTC/USD","bids":[{"price":0.5666,"qty":4831.75496356}],"asks":[],"checksum":2439117997,"timestamp":".."}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BookPart {
    /// Where its bids stand in [`Batch::levels`].
    pub(super) bids: Range<usize>,
    /// Where its asks stand there.
    pub(super) asks: Range<usize>,
    /// CRC32 of the best levels after this message.
    pub(super) checksum: u32,
    /// [`UnixNanos::UNKNOWN`] where there is none: old snapshots had none.
    pub(super) ts_venue: UnixNanos,
}
