//! Coinbase's rule for order books: a snapshot of the whole book on the connection, then changes, collected for a twentieth of a
//! second, in their order. No numbers, no checksum: what is missing of a connection that lives nothing can tell.
//!
//! What can be told is that a message can't be: the sides cross, or its time is before that of the last one. It is not given out: the
//! book is suspect, and its subscription begins anew. So it does after a frame that couldn't be read and may have been of this book.
//! A snapshot that nobody asked for, and that says something else than is known, begins an epoch with a gap before it. Ends of levels
//! that aren't there are common: a level that came and went between two messages.
//!
//! All levels are kept, because those below the depth may come up; the best ones are given out ([`View`]).

use dccd_model::{GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::view::View;
use crate::ladder::as_levels;
use crate::session::{BookCopy, BookRules, BookStatus, Carried, Levels, Sink};
use crate::{FeedIndex, Ladder, Want};

/// The book as one connection brings it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Copy {
    conn: u32,
    #[serde(with = "as_levels")]
    ladder: Ladder,
    /// Levels a side that are given out; `None`: all.
    depth: Option<u32>,
    /// Of the last message, the exchange's clock; `None` before one that has a time.
    time: Option<UnixNanos>,
    /// The same, or when the snapshot reached us, by the exchange's clock as far as that is known.
    ts: UnixNanos,
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
        let at_one_moment = self.time.is_some() && (self.time, self.depth) == (other.time, other.depth);
        at_one_moment && self.ladder.holds_the_same(&other.ladder)
    }

    fn depth(&self) -> usize {
        self.depth.and_then(|depth| usize::try_from(depth).ok()).unwrap_or(usize::MAX)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// One book.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    carried: Carried<Copy>,
    /// How far the exchange's clock was ahead of ours at the last change, in nanoseconds; 0 where it was not.
    #[serde(default, skip_serializing_if = "is_zero")]
    ahead: i64,
    #[serde(skip)]
    view: View,
}

impl Book {
    /// A snapshot arrived; `depth` levels of it a side, or all, are given out.
    pub(super) fn snapshot(
        &mut self,
        levels: &Levels,
        (time, ts_recv): (Option<UnixNanos>, UnixNanos),
        depth: Option<u32>,
        conn: u32,
        sink: &mut Sink<'_>,
    ) {
        // It ends a gap: where our clock is behind, what came before it is later by the exchange's.
        let ts = time.unwrap_or(UnixNanos(ts_recv.0.saturating_add(self.ahead)));
        let mut copy = Copy { conn, depth, time, ts, ..Copy::default() };
        copy.ladder.replace(levels);
        if copy.ladder.is_crossed() {
            return self.carried.reject(GapReason::Integrity, conn, sink);
        }
        match self.carried.carrier().filter(|carrier| carrier.conn == conn) {
            Some(carrier) if carrier.ladder.holds_the_same(&copy.ladder) => {
                sink.tally.duplicates += 1;
                return self.carried.settle(conn);
            }
            Some(_) => self.carried.note(GapReason::Integrity),
            None => {}
        }
        self.carried.accept(copy, ts_recv, sink);
    }

    /// Changes arrived before the snapshot of their subscription: what it holds is not what they are about.
    pub(super) fn early(&mut self, conn: u32, sink: &mut Sink<'_>) {
        if self.carried.copy_mut(conn).is_some() {
            self.carried.reject(GapReason::Integrity, conn, sink);
        } else {
            self.carried.resubscribe(conn, sink);
        }
    }

    /// Changes arrived.
    pub(super) fn update(
        &mut self,
        levels: &Levels,
        (time, ts_recv): (UnixNanos, UnixNanos),
        conn: u32,
        sink: &mut Sink<'_>,
    ) {
        let (is_carrier, last_ts) = (self.carried.is_carrier(conn), self.carried.last_ts());
        self.ahead = time.0.saturating_sub(ts_recv.0).max(0);
        let Some(copy) = self.carried.copy_mut(conn) else {
            // Of a subscription that is over, or that began before all that is known.
            return;
        };
        let depth = copy.depth();
        let changed = self.view.apply(&mut copy.ladder, depth, levels);
        if copy.time.is_some_and(|last| time < last) || copy.ladder.is_crossed() {
            if is_carrier {
                // What is missing may be this message itself: the book is right up to the moment before it.
                let before = UnixNanos(time.0.saturating_sub(1));
                self.carried.note_from(last_ts.min(before), GapReason::Integrity);
            }
            return self.carried.reject(GapReason::Integrity, conn, sink);
        }
        (copy.time, copy.ts) = (Some(time), time);
        if !is_carrier {
            return self.carried.came_beside(sink);
        }
        self.carried.give_out((time, ts_recv), changed.len(), changed.iter().copied(), sink);
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
