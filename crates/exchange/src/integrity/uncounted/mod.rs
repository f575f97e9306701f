//! Trades whose ids don't count: UUIDs, or numbers that nobody promises to be contiguous. A loss shows in the connections alone,
//! and is made good where an answer with the newest trades reaches from before it to after it. Bounded.
//!
//! A connection is *whole* when nothing that came before can have been missed by it: it brought the first trade of all, or one
//! that was there already, or another whole connection brought the trade that it began with. While a whole one is open nothing is
//! lost; when the last one ends, all since its own last trade may be.

mod recent;

use std::collections::VecDeque;

use dccd_model::{Gap, GapReason, SeriesEnd, TradeId, UnixNanos};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use self::recent::Recent;

/// Trades remembered, to know those that two connections bring. Of an older one nobody can tell whether it is a repetition.
const RECENT_MAX: usize = 1_024;
/// So many are remembered however old they are.
const RECENT_MIN: usize = 64;
/// Past those, one that is so much older than the newest is forgotten: connections that live are no further apart.
const RECENT_NANOS: i64 = 30_000_000_000;
/// Connections that may carry one feed at once; past that the oldest is forgotten.
const CARRIERS_MAX: usize = 8;
/// Gaps that are asked for at once; past that the oldest is given up and stays declared.
const OPEN_MAX: usize = 64;
/// Trades inside of a gap, or at its ends, that are remembered; a gap with more is given up.
const KNOWN_MAX: usize = 4_096;

/// Trades that were there only by their repetition, remembered; past that the oldest is forgotten.
const CONFIRMED_MAX: usize = 256;

/// No trade has this id.
const NONE: TradeId = TradeId(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Carrier {
    conn: u32,
    is_whole: bool,
    /// The trade it began with; [`NONE`] where it is to begin anew.
    first: TradeId,
    /// Of its last trade.
    last_ts: UnixNanos,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OpenGap {
    gap: Gap,
    /// Trades of its time that are there.
    known: Vec<TradeId>,
    /// Up to here pages have brought all that there was; `None`: none has yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reached: Option<UnixNanos>,
}

/// What a trade means that arrived live.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UncountedStep {
    /// It is new; something may be missing before it.
    New { gap: Option<Gap> },
    /// It was seen before.
    Duplicate,
    /// It is older than all that are remembered: it was seen before, or comes very late. It goes to those who know by the ids of all
    /// that there are.
    Past,
}

/// What a trade means that is told once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// It is new all the same: its first time got lost, or is still to come.
    New,
    /// It is there, or of no concern.
    Known,
    /// As [`UncountedStep::Past`].
    Past,
}

/// What an answer says about a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) gap: Gap,
    /// Places in the answer of what was missing.
    pub(crate) missing: Vec<usize>,
    /// Nothing else can have been. Otherwise the answer begins too late, later ones will even more so, and the gap stays.
    pub(crate) is_whole: bool,
}

/// One feed of such trades.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Uncounted {
    /// By time, those of one time as they came.
    recent: Recent,
    /// Others came before the oldest of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_forgotten: bool,
    last_ts: UnixNanos,
    carriers: Vec<Carrier>,
    /// After which time, and why, trades may be missing; told with the next one.
    broken: Option<(UnixNanos, GapReason)>,
    open: VecDeque<OpenGap>,
    /// Trades that are there because they were told once more, not because they arrived: that such a one arrives all the same proves
    /// nothing of those before it.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    confirmed: VecDeque<TradeId>,
}

