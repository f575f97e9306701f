//! Entries to records: routes each message to its feed and lets the sequence rules decide what it means.

use std::sync::Arc;

use dccd_model::{Channel, Entry, EntryKind, Flags, Gap, GapReason, Quote, Symbol, Trade, TradeId, UnixNanos};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::book::{Book, Sink, Snapshot};
use super::consts::{CHANNELS, NAME};
use super::messages::{DepthEvent, Levels, Message, QuoteEvent, TradeEvent};
use super::{http, parse, subscribe};
use crate::integrity::{Connections, Continuity, QuoteStep, Quotes, Tally, TradeStep, Trades};
use crate::{
    Counters, EntryFault, ExchangeError, Feed, FeedIndex, FeedStatus, FrameError, Markets, Notice, Output, Session, Want,
};

/// Version of what [`Session::save`] writes.
const SAVED_VERSION: u32 = 1;

/// The sequences of one feed.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Sequence {
    Trades(Trades),
    Quotes(Box<Quotes>),
    Book(Box<Book>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FeedState {
    /// The exchange's own id of the symbol.
    id: String,
    continuity: Continuity,
    tally: Tally,
    sequence: Sequence,
}

/// All that a session is, but for what can be computed again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    feeds: Vec<Feed>,
    states: Vec<FeedState>,
    connections: Connections,
    counters: Counters,
}

#[derive(Deserialize)]
struct SavedHead {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Saved<S> {
    version: u32,
    state: S,
}

/// The open feeds of one symbol.
#[derive(Clone, Copy, Debug, Default)]
struct Routes {
    trades: Option<FeedIndex>,
    quotes: Option<FeedIndex>,
    book: Option<FeedIndex>,
}

impl Routes {
    fn slot(&mut self, channel: Channel) -> Option<&mut Option<FeedIndex>> {
        match channel {
            Channel::Trades => Some(&mut self.trades),
            Channel::Quotes => Some(&mut self.quotes),
            Channel::Book => Some(&mut self.book),
            Channel::Ohlc => None,
        }
    }
}

/// The session of Binance spot.
pub(super) struct BinanceSession {
    markets: Arc<Markets>,
    state: State,
    /// By the exchange's own id of the symbol.
    routes: FxHashMap<String, Routes>,
    /// Levels of the message at hand.
    levels: Levels,
}

impl BinanceSession {
    pub(super) fn new(markets: Arc<Markets>) -> Self {
        Self { markets, state: State::default(), routes: FxHashMap::default(), levels: Levels::default() }
    }

    pub(super) fn restore(markets: Arc<Markets>, saved: &[u8]) -> Result<Self, ExchangeError> {
        let unreadable = |source| ExchangeError::SavedState { exchange: NAME, bytes: saved.len(), source };
        let head: SavedHead = serde_json::from_slice(saved).map_err(unreadable)?;
        if head.version != SAVED_VERSION {
            return Err(ExchangeError::SavedVersion { exchange: NAME, found: head.version, expected: SAVED_VERSION });
        }
        let saved: Saved<State> = serde_json::from_slice(saved).map_err(unreadable)?;
        let mut session = Self { state: saved.state, ..Self::new(markets) };
        session.state.states.truncate(session.state.feeds.len());
        session.state.feeds.truncate(session.state.states.len());
        for (index, (feed, state)) in (0..).zip(session.state.feeds.iter().zip(&session.state.states)) {
            if feed.open
                && let Some(slot) = session.routes.entry(state.id.clone()).or_default().slot(feed.channel)
            {
                *slot = Some(index);
            }
        }
        Ok(session)
    }

    fn frame(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        self.state.counters.frames += 1;
        let mut levels = std::mem::take(&mut self.levels);
        match parse::message(entry.payload, &mut levels) {
            Ok(Message::Trade(trade)) => self.trade(entry, &trade, out),
            Ok(Message::Quote(quote)) => self.quote(entry, &quote, out),
            Ok(Message::Depth(depth)) => self.depth(entry, &depth, &levels, out),
            Ok(Message::Ack { id }) => out.notice(Notice::Ack { conn: entry.conn, id }),
            Ok(Message::Error { id, code, message }) => self.refused(entry.conn, id, code, &message, out),
            Ok(Message::Shutdown) => {
                out.notice(Notice::Shutdown { conn: entry.conn });
                out.want(Want::Replace { conn: entry.conn });
            }
            Ok(Message::Other) => {
                self.state.counters.unknown += 1;
                out.notice(Notice::UnknownMessage { conn: entry.conn });
            }
            Err(reason) => self.unreadable(entry, &reason, out),
        }
        self.levels = levels;
    }

