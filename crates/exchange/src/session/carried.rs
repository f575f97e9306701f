//! A book that follows one connection: where snapshots come on connections, and what they bring can't be mixed.
//!
//! Where a second connection brings the book, too (while a connection is being replaced), that copy is kept beside, and takes over at
//! the moment in which both are the same, so that nothing is lost and nothing comes twice. A connection that ends before that moment
//! costs a gap and a new epoch, or, where no other is there, the time until the next snapshot. A copy that isn't right is dropped
//! and its subscription begins anew; the book is suspect where it was the one that is given out.

use dccd_model::{BookSide, BookState, Decimal, Flags, GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::{BookStatus, EventHead, Level, Sink};
use crate::{FeedIndex, Ladder, Want};

/// The book as one connection brings it.
pub(crate) trait BookCopy {
    /// Which connection.
    fn conn(&self) -> u32;

    /// Its levels, in the exchange's own units.
    fn ladder(&self) -> &Ladder;

    /// Of the last message, by which the series is ordered.
    fn ts(&self) -> UnixNanos;

    /// Of the last message; `None` where the exchange numbers nothing.
    fn update_id(&self) -> Option<u64>;

    /// Whether both are the exchange's book of one moment.
    fn is_the_same(&self, other: &Self) -> bool;

    /// How many levels a side are given out; those below are kept, because they may come up.
    fn depth(&self) -> usize {
        usize::MAX
    }

    /// Whether its levels are known; otherwise only where the connection is.
    fn is_whole(&self) -> bool {
        true
    }

    /// Takes over the levels of one that is the same, where its own aren't known.
    fn complete(&mut self, _same: &Self) {}

    /// A level as records have it.
    fn recorded(&self, price: Decimal, amount: Decimal) -> Level {
        Level { price, amount }
    }
}

/// One book.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Carried<C> {
    state: BookState,
    epoch: u32,
    /// Of the last record.
    last_ts: UnixNanos,
    last_id: Option<u64>,
    /// Since when, and why, the book is broken; declared when the next epoch begins.
    broken: Option<(UnixNanos, GapReason)>,
    /// What is given out; there is one just while the book is valid.
    carrier: Option<C>,
    /// The same on another connection.
    other: Option<C>,
    /// The other takes over as soon as it is the same.
    is_moving: bool,
    /// The subscription on this connection is to begin anew; 0: on all of them.
    wanted: Option<u32>,
}

impl<C> Default for Carried<C> {
    fn default() -> Self {
        Self {
            state: BookState::default(),
            epoch: 0,
            last_ts: UnixNanos::default(),
            last_id: None,
            broken: None,
            carrier: None,
            other: None,
            is_moving: false,
            wanted: None,
        }
    }
}

impl<C: BookCopy> Carried<C> {
    pub(crate) const fn last_ts(&self) -> UnixNanos {
        self.last_ts
    }

    pub(crate) const fn carrier(&self) -> Option<&C> {
        self.carrier.as_ref()
    }

    /// Whether this connection brings what is given out.
    pub(crate) fn is_carrier(&self, conn: u32) -> bool {
        self.carrier.as_ref().is_some_and(|carrier| carrier.conn() == conn)
    }

    /// What this connection brings; `None` before its snapshot, and of a subscription that is over.
    pub(crate) fn copy_mut(&mut self, conn: u32) -> Option<&mut C> {
        [&mut self.carrier, &mut self.other].into_iter().flatten().find(|copy| copy.conn() == conn)
    }

    /// A connection brings the whole book: it begins an epoch, or is kept beside the one that is given out.
    pub(crate) fn accept(&mut self, copy: C, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        if self.carrier.is_none() || self.is_carrier(copy.conn()) {
            return self.publish(copy, ts_recv, sink);
        }
        self.settle(copy.conn());
        self.keep_beside(copy);
    }

    /// A copy that takes over as soon as it is the same.
    pub(crate) fn keep_beside(&mut self, copy: C) {
        self.other = Some(copy);
        self.is_moving = true;
        self.move_over();
    }

    /// What this connection brings is wrong: it begins anew there. Where it is what is given out, the book is suspect.
    pub(crate) fn reject(&mut self, reason: GapReason, conn: u32, sink: &mut Sink<'_>) {
        if self.carrier.is_none() || self.is_carrier(conn) {
            self.distrust(reason, sink);
        } else {
            self.drop_beside();
        }
        self.resubscribe(conn, sink);
    }

