//! Binance's rule for order books: a REST snapshot, and diffs whose numbers link. No checksum, only the sequence.
//!
//! An event covers the changes `U..=u`. While there is no snapshot, events are held back. A snapshot up to change `L` links
//! when the first held event past it has `U <= L + 1 <= u`; then it is given out as a new epoch, and the held events after
//! it. From then on each event must have `U <= last + 1`; a later one means that changes are missing: the book is suspect, nothing
//! is given out, and a snapshot is wanted. Events that end at or before the last change were seen before (the same stream
//! arrives twice while a connection is being replaced) and are dropped.
//!
//! Perpetuals count the changes of all their symbols together, so there each event names the last change of the one before (`pu`), and
//! covers what came after it: `pu + 1` stands for `U`. Each must follow the last, as the exchange's document wants. Of two that overlap
//! only the one that follows is taken: the other comes from a connection that groups changes differently, or the next will tell.
//!
//! What is held back is bounded by [`HELD_EVENTS_MAX`] and [`HELD_LEVELS_MAX`]; past that the oldest goes, and counts.

use std::collections::VecDeque;

use dccd_model::{BookSide, BookState, Flags, GapReason, SeriesEnd, Symbol, UnixNanos};
use serde::{Deserialize, Serialize};

use super::messages::DepthEvent;
use crate::session::{BookRules, BookStatus, EventHead, Level, Levels, Sink};
use crate::{FeedIndex, Want};

/// Events held back for one book while it has no snapshot: about seven minutes of them.
const HELD_EVENTS_MAX: usize = 4_096;
/// Levels in them: 8 MiB.
const HELD_LEVELS_MAX: usize = 8 * 1_024 * 1_024 / size_of::<Level>();
/// Numbers so far back, with a time so much newer, are the exchange beginning its numbers anew, and no event seen before.
const RESET_CHANGES: u64 = 100_000;
const RESET_NANOS: i64 = 10_000_000_000;

/// A snapshot of both sides, up to the change `last_update_id`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) last_update_id: u64,
    pub(super) ts_recv: UnixNanos,
    pub(super) levels: Levels,
}

/// An event held back; its levels are in [`Held::levels`], bids first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct HeldEvent {
    first: u64,
    last: u64,
    ts_venue: UnixNanos,
    ts_recv: UnixNanos,
    bids: usize,
    asks: usize,
}

/// Events in order, each linking to the one before, and their levels in one run: no allocation for each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Held {
    events: VecDeque<HeldEvent>,
    levels: VecDeque<Level>,
}

impl Held {
    fn push(&mut self, event: HeldEvent, levels: &Levels) {
        self.events.push_back(event);
        self.levels.extend(&levels.bids);
        self.levels.extend(&levels.asks);
    }

    fn drop_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.levels.drain(..event.bids + event.asks);
        }
    }

    fn clear(&mut self) {
        self.events.clear();
        self.levels.clear();
    }
}

/// One book.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Book {
    state: BookState,
    epoch: u32,
    /// Last change given out; `None` before the first snapshot.
    last: Option<u64>,
    last_ts: UnixNanos,
    /// Since when, and why, the book is broken; declared when the next epoch begins.
    broken: Option<(UnixNanos, GapReason)>,
    held: Held,
    /// A snapshot that waits for the event that proves its link.
    snapshot: Option<Snapshot>,
    /// A snapshot was asked for and hasn't come.
    wanted: bool,
    /// Each event must begin just after the last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    chained: bool,
}

impl Book {
    /// One whose events name the one before.
    pub(super) fn chained() -> Self {
        Self { chained: true, ..Self::default() }
    }

