//! What becomes of a session's records on the recorder's side: they go to the store, and missing trades are noted.

use dccd_exchange::{FeedIndex, Notice, Output, Want};
use dccd_model::{BookLevel, BookState, Candle, Gap, Quote, Trade, UnixNanos};
use dccd_store::{Position, Recorder, SeriesHandle};

use super::feeds::Feeds;
use crate::candles::{LiveCandles, Nowhere};

/// Hands a session's records to the store.
pub(super) struct StoreOutput<'a> {
    pub(super) recorder: &'a mut Recorder,
    pub(super) candles: &'a mut LiveCandles,
    pub(super) feeds: &'a mut Feeds,
    pub(super) at: Position,
    /// The entry is what the exchange sent on a connection, and no answer.
    pub(super) is_sent: bool,
    pub(super) wants: &'a mut Vec<Want>,
}

impl StoreOutput<'_> {
    /// The series that a record of this time goes into. Where the feed was not recorded for a while, the hole ends with it.
    fn handle(&mut self, feed: FeedIndex, ts_venue: UnixNanos, ts_recv: UnixNanos, id: Option<u64>) -> Option<SeriesHandle> {
        let handle = self.feeds.handle(feed)?;
        let ts = if ts_venue == UnixNanos::UNKNOWN { ts_recv } else { ts_venue };
        if let Some(gap) = self.feeds.goes_on(feed, ts, id) {
            self.recorder.gap(handle, self.at, &gap);
        }
        Some(handle)
    }
}

impl Output for StoreOutput<'_> {
    fn trade(&mut self, feed: FeedIndex, trade: &Trade) {
        self.candles.trade(feed, trade, &mut Nowhere);
        // What was fetched stands before the end of a hole, or in another.
        let handle = if self.is_sent {
            self.handle(feed, trade.ts_venue, trade.ts_recv, u64::try_from(trade.id.0).ok())
        } else {
            self.feeds.handle(feed)
        };
        if let Some(handle) = handle {
            self.recorder.trade(handle, self.at, trade);
        }
    }

    fn past_trade(&mut self, feed: FeedIndex, trade: &Trade) {
        // The store has each trade once, however often it gets it.
        if let Some(handle) = self.feeds.handle(feed) {
            self.recorder.trade(handle, self.at, trade);
        }
    }

    fn quote(&mut self, feed: FeedIndex, quote: &Quote) {
        if let Some(handle) = self.handle(feed, quote.ts_venue, quote.ts_recv, None) {
            self.recorder.quote(handle, self.at, quote);
        }
    }

    fn level(&mut self, feed: FeedIndex, level: &BookLevel) {
        if let Some(handle) = self.handle(feed, level.ts_venue, level.ts_recv, None) {
            self.recorder.level(handle, self.at, level);
        }
    }

    fn candle(&mut self, feed: FeedIndex, candle: &Candle) {
        self.candles.candle(feed, candle, &mut Nowhere);
    }

    fn gap(&mut self, feed: FeedIndex, gap: &Gap) {
        self.candles.gap(feed, gap);
        if let Some(handle) = self.feeds.handle(feed) {
            self.feeds.declared(feed, gap);
            self.recorder.gap(handle, self.at, gap);
        }
    }

    fn book_state(&mut self, _feed: FeedIndex, _state: BookState, _epoch: u32) {}

    fn want(&mut self, want: Want) {
        // Books are the live side's business: it is the one that must be valid now. Trades are ours: what the store lacks, or its
        // candles do.
        if let Want::Trades { feed, .. } = &want
            && (self.feeds.handle(*feed).is_some() || self.candles.needs(*feed))
        {
            self.wants.push(want);
        }
    }

    fn notice(&mut self, _notice: Notice<'_>) {}
}
