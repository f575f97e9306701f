//! Deribit's rule for order books: a whole book on the connection, then changes of which each names the state before it
//! (`prev_change_id`) and the one after it (`change_id`). The numbers are the instrument's own, the same on every connection; how
//! changes are put together to messages may differ.
//!
//! A change or an end of a level that isn't there, and sides that cross, contradict the book that they are about. Such a message,
//! and one that doesn't follow, is not given out: the book is suspect, and its subscription begins anew. Only the last message
//! once more is a repetition: were all lower numbers taken for old ones, a book that began anew unseen would stay stale for ever.

use dccd_model::{BookSide, GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::messages::{BookPart, Known};
use crate::ladder::as_levels;
use crate::session::{BookCopy, BookRules, BookStatus, Carried, Level, Levels, Sink};
use crate::{FeedIndex, Ladder, Want};

/// The book as one connection brings it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Copy {
    conn: u32,
    #[serde(with = "as_levels")]
    ladder: Ladder,
    /// The last message.
    part: BookPart,
}

impl Copy {
    /// Applies a change. `Err`: it doesn't follow, or contradicts what is there.
    fn apply(&mut self, part: &BookPart, levels: &Levels, known: &Known) -> Result<(), GapReason> {
        if part.prev != Some(self.part.change) {
            return Err(GapReason::Sequence);
        }
        let mut fits = true;
        for (side, levels, known) in [(BookSide::Bid, &levels.bids, &known.bids), (BookSide::Ask, &levels.asks, &known.asks)]
        {
            for (level, known) in levels.iter().zip(known) {
                fits &= self.ladder.set(side, level.price, level.amount) || !known;
            }
        }
        self.part = *part;
        if fits && !self.ladder.is_crossed() { Ok(()) } else { Err(GapReason::Integrity) }
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
        self.part.ts_venue
    }

    fn update_id(&self) -> Option<u64> {
        Some(self.part.change)
    }

    fn is_the_same(&self, other: &Self) -> bool {
        self.part.change == other.part.change && self.ladder.holds_the_same(&other.ladder)
    }
}

/// One book.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    carried: Carried<Copy>,
}

impl Book {
    /// A message arrived. `reason`: why there would be a hole before it.
    pub(super) fn arrive(
        &mut self,
        part: &BookPart,
        (levels, known): (&Levels, &Known),
        (conn, ts_recv, reason): (u32, UnixNanos, GapReason),
        sink: &mut Sink<'_>,
    ) {
        let is_carrier = self.carried.is_carrier(conn);
        let Some(prev) = part.prev else { return self.snapshot(part, levels, (conn, ts_recv), sink) };
        let Some(copy) = self.carried.copy_mut(conn) else {
            // Before its snapshot, or of a subscription that is over: the snapshot that is to come holds all of it. But where there
            // was nothing before a change, it is all that there is.
            if prev == 0 {
                self.snapshot(part, levels, (conn, ts_recv), sink);
            }
            return;
        };
        if copy.part == *part {
            sink.tally.duplicates += 1;
            return;
        }
        if prev == 0 && copy.part.change != 0 {
            return self.snapshot(part, levels, (conn, ts_recv), sink);
        }
        if let Err(why) = copy.apply(part, levels, known) {
            return self.carried.reject(if why == GapReason::Sequence { reason } else { why }, conn, sink);
        }
        if !is_carrier {
            return self.carried.came_beside(sink);
        }
        let count = levels.bids.len() + levels.asks.len();
        let of = |side| move |level: &Level| (side, *level);
        let levels = levels.bids.iter().map(of(BookSide::Bid)).chain(levels.asks.iter().map(of(BookSide::Ask)));
        self.carried.give_out((part.ts_venue, ts_recv), count, levels, sink);
    }

    /// A whole book. One that nobody asked for is a gap, unless it says what is known.
    fn snapshot(&mut self, part: &BookPart, levels: &Levels, (conn, ts_recv): (u32, UnixNanos), sink: &mut Sink<'_>) {
        let mut copy = Copy { conn, part: *part, ..Copy::default() };
        copy.ladder.replace(levels);
        if copy.ladder.is_crossed() {
            return self.carried.reject(GapReason::Integrity, conn, sink);
        }
        match self.carried.carrier().filter(|carrier| carrier.conn == conn) {
            Some(carrier) if carrier.is_the_same(&copy) => {
                sink.tally.duplicates += 1;
                return self.carried.settle(conn);
            }
            Some(_) => self.carried.note(GapReason::Sequence),
            None => {}
        }
        self.carried.accept(copy, ts_recv, sink);
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

    fn wanted(&self, feed: FeedIndex, symbol: &Symbol) -> Option<Want> {
        self.carried.wanted(feed, symbol)
    }

    fn status(&self) -> BookStatus {
        self.carried.status()
    }
}
