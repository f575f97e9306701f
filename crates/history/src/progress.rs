//! How far a job is: written by the job, read by whoever shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dccd_model::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::reconcile::Reconciled;
use crate::series::Stretch;

/// Where a series of a job, or the job itself, stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for its turn.
    #[default]
    Waiting,
    /// It works.
    Running,
    /// Everything that was wanted is stored.
    Done,
    /// Something could not be had; the next run tries again.
    Failed,
    /// It was told to end; what was fetched is stored.
    Cancelled,
    /// Its process ended before it did; what was fetched is stored.
    Interrupted,
}

impl State {
    /// The word for people and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether nothing more will come.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// What is known of one series of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesProgress {
    /// The series: `binance/BTC/USDT/1h`.
    pub job: String,
    /// Where it stands.
    pub state: State,
    /// Candles in the holes that were found; 0 until they are.
    pub candles_total: u64,
    /// How many of these are settled.
    pub candles_done: u64,
    /// Candles that are still not settled after the last run, older ones that it didn't go for included; `None` where that never
    /// came to be known.
    #[serde(default)]
    pub candles_left: Option<u64>,
    /// Stretches that could not be had: this job doesn't ask for them again.
    #[serde(skip)]
    pub failed: Vec<Stretch>,
    /// Pages that this takes; of trades it can't be known.
    pub windows_total: Option<u64>,
    /// Pages done.
    pub windows_done: u64,
    /// Pages that could not be had.
    pub windows_failed: u64,
    /// Rows stored.
    pub rows: u64,
    /// Requests sent for it.
    pub requests: u64,
    /// Trades read to build candles of.
    pub trades: u64,
    /// The first moment wanted.
    pub from: Option<UnixNanos>,
    /// Everything before it is settled.
    pub at: Option<UnixNanos>,
    /// When it began: nanoseconds since the epoch.
    pub started: Option<UnixNanos>,
    /// When it ended.
    pub ended: Option<UnixNanos>,
    /// What it does before there are candles to count.
    #[serde(skip)]
    pub preparing: Option<&'static str>,
    /// What was wrong last.
    pub error: Option<String>,
    /// What is worth knowing besides.
    pub notes: Vec<String>,
    /// The comparison with the exchange's own candles, where there was one.
    pub reconciled: Option<Reconciled>,
}

impl SeriesProgress {
    /// Rows a second since it began.
    #[must_use]
    pub fn rows_per_second(&self, now: UnixNanos) -> f64 {
        let Some(started) = self.started else { return 0.0 };
        let seconds = self.ended.unwrap_or(now).since(started).as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // for people
        let rows = self.rows as f64;
        if seconds > 0.0 { rows / seconds } else { 0.0 }
    }

    /// Seconds that it will still take at its pace so far; `None` while there is no pace.
    #[must_use]
    pub fn eta_seconds(&self, now: UnixNanos) -> Option<f64> {
        let seconds = now.since(self.started?).as_secs_f64();
        if self.state.is_final() || self.candles_done == 0 || self.candles_total == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss)] // for people
        let (done, left) = (self.candles_done as f64, self.candles_total.saturating_sub(self.candles_done) as f64);
        Some(seconds / done * left)
    }
}

/// The progress of one series, shared between the job and those who look. Clones belong together.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    inner: Arc<Mutex<SeriesProgress>>,
}

impl Progress {
    /// That of this series.
    #[must_use]
    pub fn of(job: String) -> Self {
        Self { inner: Arc::new(Mutex::new(SeriesProgress { job, ..SeriesProgress::default() })) }
    }

    /// What is known now.
    #[must_use]
    pub fn get(&self) -> SeriesProgress {
        self.lock().clone()
    }

    /// Changes what is known.
    pub fn update<T>(&self, change: impl FnOnce(&mut SeriesProgress) -> T) -> T {
        change(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, SeriesProgress> {
        // Plain values: valid whatever panicked in between.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_and_remaining_time_follow_from_what_is_done() {
        let progress = Progress::of("x".to_owned());
        let at = |s: i64| UnixNanos(s * 1_000_000_000);
        assert_eq!(progress.get().eta_seconds(at(5)), None);
        progress.update(|p| {
            p.started = Some(at(10));
            p.state = State::Running;
            (p.candles_total, p.candles_done, p.rows) = (1_000, 250, 240);
        });
        let now = progress.get();
        assert_eq!((now.rows_per_second(at(20)), now.eta_seconds(at(20))), (24.0, Some(30.0)));
        progress.update(|p| (p.state, p.ended) = (State::Done, Some(at(12))));
        assert_eq!((progress.get().rows_per_second(at(90)), progress.get().eta_seconds(at(90))), (120.0, None));
    }
}
