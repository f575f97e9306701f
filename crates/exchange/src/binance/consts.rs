//! Addresses and quotas of Binance spot, each with its scope. Source: Binance's own documents, autumn 2026.

use std::time::Duration;

use dccd_model::Channel;

use crate::{ChannelFacts, Depths, Facts, Limits, RestQuota};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "binance";

/// REST, market data only: needs no key and is not reached by the bans of the trading hosts.
pub(super) const REST_URL: &str = "https://data-api.binance.vision";
/// WebSocket, market data only.
pub(super) const WS_URL: &str = "wss://data-stream.binance.vision";

pub(super) const CHANNELS: &[Channel] = &[Channel::Trades, Channel::Book, Channel::Quotes];

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

pub(super) const FACTS: Facts = Facts {
    title: "Binance",
    markets: "spot",
    depths: Depths::UpTo(DEPTH_MAX),
    channels: &[
        ChannelFacts {
            channel: Channel::Trades,
            stream: "`trade`, or `aggTrade` as configured",
            integrity: "ids are contiguous: each hole is counted exactly and fetched by id",
        },
        ChannelFacts {
            channel: Channel::Book,
            stream: "`depth@100ms`, begun with a snapshot over REST",
            integrity: "update ids are contiguous; after a hole the book begins anew with a snapshot, and the gap is declared",
        },
        ChannelFacts {
            channel: Channel::Quotes,
            stream: "`bookTicker`",
            integrity: "update ids ascend: repetitions and changes of order are noticed, not what the exchange leaves out",
        },
    ],
    quirks: &[
        "A book knows the levels of its snapshot and those that changed since; deeper ones are unknown until they change.",
        "Quotes carry no time of the exchange; theirs is the time of receipt.",
    ],
};
