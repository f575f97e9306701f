//! Addresses and quotas of Deribit, each with its scope. Source: Deribit's own documents, autumn 2026; what is marked `[K]` is common
//! knowledge that its documents don't say.

use std::time::Duration;

use dccd_model::Channel;

use crate::{ChannelFacts, Depths, Facts, Limits, RestQuota};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "deribit";

pub(super) const REST_URL: &str = "https://www.deribit.com";
pub(super) const WS_URL: &str = "wss://www.deribit.com";

pub(super) const CHANNELS: &[Channel] = &[Channel::Trades, Channel::Book, Channel::Quotes];

/// How often the exchange is asked to send a sign of life, in seconds; 10 is the least that it takes. One that our side doesn't
/// answer in this time ends the connection.
pub(super) const HEARTBEAT_SECONDS: u32 = 10;

/// The spans that the exchange has candles of, in seconds, and what it calls them. Days open at midnight UTC `[K]`.
pub(super) const RESOLUTIONS: &[(u32, &str)] = &[
    (60, "1"),
    (180, "3"),
    (300, "5"),
    (600, "10"),
    (900, "15"),
    (1_800, "30"),
    (3_600, "60"),
    (7_200, "120"),
    (10_800, "180"),
    (21_600, "360"),
    (43_200, "720"),
    (86_400, "1D"),
];

/// See [`RESOLUTIONS`].
pub(super) const SPANS: &[u32] = &[60, 180, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400];

/// Candles in one answer at most.
pub(super) const CANDLES_PER_PAGE: u32 = 5_000;

/// Trades in one answer at most.
pub(super) const TRADES_PER_PAGE: u32 = 1_000;
/// Trades that are asked for with one page: it also holds the ones right before and after them, which prove that nothing was left
/// out between.
pub(super) const TRADES_ASKED: u32 = TRADES_PER_PAGE - 2;

/// How long to keep away after "too many requests": by then the credits are all there again.
pub(super) const RATE_WAIT: Duration = Duration::from_secs(5);

/// Weights, in requests of 500 credits: the list of markets costs 10,000.
pub(super) const WEIGHT: u32 = 1;
/// See [`WEIGHT`].
pub(super) const MARKETS_WEIGHT: u32 = 20;

pub(super) const LIMITS: Limits = Limits {
    // Books have all levels there are; a connection of its own for so many of them keeps one from delaying the others.
    streams_per_connection: 150,
    // The exchange's own limit is 500.
    streams_per_message: 50,
    // Subscriptions cost 3,000 credits each, of which 10,000 come back in a second.
    messages_per_second: 3,
    // At most 32 may be open at once; how fast they may be opened is not said.
    connects_per_window: 10,
    connect_window: Duration::from_secs(10),
    // The exchange names no such limit; a daily replacement finds out what a connection of weeks would not.
    lifetime: Duration::from_secs(24 * 3_600),
    ping_interval: Duration::from_secs(HEARTBEAT_SECONDS as u64),
    pong_timeout: Duration::from_secs(HEARTBEAT_SECONDS as u64),
    client_ping_interval: None,
    // Each attempt takes two messages. More of them at once would let an answer to a sign of life wait too long behind them.
    resubscribes_per_window: 5,
    resubscribe_window: Duration::from_secs(5),
    // 10,000 credits a second and 50,000 at once are granted, which is 20 and 100 requests; the messages of our connections, which
    // come from the same address, have their part in it.
    rest: RestQuota::Paced { every: Duration::from_millis(80), burst: 40 },
    used_weight_header: None,
    trades_per_request: TRADES_PER_PAGE,
    forbidden_wait: None,
};

pub(super) const FACTS: Facts = Facts {
    title: "Deribit",
    markets: "spot; linear futures (`BTC/USDC:USDC`) and inverse futures (`BTC/USD:BTC`), perpetual and dated (`BTC/USD:BTC-261225`)",
    depths: Depths::All,
    channels: &[
        ChannelFacts {
            channel: Channel::Trades,
            stream: "`trades.<instrument>.100ms`",
            integrity: "numbers are contiguous for each instrument: each hole is counted exactly and fetched by number, about a day back",
        },
        ChannelFacts {
            channel: Channel::Book,
            stream: "`book.<instrument>.100ms`",
            integrity: "each message names the one before it; a hole, or a change of a level that isn't there, makes the book begin anew",
        },
        ChannelFacts {
            channel: Channel::Quotes,
            stream: "`quote.<instrument>`",
            integrity: "ordered by time; nothing numbers them",
        },
    ],
    clock: "/api/v2/public/get_time",
    quirks: &[
        "Amounts of inverse futures are in US dollars, as the exchange counts them; `dccd search` shows the unit.",
        "Options and combinations are not offered.",
        "A future that has expired leaves the list of markets, and its past can't be fetched any more.",
        "There is no checksum: a wrong amount can't be noticed.",
    ],
};
