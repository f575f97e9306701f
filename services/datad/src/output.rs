//! What becomes of a session's records on the live side: they go to the bus, and what is wanted or refused is noted.

use std::sync::atomic::Ordering;

use dccd_exchange::{FeedIndex, Notice, Output, Want};
use dccd_model::{BookLevel, BookState, Gap, Quote, Trade, UnixNanos};
use tracing::{info, warn};

use crate::bus::Bus;
use crate::error::chain;
use crate::shared::Shared;

/// Hands a session's records to the bus.
pub(crate) struct LiveOutput<'a> {
    pub(crate) bus: &'a mut Bus,
    pub(crate) wants: &'a mut Vec<Want>,
    pub(crate) refusals: &'a mut Vec<(u32, u64, String)>,
    pub(crate) shared: &'a Shared,
    pub(crate) now: UnixNanos,
}

impl Output for LiveOutput<'_> {
    fn trade(&mut self, feed: FeedIndex, trade: &Trade) {
        self.bus.trade(feed, trade);
    }

    fn quote(&mut self, feed: FeedIndex, quote: &Quote) {
        self.bus.quote(feed, quote);
    }

    fn level(&mut self, feed: FeedIndex, level: &BookLevel) {
        self.bus.level(feed, level);
    }

    fn gap(&mut self, feed: FeedIndex, gap: &Gap) {
        let counter = if gap.repaired { &self.shared.gap_repairs } else { &self.shared.gaps };
        counter.fetch_add(1, Ordering::Relaxed);
        self.bus.gap(feed, gap, self.now);
    }

    fn book_state(&mut self, feed: FeedIndex, state: BookState, epoch: u32) {
        self.bus.book_state(feed, state, epoch);
    }

    fn want(&mut self, want: Want) {
        self.wants.push(want);
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Unreadable { conn, reason } => {
                let count = self.shared.parse_errors.fetch_add(1, Ordering::Relaxed) + 1;
                // Each is in the journal; the log needs to know that it happens, not a line for each of a flood.
                if count.is_power_of_two() {
                    let reason = chain(reason);
                    warn!(conn, reason, count, "a frame could not be read; it is kept in the journal");
                }
            }
            Notice::ErrorReply { conn, id, code, message } => {
                if let Some(id) = id {
                    self.refusals.push((
                        conn,
                        id,
                        format!("the exchange refuses the subscription: {message} (code {code})"),
                    ));
                }
                warn!(conn, ?id, code, message, "the exchange refuses a request")
            }
            Notice::Shutdown { conn } => info!(conn, "the exchange announces that it closes this connection"),
            Notice::Entry { subject, fault } => warn!(subject, ?fault, "an entry was not understood"),
            // Counted by the session.
            Notice::UnknownMessage { .. } | Notice::Unrouted { .. } | Notice::Ack { .. } => {}
        }
    }
}