impl Uncounted {
    /// A trade arrived.
    pub(crate) fn arrive(&mut self, conn: u32, id: TradeId, ts: UnixNanos) -> UncountedStep {
        let is_first_of_all = self.recent.is_empty();
        if self.is_beyond(ts) {
            // Whether it was there nobody can tell: it proves nothing of its connection.
            return UncountedStep::Past;
        }
        let is_known = self.is_remembered(id, ts);
        self.carry(conn, id, ts, is_known && !self.confirmed.contains(&id), is_first_of_all);
        if is_known {
            return UncountedStep::Duplicate;
        }
        self.last_ts = self.last_ts.max(ts);
        let broken = self.broken.take();
        if broken.is_some()
            && let Some(carrier) = self.carriers.iter_mut().find(|carrier| carrier.conn == conn)
        {
            carrier.is_whole = true;
        }
        let gap = broken.map(|(from, reason)| {
            let gap = Gap { from, to: ts.max(from), reason, repaired: false, ids: None };
            if self.open.len() >= OPEN_MAX {
                self.open.pop_front();
            }
            let known = self.recent.iter().rev().take_while(|(at, _)| *at >= from).map(|(_, id)| id).collect();
            self.open.push_back(OpenGap { gap: gap.clone(), known, reached: None });
            gap
        });
        self.remember(id, ts);
        UncountedStep::New { gap }
    }

    /// The store has trades of this series up to this end: if it hasn't begun here, it goes on from there, and something is missing.
    pub(crate) fn resume(&mut self, end: &SeriesEnd) {
        if !self.recent.is_empty() || self.broken.is_some() {
            return;
        }
        self.recent = end.recent.iter().copied().collect();
        self.has_forgotten = true;
        (self.last_ts, self.broken) = (end.ts, Some((end.ts, GapReason::NotRecorded)));
    }

    /// A trade that has been told is told once more, in no particular order. Of what was before the series nothing is wanted.
    pub(crate) fn confirm(&mut self, id: TradeId, ts: UnixNanos) -> Repetition {
        if self.is_beyond(ts) {
            return Repetition::Past;
        }
        let is_of_series = self.recent.oldest().is_some_and(|oldest| oldest <= ts);
        if !is_of_series || self.is_remembered(id, ts) {
            return Repetition::Known;
        }
        if self.confirmed.len() >= CONFIRMED_MAX {
            self.confirmed.pop_front();
        }
        self.confirmed.push_back(id);
        self.remember(id, ts);
        Repetition::New
    }

    /// Keeps account of what this connection is good for. `is_known`: the trade had arrived before.
    fn carry(&mut self, conn: u32, id: TradeId, ts: UnixNanos, is_known: bool, is_first_of_all: bool) {
        if let Some(carrier) = self.carriers.iter_mut().find(|carrier| carrier.conn == conn) {
            carrier.last_ts = carrier.last_ts.max(ts);
            if carrier.first == NONE {
                carrier.first = id;
                carrier.is_whole |= is_known && self.broken.is_none();
            }
            if carrier.is_whole {
                self.carriers.iter_mut().filter(|other| other.first == id).for_each(|other| other.is_whole = true);
            }
            return;
        }
        // It begins with a trade that was there: what came after that one comes by it, too.
        // Not so where it came after the hole began, from one that isn't whole.
        if is_known && self.broken.is_some_and(|(from, reason)| reason == GapReason::Disconnected && ts <= from) {
            self.broken = None;
        }
        let is_whole = is_first_of_all || (is_known && self.broken.is_none());
        self.admit(Carrier { conn, is_whole, first: id, last_ts: ts });
    }

    /// This connection is known to bring every trade from before now on, though maybe none came yet. It is whole where another one is.
    pub(crate) fn carries(&mut self, conn: u32) {
        let is_sound = self.broken.is_none() && self.carriers.iter().any(|carrier| carrier.is_whole);
        match self.carriers.iter_mut().find(|carrier| carrier.conn == conn) {
            _ if !is_sound => {}
            Some(carrier) => carrier.is_whole = true,
            None => self.admit(Carrier { conn, is_whole: true, first: NONE, last_ts: self.last_ts }),
        }
    }

    fn admit(&mut self, carrier: Carrier) {
        if self.carriers.len() >= CARRIERS_MAX {
            self.carriers.remove(0);
        }
        self.carriers.push(carrier);
    }

    /// Whether trades of this time have been forgotten; full ones were saved by versions that said nothing else of it.
    fn is_beyond(&self, ts: UnixNanos) -> bool {
        let is_past_all = self.recent.oldest().is_some_and(|oldest| ts < oldest);
        is_past_all && (self.has_forgotten || self.recent.len() >= RECENT_MAX)
    }

