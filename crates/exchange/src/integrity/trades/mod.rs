//! Contiguous trade ids: what is new, what came late, what was there before, and what is missing. Bounded.
//!
//! A gap stays declared as it was found until each of its ids has come, or was passed over by an answer and so is absent from
//! the exchange too. Then it is replaced, once, by gaps of exactly the absent ids. Those are not asked for again; one that
//! comes after all is taken, and its gap stays declared whole until the last of it has come.

use std::collections::VecDeque;

use dccd_model::{Gap, GapReason, SeriesEnd, UnixNanos};
use serde::{Deserialize, Serialize};

/// Open gaps kept; past that one is given up and stays unrepaired: the oldest of absent ids, or else the oldest.
const GAPS_MAX: usize = 1_024;
/// Pieces that the missing ids of one gap may fall into; a late trade that would make more is refused, and stays missing.
const PIECES_MAX: usize = 1_024;
/// An id so far back, with a time so much newer, is the exchange beginning its ids anew, and no trade seen before.
const RESET_IDS: u64 = 10_000;
const RESET_NANOS: i64 = 10_000_000_000;
/// A trade so far before the first is of the series yet: it changed places with the first on its way.
const EARLY_IDS: u64 = 1_000;

/// Exchanges that aggregate number aggregates and single trades apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IdSpace {
    Single,
    Aggregated,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OpenGap {
    gap: Gap,
    /// What is still missing of it and may be had, ascending, both ends included.
    missing: Vec<(u64, u64)>,
    /// What is missing of it and absent from the exchange, likewise. Apart from `missing`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    absent: Vec<(u64, u64)>,
}

impl OpenGap {
    /// What is missing between these two ids is absent. Past the bounds it stays missing, and is asked for again.
    fn give_up(&mut self, first: u64, last: u64) {
        let mut at = self.missing.partition_point(|(_, to)| *to < first);
        while let Some((from, to)) = self.missing.get(at).copied().filter(|(from, _)| *from <= last) {
            let run = (from.max(first), to.min(last));
            let splits = from < run.0 && run.1 < to;
            if (splits && self.missing.len() >= PIECES_MAX) || !insert(&mut self.absent, run) {
                return;
            }
            match (from < run.0, run.1 < to) {
                (false, false) => {
                    self.missing.remove(at);
                    continue;
                }
                (true, false) => self.missing[at].1 = run.0 - 1,
                (false, true) => self.missing[at].0 = run.1 + 1,
                (true, true) => {
                    self.missing[at].1 = run.0 - 1;
                    self.missing.insert(at + 1, (run.1 + 1, to));
                }
            }
            at += 1;
        }
    }
}

/// Takes an id out of ascending ranges; says whether it was there, and there was room for what it leaves.
fn take(ranges: &mut Vec<(u64, u64)>, id: u64) -> bool {
    let at = ranges.partition_point(|(_, last)| *last < id);
    let Some((first, last)) = ranges.get(at).copied().filter(|(first, _)| *first <= id) else { return false };
    match (first == id, last == id) {
        (true, true) => {
            ranges.remove(at);
        }
        (true, false) => ranges[at].0 = id + 1,
        (false, true) => ranges[at].1 = id - 1,
        (false, false) if ranges.len() >= PIECES_MAX => return false,
        (false, false) => {
            ranges[at].1 = id - 1;
            ranges.insert(at + 1, (id + 1, last));
        }
    }
    true
}

/// Adds a range to ascending ranges that it doesn't overlap, joined to its neighbours; says whether there was room.
fn insert(ranges: &mut Vec<(u64, u64)>, (first, last): (u64, u64)) -> bool {
    let at = ranges.partition_point(|(_, to)| *to < first);
    let before = at.checked_sub(1).filter(|before| ranges[*before].1 + 1 == first);
    let after = ranges.get(at).is_some_and(|(from, _)| last.checked_add(1) == Some(*from));
    match (before, after) {
        (Some(before), true) => ranges[before].1 = ranges.remove(at).1,
        (Some(before), false) => ranges[before].1 = last,
        (None, true) => ranges[at].0 = first,
        (None, false) if ranges.len() >= PIECES_MAX => return false,
        (None, false) => ranges.insert(at, (first, last)),
    }
    true
}

