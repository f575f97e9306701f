//! OKX's messages and answers as they are on the wire, under the exchange's own field names.
//!
//! All answers have one envelope, with status 200 for most refusals: `{"code":"51001","msg":"Instrument ID does not exist","data":[]}`.

use std::borrow::Cow;

use dccd_model::UnixNanos;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::session::{Levels, Quoted, Traded};

/// An answer: its rows, each by its own, so that one that can't be read doesn't take the others along.
#[derive(Deserialize)]
pub(super) struct Reply<'a> {
    #[serde(borrow)]
    pub(super) code: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) msg: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) data: Option<Vec<&'a RawValue>>,
}

/// A listed instrument. Numbers are texts, empty where there is none: `{"instType":"SWAP","instId":"BTC-USDT-SWAP","ctVal":"0.01",
/// "ctMult":"1","ctValCcy":"BTC","ctType":"linear","settleCcy":"USDT","tickSz":"0.1","lotSz":"0.01","minSz":"0.01","state":"live",..}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instrument<'a> {
    #[serde(borrow)]
    pub(super) inst_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) inst_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) base_ccy: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) quote_ccy: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) settle_ccy: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) ct_val: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) ct_mult: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) ct_val_ccy: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) ct_type: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) tick_sz: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) lot_sz: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) min_sz: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) max_lmt_sz: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) state: Cow<'a, str>,
}

/// A trade of the past: `{"instId":"BTC-USDT","side":"sell","sz":"0.00001","px":"29963.2","tradeId":"242720720","ts":"1654161646974"}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PastTrade<'a> {
    #[serde(borrow)]
    pub(super) trade_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) px: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sz: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) side: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) ts: Cow<'a, str>,
}

/// One frame, understood. What is in its `data` was left in the [`Batch`] that was given to the parser.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// `trades-all`: [`Batch::trades`].
    Trades { id: &'a [u8] },
    /// `bbo-tbt`: [`Batch::quotes`].
    Quotes { id: &'a [u8] },
    /// `books`: [`Batch::book`].
    Book {
        id: &'a [u8],
        /// `"action":"snapshot"`.
        is_snapshot: bool,
    },
    /// `{"id":"7","event":"subscribe","arg":{..},"connId":"a4d3ae55"}`; one for each argument.
    Ack { id: Option<u64> },
    /// `{"id":"7","event":"error","code":"60018","msg":"..","connId":"a4d3ae55"}`.
    Refusal { id: Option<u64>, code: i64, words: Cow<'a, str> },
    /// `{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. ..","connId":".."}`.
    Shutdown,
    /// `pong`.
    Alive,
    /// Anything else that is a message.
    Other,
}

/// What the `data` of a message holds. Used again for every frame, so that parsing allocates nothing once it is warm.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) trades: Vec<Traded>,
    pub(super) quotes: Vec<Quoted>,
    pub(super) book: Option<BookPart>,
    /// Of the book.
    pub(super) levels: Levels,
}

/// `{"asks":[["8476.98","415","0","13"]],"bids":[..],"ts":"1597026383085","checksum":0,"prevSeqId":-1,"seqId":123456}` but for the
/// levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BookPart {
    pub(super) ts_venue: UnixNanos,
    /// CRC32 of the best levels after this message; `None` where there is none, or 0, which is what all have since June 2026.
    pub(super) checksum: Option<i32>,
    /// Number of this message; `None` before the exchange numbered anything, in 2022 and earlier.
    pub(super) seq: Option<u64>,
    /// Number of the message before it; `None` where it isn't said.
    pub(super) prev: Option<u64>,
    /// It says that there is no message before it (-1): this is a snapshot.
    pub(super) is_first: bool,
}
