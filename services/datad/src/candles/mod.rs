//! Live candles of one minute: those that the exchange sends, and those that are built from its trades. Where there are both, each
//! closed candle is compared; where the exchange sends none, the built ones are given out.
//!
//! A pure function of what a session gives out, like the session itself: the hot thread publishes what comes of it, the recorder, which
//! has one of its own, hands closed candles on to be stored ([`Window`]), and keeps them in its checkpoint until they are.

mod building;
mod storing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use dccd_exchange::{Capabilities, Feed, FeedIndex};
use dccd_model::{Candle, Channel, Flags, Gap, Grid, Span, Symbol, Trade, UnixNanos};
use serde::{Deserialize, Serialize};
use tracing::warn;

use building::{Builder, Kind, Made};
pub(crate) use storing::Storing;

/// The length of candles that come live.
pub(crate) const SPAN: Span = Span::ONE_MINUTE;
/// Closed candles that wait for the same one from the other source.
const COMPARED_MAX: usize = 8;
/// Candles of a market that are kept until they are stored: a day's. Past that the oldest are given up; the files then lack them, and a
/// backfill fetches them.
const KEPT_MAX: usize = 1_440;

/// Receives candles that are to be handed on, and the gaps of their feeds.
pub(crate) trait CandleSink {
    /// A candle, growing or closed.
    fn candle(&mut self, feed: FeedIndex, candle: &Candle);
    /// Candles are missing, or were made good.
    fn candle_gap(&mut self, feed: FeedIndex, gap: &Gap, now: UnixNanos);
}

/// For whoever only stores.
pub(crate) struct Nowhere;

impl CandleSink for Nowhere {
    fn candle(&mut self, _: FeedIndex, _: &Candle) {}
    fn candle_gap(&mut self, _: FeedIndex, _: &Gap, _: UnixNanos) {}
}

/// A stretch whose closed candles are all there: `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// When its first candle opens, or would.
    pub(crate) from: UnixNanos,
    /// Where it ends.
    pub(crate) to: UnixNanos,
    /// Its candles, ascending; a quiet minute has none where the exchange has none of such.
    pub(crate) candles: Vec<Candle>,
}

/// How the two sources of a market's candles agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compared {
    /// Candles that were the same from both.
    pub(crate) agreed: u64,
    /// Candles that differed.
    pub(crate) differed: u64,
}

/// The candles of one market.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Market {
    symbol: Symbol,
    feed: FeedIndex,
    /// Its feed of candles is open.
    is_open: bool,
    /// Its feed of trades, where that is open.
    trades: Option<FeedIndex>,
    builder: Option<Builder>,
    /// Closed candles of either source that have not been compared yet.
    sent: VecDeque<Candle>,
    built: VecDeque<Candle>,
    compared: Compared,
    /// Trades that came too late for their candles.
    #[serde(default)]
    late: u64,
    /// Closed candles are kept to be stored.
    #[serde(skip)]
    keeps: bool,
    /// Waits to be stored.
    windows: VecDeque<Window>,
}

/// What a feed is to candles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    None,
    /// Trades of this market.
    Trades(usize),
    /// Candles of this market.
    Candles(usize),
}

/// The live candles of an exchange.
pub(crate) struct LiveCandles {
    /// The exchange sends closed candles.
    are_sent: bool,
    /// A minute without trades has a candle.
    fills: bool,
    /// By feed.
    roles: Vec<Role>,
    markets: Vec<Market>,
    /// Markets about whose trades a gap was given out since the last entry.
    looks: Vec<usize>,
}

impl LiveCandles {
    /// No market yet. `fills`: the exchange has candles of minutes without trades.
    pub(crate) fn new(capabilities: &Capabilities, fills: bool) -> Self {
        let are_sent = !capabilities.builds(Channel::Ohlc);
        Self { are_sent, fills, roles: Vec::new(), markets: Vec::new(), looks: Vec::new() }
    }

    /// Goes on where [`Self::save`] was called; with none where it can't be read.
    pub(crate) fn resume(&mut self, saved: &[u8], feeds: &[Feed], recorded: &[bool]) {
        match serde_json::from_slice(saved) {
            Ok(markets) => self.markets = markets,
            Err(error) => warn!(%error, "the state of the live candles can't be read and begins anew"),
        }
        self.markets.iter_mut().for_each(|market| market.compared = Compared::default());
        self.follow(feeds, recorded);
    }

    /// What another process needs to go on exactly here.
    pub(crate) fn save(&self) -> Vec<u8> {
        // Plain structs of numbers, texts and lists: nothing in them that JSON can't hold.
        serde_json::to_vec(&self.markets).unwrap_or_default()
    }

