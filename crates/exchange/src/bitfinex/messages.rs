//! Bitfinex' messages and answers as they are on the wire, under the exchange's own names.
//!
//! Events are objects (`{"event":"subscribed",..}`); what channels bring are lists that begin with the channel's number and end with
//! what `conf` asked for: `[10092,[7254.5,0,1],17,1617643607334]`.

use std::borrow::Cow;

use crate::session::{Executed, Levels};
use crate::wire::Cursor;

/// The beginning of a message.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// Something of the connection or of subscriptions.
    Event(Event<'a>),
    /// Something of a channel: its number, and the place after it.
    Data(u64, Cursor<'a>),
}

/// What an object says.
#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    /// `info`, `conf`, `subscribed`, `unsubscribed`, `error`, `pong`.
    pub(super) event: &'a [u8],
    /// Of what is told or refused.
    pub(super) code: Option<u64>,
    pub(super) words: Cow<'a, str>,
    /// `"platform":{"status":1}`: 0 in a maintenance.
    pub(super) platform: Option<u64>,
    /// Of `conf`: whether it was done, and what is on now.
    pub(super) status: &'a [u8],
    pub(super) flags: Option<u64>,
    /// Of subscriptions: the channel's number, its kind, and what it is about.
    pub(super) chan_id: Option<u64>,
    pub(super) channel: &'a [u8],
    pub(super) symbol: &'a [u8],
    pub(super) precision: &'a [u8],
    /// Levels a side.
    pub(super) length: Option<u64>,
    /// Ours, of the message that it answers.
    pub(super) id: Option<u64>,
}

/// What a channel brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `trades`.
    Trades,
    /// `book` of price levels.
    Book,
    /// The same of one level a side: what quotes are made of.
    Top,
    /// Anything else.
    Other,
}

/// What one message of a channel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// `"hb"`: nothing happened.
    Heartbeat,
    /// `"cs",-890884919`: of the best levels, as they are now.
    Checksum(i32),
    /// `"te",[id,mts,amount,price]`, in [`Batch::trades`].
    Trade,
    /// `"tu",[id,mts,amount,price]`: the same once more, a second or two later; in [`Batch::trades`].
    Update,
    /// The newest trades, in the order of time; in [`Batch::trades`].
    Trades,
    /// `[price,count,amount]`, in [`Batch::levels`].
    Change,
    /// A list of them: a snapshot, or several changes.
    Levels,
    /// Whatever isn't used.
    Other,
}

/// What the message at hand holds. Used again for every message, so that parsing allocates nothing once it is warm.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) trades: Vec<Executed>,
    pub(super) levels: Levels,
}

/// What stands after the content, as far as it is numbers: by what `conf` asked for, number on the connection and time.
pub(super) type Tail = [Option<u64>; 2];
