//! What the threads of a datad share: counters that one writes and others read. No locks on the hot path.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use dccd_model::{Channel, Symbol};

/// Counters since the start of the process; each is written by one thread and read by any.
#[derive(Debug, Default)]
pub struct Shared {
    /// Frames received.
    pub frames: AtomicU64,
    /// Records published to rings.
    pub records: AtomicU64,
    /// Frames that could not be read.
    pub parse_errors: AtomicU64,
    /// Connections opened.
    pub connects: AtomicU64,
    /// Connections open now.
    pub connections: AtomicU32,
    /// Gaps found.
    pub gaps: AtomicU64,
    /// Gaps made good.
    pub gap_repairs: AtomicU64,
    /// Median of frame to ring over the last interval, ns.
    pub frame_to_ring_p50: AtomicU64,
    /// 99th percentile of the same.
    pub frame_to_ring_p99: AtomicU64,
    /// Rows in the store's files, written by this process.
    pub rows_written: AtomicU64,
    /// Where the journal ends.
    pub journal_end: AtomicU64,
    /// Where the recorder has read to.
    pub recorder_at: AtomicU64,
    /// Set while frames can't be journaled.
    pub not_recording: AtomicBool,
    /// Requests the fetcher had no room for; their wants are raised again by later events.
    pub fetches_dropped: AtomicU64,
    /// What is wrong with the journal or the store, in words.
    error: Mutex<Option<String>>,
    /// Per series, written by the recorder at each commit.
    series: Mutex<HashMap<(Symbol, Channel), SeriesProgress>>,
}

/// How far the recorder is with one series.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeriesProgress {
    /// Rows made durable by this process.
    pub rows: u64,
    /// When that last happened, ns; 0: never.
    pub last_success: i64,
}

impl Shared {
    /// Sets or clears the words about what is wrong; says whether they changed.
    pub fn set_error(&self, error: Option<String>) -> bool {
        let mut current = self.error.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let changed = *current != error;
        *current = error;
        changed
    }

    /// What is wrong, if anything.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Adds rows that became durable at `now` to a series.
    pub fn add_rows(&self, key: (Symbol, Channel), rows: u64, now: i64) {
        let mut series = self.series.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let progress = series.entry(key).or_default();
        progress.rows += rows;
        progress.last_success = now;
        drop(series);
        self.rows_written.fetch_add(rows, Ordering::Relaxed);
    }

    /// Progress of one series.
    pub fn progress(&self, symbol: &Symbol, channel: Channel) -> SeriesProgress {
        let series = self.series.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        series.get(&(symbol.clone(), channel)).copied().unwrap_or_default()
    }

    /// Journal bytes the recorder has still to read.
    pub fn recorder_lag(&self) -> u64 {
        self.journal_end.load(Ordering::Relaxed).saturating_sub(self.recorder_at.load(Ordering::Relaxed))
    }
}