    fn refused(&mut self, conn: u32, id: Option<u64>, code: i64, message: &str, out: &mut dyn Output) {
        self.state.counters.error_replies += 1;
        out.notice(Notice::ErrorReply { conn, id, code, message });
    }

    /// What an unreadable frame held shows in the numbers of trades and books. Quotes have no such numbers: there a loss must
    /// be assumed.
    fn unreadable(&mut self, entry: &Entry<'_>, reason: &FrameError, out: &mut dyn Output) {
        self.state.counters.unreadable += 1;
        out.notice(Notice::Unreadable { conn: entry.conn, reason });
        if entry.kind != EntryKind::Frame {
            return;
        }
        self.state.connections.unreadable(entry.conn, self.state.counters.entries);
        let stream = parse::stream_name(entry.payload)
            .filter(|(id, _)| self.state.states.iter().any(|state| state.id.eq_ignore_ascii_case(id)));
        for state in &mut self.state.states {
            let hit = stream.is_none_or(|(id, name)| name == "bookTicker" && state.id.eq_ignore_ascii_case(id));
            if hit && matches!(state.sequence, Sequence::Quotes(_)) {
                state.continuity.unreadable(entry.conn);
            }
        }
    }

    fn unrouted(&mut self, conn: u32, out: &mut dyn Output) {
        self.state.counters.unrouted += 1;
        out.notice(Notice::Unrouted { conn });
    }

    fn trade(&mut self, entry: &Entry<'_>, event: &TradeEvent<'_>, out: &mut dyn Output) {
        let Some(feed) = self.routes.get(event.symbol.as_ref()).and_then(|r| r.trades) else {
            return self.unrouted(entry.conn, out);
        };
        let State { feeds, states, connections, counters } = &mut self.state;
        let Some(FeedState { continuity, tally, sequence: Sequence::Trades(trades), .. }) = states.get_mut(feed as usize)
        else {
            return;
        };
        let reason = continuity.reason(entry.conn, connections);
        let broken = continuity.broken().is_some();
        let mut flags = Flags::FIRST | Flags::LAST;
        let mut settled = Vec::new();
        match trades.arrive(event.space, event.id, event.ts_venue, reason, broken) {
            TradeStep::New { gap } => {
                continuity.mend();
                if let Some(gap) = gap {
                    tally.gaps += 1;
                    flags |= Flags::GAP;
                    out.gap(feed, &gap);
                    if let (Some((from_id, to_id)), Some(of)) = (gap.ids, feeds.get(feed as usize)) {
                        out.want(Want::Trades { feed, symbol: of.symbol.clone(), from_id, to_id });
                    }
                }
            }
            TradeStep::Late { settled: gaps } => settled = gaps,
            TradeStep::Duplicate => {
                tally.duplicates += 1;
                continuity.carried(entry.conn, counters.entries);
                return;
            }
            TradeStep::Foreign => return self.unrouted(entry.conn, out),
        }
        continuity.carried(entry.conn, counters.entries);
        tally.records += 1;
        tally.last_recv = entry.ts_recv;
        out.trade(
            feed,
            &Trade {
                ts_venue: event.ts_venue,
                ts_recv: entry.ts_recv,
                price: event.price,
                amount: event.amount,
                id: TradeId(u128::from(event.id)),
                side: event.side,
                flags,
                epoch: trades.epoch(),
            },
        );
        announce(feed, &settled, tally, out);
    }

