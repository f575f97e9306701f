//! Where a replay stands: what goes out next, which snapshots wait, and the books as of now.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use dccd_model::BookSide;
use tokio::time::Instant;

use super::load::{DepthEvent, Found, Item, Snapshot, TradeEvent, What, e8, load, micros};
use crate::exchanges::binance::streams::{KINDS, kind};
use crate::exchanges::binance::{is_combined, render, wrap};
use crate::hub::Core;
use crate::market::SymbolState;
use crate::market::book::Book;
use crate::market::history::{AggRow, History, TradeRow};
use crate::market::spec::Spec;
use crate::options::{ReplayOptions, ReplayStart};
use crate::rest::Answer;
use crate::ws::queue::Conn;
use crate::{ReplayProgress, SimError};

/// What the replay's task does next.
pub(super) enum Next {
    /// Go on at once.
    More,
    /// Wait until queues are shorter.
    Room,
    /// Wait for the recorded pace.
    At(Instant),
    /// Wait for a subscription or request, this long at most.
    Change(Duration),
    Done,
}

#[derive(Default)]
struct BookState {
    /// Recorded snapshots that are still ahead.
    ahead: usize,
    /// The reached snapshot that nobody has fetched yet.
    offered: Option<usize>,
    /// When waiting for somebody to fetch it ends.
    offered_until: Option<Instant>,
    /// A diff went to somebody since the last snapshot was served.
    diff_sent: bool,
    /// A request waits.
    wanted: bool,
    /// The book is the one of the last diff.
    valid: bool,
    last: u64,
    /// Diffs that the next snapshot may need, by their place; bounded by [`DIFFS_MAX`].
    diffs: VecDeque<usize>,
}

/// Diffs remembered per symbol while there is no snapshot to put them on.
const DIFFS_MAX: usize = 100_000;

/// A recording, and how far it has been served.
pub(crate) struct ReplayState {
    items: Vec<Item>,
    found: Vec<Found>,
    next: usize,
    pub(super) started: bool,
    pub(super) start: ReplayStart,
    speed: f64,
    snapshot_wait: Duration,
    /// The clock's time for the recording's first moment, at the recorded pace.
    began: Option<(Instant, i64)>,
    books: Vec<BookState>,
    market_us: i64,
    sent: u64,
    unwanted: u64,
    /// Streams that the recording has, by index.
    recorded: Vec<bool>,
    scratch: Vec<u8>,
}

impl ReplayState {
    /// Reads the recordings.
    pub(crate) fn load(options: &ReplayOptions) -> Result<Self, SimError> {
        let (mut items, mut found) = (Vec::new(), Vec::new());
        for path in &options.files {
            load(path, &mut found, &mut items)?;
        }
        let mut recorded = vec![false; found.len() * KINDS];
        let mut books: Vec<BookState> = found.iter().map(|_| BookState::default()).collect();
        for item in &items {
            match item.what {
                What::Frame { kind, .. } => recorded[item.place * KINDS + kind] = true,
                What::Snapshot => books[item.place].ahead += 1,
            }
        }
        if !recorded.contains(&true) {
            return Err(SimError::EmptyRecording);
        }
        Ok(Self {
            items,
            found,
            next: 0,
            started: false,
            start: options.start,
            speed: options.speed,
            snapshot_wait: options.snapshot_wait,
            began: None,
            books,
            market_us: 0,
            sent: 0,
            unwanted: 0,
            recorded,
            scratch: Vec::new(),
        })
    }

    pub(crate) fn symbols(&self, history_trades: usize) -> Vec<SymbolState> {
        let state = |f: &Found| SymbolState {
            spec: Spec::recorded(&f.id, f.tick, f.step),
            book: Book::default(),
            history: History::keeping(history_trades),
            engine: None,
        };
        self.found.iter().map(state).collect()
    }

    pub(crate) fn progress(&self) -> ReplayProgress {
        ReplayProgress {
            total: self.items.len(),
            position: self.next,
            sent: self.sent,
            unwanted: self.unwanted,
            started: self.started,
            done: self.next == self.items.len(),
        }
    }

    /// The time of the last event sent, microseconds.
    pub(crate) const fn market_us(&self) -> i64 {
        self.market_us
    }

    pub(super) const fn start_now(&mut self) {
        self.started = true;
    }

    /// Nobody listens any more: waits for whoever comes, and does not make up for the time.
    pub(super) const fn hold(&mut self) {
        self.started = matches!(self.start, ReplayStart::Command);
        self.began = None;
    }

