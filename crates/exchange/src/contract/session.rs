//! A session: the state machine that turns entries into records and declared gaps. Pure: no I/O, no clock.

use std::sync::Arc;

use dccd_model::{BookLevel, BookState, Candle, Channel, Entry, Gap, Quote, Symbol, Trade, UnixNanos};
use serde::{Deserialize, Serialize};

use super::{EntryFault, FrameError};
use crate::Markets;

/// Index of a feed in [`Session::feeds`]: assigned in the order of the FeedOpened entries, never changed.
pub type FeedIndex = u32;

/// Words of a Resync entry about a feed that said nothing while its market traded: what it may have missed is a gap. Of one that never
/// had a record it begins at the time of [`resync_since`].
pub const RESYNC_SILENT: &str = "silent";

/// Between the words of a Resync entry and the time of [`resync_since`].
const SINCE: &str = " since ";

/// The payload of a Resync entry about what went wrong at this time, or later, host clock: of a silent feed when it was subscribed, of a
/// book since when it can't be believed.
#[must_use]
pub fn resync_since(words: &str, since: UnixNanos) -> String {
    format!("{words}{SINCE}{}", since.0)
}

/// The words of a Resync entry's payload, and the time.
pub(crate) fn read_resync(payload: &[u8]) -> (&str, Option<UnixNanos>) {
    let text = std::str::from_utf8(payload).unwrap_or_default();
    let told = text.rsplit_once(SINCE).and_then(|(words, since)| Some((words, UnixNanos(since.parse().ok()?))));
    told.map_or((text, None), |(words, since)| (words, Some(since)))
}

/// One feed of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// What is traded.
    pub symbol: Symbol,
    /// What it carries.
    pub channel: Channel,
    /// Whether it is open now. A closed feed keeps its index.
    pub open: bool,
}