/// What a trade's id means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TradeStep {
    /// It is the newest; a gap was found before it.
    New { gap: Option<Gap> },
    /// It comes before the first: the series begins with it from now on. A gap was found between the two.
    Early { gap: Option<Gap> },
    /// It was missing. Where its gap is settled with it: that gap, made good, and those of absent ids that take its place.
    Late { settled: Vec<Gap> },
    /// It was seen before.
    Duplicate,
    /// Its id was given already, at an earlier time: the exchange counts anew, and what comes can't be told by its id from what came, here
    /// nor in the store's file of the day. It is left out; that is declared at the first of them, and when the count is past the old one.
    Unplaced { gap: Option<Gap> },
    /// Its id is of the space that this feed doesn't carry.
    Foreign,
}

/// Ids that the store's file of a day may hold: it has each but once.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct DayIds {
    /// The latest that a trade came of, in days since 1970 (UTC).
    day: i64,
    /// The lowest of the count that goes on.
    first: u64,
    /// Those of earlier counts, both ends included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old: Option<(u64, u64)>,
}

/// The ids of one feed of trades.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Trades {
    space: Option<IdSpace>,
    /// Id and time of the first since the ids began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<(u64, UnixNanos)>,
    last: Option<u64>,
    last_ts: UnixNanos,
    /// The latest time of the newest trades and the id that it came with, where it isn't the last one's: the exchange's clock stepped back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latest: Option<(u64, UnixNanos)>,
    /// Since a day or a count began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of_day: Option<DayIds>,
    epoch: u32,
    /// By ids, ascending: they are found in that order.
    open: VecDeque<OpenGap>,
    /// The exchange told of trades that never came, and none came since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    told: bool,
    /// The latest time of which it told so: no trade that came since need be newer.
    #[serde(default, skip_serializing_if = "super::is_unknown")]
    told_ts: UnixNanos,
    /// Trades are left out because of their ids: up to when that is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unplaced: Option<UnixNanos>,
}

impl Trades {
    /// A trade arrived live. `reason`: why there would be a hole before it. `broken`: whether the way from the trade before was
    /// interrupted, so that a change of the id space can be believed.
    pub(crate) fn arrive(&mut self, space: IdSpace, id: u64, ts: UnixNanos, reason: GapReason, broken: bool) -> TradeStep {
        let Some(last) = self.last else {
            (self.space, self.first) = (Some(space), Some((id, ts)));
            self.advance(id, ts);
            return TradeStep::New { gap: None };
        };
        // Ids that only the store tells of are taken for those that come.
        if *self.space.get_or_insert(space) != space {
            if !broken {
                return TradeStep::Foreign;
            }
            self.space = Some(space);
            return self.restart(id, ts, reason);
        }
        if id > last && self.is_of_old_count((id, id), ts) {
            let step = self.leave_out(ts, reason);
            self.advance(id, ts);
            return step;
        }
        if id.checked_sub(1) == Some(last) {
            self.advance(id, ts);
            return TradeStep::New { gap: None };
        }
        if id > last {
            let ids = (last + 1, id - 1);
            let gap = self.open_gap(ids, ts, reason);
            self.advance(id, ts);
            return TradeStep::New { gap: Some(gap) };
        }
        match self.repair(space, id) {
            // A trade keeps its time, however often it comes.
            TradeStep::Duplicate if ts.0.saturating_sub(self.latest_ts().0) > RESET_NANOS => {
                if last - id > RESET_IDS && !self.is_of_day(id, ts) {
                    self.restart(id, ts, reason)
                } else {
                    self.leave_out(ts, reason)
                }
            }
            TradeStep::Duplicate => match self.first {
                Some((first, first_ts)) if id < first && first - id <= EARLY_IDS => {
                    self.begin_at(id, ts, (first, first_ts), reason)
                }
                _ => TradeStep::Duplicate,
            },
            step => step,
        }
    }

    /// The store has trades of this series up to this end; says whether the series goes on from there, which one that has begun doesn't.
    pub(crate) fn resume(&mut self, end: &SeriesEnd) -> bool {
        let is_new = self.last.is_none() && end.last_id.is_some();
        if is_new {
            (self.last, self.last_ts) = (end.last_id, end.ts);
        }
        is_new
    }

    /// The exchange says that this is its newest trade, at this time: what never came up to it is missing. `None`: nothing is, or the
    /// series hasn't begun.
    pub(crate) fn told(&mut self, space: IdSpace, id: u64, ts: UnixNanos, reason: GapReason) -> Option<Gap> {
        let first = self.last.filter(|last| *last < id && self.space == Some(space))? + 1;
        let gap = self.open_gap((first, id), ts, reason);
        self.turn_to(ts);
        // The time stays that of the last trade that came: no missing one is older.
        self.last = Some(id);
        (self.told, self.told_ts) = (true, ts.max(self.told_ts));
        Some(gap)
    }

