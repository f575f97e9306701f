//! What the journal says of feeds and connections, beside their frames: opened, closed, answered, begun anew, lost.

use dccd_model::{Channel, Entry, Gap, GapReason, SeriesEnd, Symbol};

use super::{FeedState, Feeds, Sequence};
use crate::contract::read_resync;
use crate::integrity::{Candles, Continuity, Tally, Trades};
use crate::session::{Answer, BookRules, Dialect};
use crate::{EntryFault, Feed, FeedIndex, Output, RESYNC_SILENT};

impl<B: BookRules> Feeds<B> {
    /// Which feed an answer is about, and of which kind it is. Answers that no feed needs are none of ours.
    pub(in crate::session) fn answered(
        &mut self,
        markets_subject: &str,
        entry: &Entry<'_>,
        out: &mut dyn Output,
    ) -> Option<(Answer, FeedIndex)> {
        let mut words = entry.subject.split_ascii_whitespace();
        let (kind, channel, symbol) = match (words.next(), words.next()) {
            (Some("depth"), Some(symbol)) => (Answer::Snapshot, Channel::Book, symbol),
            (Some("trades"), Some(symbol)) => (Answer::Trades, Channel::Trades, symbol),
            (Some(subject), _) if subject == markets_subject => return None,
            _ => {
                self.entry_fault(entry, EntryFault::Subject, out);
                return None;
            }
        };
        let open = |f: &Feed| f.open && f.channel == channel && f.symbol.as_str() == symbol;
        let feed = self.state.feeds.iter().position(open).and_then(|at| u32::try_from(at).ok());
        if feed.is_none() {
            self.entry_fault(entry, EntryFault::UnknownFeed, out);
        }
        feed.map(|feed| (kind, feed))
    }

    pub(in crate::session) fn closed(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        for state in &mut self.state.states {
            state.continuity.closed(entry.conn);
            if let Sequence::Uncounted(trades) = &mut state.sequence {
                trades.closed(entry.conn);
            }
        }
        self.state.connections.closed(entry.conn);
        for index in self.indexes() {
            self.with_book(index, out, |book, _, _, _, sink| book.disconnected(entry.conn, entry.ts_recv, sink));
        }
    }

    fn indexes(&self) -> std::ops::Range<FeedIndex> {
        0..u32::try_from(self.state.feeds.len()).unwrap_or(u32::MAX)
    }

    pub(in crate::session) fn open<D: Dialect<Book = B>>(&mut self, dialect: &D, entry: &Entry<'_>, out: &mut dyn Output) {
        let (symbol, channel) = match feed_name(entry.subject, self.channels) {
            Ok(name) => name,
            Err(fault) => return self.entry_fault(entry, fault, out),
        };
        let Some(index) = self.feed_or_new(dialect, symbol, channel) else { return };
        let (Some(feed), Some(state)) = (self.state.feeds.get_mut(index as usize), self.state.states.get(index as usize))
        else {
            return;
        };
        feed.open = true;
        if let Some(slot) = self.routes.entry(state.id.clone()).or_default().slot(channel) {
            *slot = Some(index);
        }
    }

    /// The feed of this name; a new one isn't open.
    fn feed_or_new<D: Dialect<Book = B>>(&mut self, dialect: &D, symbol: Symbol, channel: Channel) -> Option<FeedIndex> {
        let is_it = |feed: &Feed| feed.channel == channel && feed.symbol == symbol;
        if let Some(at) = self.state.feeds.iter().position(is_it) {
            return u32::try_from(at).ok();
        }
        let id = dialect.id(&symbol, &self.markets);
        let index = u32::try_from(self.state.feeds.len()).ok()?;
        let sequence = match channel {
            Channel::Quotes if D::QUOTES_NUMBERED => Sequence::Quotes(Box::default()),
            Channel::Quotes => Sequence::Timed(Box::default()),
            Channel::Book => Sequence::Book(Box::new(dialect.book(&symbol, &self.markets))),
            Channel::Trades if !D::TRADES_COUNTED => Sequence::Uncounted(Box::default()),
            Channel::Trades => Sequence::Trades(Trades::default()),
            Channel::Ohlc => Sequence::Candles(Candles::default()),
        };
        self.state.feeds.push(Feed { symbol, channel, open: false });
        self.state.states.push(FeedState { id, continuity: Continuity::default(), tally: Tally::default(), sequence });
        Some(index)
    }

