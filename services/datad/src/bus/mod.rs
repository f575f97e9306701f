//! The feed bus: for each feed its ring, its order book, its counters. Owned by the hot thread; shared by all clients.

#[cfg(test)]
mod tests;

use dccd_exchange::{FeedIndex, Ladder};
use dccd_model::{
    BookLevel, BookSide, BookState, Candle, Channel, Decimal, Flags, Gap, Quote, Record, RecordKind, Side, Symbol, Trade,
    TradeId, UnixNanos,
};
use dccd_ring::{FeedState, RingSpec, Writer, ring_name};
use dccd_rpc::datad::{BookSnapshot, FeedInfo};
use tracing::warn;

use crate::agreement::Agreement;
use crate::candles::{self, CandleSink};
use crate::error::DatadError;
use crate::score::Score;

/// How many slots a ring gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSizes {
    /// Order-book rings; an event is many records.
    pub(crate) book: u64,
    /// All others.
    pub(crate) other: u64,
}

/// One feed on the bus.
pub(crate) struct BusFeed {
    /// What is traded.
    pub(crate) symbol: Symbol,
    /// What it carries.
    pub(crate) channel: Channel,
    /// Clients that opened it and did not close it.
    pub(crate) holders: u32,
    /// Whether the configuration wants it.
    pub(crate) configured: bool,
    /// Whether candles are built from it.
    pub(crate) needed: bool,
    /// Gaps found, and made good, in this process.
    pub(crate) gaps: u64,
    /// Of these, made good.
    pub(crate) gaps_repaired: u64,
    score: Score,
    /// Host time of the last record.
    pub(crate) last_recv: UnixNanos,
    /// What is wrong with it, in words.
    pub(crate) error: Option<String>,
    ring: Writer,
    ring_name: String,
    ladder: Option<Ladder>,
    state: FeedState,
    book_state: BookState,
    epoch: u32,
    last_update_id: u64,
    last_trade: Option<Trade>,
    last_quote: Option<Quote>,
    /// When the newest closed candle opened, and its last price.
    last_closed: Option<(UnixNanos, Decimal)>,
    /// Its market trades, and it has said nothing since that was found out.
    silent: bool,
    /// The place of its market in [`Bus::pairs`].
    pair: Option<usize>,
    touched: bool,
}

/// The book and the quotes of one market, which have to agree.
struct Pair {
    book: FeedIndex,
    agreement: Agreement,
}

/// All feeds, by the session's index.
pub(crate) struct Bus {
    instance: String,
    exchange: String,
    sizes: RingSizes,
    feeds: Vec<Option<BusFeed>>,
    touched: Vec<FeedIndex>,
    /// Records published so far.
    pub(crate) records: u64,
    /// Books whose best bid reached the best ask since this was last taken.
    pub(crate) crossed: Vec<FeedIndex>,
    /// Whether quotes and books of this exchange have to agree; see [`dccd_exchange::Adapter::quotes_follow_book`].
    agrees: bool,
    /// Markets of which both are open; a place that is free is used again.
    pairs: Vec<Option<Pair>>,
}

impl Bus {
    /// An empty bus.
    pub(crate) fn new(instance: &str, exchange: &str, sizes: RingSizes, agrees: bool) -> Self {
        Self {
            instance: instance.to_owned(),
            exchange: exchange.to_owned(),
            sizes,
            feeds: Vec::new(),
            touched: Vec::with_capacity(64),
            records: 0,
            crossed: Vec::new(),
            agrees,
            pairs: Vec::new(),
        }
    }

    /// The feed with this index, if it is open.
    pub(crate) fn get(&self, index: FeedIndex) -> Option<&BusFeed> {
        self.feeds.get(index as usize).and_then(Option::as_ref)
    }

    /// The same, to change.
    pub(crate) fn get_mut(&mut self, index: FeedIndex) -> Option<&mut BusFeed> {
        self.feeds.get_mut(index as usize).and_then(Option::as_mut)
    }

    /// The open feed of a symbol's channel.
    pub(crate) fn find(&self, symbol: &Symbol, channel: Channel) -> Option<FeedIndex> {
        self.iter().find(|(_, f)| f.symbol == *symbol && f.channel == channel).map(|(i, _)| i)
    }