    /// Gives out an event that has been applied to the carrier; `ts_venue` as the message has it.
    pub(crate) fn give_out(
        &mut self,
        (ts_venue, ts_recv): (UnixNanos, UnixNanos),
        count: usize,
        levels: impl Iterator<Item = (BookSide, Level)>,
        sink: &mut Sink<'_>,
    ) {
        let Some(carrier) = &self.carrier else { return };
        (self.last_ts, self.last_id) = (carrier.ts(), carrier.update_id());
        let update_id = self.last_id.unwrap_or_default();
        let head = EventHead { ts_venue, ts_recv, update_id, epoch: self.epoch, count };
        let recorded = |(side, level): (BookSide, Level)| (side, carrier.recorded(level.price, level.amount));
        sink.event(head, &mut Flags::default(), levels.map(recorded));
        self.move_over();
    }

    /// A message came on the connection beside.
    pub(crate) fn came_beside(&mut self, sink: &mut Sink<'_>) {
        sink.tally.duplicates += 1;
        self.move_over();
    }

    /// What this connection brings begins an epoch.
    fn publish(&mut self, copy: C, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        self.settle(copy.conn());
        let mut facts = Flags::SNAPSHOT;
        if let Some((from, reason)) = self.broken.take() {
            sink.gap(from, copy.ts().max(from), reason);
            facts |= Flags::GAP;
        }
        self.epoch += 1;
        (self.last_ts, self.last_id) = (copy.ts(), copy.update_id());
        let ((bids, asks), depth) = (copy.ladder().len(), copy.depth());
        let (bids, asks) = (bids.min(depth), asks.min(depth));
        let update_id = self.last_id.unwrap_or_default();
        let head = EventHead { ts_venue: self.last_ts, ts_recv, update_id, epoch: self.epoch, count: bids + asks };
        let of = |side| move |(price, amount)| (side, price, amount);
        let (best_bids, best_asks) = (copy.ladder().bids().take(bids), copy.ladder().asks().take(asks));
        let levels = best_bids.map(of(BookSide::Bid)).chain(best_asks.map(of(BookSide::Ask)));
        sink.event(head, &mut facts, levels.map(|(side, price, amount)| (side, copy.recorded(price, amount))));
        self.carrier = Some(copy);
        self.set_state(BookState::Valid, sink);
    }

    /// Follows the other connection once it brings the very same book.
    fn move_over(&mut self) {
        if self.is_moving
            && let (Some(carrier), Some(other)) = (&self.carrier, &mut self.other)
            && carrier.is_the_same(other)
        {
            other.complete(carrier);
            std::mem::swap(&mut self.carrier, &mut self.other);
            self.is_moving = false;
        }
    }

    /// The copy beside the book is no good. Returns it.
    pub(crate) fn drop_beside(&mut self) -> Option<C> {
        self.is_moving = false;
        self.other.take()
    }

    /// What was wanted of this connection came.
    pub(crate) fn settle(&mut self, conn: u32) {
        self.wanted = self.wanted.filter(|wanted| *wanted != conn && *wanted != 0);
    }

    fn set_state(&mut self, state: BookState, sink: &mut Sink<'_>) {
        self.state = state;
        sink.out.book_state(sink.feed, self.state, self.epoch);
    }

    /// From the last record on the book is broken, if it wasn't before.
    pub(crate) fn note(&mut self, reason: GapReason) {
        self.note_from(self.last_ts, reason);
    }

    /// The same from this moment on.
    pub(crate) fn note_from(&mut self, from: UnixNanos, reason: GapReason) {
        if self.epoch > 0 {
            let (_, noted) = self.broken.get_or_insert((from, reason));
            if reason == GapReason::NotRecorded {
                *noted = reason;
            }
        }
    }

    /// The book can't be believed any more, and no copy of it.
    pub(crate) fn distrust(&mut self, reason: GapReason, sink: &mut Sink<'_>) {
        self.note(reason);
        (self.carrier, self.other, self.is_moving) = (None, None, false);
        if self.state == BookState::Valid {
            self.set_state(BookState::Suspect, sink);
        }
    }

