//! Which feeds are open: opened and closed on the bus, on the links, and in the journal.

use dccd_exchange::FeedIndex;
use dccd_model::{BookState, Channel, EntryKind, SeriesEnd, Symbol};
use dccd_rpc::datad::FeedInfo;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Hot;
use crate::clock;
use crate::error::chain;
use crate::recorder::{LIVE_ONLY, RECORDED};

impl Hot {
    pub(super) fn settle_left_feeds(&mut self) {
        let feeds = self.session.feeds().to_vec();
        for (index, feed) in (0..).zip(feeds) {
            if !feed.open || self.bus.get(index).is_some() {
                continue;
            }
            let subject = format!("{} {}", feed.symbol, feed.channel);
            if self.is_recorded(index) {
                info!(feed = subject, "the configuration no longer wants this feed");
                self.enter(EntryKind::FeedClosed, 0, &subject, b"");
            } else if let Err(reason) = self.open_feed(feed.symbol, feed.channel, false) {
                warn!(feed = subject, reason, "a feed that a client had opened cannot be opened again");
                self.enter(EntryKind::FeedClosed, 0, &subject, b"");
            }
        }
    }

    pub(super) fn is_recorded(&self, index: FeedIndex) -> bool {
        self.recorded.get(index as usize).copied().unwrap_or(false)
    }

    pub(super) fn open_feed(&mut self, symbol: Symbol, channel: Channel, configured: bool) -> Result<FeedInfo, String> {
        self.check(&symbol, channel)?;
        let known = self.bus.find(&symbol, channel);
        if self.adapter.capabilities().builds(channel) && !self.are_trades_needed(&symbol) {
            self.open_feed(symbol.clone(), Channel::Trades, false)?;
            // What they are built from stays open as long as they do, whoever holds it besides.
            if let Some(trades) = self.bus.find(&symbol, Channel::Trades).and_then(|index| self.bus.get_mut(index)) {
                trades.holders -= 1;
                trades.needed = true;
            }
        }
        let opened = self.open_known(symbol.clone(), channel, configured, known);
        if opened.is_err() && known.is_none() {
            self.let_trades_go(&symbol, channel);
        }
        opened
    }

    fn are_trades_needed(&self, symbol: &Symbol) -> bool {
        let trades = self.bus.find(symbol, Channel::Trades).and_then(|index| self.bus.get(index));
        trades.is_some_and(|trades| trades.needed)
    }

    /// Gives back the feed of trades that candles were built from.
    fn let_trades_go(&mut self, symbol: &Symbol, channel: Channel) {
        let trades = self.bus.find(symbol, Channel::Trades).filter(|_| self.adapter.capabilities().builds(channel));
        if let Some(index) = trades
            && let Some(feed) = self.bus.get_mut(index)
        {
            feed.needed = false;
            if feed.holders == 0 && !feed.configured {
                self.end_feed(index, symbol, Channel::Trades);
            }
        }
    }

    fn open_known(
        &mut self,
        symbol: Symbol,
        channel: Channel,
        configured: bool,
        known: Option<FeedIndex>,
    ) -> Result<FeedInfo, String> {
        if let Some(index) = known {
            if configured && !self.is_recorded(index) {
                self.enter_opened(&symbol, channel, true);
                self.begin_epoch(&symbol, channel, "recording begins");
            }
            return self.hold(index, configured);
        }
        self.enter_opened(&symbol, channel, configured);
        let found = self.session.feeds().iter().position(|f| f.symbol == symbol && f.channel == channel);
        let index = found.and_then(|i| FeedIndex::try_from(i).ok()).ok_or("the session did not take the feed")?;
        let now = clock::now();
        if let Err(error) = self.bus.open(index, symbol.clone(), channel, now) {
            let text = chain(&error);
            self.enter(EntryKind::FeedClosed, 0, &format!("{symbol} {channel}"), b"");
            return Err(text);
        }
        if let Err(error) = self.links.add(index, &symbol, channel) {
            self.enter(EntryKind::FeedClosed, 0, &format!("{symbol} {channel}"), b"");
            self.bus.close(index);
            return Err(chain(&error));
        }
        self.resubscribes.subscribed(index, Instant::now());
        self.bus.set_connected(index, self.links.connections() > 0);
        let status = self.session.feed_status(index);
        if channel == Channel::Book {
            self.bus.book_state(index, status.book.unwrap_or_default(), status.epoch);
            // The sequence of an earlier process may go on unbroken, but its book is gone with it.
            if status.book == Some(BookState::Valid) {
                self.begin_epoch(&symbol, channel, "the book is not in memory");
            }
        }
        self.hold(index, configured)
    }

