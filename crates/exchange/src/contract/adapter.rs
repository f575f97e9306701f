//! Everything static about one exchange: addresses, limits, subscriptions, requests. Object safe, stateless, no I/O.

use std::sync::Arc;
use std::time::Duration;

use dccd_model::{Channel, Span, Symbol, Trading, UnixNanos};
use serde::{Deserialize, Serialize};

use super::{CandlePages, ExchangeError, Facts, History, HistoryError, Session, TradeCursor};
use crate::Markets;

/// What a user may choose about an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterOptions {
    /// Trades as the exchange aggregates them (one record for what one order took at one price) instead of each by itself.
    pub aggregated_trades: bool,
    /// Book levels a side that snapshots or subscriptions ask for; `None`: as many as the exchange gives.
    pub depth: Option<u32>,
}

/// What an adapter can do. Asking for anything else is refused by name, see [`Capabilities::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The exchange's name, for messages.
    pub exchange: &'static str,
    /// The channels it carries live.
    pub channels: &'static [Channel],
    /// Trade ids are contiguous for each symbol: a hole in them is a loss, exactly counted.
    pub trade_ids_contiguous: bool,
    /// Missing trades can be fetched, by their ids or by the time of the trade before them.
    pub trades_repairable: bool,
    /// Quotes carry the exchange's own time.
    pub quotes_have_time: bool,
    /// Whether orders can be sent.
    pub trading: Trading,
}

impl Capabilities {
    /// Whether a channel that the exchange doesn't send is made of one that it does: candles of trades.
    #[must_use]
    pub fn builds(&self, channel: Channel) -> bool {
        channel == Channel::Ohlc && !self.channels.contains(&channel) && self.channels.contains(&Channel::Trades)
    }

    /// Whether this channel is offered, by the exchange or [made of another](Self::builds).
    ///
    /// # Errors
    /// [`ExchangeError::ChannelNotOffered`], which names what is.
    pub fn check(&self, channel: Channel) -> Result<(), ExchangeError> {
        if self.channels.contains(&channel) || self.builds(channel) {
            return Ok(());
        }
        Err(ExchangeError::ChannelNotOffered { exchange: self.exchange, channel, offered: self.channels })
    }
}

/// The exchange's limits, each with its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams on one connection.
    pub streams_per_connection: usize,
    /// Streams in one message that subscribes. Kept below the exchange's own limit on a message's size.
    pub streams_per_message: usize,
    /// Messages a client may send in a second on one connection, pings and pongs included.
    pub messages_per_second: u32,
    /// Connection attempts in [`Limits::connect_window`] from one address.
    pub connects_per_window: u32,
    /// See [`Limits::connects_per_window`].
    pub connect_window: Duration,
    /// After this time the exchange ends a connection.
    pub lifetime: Duration,
    /// How often the exchange sends something on a connection where nothing happens: a ping, a heartbeat, the answer to
    /// [`Limits::client_ping_interval`].
    pub ping_interval: Duration,
    /// Without a pong for so long the exchange ends the connection.
    pub pong_timeout: Duration,
    /// How often [`Adapter::ping`] is to be sent on each connection, whatever else goes over it; `None` where the exchange
    /// asks for no such message.
    pub client_ping_interval: Option<Duration>,
    /// How often one feed or another of a connection may be subscribed anew in [`Limits::resubscribe_window`]; see
    /// [`super::Want::Resubscribe`]. What is past that waits.
    pub resubscribes_per_window: u32,
    /// See [`Limits::resubscribes_per_window`].
    pub resubscribe_window: Duration,
    /// How much may be asked over REST from one address.
    pub rest: RestQuota,
    /// The header of an answer that tells the weight used so far in the window; `None` where there is none.
    pub used_weight_header: Option<&'static str>,
    /// Trades that one REST answer holds at most.
    pub trades_per_request: u32,
    /// How long to keep away after a status 403 that doesn't say; `None`: as long as from any exchange.
    pub forbidden_wait: Option<Duration>,
}

/// How an exchange counts REST requests from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestQuota {
    /// So much weight in each window; the windows are fixed, aligned to the clock.
    Window {
        /// Weight in one window.
        weight: u32,
        /// How long a window is.
        window: Duration,
    },
    /// One weight after the other, at this distance; after a pause so many may follow at once.
    Paced {
        /// Between two weights.
        every: Duration,
        /// How many at once, 1 or more.
        burst: u32,
    },
}

impl RestQuota {
    /// The most that one request may cost so that it can be sent at all.
    #[must_use]
    pub const fn largest_request(&self) -> u32 {
        match *self {
            Self::Window { weight, .. } => weight,
            Self::Paced { burst, .. } => burst,
        }
    }
}

/// What a socket or a request is about. Derivatives may live at another address, which the configuration names apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Spot, and whatever else an exchange carries on its only socket.
    Spot,
    /// Derivatives that are settled in the currency they are priced in.
    Linear,
}

