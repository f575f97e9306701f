//! Bybit's rule for order books: a snapshot on the connection, then changes whose number `u` goes up by one, each the exact
//! difference between two states of so many levels. So a level that ends was there, no side ever has more levels than were
//! subscribed, and the sides never cross: what is wrong in a message that fits by its number mostly shows in one of these.
//!
//! A copy on another connection is the same in `seq`, which doesn't depend on the connection as `u` may, and in every level.
//!
//! A message that doesn't fit is not given out: the book is suspect, and its subscription begins anew. So it does after a frame
//! that couldn't be read and may have been of this book. A snapshot that nobody asked for begins an epoch, with a gap before it:
//! the exchange sends one when its service began anew (`u` is 1 then), and doesn't say what happened in between.

use dccd_model::{BookSide, GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

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
    /// Of the last message.
    update: u64,
    sequence: u64,
    ts: UnixNanos,
}

impl Copy {
    /// Applies a change; says whether it fits.
    fn update(&mut self, part: &BookPart<'_>, levels: &Levels) -> bool {
        let mut fits = part.sequence > self.sequence;
        for (side, levels) in [(BookSide::Bid, &levels.bids), (BookSide::Ask, &levels.asks)] {
            for level in levels {
                fits &= self.ladder.set(side, level.price, level.amount) || !level.amount.is_zero();
            }
        }
        self.take(part);
        fits && self.can_be(part.depth)
    }

    fn take(&mut self, part: &BookPart<'_>) {
        (self.update, self.sequence, self.ts) = (part.update, part.sequence, part.ts_venue);
    }

    /// Whether the exchange can have such a book of this depth.
    fn can_be(&self, depth: u64) -> bool {
        let (bids, asks) = self.ladder.len();
        (bids.max(asks) as u64) <= depth && !self.ladder.is_crossed()
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
        Some(self.sequence)
    }

    fn is_the_same(&self, other: &Self) -> bool {
        self.sequence == other.sequence && self.ladder.holds_the_same(&other.ladder)
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
        if !copy.can_be(part.depth) {
            return self.carried.reject(GapReason::Integrity, conn, sink);
        }
        match self.carried.carrier().filter(|carrier| carrier.conn == conn) {
            Some(carrier) if carrier.update == copy.update && carrier.is_the_same(&copy) => {
                sink.tally.duplicates += 1;
                return self.carried.settle(conn);
            }
            Some(carrier) if carrier.update.checked_add(1) != Some(copy.update) => self.carried.note(GapReason::Sequence),
            _ => {}
        }
        self.carried.accept(copy, ts_recv, sink);
    }

    /// A change arrived.
    pub(super) fn update(
        &mut self,
        part: &BookPart<'_>,
        levels: &Levels,
        conn: u32,
        ts_recv: UnixNanos,
        sink: &mut Sink<'_>,
    ) {
        let is_carrier = self.carried.is_carrier(conn);
        let Some(copy) = self.carried.copy_mut(conn) else {
            // Before its snapshot, or of a subscription that is over: the snapshot that is to come holds all of it.
            return;
        };
        if part.update <= copy.update {
            sink.tally.duplicates += 1;
            return;
        }
        let follows = copy.update.checked_add(1) == Some(part.update);
        if !follows || !copy.update(part, levels) {
            let reason = if follows { GapReason::Integrity } else { GapReason::Sequence };
            return self.carried.reject(reason, conn, sink);
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
