//! What the sessions of all exchanges have in common: feeds and their routes, connections, records of trades and quotes, saved
//! state. An exchange brings a [`Dialect`], which reads its messages, and [`BookRules`], which say when its books are right.

mod carried;
mod executed;
mod feeds;
mod levels;
mod plain;

use std::sync::Arc;

use dccd_model::{BookState, Channel, Entry, EntryKind, GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(crate) use carried::{BookCopy, Carried};
pub(crate) use executed::Executed;
pub(crate) use feeds::{Feeds, Quoted, Traded};
pub(crate) use levels::{EventHead, Level, Levels, Sink};
pub(crate) use plain::Plain;

use crate::{Counters, ExchangeError, Feed, FeedIndex, FeedStatus, FrameError, Markets, Output, Session, Want};
use feeds::State;

/// How one exchange talks: its messages, handed to the [`Feeds`] as what they mean.
pub(crate) trait Dialect: Send {
    /// When a book of this exchange is right.
    type Book: BookRules;

    /// The exchange's name.
    const NAME: &'static str;
    /// The channels that can be opened.
    const CHANNELS: &'static [Channel];
    /// Subject of the answer that holds the markets, which is of no concern here.
    const MARKETS_SUBJECT: &'static str;
    /// Version of what is saved. It changes when [`Dialect::Book`] does, or what all sessions save.
    const SAVED_VERSION: u32;
    /// Quotes are numbered by the exchange; otherwise its times order them.
    const QUOTES_NUMBERED: bool;
    /// Trade ids are contiguous for each symbol; otherwise only the connections tell of a loss.
    const TRADES_COUNTED: bool = true;
    /// The names of the exchange's sockets, where it has several: messages of one may bear the same names as those of another.
    const SOCKETS: &'static [&'static str] = &[];

    /// The name under which messages are about this symbol.
    fn id(&self, symbol: &Symbol, markets: &Markets) -> String;

    /// A book that has seen nothing.
    fn book(&self, symbol: &Symbol, markets: &Markets) -> Self::Book;

    /// Reads a frame. Whatever it is, it is either handed to `feeds` as what it means, or as what can't be read.
    fn frame(&mut self, entry: &Entry<'_>, feeds: &mut Feeds<Self::Book>, out: &mut dyn Output);

    /// As [`Session::read`].
    fn read(&mut self, entry: &Entry<'_>, plain: &mut Plain<'_>) -> Result<(), FrameError>;

    /// Reads an answer about a feed. `kind` is the first word of its subject.
    fn response(
        &mut self,
        kind: Answer,
        feed: FeedIndex,
        entry: &Entry<'_>,
        feeds: &mut Feeds<Self::Book>,
        out: &mut dyn Output,
    );

    /// The feed that a frame is about, as far as its beginning tells, whatever is wrong with the rest: the name of
    /// [`Dialect::id`], in any case, and the channel. `None`: it may be about any. Where there are several sockets the frame
    /// alone doesn't tell; see [`Feeds::unreadable_of`].
    fn stream_of(_frame: &[u8]) -> Option<(&str, Channel)> {
        None
    }

    /// A connection opened. Of concern where messages mean what the ones before them on their connection said.
    fn opened(&mut self, _conn: u32) {}

    /// A connection ended; 0: all of them. The feeds know already.
    fn closed(&mut self, _conn: u32) {}

    /// Entries are missing. The feeds know already.
    fn lost(&mut self, _out: &mut dyn Output) {}

    /// As [`Session::markets_grew`]. Of concern where the dialect itself goes by what markets are like.
    fn markets_grew(&mut self, _markets: &Markets) {}

    /// What of [`Session::outstanding`] only the dialect knows.
    fn outstanding(&self, _feeds: &Feeds<Self::Book>) -> Vec<Want> {
        Vec::new()
    }

    /// As [`Session::ending`].
    fn ending(&self, _feeds: &Feeds<Self::Book>, _feed: FeedIndex, _conn: u32) -> Option<String> {
        None
    }

    /// What of the dialect itself has to be saved, as JSON; `None` where each message stands for itself.
    fn saved(&self) -> Option<Box<RawValue>> {
        None
    }

    /// Goes on with what was saved.
    ///
    /// # Errors
    /// When it is no such thing.
    fn resume(&mut self, _saved: &RawValue) -> Result<(), serde_json::Error> {
        Ok(())
    }
}

/// An answer over REST that a session makes records of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A snapshot of a book; `depth SYMBOL`.
    Snapshot,
    /// Trades that were missing; `trades SYMBOL ..`.
    Trades,
}