    /// The store holds rows of a series of which nothing was known here: where there are numbers to go on from, they are gone on from.
    /// Quotes have none; who stores them knows of the hole by itself.
    pub(in crate::session) fn stored<D: Dialect<Book = B>>(&mut self, dialect: &D, entry: &Entry<'_>, out: &mut dyn Output) {
        let (symbol, channel) = match feed_name(entry.subject, self.channels) {
            Ok(name) => name,
            Err(fault) => return self.entry_fault(entry, fault, out),
        };
        let Ok(end) = serde_json::from_slice::<SeriesEnd>(entry.payload) else {
            return self.entry_fault(entry, EntryFault::Payload, out);
        };
        let index = self.feed_or_new(dialect, symbol, channel);
        let Some(state) = index.and_then(|index| self.state.states.get_mut(index as usize)) else { return };
        match &mut state.sequence {
            Sequence::Trades(trades) => {
                if trades.resume(&end) {
                    state.continuity.interrupt(GapReason::NotRecorded);
                }
            }
            Sequence::Uncounted(trades) => trades.resume(&end),
            Sequence::Book(book) => book.resume(&end),
            Sequence::Quotes(_) | Sequence::Timed(_) | Sequence::Candles(_) => {}
        }
    }

    pub(in crate::session) fn close(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
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
        if let Sequence::Uncounted(trades) = &mut state.sequence {
            trades.closed(0);
        }
        if let Some(slot) = self.routes.get_mut(&state.id).and_then(|routes| routes.slot(channel)) {
            *slot = None;
        }
        self.of_book(index, out, B::close);
    }

    /// A live check found a feed broken: a book that can't be, or any feed that said nothing while its market traded.
    pub(in crate::session) fn resync(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        let (words, since) = read_resync(entry.payload);
        let is_silent = words == RESYNC_SILENT;
        let reason = if is_silent { GapReason::Silent } else { GapReason::Integrity };
        match self.named_feed(entry.subject) {
            Ok(index) if self.state.feeds.get(index as usize).is_some_and(|feed| feed.open) => {
                let Some(state) = self.state.states.get_mut(index as usize) else { return };
                if is_silent {
                    state.continuity.interrupt(reason);
                    if let Sequence::Uncounted(trades) = &mut state.sequence {
                        trades.lost(reason);
                    }
                    if let Some(gap) = state.tally.silent(since, entry.ts_recv) {
                        out.gap(index, &gap);
                    }
                } else if let (Some(from), Sequence::Book(_)) = (since, &state.sequence) {
                    // What was given out since is there, and can't be believed; what comes until the next snapshot is another gap.
                    state.tally.gaps += 1;
                    out.gap(index, &Gap { from, to: entry.ts_recv, reason, repaired: false, ids: None });
                }
                self.of_book(index, out, |book, sink| book.rebuild(reason, sink));
            }
            Ok(_) => self.entry_fault(entry, EntryFault::UnknownFeed, out),
            Err(fault) => self.entry_fault(entry, fault, out),
        }
    }

    /// A connection carries feeds, whether something came of them on it or not: none is broken when the others that carry it end.
    pub(in crate::session) fn carries(&mut self, entry: &Entry<'_>, out: &mut dyn Output) {
        for subject in std::str::from_utf8(entry.payload).unwrap_or_default().lines() {
            let Ok(index) = self.named_feed(subject) else {
                self.entry_fault(entry, EntryFault::UnknownFeed, out);
                continue;
            };
            let is_open = self.state.feeds.get(index as usize).is_some_and(|feed| feed.open);
            let Some(state) = self.state.states.get_mut(index as usize).filter(|_| is_open) else { continue };
            state.continuity.carries(entry.conn);
            if let Sequence::Uncounted(trades) = &mut state.sequence {
                trades.carries(entry.conn);
            }
        }
    }

    /// Entries are missing: what they held was never recorded.
    pub(in crate::session) fn lost(&mut self, out: &mut dyn Output) {
        for index in self.indexes() {
            let (Some(feed), Some(state)) =
                (self.state.feeds.get(index as usize), self.state.states.get_mut(index as usize))
            else {
                continue;
            };
            if feed.open {
                state.continuity.interrupt(GapReason::NotRecorded);
                if let Sequence::Uncounted(trades) = &mut state.sequence {
                    trades.lost(GapReason::NotRecorded);
                }
                self.of_book(index, out, |book, sink| book.rebuild(GapReason::NotRecorded, sink));
            }
        }
    }

    fn named_feed(&self, subject: &str) -> Result<FeedIndex, EntryFault> {
        let (symbol, channel) = feed_name(subject, self.channels)?;
        let at = self.state.feeds.iter().position(|f| f.channel == channel && f.symbol == symbol);
        at.and_then(|at| u32::try_from(at).ok()).ok_or(EntryFault::UnknownFeed)
    }
}

/// `BTC/USDT trades`; a channel among those that are offered, or that is made of one of them.
fn feed_name(subject: &str, offered: &[Channel]) -> Result<(Symbol, Channel), EntryFault> {
    let (symbol, channel) = subject.split_once(' ').ok_or(EntryFault::Subject)?;
    let symbol = symbol.parse().map_err(|_| EntryFault::Subject)?;
    let channel = channel.parse().map_err(|_| EntryFault::Channel)?;
    let is_made = channel == Channel::Ohlc && offered.contains(&Channel::Trades);
    if is_made || offered.contains(&channel) { Ok((symbol, channel)) } else { Err(EntryFault::Channel) }
}