    /// How many of the recording's streams have subscribers.
    pub(super) fn streams_wanted(&self, subs: &[Vec<Rc<Conn>>]) -> usize {
        let recorded = |i: &usize| targets(*i % KINDS).iter().any(|k| self.recorded[i - i % KINDS + k]);
        (0..subs.len()).filter(|i| !subs[*i].is_empty()).filter(recorded).count()
    }

    pub(super) fn streams_total(&self) -> usize {
        self.recorded.iter().filter(|r| **r).count()
    }

    /// When the next item goes out; `None` at the end.
    pub(super) fn due(&mut self) -> Option<Instant> {
        let item = self.items.get(self.next)?;
        let now = Instant::now();
        if self.speed <= 0.0 || item.at_us == 0 {
            return Some(now);
        }
        let (began, first_us) = *self.began.get_or_insert((now, item.at_us));
        let after = u64::try_from(item.at_us - first_us).unwrap_or(0);
        Some(began + Duration::from_micros(after).div_f64(self.speed))
    }

    /// Whether a reached snapshot waits for somebody to fetch it before the diffs run on.
    pub(super) fn snapshot_barrier(&mut self, subs: &[Vec<Rc<Conn>>]) -> Option<Next> {
        for (place, book) in self.books.iter_mut().enumerate() {
            if book.offered.is_none() {
                continue;
            }
            let base = place * KINDS;
            let listened = !(subs[base + kind::DEPTH_FAST].is_empty() && subs[base + kind::DEPTH_SLOW].is_empty());
            if !book.wanted && (!listened || !book.diff_sent) {
                continue;
            }
            let now = Instant::now();
            let until = *book.offered_until.get_or_insert(now + self.snapshot_wait);
            if now < until {
                return Some(Next::Change(until - now));
            }
            book.offered = None;
            book.wanted = false;
        }
        None
    }

    /// Sends the next item to all who subscribed to it.
    pub(super) fn send_next(&mut self, core: &mut Core) {
        let index = self.next;
        let Some(item) = self.items.get(index) else { return };
        self.next += 1;
        let place = item.place;
        let What::Frame { kind, ref data, wrapped, id } = item.what else {
            self.reach_snapshot(index, core);
            return;
        };
        let mut delivered = false;
        for target in targets(kind) {
            let stream = place * KINDS + target;
            for conn in core.subs[stream].clone() {
                let text = if !is_combined(&conn) {
                    &item.text.as_bytes()[data.clone()]
                } else if wrapped && *target == kind {
                    item.text.as_bytes()
                } else {
                    wrap(core.shared.name(stream), &item.text.as_bytes()[data.clone()], &mut self.scratch);
                    &self.scratch
                };
                core.deliver_text(&conn, stream, id, text);
                delivered = true;
            }
        }
        self.sent += u64::from(delivered);
        self.unwanted += u64::from(!delivered);
        self.apply(index, core, delivered);
    }

    /// Keeps books, trades and candles in step with what was sent.
    fn apply(&mut self, index: usize, core: &mut Core, delivered: bool) {
        let item = &self.items[index];
        let What::Frame { kind, ref data, .. } = item.what else { return };
        let text = &item.text[data.clone()];
        let state = &mut core.symbols[item.place];
        match kind {
            kind::TRADE | kind::AGG_TRADE => {
                let Ok(event) = serde_json::from_str::<TradeEvent<'_>>(text) else { return };
                let (Some(price), Some(amount)) = (e8(event.p), e8(event.q)) else { return };
                let (time_us, buyer_is_maker) = (micros(event.time), event.m);
                self.market_us = self.market_us.max(time_us);
                if kind == kind::TRADE {
                    state.history.push_trade(TradeRow { id: event.t, price, amount, time_us, buyer_is_maker });
                } else {
                    let TradeEvent { a: id, f: first, l: last, .. } = event;
                    state.history.push_agg(AggRow { id, first, last, price, amount, time_us, buyer_is_maker });
                }
            }
            kind::DEPTH_FAST | kind::DEPTH_SLOW => {
                let Ok(event) = serde_json::from_str::<DepthEvent<'_>>(text) else { return };
                let book = &mut self.books[item.place];
                book.diff_sent |= delivered;
                if book.valid && event.first > book.last + 1 {
                    // Two recordings one after the other: the next snapshot begins a new chain.
                    book.valid = false;
                    book.diffs.clear();
                }
                if book.valid || book.ahead == 0 {
                    put(&mut state.book, &event);
                    book.last = book.last.max(event.last);
                    state.book.reached(book.last);
                } else {
                    if book.diffs.len() == DIFFS_MAX {
                        book.diffs.pop_front();
                    }
                    book.diffs.push_back(index);
                }
            }
            _ => {}
        }
    }