/// When a book is right: the exchange's own rules of sequence and checksum.
pub(crate) trait BookRules: Clone + Send + Serialize + DeserializeOwned {
    /// What the book holds can't be trusted any more, whatever its numbers say: it begins anew.
    fn rebuild(&mut self, reason: GapReason, sink: &mut Sink<'_>);

    /// The feed was closed: when it opens again, a new epoch begins.
    fn close(&mut self, sink: &mut Sink<'_>);

    /// The store has epochs of this book, up to this end. Those that begin from now on have higher numbers; of a book that had none
    /// yet all since is missing.
    fn resume(&mut self, end: &SeriesEnd);

    /// A connection ended; 0: all of them. Of no concern where the numbers of the next event tell what is missing.
    fn disconnected(&mut self, _conn: u32, _ts_recv: UnixNanos, _sink: &mut Sink<'_>) {}

    /// A frame of this connection that may have been about this book couldn't be read. As [`BookRules::disconnected`].
    fn unreadable(&mut self, _conn: u32, _sink: &mut Sink<'_>) {}

    /// The exchange's own count shows that messages of this connection are missing, of whichever feeds.
    fn missed(&mut self, _conn: u32, _sink: &mut Sink<'_>) {}

    /// What the book waits for.
    fn wanted(&self, feed: FeedIndex, symbol: &Symbol) -> Option<Want>;

    /// How it is.
    fn status(&self) -> BookStatus;
}

/// What people are told of a book.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BookStatus {
    pub(crate) state: BookState,
    pub(crate) epoch: u32,
    /// Number of the last event; `None` before the first, and where the exchange numbers nothing.
    pub(crate) last: Option<u64>,
    pub(crate) last_ts: UnixNanos,
    /// Events held back.
    pub(crate) held: usize,
}

#[derive(Deserialize)]
struct SavedHead {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Saved<S> {
    version: u32,
    state: S,
    /// [`Dialect::saved`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dialect: Option<Box<RawValue>>,
}

/// The session of an exchange with this dialect.
pub(crate) struct LiveSession<D: Dialect> {
    dialect: D,
    feeds: Feeds<D::Book>,
}

impl<D: Dialect> LiveSession<D> {
    /// One that nothing has reached yet.
    pub(crate) fn new(dialect: D, markets: Arc<Markets>) -> Self {
        Self { dialect, feeds: Feeds::new(markets, D::CHANNELS, State::default()) }
    }

    /// One that goes on where [`Session::save`] was called.
    pub(crate) fn restore(mut dialect: D, markets: Arc<Markets>, saved: &[u8]) -> Result<Self, ExchangeError> {
        let (exchange, expected) = (D::NAME, D::SAVED_VERSION);
        let unreadable = |source| ExchangeError::SavedState { exchange, bytes: saved.len(), source };
        let head: SavedHead = serde_json::from_slice(saved).map_err(unreadable)?;
        if head.version != expected {
            return Err(ExchangeError::SavedVersion { exchange, found: head.version, expected });
        }
        let saved: Saved<State<D::Book>> = serde_json::from_slice(saved).map_err(unreadable)?;
        if let Some(of_dialect) = &saved.dialect {
            dialect.resume(of_dialect).map_err(unreadable)?;
        }
        Ok(Self { dialect, feeds: Feeds::new(markets, D::CHANNELS, saved.state) })
    }
}

impl<D: Dialect> Session for LiveSession<D> {
    fn apply(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        let Self { dialect, feeds } = self;
        feeds.counters_mut().entries += 1;
        match entry.kind {
            EntryKind::Opened => {
                feeds.opened(D::SOCKETS, entry);
                dialect.opened(entry.conn);
            }
            EntryKind::Frame => {
                feeds.counters_mut().frames += 1;
                dialect.frame(entry, feeds, out);
            }
            EntryKind::Closed => {
                feeds.closed(entry, out);
                dialect.closed(entry.conn);
            }
            EntryKind::Response => {
                if let Some((kind, feed)) = feeds.answered(D::MARKETS_SUBJECT, entry, out) {
                    dialect.response(kind, feed, entry, feeds, out);
                }
            }
            EntryKind::FeedOpened => feeds.open(dialect, entry, out),
            EntryKind::FeedClosed => feeds.close(entry, out),
            EntryKind::Resync => feeds.resync(entry, out),
            EntryKind::Carries => feeds.carries(entry, out),
            EntryKind::Stored => feeds.stored(dialect, entry, out),
            EntryKind::Lost => {
                feeds.lost(out);
                dialect.lost(out);
            }
        }
    }

    fn read(&mut self, entry: &Entry<'_>, out: &mut dyn Output) -> Result<(), FrameError> {
        self.dialect.read(entry, &mut Plain { ts_recv: entry.ts_recv, out })
    }

    fn feeds(&self) -> &[Feed] {
        self.feeds.list()
    }

    fn save(&self) -> Vec<u8> {
        // Plain structs of numbers, strings and lists: nothing in them that JSON can't hold.
        let saved = Saved { version: D::SAVED_VERSION, state: self.feeds.state(), dialect: self.dialect.saved() };
        serde_json::to_vec(&saved).unwrap_or_default()
    }

    fn feed_status(&self, feed: FeedIndex) -> FeedStatus {
        self.feeds.status(feed)
    }

    fn counters(&self) -> Counters {
        self.feeds.counters()
    }

    fn outstanding(&self) -> Vec<Want> {
        let mut wants = self.feeds.outstanding();
        wants.extend(self.dialect.outstanding(&self.feeds));
        wants
    }

    fn markets_grew(&mut self, markets: Arc<Markets>) {
        self.dialect.markets_grew(&markets);
        self.feeds.markets_grew(markets);
    }

    fn ending(&self, feed: FeedIndex, conn: u32) -> Option<String> {
        self.dialect.ending(&self.feeds, feed, conn)
    }
}