    /// Takes in which feeds are open now, and of which of them closed candles are kept to be stored.
    pub(crate) fn follow(&mut self, feeds: &[Feed], recorded: &[bool]) {
        let opened = |index: usize| FeedIndex::try_from(index).ok();
        let place = |symbol: &Symbol, channel| {
            feeds.iter().position(|f| f.open && f.channel == channel && f.symbol == *symbol).and_then(opened)
        };
        self.roles.clear();
        self.roles.resize(feeds.len(), Role::None);
        for (index, feed) in feeds.iter().enumerate().filter(|(_, feed)| feed.channel == Channel::Ohlc && feed.open) {
            let Some(index) = opened(index) else { continue };
            if !self.markets.iter().any(|market| market.feed == index) {
                self.markets.push(Market::new(feed.symbol.clone(), index));
            }
        }
        self.markets.retain_mut(|market| {
            market.is_open = place(&market.symbol, Channel::Ohlc) == Some(market.feed);
            market.keeps = recorded.get(market.feed as usize).copied().unwrap_or(false);
            let trades = place(&market.symbol, Channel::Trades).filter(|_| market.is_open);
            if trades != market.trades || trades.is_none() {
                // What was built before is over: the first minute of the next trades isn't whole.
                let is_inverse = market.symbol.settle().is_some_and(|settle| settle == market.symbol.base());
                let kind = Kind { span: SPAN, fills: self.fills, is_inverse };
                market.builder = trades.map(|_| Builder::new(kind));
                market.built.clear();
                market.trades = trades;
            }
            market.is_open || !market.windows.is_empty()
        });
        for (at, market) in self.markets.iter().enumerate().filter(|(_, market)| market.is_open) {
            if let Some(role) = self.roles.get_mut(market.feed as usize) {
                *role = Role::Candles(at);
            }
            if let Some(role) = market.trades.and_then(|trades| self.roles.get_mut(trades as usize)) {
                *role = Role::Trades(at);
            }
        }
    }

    /// Whether stored candles are built from this feed of trades, so that what is missing of it is to be fetched.
    pub(crate) fn needs(&self, feed: FeedIndex) -> bool {
        let Role::Trades(at) = self.role(feed) else { return false };
        !self.are_sent && self.markets.get(at).is_some_and(|market| market.keeps)
    }

    fn role(&self, feed: FeedIndex) -> Role {
        self.roles.get(feed as usize).copied().unwrap_or(Role::None)
    }

    /// A trade was given out.
    pub(crate) fn trade(&mut self, feed: FeedIndex, trade: &Trade, sink: &mut dyn CandleSink) {
        let Role::Trades(at) = self.role(feed) else { return };
        let are_sent = self.are_sent;
        let Some(market) = self.markets.get_mut(at) else { return };
        let Some(mut builder) = market.builder.take() else { return };
        builder.trade(trade, &mut |made| market.made(made, are_sent, trade.ts_recv, sink));
        market.builder = Some(builder);
    }

    /// A gap was given out.
    pub(crate) fn gap(&mut self, feed: FeedIndex, gap: &Gap) {
        if let Role::Trades(at) = self.role(feed)
            && let Some(builder) = self.markets.get_mut(at).and_then(|market| market.builder.as_mut())
        {
            builder.gap(gap);
            self.looks.push(at);
        }
    }

    /// A candle came from the exchange.
    pub(crate) fn candle(&mut self, feed: FeedIndex, candle: &Candle, sink: &mut dyn CandleSink) {
        let Role::Candles(at) = self.role(feed) else { return };
        let Some(market) = self.markets.get_mut(at) else { return };
        sink.candle(feed, candle);
        if candle.flags.contains(Flags::CLOSED) {
            market.keep(candle.ts_open, Some(candle));
            if market.builder.is_some() {
                remember(&mut market.sent, candle);
                market.compare();
            }
        }
    }

    /// To be called after each entry.
    pub(crate) fn settle(&mut self, now: UnixNanos, sink: &mut dyn CandleSink) {
        let are_sent = self.are_sent;
        while let Some(at) = self.looks.pop() {
            let Some(market) = self.markets.get_mut(at) else { continue };
            let Some(mut builder) = market.builder.take() else { continue };
            builder.settle(&mut |made| market.made(made, are_sent, now, sink));
            market.builder = Some(builder);
        }
    }

    /// How the two sources of a feed's candles agree; `None` where there is but one.
    pub(crate) fn compared(&self, feed: FeedIndex) -> Option<Compared> {
        let Role::Candles(at) = self.role(feed) else { return None };
        self.markets.get(at).filter(|market| self.are_sent && market.builder.is_some()).map(|market| market.compared)
    }

