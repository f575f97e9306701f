//! The history jobs of the configuration: when each is due, how its last run went, whether it is paused. Kept over restarts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dccd_history::{Progress, SeriesProgress, State, Wanted};
use dccd_model::{ExchangeName, UnixNanos};
use dccd_rpc::datad::{JobCounts, JobInfo};
use serde::{Deserialize, Serialize};
use tracing::warn;

/// After a fill that could not get everything: the first pause before the next, and the longest.
const FILL_PAUSE: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(6 * 3_600));

/// After a run that failed: the first pause before the next, and the longest.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));

/// What is kept of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// Whether it is not to be run.
    pub(crate) paused: bool,
    /// Its last run.
    pub(crate) last_run: UnixNanos,
    /// The last that succeeded.
    pub(crate) last_success: UnixNanos,
    /// Rows stored by all its runs.
    pub(crate) rows: u64,
    /// Runs that failed.
    pub(crate) errors: u64,
    /// The same since the last success.
    pub(crate) consecutive_errors: u64,
    /// What was wrong last.
    pub(crate) last_error: Option<String>,
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    /// What it is for.
    pub(crate) wanted: Wanted,
    /// The series.
    pub(crate) name: String,
    /// After its candles close it waits this long.
    delay: Duration,
    /// When it is due.
    pub(crate) next_run: UnixNanos,
    /// Whether a run of it is under way.
    pub(crate) running: bool,
    /// Candles that the last run left for a fill.
    pub(crate) left: u64,
    /// Before this no fill is begun by itself.
    pub(crate) fill_after: UnixNanos,
    fill_pause: Duration,
    /// What is kept.
    pub(crate) record: Record,
    /// What is not: that of this process.
    counts: JobCounts,
}

impl Job {
    /// A job that is due soon: whatever was missed is caught up with.
    fn new(wanted: Wanted, exchange: &ExchangeName, record: Record, now: UnixNanos) -> Self {
        let name = wanted.name(exchange);
        let delay = dccd_history::delay(&name, wanted.span);
        Self {
            name,
            delay,
            next_run: now + delay / 10,
            running: false,
            left: 0,
            fill_after: now,
            fill_pause: FILL_PAUSE.0,
            counts: JobCounts::default(),
            record,
            wanted,
        }
    }

    /// Whether it is to be run now.
    pub(crate) fn is_due(&self, now: UnixNanos) -> bool {
        !self.record.paused && !self.running && self.next_run <= now
    }

    /// Whether its older holes are to be filled now.
    pub(crate) fn wants_fill(&self, now: UnixNanos) -> bool {
        !self.record.paused && !self.running && self.left > 0 && self.fill_after <= now
    }

    /// Sets the next run after `now`: when the next candle closes, and after failures sooner, if that is long to go.
    pub(crate) fn schedule(&mut self, now: UnixNanos) {
        self.next_run = dccd_history::next_run(self.wanted.span, self.delay, now);
        let failures = u32::try_from(self.record.consecutive_errors).unwrap_or(u32::MAX);
        if failures > 0 {
            let pause = RETRY_PAUSE.0.saturating_mul(1 << (failures - 1).min(10)).min(RETRY_PAUSE.1);
            self.next_run = self.next_run.min(now + pause);
        }
    }

    /// Takes in how a run went. What somebody asked for may be another range than the job's: it says nothing of what is left.
    pub(crate) fn ended(&mut self, run: &SeriesProgress, is_own: bool, now: UnixNanos) {
        let record = &mut self.record;
        record.last_run = now;
        record.rows += run.rows;
        self.counts.runs += 1;
        self.counts.rows += run.rows;
        if let (Some(started), Some(ended)) = (run.started, run.ended) {
            self.counts.last_run_ns = u64::try_from(ended.0 - started.0).unwrap_or(0);
        }
        match run.state {
            State::Failed => {
                self.counts.errors += 1;
                record.errors += 1;
                record.consecutive_errors += 1;
                record.last_error.clone_from(&run.error);
            }
            State::Done => {
                record.last_success = now;
                record.consecutive_errors = 0;
                record.last_error = None;
            }
            _ => {}
        }
        if let (Some(left), true) = (run.candles_left, is_own) {
            self.left = left;
        }
    }

    /// After a fill: what is left is tried again later, each time after a longer pause.
    pub(crate) fn filled(&mut self, now: UnixNanos) {
        if self.left == 0 {
            self.fill_pause = FILL_PAUSE.0;
            return;
        }
        self.fill_after = now + self.fill_pause;
        self.fill_pause = (self.fill_pause * 2).min(FILL_PAUSE.1);
    }

