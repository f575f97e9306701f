//! Bybit's rule for order books: a snapshot on the connection, then changes whose number `u` goes up by one, each the exact
//! difference between two states of so many levels. So a level that ends was there, no side ever has more levels than were
//! subscribed, and the sides never cross: what is wrong in a message that fits by its number mostly shows in one of these.
//!
//! The book follows one connection. Where a second one brings it, too (while a connection is being replaced), it is kept beside,
//! and takes over at the moment in which both are the same: in `seq`, which doesn't depend on the connection as `u` may, and in
//! every level. A connection that ends before that moment costs a gap and a new epoch, or, where no other is there, the time until
//! the next snapshot.
//!
//! A message that doesn't fit is not given out: the book is suspect, and its subscription begins anew. So it does after a frame
//! that couldn't be read and may have been of this book. A snapshot that nobody asked for begins an epoch, with a gap before it:
//! the exchange sends one when its service began anew (`u` is 1 then), and doesn't say what happened in between.

use dccd_model::{BookSide, BookState, Flags, GapReason, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::messages::BookPart;
use crate::session::{BookRules, BookStatus, EventHead, Level, Levels, Sink};
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

mod as_levels {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::Ladder;
    use crate::session::Levels;

    pub(super) fn serialize<S: Serializer>(ladder: &Ladder, serializer: S) -> Result<S::Ok, S::Error> {
        ladder.levels().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ladder, D::Error> {
        let mut ladder = Ladder::new();
        ladder.replace(&Levels::deserialize(deserializer)?);
        Ok(ladder)
    }
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

    fn is_the_same(&self, other: &Self) -> bool {
        self.sequence == other.sequence && self.ladder.holds_the_same(&other.ladder)
    }
}

/// One book.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    state: BookState,
    epoch: u32,
    /// Of the last record, by which the series is ordered.
    last_ts: UnixNanos,
    /// Of the last record.
    last_sequence: Option<u64>,
    /// Since when, and why, the book is broken; declared when the next epoch begins.
    broken: Option<(UnixNanos, GapReason)>,
    /// What is given out; there is one just while the book is valid.
    carrier: Option<Copy>,
    /// The same on another connection.
    other: Option<Copy>,
    /// The other takes over as soon as it is the same.
    is_moving: bool,
    /// The subscription on this connection is to begin anew; 0: on all of them.
    wanted: Option<u32>,
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
        let fits = copy.can_be(part.depth);
        let carrier = self.carrier.as_ref();
        let is_beside = carrier.is_some_and(|carrier| carrier.conn != conn);
        match (fits, is_beside) {
            (true, false) => {
                match carrier {
                    Some(carrier) if carrier.update == copy.update && carrier.is_the_same(&copy) => {
                        sink.tally.duplicates += 1;
                        return self.settle(conn);
                    }
                    Some(carrier) if carrier.update.checked_add(1) != Some(copy.update) => self.note(GapReason::Sequence),
                    _ => {}
                }
                self.publish(copy, ts_recv, sink);
            }
            (true, true) => {
                self.other = Some(copy);
                self.is_moving = true;
                self.settle(conn);
                self.move_over();
            }
            (false, true) => self.leave_beside(conn, sink),
            (false, false) => self.break_off(GapReason::Integrity, conn, sink),
        }
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
        let is_carrier = self.carrier.as_ref().is_some_and(|carrier| carrier.conn == conn);
        let copy = if is_carrier { &mut self.carrier } else { &mut self.other };
        let Some(copy) = copy.as_mut().filter(|copy| copy.conn == conn) else {
            // Before its snapshot, or of a subscription that is over: the snapshot that is to come holds all of it.
            return;
        };
        if part.update <= copy.update {
            sink.tally.duplicates += 1;
            return;
        }
        let follows = copy.update.checked_add(1) == Some(part.update);
        if !follows || !copy.update(part, levels) {
            if is_carrier {
                let reason = if follows { GapReason::Integrity } else { GapReason::Sequence };
                return self.break_off(reason, conn, sink);
            }
            return self.leave_beside(conn, sink);
        }
        if !is_carrier {
            sink.tally.duplicates += 1;
            return self.move_over();
        }
        let count = levels.bids.len() + levels.asks.len();
        let head = EventHead { ts_venue: part.ts_venue, ts_recv, update_id: part.sequence, epoch: self.epoch, count };
        (self.last_ts, self.last_sequence) = (part.ts_venue, Some(part.sequence));
        let of = |side| move |level: &Level| (side, *level);
        let levels = levels.bids.iter().map(of(BookSide::Bid)).chain(levels.asks.iter().map(of(BookSide::Ask)));
        sink.event(head, &mut Flags::default(), levels);
        self.move_over();
    }

    /// What this connection brings begins an epoch.
    fn publish(&mut self, copy: Copy, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        self.settle(copy.conn);
        let mut facts = Flags::SNAPSHOT;
        if let Some((from, reason)) = self.broken.take() {
            sink.gap(from, copy.ts, reason);
            facts |= Flags::GAP;
        }
        self.epoch += 1;
        let (bids, asks) = copy.ladder.len();
        let head = EventHead { ts_venue: copy.ts, ts_recv, update_id: copy.sequence, epoch: self.epoch, count: bids + asks };
        let of = |side| move |(price, amount)| (side, Level { price, amount });
        let levels = copy.ladder.bids().map(of(BookSide::Bid)).chain(copy.ladder.asks().map(of(BookSide::Ask)));
        sink.event(head, &mut facts, levels);
        (self.last_ts, self.last_sequence) = (copy.ts, Some(copy.sequence));
        self.carrier = Some(copy);
        self.set_state(BookState::Valid, sink);
    }

    /// Follows the other connection once it brings the very same book.
    fn move_over(&mut self) {
        if self.is_moving
            && let (Some(carrier), Some(other)) = (&self.carrier, &self.other)
            && carrier.is_the_same(other)
        {
            std::mem::swap(&mut self.carrier, &mut self.other);
            self.is_moving = false;
        }
    }

    /// The copy beside the book is no good: another snapshot, or none.
    fn leave_beside(&mut self, conn: u32, sink: &mut Sink<'_>) {
        self.other = None;
        self.is_moving = false;
        self.want(conn, sink);
    }

    /// What was wanted of this connection came.
    fn settle(&mut self, conn: u32) {
        self.wanted = self.wanted.filter(|wanted| *wanted != conn && *wanted != 0);
    }

    fn set_state(&mut self, state: BookState, sink: &mut Sink<'_>) {
        self.state = state;
        sink.out.book_state(sink.feed, self.state, self.epoch);
    }

    fn note(&mut self, reason: GapReason) {
        if self.epoch > 0 {
            let (_, noted) = self.broken.get_or_insert((self.last_ts, reason));
            if reason == GapReason::NotRecorded {
                *noted = reason;
            }
        }
    }

    /// The book can't be believed any more, and what this connection sends neither until it begins anew.
    fn break_off(&mut self, reason: GapReason, conn: u32, sink: &mut Sink<'_>) {
        self.note(reason);
        self.carrier = None;
        self.other = None;
        self.is_moving = false;
        if self.state == BookState::Valid {
            self.set_state(BookState::Suspect, sink);
        }
        self.want(conn, sink);
    }

    fn want(&mut self, conn: u32, sink: &mut Sink<'_>) {
        self.wanted = Some(conn);
        sink.want(Want::Resubscribe { feed: sink.feed, symbol: sink.symbol.clone(), conn });
    }

    /// Without a connection there is nothing to be suspect of: the next one begins with a snapshot.
    fn wait(&mut self, sink: &mut Sink<'_>) {
        self.carrier = None;
        self.other = None;
        self.is_moving = false;
        self.wanted = None;
        self.note(GapReason::Disconnected);
        if self.state != BookState::Syncing {
            self.set_state(BookState::Syncing, sink);
        }
    }
}