    /// All open feeds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (FeedIndex, &BusFeed)> {
        (0..).zip(&self.feeds).filter_map(|(i, f)| f.as_ref().map(|f| (i, f)))
    }

    /// Puts a feed on the bus and opens its ring.
    ///
    /// # Errors
    /// When the ring can't be made: no room in shared memory, another live writer.
    pub(crate) fn open(
        &mut self,
        index: FeedIndex,
        symbol: Symbol,
        channel: Channel,
        now: UnixNanos,
    ) -> Result<(), DatadError> {
        let name = ring_name(&self.instance, &self.exchange, &symbol.path_name(), channel.as_str());
        let (kind, capacity) = match channel {
            Channel::Trades => (RecordKind::Trade, self.sizes.other),
            Channel::Quotes => (RecordKind::Quote, self.sizes.other),
            Channel::Book => (RecordKind::BookLevel, self.sizes.book),
            Channel::Ohlc => (RecordKind::Candle, self.sizes.other),
        };
        let spec = RingSpec {
            name: &name,
            kind: kind as u32,
            slot_size: u32::try_from(kind.slot_size()).unwrap_or(64),
            capacity,
            exchange: &self.exchange,
            symbol: symbol.as_str(),
            channel: channel.as_str(),
        };
        let mut ring = Writer::open(&spec, now.0).map_err(|source| DatadError::Ring { ring: name.clone(), source })?;
        ring.set_state(FeedState::Stale);
        let slot = index as usize;
        if self.feeds.len() <= slot {
            self.feeds.resize_with(slot + 1, || None);
        }
        self.feeds[slot] = Some(BusFeed {
            symbol,
            channel,
            holders: 0,
            configured: false,
            needed: false,
            gaps: 0,
            gaps_repaired: 0,
            score: Score::new(now),
            last_recv: UnixNanos::UNKNOWN,
            error: None,
            ring,
            ring_name: name,
            ladder: (channel == Channel::Book).then(Ladder::new),
            state: FeedState::Stale,
            book_state: BookState::Syncing,
            epoch: 0,
            last_update_id: 0,
            last_trade: None,
            last_quote: None,
            last_closed: None,
            silent: false,
            pair: None,
            touched: false,
        });
        self.pair_up(index);
        Ok(())
    }

    /// Has a market's book and quotes compared, now that this one of them is open, if the other is.
    fn pair_up(&mut self, index: FeedIndex) {
        let Some(feed) = self.get(index).filter(|_| self.agrees) else { return };
        let other = match feed.channel {
            Channel::Book => Channel::Quotes,
            Channel::Quotes => Channel::Book,
            Channel::Trades | Channel::Ohlc => return,
        };
        let (is_book, symbol) = (feed.channel == Channel::Book, feed.symbol.clone());
        let Some(other) = self.find(&symbol, other) else { return };
        let pair = Some(Pair { book: if is_book { index } else { other }, agreement: Agreement::new() });
        let free = self.pairs.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        self.pairs[place] = pair;
        for index in [index, other] {
            if let Some(feed) = self.get_mut(index) {
                feed.pair = Some(place);
            }
        }
    }

    /// What the feeds of this pair told so far says nothing about what comes.
    fn forget_pair(&mut self, pair: Option<usize>) {
        if let Some(pair) = pair.and_then(|place| self.pairs.get_mut(place)?.as_mut()) {
            pair.agreement.forget();
        }
    }

    /// The next book that has gone wrong by what the quotes tell, and since when. To be asked a few times a second until there is none.
    pub(crate) fn disagreeing(&mut self, now: UnixNanos) -> Option<(FeedIndex, UnixNanos)> {
        self.pairs.iter_mut().flatten().find_map(|pair| Some((pair.book, pair.agreement.look(now)?)))
    }

    /// The market of a feed trades, and it says nothing.
    pub(crate) fn set_silent(&mut self, index: FeedIndex) {
        if let Some(feed) = self.get_mut(index) {
            feed.silent = true;
            feed.show_state();
        }
    }

    /// Takes a feed off the bus and removes its ring.
    pub(crate) fn close(&mut self, index: FeedIndex) {
        self.touched.retain(|i| *i != index);
        let Some(feed) = self.feeds.get_mut(index as usize).and_then(Option::take) else { return };
        if let Some(place) = feed.pair {
            self.pairs[place] = None;
            self.feeds.iter_mut().flatten().filter(|other| other.pair == Some(place)).for_each(|other| other.pair = None);
        }
        if let Err(error) = feed.ring.unlink() {
            warn!(ring = feed.ring_name, error = %crate::error::chain(&error), "could not remove a ring");
        }
    }

    /// Tells waiting readers of every ring that got records since the last call.
    pub(crate) fn end_batch(&mut self) {
        for index in self.touched.drain(..) {
            if let Some(feed) = self.feeds.get_mut(index as usize).and_then(Option::as_mut) {
                feed.touched = false;
                feed.ring.end_batch();
            }
        }
    }

    /// Shows readers that the writer lives.
    pub(crate) fn heartbeat(&mut self, now: UnixNanos) {
        for feed in self.feeds.iter_mut().flatten() {
            feed.ring.heartbeat(now.0);
        }
    }

    /// Sets whether a feed's connection delivers.
    pub(crate) fn set_connected(&mut self, index: FeedIndex, connected: bool) {
        if let Some(feed) = self.get_mut(index) {
            feed.state = if connected { FeedState::Live } else { FeedState::Stale };
            feed.show_state();
            let pair = feed.pair;
            self.forget_pair(pair);
        }
    }

    /// A record of the exchange was published.
    fn published(&mut self, index: FeedIndex) {
        let Some(feed) = self.feeds.get_mut(index as usize).and_then(Option::as_mut) else { return };
        if feed.error.is_some() || feed.silent {
            // What was refused was another feed of this symbol: this one delivers.
            (feed.error, feed.silent, feed.state) = (None, false, FeedState::Live);
            feed.show_state();
        }
        self.touch(index);
    }

    /// A slot of the feed's ring was written.
    fn touch(&mut self, index: FeedIndex) {
        self.records += 1;
        let Some(feed) = self.feeds.get_mut(index as usize).and_then(Option::as_mut) else { return };
        if !feed.touched {
            feed.touched = true;
            self.touched.push(index);
        }
    }

    /// Publishes a trade. One that comes late, to fill a gap, goes to the store alone: a ring is what is new.
    pub(crate) fn trade(&mut self, index: FeedIndex, trade: &Trade) {
        let Some(feed) = self.get_mut(index) else { return };
        let late = feed.last_trade.is_some_and(|last| {
            // Ids that are no numbers have no order; times have.
            let is_older = if trade.flags.contains(Flags::WIDE_ID) {
                trade.ts_venue < last.ts_venue
            } else {
                trade.id <= last.id && last.id != TradeId(0)
            };
            trade.epoch == last.epoch && is_older
        });
        if late {
            return;
        }
        feed.ring.publish(&without_gap_flag(trade.flags, |flags| Trade { flags, ..*trade }).encode());
        feed.last_trade = Some(*trade);
        feed.last_recv = trade.ts_recv;
        self.published(index);
    }

    /// Publishes a quote.
    pub(crate) fn quote(&mut self, index: FeedIndex, quote: &Quote) {
        let Some(feed) = self.get_mut(index) else { return };
        feed.ring.publish(&without_gap_flag(quote.flags, |flags| Quote { flags, ..*quote }).encode());
        feed.last_quote = Some(*quote);
        feed.last_recv = quote.ts_recv;
        let pair = feed.pair;
        if let Some(pair) = pair.and_then(|place| self.pairs.get_mut(place)?.as_mut()) {
            pair.agreement.quote(quote.bid, quote.ask, quote.ts_venue, quote.ts_recv);
        }
        self.published(index);
    }

    /// Publishes a book level and applies it to the feed's book.
    pub(crate) fn level(&mut self, index: FeedIndex, level: &BookLevel) {
        let Some(feed) = self.get_mut(index) else { return };
        feed.ring.publish(&without_gap_flag(level.flags, |flags| BookLevel { flags, ..*level }).encode());
        feed.last_recv = level.ts_recv;
        feed.last_update_id = level.update_id;
        let mut crossed = false;
        if let Some(ladder) = &mut feed.ladder {
            ladder.apply(level);
            crossed = level.flags.contains(Flags::LAST) && ladder.is_crossed();
        }
        let is_whole = level.flags.contains(Flags::LAST) && feed.book_state == BookState::Valid;
        let compared = feed.ladder.as_ref().zip(feed.pair).filter(|_| is_whole).map(|(ladder, place)| {
            let price = |level: Option<(Decimal, Decimal)>| level.map(|(price, _)| price);
            (place, (price(ladder.best_bid()), price(ladder.best_ask())))
        });
        if crossed && is_whole && !self.crossed.contains(&index) {
            self.crossed.push(index);
        }
        if let Some((place, best)) = compared
            && let Some(pair) = self.pairs.get_mut(place).and_then(Option::as_mut)
        {
            pair.agreement.event(best, level.ts_venue, level.ts_recv);
        }
        self.published(index);
    }

    /// Publishes a candle. One that comes late, because trades of it were missing, goes to the store alone: a ring is what is new.
    pub(crate) fn candle(&mut self, index: FeedIndex, candle: &Candle) {
        let Some(feed) = self.get_mut(index) else { return };
        if candle.flags.contains(Flags::CLOSED) {
            if feed.last_closed.is_some_and(|(closed, _)| candle.ts_open <= closed) {
                return;
            }
            feed.last_closed = Some((candle.ts_open, candle.close));
        }
        feed.ring.publish(&candle.encode());
        feed.last_recv = candle.ts_recv;
        self.published(index);
    }

    /// Declares a gap: counted, and marked in the ring by a record of its own. One made good is only counted.
    pub(crate) fn gap(&mut self, index: FeedIndex, gap: &Gap, now: UnixNanos) {
        let Some(feed) = self.get_mut(index) else { return };
        feed.score.gap(gap);
        if gap.repaired {
            feed.gaps_repaired += 1;
            return;
        }
        feed.gaps += 1;
        feed.ring.add_gap();
        let pair = feed.pair;
        if feed.channel != Channel::Trades {
            self.forget_pair(pair);
        }
        let Some(feed) = self.get_mut(index) else { return };
        match feed.channel {
            Channel::Trades => {
                // A piece of a hole whose marker stands already: what stays missing when the rest was fetched.
                if feed.last_trade.zip(gap.ids).is_some_and(|(last, (first, _))| last.id >= TradeId(u128::from(first))) {
                    return;
                }
                // The halves hold the last id seen and the next one.
                let (last, next) = gap.ids.map_or((0, 0), |(first, last)| (first.saturating_sub(1), last.saturating_add(1)));
                let marker = Trade {
                    ts_venue: gap.to,
                    ts_recv: now,
                    price: Decimal::ZERO,
                    amount: Decimal::ZERO,
                    id: TradeId::from_halves(last, next),
                    side: Side::Unknown,
                    flags: Flags::GAP,
                    epoch: feed.epoch,
                };
                feed.ring.publish(&marker.encode());
            }
            Channel::Quotes => {
                let zero = Decimal::ZERO;
                let marker = Quote {
                    ts_venue: UnixNanos::UNKNOWN,
                    ts_recv: now,
                    bid: zero,
                    bid_amount: zero,
                    ask: zero,
                    ask_amount: zero,
                    flags: Flags::GAP,
                };
                feed.ring.publish(&marker.encode());
            }
            Channel::Book => {
                let marker = BookLevel {
                    ts_venue: gap.to,
                    ts_recv: now,
                    price: Decimal::ZERO,
                    amount: Decimal::ZERO,
                    update_id: 0,
                    side: BookSide::Bid,
                    flags: Flags::GAP,
                    epoch: feed.epoch,
                    order_count: 0,
                };
                feed.ring.publish(&marker.encode());
            }
            Channel::Ohlc => {
                let zero = Decimal::ZERO;
                let marker = Candle {
                    ts_open: gap.to,
                    ts_recv: now,
                    open: zero,
                    high: zero,
                    low: zero,
                    close: zero,
                    volume: zero,
                    quote_volume: zero,
                    trades: 0,
                    span: candles::SPAN,
                    flags: Flags::GAP,
                };
                feed.ring.publish(&marker.encode());
            }
        }
        self.touch(index);
    }

    /// Takes a book over as another process had it: these levels, as those of a snapshot. Its readers have them.
    pub(crate) fn restore_book(&mut self, index: FeedIndex, levels: &[BookLevel]) {
        let Some(feed) = self.get_mut(index) else { return };
        if let (Some(ladder), Some(last)) = (&mut feed.ladder, levels.last()) {
            levels.iter().for_each(|level| ladder.apply(level));
            feed.last_update_id = last.update_id;
        }
    }

    /// Sets what is known of a book's integrity.
    pub(crate) fn book_state(&mut self, index: FeedIndex, state: BookState, epoch: u32) {
        if let Some(feed) = self.get_mut(index) {
            feed.book_state = state;
            feed.epoch = epoch;
            if state == BookState::Valid && feed.error.take().is_some() {
                // Whatever was refused before: it delivers.
                feed.state = FeedState::Live;
            }
            feed.show_state();
            let pair = feed.pair;
            self.forget_pair(pair);
        }
    }

    /// The book of a feed, the best `depth` levels a side (0: all).
    pub(crate) fn book(&self, index: FeedIndex, depth: usize) -> Option<BookSnapshot> {
        let feed = self.get(index)?;
        let ladder = feed.ladder.as_ref()?;
        let depth = if depth == 0 { usize::MAX } else { depth };
        let (bids, asks) = ladder.top(depth);
        let text =
            |levels: Vec<(Decimal, Decimal)>| levels.into_iter().map(|(p, a)| (p.to_string(), a.to_string())).collect();
        Some(BookSnapshot {
            symbol: feed.symbol.to_string(),
            ring: feed.ring_name.clone(),
            sequence: feed.ring.cursor(),
            epoch: feed.epoch,
            state: book_state_name(feed.book_state).to_owned(),
            update_id: feed.last_update_id,
            bids: text(bids),
            asks: text(asks),
        })
    }
}