    fn reach_snapshot(&mut self, index: usize, core: &mut Core) {
        let item = &self.items[index];
        let book = &mut self.books[item.place];
        let Ok(snapshot) = serde_json::from_str::<Snapshot<'_>>(&item.text) else { return };
        book.ahead -= 1;
        book.offered = Some(index);
        book.offered_until = None;
        let state = &mut core.symbols[item.place];
        state.book.clear();
        for (side, levels) in [(BookSide::Bid, &snapshot.bids), (BookSide::Ask, &snapshot.asks)] {
            put_levels(&mut state.book, side, levels);
        }
        book.last = snapshot.update_id;
        for diff in book.diffs.drain(..) {
            let diff = &self.items[diff];
            let What::Frame { ref data, .. } = diff.what else { continue };
            if let Ok(event) = serde_json::from_str::<DepthEvent<'_>>(&diff.text[data.clone()])
                && event.last > book.last
            {
                put(&mut state.book, &event);
                book.last = event.last;
            }
        }
        book.valid = true;
        state.book.reached(book.last);
        core.shared.changed.notify_waiters();
    }

    /// The snapshot for a request, or `None` while the replay has not reached it.
    fn snapshot(&mut self, place: usize, limit: usize, state: &SymbolState) -> Option<Answer> {
        let book = &mut self.books[place];
        let mut answer = Answer::default();
        if let Some(index) = book.offered.take() {
            book.wanted = false;
            book.diff_sent = false;
            let text = &self.items[index].text;
            answer.body = match serde_json::from_str::<Snapshot<'_>>(text) {
                Ok(body) if body.bids.len() > limit || body.asks.len() > limit => cut(&body, limit),
                _ => text.as_bytes().to_vec(),
            };
            return Some(answer);
        }
        if !book.valid && book.ahead > 0 {
            return None;
        }
        book.wanted = false;
        render::depth(&mut answer.body, book.last, &state.ladder(limit));
        Some(answer)
    }
}

/// Where frames of a recorded stream go: any pace of diffs serves both.
fn targets(kind: usize) -> &'static [usize] {
    const OWN: [[usize; 1]; KINDS] = {
        let mut own = [[0]; KINDS];
        let mut i = 0;
        while i < KINDS {
            own[i] = [i];
            i += 1;
        }
        own
    };
    match kind {
        kind::DEPTH_FAST | kind::DEPTH_SLOW => &[kind::DEPTH_FAST, kind::DEPTH_SLOW],
        _ => &OWN[kind],
    }
}

fn put(book: &mut Book, event: &DepthEvent<'_>) {
    put_levels(book, BookSide::Bid, &event.b);
    put_levels(book, BookSide::Ask, &event.a);
}

fn put_levels(book: &mut Book, side: BookSide, levels: &[[&str; 2]]) {
    for [price, amount] in levels {
        if let (Some(price), Some(amount)) = (e8(price), e8(amount)) {
            book.put(side, price, amount);
        }
    }
}

/// A recorded snapshot with fewer levels.
fn cut(body: &Snapshot<'_>, limit: usize) -> Vec<u8> {
    let side = |levels: &[[&str; 2]]| serde_json::json!(levels.iter().take(limit).collect::<Vec<_>>());
    let body = serde_json::json!({"lastUpdateId": body.update_id, "bids": side(&body.bids), "asks": side(&body.asks)});
    body.to_string().into_bytes()
}

impl Core {
    /// Somebody asks for a snapshot: the replay stops at it when it gets there.
    pub(crate) fn want_snapshot(&mut self, place: usize) {
        if let Some(replay) = &mut self.replay {
            let book = &mut replay.books[place];
            book.wanted = book.offered.is_some() || (!book.valid && book.ahead > 0);
        }
        self.shared.changed.notify_waiters();
    }

    /// The snapshot for a request, or `None` while it is ahead.
    pub(crate) fn recorded_snapshot(&mut self, place: usize, limit: usize) -> Option<Answer> {
        let mut replay = self.replay.take()?;
        let mut answer = replay.snapshot(place, limit, &self.symbols[place]);
        self.replay = Some(replay);
        if answer.is_some() {
            let symbol = self.symbols[place].spec.symbol();
            if self.faults.stales_snapshot(&symbol) {
                let mut body = Vec::new();
                render::depth(&mut body, 1, &self.symbols[place].ladder(limit));
                answer = Some(Answer { body, ids: None, fault: Some("a stale snapshot".to_owned()) });
            }
            self.shared.changed.notify_waiters();
        }
        answer
    }
}
