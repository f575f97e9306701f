//! The feeds of a session: which message belongs to which, and what its trades, quotes and books are told of.

mod candles;
mod entries;

use std::sync::Arc;

use dccd_model::{Channel, Decimal, Entry, Flags, Gap, GapReason, Quote, Side, Trade, TradeId, UnixNanos};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::executed::want_since;
use super::{BookRules, Dialect, Sink};
use crate::integrity::{
    Candles, Connections, Continuity, IdSpace, QuoteStep, Quotes, Tally, TimedQuotes, TradeStep, Trades, Uncounted,
};
use crate::{Counters, EntryFault, Feed, FeedIndex, FeedStatus, FrameError, Markets, Notice, Output, Want};

/// A trade, as its message or page has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Traded {
    pub(crate) space: IdSpace,
    pub(crate) id: u64,
    pub(crate) ts_venue: UnixNanos,
    pub(crate) price: Decimal,
    pub(crate) amount: Decimal,
    pub(crate) side: Side,
}

/// A quote, as its message has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quoted {
    /// The exchange's number of it; of no concern where quotes aren't numbered.
    pub(crate) number: u64,
    /// [`UnixNanos::UNKNOWN`] where the exchange sends none.
    pub(crate) ts_venue: UnixNanos,
    pub(crate) bid: Decimal,
    pub(crate) bid_amount: Decimal,
    pub(crate) ask: Decimal,
    pub(crate) ask_amount: Decimal,
}

/// The sequences of one feed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Sequence<B> {
    Trades(Trades),
    Quotes(Box<Quotes>),
    Book(Box<B>),
    Timed(Box<TimedQuotes>),
    Uncounted(Box<Uncounted>),
    Candles(Candles),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FeedState<B> {
    /// The exchange's own id of the symbol.
    id: String,
    continuity: Continuity,
    pub(super) tally: Tally,
    pub(super) sequence: Sequence<B>,
}

/// All that a session is, but for what can be computed again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State<B> {
    pub(super) feeds: Vec<Feed>,
    pub(super) states: Vec<FeedState<B>>,
    connections: Connections,
    counters: Counters,
}

impl<B> Default for State<B> {
    fn default() -> Self {
        Self { feeds: Vec::new(), states: Vec::new(), connections: Connections::default(), counters: Counters::default() }
    }
}

/// The open feeds of one symbol.
#[derive(Clone, Copy, Debug, Default)]
struct Routes {
    trades: Option<FeedIndex>,
    quotes: Option<FeedIndex>,
    book: Option<FeedIndex>,
    candles: Option<FeedIndex>,
}

impl Routes {
    fn slot(&mut self, channel: Channel) -> Option<&mut Option<FeedIndex>> {
        match channel {
            Channel::Trades => Some(&mut self.trades),
            Channel::Quotes => Some(&mut self.quotes),
            Channel::Book => Some(&mut self.book),
            Channel::Ohlc => Some(&mut self.candles),
        }
    }
}

/// The feeds of a session.
pub(crate) struct Feeds<B> {
    markets: Arc<Markets>,
    /// Those that can be opened.
    channels: &'static [Channel],
    pub(super) state: State<B>,
    /// By the exchange's own id of the symbol.
    routes: FxHashMap<String, Routes>,
}

impl<B: BookRules> Feeds<B> {
    pub(super) fn new(markets: Arc<Markets>, channels: &'static [Channel], state: State<B>) -> Self {
        let mut feeds = Self { markets, channels, state, routes: FxHashMap::default() };
        feeds.state.states.truncate(feeds.state.feeds.len());
        feeds.state.feeds.truncate(feeds.state.states.len());
        for (index, (feed, state)) in (0..).zip(feeds.state.feeds.iter().zip(&feeds.state.states)) {
            if feed.open
                && let Some(slot) = feeds.routes.entry(state.id.clone()).or_default().slot(feed.channel)
            {
                *slot = Some(index);
            }
        }
        feeds
    }

