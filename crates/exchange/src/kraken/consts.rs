//! Addresses and quotas of Kraken spot, each with its scope. Source: Kraken's own documents, autumn 2026; what is marked
//! `[K]` is common knowledge that its documents don't say.

use std::time::Duration;

use dccd_model::Channel;

use crate::{ChannelFacts, Depths, Facts, Limits, RestQuota};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "kraken";

pub(super) const REST_URL: &str = "https://api.kraken.com";
pub(super) const WS_URL: &str = "wss://ws.kraken.com";

pub(super) const CHANNELS: &[Channel] = &[Channel::Trades, Channel::Book, Channel::Quotes];

/// The depths that a book can be subscribed with, levels a side.
pub(super) const DEPTHS: &[u32] = &[10, 25, 100, 500, 1_000];

/// The smallest depth that holds as many levels as are wanted; the deepest where none does, or nobody says.
pub(super) fn depth(wanted: Option<u32>) -> u32 {
    let deepest = DEPTHS.last().copied().unwrap_or(1);
    let wanted = wanted.unwrap_or(deepest);
    DEPTHS.iter().copied().find(|depth| *depth >= wanted).unwrap_or(deepest)
}

/// The spans that the exchange has candles of, in seconds. Left out are its weeks, which begin on Thursdays (multiples of
/// seven days since the epoch `[K]`) where ours begin on Mondays, and its stretches of fifteen days.
pub(super) const SPANS: &[u32] = &[60, 300, 900, 1_800, 3_600, 14_400, 86_400];

/// Closed candles that can be had at all, whatever is asked for.
pub(super) const CANDLES_REACH: u32 = 720;
/// Candles in one answer at most: those and the open one.
pub(super) const CANDLES_PER_PAGE: u32 = CANDLES_REACH + 1;
/// Trades in one answer at most.
pub(super) const TRADES_PER_PAGE: u32 = 1_000;

/// A trade's time differs between the socket (microseconds) and REST (a rounded double): by no more than this, in nanoseconds.
pub(super) const TRADE_TIME_SLACK: i64 = 2_000;

/// How long to keep away after "too often": its counters fall by one every few seconds `[K]`.
pub(super) const RATE_WAIT: Duration = Duration::from_secs(10);
/// How long to keep away after `EGeneral:Temporary lockout` `[K]`.
pub(super) const LOCKOUT_WAIT: Duration = Duration::from_secs(900);

pub(super) const LIMITS: Limits = Limits {
    // Books of full depth are large and noisy; a connection of its own for so many of them keeps one from delaying the others.
    streams_per_connection: 200,
    streams_per_message: 100,
    messages_per_second: 10,
    connects_per_window: 150,
    connect_window: Duration::from_secs(600),
    // The exchange names no such limit; a daily replacement finds out what a connection of weeks would not.
    lifetime: Duration::from_secs(24 * 3_600),
    // Heartbeats come every second once something is subscribed, and answers to pings before that.
    ping_interval: Duration::from_secs(20),
    pong_timeout: Duration::from_secs(60),
    client_ping_interval: Some(Duration::from_secs(20)),
    resubscribes_per_window: 30,
    resubscribe_window: Duration::from_secs(60),
    rest: RestQuota::Paced { every: Duration::from_secs(1), burst: 1 },
    used_weight_header: None,
    trades_per_request: TRADES_PER_PAGE,
    forbidden_wait: None,
};

pub(super) const FACTS: Facts = Facts {
    title: "Kraken",
    markets: "spot",
    depths: Depths::OneOf(DEPTHS),
    channels: &[
        ChannelFacts {
            channel: Channel::Trades,
            stream: "`trade`",
            integrity: "ids are contiguous: each hole is counted exactly and fetched by time",
        },
        ChannelFacts {
            channel: Channel::Book,
            stream: "`book`",
            integrity: "each message has a CRC32 of the best ten levels a side, verified over the digits as they were sent; a book that isn't right is subscribed anew",
        },
        ChannelFacts {
            channel: Channel::Quotes,
            stream: "`ticker`, triggered by changes of the best prices",
            integrity: "ordered by time; nothing numbers them",
        },
    ],
    clock: "/0/public/Time",
    quirks: &[
        "Its own candles reach back 720 of each span; older ones are built from its trades, which reach back to the listing.",
        "Its weeks begin on Thursdays and are not offered.",
        "What is left out of a book below the ten levels of the checksum shows when those levels come near the touch.",
    ],
};
