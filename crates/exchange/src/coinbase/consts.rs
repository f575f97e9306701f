//! Addresses and quotas of Coinbase Exchange, each with its scope. Source: Coinbase's own documents, autumn 2026; what is marked
//! `[K]` is common knowledge that its documents don't say.

use std::time::Duration;

use dccd_model::Channel;

use crate::{ChannelFacts, Depths, Facts, Limits, RestQuota};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "coinbase";

pub(super) const REST_URL: &str = "https://api.exchange.coinbase.com";
pub(super) const WS_URL: &str = "wss://ws-feed.exchange.coinbase.com";

pub(super) const CHANNELS: &[Channel] = &[Channel::Trades, Channel::Book, Channel::Quotes];

/// The spans that the exchange has candles of, in seconds.
pub(super) const SPANS: &[u32] = &[60, 300, 900, 3_600, 21_600, 86_400];

/// Candles in one answer at most.
pub(super) const CANDLES_PER_PAGE: u32 = 300;
/// Trades in one answer at most.
pub(super) const TRADES_PER_PAGE: u32 = 1_000;
/// Ids that are asked for with one page of missing trades: the page also holds the trades right before and after them, which prove
/// that nothing was left out between.
pub(super) const IDS_PER_PAGE: u32 = TRADES_PER_PAGE - 2;

/// How long to keep away after "rate limit exceeded": its counters are of one second `[K]`.
pub(super) const RATE_WAIT: Duration = Duration::from_secs(1);

pub(super) const LIMITS: Limits = Limits {
    // Books are whole and large, a megabyte for a snapshot; a connection of its own for so many of them keeps one from delaying the
    // others. At the pace below all are subscribed within two seconds; without any the exchange ends a connection after five.
    streams_per_connection: 100,
    // A reply names no message: a refusal then spoils nothing but the feed that it is about.
    streams_per_message: 1,
    // Half of what is granted to an address.
    messages_per_second: 50,
    connects_per_window: 8,
    connect_window: Duration::from_secs(1),
    // The exchange names no such limit; a daily replacement finds out what a connection of weeks would not.
    lifetime: Duration::from_secs(24 * 3_600),
    // The answers to our own pings of the protocol; heartbeats come every second where there are trades.
    ping_interval: Duration::from_secs(20),
    pong_timeout: Duration::from_secs(60),
    client_ping_interval: None,
    resubscribes_per_window: 30,
    resubscribe_window: Duration::from_secs(60),
    rest: RestQuota::Paced { every: Duration::from_millis(100), burst: 15 },
    used_weight_header: None,
    trades_per_request: TRADES_PER_PAGE,
    forbidden_wait: None,
};

pub(super) const FACTS: Facts = Facts {
    title: "Coinbase",
    markets: "spot, Coinbase Exchange",
    depths: Depths::UpTo(50_000),
    channels: &[
        ChannelFacts {
            channel: Channel::Trades,
            stream: "`matches` and `heartbeat`",
            integrity: "ids are contiguous: each hole is counted exactly and fetched by id; a heartbeat tells within a second what no later trade has told",
        },
        ChannelFacts {
            channel: Channel::Book,
            stream: "`level2_batch`",
            integrity: "nothing numbers the messages: a book whose sides cross, whose time goes back or of which a frame can't be read begins anew",
        },
        ChannelFacts {
            channel: Channel::Quotes,
            stream: "`ticker`",
            integrity: "ordered by their numbers; one with each trade, also where it says what the last one said",
        },
    ],
    clock: "/time",
    quirks: &[
        "Between two trades the best prices move and no quote says so: the book does.",
        "The sides of trades are those of the taker; the exchange tells the maker's.",
        "A message of a book that the exchange leaves out on a connection that lives shows only when the sides cross.",
        "A candle without trades is left out.",
    ],
};