    fn quote(&mut self, entry: &Entry<'_>, event: &QuoteEvent<'_>, out: &mut dyn Output) {
        let Some(feed) = self.routes.get(event.symbol.as_ref()).and_then(|r| r.quotes) else {
            return self.unrouted(entry.conn, out);
        };
        let State { states, counters, .. } = &mut self.state;
        let Some(FeedState { continuity, tally, sequence: Sequence::Quotes(quotes), .. }) = states.get_mut(feed as usize)
        else {
            return;
        };
        let ts = if event.ts_venue == UnixNanos::UNKNOWN { entry.ts_recv } else { event.ts_venue };
        let step = quotes.arrive(event.number, ts, entry.ts_recv, continuity.broken());
        continuity.carried(entry.conn, counters.entries);
        let mut flags = Flags::FIRST | Flags::LAST;
        match step {
            QuoteStep::Duplicate => {
                tally.duplicates += 1;
                return continuity.overlap();
            }
            // The gap that tells of it comes before the next record.
            QuoteStep::Late => return,
            QuoteStep::New { gap: None } => continuity.mend(),
            QuoteStep::New { gap: Some(gap) } => {
                continuity.mend();
                tally.gaps += 1;
                flags |= Flags::GAP;
                out.gap(feed, &gap);
            }
        }
        tally.records += 1;
        tally.last_recv = entry.ts_recv;
        out.quote(
            feed,
            &Quote {
                ts_venue: event.ts_venue,
                ts_recv: entry.ts_recv,
                bid: event.bid,
                bid_amount: event.bid_amount,
                ask: event.ask,
                ask_amount: event.ask_amount,
                flags,
            },
        );
    }

    fn depth(&mut self, entry: &Entry<'_>, event: &DepthEvent<'_>, levels: &Levels, out: &mut dyn Output) {
        let Some(feed) = self.routes.get(event.symbol.as_ref()).and_then(|r| r.book) else {
            return self.unrouted(entry.conn, out);
        };
        let (conn, ts_recv) = (entry.conn, entry.ts_recv);
        self.with_book(feed, out, |book, continuity, connections, entries, sink| {
            let reason = continuity.reason(conn, connections);
            book.event(event, ts_recv, levels, reason, sink);
            continuity.mend();
            continuity.carried(conn, entries);
        });
    }

    /// Calls `f` with the book of this feed, if it has one, and all that it needs.
    fn with_book(
        &mut self,
        feed: FeedIndex,
        out: &mut dyn Output,
        f: impl FnOnce(&mut Book, &mut Continuity, &Connections, u64, &mut Sink<'_>),
    ) {
        let State { feeds, states, connections, counters } = &mut self.state;
        let (Some(of), Some(state)) = (feeds.get(feed as usize), states.get_mut(feed as usize)) else { return };
        let FeedState { continuity, tally, sequence: Sequence::Book(book), .. } = state else { return };
        let mut sink = Sink { feed, symbol: &of.symbol, tally, overflowed: &mut counters.overflowed, out };
        f(book, continuity, connections, counters.entries, &mut sink);
    }

    fn response(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        let mut words = entry.subject.split_ascii_whitespace();
        let feed = match (words.next(), words.next()) {
            (Some("depth"), Some(symbol)) => self.open_feed(symbol, Channel::Book).map(|f| (f, Channel::Book)),
            (Some("trades"), Some(symbol)) => self.open_feed(symbol, Channel::Trades).map(|f| (f, Channel::Trades)),
            (Some(http::MARKETS_SUBJECT), _) => return,
            _ => return self.entry_fault(entry, EntryFault::Subject, out),
        };
        match feed {
            None => self.entry_fault(entry, EntryFault::UnknownFeed, out),
            Some((feed, Channel::Book)) => self.snapshot(feed, entry, out),
            Some((feed, _)) => self.trades_page(feed, entry, out),
        }
    }

    fn open_feed(&self, symbol: &str, channel: Channel) -> Option<FeedIndex> {
        let at = self.state.feeds.iter().position(|f| f.open && f.channel == channel && f.symbol.as_str() == symbol)?;
        u32::try_from(at).ok()
    }

    fn snapshot(&mut self, feed: FeedIndex, entry: &Entry<'_>, out: &mut dyn Output) {
        let mut levels = Levels::default();
        match http::snapshot(entry.payload, &mut levels) {
            Ok(last_update_id) => {
                let snapshot = Snapshot { last_update_id, ts_recv: entry.ts_recv, levels };
                self.with_book(feed, out, |book, _, _, _, sink| book.snapshot(snapshot, sink));
            }
            Err(reason) => {
                self.bad_response(entry, &reason, out);
                self.with_book(feed, out, |book, _, _, _, sink| book.ask_again(sink));
            }
        }
    }

    fn trades_page(&mut self, feed: FeedIndex, entry: &Entry<'_>, out: &mut dyn Output) {
        let page = match http::trades(entry.payload) {
            Ok(page) => page,
            Err(reason) => return self.bad_response(entry, &reason, out),
        };
        let Some(FeedState { tally, sequence: Sequence::Trades(trades), .. }) = self.state.states.get_mut(feed as usize)
        else {
            return;
        };
        // An answer ascends from the id that was asked for, so what it passes over the exchange doesn't have. One that
        // doesn't proves nothing.
        let mut next: Option<u64> = entry.subject.split_ascii_whitespace().nth(2).and_then(|id| id.parse().ok());
        for (space, trade) in page {
            if let Some(from) = next.filter(|from| *from < trade.id) {
                announce(feed, &trades.pass_over(space, from, trade.id - 1), tally, out);
            }
            next = next.filter(|from| *from <= trade.id).and_then(|_| trade.id.checked_add(1));
            let TradeStep::Late { settled } = trades.repair(space, trade.id) else { continue };
            tally.records += 1;
            out.trade(
                feed,
                &Trade {
                    ts_venue: trade.ts_venue,
                    ts_recv: entry.ts_recv,
                    price: trade.price,
                    amount: trade.amount,
                    id: TradeId(u128::from(trade.id)),
                    side: trade.side,
                    flags: Flags::FIRST | Flags::LAST,
                    epoch: trades.epoch(),
                },
            );
            announce(feed, &settled, tally, out);
        }
    }

    fn bad_response(&mut self, entry: &Entry<'_>, reason: &FrameError, out: &mut dyn Output) {
        match serde_json::from_slice::<http::ErrorBody<'_>>(entry.payload) {
            Ok(error) => self.refused(entry.conn, None, error.code, &error.msg, out),
            Err(_) => self.unreadable(entry, reason, out),
        }
    }

