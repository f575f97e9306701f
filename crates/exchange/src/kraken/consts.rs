//! Addresses and quotas of Kraken spot, each with its scope. Source: Kraken's own documents, autumn 2026; what is marked
//! `[K]` is common knowledge that its documents don't say.

use std::time::Duration;

use crate::{Limits, RestQuota};

/// The exchange's name in configuration, paths and series.
pub const NAME: &str = "kraken";

pub(super) const REST_URL: &str = "https://api.kraken.com";
pub(super) const WS_URL: &str = "wss://ws.kraken.com";

/// The spans that the exchange has candles of, in seconds. Left out are its weeks, which begin on Thursdays (multiples of
/// seven days since the epoch `[K]`) where ours begin on Mondays, and its stretches of fifteen days.
pub(super) const SPANS: &[u32] = &[60, 300, 900, 1_800, 3_600, 14_400, 86_400];

/// Closed candles that can be had at all, whatever is asked for.
pub(super) const CANDLES_REACH: u32 = 720;
/// Candles in one answer at most: those and the open one.
pub(super) const CANDLES_PER_PAGE: u32 = CANDLES_REACH + 1;
/// Trades in one answer at most.
pub(super) const TRADES_PER_PAGE: u32 = 1_000;
/// Deepest snapshot of a book, levels a side.
pub(super) const DEPTH_MAX: u32 = 500;

/// How long to keep away after "too often": its counters fall by one every few seconds `[K]`.
pub(super) const RATE_WAIT: Duration = Duration::from_secs(10);
/// How long to keep away after `EGeneral:Temporary lockout` `[K]`.
pub(super) const LOCKOUT_WAIT: Duration = Duration::from_secs(900);

/// What concerns the WebSocket is that of its second version, of which nothing is used yet.
pub(super) const LIMITS: Limits = Limits {
    streams_per_connection: 1_000,
    streams_per_message: 100,
    messages_per_second: 10,
    connects_per_window: 150,
    connect_window: Duration::from_secs(600),
    lifetime: Duration::from_secs(24 * 3_600),
    ping_interval: Duration::from_secs(30),
    pong_timeout: Duration::from_secs(60),
    rest: RestQuota::Paced { every: Duration::from_secs(1), burst: 1 },
    used_weight_header: None,
    trades_per_request: TRADES_PER_PAGE,
};
