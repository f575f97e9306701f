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
//! The numbers of another connection may be of other moments. It takes over at a number that both have, whether a snapshot came on
//! it or not; so a replaced connection costs neither a gap nor an epoch.

use std::collections::VecDeque;

use dccd_model::{BookSide, Decimal, GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::checksum::checksum;
use super::consts::SNAPSHOT_PATIENCE;
use super::copy::{Copy, in_base_units};
use super::messages::BookPart;
use crate::session::{BookCopy as _, BookRules, BookStatus, Carried, Level, Levels, Sink};
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
    carried: Carried<Copy>,
    /// Base units in one contract; `None` where amounts are in base units.
    contract_size: Option<Decimal>,
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
        let (seq, prev, ts) = (part.seq, part.prev, part.ts_venue);
        let mut copy = Copy { conn, seq, prev, ts, ..self.copy() };
        copy.ladder.replace(levels);
        let is_right = part.checksum.is_none_or(|expected| expected == checksum(&copy.ladder, &mut self.text));
        if !is_right || !self.fits(levels) {
            return self.reject(GapReason::Integrity, conn, sink);
        }
        self.accept(copy, ts_recv, sink);
        if self.carried.is_carrier(conn) {
            self.by_rest = false;
        }
    }

    fn copy(&self) -> Copy {
        Copy { contract_size: self.contract_size, ..Copy::default() }
    }

    /// A whole book came; what was held back for it has served.
    fn accept(&mut self, copy: Copy, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        if self.carried.carrier().is_none() {
            self.forget();
        }
        self.carried.accept(copy, ts_recv, sink);
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
        let is_carrier = self.carried.is_carrier(conn);
        if self.carried.carrier().is_none() {
            return self.hold(HeldUpdate { part: *part, ts_recv, levels: levels.clone() }, conn, sink);
        }
        let bare = self.copy();
        let Some(copy) = self.carried.copy_mut(conn) else {
            // Whether a snapshot comes before it or not, its numbers tell where this connection is.
            if part.seq.is_some() {
                let (seq, prev, ts) = (part.seq, part.prev, part.ts_venue);
                self.carried.keep_beside(Copy { conn, seq, prev, ts, is_bare: true, ..bare });
            }
            return;
        };
        if copy.repeats(part) {
            sink.tally.duplicates += 1;
            return;
        }
        let nothing = Levels::default();
        if let Err(why) = copy.apply(part, if copy.is_bare { &nothing } else { levels }, &mut self.text) {
            self.reject(if why == GapReason::Sequence { reason } else { why }, conn, sink);
            // What comes after a hole is of use for a snapshot over REST that is newer than the hole.
            if is_carrier && why == GapReason::Sequence {
                self.hold(HeldUpdate { part: *part, ts_recv, levels: levels.clone() }, conn, sink);
            }
            return;
        }
        if is_carrier {
            self.give_out(part, levels, ts_recv, sink);
        } else {
            self.carried.came_beside(sink);
        }
    }

    /// A snapshot arrived over REST.
    pub(super) fn fetched(&mut self, part: &BookPart, levels: &Levels, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        self.is_asked = false;
        let (Some(seq), true) = (part.seq, self.fits(levels)) else { return };
        if self.carried.carrier().is_none() {
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
        let mut copy = Copy { conn: held.conn, seq: Some(fetched.seq), ts: fetched.ts, ..self.copy() };
        copy.ladder.replace(&fetched.levels);
        self.by_rest = true;
        self.accept(copy, fetched.ts_recv, sink);
        for mut update in held.updates.into_iter().skip(from) {
            let Some(copy) = self.carried.copy_mut(held.conn) else { return };
            // The first one may begin before the snapshot; it says all the same what its levels are after it.
            update.part.prev = copy.seq;
            if copy.apply(&update.part, &update.levels, &mut self.text).is_err() {
                return self.reject(GapReason::Integrity, held.conn, sink);
            }
            self.give_out(&update.part, &update.levels, update.ts_recv, sink);
        }
    }

    fn give_out(&mut self, part: &BookPart, levels: &Levels, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        let count = levels.bids.len() + levels.asks.len();
        let of = |side| move |level: &Level| (side, *level);
        let levels = levels.bids.iter().map(of(BookSide::Bid)).chain(levels.asks.iter().map(of(BookSide::Ask)));
        self.carried.give_out((part.ts_venue, ts_recv), count, levels, sink);
    }

    /// What this connection brings is wrong. The book begins anew in the way in which it began the last time; a copy beside it, with
    /// its connection's next message.
    fn reject(&mut self, reason: GapReason, conn: u32, sink: &mut Sink<'_>) {
        if self.carried.carrier().is_none() || self.carried.is_carrier(conn) {
            return self.begin_anew(reason, conn, sink);
        }
        let was_whole = self.carried.drop_beside().is_some_and(|other| other.is_whole());
        if was_whole && !self.by_rest {
            self.carried.resubscribe(conn, sink);
        }
    }

    fn begin_anew(&mut self, reason: GapReason, conn: u32, sink: &mut Sink<'_>) {
        self.carried.distrust(reason, sink);
        (self.held, self.fetched) = (None, None);
        if self.by_rest {
            self.ask(sink);
        } else {
            self.carried.resubscribe(conn, sink);
        }
    }

    fn forget(&mut self) {
        (self.held, self.fetched, self.is_asked) = (None, None, false);
    }
}

impl BookRules for Book {
    fn rebuild(&mut self, reason: GapReason, sink: &mut Sink<'_>) {
        match self.carried.to_rebuild() {
            Some(conn) => self.begin_anew(reason, conn, sink),
            None => self.carried.note(reason),
        }
    }

    fn close(&mut self, sink: &mut Sink<'_>) {
        self.carried.wait(sink);
        self.forget();
    }

    fn resume(&mut self, end: &SeriesEnd) {
        self.carried.resume(end);
    }

    fn disconnected(&mut self, conn: u32, ts_recv: UnixNanos, sink: &mut Sink<'_>) {
        if self.carried.disconnected(conn, ts_recv, sink) {
            self.forget();
        }
        if self.held.as_ref().is_some_and(|held| conn == 0 || held.conn == conn) {
            (self.held, self.fetched) = (None, None);
        }
    }

    fn unreadable(&mut self, conn: u32, sink: &mut Sink<'_>) {
        // Numbers tell of what was lost with the next message; where there are none, a loss must be assumed.
        if self.carried.copy_mut(conn).is_some_and(|copy| copy.seq.is_none()) {
            self.reject(GapReason::Unreadable, conn, sink);
        }
    }

    fn wanted(&self, feed: FeedIndex, symbol: &Symbol) -> Option<Want> {
        if self.is_asked && self.carried.carrier().is_none() {
            return Some(Want::BookSnapshot { feed, symbol: symbol.clone() });
        }
        self.carried.wanted(feed, symbol)
    }

    fn status(&self) -> BookStatus {
        let held = self.held.as_ref().map_or(0, |held| held.updates.len());
        BookStatus { held, ..self.carried.status() }
    }
}
