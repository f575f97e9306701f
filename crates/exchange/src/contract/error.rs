//! What can be wrong with what an exchange sends, or with what is asked of an adapter.

use dccd_model::{Channel, Span};

/// Why an adapter can't do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The list of markets goes on and on.
    #[error("the list of markets of {exchange} has no end: {parts} parts and more")]
    MarketsEndless {
        /// Whose.
        exchange: &'static str,
        /// How many came.
        parts: usize,
    },
    /// The channel isn't offered.
    #[error("{exchange} does not offer the channel \"{channel}\" live; {}", list(.offered))]
    ChannelNotOffered {
        /// Who was asked.
        exchange: &'static str,
        /// For what.
        channel: Channel,
        /// What there is instead.
        offered: &'static [Channel],
    },
    /// Nothing of the past can be had.
    #[error("{exchange} gives nothing of the past: neither candles nor trades can be backfilled")]
    NoHistory {
        /// Who was asked.
        exchange: &'static str,
    },
    /// The exchange has no candles of its own of this span.
    #[error("{exchange} has no candles of {span}; it has candles of {}", labels(.offered))]
    SpanNotOffered {
        /// Who was asked.
        exchange: &'static str,
        /// For what.
        span: Span,
        /// What there is instead, in seconds.
        offered: &'static [u32],
    },
    /// The list of markets can't be read.
    #[error("the list of markets of {exchange} can't be read ({bytes} bytes)")]
    Markets {
        /// Whose.
        exchange: &'static str,
        /// How long the body was.
        bytes: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The exchange answered with an error instead of the list of markets.
    #[error("{exchange} refused the list of markets{}: {message}", with_code(.code))]
    MarketsRefused {
        /// Who.
        exchange: &'static str,
        /// The exchange's own code; `None` where it has none but words.
        code: Option<i64>,
        /// The exchange's own words.
        message: String,
    },
    /// The saved state of a session can't be used.
    #[error("the saved state of the {exchange} session can't be read ({bytes} bytes)")]
    SavedState {
        /// Whose.
        exchange: &'static str,
        /// How long it was.
        bytes: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The saved state was written by another version of the adapter.
    #[error("the saved state of the {exchange} session has version {found}, and this program reads version {expected}")]
    SavedVersion {
        /// Whose.
        exchange: &'static str,
        /// What was found.
        found: u32,
        /// What can be read.
        expected: u32,
    },
}

fn list(channels: &[Channel]) -> String {
    if channels.is_empty() {
        return "nothing is offered live".to_owned();
    }
    format!("it offers {}", channels.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", "))
}

fn with_code(code: &Option<i64>) -> String {
    code.map_or_else(String::new, |code| format!(" with code {code}"))
}

fn labels(spans: &[u32]) -> String {
    spans.iter().filter_map(|s| Span::from_secs(*s)).map(|s| s.to_string()).collect::<Vec<_>>().join(", ")
}

/// Why a frame or an answer can't be read. Nothing that the exchange sends is an error of ours: it is counted and kept.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Not JSON, or not of the shape that the message's type has.
    #[error("not a readable message")]
    Json(#[from] serde_json::Error),
    /// Not JSON, as far as it was read.
    #[error("not a readable message: expected {expected} at byte {at}")]
    Syntax {
        /// Where reading stopped, counted from 0.
        at: usize,
        /// What would have been right there.
        expected: &'static str,
    },
    /// A field that the message can't do without is not there.
    #[error("{event} message without \"{field}\"")]
    Missing {
        /// The message's type.
        event: &'static str,
        /// The field's name on the wire.
        field: &'static str,
    },
    /// A number that can't be: an amount below zero, a sequence that ends before it begins.
    #[error("\"{field}\" of the {event} message is out of its range")]
    OutOfRange {
        /// The message's type.
        event: &'static str,
        /// The field's name on the wire.
        field: &'static str,
    },
}

/// Why an entry that isn't a frame changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryFault {
    /// Its subject names no feed (`BTC/USDT trades`).
    Subject,
    /// It names a channel that the adapter doesn't carry.
    Channel,
    /// It is about a feed that was never opened.
    UnknownFeed,
    /// Its payload is not what it should be.
    Payload,
}
