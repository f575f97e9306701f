//! KuCoin's rule for order books: a snapshot of the best 500 levels a side on the connection, then what changed in them, each message
//! with the numbers of its first and its last change. A level that leaves the best 500 is ended, one that enters is sent, so what
//! the messages say is all there is to know, and nothing has to be guessed below.
//!
//! A message fits if it begins right after the last one, or before and reaches past it: amounts are absolute. The last one once
//! more is a repetition; any other that ends where we are already, or before, says that the numbers began anew, and the
//! subscription begins anew, too: were it taken for an old one, a stale book would stay for ever.
//!
//! A copy on another connection is the same in its number, which doesn't depend on the connection, and in every level.

use dccd_model::{BookSide, GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::consts::BOOK_LEVELS_MAX;
use super::messages::BookPart;
use crate::ladder::as_levels;
use crate::session::{BookCopy, BookRules, BookStatus, Carried, Level, Levels, Sink};
use crate::{FeedIndex, Ladder, Want};

/// The book as one connection brings it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Copy {
    conn: u32,
    #[serde(with = "as_levels")]
    ladder: Ladder,
    /// Of the last message: its first and its last change.
    first: u64,
    last: u64,
    ts: UnixNanos,
}

impl Copy {
    fn apply(&mut self, part: &BookPart<'_>, levels: &Levels) {
        for (side, levels) in [(BookSide::Bid, &levels.bids), (BookSide::Ask, &levels.asks)] {
            for level in levels {
                self.ladder.set(side, level.price, level.amount);
            }
        }
        self.take(part);
    }

    fn take(&mut self, part: &BookPart<'_>) {
        (self.first, self.last, self.ts) = (part.first, part.last, part.ts_venue);
    }

    /// Whether the exchange can have such a book.
    fn can_be(&self) -> bool {
        let (bids, asks) = self.ladder.len();
        bids.max(asks) <= BOOK_LEVELS_MAX && !self.ladder.is_crossed()
    }

    fn repeats(&self, part: &BookPart<'_>) -> bool {
        (self.first, self.last) == (part.first, part.last)
    }

    /// Whether this change goes on where the book is.
    fn is_followed_by(&self, part: &BookPart<'_>) -> bool {
        part.last > self.last && part.first <= self.last.saturating_add(1)
    }
}

impl BookCopy for Copy {
    fn conn(&self) -> u32 {
        self.conn
    }

    fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    fn ts(&self) -> UnixNanos {
        self.ts
    }

    fn update_id(&self) -> Option<u64> {
        Some(self.last)
    }

    fn is_the_same(&self, other: &Self) -> bool {
        self.last == other.last && self.ladder.holds_the_same(&other.ladder)
    }
}

/// One book.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    carried: Carried<Copy>,
}

impl Book {
    /// A snapshot arrived.
    pub(super) fn snapshot(
        &mut self,
        part: &BookPart<'_>,
        levels: &Levels,
        conn: u32,
        ts_recv: UnixNanos,
        sink: &mut Sink<'_>,
    ) {
        let mut copy = Copy { conn, ..Copy::default() };
        copy.ladder.replace(levels);
        copy.take(part);
        if !copy.can_be() {
            return self.carried.reject(GapReason::Integrity, conn, sink);
        }
        match self.carried.carrier().filter(|carrier| carrier.conn == conn) {
            Some(carrier) if carrier.is_the_same(&copy) => {
                sink.tally.duplicates += 1;
                return self.carried.settle(conn);
            }
            // One that nobody asked for: what lies between is not told.
            Some(_) => self.carried.note(GapReason::Sequence),
            None => {}
        }
        self.carried.accept(copy, ts_recv, sink);
    }

    /// A change arrived. `reason`: why there would be a hole before it.
    pub(super) fn update(
        &mut self,
        part: &BookPart<'_>,
        levels: &Levels,
        (conn, ts_recv, reason): (u32, UnixNanos, GapReason),
        sink: &mut Sink<'_>,
    ) {
        let is_carrier = self.carried.is_carrier(conn);
        let Some(copy) = self.carried.copy_mut(conn) else {
            // Before its snapshot, or of a subscription that is over: the snapshot that is to come holds all of it.
            return;
        };
        if copy.repeats(part) {
            sink.tally.duplicates += 1;
            return;
        }
        if !copy.is_followed_by(part) {
            return self.carried.reject(reason, conn, sink);
        }
        copy.apply(part, levels);
        if !copy.can_be() {
            return self.carried.reject(GapReason::Integrity, conn, sink);
        }
        if !is_carrier {
            return self.carried.came_beside(sink);
        }
        let count = levels.bids.len() + levels.asks.len();
        let of = |side| move |level: &Level| (side, *level);
        let levels = levels.bids.iter().map(of(BookSide::Bid)).chain(levels.asks.iter().map(of(BookSide::Ask)));
        self.carried.give_out((part.ts_venue, ts_recv), count, levels, sink);
    }
}

impl BookRules for Book {
    fn rebuild(&mut self, reason: GapReason, sink: &mut Sink<'_>) {
        self.carried.rebuild(reason, sink);
    }

    fn close(&mut self, sink: &mut Sink<'_>) {
        self.carried.wait(sink);
    }

    fn resume(&mut self, end: &SeriesEnd) {
        self.carried.resume(end);
    }

    fn disconnected(&mut self, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        self.carried.disconnected(conn, ts_recv, sink);
    }

    /// The next one would tell by its numbers, but on a quiet market it may be long in coming.
    fn unreadable(&mut self, conn: u32, sink: &mut Sink<'_>) {
        self.carried.unreadable(conn, sink);
    }

    fn wanted(&self, feed: FeedIndex, symbol: &Symbol) -> Option<Want> {
        self.carried.wanted(feed, symbol)
    }

    fn status(&self) -> BookStatus {
        self.carried.status()
    }
}
