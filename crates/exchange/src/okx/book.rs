//! OKX's rule for order books: a snapshot, and updates of which each names the one before it (`prevSeqId`). Where they carry a
//! checksum, it is verified; those from before the numbers go by it alone.
//!
//! A number may be smaller than the one before it (the exchange began its numbers anew in a maintenance), or the same (nothing
//! changed for a minute): the chain holds as long as each names the last. The exchange ends the levels that leave its 400 best
//! ones by itself, so nothing is cut here.
//!
//! The snapshot comes on the connection. Where updates come and no snapshot does, it is asked for over REST, and joined to the
//! updates that were held back meanwhile: the first that counts has `prevSeqId <= snapshot < seqId`.
//!
//! The book follows one connection, because the numbers of another one may be of other moments. That other one is kept beside
//! the book, and takes over at a number that both have; so a replaced connection costs neither a gap nor an epoch.

use std::collections::VecDeque;

use dccd_model::{BookSide, BookState, Decimal, Flags, GapReason, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::checksum::checksum;
use super::consts::SNAPSHOT_PATIENCE;
use super::copy::Copy;
use super::messages::BookPart;
use crate::session::{BookRules, BookStatus, EventHead, Level, Levels, Sink};
use crate::{FeedIndex, Want};

/// Updates held back for one book while it has no snapshot: about seven minutes of them.
const HELD_MAX: usize = 4_096;
/// Levels in them: 8 MiB.
const HELD_LEVELS_MAX: usize = 8 * 1_024 * 1_024 / size_of::<Level>();

/// An update that waits for a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct HeldUpdate {
    #[serde(flatten)]
    part: BookPart,
    ts_recv: UnixNanos,
    levels: Levels,
}

/// Updates of one connection, each linked to the one before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Held {
    conn: u32,
    /// When the first came since which there is no snapshot.
    since: UnixNanos,
    updates: VecDeque<HeldUpdate>,
    /// How many levels are in them.
    levels: usize,
}

impl HeldUpdate {
    fn len(&self) -> usize {
        self.levels.bids.len() + self.levels.asks.len()
    }
}

/// A snapshot over REST, which waits for the update that it links to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fetched {
    seq: u64,
    ts: UnixNanos,
    ts_recv: UnixNanos,
    levels: Levels,
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
    /// Base units in one contract; `None` where amounts are in base units.
    contract_size: Option<Decimal>,
    /// What is given out; there is one just while the book is valid.
    carrier: Option<Copy>,
    /// The same on another connection.
    other: Option<Copy>,
    /// The other takes over as soon as it is the same.
    is_moving: bool,
    /// The subscription on this connection is to begin anew; 0: on all of them.
    wanted: Option<u32>,
    held: Option<Held>,
    fetched: Option<Fetched>,
    /// A snapshot over REST was asked for and hasn't come.
    is_asked: bool,
    /// The last snapshot came over REST: the exchange sends none on the connection.
    by_rest: bool,
    /// Room for what checksums are over.
    #[serde(skip)]
    text: Vec<u8>,
}

/// An amount in base units; `None`: it doesn't fit.
pub(super) fn in_base_units(amount: Decimal, contract_size: Option<Decimal>) -> Option<Decimal> {
    let Some(size) = contract_size else { return Some(amount) };
    Some(Decimal::new(amount.mantissa.checked_mul(size.mantissa)?, amount.exponent.checked_add(size.exponent)?))
}

impl Book {
    /// One that has seen nothing, of contracts of this size.
    pub(super) fn new(contract_size: Option<Decimal>) -> Self {
        Self { contract_size, ..Self::default() }
    }

    fn fits(&self, levels: &Levels) -> bool {
        let fits = |level: &Level| in_base_units(level.amount, self.contract_size).is_some();
        self.contract_size.is_none() || (levels.bids.iter().all(fits) && levels.asks.iter().all(fits))
    }