    pub(crate) fn resubscribe(&mut self, conn: u32, sink: &mut Sink<'_>) {
        self.wanted = Some(conn);
        sink.want(Want::Resubscribe { feed: sink.feed, symbol: sink.symbol.clone(), conn });
    }

    /// Without a connection there is nothing to be suspect of: the next one begins with a snapshot.
    pub(crate) fn wait(&mut self, sink: &mut Sink<'_>) {
        (self.carrier, self.other, self.is_moving, self.wanted) = (None, None, false, None);
        self.note(GapReason::Disconnected);
        if self.state != BookState::Syncing {
            self.set_state(BookState::Syncing, sink);
        }
    }

    /// Where a book that has to begin anew is subscribed; `None` for one that waits for its first snapshot on a connection, which
    /// comes without being asked for.
    pub(crate) fn to_rebuild(&self) -> Option<u32> {
        let conn = || self.carrier.as_ref().map_or(self.wanted.unwrap_or(0), BookCopy::conn);
        (self.state != BookState::Syncing).then(conn)
    }

    /// As [`super::BookRules::rebuild`].
    pub(crate) fn rebuild(&mut self, reason: GapReason, sink: &mut Sink<'_>) {
        match self.to_rebuild() {
            Some(conn) => {
                self.distrust(reason, sink);
                self.resubscribe(conn, sink);
            }
            None => self.note(reason),
        }
    }

    /// As [`super::BookRules::resume`].
    pub(crate) fn resume(&mut self, end: &SeriesEnd) {
        if self.epoch == 0 && end.epoch > 0 {
            (self.last_ts, self.broken) = (end.ts, Some((end.ts, GapReason::NotRecorded)));
        }
        self.epoch = self.epoch.max(end.epoch);
    }

    /// As [`super::BookRules::disconnected`]; whether the book waits for a connection from now on.
    pub(crate) fn disconnected(&mut self, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) -> bool {
        let of = |copy: &Option<C>| copy.as_ref().is_some_and(|copy| conn == 0 || copy.conn() == conn);
        if of(&self.other) {
            self.drop_beside();
        }
        let mut waits = false;
        if of(&self.carrier) {
            match (self.carrier.take(), self.drop_beside().filter(C::is_whole)) {
                (Some(gone), Some(other)) if gone.is_the_same(&other) => self.carrier = Some(other),
                (_, Some(other)) => {
                    self.note(GapReason::Disconnected);
                    self.publish(other, ts_recv, sink);
                }
                (_, None) => waits = true,
            }
        } else if self.carrier.is_none() && (conn == 0 || self.wanted == Some(conn)) {
            waits = true;
        }
        if waits {
            self.wait(sink);
        }
        self.wanted = self.wanted.filter(|wanted| conn != 0 && *wanted != conn);
        waits
    }

    /// As [`super::BookRules::unreadable`], of books for which a loss must be assumed. It may have been the snapshot that one waits for.
    pub(crate) fn unreadable(&mut self, conn: u32, sink: &mut Sink<'_>) {
        if self.copy_mut(conn).is_some() {
            self.reject(GapReason::Unreadable, conn, sink);
        } else if self.waits_on(conn) {
            self.resubscribe(conn, sink);
        }
    }

    /// Whether a snapshot is wanted that this connection would bring.
    fn waits_on(&self, conn: u32) -> bool {
        match self.wanted {
            Some(wanted) => wanted == conn || wanted == 0,
            None => self.carrier.is_none(),
        }
    }

    /// As [`super::BookRules::missed`]: for a book that can't tell by itself whether it was about it.
    pub(crate) fn missed(&mut self, conn: u32, sink: &mut Sink<'_>) {
        if self.copy_mut(conn).is_some() {
            self.reject(GapReason::Sequence, conn, sink);
        }
    }

    /// As [`super::BookRules::wanted`].
    pub(crate) fn wanted(&self, feed: FeedIndex, symbol: &Symbol) -> Option<Want> {
        let conn = match self.state {
            BookState::Valid => self.wanted?,
            BookState::Syncing | BookState::Suspect => self.wanted.unwrap_or(0),
        };
        Some(Want::Resubscribe { feed, symbol: symbol.clone(), conn })
    }

    /// As [`super::BookRules::status`].
    pub(crate) const fn status(&self) -> BookStatus {
        BookStatus { state: self.state, epoch: self.epoch, last: self.last_id, last_ts: self.last_ts, held: 0 }
    }
}
