//! What every adapter must do, as one suite: [`suite`] panics with what is wrong. An adapter's tests call it with
//! handwritten messages in the exchange's own language ([`Protocol`]).
//!
//! It covers the static side (capabilities, limits, subscriptions, requests, history), exactly-once trades, gaps found and repaired,
//! books that begin with a snapshot and link, whether it comes over REST or on the connection, and sessions that go on exactly where they were saved. [`candle_page`] and
//! [`trade_pages`] check the past of an exchange that answers, a simulated one say.

mod history;
mod record;
mod scenes;
mod statics;

use dccd_model::Symbol;

pub use history::{Fetch, candle_page, trade_pages};
pub use record::{Event, Recorded};

use crate::{Adapter, Markets};

/// Handwritten messages of an exchange. Ids and sequence numbers are given; prices and amounts are the protocol's choice,
/// above zero, and never cross.
pub struct Protocol<'a> {
    /// The symbol that all messages are about; another one of the markets must exist beside it.
    pub symbol: Symbol,
    /// The answer to `markets_request`, with at least two markets.
    pub markets: &'a [u8],
    /// A frame with one trade: id, the exchange's time in milliseconds.
    pub trade: &'a dyn Fn(u64, i64) -> String,
    /// A REST answer with these trades, in order: first id, last id.
    pub trades_page: &'a dyn Fn(u64, u64) -> String,
    /// A frame with one quote: its sequence number.
    pub quote: &'a dyn Fn(u64) -> String,
    /// Those about the symbol's book.
    pub book: BookProtocol<'a>,
}

/// Messages about a book, by the way in which books begin and are known to be right.
pub enum BookProtocol<'a> {
    /// Changes are numbered, and a snapshot comes over REST.
    Numbered {
        /// A frame with an event: the first and the last change in it, the exchange's time in milliseconds.
        event: &'a dyn Fn(u64, u64, i64) -> String,
        /// A REST answer with a snapshot: its last change.
        snapshot: &'a dyn Fn(u64) -> String,
    },
    /// A snapshot comes on the connection, and each update says by a number or a checksum whether it fits; should none come, it
    /// may be asked for over REST. The book goes through states 1, 2, 3 and so on, all of them different near the touch.
    OnConnection {
        /// A frame with a snapshot of this state; the exchange's time in milliseconds.
        snapshot: &'a dyn Fn(u64, i64) -> String,
        /// A frame with the update that leads to this state from the one before; the exchange's time in milliseconds.
        update: &'a dyn Fn(u64, i64) -> String,
    },
    /// As [`Self::OnConnection`], but nothing says whether an update fits: one that is missing can't be seen, one that can't be is.
    Unnumbered {
        /// See [`Self::OnConnection`].
        snapshot: &'a dyn Fn(u64, i64) -> String,
        /// See [`Self::OnConnection`].
        update: &'a dyn Fn(u64, i64) -> String,
        /// A frame with an update that no book of the exchange can come from; the exchange's time in milliseconds.
        impossible: &'a dyn Fn(i64) -> String,
    },
}

/// Runs the whole suite.
///
/// # Panics
/// When the adapter doesn't do what it must; the message says what.
pub fn suite(adapter: &dyn Adapter, protocol: &Protocol<'_>) {
    suite_after(adapter, protocol, &[]);
}

/// As [`suite`], of an exchange whose messages say nothing without those that came first on their connection: the replies to our
/// subscriptions, say.
///
/// # Panics
/// As [`suite`].
pub fn suite_after(adapter: &dyn Adapter, protocol: &Protocol<'_>, first: &[String]) {
    let markets = match adapter.parse_markets(protocol.markets) {
        Ok(markets) => markets,
        Err(error) => panic!("the markets can't be read: {error}"),
    };
    assert!(markets.by_symbol(&protocol.symbol).is_some(), "{} is not among the markets", protocol.symbol);
    statics::check(adapter, &protocol.symbol, &markets);
    scenes::check(adapter, &Told { protocol, first }, &markets);
}

/// A protocol, and the messages that come first on each connection.
struct Told<'a> {
    protocol: &'a Protocol<'a>,
    first: &'a [String],
}

impl<'a> std::ops::Deref for Told<'a> {
    type Target = Protocol<'a>;

    fn deref(&self) -> &Protocol<'a> {
        self.protocol
    }
}

/// The suite's own way to make markets shareable.
fn shared(markets: &Markets) -> std::sync::Arc<Markets> {
    std::sync::Arc::new(markets.clone())
}
