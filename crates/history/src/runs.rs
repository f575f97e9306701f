//! What was run: `metrics.json` as dccd 2.x wrote it, the history of runs, a log file per job. For people and other programs.
//!
//! ```text
//! <data_path>/.dccd/metrics.json                      {"binance/BTC/USDT/1h": {last_run_at, last_success_at, rows_collected, errors_count}}
//! <data_path>/.dccd/state/<exchange>/runs.jsonl       one run a line, newest last; runs.1.jsonl holds those before
//! <data_path>/.dccd/logs/jobs/<exchange>/<PAIR>.<span>.log
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use dccd_model::{ExchangeName, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::progress::{SeriesProgress, State};
use crate::series::Wanted;

/// A file of runs or of a job's log that is longer is put aside.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Runs that wait for a metrics file that can't be written.
const PENDING_MAX: usize = 10_000;
/// Log files of a job that are kept besides the present one.
const LOGS_KEPT: u32 = 3;

/// One job in `metrics.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobMetrics {
    /// Seconds since the epoch: the last run, however it ended.
    pub last_run_at: Option<f64>,
    /// The same: the last that succeeded.
    pub last_success_at: Option<f64>,
    /// Rows stored by all runs.
    #[serde(default)]
    pub rows_collected: u64,
    /// Failures since the last success.
    #[serde(default)]
    pub errors_count: u64,
}

/// All jobs of a store.
pub type Metrics = BTreeMap<String, JobMetrics>;

/// Where the metrics of a store are.
#[must_use]
pub fn metrics_path(data_path: &Path) -> PathBuf {
    data_path.join(".dccd").join("metrics.json")
}

/// Reads them; none where there is no file yet.
///
/// # Errors
/// When the file can't be read, or holds something else.
pub fn read_metrics(data_path: &Path) -> io::Result<Metrics> {
    match fs::read(metrics_path(data_path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Metrics::new()),
        Err(error) => Err(error),
        Ok(text) => Ok(serde_json::from_slice(&text)?),
    }
}

/// One run of one series, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// `collect` or `backfill`.
    pub kind: String,
    /// The series, and all that is known of the run.
    #[serde(flatten)]
    pub series: SeriesProgress,
}

/// Where the runs of an exchange's jobs are noted.
#[derive(Debug)]
pub struct RunLog {
    data_path: PathBuf,
    exchange: ExchangeName,
    /// Runs that the metrics don't have yet.
    pending: Vec<SeriesProgress>,
}

impl RunLog {
    /// Of this exchange's jobs.
    #[must_use]
    pub fn new(data_path: &Path, exchange: &ExchangeName) -> Self {
        Self { data_path: data_path.to_owned(), exchange: exchange.clone(), pending: Vec::new() }
    }

    /// Notes a run that has ended; the metrics follow with the next [`Self::flush`]. What can't be written is logged: the data
    /// matters more.
    pub fn ended(&mut self, kind: &str, wanted: &Wanted, series: &SeriesProgress) {
        let record = RunRecord { kind: kind.to_owned(), series: series.clone() };
        for (what, written) in
            [("the history of runs", self.note_run(&record)), ("the job's log", self.note_log(wanted, &record))]
        {
            if let Err(error) = written {
                tracing::warn!(%error, job = series.job, what, "a run could not be noted");
            }
        }
        self.pending.push(record.series);
    }

    /// Brings the metrics up to date. Not at each run: many jobs end at the same moment.
    pub fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        match self.note_metrics() {
            Ok(()) => self.pending.clear(),
            Err(error) => {
                tracing::warn!(%error, "the metrics could not be written");
                // What can't be noted for long is forgotten, oldest first.
                let surplus = self.pending.len().saturating_sub(PENDING_MAX);
                self.pending.drain(..surplus);
            }
        }
    }

    fn note_metrics(&self) -> io::Result<()> {
        let path = metrics_path(&self.data_path);
        let own = self.data_path.join(".dccd");
        fs::create_dir_all(&own)?;
        // Several processes write here, each for its exchange.
        let lock = File::create(own.join("metrics.lock"))?;
        lock.lock()?;
        let mut metrics = read_metrics(&self.data_path).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "metrics.json can't be read and begins anew");
            Metrics::new()
        });
        for series in &self.pending {
            let job = metrics.entry(series.job.clone()).or_default();
            let ended = series.ended.map(seconds);
            job.last_run_at = ended;
            job.rows_collected += series.rows;
            if series.state == State::Done {
                (job.last_success_at, job.errors_count) = (ended, 0);
            } else if series.state == State::Failed {
                job.errors_count += 1;
            }
        }
        let text = serde_json::to_vec_pretty(&metrics)?;
        dccd_store::write_atomically(&path, &text).map_err(io::Error::other)
    }

    fn runs_path(&self) -> PathBuf {
        self.data_path.join(".dccd").join("state").join(self.exchange.as_str()).join("runs.jsonl")
    }

    fn note_run(&self, record: &RunRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        append(&self.runs_path(), &line, 1)
    }

    fn note_log(&self, wanted: &Wanted, record: &RunRecord) -> io::Result<()> {
        let name = format!("{}.{}.log", wanted.symbol.path_name(), wanted.span);
        let path = self.data_path.join(".dccd/logs/jobs").join(self.exchange.as_str()).join(name);
        append(&path, log_line(record).as_bytes(), LOGS_KEPT)
    }

    /// The runs that were noted, oldest first; lines that can't be read are passed over.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn runs(&self) -> io::Result<Vec<RunRecord>> {
        let path = self.runs_path();
        let mut runs = Vec::new();
        for path in [numbered(&path, 1), path] {
            match fs::read_to_string(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(text) => runs.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok())),
            }
        }
        Ok(runs)
    }
}

