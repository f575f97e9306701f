//! A declared loss: when it was, what is missing, why, and whether it was made good.

use serde::{Deserialize, Serialize};

use crate::UnixNanos;

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The connection was down, or the process was.
    Disconnected,
    /// The exchange's sequence jumped on a live connection.
    Sequence,
    /// The book didn't agree with itself or with a checksum, and was built anew.
    Integrity,
    /// A frame could not be read.
    Unreadable,
    /// Records came but could not be written: no space, a failing disk.
    NotRecorded,
    /// The exchange acknowledged the channel and then sent nothing.
    Silent,
    /// The exchange answered and has no candles there: its own outage, or a halted market. `from` and `to` are the open times of the
    /// first and the last candle that is missing.
    NoData,
}

impl GapReason {
    /// The word in files and listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Sequence => "sequence",
            Self::Integrity => "integrity",
            Self::Unreadable => "unreadable",
            Self::NotRecorded => "not_recorded",
            Self::Silent => "silent",
            Self::NoData => "no_data",
        }
    }
}

/// Records that are missing from a series, or were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Time of the last record before the hole, on the clock by which the series is ordered; of candles
    /// ([`GapReason::NoData`]) the open time of the first that is missing.
    pub from: UnixNanos,
    /// Time of the first record after the hole; of candles the open time of the last that is missing.
    pub to: UnixNanos,
    /// Why.
    pub reason: GapReason,
    /// Whether what was missing has been fetched since.
    pub repaired: bool,
    /// First and last missing trade id, where ids are contiguous and so tell; `None` where it can't be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<(u64, u64)>,
}

impl Gap {
    /// How many records are missing; `None` where it can't be known.
    #[must_use]
    pub fn missing(&self) -> Option<u64> {
        self.ids.map(|(first, last)| last.saturating_sub(first).saturating_add(1))
    }
}