    /// An event arrived. `reason`: why there would be a hole before it.
    pub(super) fn event(
        &mut self,
        event: &DepthEvent<'_>,
        ts_recv: UnixNanos,
        levels: &Levels,
        reason: GapReason,
        sink: &mut Sink<'_>,
    ) {
        let held = HeldEvent {
            first: event.first,
            last: event.last,
            ts_venue: event.ts_venue,
            ts_recv,
            bids: levels.bids.len(),
            asks: levels.asks.len(),
        };
        if self.state == BookState::Valid {
            let last = self.last.unwrap_or_default();
            if held.last <= last && !self.began_anew(last, self.last_ts, &held) {
                sink.tally.duplicates += 1;
                return;
            }
            if self.is_beside(last, &held) {
                sink.tally.duplicates += 1;
                return;
            }
            if held.last > last && held.first <= last + 1 {
                let all = levels.bids.iter().chain(&levels.asks).copied();
                self.give_out(&held, all, &mut Flags::default(), sink);
                return;
            }
            self.break_off(reason, sink);
        }
        self.hold(held, levels, sink);
    }

    /// A snapshot arrived.
    pub(super) fn snapshot(&mut self, snapshot: Snapshot, sink: &mut Sink<'_>) {
        self.wanted = false;
        if self.state != BookState::Valid {
            self.snapshot = Some(snapshot);
            self.link(sink);
        }
    }

    /// A snapshot arrived that can't be used.
    pub(super) fn ask_again(&mut self, sink: &mut Sink<'_>) {
        if self.wanted {
            sink.out.want(Want::BookSnapshot { feed: sink.feed, symbol: sink.symbol.clone() });
        }
    }

    /// An event that overlaps the last one where each must follow: if nothing else does, the next tells.
    fn is_beside(&self, last: u64, event: &HeldEvent) -> bool {
        self.chained && event.first <= last && last < event.last
    }

    /// An event whose numbers go back is none that was seen before where its time says so. Where each names the one before, any later
    /// time does.
    fn began_anew(&self, last: u64, last_ts: UnixNanos, event: &HeldEvent) -> bool {
        let later = event.ts_venue.0.saturating_sub(last_ts.0);
        if self.chained { later > 0 } else { last.saturating_sub(event.last) > RESET_CHANGES && later > RESET_NANOS }
    }

    fn note(&mut self, reason: GapReason) {
        if self.last.is_some() {
            let (_, noted) = self.broken.get_or_insert((self.last_ts, reason));
            if reason == GapReason::NotRecorded {
                *noted = reason;
            }
        }
    }

    fn break_off(&mut self, reason: GapReason, sink: &mut Sink<'_>) {
        self.note(reason);
        if self.state == BookState::Valid {
            self.state = BookState::Suspect;
            sink.out.book_state(sink.feed, self.state, self.epoch);
        }
    }

    fn want(&mut self, sink: &mut Sink<'_>) {
        self.wanted = true;
        sink.out.want(Want::BookSnapshot { feed: sink.feed, symbol: sink.symbol.clone() });
    }

    fn hold(&mut self, event: HeldEvent, levels: &Levels, sink: &mut Sink<'_>) {
        if let Some(before) = self.held.events.back() {
            if event.last <= before.last && !self.began_anew(before.last, before.ts_venue, &event) {
                sink.tally.duplicates += 1;
                return;
            }
            if self.is_beside(before.last, &event) {
                sink.tally.duplicates += 1;
                return;
            }
            if event.last <= before.last || event.first > before.last + 1 {
                // A hole among the held events: only a snapshot past it can help, so what stands before it is of no use.
                self.held.clear();
            }
        }
        self.held.push(event, levels);
        while self.held.events.len() > HELD_EVENTS_MAX || self.held.levels.len() > HELD_LEVELS_MAX {
            self.held.drop_first();
            *sink.overflowed += 1;
        }
        if self.snapshot.is_some() {
            self.link(sink);
        } else if !self.wanted {
            self.want(sink);
        }
    }