fn seconds(at: UnixNanos) -> f64 {
    #[allow(clippy::cast_precision_loss)] // a tenth of a microsecond is enough
    let nanos = at.0 as f64;
    nanos / 1e9
}

fn log_line(record: &RunRecord) -> String {
    let run = &record.series;
    let at = run.ended.or(run.started).unwrap_or_default();
    let mut line = format!(
        "{at} {} {} rows={} windows={} failed={} trades={}",
        record.kind,
        run.state.as_str(),
        run.rows,
        run.windows_done,
        run.windows_failed,
        run.trades
    );
    if let Some(reconciled) = &run.reconciled {
        line.push_str(&format!(" compared={} differing={}", reconciled.compared, reconciled.differing));
    }
    for text in run.error.iter().chain(&run.notes) {
        line.push_str(" | ");
        line.push_str(&text.replace('\n', " "));
    }
    line.push('\n');
    line
}

/// `runs.jsonl` → `runs.1.jsonl`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    path.with_extension(format!("{number}.{extension}"))
}

/// Appends to a file; one that is too long is put aside first, of which `kept` stay.
fn append(path: &Path, bytes: &[u8], kept: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() >= FILE_BYTES_MAX) {
        for number in (1..kept).rev() {
            // The oldest, or one that isn't there yet.
            let _ = fs::rename(numbered(path, number), numbered(path, number + 1));
        }
        fs::rename(path, numbered(path, 1))?;
    }
    OpenOptions::new().create(true).append(true).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Attempts;
    use crate::series::CandleSource;

    fn wanted() -> Wanted {
        Wanted {
            symbol: "BTC/USDT".parse().unwrap(),
            span: "1h".parse().unwrap(),
            start: None,
            end: None,
            source: CandleSource::Auto,
            attempts: Attempts::default(),
        }
    }

    fn run(state: State, rows: u64, ended: i64) -> SeriesProgress {
        SeriesProgress {
            job: "binance/BTC/USDT/1h".to_owned(),
            state,
            rows,
            ended: Some(UnixNanos(ended * 1_000_000_000)),
            error: (state == State::Failed).then(|| "no\nanswer".to_owned()),
            ..SeriesProgress::default()
        }
    }

    #[test]
    fn metrics_are_those_of_dccd_2_and_count_rows_and_failures_in_a_row() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".dccd")).unwrap();
        let seed =
            r#"{"kraken/ETH/USD": {"last_run_at": 1.5, "last_success_at": null, "rows_collected": 7, "errors_count": 2}}"#;
        fs::write(metrics_path(dir.path()), seed).unwrap();
        let mut log = RunLog::new(dir.path(), &"binance".parse().unwrap());
        for (state, rows, ended) in [(State::Done, 10, 100), (State::Failed, 5, 200), (State::Failed, 0, 300)] {
            log.ended("collect", &wanted(), &run(state, rows, ended));
        }
        log.flush();
        let metrics = read_metrics(dir.path()).unwrap();
        assert_eq!(metrics["kraken/ETH/USD"].errors_count, 2);
        let job = &metrics["binance/BTC/USDT/1h"];
        let expected =
            JobMetrics { last_run_at: Some(300.0), last_success_at: Some(100.0), rows_collected: 15, errors_count: 2 };
        assert_eq!(*job, expected);
        let text = fs::read_to_string(metrics_path(dir.path())).unwrap();
        let keys: serde_json::Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<&String> = keys["binance/BTC/USDT/1h"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["errors_count", "last_run_at", "last_success_at", "rows_collected"]);
    }

    #[test]
    fn runs_are_kept_and_a_job_s_log_is_one_line_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RunLog::new(dir.path(), &"binance".parse().unwrap());
        log.ended("collect", &wanted(), &run(State::Done, 10, 100));
        log.ended("backfill", &wanted(), &run(State::Failed, 0, 200));
        let runs = log.runs().unwrap();
        assert_eq!(
            runs.iter().map(|r| (r.kind.as_str(), r.series.rows)).collect::<Vec<_>>(),
            [("collect", 10), ("backfill", 0)]
        );
        let text = fs::read_to_string(dir.path().join(".dccd/logs/jobs/binance/BTC-USDT.1h.log")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "1970-01-01T00:01:40Z collect done rows=10 windows=0 failed=0 trades=0");
        assert_eq!(lines[1], "1970-01-01T00:03:20Z backfill failed rows=0 windows=0 failed=0 trades=0 | no answer");
    }

    #[test]
    fn files_that_grow_too_long_are_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let long = vec![b'x'; usize::try_from(FILE_BYTES_MAX).unwrap()];
        for _ in 0..5 {
            append(&path, &long, 2).unwrap();
        }
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["x.1.log", "x.2.log", "x.log"]);
    }
}