    /// Whether this newest trade is the first since the exchange told of some that never came; once.
    pub(crate) fn take_told(&mut self) -> bool {
        std::mem::take(&mut self.told)
    }

    /// What was left out up to this newest trade and isn't declared yet, if anything was.
    pub(crate) fn take_unplaced(&mut self, ts: UnixNanos, reason: GapReason) -> Option<Gap> {
        let from = self.unplaced.take()?;
        (from < ts).then_some(Gap { from, to: ts, reason, repaired: false, ids: None })
    }

    fn leave_out(&mut self, ts: UnixNanos, reason: GapReason) -> TradeStep {
        let gap = Gap { from: self.last_ts, to: ts, reason, repaired: false, ids: None };
        let gap = self.unplaced.is_none().then_some(gap);
        self.unplaced.get_or_insert(ts);
        TradeStep::Unplaced { gap }
    }

    fn open_gap(&mut self, ids: (u64, u64), to: UnixNanos, reason: GapReason) -> Gap {
        let gap = Gap { from: self.last_ts, to, reason, repaired: false, ids: Some(ids) };
        if self.is_of_old_count(ids, to) {
            // The store wouldn't take what could be fetched.
            return Gap { ids: None, ..gap };
        }
        if self.open.len() >= GAPS_MAX {
            let of_absent = self.open.iter().position(|open| open.missing.is_empty());
            self.open.remove(of_absent.unwrap_or(0));
        }
        self.open.push_back(OpenGap { gap: gap.clone(), missing: vec![ids], absent: Vec::new() });
        gap
    }

    /// The series begins with this one instead.
    fn begin_at(&mut self, id: u64, ts: UnixNanos, first: (u64, UnixNanos), reason: GapReason) -> TradeStep {
        let gap = (id + 1 < first.0).then(|| Gap {
            from: ts,
            to: first.1,
            reason,
            repaired: false,
            ids: Some((id + 1, first.0 - 1)),
        });
        if let Some(gap) = &gap {
            if self.open.len() >= GAPS_MAX {
                return TradeStep::Duplicate;
            }
            self.open.push_front(OpenGap { gap: gap.clone(), missing: gap.ids.into_iter().collect(), absent: Vec::new() });
        }
        self.first = Some((id, ts));
        if let Some(of_day) = &mut self.of_day {
            of_day.first = of_day.first.min(id);
        }
        TradeStep::Early { gap }
    }

    /// A trade that was asked for, or that came late: it counts only where it is missing.
    pub(crate) fn repair(&mut self, space: IdSpace, id: u64) -> TradeStep {
        if self.space != Some(space) {
            return TradeStep::Foreign;
        }
        let at = self.open.partition_point(|open| open.gap.ids.is_some_and(|(_, last)| last < id));
        let Some(open) = self.open.get_mut(at) else { return TradeStep::Duplicate };
        let asked_for = take(&mut open.missing, id);
        if !asked_for && !take(&mut open.absent, id) {
            return TradeStep::Duplicate;
        }
        let mut settled = Vec::new();
        if open.missing.is_empty() && (asked_for || open.absent.is_empty()) {
            self.settle(at, &mut settled);
        }
        TradeStep::Late { settled }
    }

    /// An answer has nothing from `first` to `last`: what is missing of that is absent. Returns gaps as [`TradeStep::Late`] has.
    pub(crate) fn pass_over(&mut self, space: IdSpace, first: u64, last: u64) -> Vec<Gap> {
        let mut settled = Vec::new();
        if self.space != Some(space) {
            return settled;
        }
        let mut at = self.open.partition_point(|open| open.gap.ids.is_some_and(|(_, end)| end < first));
        while let Some(open) = self.open.get_mut(at).filter(|open| open.gap.ids.is_some_and(|(begin, _)| begin <= last)) {
            let was_open = !open.missing.is_empty();
            open.give_up(first, last);
            at += if was_open && open.missing.is_empty() { self.settle(at, &mut settled) } else { 1 };
        }
        settled
    }