    /// For those who ask. `busy`: a backfill works on the series.
    pub(crate) fn info(&self, busy: bool) -> JobInfo {
        let record = &self.record;
        let state = if record.paused {
            "paused"
        } else if self.running || busy {
            "running"
        } else if record.consecutive_errors > 0 {
            "failed"
        } else {
            "scheduled"
        };
        JobInfo {
            job: self.name.clone(),
            kind: "histo".to_owned(),
            state: state.to_owned(),
            last_run: record.last_run.0,
            last_success: record.last_success.0,
            rows: record.rows,
            errors: record.errors,
            consecutive_errors: record.consecutive_errors,
            last_error: record.last_error.clone(),
            next_run: if record.paused { 0 } else { self.next_run.0 },
            market: None,
            process: self.counts,
        }
    }

    /// Its progress, for a run.
    pub(crate) fn progress(&self) -> Progress {
        Progress::of(self.name.clone())
    }
}

/// All jobs of the exchange.
#[derive(Debug)]
pub(crate) struct Jobs {
    path: PathBuf,
    pub(crate) list: Vec<Job>,
    /// What stands in the file.
    saved: Vec<Record>,
}

impl Jobs {
    /// Those of the configuration, with what was kept of them.
    pub(crate) fn open(data_path: &Path, exchange: &ExchangeName, wanted: Vec<Wanted>, now: UnixNanos) -> Self {
        let path = data_path.join(".dccd").join("state").join(exchange.as_str()).join("history.json");
        let mut kept: BTreeMap<String, Record> = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                warn!(path = %path.display(), %error, "the state of the history jobs can't be read and begins anew");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(), // the first start
        };
        let job = |wanted: Wanted| {
            let record = kept.remove(&wanted.name(exchange)).unwrap_or_default();
            Job::new(wanted, exchange, record, now)
        };
        Self { path, list: wanted.into_iter().map(job).collect(), saved: Vec::new() }
    }

    /// These are the jobs from now on. Those that are wanted as before go on, the others begin, with what is known of them. Gives
    /// the names of those that are wanted no more, or otherwise.
    pub(crate) fn set(&mut self, exchange: &ExchangeName, wanted: Vec<Wanted>, now: UnixNanos) -> Vec<String> {
        let mut old = std::mem::take(&mut self.list);
        let mut left = Vec::new();
        for wanted in wanted {
            let name = wanted.name(exchange);
            let job = match old.iter().position(|job| job.name == name).map(|at| old.swap_remove(at)) {
                Some(job) if job.wanted == wanted => job,
                Some(job) => {
                    left.push(name);
                    // A run that is under way is of this job, too: there is one at a time.
                    Job { running: job.running, ..Job::new(wanted, exchange, job.record, now) }
                }
                None => Job::new(wanted, exchange, Record::default(), now),
            };
            self.list.push(job);
        }
        left.extend(old.into_iter().map(|job| job.name));
        self.save();
        left
    }

    /// The job of this series.
    pub(crate) fn find(&mut self, name: &str) -> Option<&mut Job> {
        self.list.iter_mut().find(|job| job.name == name)
    }

    /// Pauses or resumes the jobs whose names begin so; gives their names.
    pub(crate) fn pause(&mut self, prefix: &str, paused: bool, now: UnixNanos) -> Vec<String> {
        let mut names = Vec::new();
        for job in self.list.iter_mut().filter(|job| dccd_history::is_meant(&job.name, prefix)) {
            if job.record.paused && !paused {
                // What was missed meanwhile is caught up with at once.
                job.next_run = now;
            }
            if !paused {
                job.fill_after = now;
            }
            job.record.paused = paused;
            names.push(job.name.clone());
        }
        self.save();
        names
    }

    /// The same, where something has changed.
    pub(crate) fn save_if_changed(&mut self) {
        if !self.list.iter().map(|job| &job.record).eq(&self.saved) {
            self.save();
        }
    }

    /// Keeps what is to be kept.
    pub(crate) fn save(&mut self) {
        self.saved = self.list.iter().map(|job| job.record.clone()).collect();
        let records: BTreeMap<&str, &Record> = self.list.iter().map(|job| (job.name.as_str(), &job.record)).collect();
        let Ok(text) = serde_json::to_vec_pretty(&records) else { return }; // plain values: it can
        if let Err(error) = dccd_store::write_atomically(&self.path, &text) {
            warn!(error = %crate::error::chain(&error), "the state of the history jobs could not be saved");
        }
    }
}