    fn is_remembered(&self, id: TradeId, ts: UnixNanos) -> bool {
        let same_time = self.recent.iter().rev().skip_while(|(at, _)| *at > ts).take_while(|(at, _)| *at == ts);
        same_time.into_iter().any(|(_, known)| known == id)
    }

    fn insert(&mut self, id: TradeId, ts: UnixNanos) {
        let newest = self.recent.newest().map_or(ts, |newest| newest.max(ts));
        // Before it grows: room is made in powers of two.
        while self.recent.oldest().is_some_and(|oldest| self.forgets(oldest, newest)) {
            self.recent.pop_front();
            self.has_forgotten = true;
        }
        self.recent.insert(ts, id);
    }

    /// Whether the oldest of the trades is to be forgotten when another one comes.
    fn forgets(&self, oldest: UnixNanos, newest: UnixNanos) -> bool {
        let is_old = newest.0.saturating_sub(oldest.0) > RECENT_NANOS;
        self.recent.len() >= RECENT_MAX || (self.recent.len() >= RECENT_MIN && is_old)
    }

    fn remember(&mut self, id: TradeId, ts: UnixNanos) {
        self.insert(id, ts);
        self.open.retain_mut(|OpenGap { gap, known, .. }| {
            if gap.from <= ts && ts <= gap.to {
                known.push(id);
            }
            known.len() <= KNOWN_MAX
        });
    }

    /// A connection ended; 0: all of them did.
    pub(crate) fn closed(&mut self, conn: u32) {
        let is_gone = |carrier: &Carrier| conn == 0 || carrier.conn == conn;
        let until = self.carriers.iter().filter(|c| is_gone(c) && c.is_whole).map(|c| c.last_ts).max();
        self.carriers.retain(|carrier| !is_gone(carrier));
        if let Some(until) = until {
            self.break_off(until, GapReason::Disconnected);
        }
    }

    /// A frame of this connection that may have been about this feed couldn't be read.
    pub(crate) fn unreadable(&mut self, conn: u32) {
        self.missed(conn, GapReason::Unreadable);
    }

    /// Something that this connection brought, or should have, may have been of this feed and is not there.
    pub(crate) fn missed(&mut self, conn: u32, reason: GapReason) {
        let Some(carrier) = self.carriers.iter_mut().find(|carrier| carrier.conn == conn) else { return };
        // It begins anew with its next trade.
        carrier.first = NONE;
        if std::mem::take(&mut carrier.is_whole) {
            let until = carrier.last_ts;
            self.break_off(until, reason);
        }
    }

    /// What was received was not recorded, among it maybe the end of a connection; or nothing came although there was something.
    pub(crate) fn lost(&mut self, reason: GapReason) {
        self.carriers.clear();
        if !self.recent.is_empty() {
            let from = self.broken.map_or(self.last_ts, |(from, _)| from);
            self.broken = Some((from, reason));
        }
    }

    /// Unless another connection is whole, all after this time may be missing.
    fn break_off(&mut self, until: UnixNanos, reason: GapReason) {
        if !self.carriers.iter().any(|carrier| carrier.is_whole) {
            self.broken.get_or_insert((until, reason));
        }
    }