    /// A snapshot arrived on a connection.
    pub(super) fn snapshot(&mut self, part: &BookPart, levels: &Levels, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        let mut copy = Copy { conn, seq: part.seq, prev: part.prev, ts: part.ts_venue, ..Copy::default() };
        copy.ladder.replace(levels);
        let right =
            self.fits(levels) && part.checksum.is_none_or(|expected| expected == checksum(&copy.ladder, &mut self.text));
        let is_beside = self.carrier.as_ref().is_some_and(|carrier| carrier.conn != conn);
        match (right, is_beside) {
            (true, false) => {
                self.by_rest = false;
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

    /// An update arrived. `reason`: why there would be a hole before it.
    pub(super) fn update(
        &mut self,
        part: &BookPart,
        levels: &Levels,
        (conn, ts_recv, reason): (u32, UnixNanos, GapReason),
        sink: &mut Sink<'_>,
    ) {
        if !self.fits(levels) {
            return self.unreadable(conn, sink);
        }
        let is_carrier = self.carrier.as_ref().is_some_and(|carrier| carrier.conn == conn);
        if self.carrier.is_none() {
            return self.hold(HeldUpdate { part: *part, ts_recv, levels: levels.clone() }, conn, sink);
        }
        if !is_carrier && self.other.as_ref().is_none_or(|other| other.conn != conn) {
            // Whether a snapshot comes before it or not, its numbers tell where this connection is.
            if part.seq.is_some() {
                let (seq, prev, ts) = (part.seq, part.prev, part.ts_venue);
                self.other = Some(Copy { conn, seq, prev, ts, is_bare: true, ..Copy::default() });
                self.is_moving = true;
                self.move_over();
            }
            return;
        }
        let Self { carrier, other, text, .. } = self;
        let Some(copy) = (if is_carrier { carrier } else { other }) else { return };
        if copy.repeats(part) {
            sink.tally.duplicates += 1;
            return;
        }
        let nothing = Levels::default();
        if let Err(why) = copy.apply(part, if copy.is_bare { &nothing } else { levels }, text) {
            if !is_carrier {
                return self.leave_beside(conn, sink);
            }
            let reason = if why == GapReason::Sequence { reason } else { why };
            self.break_off(reason, conn, sink);
            // What comes after a hole is of use for a snapshot over REST that is newer than the hole.
            if why == GapReason::Sequence && self.carrier.is_none() {
                self.hold(HeldUpdate { part: *part, ts_recv, levels: levels.clone() }, conn, sink);
            }
            return;
        }
        if is_carrier {
            self.give_out(part, levels, ts_recv, sink);
        } else {
            sink.tally.duplicates += 1;
        }
        self.move_over();
    }

    /// A snapshot arrived over REST.
    pub(super) fn fetched(&mut self, part: &BookPart, levels: &Levels, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        self.is_asked = false;
        let (Some(seq), true) = (part.seq, self.fits(levels)) else { return };
        if self.carrier.is_none() {
            self.fetched = Some(Fetched { seq, ts: part.ts_venue, ts_recv, levels: levels.clone() });
            self.link(sink);
        }
    }

    /// An answer arrived that can't be used.
    pub(super) fn ask_again(&mut self, sink: &mut Sink<'_>) {
        if self.is_asked {
            self.ask(sink);
        }
    }

    fn ask(&mut self, sink: &mut Sink<'_>) {
        self.is_asked = true;
        sink.want(Want::BookSnapshot { feed: sink.feed, symbol: sink.symbol.clone() });
    }

    /// Keeps an update while there is no book that it could be applied to.
    fn hold(&mut self, update: HeldUpdate, conn: u32, sink: &mut Sink<'_>) {
        if update.part.seq.is_none() {
            // Without a number it can't be joined to a snapshot over REST.
            return;
        }
        let ts_recv = update.ts_recv;
        let held = self.held.get_or_insert_with(|| Held { conn, since: ts_recv, ..Held::default() });
        if held.conn != conn {
            return;
        }
        if let Some(last) = held.updates.back() {
            if (last.part.seq, last.part.prev) == (update.part.seq, update.part.prev) {
                sink.tally.duplicates += 1;
                return;
            }
            if update.part.prev != last.part.seq {
                // Only a snapshot past this hole can help.
                held.updates.clear();
                held.levels = 0;
            }
        }
        held.levels += update.len();
        held.updates.push_back(update);
        while held.updates.len() > HELD_MAX || held.levels > HELD_LEVELS_MAX {
            let Some(first) = held.updates.pop_front() else { break };
            held.levels -= first.len();
            *sink.overflowed += 1;
        }
        let is_patient = !self.by_rest && ts_recv.0.saturating_sub(held.since.0) < SNAPSHOT_PATIENCE;
        if self.fetched.is_some() {
            self.link(sink);
        } else if !self.is_asked && !is_patient {
            self.ask(sink);
        }
    }

    /// Tries to put the held updates on top of the snapshot that came over REST.
    fn link(&mut self, sink: &mut Sink<'_>) {
        let (Some(fetched), Some(held)) = (&self.fetched, &self.held) else { return };
        let at = |update: &HeldUpdate| update.part.seq.unwrap_or_default();
        let from = match held.updates.iter().position(|update| at(update) == fetched.seq) {
            // The snapshot is of the moment after this update.
            Some(place) => place + 1,
            None => {
                let spans = |update: &HeldUpdate| {
                    update.part.prev.is_some_and(|prev| prev <= fetched.seq) && fetched.seq < at(update)
                };
                match held.updates.iter().position(spans) {
                    Some(place) => place,
                    // It is newer than all that came so far: the next ones will tell.
                    None if held.updates.iter().all(|update| at(update) < fetched.seq) => return,
                    None => {
                        self.fetched = None;
                        return self.ask(sink);
                    }
                }
            }
        };
        let (Some(fetched), Some(held)) = (self.fetched.take(), self.held.take()) else { return };
        let mut copy = Copy { conn: held.conn, seq: Some(fetched.seq), ts: fetched.ts, ..Copy::default() };
        copy.ladder.replace(&fetched.levels);
        self.by_rest = true;
        self.publish(copy, fetched.ts_recv, sink);
        for mut update in held.updates.into_iter().skip(from) {
            let Some(copy) = self.carrier.as_mut() else { return };
            // The first one may begin before the snapshot; it says all the same what its levels are after it.
            update.part.prev = copy.seq;
            if copy.apply(&update.part, &update.levels, &mut self.text).is_err() {
                return self.break_off(GapReason::Integrity, held.conn, sink);
            }
            self.give_out(&update.part, &update.levels, update.ts_recv, sink);
        }
    }

    fn give_out(&mut self, part: &BookPart, levels: &Levels, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        self.last_ts = part.ts_venue;
        let head = EventHead {
            ts_venue: part.ts_venue,
            ts_recv,
            update_id: part.seq.unwrap_or_default(),
            epoch: self.epoch,
            count: levels.bids.len() + levels.asks.len(),
        };
        let size = self.contract_size;
        let of = |side| move |level: &Level| (side, in_units(*level, size));
        let all = levels.bids.iter().map(of(BookSide::Bid)).chain(levels.asks.iter().map(of(BookSide::Ask)));
        sink.event(head, &mut Flags::default(), all);
    }

    /// What this connection brings begins an epoch.
    fn publish(&mut self, copy: Copy, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        self.settle(copy.conn);
        (self.held, self.fetched, self.is_asked) = (None, None, false);
        let mut facts = Flags::SNAPSHOT;
        if let Some((from, reason)) = self.broken.take() {
            sink.gap(from, copy.ts, reason);
            facts |= Flags::GAP;
        }
        self.epoch += 1;
        let (bids, asks) = copy.ladder.len();
        let update_id = copy.seq.unwrap_or_default();
        let head = EventHead { ts_venue: copy.ts, ts_recv, update_id, epoch: self.epoch, count: bids + asks };
        let size = self.contract_size;
        let of = |side| move |(price, amount)| (side, in_units(Level { price, amount }, size));
        let levels = copy.ladder.bids().map(of(BookSide::Bid)).chain(copy.ladder.asks().map(of(BookSide::Ask)));
        sink.event(head, &mut facts, levels);
        self.last_ts = copy.ts;
        self.carrier = Some(copy);
        self.set_state(BookState::Valid, sink);
    }

    /// Follows the other connection once it is at the very same place.
    fn move_over(&mut self) {
        if self.is_moving
            && let (Some(carrier), Some(other)) = (&self.carrier, &mut self.other)
            && carrier.is_the_same(other)
        {
            if other.is_bare {
                (other.ladder, other.is_bare) = (carrier.ladder.clone(), false);
            }
            std::mem::swap(&mut self.carrier, &mut self.other);
            self.is_moving = false;
        }
    }

    /// The copy beside the book is no good. Its connection's next message about the book begins another one.
    fn leave_beside(&mut self, conn: u32, sink: &mut Sink<'_>) {
        let was_whole = self.other.take().is_some_and(|other| !other.is_bare);
        self.is_moving = false;
        if was_whole && !self.by_rest {
            self.resubscribe(conn, sink);
        }
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

    fn drop_all(&mut self) {
        (self.carrier, self.other, self.held, self.fetched) = (None, None, None, None);
        self.is_moving = false;
    }

    /// The book can't be believed any more: it begins anew, in the way in which it began the last time.
    fn break_off(&mut self, reason: GapReason, conn: u32, sink: &mut Sink<'_>) {
        self.note(reason);
        self.drop_all();
        if self.state == BookState::Valid {
            self.set_state(BookState::Suspect, sink);
        }
        if self.by_rest {
            self.ask(sink);
        } else {
            self.resubscribe(conn, sink);
        }
    }

    fn resubscribe(&mut self, conn: u32, sink: &mut Sink<'_>) {
        self.wanted = Some(conn);
        sink.want(Want::Resubscribe { feed: sink.feed, symbol: sink.symbol.clone(), conn });
    }

    /// Without a connection there is nothing to be suspect of: the next one begins with a snapshot.
    fn wait(&mut self, sink: &mut Sink<'_>) {
        self.drop_all();
        (self.wanted, self.is_asked) = (None, false);
        self.note(GapReason::Disconnected);
        if self.state != BookState::Syncing {
            self.set_state(BookState::Syncing, sink);
        }
    }
}

/// A level in base units. That it fits was seen before it was let into the book.
fn in_units(level: Level, contract_size: Option<Decimal>) -> Level {
    Level { amount: in_base_units(level.amount, contract_size).unwrap_or(level.amount), ..level }
}

impl BookRules for Book {
    fn rebuild(&mut self, reason: GapReason, sink: &mut Sink<'_>) {
        // A book that waits for its first snapshot on a connection gets it without being asked for.
        if self.state != BookState::Syncing {
            let conn = self.carrier.as_ref().map_or(self.wanted.unwrap_or(0), |carrier| carrier.conn);
            self.break_off(reason, conn, sink);
        } else {
            self.note(reason);
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
                // A bare one at the same place would have taken over already.
                (Some(gone), Some(other)) if !other.is_bare && gone.is_the_same(&other) => self.carrier = Some(other),
                (_, Some(other)) if !other.is_bare => {
                    self.note(GapReason::Disconnected);
                    self.publish(other, ts_recv, sink);
                }
                _ => self.wait(sink),
            }
            self.is_moving = false;
        } else if self.carrier.is_none() && (conn == 0 || self.wanted == Some(conn)) {
            self.wait(sink);
        }
        if self.held.as_ref().is_some_and(|held| conn == 0 || held.conn == conn) {
            (self.held, self.fetched) = (None, None);
        }
        self.wanted = self.wanted.filter(|wanted| conn != 0 && *wanted != conn);
    }

    fn unreadable(&mut self, conn: u32, sink: &mut Sink<'_>) {
        let of = |copy: &Option<Copy>| copy.as_ref().is_some_and(|copy| copy.conn == conn);
        // Numbers tell of what was lost with the next message; where there are none, a loss must be assumed.
        if of(&self.carrier) {
            if self.carrier.as_ref().is_some_and(|carrier| carrier.seq.is_none()) {
                self.break_off(GapReason::Unreadable, conn, sink);
            }
        } else if of(&self.other) && self.other.as_ref().is_some_and(|other| other.seq.is_none()) {
            self.leave_beside(conn, sink);
        }
    }

    fn wanted(&self, feed: FeedIndex, symbol: &Symbol) -> Option<Want> {
        let symbol = symbol.clone();
        if self.is_asked && self.carrier.is_none() {
            return Some(Want::BookSnapshot { feed, symbol });
        }
        let conn = match self.state {
            BookState::Valid => self.wanted?,
            BookState::Syncing | BookState::Suspect => self.wanted.unwrap_or(0),
        };
        Some(Want::Resubscribe { feed, symbol, conn })
    }

    fn status(&self) -> BookStatus {
        let last = self.carrier.as_ref().and_then(|carrier| carrier.seq);
        let held = self.held.as_ref().map_or(0, |held| held.updates.len());
        BookStatus { state: self.state, epoch: self.epoch, last, last_ts: self.last_ts, held }
    }
}
