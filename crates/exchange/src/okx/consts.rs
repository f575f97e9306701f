//! Addresses and quotas of OKX, each with its scope. Source: OKX's own documents, autumn 2026; what is marked `[K]` is common
//! knowledge that its documents don't say.

use std::time::Duration;

use dccd_model::Channel;

use crate::{ChannelFacts, Depths, Facts, Limits, Product, RestQuota, Socket};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "okx";

pub(super) const REST_URL: &str = "https://www.okx.com";
pub(super) const WS_URL: &str = "wss://ws.okx.com:8443";

/// The sockets, for all kinds of instruments alike: books and quotes on the first, single trades on the second.
pub(super) const SOCKETS: &[Socket] =
    &[Socket { name: "public", product: Product::Spot }, Socket { name: "business", product: Product::Spot }];
/// Their places in [`SOCKETS`].
pub(super) const PUBLIC: usize = 0;
/// See [`PUBLIC`].
pub(super) const BUSINESS: usize = 1;

pub(super) const CHANNELS: &[Channel] = &[Channel::Trades, Channel::Book, Channel::Quotes, Channel::Ohlc];

/// Levels a side of the books, on the socket and over REST.
pub(super) const BOOK_LEVELS: u32 = 400;

/// A connection whose first messages about a book are updates has this long to bring the snapshot; then it is asked for over REST.
pub(super) const SNAPSHOT_PATIENCE: i64 = 1_000_000_000;

/// The spans that the exchange has candles of, in seconds, and what it calls them. Without the suffix, those of more than four
/// hours open by the clock of Hong Kong. Weeks open on Mondays `[K]`.
pub(super) const BARS: &[(u32, &str)] = &[
    (60, "1m"),
    (180, "3m"),
    (300, "5m"),
    (900, "15m"),
    (1_800, "30m"),
    (3_600, "1H"),
    (7_200, "2H"),
    (14_400, "4H"),
    (21_600, "6Hutc"),
    (43_200, "12Hutc"),
    (86_400, "1Dutc"),
    (604_800, "1Wutc"),
];

/// See [`BARS`].
pub(super) const SPANS: &[u32] = &[60, 180, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 604_800];

/// Candles in one answer at most. Newer documents say 300, older ones 100; a limit above the exchange's own would be cut, and the
/// oldest candles of the page be missing.
pub(super) const CANDLES_PER_PAGE: u32 = 100;

/// Rows in one answer of trades.
pub(super) const TRADES_PER_PAGE: u32 = 100;
/// Ids that are asked for with one page: the page also holds the trades right before and after them, which prove that nothing was
/// left out between.
pub(super) const IDS_PER_PAGE: u32 = TRADES_PER_PAGE - 2;

/// How long to keep away after "too many requests": its counters are of two seconds.
pub(super) const RATE_WAIT: Duration = Duration::from_secs(2);

/// Weights: a book may be asked for 40 times in two seconds, the others 20 times.
pub(super) const BOOK_WEIGHT: u32 = 1;
/// See [`BOOK_WEIGHT`].
pub(super) const WEIGHT: u32 = 2;

pub(super) const LIMITS: Limits = Limits {
    // Books of full depth are large and noisy; a connection of its own for so many of them keeps one from delaying the others.
    streams_per_connection: 150,
    // All of them in one message may have 64 KiB; one has some 70 bytes.
    streams_per_message: 50,
    messages_per_second: 3,
    connects_per_window: 3,
    connect_window: Duration::from_secs(1),
    // The exchange names no such limit; a daily replacement finds out what a connection of weeks would not.
    lifetime: Duration::from_secs(24 * 3_600),
    // The answers to our own pings: a connection without any message for 30 s is ended.
    ping_interval: Duration::from_secs(15),
    pong_timeout: Duration::from_secs(30),
    client_ping_interval: Some(Duration::from_secs(15)),
    // 480 messages that begin or end subscriptions an hour on one connection; each attempt takes two.
    resubscribes_per_window: 200,
    resubscribe_window: Duration::from_secs(3_600),
    // Each address has a counter of its own at the exchange; one for all is stricter, and keeps each.
    rest: RestQuota::Paced { every: Duration::from_millis(60), burst: 4 },
    used_weight_header: None,
    trades_per_request: TRADES_PER_PAGE,
    forbidden_wait: None,
};

pub(super) const FACTS: Facts = Facts {
    title: "OKX",
    markets: "spot; linear perpetual swaps (`BTC/USDT:USDT`)",
    depths: Depths::Always(BOOK_LEVELS),
    channels: &[
        ChannelFacts {
            channel: Channel::Trades,
            stream: "`trades-all`",
            integrity: "ids are contiguous: each hole is counted exactly and fetched by id, three months back",
        },
        ChannelFacts {
            channel: Channel::Book,
            stream: "`books`",
            integrity: "each message names the one before it; its checksum is verified where it isn't 0; a book that isn't right begins anew",
        },
        ChannelFacts {
            channel: Channel::Quotes,
            stream: "`bbo-tbt`",
            integrity: "ordered by time; nothing tells what the exchange leaves out",
        },
        ChannelFacts {
            channel: Channel::Ohlc,
            stream: "`candle1m`",
            integrity: "closed candles follow each other: one that is missing is declared, and fetched into the files; each is compared with that of the trades, where they are collected, too",
        },
    ],
    clock: "/api/v5/public/time",
    quirks: &[
        "Amounts of swaps are in base units, contracts times their size; inverse swaps are not offered.",
        "A book whose snapshot doesn't come on the socket begins with one over REST.",
    ],
};
