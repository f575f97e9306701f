//! Where a live series ends in the store: what has to be known of rows that came of no entry of the journal.

use serde::{Deserialize, Serialize};

use crate::{TradeId, UnixNanos};

/// The end of a live series. Payload of an [`crate::EntryKind::Stored`] entry, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesEnd {
    /// The last row, or the end of what is declared missing behind it: the time by which the series is ordered.
    pub ts: UnixNanos,
    /// Of trades that have numbers for ids: the highest that is there or declared missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<u64>,
    /// Of trades: time and id of the last ones, by time. Few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<(UnixNanos, TradeId)>,
    /// Of books: the highest epoch; 0 where there is none.
    #[serde(default)]
    pub epoch: u32,
}