    /// Nothing of this gap is asked for any more. Returns how many take its place; those past the bound are declared and not kept.
    fn settle(&mut self, at: usize, settled: &mut Vec<Gap>) -> usize {
        if self.open.get(at).is_some_and(|OpenGap { gap, absent, .. }| gap.ids.as_slice() == absent.as_slice()) {
            return 1;
        }
        let Some(OpenGap { gap, absent, .. }) = self.open.remove(at) else { return 0 };
        settled.push(Gap { repaired: true, ..gap.clone() });
        let mut kept = 0;
        for run in absent {
            let piece = Gap { ids: Some(run), ..gap.clone() };
            settled.push(piece.clone());
            if self.open.len() < GAPS_MAX {
                self.open.insert(at + kept, OpenGap { gap: piece, missing: Vec::new(), absent: vec![run] });
                kept += 1;
            }
        }
        kept
    }

    fn advance(&mut self, id: u64, ts: UnixNanos) {
        self.turn_to(ts);
        // One that is later than all of so many after it was wrong.
        let latest = self.latest.or(self.last.map(|last| (last, self.last_ts)));
        self.latest = latest.filter(|(of, latest)| *latest > ts && id.abs_diff(*of) <= RESET_IDS);
        (self.last, self.last_ts) = (Some(id), ts);
    }

    /// The latest time that was heard of.
    fn latest_ts(&self) -> UnixNanos {
        let latest = self.latest.map_or(self.last_ts, |(_, latest)| latest);
        latest.max(self.told_ts)
    }

    /// What the file of the newest day may hold. A state of the store, or of a version that didn't keep it, doesn't tell where the day
    /// began.
    fn ids_of_day(&self) -> Option<DayIds> {
        let begun = || DayIds { day: self.latest_ts().day(), first: self.first.map_or(0, |(first, _)| first), old: None };
        self.of_day.or_else(|| self.last.map(|_| begun()))
    }

    /// Where a day begins with this time: all ids after the last are of it, those that are missing before the next, too.
    fn turn_to(&mut self, ts: UnixNanos) {
        let (Some(last), Some(known)) = (self.last, self.ids_of_day()) else { return };
        if known.day < ts.day() {
            self.of_day = Some(DayIds { day: ts.day(), first: last.saturating_add(1), old: None });
        }
    }

    /// Whether the store's file of this time's day may hold this id, which is not above the last.
    fn is_of_day(&self, id: u64, ts: UnixNanos) -> bool {
        let is_of_count = self.ids_of_day().is_some_and(|of_day| of_day.day == ts.day() && of_day.first <= id);
        is_of_count || self.is_of_old_count((id, id), ts)
    }

    /// Whether that file may hold one of these ids, both ends included, of an earlier count.
    fn is_of_old_count(&self, (from, to): (u64, u64), ts: UnixNanos) -> bool {
        let of_day = self.of_day.filter(|of_day| of_day.day == ts.day());
        of_day.and_then(|of_day| of_day.old).is_some_and(|(first, last)| from <= last && first <= to)
    }

    /// The ids begin anew: nothing says how many trades are missing in between, and open gaps can't be filled any more.
    fn restart(&mut self, id: u64, ts: UnixNanos, reason: GapReason) -> TradeStep {
        let gap = Gap { from: self.last_ts, to: ts, reason, repaired: false, ids: None };
        self.open.clear();
        // Declared with this one.
        self.unplaced = None;
        self.epoch += 1;
        self.turn_to(ts);
        if let (Some(known), Some(last)) = (self.ids_of_day(), self.last) {
            let count = (known.first <= last).then_some((known.first, last));
            let old = known.old.into_iter().chain(count).reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
            self.of_day = Some(DayIds { first: id, old, ..known });
        }
        self.first = Some((id, ts));
        self.advance(id, ts);
        if self.is_of_old_count((id, id), ts) {
            self.unplaced = Some(ts);
            return TradeStep::Unplaced { gap: Some(gap) };
        }
        TradeStep::New { gap: Some(gap) }
    }

    /// What is missing and may be had, by gap and piece.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.open.iter().flat_map(|open| open.missing.iter().copied())
    }

    /// As [`Self::missing`], each with the time of the last trade before its gap.
    pub(crate) fn missing_since(&self) -> impl Iterator<Item = (UnixNanos, (u64, u64))> + '_ {
        self.open.iter().flat_map(|open| open.missing.iter().map(|ids| (open.gap.from, *ids)))
    }

    /// Gaps of which something may still be had.
    pub(crate) fn open_gaps(&self) -> usize {
        self.open.iter().filter(|open| !open.missing.is_empty()).count()
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    pub(crate) fn last_ts(&self) -> UnixNanos {
        self.last_ts
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }
}

#[cfg(test)]
mod tests;
