//! Addresses and quotas of Binance, spot and USD-M perpetuals, each with its scope. Source: Binance's own documents, autumn 2026;
//! what is marked `[K]` is common knowledge that they don't say.

use std::time::Duration;

use dccd_model::Channel;

use crate::{ChannelFacts, Depths, Facts, Limits, Product, RestQuota, Socket};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "binance";

/// REST, market data only: needs no key and is not reached by the bans of the trading hosts.
pub(super) const REST_URL: &str = "https://data-api.binance.vision";
/// WebSocket, market data only.
pub(super) const WS_URL: &str = "wss://data-stream.binance.vision";

/// REST of USD-M perpetuals; its account is theirs and that of COIN-M contracts, apart from spot.
pub(super) const LINEAR_REST_URL: &str = "https://fapi.binance.com";
/// WebSocket of USD-M perpetuals, for both of their sockets.
pub(super) const LINEAR_WS_URL: &str = "wss://fstream.binance.com";

/// The sockets. That of spot was the only one when the first journals were written, so it has no name in them. Of perpetuals
/// each carries what it is for: on the wrong one, or on none of both, trades are acknowledged and never come.
pub(super) const SOCKETS: &[Socket] = &[
    Socket { name: "", product: Product::Spot },
    Socket { name: "usdm/public", product: Product::Linear },
    Socket { name: "usdm/market", product: Product::Linear },
];
/// The same, by their names alone.
pub(super) const SOCKET_NAMES: &[&str] = &["", "usdm/public", "usdm/market"];
/// Where they are below the base address. Spot can be asked for microseconds.
pub(super) const SOCKET_PATHS: &[&str] = &["/stream?timeUnit=MICROSECOND", "/public/stream", "/market/stream"];

pub(super) const CHANNELS: &[Channel] = &[Channel::Trades, Channel::Book, Channel::Quotes, Channel::Ohlc];

/// Deepest snapshot of a book, levels a side.
pub(super) const DEPTH_MAX: u32 = 5_000;
/// Weight of the list of all markets.
pub(super) const EXCHANGE_INFO_WEIGHT: u32 = 20;
/// Weight of a page of single trades.
pub(super) const HISTORICAL_TRADES_WEIGHT: u32 = 25;
/// Weight of a page of aggregated trades.
pub(super) const AGG_TRADES_WEIGHT: u32 = 4;

/// Weight of a page of candles.
pub(super) const KLINES_WEIGHT: u32 = 2;
/// Candles on one page at most.
pub(super) const KLINES_PER_PAGE: u32 = 1_000;

/// The spans that the exchange has candles of, in seconds. It has months too, which are no span, and seconds, whose pages of
/// a thousand are a quarter of an hour: they are better had from trades.
pub(super) const SPANS: &[u32] =
    &[60, 180, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 28_800, 43_200, 86_400, 259_200, 604_800];

/// Weight of a snapshot with so many levels a side.
pub(super) const fn depth_weight(limit: u32) -> u32 {
    match limit {
        0..=100 => 5,
        101..=500 => 25,
        501..=1_000 => 50,
        _ => 250,
    }
}

/// The depths that a snapshot of a perpetual's book may have, levels a side.
const LINEAR_DEPTHS: [u32; 7] = [5, 10, 20, 50, 100, 500, 1_000];

/// The smallest of them that holds as many levels as are wanted; the deepest where none does.
pub(super) fn linear_depth(wanted: u32) -> u32 {
    LINEAR_DEPTHS.into_iter().find(|depth| *depth >= wanted).unwrap_or(1_000)
}

/// Weight of a snapshot of a perpetual's book.
pub(super) const fn linear_depth_weight(limit: u32) -> u32 {
    match limit {
        0..=50 => 2,
        51..=100 => 5,
        101..=500 => 10,
        _ => 20,
    }
}

/// Weight of a page of so many of a perpetual's candles. It may have 1,500, for 10: fewer for the weight than 1,000 for 5, which
/// is a page of spot, too.
pub(super) const fn linear_klines_weight(limit: u32) -> u32 {
    match limit {
        0..=99 => 1,
        100..=499 => 2,
        500..=1_000 => 5,
        _ => 10,
    }
}

/// Weight of a page of a perpetual's aggregated trades. They reach back 24 hours.
pub(super) const LINEAR_AGG_TRADES_WEIGHT: u32 = 20;
/// Weight of the list of USD-M contracts.
pub(super) const LINEAR_EXCHANGE_INFO_WEIGHT: u32 = 1;

/// Those of spot.
pub(super) const LIMITS: Limits = Limits {
    streams_per_connection: 1_024,
    streams_per_message: 200,
    messages_per_second: 5,
    connects_per_window: 300,
    connect_window: Duration::from_secs(300),
    lifetime: Duration::from_secs(24 * 3_600),
    ping_interval: Duration::from_secs(20),
    pong_timeout: Duration::from_secs(60),
    client_ping_interval: None,
    // Books begin with a snapshot over REST: nothing is subscribed anew for one.
    resubscribes_per_window: 30,
    resubscribe_window: Duration::from_secs(60),
    rest: RestQuota::Window { weight: 6_000, window: Duration::from_secs(60) },
    used_weight_header: Some("x-mbx-used-weight-1m"),
    trades_per_request: 1_000,
    forbidden_wait: None,
};

/// Those of USD-M perpetuals.
pub(super) const LINEAR_LIMITS: Limits = Limits {
    // Its documents say 200 in one place and 1,024 in another.
    streams_per_connection: 200,
    messages_per_second: 10,
    // Its own pings come every three minutes; ours are answered, as any server must.
    ping_interval: Duration::from_secs(60),
    pong_timeout: Duration::from_secs(600),
    rest: RestQuota::Window { weight: 2_400, window: Duration::from_secs(60) },
    ..LIMITS
};

pub(super) const FACTS: Facts = Facts {
    title: "Binance",
    markets: "spot; USD-M perpetuals (`BTC/USDT:USDT`)",
    depths: Depths::UpTo(DEPTH_MAX),
    channels: &[
        ChannelFacts {
            channel: Channel::Trades,
            stream: "`trade`, or `aggTrade` as configured; of perpetuals `aggTrade`",
            integrity: "ids are contiguous: each hole is counted exactly and fetched by id, of perpetuals a day back",
        },
        ChannelFacts {
            channel: Channel::Book,
            stream: "`depth@100ms`, begun with a snapshot over REST",
            integrity: "update ids are contiguous, and of perpetuals each event names the one before; after a hole the book begins anew with a snapshot, and the gap is declared",
        },
        ChannelFacts {
            channel: Channel::Quotes,
            stream: "`bookTicker`",
            integrity: "update ids ascend: repetitions and changes of order are noticed, not what the exchange leaves out",
        },
        ChannelFacts {
            channel: Channel::Ohlc,
            stream: "`kline_1m`",
            integrity: "closed candles follow each other: one that is missing is declared, and fetched into the files; each is compared with that of the trades, where they are collected, too",
        },
    ],
    clock: "/api/v3/time",
    quirks: &[
        "A book knows the levels of its snapshot and those that changed since; deeper ones are unknown until they change.",
        "Books of perpetuals begin with 1,000 levels a side at most.",
        "Quotes of spot carry no time of the exchange; theirs is the time of receipt.",
        "Perpetuals live at addresses of their own, `exchanges.binance.linear`, with request limits of their own.",
    ],
};
