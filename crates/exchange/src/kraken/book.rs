//! Kraken's rule for order books: a snapshot on the connection, updates in its order, cut to the depth that was subscribed, and
//! after each message a checksum of the best ten levels. No numbers: what the checksum doesn't cover rests on the connection.
//!
//! A message whose checksum isn't right is not given out: the book is suspect, and its subscription begins anew. So it does after
//! a frame that couldn't be read and may have been of this book: a level far from the touch would not show in any checksum.
//!
//! The exchange sends no end for a level that falls out of the depth. Records say it, with an amount of zero at the end of the
//! event that pushed it out, so that whoever applies them row by row has the exchange's book at all times.

use dccd_model::{BookSide, Decimal, GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::checksum::{self, Precision};
use super::messages::{Batch, BookPart};
use crate::ladder::as_levels;
use crate::session::{BookCopy, BookRules, BookStatus, Carried, Level, Levels, Sink};
use crate::{FeedIndex, Ladder, Want};

/// The book as one connection brings it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Copy {
    conn: u32,
    #[serde(with = "as_levels")]
    ladder: Ladder,
    /// Levels a side that were subscribed.
    depth: u32,
    /// Of the last message, which are those of any other connection's at the same moment.
    ts: UnixNanos,
    /// It is ours, because the snapshot had none: messages that are older by the exchange's clock may follow it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_ts_ours: bool,
    checksum: u32,
    /// Digits that were cut off had to be put back: they are put back at once the next time.
    is_padded: bool,
}

impl Copy {
    /// Whether the checksum is that of what the book holds now.
    fn is_right(&mut self, expected: u32, precision: Precision) -> bool {
        let own = |book: &Self| checksum::checksum(&book.ladder) == expected;
        let padded = |book: &Self| checksum::padded(&book.ladder, precision) == Some(expected);
        let right = if self.is_padded { padded(self) || own(self) } else { own(self) };
        if right {
            return true;
        }
        self.is_padded = !self.is_padded && padded(self);
        self.is_padded
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
        None
    }

    fn is_the_same(&self, other: &Self) -> bool {
        (self.ts, self.checksum) == (other.ts, other.checksum) && self.ladder.holds_the_same(&other.ladder)
    }
}

/// One book.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    carried: Carried<Copy>,
    precision: Precision,
    /// Levels a side that a subscription has, as the exchange confirmed it, or as we ask for it.
    depth: u32,
    /// Levels that fell out of the depth with the message at hand.
    #[serde(skip)]
    gone: Vec<(BookSide, Decimal)>,
}

impl Book {
    /// One that has seen nothing, of this depth and with numbers of this precision.
    pub(super) fn new(depth: u32, precision: Precision) -> Self {
        Self { depth, precision, ..Self::default() }
    }

    /// The exchange confirmed a subscription of this depth.
    pub(super) fn subscribed(&mut self, depth: u64) {
        if let Ok(depth) = u32::try_from(depth)
            && depth > 0
        {
            self.depth = depth;
        }
    }

    /// A snapshot arrived.
    pub(super) fn snapshot(&mut self, part: &BookPart, batch: &Batch, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        let side = |levels: &[Level], range: &std::ops::Range<usize>| levels.get(range.clone()).unwrap_or_default().to_vec();
        let levels = Levels { bids: side(&batch.levels.bids, &part.bids), asks: side(&batch.levels.asks, &part.asks) };
        let is_ts_ours = part.ts_venue == UnixNanos::UNKNOWN;
        let ts = if is_ts_ours { ts_recv } else { part.ts_venue };
        let mut copy = Copy { conn, depth: self.depth, ts, is_ts_ours, checksum: part.checksum, ..Copy::default() };
        copy.ladder.replace(&levels);
        copy.ladder.truncate(depth_of(self.depth), |_, _| {});
        if copy.is_right(part.checksum, self.precision) {
            self.carried.accept(copy, ts_recv, sink);
        } else {
            self.carried.reject(GapReason::Integrity, conn, sink);
        }
    }

    /// An update arrived.
    pub(super) fn update(&mut self, part: &BookPart, batch: &Batch, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        let precision = self.precision;
        let (is_carrier, last_ts) = (self.carried.is_carrier(conn), self.carried.last_ts());
        let Some(copy) = self.carried.copy_mut(conn) else {
            // Before its snapshot, or of a subscription that is over: the snapshot that is to come holds all of it.
            return;
        };
        let sides = [
            (BookSide::Bid, batch.levels.bids.get(part.bids.clone()).unwrap_or_default()),
            (BookSide::Ask, batch.levels.asks.get(part.asks.clone()).unwrap_or_default()),
        ];
        self.gone.clear();
        for (side, levels) in sides {
            for level in levels {
                copy.ladder.set(side, level.price, level.amount);
            }
        }
        copy.ladder.truncate(depth_of(copy.depth), |side, price| self.gone.push((side, price)));
        let is_ts_ours = part.ts_venue == UnixNanos::UNKNOWN;
        let ts = if is_ts_ours { ts_recv } else { part.ts_venue };
        // A message from before the last one changed places with it: of levels below the best ten no checksum would tell.
        let is_old = ts < copy.ts && copy.is_ts_ours == is_ts_ours;
        if is_old || !copy.is_right(part.checksum, precision) {
            if is_carrier {
                // What is missing may be this message itself: the book is right up to the moment before it.
                self.carried.note_from(last_ts.min(UnixNanos(ts.0.saturating_sub(1))), GapReason::Integrity);
            }
            return self.carried.reject(GapReason::Integrity, conn, sink);
        }
        (copy.ts, copy.is_ts_ours, copy.checksum) = (ts, is_ts_ours, part.checksum);
        if !is_carrier {
            return self.carried.came_beside(sink);
        }
        let (bids, asks) = (sides[0].1, sides[1].1);
        let count = bids.len() + asks.len() + self.gone.len();
        let of = |side| move |level: &Level| (side, *level);
        let ends = self.gone.iter().map(|(side, price)| (*side, Level { price: *price, amount: Decimal::ZERO }));
        let levels = bids.iter().map(of(BookSide::Bid)).chain(asks.iter().map(of(BookSide::Ask))).chain(ends);
        self.carried.give_out((part.ts_venue, ts_recv), count, levels, sink);
    }
}

fn depth_of(depth: u32) -> usize {
    usize::try_from(depth).unwrap_or(usize::MAX)
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
