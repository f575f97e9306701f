//! What becomes of a session's records on the live side: they go to the bus, and what is wanted or refused is noted.

use std::sync::atomic::Ordering;

use dccd_exchange::{FeedIndex, Notice, Output, Want};
use dccd_model::{BookLevel, BookState, Candle, Gap, Quote, Symbol, Trade, UnixNanos};
use tracing::{info, warn};

use crate::bus::Bus;
use crate::candles::LiveCandles;
use crate::error::chain;
use crate::shared::{Part, Shared};

/// A subscription that the exchange refused.
pub(crate) struct Refusal {
    pub(crate) conn: u32,
    /// The message's id.
    pub(crate) id: u64,
    /// Which feeds of the message it is about.
    pub(crate) about: About,
    /// Why, in words.
    pub(crate) reason: String,
}

/// Which feeds of a message are refused.
pub(crate) enum About {
    /// All of them.
    All,
    /// Those of this symbol.
    Symbol(Symbol),
    /// All but these, which the exchange has named; of the others it said nothing.
    AllBut(Vec<FeedIndex>),
}

/// Hands a session's records to the bus.
pub(crate) struct LiveOutput<'a> {
    pub(crate) bus: &'a mut Bus,
    pub(crate) candles: &'a mut LiveCandles,
    pub(crate) wants: &'a mut Vec<Want>,
    pub(crate) refusals: &'a mut Vec<Refusal>,
    pub(crate) shared: &'a Shared,
    pub(crate) now: UnixNanos,
}

impl Output for LiveOutput<'_> {
    fn trade(&mut self, feed: FeedIndex, trade: &Trade) {
        self.bus.trade(feed, trade);
        self.candles.trade(feed, trade, self.bus);
    }

    fn quote(&mut self, feed: FeedIndex, quote: &Quote) {
        self.bus.quote(feed, quote);
    }

    fn level(&mut self, feed: FeedIndex, level: &BookLevel) {
        self.bus.level(feed, level);
    }

    fn candle(&mut self, feed: FeedIndex, candle: &Candle) {
        self.candles.candle(feed, candle, self.bus);
    }

    fn gap(&mut self, feed: FeedIndex, gap: &Gap) {
        self.candles.gap(feed, gap);
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
                    let code = if code == 0 { String::new() } else { format!(" (code {code})") };
                    let reason = format!("the exchange refuses the subscription: {message}{code}");
                    self.refusals.push(Refusal { conn, id, about: About::All, reason });
                }
                warn!(conn, ?id, code, message, "the exchange refuses a request")
            }
            Notice::Refused { conn, id, symbol, message } => {
                let reason = format!("the exchange refuses the subscription: {message}");
                self.refusals.push(Refusal { conn, id, about: About::Symbol(symbol.clone()), reason });
                warn!(conn, id, %symbol, message, "the exchange refuses a subscription")
            }
            Notice::Subscribed { conn, id, feeds } => {
                // What the message asked for besides is known to the links; mostly there is nothing.
                let reason = "the exchange left it out of what it subscribed: it doesn't know it".to_owned();
                self.refusals.push(Refusal { conn, id, about: About::AllBut(feeds.to_vec()), reason });
            }
            Notice::Venue { conn, is_open, words } => {
                let trouble = (!is_open).then(|| format!("the exchange says that it is in {words}"));
                if self.shared.set_trouble(Part::Venue, trouble) {
                    if is_open {
                        info!(conn, words, "the exchange is open again");
                    } else {
                        warn!(conn, words, "the exchange says that it is closed");
                    }
                }
            }
            Notice::Shutdown { conn } => info!(conn, "the exchange announces that it closes this connection"),
            Notice::CountsAnew { symbol } => warn!(
                %symbol,
                "trades come with ids that were given already, at later times: the exchange counts anew. They are left out, and declared \
                 missing, until it is past its old count, or begins a day (UTC) far from it"
            ),
            Notice::Entry { subject, fault } => warn!(subject, ?fault, "an entry was not understood"),
            // Counted by the session.
            Notice::UnknownMessage { .. } | Notice::Unrouted { .. } | Notice::Ack { .. } => {}
        }
    }
}
