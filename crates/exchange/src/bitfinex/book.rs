//! Bitfinex' rule for order books: a snapshot when a channel is subscribed, changes in their order, all numbered together with
//! whatever else the connection brings, and from time to time a checksum of the best 25 levels.
//!
//! A change is given out at once: that none is missing its number says. A checksum that isn't right makes the book suspect back to the
//! last one that was. So does what no book goes through (an end of a level that isn't there, a level too many, a crossing), and a loss
//! on its connection: no checksum comes any more of what was given out since.

use dccd_model::{BookSide, Decimal, GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::checksum::checksum;
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
    /// Of the last message.
    ts: UnixNanos,
    /// Of the last message that proves what the book holds: its snapshot, or a checksum.
    proven: UnixNanos,
    /// A digest of the last change; `None`: there was none since the snapshot.
    change: Option<u64>,
}

impl Copy {
    /// Applies a change; false: no book of the exchange goes through it.
    fn apply(&mut self, levels: &Levels) -> bool {
        let mut is_possible = true;
        for (side, levels) in [(BookSide::Bid, &levels.bids), (BookSide::Ask, &levels.asks)] {
            for level in levels {
                let was_there = self.ladder.set(side, level.price, level.amount);
                is_possible &= was_there || !level.amount.is_zero();
            }
        }
        self.change = Some(digest(levels));
        is_possible && self.is_possible()
    }

    fn is_possible(&self) -> bool {
        let (bids, asks) = self.ladder.len();
        let depth = usize::try_from(self.depth).unwrap_or(usize::MAX);
        bids <= depth && asks <= depth && !self.ladder.is_crossed()
    }
}

/// Of the digits as they came. It is saved, so it must not change.
fn digest(levels: &Levels) -> u64 {
    let mix = |hash: u64, number: Decimal| {
        let mixed = (hash ^ number.mantissa.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29) ^ u64::from(number.exponent.cast_unsigned())).wrapping_mul(0x0000_0100_0000_01b3)
    };
    let of_side = |hash: u64, levels: &[Level]| levels.iter().fold(hash, |hash, l| mix(mix(hash, l.price), l.amount));
    of_side(of_side(1, &levels.bids).wrapping_mul(3), &levels.asks)
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

    /// Messages are numbered, but for each connection by itself.
    fn update_id(&self) -> Option<u64> {
        None
    }

    /// Nothing says of which moment a book is but what it holds. That it came there by the same change keeps one apart that went away
    /// and came back.
    fn is_the_same(&self, other: &Self) -> bool {
        let by_one_change = self.change.is_none() || other.change.is_none() || self.change == other.change;
        by_one_change && self.ladder.holds_the_same(&other.ladder)
    }
}

/// One book.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    carried: Carried<Copy>,
    /// Levels a side that a subscription has, as the exchange confirmed it, or as we ask for it.
    depth: u32,
    /// What a checksum is over.
    #[serde(skip)]
    text: Vec<u8>,
}

impl Book {
    /// One that has seen nothing, of this depth.
    pub(super) fn new(depth: u32) -> Self {
        Self { depth, ..Self::default() }
    }

    /// The exchange confirmed a subscription of this depth.
    pub(super) fn subscribed(&mut self, depth: u64) {
        if let Ok(depth) = u32::try_from(depth)
            && depth > 0
        {
            self.depth = depth;
        }
    }

    /// The exchange confirmed that the subscription on this connection is over.
    pub(super) fn unsubscribed(&mut self, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        if self.carried.copy_mut(conn).is_some() {
            self.carried.disconnected(conn, ts_recv, sink);
        }
    }

    /// A snapshot arrived. One that nobody asked for says that something else than its changes was missing, unless it holds what is
    /// known.
    pub(super) fn snapshot(&mut self, levels: &Levels, ts: UnixNanos, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        let ts = if ts == UnixNanos::UNKNOWN { ts_recv } else { ts };
        let mut copy = Copy { conn, depth: self.depth, ts, proven: ts, ..Copy::default() };
        copy.ladder.replace(levels);
        if !copy.is_possible() {
            return self.carried.reject(GapReason::Integrity, conn, sink);
        }
        if self.carried.is_carrier(conn)
            && let Some(known) = self.carried.copy_mut(conn)
        {
            if known.ladder.holds_the_same(&copy.ladder) {
                known.proven = ts;
                self.carried.settle(conn);
                sink.tally.duplicates += 1;
                return;
            }
            self.carried.note(GapReason::Integrity);
        }
        self.carried.accept(copy, ts_recv, sink);
    }

    /// A change arrived, or several.
    pub(super) fn update(&mut self, levels: &Levels, ts: UnixNanos, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        let is_carrier = self.carried.is_carrier(conn);
        let Some(copy) = self.carried.copy_mut(conn) else {
            // Before its snapshot, or of a subscription that is over: the snapshot that is to come holds all of it.
            return;
        };
        let proven = copy.proven;
        if !copy.apply(levels) {
            if is_carrier {
                self.carried.note_from(proven, GapReason::Integrity);
            }
            return self.carried.reject(GapReason::Integrity, conn, sink);
        }
        copy.ts = if ts == UnixNanos::UNKNOWN { ts_recv } else { ts };
        if !is_carrier {
            return self.carried.came_beside(sink);
        }
        let of = |side| move |level: &Level| (side, *level);
        let count = levels.bids.len() + levels.asks.len();
        let all = levels.bids.iter().map(of(BookSide::Bid)).chain(levels.asks.iter().map(of(BookSide::Ask)));
        self.carried.give_out((ts, ts_recv), count, all, sink);
    }

    /// A checksum of the book as it is now arrived.
    pub(super) fn check(&mut self, expected: i32, ts: UnixNanos, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        let is_carrier = self.carried.is_carrier(conn);
        let Some(copy) = self.carried.copy_mut(conn) else { return };
        let proven = copy.proven;
        if checksum(&copy.ladder, &mut self.text) == expected {
            copy.proven = if ts == UnixNanos::UNKNOWN { ts_recv } else { ts };
            return;
        }
        if is_carrier {
            self.carried.note_from(proven, GapReason::Integrity);
        }
        self.carried.reject(GapReason::Integrity, conn, sink);
    }

    /// What this connection brought since the last proof gets none any more: it begins anew.
    fn doubt(&mut self, conn: u32, reason: GapReason) {
        if self.carried.is_carrier(conn)
            && let Some(proven) = self.carried.carrier().map(|copy| copy.proven)
        {
            self.carried.note_from(proven, reason);
        }
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
        self.doubt(conn, GapReason::Unreadable);
        self.carried.unreadable(conn, sink);
    }

    fn missed(&mut self, conn: u32, sink: &mut Sink<'_>) {
        self.doubt(conn, GapReason::Sequence);
        self.carried.missed(conn, sink);
    }

    fn wanted(&self, feed: FeedIndex, symbol: &Symbol) -> Option<Want> {
        self.carried.wanted(feed, symbol)
    }

    fn status(&self) -> BookStatus {
        self.carried.status()
    }
}
