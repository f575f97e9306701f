//! What is watched from the outside: feeds that say nothing, books that differ from the quotes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dccd_exchange::{FeedIndex, RESYNC_SILENT, resync_since};
use dccd_model::{EntryKind, UnixNanos};
use tokio::time::Instant;
use tracing::warn;

use super::{Hot, SILENCE_LOOK};
use crate::bus::BusFeed;
use crate::clock;
use crate::fetch::FetchRequest;
use crate::listed::Unlisted;
use crate::silence::Remedy;

/// Why a feed is not there that was neither refused in words nor subscribed.
const UNLISTED: &str = "the exchange doesn't list it among what is subscribed";

impl Hot {
    /// Feeds whose subscription fell asleep are found here, channel by channel and symbol by symbol.
    pub(super) fn look_for_silence(&mut self, now: Instant) {
        for (index, feed) in self.bus.iter() {
            let is_built = self.adapter.capabilities().builds(feed.channel);
            let speaks = !is_built && self.adapter.speaks_when_traded(feed.channel);
            let is_heard = speaks && !self.links.carriers(index, 0).is_empty() && feed.error.is_none();
            let status = self.session.feed_status(index);
            self.silence.look(index, (status.records, status.last_recv), is_heard, now);
        }
        let since = self.silence.suspected_since();
        if let Some((feed, remedy)) = self.silence.remedy(now) {
            // It may have been subscribed up to a look before it was first looked at.
            self.break_silence(
                feed,
                remedy,
                before(since.map_or(SILENCE_LOOK, |since| now.duration_since(since) + SILENCE_LOOK)),
            );
        }
        let Some(question) = self.silence.question(now) else { return };
        let since = before(question.silence);
        let symbol = self.bus.get(question.feed).map(|feed| feed.symbol.clone());
        let asked = symbol.map(|symbol| self.fetches.try_send(FetchRequest::Traded { symbol, since }));
        if !matches!(asked, Some(Ok(()))) {
            self.silence.answered(None, now);
        }
    }

    /// The market traded, the feed said nothing: it is subscribed anew, and what it may have missed is declared.
    fn break_silence(&mut self, index: FeedIndex, remedy: Remedy, since: UnixNanos) {
        let Some(feed) = self.bus.get(index) else { return };
        let subject = format!("{} {}", feed.symbol, feed.channel);
        warn!(feed = subject, ?remedy, "the market trades and the feed says nothing; subscribing it anew");
        self.enter(EntryKind::Resync, 0, &subject, resync_since(RESYNC_SILENT, since).as_bytes());
        self.bus.set_silent(index);
        self.silent.insert(index);
        self.resubscribes.ask(index, 0, Instant::now());
        if remedy == Remedy::Replace {
            self.links.carriers(index, 0).into_iter().for_each(|conn| self.links.replace(conn));
        }
    }

    /// The exchange lists these feeds as all that is subscribed on a connection.
    pub(super) fn listed(&mut self, conn: u32, named: &[FeedIndex]) {
        self.links.told(conn, named);
        for index in named.iter().filter(|index| self.unlisted.remove(index)) {
            if let Some(feed) = self.bus.get_mut(*index).filter(|feed| feed.error.as_deref() == Some(UNLISTED)) {
                feed.error = None;
                self.bus.set_connected(*index, true);
            }
        }
    }

    /// Feeds that were asked for, and that the exchange doesn't list, are subscribed anew. Where no other connection brings one, it shows
    /// why, and what it has missed since is declared.
    pub(super) fn look_for_unlisted(&mut self, now: Instant) {
        for Unlisted { conn, feed: index, since } in self.links.unlisted(now) {
            let is_elsewhere = self.links.is_elsewhere(conn, index);
            // What was refused in words needs no other reason.
            let is_open = |feed: &&mut BusFeed| feed.error.as_deref().is_none_or(|error| error == UNLISTED);
            let Some(feed) = self.bus.get_mut(index).filter(is_open) else { continue };
            let subject = format!("{} {}", feed.symbol, feed.channel);
            warn!(conn, feed = subject, "{UNLISTED}; subscribing it anew");
            if !is_elsewhere {
                feed.error = Some(UNLISTED.to_owned());
                self.bus.set_connected(index, false);
                let since = before(now.duration_since(since));
                self.enter(EntryKind::Resync, 0, &subject, resync_since(RESYNC_SILENT, since).as_bytes());
                self.bus.set_silent(index);
            }
            self.unlisted.insert(index);
            self.resubscribes.ask(index, conn, now);
        }
    }

    /// Books that go on to differ from the quotes begin anew; what they gave out meanwhile is declared.
    pub(super) fn begin_disagreeing_anew(&mut self) {
        while let Some((index, since)) = self.bus.disagreeing(clock::now()) {
            let Some(feed) = self.bus.get(index) else { continue };
            let subject = format!("{} {}", feed.symbol, feed.channel);
            warn!(feed = subject, "the book's best prices are not those of the quotes; building it anew");
            self.shared.books_disagreed.fetch_add(1, Ordering::Relaxed);
            self.enter(EntryKind::Resync, 0, &subject, resync_since("best prices differ from the quotes", since).as_bytes());
        }
    }
}

/// The moment so long ago.
fn before(ago: Duration) -> UnixNanos {
    UnixNanos(clock::now().0.saturating_sub(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX)))
}