/// One of the sockets of an exchange: subscriptions on one say nothing about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    /// Its name in the journal, as the subject of the entry of each connection that opens; empty where there is but one, or was
    /// when the first journals were written: then that one is the first.
    pub name: &'static str,
    /// What it is about.
    pub product: Product,
}

impl Socket {
    /// That of an exchange with but one.
    pub const ONLY: Self = Self { name: "", product: Product::Spot };
}

/// One REST request, without a body: GET, but for tickets; see [`Adapter::ticket_request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRequest {
    /// What comes after the base address, with the leading slash.
    pub path_and_query: String,
    /// What it costs of the exchange's weight.
    pub weight: u32,
    /// The adapter's own name of the request; the subject of the entry that holds the answer.
    pub subject: String,
    /// To which of the exchange's addresses it goes, on whose account: one of [`Adapter::rest_products`].
    pub product: Product,
}

/// A message that a client sends on a connection to begin or end subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMessage {
    /// What is sent.
    pub text: String,
    /// The id by which the exchange's reply refers to it.
    pub id: u64,
    /// Which of the feeds that were given it is about, by their places.
    pub feeds: Vec<usize>,
}

/// Trades that are missing from a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradeHole {
    /// The first missing id. Where ids don't count, this and the next are both [`Self::ts_before`] in milliseconds.
    pub from_id: u64,
    /// The last missing id.
    pub to_id: u64,
    /// The exchange's time of the last trade before the hole that we have; none of the missing ones is older. It goes on with what is
    /// fetched, so that a hole of any length is made good in the end, although not all of it is fetched at once.
    pub ts_before: UnixNanos,
}

/// One exchange. See the crate's documentation for how adapter and session are used together.
pub trait Adapter: Send + Sync {
    /// The exchange's name in configuration, paths and series.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What a user should know besides.
    fn facts(&self) -> &'static Facts;

    /// Its limits.
    fn limits(&self) -> &'static Limits;