    /// Tries to put the held events on top of the snapshot.
    fn link(&mut self, sink: &mut Sink<'_>) {
        let Some(snapshot) = &self.snapshot else { return };
        while self.held.events.front().is_some_and(|event| event.last <= snapshot.last_update_id) {
            self.held.drop_first();
        }
        let Some(first) = self.held.events.front() else { return };
        if first.first > snapshot.last_update_id.saturating_add(1) {
            // Older than the first event we have: what is between them is missing.
            self.snapshot = None;
            self.want(sink);
            return;
        }
        if let Some(snapshot) = self.snapshot.take() {
            self.publish(&snapshot, sink);
        }
    }

    fn publish(&mut self, snapshot: &Snapshot, sink: &mut Sink<'_>) {
        let ts_venue = self.held.events.front().map_or(self.last_ts, |event| event.ts_venue);
        let mut facts = Flags::SNAPSHOT;
        if let Some((from, reason)) = self.broken.take() {
            sink.gap(from, ts_venue, reason);
            facts |= Flags::GAP;
        }
        self.epoch += 1;
        let whole = HeldEvent {
            first: 0,
            last: snapshot.last_update_id,
            ts_venue,
            ts_recv: snapshot.ts_recv,
            bids: snapshot.levels.bids.len(),
            asks: snapshot.levels.asks.len(),
        };
        let all = snapshot.levels.bids.iter().chain(&snapshot.levels.asks).copied();
        self.give_out(&whole, all, &mut facts, sink);
        let mut held = std::mem::take(&mut self.held);
        let mut levels = held.levels.drain(..);
        for event in held.events.drain(..) {
            let all = levels.by_ref().take(event.bids + event.asks);
            facts = Flags(facts.0 & !Flags::SNAPSHOT.0);
            self.give_out(&event, all, &mut facts, sink);
        }
        drop(levels);
        self.state = BookState::Valid;
        sink.out.book_state(sink.feed, self.state, self.epoch);
    }

    /// Gives out one event's levels; `facts` as [`Sink::event`] has them.
    fn give_out(&mut self, event: &HeldEvent, levels: impl Iterator<Item = Level>, facts: &mut Flags, sink: &mut Sink<'_>) {
        let head = EventHead {
            ts_venue: event.ts_venue,
            ts_recv: event.ts_recv,
            update_id: event.last,
            epoch: self.epoch,
            count: event.bids + event.asks,
        };
        let sided = levels.enumerate().map(|(i, level)| (if i < event.bids { BookSide::Bid } else { BookSide::Ask }, level));
        sink.event(head, facts, sided);
        (self.last, self.last_ts) = (Some(event.last), event.ts_venue);
    }
}

impl BookRules for Book {
    fn rebuild(&mut self, reason: GapReason, sink: &mut Sink<'_>) {
        // A book that has seen nothing yet asks when it does: a snapshot from before its first event would be of no use.
        let begun = self.state != BookState::Syncing || self.wanted || !self.held.events.is_empty();
        self.held.clear();
        self.snapshot = None;
        self.break_off(reason, sink);
        if begun {
            self.want(sink);
        }
    }

    fn close(&mut self, sink: &mut Sink<'_>) {
        self.held.clear();
        self.snapshot = None;
        self.wanted = false;
        self.note(GapReason::Disconnected);
        if self.state != BookState::Syncing {
            self.state = BookState::Syncing;
            sink.out.book_state(sink.feed, self.state, self.epoch);
        }
    }

    fn resume(&mut self, end: &SeriesEnd) {
        if self.epoch == 0 && end.epoch > 0 {
            (self.last_ts, self.broken) = (end.ts, Some((end.ts, GapReason::NotRecorded)));
        }
        self.epoch = self.epoch.max(end.epoch);
    }

    fn wanted(&self, feed: FeedIndex, symbol: &Symbol) -> Option<Want> {
        self.wanted.then(|| Want::BookSnapshot { feed, symbol: symbol.clone() })
    }

    fn status(&self) -> BookStatus {
        BookStatus {
            state: self.state,
            epoch: self.epoch,
            last: self.last,
            last_ts: self.last_ts,
            held: self.held.events.len(),
        }
    }
}
