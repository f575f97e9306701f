//! Everything static about one exchange: addresses, limits, subscriptions, requests. Object safe, stateless, no I/O.

use std::sync::Arc;
use std::time::Duration;

use dccd_model::{Channel, Span, Symbol};

use super::{CandlePages, ExchangeError, History, Session};
use crate::Markets;

/// What a user may choose about an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterOptions {
    /// Trades as the exchange aggregates them (one record for what one order took at one price) instead of each by itself.
    pub aggregated_trades: bool,
    /// Book levels a side that snapshots ask for; `None`: as many as the exchange gives.
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
    /// Missing trades can be fetched by id.
    pub trades_repairable: bool,
    /// Quotes carry the exchange's own time.
    pub quotes_have_time: bool,
}

impl Capabilities {
    /// Whether this channel is offered.
    ///
    /// # Errors
    /// [`ExchangeError::ChannelNotOffered`], which names what is.
    pub fn check(&self, channel: Channel) -> Result<(), ExchangeError> {
        if self.channels.contains(&channel) {
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
    /// Streams in one SUBSCRIBE message. Kept below the exchange's own limit on a message's size.
    pub streams_per_message: usize,
    /// Messages a client may send in a second on one connection, pings and pongs included.
    pub messages_per_second: u32,
    /// Connection attempts in [`Limits::connect_window`] from one address.
    pub connects_per_window: u32,
    /// See [`Limits::connects_per_window`].
    pub connect_window: Duration,
    /// After this time the exchange ends a connection.
    pub lifetime: Duration,
    /// How often the exchange sends a ping.
    pub ping_interval: Duration,
    /// Without a pong for so long the exchange ends the connection.
    pub pong_timeout: Duration,
    /// How much may be asked over REST from one address.
    pub rest: RestQuota,
    /// The header of an answer that tells the weight used so far in the window; `None` where there is none.
    pub used_weight_header: Option<&'static str>,
    /// Trades that one REST answer holds at most.
    pub trades_per_request: u32,
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

/// One REST request: GET, without a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRequest {
    /// What comes after the base address, with the leading slash.
    pub path_and_query: String,
    /// What it costs of the exchange's weight.
    pub weight: u32,
    /// The adapter's own name of the request; the subject of the entry that holds the answer.
    pub subject: String,
}

/// One exchange. See the crate's documentation for how adapter and session are used together.
pub trait Adapter: Send + Sync {
    /// The exchange's name in configuration, paths and series.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Its limits.
    fn limits(&self) -> &'static Limits;

    /// Base address of its REST interface, without a trailing slash, when the configuration names no other.
    fn rest_url(&self) -> &'static str;

    /// Base address of its WebSocket, without a trailing slash, when the configuration names no other.
    fn ws_url(&self) -> &'static str;

    /// The address to connect to, below this base address.
    fn connect_url(&self, ws_base: &str) -> String;

    /// The request for the list of markets.
    fn markets_request(&self) -> RestRequest;

    /// Reads the answer to [`Adapter::markets_request`].
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

    /// The messages that subscribe to these feeds, in their order, at most [`Limits::streams_per_message`] in each. Message
    /// `n` has the id `first_id + n` and so covers the feeds from `n * streams_per_message`: an error reply with that id
    /// is about these. Feeds of channels that aren't offered are left out; see [`Capabilities::check`].
    fn subscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<String>;

    /// The messages that end these subscriptions; as [`Adapter::subscribe`].
    fn unsubscribe(&self, feeds: &[(Symbol, Channel)], markets: &Markets, first_id: u64) -> Vec<String>;

    /// The request for a snapshot of this symbol's book.
    fn snapshot_request(&self, symbol: &Symbol, markets: &Markets) -> RestRequest;

    /// The request for this symbol's trades beginning with this id, `limit` of them or as many as the exchange gives.
    fn trades_request(&self, symbol: &Symbol, from_id: u64, limit: u32, markets: &Markets) -> RestRequest;

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