impl BookRules for Book {
    fn rebuild(&mut self, reason: GapReason, sink: &mut Sink<'_>) {
        // A book that waits for its first snapshot on a connection gets it without being asked for.
        if self.state == BookState::Syncing {
            return self.note(reason);
        }
        let conn = self.carrier.as_ref().map_or(self.wanted.unwrap_or(0), |carrier| carrier.conn);
        self.break_off(reason, conn, sink);
    }

    fn close(&mut self, sink: &mut Sink<'_>) {
        self.wait(sink);
    }

    fn disconnected(&mut self, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        let of = |copy: &Option<Copy>| copy.as_ref().is_some_and(|copy| conn == 0 || copy.conn == conn);
        if of(&self.other) {
            self.other = None;
            self.is_moving = false;
        }
        if of(&self.carrier) {
            match (self.carrier.take(), self.other.take()) {
                (Some(gone), Some(other)) if gone.is_the_same(&other) => self.carrier = Some(other),
                (_, Some(other)) => {
                    self.note(GapReason::Disconnected);
                    self.publish(other, ts_recv, sink);
                }
                (_, None) => self.wait(sink),
            }
            self.is_moving = false;
        } else if self.carrier.is_none() && (conn == 0 || self.wanted == Some(conn)) {
            self.wait(sink);
        }
        self.wanted = self.wanted.filter(|wanted| conn != 0 && *wanted != conn);
    }

    fn unreadable(&mut self, conn: u32, sink: &mut Sink<'_>) {
        if self.carrier.as_ref().is_some_and(|carrier| carrier.conn == conn) {
            self.break_off(GapReason::Unreadable, conn, sink);
        } else if self.other.as_ref().is_some_and(|other| other.conn == conn) {
            self.leave_beside(conn, sink);
        }
    }

    fn wanted(&self, feed: FeedIndex, symbol: &Symbol) -> Option<Want> {
        let conn = match self.state {
            BookState::Valid => self.wanted?,
            BookState::Syncing | BookState::Suspect => self.wanted.unwrap_or(0),
        };
        Some(Want::Resubscribe { feed, symbol: symbol.clone(), conn })
    }

    fn status(&self) -> BookStatus {
        BookStatus { state: self.state, epoch: self.epoch, last: self.last_sequence, last_ts: self.last_ts, held: 0 }
    }
}
