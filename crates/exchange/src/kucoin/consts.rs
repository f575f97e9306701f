//! Addresses and quotas of KuCoin, each with its scope. Source: KuCoin's own documents and announcements, autumn 2026; what is
//! marked `[K]` is common knowledge that its documents don't say.

use std::time::Duration;

use dccd_model::Channel;

use crate::{ChannelFacts, Depths, Facts, Limits, Product, RestQuota, Socket};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "kucoin";

pub(super) const REST_URL: &str = "https://api.kucoin.com";
/// Of the socket that wants no ticket. The address of the other one comes with the ticket.
pub(super) const WS_URL: &str = "wss://x-push-spot.kucoin.com";
/// What the other one is called in logs.
pub(super) const CLASSIC_URL: &str = "wss://ws-api-spot.kucoin.com";

pub(super) const CHANNELS: &[Channel] = &[Channel::Trades, Channel::Book, Channel::Quotes];

/// The sockets: trades and quotes come on the classic one, books on the one of the unified account ("Pro").
pub(super) const SOCKETS: &[Socket] =
    &[Socket { name: "classic", product: Product::Spot }, Socket { name: "pro", product: Product::Spot }];
/// The same, by their names alone.
pub(super) const SOCKET_NAMES: &[&str] = &["classic", "pro"];
pub(super) const CLASSIC: usize = 0;
pub(super) const PRO: usize = 1;

/// The one kind of book that begins with a snapshot on its connection: the best levels, what changed in ten milliseconds at once.
pub(super) const BOOK_DEPTH: &str = "increment@10ms";
/// Levels a side that a book has.
pub(super) const BOOK_LEVELS: usize = 500;
/// Levels a side that a book may have for a moment: those that leave the best 500 are ended a little later `[K]`.
pub(super) const BOOK_LEVELS_MAX: usize = 2 * BOOK_LEVELS;

/// The spans that the exchange has candles of, in seconds. Not its weeks, because no document says on which day they begin, nor its
/// months, which are no span.
pub(super) const SPANS: &[u32] = &[60, 180, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 28_800, 43_200, 86_400];

/// Candles in one answer at most.
pub(super) const CANDLES_PER_PAGE: u32 = 1_500;
/// Trades in one answer: the newest.
pub(super) const TRADES_PER_PAGE: u32 = 100;

/// How long to keep away after code 429000 in an answer with another status: the exchange counts in stretches of so long.
pub(super) const RATE_WAIT: Duration = Duration::from_secs(30);

/// How often pings are sent: half of the interval that tickets and greetings tell (18 s), so that one may get lost.
const PING_EVERY: Duration = Duration::from_secs(9);

pub(super) const LIMITS: Limits = Limits {
    // 400 topics of the classic socket, 600 of the other. Fewer, because a book takes a message of its own, a snapshot up to six seconds
    // after it, and one that doesn't come within ten is asked for again.
    streams_per_connection: 30,
    // The exchange itself takes a hundred topics in a message; a connection carries no more than these.
    streams_per_message: 30,
    // 100 in ten seconds on the classic socket, three times as many on the other.
    messages_per_second: 9,
    // Of the classic socket; the other allows more.
    connects_per_window: 25,
    connect_window: Duration::from_secs(60),
    // A ticket is good for so long.
    lifetime: Duration::from_secs(24 * 3_600),
    // Answers to pings.
    ping_interval: PING_EVERY,
    // Heard nothing from us for so long, both sockets close `[K]`.
    pong_timeout: Duration::from_secs(60),
    client_ping_interval: Some(PING_EVERY),
    resubscribes_per_window: 30,
    resubscribe_window: Duration::from_secs(60),
    // Half of what is granted without an account: the exchange's 30 seconds begin at another moment than ours, and might see two
    // of ours.
    rest: RestQuota::Window { weight: 1_000, window: Duration::from_secs(30) },
    // It tells what is left, not what was used, and whose limit that is depends on the address.
    used_weight_header: None,
    trades_per_request: TRADES_PER_PAGE,
    forbidden_wait: None,
};

pub(super) const FACTS: Facts = Facts {
    title: "KuCoin",
    markets: "spot",
    depths: Depths::Always(500),
    channels: &[
        ChannelFacts {
            channel: Channel::Trades,
            stream: "`/market/match`",
            integrity: "ids don't count: each time without a connection is a gap, made good where the newest 100 trades over REST reach over it",
        },
        ChannelFacts {
            channel: Channel::Book,
            stream: "`obu` of the unified account's socket, `increment@10ms`",
            integrity: "each message is linked to the one before by its number; a hole makes the book begin anew",
        },
        ChannelFacts {
            channel: Channel::Quotes,
            stream: "`/spotMarket/level1`",
            integrity: "ordered by time; nothing numbers them",
        },
    ],
    clock: "/api/v1/timestamp",
    quirks: &[
        "No key is needed: trades and quotes take a ticket before each connection, books take none.",
        "A candle without trades is left out, and no older trades can be had.",
        "A trade that the exchange leaves out on a connection that lives can't be noticed.",
        "There is no checksum: a wrong amount can't be noticed.",
    ],
};
