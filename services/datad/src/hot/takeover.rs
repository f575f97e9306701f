//! The hot thread of a successor: goes on with its connections, the journal that the process before has left, and what it has received since.

use std::collections::HashMap;

use dccd_exchange::{FeedIndex, Want};
use dccd_model::{BookLevel, BookState, Channel, Entry, EntryKind};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Hot;
use crate::clock::{self, Monotonic};
use crate::error::chain;
use crate::handover::{Succession, WantedFeed, decode_book};

/// Messages that are journaled together.
const MESSAGES_PER_COMMIT: usize = 256;

impl Hot {
    /// Takes over. Nothing else has been entered in the journal yet.
    pub(crate) fn take_over(&mut self, succession: Succession) {
        let Succession { links, feeds, kept, books, conns_left, ts } = succession;
        self.links = links;
        self.journal.clock = Monotonic::after(ts.max(self.journal.clock.last()));
        let mut books: HashMap<String, (u32, Vec<BookLevel>)> =
            books.into_iter().filter_map(|book| Some((book.subject, decode_book(&book.payload)?))).collect();
        let mut places = Vec::new();
        let mut unknown_books = Vec::new();
        for (at, feed) in (0..).zip(&feeds) {
            let place = self.go_on_with(feed);
            if let Some(index) = place {
                if feed.channel == Channel::Book && !self.restore_book(index, books.remove(feed.symbol.as_str())) {
                    unknown_books.push(feed);
                }
            } else {
                self.links.remove(at, |_| None);
            }
            places.push(place);
        }
        self.links.renumber(|at| places.get(at as usize).copied().flatten());
        let links = self.links.count();
        (0..links).for_each(|link| self.show_connected(link));

        let count = kept.len();
        let mut conns_left = Some(conns_left);
        // Where the clock of the process before was ahead of the host's, nothing tells which messages came after its end: all may have.
        let is_ahead = ts > clock::now();
        for (place, message) in kept.iter().enumerate() {
            // The process before was there up to the journal's last entry. A feed that hadn't come here by then may have lost something since.
            if (is_ahead || message.ts > ts)
                && let Some(conns) = conns_left.take()
            {
                self.close_others(&conns);
            }
            let ts_recv = self.journal.clock.at_least(message.ts);
            if let Some(entry) = message.entry(ts_recv) {
                self.journal.append(&entry);
                self.apply(&entry);
            }
            if place % MESSAGES_PER_COMMIT == 0 {
                self.journal.commit();
                self.bus.end_batch();
            }
        }
        self.close_others(&conns_left.unwrap_or_default());
        self.journal.commit();
        for feed in unknown_books {
            self.begin_epoch(&feed.symbol, Channel::Book, "the book is not in memory");
        }
        // Done already, by this connection's own messages.
        self.wants.retain(|want| !matches!(want, Want::Pong { .. } | Want::Replace { .. }));
        let now = Instant::now();
        for link in 0..links {
            self.links.feeds(link).for_each(|feed| self.resubscribes.subscribed(feed, now));
        }
        let connections = u32::try_from(self.links.connections()).unwrap_or(u32::MAX);
        self.shared.connections.store(connections, std::sync::atomic::Ordering::Relaxed);
        self.settle();
        info!(feeds = feeds.len(), messages = count, "took over");
    }

    /// Journals that the connections of the process before have ended with it.
    fn close_others(&mut self, conns: &[u32]) {
        for conn in conns {
            let ts_recv = self.journal.clock.last();
            let subject = "the process before is gone";
            let entry = Entry { kind: EntryKind::Closed, conn: *conn, ts_recv, subject, payload: b"" };
            self.journal.append(&entry);
            self.apply(&entry);
        }
    }

    /// Puts a feed of the process before on the bus, or opens one that is new. `None`: its ring can't be had; it is tried again later.
    fn go_on_with(&mut self, feed: &WantedFeed) -> Option<FeedIndex> {
        let WantedFeed { symbol, channel, is_configured, holders, .. } = feed;
        let is_this = |open: &dccd_exchange::Feed| open.symbol == *symbol && open.channel == *channel;
        if !self.session.feeds().iter().any(|open| open.open && is_this(open)) {
            self.enter_opened(symbol, *channel, *is_configured);
        }
        let place = self.session.feeds().iter().position(is_this)?;
        let index = FeedIndex::try_from(place).ok()?;
        if let Err(error) = self.bus.open(index, symbol.clone(), *channel, clock::now()) {
            warn!(feed = format!("{symbol} {channel}"), error = chain(&error), "cannot go on with a feed");
            return None;
        }
        if let Some(feed) = self.bus.get_mut(index) {
            feed.holders = *holders;
        }
        Some(index)
    }

    /// Shows a book as it was left; whether it is there, if it is one.
    fn restore_book(&mut self, index: FeedIndex, left: Option<(u32, Vec<BookLevel>)>) -> bool {
        let status = self.session.feed_status(index);
        let state = status.book.unwrap_or_default();
        let left = left.filter(|(epoch, _)| *epoch == status.epoch);
        let is_there = left.is_some();
        if let Some((_, levels)) = left {
            self.bus.restore_book(index, &levels);
        }
        self.bus.book_state(index, state, status.epoch);
        is_there || state != BookState::Valid
    }
}