    /// Builds a book anew from a snapshot; other feeds have nothing to build.
    pub(super) fn begin_epoch(&mut self, symbol: &Symbol, channel: Channel, reason: &str) {
        if channel == Channel::Book {
            self.enter(EntryKind::Resync, 0, &format!("{symbol} {channel}"), reason.as_bytes());
        }
    }

    /// Journals that a feed is open, and whether it is recorded.
    pub(super) fn enter_opened(&mut self, symbol: &Symbol, channel: Channel, recorded: bool) {
        let (subject, payload) = (format!("{symbol} {channel}"), if recorded { RECORDED } else { LIVE_ONLY });
        if recorded && let Some(end) = self.stored.get(&(symbol.clone(), channel)) {
            info!(feed = subject, since = %end.ts, "the store has this series and nothing since; that is declared, and trades are fetched where they can be");
            let end = encode(end);
            self.enter(EntryKind::Stored, 0, &subject, &end);
            // Otherwise it is said when the journal can be written.
            if self.journal.broken_by().is_none() {
                self.stored.remove(&(symbol.clone(), channel));
            }
        }
        self.enter(EntryKind::FeedOpened, 0, &subject, payload);
        let index = self.session.feeds().iter().position(|f| f.symbol == *symbol && f.channel == channel);
        if let Some(index) = index {
            if self.recorded.len() <= index {
                self.recorded.resize(index + 1, false);
            }
            self.recorded[index] = recorded;
        }
    }

    /// Refuses what the exchange can't do, by name.
    fn check(&self, symbol: &Symbol, channel: Channel) -> Result<(), String> {
        let exchange = self.adapter.name();
        self.adapter.capabilities().check(channel).map_err(|e| e.to_string())?;
        if self.markets.by_symbol(symbol).is_none() {
            let near = dccd_exchange::search(self.markets.iter(), symbol.as_str(), 1);
            let hint = near.first().map(|m| format!("; did you mean {}?", m.market.symbol)).unwrap_or_default();
            return Err(format!("{exchange} has no market {symbol}{hint}"));
        }
        Ok(())
    }

    fn hold(&mut self, index: FeedIndex, configured: bool) -> Result<FeedInfo, String> {
        let recorded = self.is_recorded(index);
        let feed = self.bus.get_mut(index).ok_or("the feed is gone")?;
        if configured {
            feed.configured = true;
        } else {
            feed.holders += 1;
        }
        Ok(feed.info(recorded, clock::now()))
    }

    pub(super) fn close_feed(&mut self, symbol: &Symbol, channel: Channel) -> Result<FeedInfo, String> {
        let index = self.bus.find(symbol, channel).ok_or_else(|| format!("no feed {symbol} {channel} is open"))?;
        let recorded = self.is_recorded(index);
        let feed = self.bus.get_mut(index).ok_or("the feed is gone")?;
        if feed.holders == 0 {
            let why = if feed.configured { "the configuration wants it" } else { "candles are built from it" };
            return Err(format!("{symbol} {channel} is open because {why}; no client opened it"));
        }
        feed.holders -= 1;
        let mut info = feed.info(recorded, clock::now());
        if feed.holders == 0 && !feed.configured && !feed.needed {
            self.end_feed(index, symbol, channel);
            self.let_trades_go(symbol, channel);
            "closed".clone_into(&mut info.state);
        }
        Ok(info)
    }

    /// The configuration wants this feed no more. What a client holds, or candles are built from, goes on, recorded as before,
    /// until they let it go: a stretch that is missing in the middle would have to be declared.
    pub(super) fn release_feed(&mut self, symbol: &Symbol, channel: Channel) {
        let Some(index) = self.bus.find(symbol, channel) else { return };
        let Some(feed) = self.bus.get_mut(index).filter(|feed| feed.configured) else { return };
        feed.configured = false;
        if feed.holders > 0 || feed.needed {
            info!(%symbol, %channel, "the configuration no longer wants this feed; it is held and goes on");
            return;
        }
        info!(%symbol, %channel, "the configuration no longer wants this feed");
        self.end_feed(index, symbol, channel);
        self.let_trades_go(symbol, channel);
    }

    fn end_feed(&mut self, index: FeedIndex, symbol: &Symbol, channel: Channel) {
        let session = &self.session;
        self.links.remove(index, |conn| session.ending(index, conn));
        self.resubscribes.forget(index);
        self.silence.forget(index);
        self.silent.remove(&index);
        self.unlisted.remove(&index);
        self.enter(EntryKind::FeedClosed, 0, &format!("{symbol} {channel}"), b"");
        self.bus.close(index);
    }
}

/// Payload of a `Stored` entry.
pub(super) fn encode(end: &SeriesEnd) -> Vec<u8> {
    // A plain struct of numbers: nothing in it that JSON can't hold.
    serde_json::to_vec(end).unwrap_or_default()
}
