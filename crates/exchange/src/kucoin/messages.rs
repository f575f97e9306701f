//! KuCoin's messages and answers as they are on the wire, under the exchange's own field names.
//!
//! All answers have one envelope: `{"code":"200000","data":..}`, or `{"code":"400100","msg":"Parameter Error"}`.

use std::borrow::Cow;

use dccd_model::UnixNanos;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::session::{Executed, Levels, Quoted};
use crate::wire::WireNumber;

/// An answer with a list.
#[derive(Deserialize)]
pub(super) struct Listed<'a> {
    #[serde(borrow)]
    pub(super) code: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) msg: Cow<'a, str>,
    /// Each by its own, so that one that can't be read doesn't take the others along.
    #[serde(borrow)]
    pub(super) data: Option<Vec<&'a RawValue>>,
}

/// One market of `/api/v2/symbols`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedSymbol<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) base_currency: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) quote_currency: Cow<'a, str>,
    pub(super) enable_trading: Option<bool>,
    pub(super) price_increment: Option<WireNumber>,
    pub(super) base_increment: Option<WireNumber>,
    pub(super) base_min_size: Option<WireNumber>,
    pub(super) base_max_size: Option<WireNumber>,
    pub(super) min_funds: Option<WireNumber>,
}

/// The answer to `bullet-public`: a ticket for one connection. Not to be shown, because of the token.
#[derive(Deserialize)]
pub(super) struct Bullet<'a> {
    #[serde(borrow)]
    pub(super) code: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) msg: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) data: Option<Ticket<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ticket<'a> {
    #[serde(borrow)]
    pub(super) token: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) instance_servers: Vec<InstanceServer<'a>>,
}

#[derive(Deserialize)]
pub(super) struct InstanceServer<'a> {
    #[serde(borrow)]
    pub(super) endpoint: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) protocol: Option<Cow<'a, str>>,
}

/// What an answer with rows says beside them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    /// `code`; `None` where there is none.
    pub(super) code: Option<Cow<'a, str>>,
    /// `msg`.
    pub(super) words: Cow<'a, str>,
    /// Whether there was a list of rows.
    pub(super) has_rows: bool,
}

/// One frame, understood. Levels were left in the [`Batch`] that was given to the parser.
#[derive(Debug, PartialEq)]
pub(super) enum Message<'a> {
    /// `/market/match:BTC-USDT`. The symbol.
    Trade(&'a str, Executed),
    /// `/spotMarket/level1:BTC-USDT`. The symbol.
    Quote(&'a str, Quoted),
    /// `obu.SPOT` of [`super::consts::BOOK_DEPTH`].
    Book(BookPart<'a>),
    /// `{"id":"1","type":"ack"}`, `{"id":"1","result":true}`.
    Ack(Option<u64>),
    /// `{"id":"1","type":"error","code":404,"data":"topic does not exist"}`,
    /// `{"id":"1","result":false,"message":"invalid request data"}`.
    Refusal { id: Option<u64>, code: i64, words: Cow<'a, str> },
    /// A greeting, or the answer to a ping.
    Alive,
    /// Anything else that is a message.
    Other,
}

/// `{"T":"obu.SPOT","dp":"increment@10ms","t":"delta","P":1781672136338555550,"d":{"C":33629695393,"M":1781672136333000000,
/// "O":33629695388,"a":[],"b":[["65928.9","0"]],"s":"BTC-USDT"}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BookPart<'a> {
    pub(super) symbol: &'a str,
    pub(super) is_snapshot: bool,
    /// `O`: number of the first change in it. Numbers are the symbol's, the same on all connections.
    pub(super) first: u64,
    /// `C`: number of the last one.
    pub(super) last: u64,
    /// `M`, when it was matched.
    pub(super) ts_venue: UnixNanos,
}

/// Used again for every frame, so that parsing allocates nothing once it is warm.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) levels: Levels,
}