    /// An answer with the newest trades came: the time and id of each, in any order. `is_full`: there are older ones that it had
    /// no room for.
    pub(crate) fn answered(&mut self, page: &[(UnixNanos, TradeId)], is_full: bool) -> Vec<Filled> {
        let times = || page.iter().map(|(ts, _)| *ts);
        let (Some(oldest), Some(newest)) = (times().min(), times().max()) else { return Vec::new() };
        let mut order: Vec<usize> = (0..page.len()).collect();
        order.sort_by_key(|at| page.get(*at).map(|(ts, _)| *ts));
        let mut filled = Vec::new();
        // One gap may begin at the very time at which another ends.
        let mut is_given = vec![false; page.len()];
        for open in std::mem::take(&mut self.open) {
            if newest < open.gap.to {
                // The answer is older than the gap's end.
                self.open.push_back(open);
                continue;
            }
            let OpenGap { gap, known, .. } = open;
            let is_missing =
                |at: &usize| page.get(*at).is_some_and(|(ts, id)| gap.from <= *ts && *ts <= gap.to && !known.contains(id));
            let missing: Vec<usize> = order.iter().copied().filter(is_missing).filter(|at| !is_given[*at]).collect();
            missing.iter().for_each(|at| is_given[*at] = true);
            // Of the trades of its oldest time some may not have had room.
            let begins = |(ts, id): &(UnixNanos, TradeId)| *ts == gap.from && known.contains(id);
            let is_whole = oldest < gap.from || (!is_full && page.iter().any(begins));
            filled.push(Filled { gap, missing, is_whole });
        }
        for (ts, id) in filled.iter().flat_map(|f| &f.missing).filter_map(|at| page.get(*at)).copied() {
            if !self.is_beyond(ts) && !self.is_remembered(id, ts) {
                self.insert(id, ts);
            }
            // Whether it is remembered or not, it is there: no other gap lacks it.
            let of_time = |open: &&mut OpenGap| open.gap.from <= ts && ts <= open.gap.to && !open.known.contains(&id);
            self.open.iter_mut().filter(of_time).for_each(|open| open.known.push(id));
        }
        filled
    }

    /// A page of trades came that ascends in time and holds all that there are from its first to its last; `is_full`: others of the
    /// last one's time may be on the next page. A gap is made good page by page.
    pub(crate) fn paged(&mut self, page: &[(UnixNanos, TradeId)], is_full: bool) -> Vec<Filled> {
        let (Some((oldest, _)), Some((newest, _))) = (page.first().copied(), page.last().copied()) else {
            return Vec::new();
        };
        let mut filled = Vec::new();
        let mut is_given = vec![false; page.len()];
        for mut open in std::mem::take(&mut self.open) {
            let Gap { from, to, .. } = open.gap;
            let begin = open.reached.unwrap_or(from);
            let known: FxHashSet<TradeId> = open.known.iter().copied().collect();
            let is_joined = oldest < begin || page.iter().any(|(ts, id)| *ts == begin && known.contains(id));
            let is_whole = newest > to || (newest == to && !is_full);
            if !is_joined || (newest <= begin && !is_whole) {
                self.open.push_back(open);
                continue;
            }
            let is_missing = |(ts, id): &(UnixNanos, TradeId)| begin <= *ts && *ts <= to && !known.contains(id);
            let missing: Vec<usize> =
                (0..page.len()).filter(|at| !is_given[*at] && page.get(*at).is_some_and(is_missing)).collect();
            missing.iter().for_each(|at| is_given[*at] = true);
            filled.push(Filled { gap: open.gap.clone(), missing, is_whole });
            if !is_whole {
                open.reached = Some(newest);
                open.known.extend(page.iter().filter(|(ts, _)| *ts == newest).map(|(_, id)| *id));
                self.open.push_back(open);
            }
        }
        for (ts, id) in filled.iter().flat_map(|f| &f.missing).filter_map(|at| page.get(*at)).copied() {
            if !self.is_beyond(ts) && !self.is_remembered(id, ts) {
                self.insert(id, ts);
            }
            // Two gaps may meet in a moment.
            let meets = |open: &&mut OpenGap| open.gap.from == ts || open.gap.to == ts;
            self.open.iter_mut().filter(meets).for_each(|open| open.known.push(id));
        }
        filled
    }

    /// Gaps that may still be made good.
    pub(crate) fn open(&self) -> impl ExactSizeIterator<Item = &Gap> {
        self.open.iter().map(|open| &open.gap)
    }

    /// The same: from when on trades are missing in each, the part of it that was made good left out.
    pub(crate) fn missing_since(&self) -> impl Iterator<Item = UnixNanos> + '_ {
        self.open.iter().map(|open| open.reached.unwrap_or(open.gap.from))
    }

    pub(crate) fn last_ts(&self) -> UnixNanos {
        self.last_ts
    }
}

#[cfg(test)]
mod tests;