/// Turns entries into records.
pub trait Session: Send {
    /// Applies one entry. Never panics on any input, allocates nothing per record. An entry's `conn` 0 in a Closed entry
    /// means all connections: what the live side writes when a process begins to go on with a journal.
    fn apply(&mut self, entry: &Entry<'_>, out: &mut dyn Output);

    /// What a frame says by itself: its trades, quotes and levels of books as records, all of feed 0 and of no epoch. That is what
    /// [`Session::apply`] begins with, without what it holds them against: which feed, whether it is the next and no other's, the book
    /// and its checksum. Nothing of the session changes by it. For who wants to see a message, or to know what reading alone costs.
    ///
    /// # Errors
    /// When the frame can't be read.
    fn read(&mut self, entry: &Entry<'_>, out: &mut dyn Output) -> Result<(), FrameError>;

    /// All feeds that were ever opened.
    fn feeds(&self) -> &[Feed];

    /// What another process needs to go on exactly here: feeds, sequences, open gaps, events held back while a book syncs.
    fn save(&self) -> Vec<u8>;

    /// The state of one feed, for people; that of a feed without records when there is none with this index.
    fn feed_status(&self, feed: FeedIndex) -> FeedStatus;

    /// What reached the session so far and came to nothing.
    fn counters(&self) -> Counters;

    /// What is wanted and hasn't come yet: snapshots and missing trades. For a live side that begins to go on after
    /// a replay, because replays ignore [`Output::want`], and for one that is about to do what was wanted a while ago. Of books that begin with a snapshot on their connection all that have
    /// none: right after a subscription it may just be on its way.
    fn outstanding(&self) -> Vec<Want>;

    /// The list of markets has grown: [`Markets::grown`] of the one before. Feeds that open from now on may be of what is new; nothing
    /// else changes.
    fn markets_grew(&mut self, markets: Arc<Markets>);

    /// The message that ends this feed's subscription on this connection, where the exchange numbers subscriptions: see
    /// [`super::Adapter::numbers_subscriptions`]. `None`: it doesn't, or there is no such subscription.
    fn ending(&self, _feed: FeedIndex, _conn: u32) -> Option<String> {
        None
    }
}

/// Receives what follows from an entry, in order.
pub trait Output {
    /// A trade.
    fn trade(&mut self, feed: FeedIndex, trade: &Trade);
    /// A trade from before all that the session remembers, of a feed whose ids don't count: whether it was given out before, nobody
    /// can tell but who knows all that there are. Others pass it over.
    fn past_trade(&mut self, _feed: FeedIndex, _trade: &Trade) {}
    /// A quote.
    fn quote(&mut self, feed: FeedIndex, quote: &Quote);
    /// One level of a book. The levels of an event stand between `Flags::FIRST` and `Flags::LAST`.
    fn level(&mut self, feed: FeedIndex, level: &BookLevel);
    /// A candle that the exchange sends: the one that grows as it stands now, or one that is closed ([`dccd_model::Flags::CLOSED`]).
    fn candle(&mut self, feed: FeedIndex, candle: &Candle);
    /// A gap was found, just before the first record after it, or as soon as the exchange tells of records that never came; or it was
    /// made good: then with the same `ids`, `from` and
    /// `reason`, and `repaired`, just after the record that completed it. Where the exchange turns out not to have all of the
    /// missing trades, the gap is given out as made good and, right after it, those that take its place: `from`, `to` and
    /// `reason` are the same, the `ids` of each are a part of its own.
    fn gap(&mut self, feed: FeedIndex, gap: &Gap);
    /// The book's state changed. `Valid` comes after the snapshot's levels and what was applied on top of them.
    fn book_state(&mut self, feed: FeedIndex, state: BookState, epoch: u32);
    /// What the live side should fetch or do now; replays ignore it. The live side keeps trying until the answer has reached
    /// the session as a Response entry: the session asks again only when the answer was of no use.
    fn want(&mut self, want: Want);
    /// Something that is no record.
    fn notice(&mut self, notice: Notice<'_>);
}

/// What the live side should fetch or do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// A snapshot of this feed's book.
    BookSnapshot {
        /// The feed.
        feed: FeedIndex,
        /// Its symbol.
        symbol: Symbol,
    },
    /// Trades that are missing.
    Trades {
        /// The feed.
        feed: FeedIndex,
        /// Its symbol.
        symbol: Symbol,
        /// The first missing id; see [`super::TradeHole`] for where ids don't count.
        from_id: u64,
        /// The last missing id.
        to_id: u64,
        /// The exchange's time of the last trade before them that there is; see [`super::TradeHole`].
        ts_before: UnixNanos,
    },
    /// This one feed from the beginning: end its subscription and subscribe again, so that the exchange sends a snapshot. The
    /// live side has one attempt under way for a feed and a budget for all; it asks again when nothing came of it.
    Resubscribe {
        /// The feed.
        feed: FeedIndex,
        /// Its symbol.
        symbol: Symbol,
        /// The connection whose subscription is no good any more; 0: whichever carry the feed.
        conn: u32,
    },
    /// The exchange asks on this connection for a sign of life, and ends it if none comes: [`super::Adapter::pong`], at once.
    Pong {
        /// Which.
        conn: u32,
    },
    /// The exchange will end this connection, or what it carries can't be relied on: open another first, then drop it.
    Replace {
        /// Which.
        conn: u32,
    },
}

impl Want {
    /// The feed that is to be subscribed anew.
    #[must_use]
    pub const fn resubscribes(&self) -> Option<FeedIndex> {
        match self {
            Self::Resubscribe { feed, .. } => Some(*feed),
            Self::BookSnapshot { .. } | Self::Trades { .. } | Self::Pong { .. } | Self::Replace { .. } => None,
        }
    }
}

/// Something that is no record.
#[derive(Debug)]
pub enum Notice<'a> {
    /// A frame or answer that can't be read. It stays in the journal; what it held is found missing by the sequences.
    Unreadable {
        /// Which connection; 0 for a REST answer.
        conn: u32,
        /// Why.
        reason: &'a FrameError,
    },
    /// A readable message of a kind that isn't used.
    UnknownMessage {
        /// Which connection.
        conn: u32,
    },
    /// A message for a feed that isn't open.
    Unrouted {
        /// Which connection.
        conn: u32,
    },
    /// The exchange refused something.
    ErrorReply {
        /// Which connection.
        conn: u32,
        /// The id of the message it answers, if it says so; see `Adapter::subscribe`.
        id: Option<u64>,
        /// The exchange's own code; 0 where it has none but words.
        code: i64,
        /// The exchange's own words.
        message: &'a str,
    },
    /// The exchange refused one symbol out of what a message asked for.
    Refused {
        /// Which connection.
        conn: u32,
        /// The id of the message it answers; 0 where the exchange doesn't say: all feeds of the symbol.
        id: u64,
        /// The symbol.
        symbol: &'a Symbol,
        /// The exchange's own words.
        message: &'a str,
    },
    /// The exchange told its state.
    Venue {
        /// Which connection.
        conn: u32,
        /// Whether it takes orders and sends what comes of them.
        is_open: bool,
        /// The exchange's own word for it.
        words: &'a str,
    },
    /// The exchange accepted a message.
    Ack {
        /// Which connection.
        conn: u32,
        /// The message's id.
        id: u64,
    },
    /// The exchange accepted a message, and names all that it subscribed: what else the message asked for it refused without
    /// a word. Without an id it is all that is subscribed on the connection by now; what else was asked for a while ago isn't.
    Subscribed {
        /// Which connection.
        conn: u32,
        /// The message's id; 0 where the exchange doesn't say.
        id: u64,
        /// The open feeds that it names.
        feeds: &'a [FeedIndex],
    },
    /// The exchange announced that it will end this connection.
    Shutdown {
        /// Which connection.
        conn: u32,
    },
    /// Trades come under ids that were given already, at later times. They are left out, and declared missing.
    CountsAnew {
        /// Of which market.
        symbol: &'a Symbol,
    },
    /// An entry that changes nothing, because it is not understood.
    Entry {
        /// Its subject.
        subject: &'a str,
        /// Why.
        fault: EntryFault,
    },
}

/// The state of one feed, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Id of the newest trade, or sequence number of the newest event; `None` before the first.
    pub last_id: Option<u64>,
    /// The exchange's time of the newest record, or our receive time where the exchange sends none.
    pub last_ts: UnixNanos,
    /// When the newest record reached us.
    pub last_recv: UnixNanos,
    /// Of trades: restarts of the ids. Of books: snapshots so far.
    pub epoch: u32,
    /// The book's state; `None` for other channels.
    pub book: Option<BookState>,
    /// Gaps of trades that are still being repaired; what the exchange doesn't have is none of them.
    pub open_gaps: usize,
    /// Trades missing in them.
    pub missing: u64,
    /// Gaps declared so far.
    pub gaps: u64,
    /// Gaps made good so far.
    pub repaired: u64,
    /// Records given out so far.
    pub records: u64,
    /// Records or events that had been seen before, and were dropped.
    pub duplicates: u64,
    /// Events held back until a snapshot comes.
    pub buffered: usize,
}

/// What reached the session so far and came to nothing; and how much reached it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Entries applied.
    pub entries: u64,
    /// Frames among them.
    pub frames: u64,
    /// Frames and answers that couldn't be read.
    pub unreadable: u64,
    /// Messages of a kind that isn't used.
    pub unknown: u64,
    /// Messages for feeds that aren't open.
    pub unrouted: u64,
    /// Refusals by the exchange.
    pub error_replies: u64,
    /// Entries that weren't understood.
    pub entry_faults: u64,
    /// Events dropped while a book was syncing, because too many were held back.
    pub overflowed: u64,
}