impl BusFeed {
    /// Its book, where it is one.
    pub(crate) const fn ladder(&self) -> Option<&Ladder> {
        self.ladder.as_ref()
    }

    /// What is known of the book's integrity.
    pub(crate) const fn book_state(&self) -> BookState {
        self.book_state
    }

    /// What clients are told of the feed.
    pub(crate) fn info(&self, recorded: bool, now: UnixNanos) -> FeedInfo {
        let book_best = self.ladder.as_ref().and_then(|l| Some((l.best_bid()?.0, l.best_ask()?.0)));
        let best = self.last_quote.map(|q| (q.bid, q.ask)).or(book_best);
        let last_price = self.last_trade.map(|t| t.price).or(self.last_closed.map(|(_, close)| close));
        let last_price = last_price.map(|price| price.to_string()).or_else(|| best.map(|(bid, _)| bid.to_string()));
        FeedInfo {
            symbol: self.symbol.to_string(),
            channel: self.channel.to_string(),
            ring: self.ring_name.clone(),
            generation: self.ring.generation(),
            cursor: self.ring.cursor(),
            state: if self.silent { "silent" } else { feed_state_name(self.shown_state()) }.to_owned(),
            book_state: (self.channel == Channel::Book).then(|| book_state_name(self.book_state).to_owned()),
            epoch: self.epoch,
            recorded,
            holders: self.holders,
            gaps: self.gaps,
            gaps_repaired: self.gaps_repaired,
            score: self.score.percent(now, (self.shown_state() != FeedState::Live).then_some(self.last_recv)),
            last_recv: self.last_recv.0,
            last_price,
            best: best.map(|(bid, ask)| (bid.to_string(), ask.to_string())),
            error: self.error.clone(),
            compared: None,
            open_gaps: 0,
        }
    }