    /// The limits of the sockets and of the REST address of this product, where they have their own. What an exchange wants of a
    /// client as a whole (pings, connection attempts, subscriptions begun anew) stands in [`Adapter::limits`].
    fn limits_of(&self, _product: Product) -> &'static Limits {
        self.limits()
    }

    /// Base address of its REST interface, without a trailing slash, when the configuration names no other.
    fn rest_url(&self) -> &'static str;

    /// Base address of its WebSocket, without a trailing slash, when the configuration names no other.
    fn ws_url(&self) -> &'static str;

    /// The products whose requests go to an address of their own, on an account of their own; that of the list of markets first.
    /// Requests about anything else go to the first.
    fn rest_products(&self) -> &'static [Product] {
        &[Product::Spot]
    }

    /// Which of [`Adapter::rest_products`] requests about this symbol belong to.
    fn rest_of(&self, _symbol: &Symbol) -> Product {
        Product::Spot
    }

    /// As [`Adapter::rest_url`], of this product.
    fn rest_url_of(&self, _product: Product) -> &'static str {
        self.rest_url()
    }

    /// As [`Adapter::ws_url`], of this product's sockets. Where it is the same, so is the base address that is configured.
    fn ws_url_of(&self, _product: Product) -> &'static str {
        self.ws_url()
    }

    /// The address to connect to, below this base address; of the first socket where there are several.
    fn connect_url(&self, ws_base: &str) -> String;

    /// Its sockets, one at least.
    fn sockets(&self) -> &'static [Socket] {
        &[Socket::ONLY]
    }

    /// The socket that carries this feed: its place in [`Adapter::sockets`].
    fn socket_of(&self, _symbol: &Symbol, _channel: Channel) -> usize {
        0
    }

    /// The address to connect to for this socket, below this base address.
    fn socket_url(&self, _socket: usize, ws_base: &str) -> String {
        self.connect_url(ws_base)
    }

    /// What has to be asked for before each connection to this socket, with POST: the ticket for it. `None` where there is no such
    /// thing. The answer holds a secret: it is neither logged nor journaled.
    fn ticket_request(&self, _socket: usize) -> Option<RestRequest> {
        None
    }

    /// The address to connect to for this socket with the ticket of this answer to [`Adapter::ticket_request`]. `ws_base`: the base
    /// address that the configuration names; it takes the place of scheme, host and port of the one in the answer, whose path
    /// follows it. `None`: the answer's is right.
    ///
    /// # Errors
    /// When the answer is none, or the exchange's own refusal.
    fn ticket_url(&self, _socket: usize, _ws_base: Option<&str>, body: &[u8]) -> Result<String, HistoryError> {
        use serde::de::Error as _;
        let source = serde_json::Error::custom("nobody asked for a ticket");
        Err(HistoryError::Unreadable { exchange: self.name(), subject: "ticket", bytes: body.len(), source })
    }

    /// The request for the list of markets, or for the first part of it.
    fn markets_request(&self) -> RestRequest;

    /// The request for the part of the list after this one; `None` when it was the last. All parts together are the list: see
    /// [`Markets::joined`].
    ///
    /// # Errors
    /// As [`Adapter::parse_markets`].
    fn markets_next(&self, _request: &RestRequest, _body: &[u8]) -> Result<Option<RestRequest>, ExchangeError> {
        Ok(None)
    }

    /// Reads an answer to [`Adapter::markets_request`] or [`Adapter::markets_next`].
    ///
    /// # Errors
    /// [`ExchangeError::Markets`] when the body is not such an answer. Single markets that can't be read are left out and
    /// counted in [`Markets::skipped`].
    fn parse_markets(&self, body: &[u8]) -> Result<Markets, ExchangeError>;

    /// A session that begins with nothing.
    fn session(&self, markets: Arc<Markets>) -> Box<dyn Session>;

    /// A session that goes on exactly where [`Session::save`] was called.
    ///
    /// # Errors
    /// [`ExchangeError::SavedState`] when these bytes are not a saved session of this exchange.
    fn restore(&self, markets: Arc<Markets>, saved: &[u8]) -> Result<Box<dyn Session>, ExchangeError>;

    /// Whether the exchange's replies name the message that they answer by its id; otherwise a message needn't hold its id, and a
    /// refusal tells by its words alone what it is about.
    fn replies_have_ids(&self) -> bool {
        true
    }

    /// The messages that subscribe to these feeds, each about [`Limits::streams_per_message`] of them at most, with the ids
    /// from `first_id` on. Feeds of channels that aren't offered are in none; see [`Capabilities::check`].
    fn subscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage>;

    /// The messages that end these subscriptions; as [`Adapter::subscribe`].
    fn unsubscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<ClientMessage>;

    /// Whether a subscription is ended by the number that the exchange gave it on its connection. Then only the session knows the
    /// message, [`Session::ending`], and [`Adapter::unsubscribe`] gives none.
    fn numbers_subscriptions(&self) -> bool {
        false
    }

    /// The message that keeps a connection alive where the exchange wants one of its own kind; see
    /// [`Limits::client_ping_interval`].
    fn ping(&self, _id: u64) -> Option<String> {
        None
    }

    /// A message that is to be sent on each connection that opens, before all others; `None` where the exchange wants none.
    fn greeting(&self, _id: u64) -> Option<String> {
        None
    }

    /// The answer to an exchange that asks for a sign of life by a message of its own; see [`super::Want::Pong`]. `None` where
    /// none does.
    fn pong(&self, _id: u64) -> Option<String> {
        None
    }

    /// The request for a snapshot of this symbol's book; `None` where books always begin with a snapshot on their connection.
    fn snapshot_request(&self, symbol: &Symbol, markets: &Markets) -> Option<RestRequest>;

    /// Whether a feed of this channel has something to say whenever its market trades, so that one that doesn't is asleep.
    fn speaks_when_traded(&self, _channel: Channel) -> bool {
        true
    }

    /// Whether quotes tell of each change of the best prices, or at least of the last one of each second, and of the same orders as the
    /// book: then the two have to agree, and a book that goes on to differ is wrong. Otherwise nothing follows from it.
    fn quotes_follow_book(&self) -> bool {
        true
    }

    /// Where the answers that fill this hole begin.
    fn trades_begin(&self, hole: &TradeHole) -> TradeCursor {
        TradeCursor::Id(hole.from_id)
    }

    /// The request for this symbol's trades that begin here, `limit` of them or as many as the exchange gives.
    fn trades_request(&self, symbol: &Symbol, at: TradeCursor, limit: u32, markets: &Markets) -> RestRequest;

    /// Where the answer after this one begins: `body` came for the request with this cursor and limit. `None`: the hole's end
    /// is reached, or the exchange has no more.
    ///
    /// # Errors
    /// When the body is no such answer but a refusal in its place; what the exchange refuses with an HTTP status never
    /// gets here.
    fn trades_next(
        &self,
        hole: &TradeHole,
        at: TradeCursor,
        limit: u32,
        body: &[u8],
    ) -> Result<Option<TradeCursor>, HistoryError>;

    /// What can be had of the past; `None` where nothing can.
    fn history(&self) -> Option<&dyn History> {
        None
    }

    /// How the exchange's own candles of this span come.
    ///
    /// # Errors
    /// [`ExchangeError::NoHistory`] where nothing of the past can be had, [`ExchangeError::SpanNotOffered`], which names the
    /// spans there are.
    fn candle_pages(&self, span: Span) -> Result<CandlePages, ExchangeError> {
        let exchange = self.name();
        let history = self.history().ok_or(ExchangeError::NoHistory { exchange })?;
        let offered = history.spans();
        history.candle_pages(span).ok_or(ExchangeError::SpanNotOffered { exchange, span, offered })
    }
}