    /// What waits to be stored of the market of which most does, but for these.
    pub(crate) fn waiting(&self, but_for: &[Symbol]) -> Option<(&Symbol, &VecDeque<Window>)> {
        let waits = self.markets.iter().filter(|market| !market.windows.is_empty() && !but_for.contains(&market.symbol));
        let most = waits.max_by_key(|market| market.kept());
        most.map(|market| (&market.symbol, &market.windows))
    }

    /// These are stored. Markets keep their places, which roles go by, until feeds are followed anew.
    pub(crate) fn stored(&mut self, symbol: &Symbol, windows: &[Window]) {
        for market in self.markets.iter_mut().filter(|market| market.symbol == *symbol) {
            for stored in windows {
                let same = market.windows.iter().position(|kept| kept.from == stored.from && kept.to >= stored.to);
                let Some(at) = same else { continue };
                let rest = market.windows.get_mut(at).map(|kept| kept.cut(stored.to));
                if rest.is_some_and(|is_empty| is_empty) {
                    market.windows.remove(at);
                }
            }
        }
    }
}

impl Window {
    /// Takes away what is before this moment; whether nothing is left.
    fn cut(&mut self, until: UnixNanos) -> bool {
        self.from = until;
        self.candles.retain(|candle| candle.ts_open >= until);
        self.from >= self.to
    }
}

impl Market {
    fn new(symbol: Symbol, feed: FeedIndex) -> Self {
        Self {
            symbol,
            feed,
            is_open: true,
            trades: None,
            builder: None,
            sent: VecDeque::new(),
            built: VecDeque::new(),
            compared: Compared::default(),
            late: 0,
            keeps: false,
            windows: VecDeque::new(),
        }
    }

    fn made(&mut self, made: Made, are_sent: bool, now: UnixNanos, sink: &mut dyn CandleSink) {
        if matches!(made, Made::Late) {
            self.late += 1;
            if self.late.is_power_of_two() {
                warn!(symbol = %self.symbol, count = self.late, "a trade came after its candle was closed, or from a time to come: the candle is without it");
            }
            return;
        }
        if are_sent {
            if let Made::Closed(candle) = made {
                remember(&mut self.built, &candle);
                self.compare();
            }
            return;
        }
        match made {
            Made::Growing(candle) => sink.candle(self.feed, &candle),
            Made::Closed(candle) => {
                sink.candle(self.feed, &candle);
                self.keep(candle.ts_open, Some(&candle));
            }
            Made::Quiet(open_at) => self.keep(open_at, None),
            Made::Missing(gap) | Made::Repaired(gap) => sink.candle_gap(self.feed, &gap, now),
            Made::Late => {}
        }
    }

    /// Compares what both sources have by now. What one of them doesn't have in time isn't.
    fn compare(&mut self) {
        let mut at = 0;
        while let Some(sent) = self.sent.get(at).copied() {
            let Some(same) = self.built.iter().position(|built| built.ts_open == sent.ts_open) else {
                at += 1;
                continue;
            };
            let Some(built) = self.built.remove(same) else { break };
            self.sent.remove(at);
            let of = |c: &Candle| [c.open, c.high, c.low, c.close, c.volume];
            if of(&sent) == of(&built) {
                self.compared.agreed += 1;
                continue;
            }
            self.compared.differed += 1;
            let [sent, built] =
                [&sent, &built].map(|c| format!("{} {} {} {} x {}", c.open, c.high, c.low, c.close, c.volume));
            warn!(symbol = %self.symbol, sent, built, "the exchange's candle is not that of its trades; its own is kept");
        }
    }

    /// Keeps a closed candle, or a minute that has none, to be stored.
    fn keep(&mut self, open_at: UnixNanos, candle: Option<&Candle>) {
        if !self.keeps {
            return;
        }
        let to = Grid::new(SPAN).after(open_at, 1);
        match self.windows.back_mut() {
            Some(last) if last.to == open_at => {
                last.to = to;
                last.candles.extend(candle);
            }
            _ => self.windows.push_back(Window { from: open_at, to, candles: candle.copied().into_iter().collect() }),
        }
        while self.kept() > KEPT_MAX
            && let Some(oldest) = self.windows.front_mut()
        {
            warn!(symbol = %self.symbol, from = %oldest.from, "live candles couldn't be stored for a day and are given up; a backfill fetches them");
            let first = oldest.candles.first().map_or(oldest.to, |candle| Grid::new(SPAN).after(candle.ts_open, 1));
            if oldest.cut(first.min(oldest.to)) {
                self.windows.pop_front();
            }
        }
    }

    fn kept(&self) -> usize {
        self.windows.iter().map(|window| window.candles.len()).sum()
    }
}

/// Remembers a candle that is to be compared.
fn remember(candles: &mut VecDeque<Candle>, candle: &Candle) {
    if candles.len() >= COMPARED_MAX {
        candles.pop_front();
    }
    candles.push_back(*candle);
}