    fn closed(&mut self, conn: u32) {
        for state in &mut self.state.states {
            state.continuity.closed(conn);
        }
    }

    fn feed_opened(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        let (symbol, channel) = match feed_name(entry.subject) {
            Ok(name) => name,
            Err(fault) => return self.entry_fault(entry, fault, out),
        };
        let known = self.state.feeds.iter_mut().zip(&self.state.states).zip(0..);
        let found = known.into_iter().find(|((feed, _), _)| feed.channel == channel && feed.symbol == symbol);
        let (id, index) = match found {
            Some(((feed, state), index)) => {
                feed.open = true;
                (state.id.clone(), index)
            }
            None => {
                let id = subscribe::id(&symbol, &self.markets);
                let Ok(index) = u32::try_from(self.state.feeds.len()) else { return };
                let sequence = match channel {
                    Channel::Quotes => Sequence::Quotes(Box::default()),
                    Channel::Book => Sequence::Book(Box::default()),
                    Channel::Trades | Channel::Ohlc => Sequence::Trades(Trades::default()),
                };
                self.state.feeds.push(Feed { symbol, channel, open: true });
                self.state.states.push(FeedState {
                    id: id.clone(),
                    continuity: Continuity::default(),
                    tally: Tally::default(),
                    sequence,
                });
                (id, index)
            }
        };
        if let Some(slot) = self.routes.entry(id).or_default().slot(channel) {
            *slot = Some(index);
        }
    }

    fn feed_closed(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        let index = match self.named_feed(entry.subject) {
            Ok(index) => index,
            Err(fault) => return self.entry_fault(entry, fault, out),
        };
        let (Some(feed), Some(state)) =
            (self.state.feeds.get_mut(index as usize), self.state.states.get_mut(index as usize))
        else {
            return;
        };
        feed.open = false;
        let channel = feed.channel;
        state.continuity.closed(0);
        if let Some(slot) = self.routes.get_mut(&state.id).and_then(|routes| routes.slot(channel)) {
            *slot = None;
        }
        self.with_book(index, out, |book, _, _, _, sink| book.close(sink));
    }

    /// A live check found a feed broken.
    fn resync(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        match self.named_feed(entry.subject) {
            Ok(index) if self.state.feeds.get(index as usize).is_some_and(|feed| feed.open) => {
                self.with_book(index, out, |book, _, _, _, sink| book.rebuild(GapReason::Integrity, sink));
            }
            Ok(_) => self.entry_fault(entry, EntryFault::UnknownFeed, out),
            Err(fault) => self.entry_fault(entry, fault, out),
        }
    }

    /// Entries are missing: what they held was never recorded.
    fn lost(&mut self, out: &mut dyn Output) {
        for index in 0..u32::try_from(self.state.feeds.len()).unwrap_or(u32::MAX) {
            let (Some(feed), Some(state)) =
                (self.state.feeds.get(index as usize), self.state.states.get_mut(index as usize))
            else {
                continue;
            };
            if feed.open {
                state.continuity.interrupt(GapReason::NotRecorded);
                self.with_book(index, out, |book, _, _, _, sink| book.rebuild(GapReason::NotRecorded, sink));
            }
        }
    }

