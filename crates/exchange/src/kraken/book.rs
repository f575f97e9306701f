//! Kraken's rule for order books: a snapshot on the connection, updates in its order, cut to the depth that was subscribed, and
//! after each message a checksum of the best ten levels. No numbers: what the checksum doesn't cover rests on the connection.
//!
//! The book follows one connection. Where a second one brings it, too (while a connection is being replaced), it is kept beside,
//! and takes over at the moment in which both are the same, so that nothing is lost and nothing comes twice. A connection that
//! ends before that moment costs a gap and a new epoch, or, where no other is there, the time until the next snapshot.
//!
//! A message whose checksum isn't right is not given out: the book is suspect, and its subscription begins anew. So it does after
//! a frame that couldn't be read and may have been of this book: a level far from the touch would not show in any checksum.
//!
//! The exchange sends no end for a level that falls out of the depth. Records say it, with an amount of zero at the end of the
//! event that pushed it out, so that whoever applies them row by row has the exchange's book at all times.

use dccd_model::{BookSide, BookState, Decimal, Flags, GapReason, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::checksum::{self, Precision};
use super::messages::{Batch, BookPart};
use crate::session::{BookRules, BookStatus, EventHead, Level, Levels, Sink};
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
    checksum: u32,
    /// Digits that were cut off had to be put back: they are put back at once the next time.
    is_padded: bool,
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

    fn is_the_same(&self, other: &Self) -> bool {
        (self.ts, self.checksum) == (other.ts, other.checksum) && self.ladder.holds_the_same(&other.ladder)
    }
}

/// One book.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    state: BookState,
    epoch: u32,
    /// Of the last record, by which the series is ordered.
    last_ts: UnixNanos,
    /// Since when, and why, the book is broken; declared when the next epoch begins.
    broken: Option<(UnixNanos, GapReason)>,
    precision: Precision,
    /// Levels a side that a subscription has, as the exchange confirmed it, or as we ask for it.
    depth: u32,
    /// What is given out; there is one just while the book is valid.
    carrier: Option<Copy>,
    /// The same on another connection.
    other: Option<Copy>,
    /// The other takes over as soon as it is the same.
    is_moving: bool,
    /// The subscription on this connection is to begin anew; 0: on all of them.
    wanted: Option<u32>,
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
        let ts = if part.ts_venue == UnixNanos::UNKNOWN { ts_recv } else { part.ts_venue };
        let mut copy = Copy { conn, depth: self.depth, ts, checksum: part.checksum, ..Copy::default() };
        copy.ladder.replace(&levels);
        copy.ladder.truncate(depth_of(self.depth), |_, _| {});
        let right = copy.is_right(part.checksum, self.precision);
        let is_beside = self.carrier.as_ref().is_some_and(|carrier| carrier.conn != conn);
        match (right, is_beside) {
            (true, false) => self.publish(copy, ts_recv, sink),
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

    /// An update arrived.
    pub(super) fn update(&mut self, part: &BookPart, batch: &Batch, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        let precision = self.precision;
        let is_carrier = self.carrier.as_ref().is_some_and(|carrier| carrier.conn == conn);
        let copy = if is_carrier { &mut self.carrier } else { &mut self.other };
        let Some(copy) = copy.as_mut().filter(|copy| copy.conn == conn) else {
            // Before its snapshot, or of a subscription that is over: the snapshot that is to come holds all of it.
            return;
        };
        let sides = [
            (BookSide::Bid, batch.levels.bids.get(part.bids.clone()).unwrap_or_default()),
            (BookSide::Ask, batch.levels.asks.get(part.asks.clone()).unwrap_or_default()),
        ];
        self.gone.clear();
        for (side, levels) in sides {
            levels.iter().for_each(|level| copy.ladder.set(side, level.price, level.amount));
        }
        copy.ladder.truncate(depth_of(copy.depth), |side, price| self.gone.push((side, price)));
        let ts = if part.ts_venue == UnixNanos::UNKNOWN { ts_recv } else { part.ts_venue };
        // A message from before the last one changed places with it: of levels below the best ten no checksum would tell.
        if ts < copy.ts || !copy.is_right(part.checksum, precision) {
            return if is_carrier {
                // What is missing may be this message itself: the book is right up to the moment before it.
                self.note(self.last_ts.min(UnixNanos(ts.0.saturating_sub(1))), GapReason::Integrity);
                self.break_off(GapReason::Integrity, conn, sink);
            } else {
                self.leave_beside(conn, sink);
            };
        }
        copy.ts = ts;
        copy.checksum = part.checksum;
        if !is_carrier {
            sink.tally.duplicates += 1;
            return self.move_over();
        }
        let (bids, asks) = (sides[0].1, sides[1].1);
        let head = EventHead {
            ts_venue: part.ts_venue,
            ts_recv,
            update_id: 0,
            epoch: self.epoch,
            count: bids.len() + asks.len() + self.gone.len(),
        };
        self.last_ts = copy.ts;
        let of = |side| move |level: &Level| (side, *level);
        let ends = self.gone.iter().map(|(side, price)| (*side, Level { price: *price, amount: Decimal::ZERO }));
        let levels = bids.iter().map(of(BookSide::Bid)).chain(asks.iter().map(of(BookSide::Ask))).chain(ends);
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
        let head = EventHead { ts_venue: copy.ts, ts_recv, update_id: 0, epoch: self.epoch, count: bids + asks };
        let of = |side| move |(price, amount)| (side, Level { price, amount });
        let levels = copy.ladder.bids().map(of(BookSide::Bid)).chain(copy.ladder.asks().map(of(BookSide::Ask)));
        sink.event(head, &mut facts, levels);
        self.last_ts = copy.ts;
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

    /// From this moment on the book is broken, if it wasn't before.
    fn note(&mut self, from: UnixNanos, reason: GapReason) {
        if self.epoch > 0 {
            let (_, noted) = self.broken.get_or_insert((from, reason));
            if reason == GapReason::NotRecorded {
                *noted = reason;
            }
        }
    }

    /// The book can't be believed any more, and what this connection sends neither until it begins anew.
    fn break_off(&mut self, reason: GapReason, conn: u32, sink: &mut Sink<'_>) {
        self.note(self.last_ts, reason);
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
        self.note(self.last_ts, GapReason::Disconnected);
        if self.state != BookState::Syncing {
            self.set_state(BookState::Syncing, sink);
        }
    }
}

fn depth_of(depth: u32) -> usize {
    usize::try_from(depth).unwrap_or(usize::MAX)
}

impl BookRules for Book {
    fn rebuild(&mut self, reason: GapReason, sink: &mut Sink<'_>) {
        // A book that waits for its first snapshot on a connection gets it without being asked for.
        if self.state != BookState::Syncing {
            let conn = self.carrier.as_ref().map_or(self.wanted.unwrap_or(0), |carrier| carrier.conn);
            self.break_off(reason, conn, sink);
        } else {
            self.note(self.last_ts, reason);
        }
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
                    self.note(self.last_ts, GapReason::Disconnected);
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
        BookStatus { state: self.state, epoch: self.epoch, last: None, last_ts: self.last_ts, held: 0 }
    }
}