    fn shown_state(&self) -> FeedState {
        match self.state {
            FeedState::Live if self.silent => FeedState::Stale,
            FeedState::Live if self.channel == Channel::Book && self.book_state != BookState::Valid => FeedState::Syncing,
            state => state,
        }
    }

    fn show_state(&mut self) {
        let state = self.shown_state();
        self.ring.set_state(state);
    }
}

impl CandleSink for Bus {
    fn candle(&mut self, feed: FeedIndex, candle: &Candle) {
        Self::candle(self, feed, candle);
    }

    fn candle_gap(&mut self, feed: FeedIndex, gap: &Gap, now: UnixNanos) {
        self.gap(feed, gap, now);
    }
}

/// In a ring the gap flag marks a record of its own; it never stands on a real one.
fn without_gap_flag<T>(flags: Flags, with: impl FnOnce(Flags) -> T) -> T {
    with(Flags(flags.0 & !Flags::GAP.0))
}

/// The word for a feed's state.
fn feed_state_name(state: FeedState) -> &'static str {
    match state {
        FeedState::Closed => "closed",
        FeedState::Live => "live",
        FeedState::Stale => "stale",
        FeedState::Syncing => "syncing",
    }
}

/// The word for a book's state.
fn book_state_name(state: BookState) -> &'static str {
    match state {
        BookState::Syncing => "syncing",
        BookState::Valid => "valid",
        BookState::Suspect => "suspect",
    }
}
