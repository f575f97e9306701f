//! What the threads of a datad share: counters that one writes and others read. No locks on the hot path.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use dccd_model::{Channel, Symbol};

use crate::latency::SharedLatency;

/// Counters since the start of the process; each is written by one thread and read by any.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Frames received.
    pub(crate) frames: AtomicU64,
    /// Records published to rings.
    pub(crate) records: AtomicU64,
    /// Frames that could not be read.
    pub(crate) parse_errors: AtomicU64,
    /// Connections opened.
    pub(crate) connects: AtomicU64,
    /// Connections open now.
    pub(crate) connections: AtomicU32,
    /// Gaps found.
    pub(crate) gaps: AtomicU64,
    /// Gaps made good.
    pub(crate) gap_repairs: AtomicU64,
    /// Books begun anew because they and the quotes went on to differ.
    pub(crate) books_disagreed: AtomicU64,
    /// Connections opened in the place of an earlier one.
    pub(crate) reconnects: AtomicU64,
    /// Frame to ring.
    pub(crate) frame_to_ring: SharedLatency,
    /// Rows in the store's files, written by this process.
    pub(crate) rows_written: AtomicU64,
    /// Where the journal ends.
    pub(crate) journal_end: AtomicU64,
    /// Where the recorder has read to.
    pub(crate) recorder_at: AtomicU64,
    /// Set while frames can't be journaled.
    pub(crate) not_recording: AtomicBool,
    /// Counted by the hot thread four times a second, and by the recorder in each turn: standing still, they are stuck.
    pub(crate) hot_turns: AtomicU64,
    /// See [`Self::hot_turns`].
    pub(crate) recorder_turns: AtomicU64,
    /// Requests the fetcher had no room for; their wants are raised again by later events.
    pub(crate) fetches_dropped: AtomicU64,
    /// What is wrong, in words, each part for itself.
    troubles: Mutex<BTreeMap<Part, String>>,
    /// Per series, written by the recorder at each commit.
    series: Mutex<HashMap<(Symbol, Channel), SeriesProgress>>,
}

/// A part of the process that can be in trouble while the others go on. The first in this order is shown first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Getting the exchange's markets.
    Markets,
    /// The exchange itself: it said that it is closed.
    Venue,
    /// Writing frames to the journal.
    Journal,
    /// A stretch of the journal that can't be read.
    Damage,
    /// Writing rows to the store.
    Store,
    /// Writing live candles to the store.
    Candles,
    /// A thread that stands still.
    Thread,
}

/// How far the recorder is with one series.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeriesProgress {
    /// Rows made durable by this process.
    pub(crate) rows: u64,
    /// When that last happened, ns; 0: never.
    pub(crate) last_success: i64,
}

impl Part {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Markets, Self::Venue, Self::Journal, Self::Damage, Self::Store, Self::Candles, Self::Thread];
}

impl Shared {
    /// Sets or clears the words about what is wrong with a part; says whether they changed.
    pub(crate) fn set_trouble(&self, part: Part, trouble: Option<String>) -> bool {
        let mut troubles = self.troubles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = match trouble.clone() {
            Some(text) => troubles.insert(part, text),
            None => troubles.remove(&part),
        };
        before != trouble
    }

    /// What is wrong, if anything.
    pub(crate) fn trouble(&self) -> Option<String> {
        let troubles = self.troubles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        troubles.values().next().cloned()
    }

    /// Everything that is wrong.
    pub(crate) fn troubles(&self) -> Vec<(Part, String)> {
        let troubles = self.troubles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        troubles.iter().map(|(part, words)| (*part, words.clone())).collect()
    }

    /// Adds rows that became durable at `now` to a series.
    pub(crate) fn add_rows(&self, key: (Symbol, Channel), rows: u64, now: i64) {
        let mut series = self.series.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let progress = series.entry(key).or_default();
        progress.rows += rows;
        progress.last_success = now;
        drop(series);
        self.rows_written.fetch_add(rows, Ordering::Relaxed);
    }

    /// Progress of one series.
    pub(crate) fn progress(&self, symbol: &Symbol, channel: Channel) -> SeriesProgress {
        let series = self.series.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        series.get(&(symbol.clone(), channel)).copied().unwrap_or_default()
    }

    /// Journal bytes the recorder has still to read.
    pub(crate) fn recorder_lag(&self) -> u64 {
        self.journal_end.load(Ordering::Relaxed).saturating_sub(self.recorder_at.load(Ordering::Relaxed))
    }
}
