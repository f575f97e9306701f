//! Addresses and quotas of Bitfinex, each with its scope. Source: Bitfinex' own documents of version 2, autumn 2026; what is marked
//! `[K]` is common knowledge that its documents don't say.

use std::time::Duration;

use dccd_model::Channel;

use crate::{ChannelFacts, Depths, Facts, Limits, RestQuota};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "bitfinex";

pub(super) const REST_URL: &str = "https://api-pub.bitfinex.com";
pub(super) const WS_URL: &str = "wss://api-pub.bitfinex.com";

pub(super) const CHANNELS: &[Channel] = &[Channel::Trades, Channel::Book, Channel::Quotes];

/// What `conf` asks for: each message with the time at which it was sent,
pub(super) const TIMESTAMP: u64 = 32_768;
/// and with its number on the connection;
pub(super) const SEQ_ALL: u64 = 65_536;
/// checksums of books;
pub(super) const OB_CHECKSUM: u64 = 131_072;
/// and, which we don't ask for, several changes of a book in one message. Snapshots then look like changes, and what changes
/// together isn't promised to come together.
pub(super) const BULK_UPDATES: u64 = 536_870_912;
/// What we ask for.
pub(super) const FLAGS: u64 = TIMESTAMP | SEQ_ALL | OB_CHECKSUM;

/// The depths that a book can be subscribed with, levels a side; 1 is what quotes are made of.
pub(super) const DEPTHS: &[u32] = &[25, 100, 250];

/// The smallest depth that holds as many levels as are wanted; the deepest where none does, or nobody says.
pub(super) fn depth(wanted: Option<u32>) -> u32 {
    let deepest = DEPTHS.last().copied().unwrap_or(1);
    let wanted = wanted.unwrap_or(deepest);
    DEPTHS.iter().copied().find(|depth| *depth >= wanted).unwrap_or(deepest)
}

/// The spans that the exchange has candles of, in seconds. Left out are its weeks, of which nobody says on which day they begin, and
/// what is no span of ours: fourteen days, months.
pub(super) const SPANS: &[u32] = &[60, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400];

/// Candles in one answer at most.
pub(super) const CANDLES_PER_PAGE: u32 = 10_000;
/// Trades in one answer at most.
pub(super) const TRADES_PER_PAGE: u32 = 10_000;

/// Weights of requests: one is what may be asked ninety times a minute `[K]`.
pub(super) const CONF_WEIGHT: u32 = 1;
/// Candles may be asked for thirty times a minute `[K]`.
pub(super) const CANDLES_WEIGHT: u32 = 3;
/// Trades fifteen times `[K]`.
pub(super) const TRADES_WEIGHT: u32 = 6;

/// How long to keep away after "ratelimit": the address is shut out for up to a minute.
pub(super) const RATE_WAIT: Duration = Duration::from_secs(60);

pub(super) const LIMITS: Limits = Limits {
    streams_per_connection: 25,
    streams_per_message: 1,
    // The exchange names no such limit.
    messages_per_second: 10,
    connects_per_window: 20,
    connect_window: Duration::from_secs(60),
    // The exchange names no such limit; a daily replacement finds out what a connection of weeks would not.
    lifetime: Duration::from_secs(24 * 3_600),
    // A heartbeat on each channel; answers to pings where there is none.
    ping_interval: Duration::from_secs(15),
    pong_timeout: Duration::from_secs(60),
    client_ping_interval: Some(Duration::from_secs(15)),
    // The exchange names no such limit. One hole costs all books and quotes of a connection: there may be ten in a minute.
    resubscribes_per_window: 250,
    resubscribe_window: Duration::from_secs(60),
    rest: RestQuota::Paced { every: Duration::from_millis(667), burst: TRADES_WEIGHT },
    used_weight_header: None,
    trades_per_request: TRADES_PER_PAGE,
    forbidden_wait: None,
};

pub(super) const FACTS: Facts = Facts {
    title: "Bitfinex",
    markets: "spot; linear perpetuals (`BTC/USDT:USDT`)",
    depths: Depths::OneOf(DEPTHS),
    channels: &[
        ChannelFacts {
            channel: Channel::Trades,
            stream: "`trades`, `te`",
            integrity: "all messages of a connection are numbered together; after a hole, or a time without a connection, trades are fetched by time",
        },
        ChannelFacts {
            channel: Channel::Book,
            stream: "`book`, P0",
            integrity: "all messages of a connection are numbered together, and the exchange's checksum of the best 25 levels a side is verified over the digits as they were sent; a book that isn't right begins anew",
        },
        ChannelFacts {
            channel: Channel::Quotes,
            stream: "`book` of one level",
            integrity: "all messages of a connection are numbered together",
        },
    ],
    clock: "/v2/platform/status",
    quirks: &[
        "`UST`, as the exchange writes it, is `USDT`.",
        "The `ticker` channel is no quote: its amounts are sums of 25 levels.",
        "A candle without trades is left out.",
        "Each feed takes one of 25 channels of a connection.",
    ],
};
