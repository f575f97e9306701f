//! Entries: everything that reaches us from outside, in the order in which it did. The journal stores entries; what store
//! and rings hold is a pure function of them.

use crate::UnixNanos;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// A connection opened. `subject`: the exchange's socket that it leads to, by the adapter's name; empty where it has but one.
    Opened = 1,
    /// A frame arrived. `payload`: its bytes, as they came.
    Frame = 2,
    /// A connection ended. `subject`: why.
    Closed = 3,
    /// A REST answer that records are made of. `subject`: the adapter's own name of the request, e.g. `depth BTC/USDT`.
    Response = 4,
    /// A feed was opened. `subject`: symbol, space, channel.
    FeedOpened = 5,
    /// A feed was closed. `subject`: symbol, space, channel.
    FeedClosed = 6,
    /// A live check found a feed broken and wants it rebuilt. `subject`: symbol, space, channel; `payload`: why.
    Resync = 7,
    /// Entries between the last one and this could not be journaled. `subject`: why.
    Lost = 8,
    /// A connection is known to carry these feeds since before now, also those of which nothing has come on it: the exchange has
    /// confirmed its subscriptions a while ago. `payload`: symbol, space, channel, a line for each.
    Carries = 9,
    /// The store holds rows of a series of which no entry before this speaks. They end there, and what came after is missing.
    /// `subject`: symbol, space, channel; `payload`: a [`crate::SeriesEnd`].
    Stored = 10,
}

impl EntryKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Opened),
            2 => Some(Self::Frame),
            3 => Some(Self::Closed),
            4 => Some(Self::Response),
            5 => Some(Self::FeedOpened),
            6 => Some(Self::FeedClosed),
            7 => Some(Self::Resync),
            8 => Some(Self::Lost),
            9 => Some(Self::Carries),
            10 => Some(Self::Stored),
            _ => None,
        }
    }
}

/// One thing that reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: EntryKind,
    /// Which connection; unique over the life of a journal, 0 where there is none.
    pub conn: u32,
    /// When it reached us: host clock, never going backwards within a journal.
    pub ts_recv: UnixNanos,
    /// See [`EntryKind`].
    pub subject: &'a str,
    /// See [`EntryKind`].
    pub payload: &'a [u8],
}