    /// As [`crate::Session::markets_grew`].
    pub(super) fn markets_grew(&mut self, markets: Arc<Markets>) {
        self.markets = markets;
    }

    pub(super) fn state(&self) -> &State<B> {
        &self.state
    }

    pub(crate) fn list(&self) -> &[Feed] {
        &self.state.feeds
    }

    pub(super) fn counters(&self) -> Counters {
        self.state.counters
    }

    pub(super) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.state.counters
    }

    /// A connection opened.
    pub(super) fn opened(&mut self, sockets: &[&str], entry: &Entry<'_>) {
        let socket = sockets.iter().position(|name| *name == entry.subject).unwrap_or(0);
        self.state.connections.opened(entry.conn, socket);
    }

    /// To which of the exchange's sockets this connection leads: the place in [`Dialect::SOCKETS`].
    pub(crate) fn socket(&self, conn: u32) -> usize {
        self.state.connections.socket(conn)
    }

    /// The exchange refused something.
    pub(crate) fn refused(&mut self, conn: u32, id: Option<u64>, code: i64, message: &str, out: &mut dyn Output) {
        self.state.counters.error_replies += 1;
        out.notice(Notice::ErrorReply { conn, id, code, message });
    }

    /// The exchange refused one symbol of what a message asked for; by the name that messages have for it. Message 0: it isn't said
    /// which.
    pub(crate) fn refused_symbol(&mut self, conn: u32, id: u64, name: &str, message: &str, out: &mut dyn Output) {
        let known = self.state.states.iter().position(|state| state.id == name).and_then(|at| self.state.feeds.get(at));
        let Some(Feed { symbol, .. }) = known else {
            return self.refused(conn, Some(id).filter(|id| *id != 0), 0, message, out);
        };
        self.state.counters.error_replies += 1;
        out.notice(Notice::Refused { conn, id, symbol, message });
    }

    /// The exchange told its state. Where it closed and opens again on one connection, what was subscribed there may be
    /// silent from then on: another connection takes its place.
    pub(crate) fn venue(&mut self, conn: u32, is_open: bool, words: &str, out: &mut dyn Output) {
        out.notice(Notice::Venue { conn, is_open, words });
        // When it closes, too: a record that comes before it says that it is open again doesn't make up for what did not come.
        if self.state.connections.is_halted(conn) == is_open {
            self.halted(conn);
        }
        if self.state.connections.venue(conn, is_open) {
            out.want(Want::Replace { conn });
        }
    }

    /// While the exchange was closed this connection may have heard nothing. Trades that are counted show it themselves, and so do
    /// books.
    fn halted(&mut self, conn: u32) {
        for state in &mut self.state.states {
            match &mut state.sequence {
                Sequence::Trades(_) | Sequence::Book(_) => {}
                Sequence::Uncounted(trades) => trades.missed(conn, GapReason::Silent),
                Sequence::Quotes(_) | Sequence::Timed(_) | Sequence::Candles(_) => state.continuity.halted(conn),
            }
        }
    }

    /// The exchange announced that it ends this connection.
    pub(crate) fn shutdown(&mut self, conn: u32, out: &mut dyn Output) {
        out.notice(Notice::Shutdown { conn });
        out.want(Want::Replace { conn });
    }

    /// A readable message of a kind that isn't used.
    pub(crate) fn unknown(&mut self, conn: u32, out: &mut dyn Output) {
        self.state.counters.unknown += 1;
        out.notice(Notice::UnknownMessage { conn });
    }

    /// An answer that can't be read.
    pub(crate) fn unreadable_answer(&mut self, entry: &Entry<'_>, reason: &FrameError, out: &mut dyn Output) {
        self.state.counters.unreadable += 1;
        out.notice(Notice::Unreadable { conn: entry.conn, reason });
    }

    /// What an unreadable frame held shows in the numbers of trades, and of books that have any. Quotes have none that tell,
    /// nor have books that go by a checksum of their best levels: there a loss must be assumed.
    pub(crate) fn unreadable<D: Dialect<Book = B>>(&mut self, entry: &Entry<'_>, reason: &FrameError, out: &mut dyn Output) {
        self.unreadable_of(entry, reason, D::stream_of(entry.payload), out);
    }

    /// As [`Self::unreadable`], of a frame that is about this feed, or about any.
    pub(crate) fn unreadable_of(
        &mut self,
        entry: &Entry<'_>,
        reason: &FrameError,
        stream: Option<(&str, Channel)>,
        out: &mut dyn Output,
    ) {
        self.unreadable_answer(entry, reason, out);
        let State { feeds, states, connections, counters } = &mut self.state;
        connections.unreadable(entry.conn, counters.entries);
        let stream = stream.filter(|(id, _)| states.iter().any(|state| state.id.eq_ignore_ascii_case(id)));
        for (feed, (of, state)) in (0..).zip(feeds.iter().zip(states)) {
            if stream.is_some_and(|(id, channel)| channel != of.channel || !state.id.eq_ignore_ascii_case(id)) {
                continue;
            }
            match &mut state.sequence {
                Sequence::Trades(_) => {}
                Sequence::Uncounted(trades) => trades.unreadable(entry.conn),
                Sequence::Quotes(_) | Sequence::Timed(_) | Sequence::Candles(_) => state.continuity.unreadable(entry.conn),
                Sequence::Book(book) => {
                    let (tally, overflowed) = (&mut state.tally, &mut counters.overflowed);
                    book.unreadable(entry.conn, &mut Sink { feed, symbol: &of.symbol, tally, overflowed, out });
                }
            }
        }
    }

    /// The exchange's own count shows that messages of this connection are missing, of whichever feeds. Trades that are
    /// counted show it themselves.
    pub(crate) fn missed(&mut self, conn: u32, out: &mut dyn Output) {
        let State { feeds, states, counters, .. } = &mut self.state;
        for (feed, (of, state)) in (0..).zip(feeds.iter().zip(states)) {
            match &mut state.sequence {
                Sequence::Trades(_) => {}
                Sequence::Uncounted(trades) => trades.missed(conn, GapReason::Sequence),
                Sequence::Quotes(_) | Sequence::Timed(_) | Sequence::Candles(_) => {
                    state.continuity.missed(conn, GapReason::Sequence);
                }
                Sequence::Book(book) => {
                    let (tally, overflowed) = (&mut state.tally, &mut counters.overflowed);
                    book.missed(conn, &mut Sink { feed, symbol: &of.symbol, tally, overflowed, out });
                }
            }
        }
    }

    pub(crate) fn unrouted(&mut self, conn: u32, out: &mut dyn Output) {
        self.state.counters.unrouted += 1;
        out.notice(Notice::Unrouted { conn });
    }

    fn entry_fault(&mut self, entry: &Entry<'_>, fault: EntryFault, out: &mut dyn Output) {
        self.state.counters.entry_faults += 1;
        out.notice(Notice::Entry { subject: entry.subject, fault });
    }

    /// A trade arrived live, under the name that messages have for its symbol.
    pub(crate) fn trade(&mut self, entry: &Entry<'_>, name: &str, trade: &Traded, out: &mut dyn Output) {
        let Some(feed) = self.routes.get(name).and_then(|r| r.trades) else {
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
        let step = trades.arrive(trade.space, trade.id, trade.ts_venue, reason, broken);
        let is_new = matches!(step, TradeStep::New { .. });
        match step {
            TradeStep::New { gap } | TradeStep::Early { gap } => {
                if is_new {
                    continuity.mend();
                    if trades.take_told() {
                        flags |= Flags::GAP;
                    }
                    if let Some(left_out) = trades.take_unplaced(trade.ts_venue, reason) {
                        tally.gaps += 1;
                        flags |= Flags::GAP;
                        out.gap(feed, &left_out);
                    }
                }
                if let Some(gap) = gap {
                    tally.gaps += 1;
                    if is_new {
                        flags |= Flags::GAP;
                    }
                    out.gap(feed, &gap);
                    if let (Some((from_id, to_id)), Some(of)) = (gap.ids, feeds.get(feed as usize)) {
                        let (symbol, ts_before) = (of.symbol.clone(), gap.from);
                        out.want(Want::Trades { feed, symbol, from_id, to_id, ts_before });
                    }
                }
            }
            TradeStep::Late { settled: gaps } => settled = gaps,
            TradeStep::Duplicate => {
                tally.duplicates += 1;
                continuity.carried(entry.conn, counters.entries);
                return;
            }
            TradeStep::Unplaced { gap } => {
                tally.duplicates += 1;
                continuity.carried(entry.conn, counters.entries);
                if let (Some(gap), Some(of)) = (gap, feeds.get(feed as usize)) {
                    tally.gaps += 1;
                    out.gap(feed, &gap);
                    out.notice(Notice::CountsAnew { symbol: &of.symbol });
                }
                return;
            }
            TradeStep::Foreign => return self.unrouted(entry.conn, out),
        }
        continuity.carried(entry.conn, counters.entries);
        if let Some(gap) = tally.heard(entry.ts_recv) {
            flags |= Flags::GAP;
            out.gap(feed, &gap);
        }
        tally.records += 1;
        tally.last_recv = entry.ts_recv;
        out.trade(feed, &record(trade, entry.ts_recv, flags, trades.epoch()));
        announce(feed, &settled, tally, out);
    }

    /// The exchange told on a connection that this is its newest trade, at this time, of the name that messages have for the symbol.
    /// Of no concern where its trades aren't a feed.
    pub(crate) fn newest_trade(
        &mut self,
        entry: &Entry<'_>,
        name: &str,
        (space, id, ts): (IdSpace, u64, UnixNanos),
        out: &mut dyn Output,
    ) {
        let Some(feed) = self.feed_of(name, Channel::Trades) else { return };
        let State { feeds, states, connections, .. } = &mut self.state;
        let Some(FeedState { continuity, tally, sequence: Sequence::Trades(trades), .. }) = states.get_mut(feed as usize)
        else {
            return;
        };
        let reason = continuity.reason(entry.conn, connections);
        let Some(gap) = trades.told(space, id, ts, reason) else { return };
        continuity.mend();
        tally.gaps += 1;
        out.gap(feed, &gap);
        if let (Some((from_id, to_id)), Some(of)) = (gap.ids, feeds.get(feed as usize)) {
            out.want(Want::Trades { feed, symbol: of.symbol.clone(), from_id, to_id, ts_before: gap.from });
        }
    }

    /// An answer brought a trade that was missing, or may have been. What the answer passed over before it, if it did, is
    /// absent from the exchange, too.
    pub(crate) fn repair(
        &mut self,
        feed: FeedIndex,
        entry: &Entry<'_>,
        passed_over: Option<(u64, u64)>,
        trade: &Traded,
        out: &mut dyn Output,
    ) {
        let Some(FeedState { tally, sequence: Sequence::Trades(trades), .. }) = self.state.states.get_mut(feed as usize)
        else {
            return;
        };
        if let Some((first, last)) = passed_over {
            announce(feed, &trades.pass_over(trade.space, first, last), tally, out);
        }
        let TradeStep::Late { settled } = trades.repair(trade.space, trade.id) else { return };
        tally.records += 1;
        out.trade(feed, &record(trade, entry.ts_recv, Flags::FIRST | Flags::LAST, trades.epoch()));
        announce(feed, &settled, tally, out);
    }

    /// Quotes of this name may be missing before the next one, whatever connections carry them. What was given out after `since` can't be
    /// believed: the gap begins there.
    pub(crate) fn quotes_torn(&mut self, name: &str, reason: GapReason, since: Option<UnixNanos>) {
        let feed = self.feed_of(name, Channel::Quotes);
        let Some(state) = feed.and_then(|feed| self.state.states.get_mut(feed as usize)) else { return };
        state.continuity.interrupt(reason);
        if let (Some(since), Sequence::Quotes(quotes)) = (since, &mut state.sequence) {
            quotes.doubt(since);
        }
    }

    /// A quote arrived, under the name that messages have for its symbol.
    pub(crate) fn quote(&mut self, entry: &Entry<'_>, name: &str, quote: &Quoted, out: &mut dyn Output) {
        let Some(feed) = self.routes.get(name).and_then(|r| r.quotes) else {
            return self.unrouted(entry.conn, out);
        };
        let State { states, counters, .. } = &mut self.state;
        let Some(FeedState { continuity, tally, sequence, .. }) = states.get_mut(feed as usize) else { return };
        let ts = if quote.ts_venue == UnixNanos::UNKNOWN { entry.ts_recv } else { quote.ts_venue };
        let broken = continuity.broken();
        let step = match sequence {
            Sequence::Quotes(quotes) => quotes.arrive(quote.number, ts, entry.ts_recv, broken),
            Sequence::Timed(quotes) => {
                let values = [quote.bid, quote.bid_amount, quote.ask, quote.ask_amount];
                quotes.arrive(ts, values, entry.ts_recv, broken, entry.conn, continuity.is_new(entry.conn))
            }
            Sequence::Trades(_) | Sequence::Uncounted(_) | Sequence::Book(_) | Sequence::Candles(_) => return,
        };
        continuity.carried(entry.conn, counters.entries);
        let mut flags = Flags::FIRST | Flags::LAST;
        match step {
            QuoteStep::Duplicate => {
                tally.duplicates += 1;
                return continuity.overlap();
            }
            // The gap that tells of it comes before the next record.
            QuoteStep::Late => return,
            // Only changes are records.
            QuoteStep::Unchanged => return continuity.mend(),
            QuoteStep::New { gap: None } => continuity.mend(),
            QuoteStep::New { gap: Some(gap) } => {
                continuity.mend();
                tally.gaps += 1;
                flags |= Flags::GAP;
                out.gap(feed, &gap);
            }
        }
        if let Some(gap) = tally.heard(entry.ts_recv) {
            flags |= Flags::GAP;
            out.gap(feed, &gap);
        }
        tally.records += 1;
        tally.last_recv = entry.ts_recv;
        out.quote(
            feed,
            &Quote {
                ts_venue: quote.ts_venue,
                ts_recv: entry.ts_recv,
                bid: quote.bid,
                bid_amount: quote.bid_amount,
                ask: quote.ask,
                ask_amount: quote.ask_amount,
                flags,
            },
        );
    }

    /// A message about a book arrived, under the name that messages have for its symbol. `f` gets the reason that there would be
    /// for a hole before it.
    pub(crate) fn book(
        &mut self,
        entry: &Entry<'_>,
        name: &str,
        out: &mut dyn Output,
        f: impl FnOnce(&mut B, GapReason, &mut Sink<'_>),
    ) {
        let Some(feed) = self.routes.get(name).and_then(|r| r.book) else {
            return self.unrouted(entry.conn, out);
        };
        let conn = entry.conn;
        self.with_book(feed, out, |book, continuity, connections, entries, sink| {
            let reason = continuity.reason(conn, connections);
            f(book, reason, sink);
            continuity.mend();
            continuity.carried(conn, entries);
        });
    }

    /// An answer, or a reply of the exchange, is about this feed's book.
    pub(crate) fn of_book(&mut self, feed: FeedIndex, out: &mut dyn Output, f: impl FnOnce(&mut B, &mut Sink<'_>)) {
        self.with_book(feed, out, |book, _, _, _, sink| f(book, sink));
    }

    /// The open feed of this channel that has this name in messages.
    pub(crate) fn feed_of(&self, name: &str, channel: Channel) -> Option<FeedIndex> {
        let routes = self.routes.get(name)?;
        match channel {
            Channel::Trades => routes.trades,
            Channel::Book => routes.book,
            Channel::Quotes => routes.quotes,
            Channel::Ohlc => routes.candles,
        }
    }

    /// Calls `f` with the book of this feed, if it has one, and all that it needs.
    fn with_book(
        &mut self,
        feed: FeedIndex,
        out: &mut dyn Output,
        f: impl FnOnce(&mut B, &mut Continuity, &Connections, u64, &mut Sink<'_>),
    ) {
        let State { feeds, states, connections, counters } = &mut self.state;
        let (Some(of), Some(state)) = (feeds.get(feed as usize), states.get_mut(feed as usize)) else { return };
        let FeedState { continuity, tally, sequence: Sequence::Book(book), .. } = state else { return };
        let mut sink = Sink { feed, symbol: &of.symbol, tally, overflowed: &mut counters.overflowed, out };
        f(book, continuity, connections, counters.entries, &mut sink);
    }

    /// The name that messages have for the symbol of this feed.
    pub(crate) fn feed_id(&self, feed: FeedIndex) -> Option<&str> {
        self.state.states.get(feed as usize).map(|state| state.id.as_str())
    }

    pub(super) fn status(&self, feed: FeedIndex) -> FeedStatus {
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
            Sequence::Uncounted(trades) => {
                FeedStatus { last_ts: trades.last_ts(), open_gaps: trades.open().len(), ..status }
            }
            Sequence::Quotes(quotes) => FeedStatus { last_id: quotes.last(), last_ts: quotes.last_ts(), ..status },
            Sequence::Timed(quotes) => FeedStatus { last_ts: quotes.last_ts(), ..status },
            Sequence::Candles(candles) => FeedStatus { last_ts: candles.last_ts(), ..status },
            Sequence::Book(book) => {
                let book = book.status();
                FeedStatus {
                    last_id: book.last,
                    last_ts: book.last_ts,
                    epoch: book.epoch,
                    book: Some(book.state),
                    buffered: book.held,
                    ..status
                }
            }
        }
    }

    pub(super) fn outstanding(&self) -> Vec<Want> {
        let mut wants = Vec::new();
        for (feed, (of, state)) in (0..).zip(self.state.feeds.iter().zip(&self.state.states)) {
            if !of.open {
                continue;
            }
            match &state.sequence {
                Sequence::Book(book) => wants.extend(book.wanted(feed, &of.symbol)),
                Sequence::Trades(trades) => wants.extend(trades.missing_since().map(|(ts_before, (from_id, to_id))| {
                    Want::Trades { feed, symbol: of.symbol.clone(), from_id, to_id, ts_before }
                })),
                Sequence::Uncounted(trades) => {
                    wants.extend(trades.missing_since().map(|since| want_since(feed, &of.symbol, since)));
                }
                Sequence::Quotes(_) | Sequence::Timed(_) | Sequence::Candles(_) => {}
            }
        }
        wants
    }
}

pub(in crate::session) fn record(trade: &Traded, ts_recv: UnixNanos, flags: Flags, epoch: u32) -> Trade {
    Trade {
        ts_venue: trade.ts_venue,
        ts_recv,
        price: trade.price,
        amount: trade.amount,
        id: TradeId(u128::from(trade.id)),
        side: trade.side,
        flags,
        epoch,
    }
}

/// Gaps that are settled.
pub(super) fn announce(feed: FeedIndex, gaps: &[Gap], tally: &mut Tally, out: &mut dyn Output) {
    for gap in gaps {
        *(if gap.repaired { &mut tally.repaired } else { &mut tally.gaps }) += 1;
        out.gap(feed, gap);
    }
}
