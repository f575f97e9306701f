//! The ledger: everything the exchange sent and did, one JSON object a line, to be held against what a client stored.
//!
//! A frame is entered as `sent` only when the socket took all of it. Buffers reach the file each 100 ms and at the end; a
//! program that is killed loses at most that much, and [`LedgerReader`] stops at a torn last line.

mod reader;
mod writer;

use serde::{Deserialize, Serialize};

pub use reader::{LedgerError, LedgerReader};
pub(crate) use writer::{FrameEntry, LedgerWriter};

use crate::faults::Fault;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameStatus {
    /// The socket took it.
    Sent,
    /// Taken by the socket a second time.
    Duplicated,
    /// Taken by the socket, later than its time.
    Delayed,
    /// Taken by the socket, behind the frame after it.
    Reordered,
    /// Taken by the socket, damaged; `wire` holds what was sent.
    Corrupted,
    /// Not sent, by a fault.
    Dropped,
    /// Not sent, in a silence.
    Silenced,
}

impl FrameStatus {
    /// Whether the frame reached the socket whole and undamaged.
    #[must_use]
    pub const fn arrives(self) -> bool {
        matches!(self, Self::Sent | Self::Duplicated | Self::Delayed | Self::Reordered)
    }

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Duplicated => "duplicated",
            Self::Delayed => "delayed",
            Self::Reordered => "reordered",
            Self::Corrupted => "corrupted",
            Self::Dropped => "dropped",
            Self::Silenced => "silenced",
        }
    }
}

/// One line of the ledger. `ts` is nanoseconds since the Unix epoch by the simulator's clock, when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LedgerRecord {
    /// The exchange began.
    Started {
        /// When.
        ts: i64,
        /// Which exchange it plays.
        exchange: String,
        /// Its seed.
        seed: u64,
    },
    /// A WebSocket connection opened.
    Opened {
        /// When.
        ts: i64,
        /// Its number, from 1.
        conn: u32,
        /// Path and query.
        target: String,
        /// The client's address.
        peer: String,
    },
    /// The client sent a message.
    Received {
        /// When.
        ts: i64,
        /// On which connection.
        conn: u32,
        /// Its text.
        raw: String,
    },
    /// A text frame.
    Frame {
        /// When the socket took it, or when it was dropped.
        ts: i64,
        /// On which connection.
        conn: u32,
        /// Its place on the connection, counted over all its frames.
        seq: u64,
        /// The stream's name; empty for replies and announcements.
        stream: String,
        /// What became of it.
        status: FrameStatus,
        /// Its text, as it should have been.
        raw: String,
        /// What was sent instead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wire: Option<String>,
    },
    /// Frames of one stream and status since the last such line: the compact mode's stand-in for `frame`.
    Batch {
        /// When it was written.
        ts: i64,
        /// On which connection.
        conn: u32,
        /// The stream's name.
        stream: String,
        /// What became of them.
        status: FrameStatus,
        /// How many.
        count: u64,
        /// The first one's id: trade id, aggregated trade id, or last update id.
        first_id: u64,
        /// The last one's.
        last_id: u64,
    },
    /// A WebSocket connection ended.
    Closed {
        /// When.
        ts: i64,
        /// Which.
        conn: u32,
        /// Why, and who ended it.
        reason: String,
        /// Text frames that the socket took.
        sent: u64,
        /// Text frames that were queued and never taken.
        unsent: u64,
    },
    /// A REST request was answered.
    Rest {
        /// When.
        ts: i64,
        /// Path and query.
        target: String,
        /// HTTP status.
        status: u16,
        /// What it cost.
        weight: u32,
        /// Used in this minute by this address, this request included.
        used: u32,
        /// Bytes of the body.
        bytes: usize,
        /// Ids of the trades in the body, first and last, where it holds trades.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<(u64, u64)>,
        /// What was wrong with the answer on purpose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// A fault was armed or happened.
    Fault {
        /// When.
        ts: i64,
        /// Which.
        fault: Fault,
        /// `command` or `plan`.
        by: String,
        /// What it did at once, e.g. the ids it skipped.
        detail: String,
    },
    /// A replay sent its last frame.
    ReplayDone {
        /// When.
        ts: i64,
        /// Frames that found a subscriber.
        sent: u64,
        /// Frames that nobody had subscribed to.
        unwanted: u64,
    },
    /// The exchange ended in order: nothing is missing from this ledger.
    Stopped {
        /// When.
        ts: i64,
    },
}