    fn named_feed(&self, subject: &str) -> Result<FeedIndex, EntryFault> {
        let (symbol, channel) = feed_name(subject)?;
        let at = self.state.feeds.iter().position(|f| f.channel == channel && f.symbol == symbol);
        at.and_then(|at| u32::try_from(at).ok()).ok_or(EntryFault::UnknownFeed)
    }

    fn entry_fault(&mut self, entry: &Entry<'_>, fault: EntryFault, out: &mut dyn Output) {
        self.state.counters.entry_faults += 1;
        out.notice(Notice::Entry { subject: entry.subject, fault });
    }
}

/// Gaps that are settled.
fn announce(feed: FeedIndex, gaps: &[Gap], tally: &mut Tally, out: &mut dyn Output) {
    for gap in gaps {
        *(if gap.repaired { &mut tally.repaired } else { &mut tally.gaps }) += 1;
        out.gap(feed, gap);
    }
}

/// `BTC/USDT trades`.
fn feed_name(subject: &str) -> Result<(Symbol, Channel), EntryFault> {
    let (symbol, channel) = subject.split_once(' ').ok_or(EntryFault::Subject)?;
    let symbol = symbol.parse().map_err(|_| EntryFault::Subject)?;
    let channel = channel.parse().map_err(|_| EntryFault::Channel)?;
    if CHANNELS.contains(&channel) { Ok((symbol, channel)) } else { Err(EntryFault::Channel) }
}

impl Session for BinanceSession {
    fn apply(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        self.state.counters.entries += 1;
        match entry.kind {
            EntryKind::Opened => {}
            EntryKind::Frame => self.frame(entry, out),
            EntryKind::Closed => self.closed(entry.conn),
            EntryKind::Response => self.response(entry, out),
            EntryKind::FeedOpened => self.feed_opened(entry, out),
            EntryKind::FeedClosed => self.feed_closed(entry, out),
            EntryKind::Resync => self.resync(entry, out),
            EntryKind::Lost => self.lost(out),
        }
    }

    fn feeds(&self) -> &[Feed] {
        &self.state.feeds
    }

    fn save(&self) -> Vec<u8> {
        // Plain structs of numbers, strings and lists: nothing in them that JSON can't hold.
        serde_json::to_vec(&Saved { version: SAVED_VERSION, state: &self.state }).unwrap_or_default()
    }

    fn feed_status(&self, feed: FeedIndex) -> FeedStatus {
        let Some(FeedState { tally, sequence, .. }) = self.state.states.get(feed as usize) else {
            return FeedStatus::default();
        };
        let status = FeedStatus {
            last_recv: tally.last_recv,
            gaps: tally.gaps,
            repaired: tally.repaired,
            records: tally.records,
            duplicates: tally.duplicates,
            ..FeedStatus::default()
        };
        match sequence {
            Sequence::Trades(trades) => FeedStatus {
                last_id: trades.last(),
                last_ts: trades.last_ts(),
                epoch: trades.epoch(),
                open_gaps: trades.open_gaps(),
                missing: trades.missing().map(|(first, last)| (last - first).saturating_add(1)).fold(0, u64::saturating_add),
                ..status
            },
            Sequence::Quotes(quotes) => FeedStatus { last_id: quotes.last(), last_ts: quotes.last_ts(), ..status },
            Sequence::Book(book) => FeedStatus {
                last_id: book.last(),
                last_ts: book.last_ts(),
                epoch: book.epoch(),
                book: Some(book.state()),
                buffered: book.held(),
                ..status
            },
        }
    }

    fn counters(&self) -> Counters {
        self.state.counters
    }

    fn outstanding(&self) -> Vec<Want> {
        let mut wants = Vec::new();
        for (feed, (of, state)) in (0..).zip(self.state.feeds.iter().zip(&self.state.states)) {
            if !of.open {
                continue;
            }
            match &state.sequence {
                Sequence::Book(book) if book.wanted() => {
                    wants.push(Want::BookSnapshot { feed, symbol: of.symbol.clone() });
                }
                Sequence::Trades(trades) => wants.extend(trades.missing().map(|(from_id, to_id)| Want::Trades {
                    feed,
                    symbol: of.symbol.clone(),
                    from_id,
                    to_id,
                })),
                _ => {}
            }
        }
        wants
    }
}
