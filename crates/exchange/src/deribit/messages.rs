//! Deribit's messages and answers as they are on the wire (JSON-RPC 2.0), under the exchange's own field names.

use std::borrow::Cow;

use dccd_model::UnixNanos;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::session::{Levels, Quoted, Traded};
use crate::wire::{Cursor, WireNumber};

/// An answer with a list: its rows, each by its own, so that one that can't be read doesn't take the others along.
#[derive(Deserialize)]
pub(super) struct Reply<'a> {
    #[serde(borrow)]
    pub(super) result: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) error: Option<Fault<'a>>,
}

/// `{"code":11050,"message":"bad_request","data":{"reason":"..","param":".."}}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Fault<'a> {
    pub(super) code: i64,
    #[serde(borrow, default)]
    pub(super) message: Cow<'a, str>,
}

/// A listed instrument: `{"kind":"future","instrument_name":"BTC-PERPETUAL","base_currency":"BTC","quote_currency":"USD",
/// "settlement_currency":"BTC","settlement_period":"perpetual","expiration_timestamp":32503708800000,"is_active":true,
/// "tick_size":0.5,"contract_size":10.0,"min_trade_amount":10.0,..}`.
#[derive(Deserialize)]
pub(super) struct Instrument<'a> {
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) instrument_name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) base_currency: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) quote_currency: Cow<'a, str>,
    /// Absent in 2021 and before, when all were settled in what they are about.
    #[serde(borrow)]
    pub(super) settlement_currency: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) settlement_period: Option<Cow<'a, str>>,
    pub(super) expiration_timestamp: Option<i64>,
    pub(super) is_active: Option<bool>,
    pub(super) tick_size: Option<WireNumber>,
    pub(super) contract_size: Option<WireNumber>,
    pub(super) min_trade_amount: Option<WireNumber>,
}

/// One frame, understood. What is in its `data` was left in the [`Batch`] that was given to the parser.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// `trades.BTC-PERPETUAL.100ms`: [`Batch::trades`].
    Trades { id: &'a [u8] },
    /// `quote.BTC-PERPETUAL`: [`Batch::quote`].
    Quote { id: &'a [u8] },
    /// `book.BTC-PERPETUAL.100ms`: [`Batch::book`].
    Book { id: &'a [u8] },
    /// `platform_state`: a maintenance begins or ends, or what is traded on an index is locked or no more.
    Platform(Platform<'a>),
    /// `{"jsonrpc":"2.0","id":7,"result":["book.BTC-PERPETUAL.100ms"],..}`: a subscription, or its end. `channels` stands before the
    /// list.
    Channels { id: u64, channels: Cursor<'a> },
    /// `{"jsonrpc":"2.0","id":7,"result":"ok",..}`.
    Ack { id: u64 },
    /// `{"jsonrpc":"2.0","id":7,"error":{"code":11050,"message":"bad_request"},..}`.
    Refusal { id: Option<u64>, fault: Fault<'a> },
    /// `{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}`: an answer is wanted.
    TestRequest,
    /// `{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}`.
    Alive,
    /// Anything else that is a message.
    Other,
}

/// `{"maintenance":true}`, or `{"price_index":"sol_usdc","locked":true}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Platform<'a> {
    pub(super) maintenance: Option<bool>,
    pub(super) locked: Option<bool>,
    pub(super) price_index: &'a [u8],
}

/// What the `data` of a message holds. Used again for every frame, so that parsing allocates nothing once it is warm.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) trades: Vec<Traded>,
    pub(super) quote: Option<Quoted>,
    pub(super) book: Option<BookPart>,
    /// Of the book.
    pub(super) levels: Levels,
    /// Which of the levels the message says to be there already: it changes or ends them.
    pub(super) known: Known,
}

/// For each level of a message, in its place: whether it was there before the message, as the message says.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) bids: Vec<bool>,
    pub(super) asks: Vec<bool>,
}

/// `{"type":"change","timestamp":1622627435737,"prev_change_id":31479598064,"change_id":31479598217,"bids":[["delete",36779.0,0.0]],
/// "asks":[["change",37412.0,20.0]]}` but for the levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BookPart {
    pub(super) ts_venue: UnixNanos,
    /// Number of the state after this message.
    pub(super) change: u64,
    /// That of the message before it; `None` of a whole book, 0 where there was none.
    pub(super) prev: Option<u64>,
}