#[cfg(test)]
mod tests {
    use dccd_history::{Attempts, CandleSource};

    use super::*;

    fn wanted(span: &str) -> Wanted {
        Wanted {
            symbol: "BTC/USDT".parse().unwrap(),
            span: span.parse().unwrap(),
            start: None,
            end: None,
            source: CandleSource::Auto,
            attempts: Attempts::default(),
        }
    }

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_paused_job_stays_paused_over_a_restart_and_is_due_at_once_when_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let exchange = "binance".parse().unwrap();
        let open = |now| Jobs::open(dir.path(), &exchange, vec![wanted("1h"), wanted("1m")], now);
        let mut jobs = open(at(1_000));
        assert!(jobs.list[0].is_due(at(1_010)));
        assert_eq!(jobs.pause("binance/BTC/USDT/1h", true, at(1_000)), ["binance/BTC/USDT/1h"]);
        let mut jobs = open(at(9_000));
        assert!(!jobs.list[0].is_due(at(99_999)) && jobs.list[1].is_due(at(9_010)));
        assert_eq!(jobs.list[0].info(false).state, "paused");
        assert_eq!(jobs.list[0].info(false).next_run, 0);
        assert_eq!(jobs.pause("binance", false, at(9_020)).len(), 2);
        assert!(jobs.list[0].is_due(at(9_020)));
    }

    #[test]
    fn a_job_that_is_wanted_as_before_goes_on_and_another_start_begins_it_anew_with_what_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let exchange = "binance".parse().unwrap();
        let mut jobs = Jobs::open(dir.path(), &exchange, vec![wanted("1h"), wanted("1m"), wanted("5m")], at(1_000));
        for job in &mut jobs.list {
            (job.running, job.next_run, job.record.rows) = (true, at(5_000), 7);
        }
        let later = Wanted { start: Some(at(10)), ..wanted("1m") };
        let left = jobs.set(&exchange, vec![wanted("1d"), later, wanted("1h")], at(2_000));
        assert_eq!(left, ["binance/BTC/USDT/1m", "binance/BTC/USDT/5m"]);
        let seen: Vec<_> =
            jobs.list.iter().map(|job| (job.name.as_str(), job.running, job.record.rows, job.is_due(at(2_060)))).collect();
        assert_eq!(
            seen,
            [
                ("binance/BTC/USDT/1d", false, 0, true),
                ("binance/BTC/USDT/1m", true, 7, false),
                ("binance/BTC/USDT/1h", true, 7, false)
            ]
        );
        assert_eq!(jobs.list[2].next_run, at(5_000), "it goes on");
        assert!(jobs.list[1].next_run < at(2_060), "it is due when its run has ended");
    }

    #[test]
    fn what_could_not_be_filled_is_tried_again_after_longer_and_longer_pauses() {
        let exchange = "binance".parse().unwrap();
        let mut job = Job::new(wanted("1h"), &exchange, Record::default(), at(0));
        let failed = SeriesProgress {
            state: State::Failed,
            candles_left: Some(7),
            error: Some("x".to_owned()),
            started: Some(at(4)),
            ended: Some(at(10)),
            ..SeriesProgress::default()
        };
        job.ended(&failed, true, at(10));
        assert_eq!((job.record.errors, job.record.consecutive_errors, job.info(false).state.as_str()), (1, 1, "failed"));
        assert!(job.wants_fill(at(10)));
        job.filled(at(10));
        assert!(!job.wants_fill(at(300)) && job.wants_fill(at(310)));
        job.filled(at(310));
        assert!(!job.wants_fill(at(900)) && job.wants_fill(at(910)));
        let done = SeriesProgress { state: State::Done, rows: 3, candles_left: Some(0), ..SeriesProgress::default() };
        job.ended(&done, false, at(950));
        assert_eq!(job.left, 7, "what somebody asked for says nothing of the job's own range");
        job.ended(&done, true, at(1_000));
        job.filled(at(1_000));
        assert!(!job.wants_fill(at(99_999)));
        assert_eq!((job.record.rows, job.record.consecutive_errors), (6, 0));
        assert_eq!(job.info(false).process, JobCounts { runs: 3, errors: 1, rows: 6, last_run_ns: 6_000_000_000 });
    }
}
