//! Addresses and quotas of Bybit, each with its scope. Source: Bybit's own documents of version 5, autumn 2026; what is marked
//! `[K]` is common knowledge that its documents don't say.

use std::time::Duration;

use dccd_model::Channel;

use crate::{ChannelFacts, Depths, Facts, Limits, Product, RestQuota, Socket};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "bybit";

pub(super) const REST_URL: &str = "https://api.bybit.com";
pub(super) const WS_URL: &str = "wss://stream.bybit.com";

pub(super) const CHANNELS: &[Channel] = &[Channel::Trades, Channel::Book, Channel::Quotes, Channel::Ohlc];

/// The sockets, and what messages and requests call what they are about.
pub(super) const SOCKETS: &[Socket] =
    &[Socket { name: SPOT, product: Product::Spot }, Socket { name: LINEAR, product: Product::Linear }];
/// The same, by their names alone.
pub(super) const SOCKET_NAMES: &[&str] = &[SPOT, LINEAR];
pub(super) const SPOT: &str = "spot";
pub(super) const LINEAR: &str = "linear";

/// The depths that a book can be subscribed with, levels a side; 1 is what quotes are made of.
pub(super) const DEPTHS: &[u32] = &[50, 200, 1_000];

/// The smallest depth that holds as many levels as are wanted; the deepest where none does, or nobody says.
pub(super) fn depth(wanted: Option<u32>) -> u32 {
    let deepest = DEPTHS.last().copied().unwrap_or(1);
    let wanted = wanted.unwrap_or(deepest);
    DEPTHS.iter().copied().find(|depth| *depth >= wanted).unwrap_or(deepest)
}

/// The spans that the exchange has candles of, in seconds. Its weeks begin on Mondays, as ours do `[K]`; its months are no span.
pub(super) const SPANS: &[u32] = &[60, 180, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 604_800];

/// Candles in one answer at most.
pub(super) const CANDLES_PER_PAGE: u32 = 1_000;
/// Trades in one answer at most, the newest, of derivatives.
pub(super) const TRADES_PER_PAGE: u32 = 1_000;
/// The same of spot.
pub(super) const SPOT_TRADES_PER_PAGE: u32 = 60;
/// Markets in one answer at most. Spot comes in one, whatever its length.
pub(super) const MARKETS_PER_PAGE: u32 = 1_000;

/// How long to keep away after `retCode` 10006: its counters are those of a few seconds.
pub(super) const RATE_WAIT: Duration = Duration::from_secs(5);
/// How long to keep away after a refusal of the address: "wait at least ten minutes".
pub(super) const FORBIDDEN_WAIT: Duration = Duration::from_secs(600);

pub(super) const LIMITS: Limits = Limits {
    // Books of full depth are large and noisy; a connection of its own for so many of them keeps one from delaying the others.
    // The exchange's own limit is on what is subscribed on a connection: 21,000 letters, of which a topic takes 35 at most.
    streams_per_connection: 200,
    // Of spot; of derivatives more could be.
    streams_per_message: 10,
    // The exchange names no such limit.
    messages_per_second: 10,
    connects_per_window: 400,
    connect_window: Duration::from_secs(300),
    // The exchange names no such limit; a daily replacement finds out what a connection of weeks would not.
    lifetime: Duration::from_secs(24 * 3_600),
    // Answers to pings.
    ping_interval: Duration::from_secs(20),
    pong_timeout: Duration::from_secs(60),
    client_ping_interval: Some(Duration::from_secs(20)),
    resubscribes_per_window: 30,
    resubscribe_window: Duration::from_secs(60),
    // A little below what is granted: past it the address is shut out for ten minutes.
    rest: RestQuota::Window { weight: 500, window: Duration::from_secs(5) },
    used_weight_header: None,
    trades_per_request: TRADES_PER_PAGE,
    forbidden_wait: Some(FORBIDDEN_WAIT),
};

pub(super) const FACTS: Facts = Facts {
    title: "Bybit",
    markets: "spot; linear perpetuals (`BTC/USDT:USDT`)",
    depths: Depths::OneOf(DEPTHS),
    channels: &[
        ChannelFacts {
            channel: Channel::Trades,
            stream: "`publicTrade`",
            integrity: "ids don't count: each time without a connection is a gap, made good where the newest trades over REST (60 of spot, 1,000 of perpetuals) reach over it",
        },
        ChannelFacts {
            channel: Channel::Book,
            stream: "`orderbook.<depth>`",
            integrity: "messages are numbered: a hole makes the book begin anew with a snapshot, and the gap is declared",
        },
        ChannelFacts {
            channel: Channel::Quotes,
            stream: "`orderbook.1`",
            integrity: "each message is whole; ordered by their numbers",
        },
        ChannelFacts {
            channel: Channel::Ohlc,
            stream: "`kline.1`",
            integrity: "closed candles follow each other: one that is missing is declared, and fetched into the files; each is compared with that of the trades, where they are collected, too",
        },
    ],
    clock: "/v5/market/time",
    quirks: &[
        "Spot and perpetuals have a socket each.",
        "A trade that the exchange leaves out on a connection that lives can't be noticed.",
        "There is no checksum: a wrong amount can't be noticed.",
    ],
};
