//! All remotes of a store: each has a loop that runs when it is due or asked for, one run at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dccd_rpc::RpcError;
use dccd_rpc::condition::Severity;
use dccd_rpc::syncd::{RemoteStatus, SYNCD_NAME, SyncRun};
use dccd_service::{Progress, Shutdown};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::board::{Board, Counters, now};
use crate::error::SyncError;
use crate::rclone::Rclone;
use crate::record::{Need, Record};
use crate::run::{Run, blocking, record_path};
use crate::target::Target;
use crate::tree;

/// Wait before a run that failed is tried again; it doubles with each further failure.
const RETRY_DELAY: Duration = Duration::from_secs(30);
/// Longest such wait, where the interval is longer.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(3_600);
/// How old an answer about what is behind may be.
const SURVEY_AGE_MAX: Duration = Duration::from_secs(5);
/// The same while something is copied.
const SURVEY_AGE_MAX_BUSY: Duration = Duration::from_secs(30);
/// Between two looks at whether the service is to be shown as degraded, and whether it moves.
const LOOK: Duration = Duration::from_secs(1);

/// What is copied where to.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// The store.
    pub data_path: PathBuf,
    /// The remotes.
    pub targets: Vec<Target>,
    /// Time from the beginning of a run to that of the next; zero: only when it is asked for.
    pub interval: Duration,
    /// Failures in a row of one remote at which the service is degraded.
    pub failures_max: u32,
    /// How to run rclone.
    pub rclone: Rclone,
}

/// The remotes of a store; clones share it.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: SyncOptions,
    remotes: Vec<Remote>,
    /// When it was found out last what is behind.
    surveyed: Mutex<Option<Instant>>,
    /// One survey at a time.
    surveying: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Remote {
    target: Target,
    board: Board,
    /// Whether a run was asked for that has not begun.
    wanted: Mutex<bool>,
    wake: Notify,
}

impl Engine {
    /// As the last process left it; begins nothing.
    #[must_use]
    pub fn new(options: SyncOptions, counters: Counters) -> Self {
        let remotes = options.targets.iter().map(|target| Remote {
            target: target.clone(),
            board: Board::load(target, &options.data_path, counters.clone()),
            wanted: Mutex::new(false),
            wake: Notify::new(),
        });
        let remotes = remotes.collect();
        Self(Arc::new(Inner { options, remotes, surveyed: Mutex::new(None), surveying: tokio::sync::Mutex::new(()) }))
    }

    /// Works until it is to stop: by the clock, where there is an interval, and when it is asked to. Then nothing is under way any more.
    pub async fn work(&self, stop: &Shutdown) {
        let loops = (0..self.0.remotes.len()).map(|index| self.keep(index, stop));
        futures_util::future::join_all(loops).await;
    }

    /// The same, and says in the heartbeats how it goes.
    pub async fn work_aloud(&self, stop: &Shutdown, progress: &Progress) {
        tokio::select! {
            () = self.work(stop) => {}
            () = async {
                loop {
                    progress.degraded(self.trouble());
                    progress.conditions().set_all("sync_failed", self.failing().map(told));
                    let runs = self.0.remotes.iter().filter(|remote| remote.board.status().state == "running").count();
                    progress.set("syncs_running", runs as u64);
                    tokio::time::sleep(LOOK).await;
                }
            } => {}
        }
    }

    /// The remotes whose failures in a row are as many as are worth telling.
    fn failing(&self) -> impl Iterator<Item = RemoteStatus> {
        let max = self.0.options.failures_max.max(1);
        self.0.remotes.iter().map(|remote| remote.board.status()).filter(move |status| status.failures >= max)
    }

    /// What is wrong, for those who look at services; `None` when nothing is.
    fn trouble(&self) -> Option<String> {
        let failing: Vec<_> = self.failing().collect();
        let first = failing.first()?;
        let others = if failing.len() > 1 { format!(" (and {} more remotes)", failing.len() - 1) } else { String::new() };
        let why = first.last_error.as_deref().unwrap_or("it gives no reason");
        Some(format!("{}: {} syncs in a row have failed: {why}{others}", first.remote, first.failures))
    }

    /// Begins to copy to these remotes, or joins what is under way; none named: to all.
    pub fn begin(&self, names: &[String]) -> Result<Vec<SyncRun>, RpcError> {
        Ok(self.meant(names)?.into_iter().map(Remote::ask).collect())
    }

    /// Lets the next run of these remotes copy there even though another store's files are: those of the same names are replaced. Blocks.
    pub fn allow(&self, names: &[String]) -> Result<(), RpcError> {
        for remote in self.meant(names)? {
            crate::claim::allow(&remote.target.directory(&self.0.options.data_path)).map_err(|error| RpcError::Failed {
                operation: format!("allowing {} to be replaced", remote.target.label()),
                reason: dccd_service::chain(&error),
            })?;
        }
        Ok(())
    }

    /// The remotes of these names; none named: all.
    fn meant(&self, names: &[String]) -> Result<Vec<&Remote>, RpcError> {
        let labels = || self.0.remotes.iter().map(|remote| remote.target.label().to_owned()).collect::<Vec<_>>();
        if self.0.remotes.is_empty() {
            let reason = "the configuration names no remotes; add storage.remotes, then: dccd reload".to_owned();
            return Err(RpcError::Unavailable { service: SYNCD_NAME.to_owned(), reason });
        }
        let is_meant = |remote: &Remote, name: &String| remote.target.is_meant(name);
        for name in names {
            if !self.0.remotes.iter().any(|remote| is_meant(remote, name)) {
                return Err(RpcError::Unknown { what: "remote".to_owned(), name: name.clone(), known: labels() });
            }
        }
        let meant = |remote: &&Remote| names.is_empty() || names.iter().any(|name| is_meant(remote, name));
        Ok(self.0.remotes.iter().filter(meant).collect())
    }

    /// Every remote as it is now.
    pub async fn status(&self) -> Vec<RemoteStatus> {
        let mut all: Vec<RemoteStatus> = self.0.remotes.iter().map(|remote| remote.board.status()).collect();
        let is_idle = all.iter().all(|status| status.state != "running");
        // While something is copied its own numbers say how far that is.
        let age_max = if is_idle { SURVEY_AGE_MAX } else { SURVEY_AGE_MAX_BUSY };
        let is_old = |at: &Option<Instant>| at.is_none_or(|at| at.elapsed() >= age_max);
        if is_old(&self.0.surveyed.lock().unwrap_or_else(PoisonError::into_inner)) {
            let _one = self.0.surveying.lock().await;
            if let Err(error) = self.survey().await {
                tracing::debug!(error = %dccd_service::chain(&error), "cannot find out what is behind");
            }
            *self.0.surveyed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            all = self.0.remotes.iter().map(|remote| remote.board.status()).collect();
        }
        all
    }

    /// Compares the store with the records.
    async fn survey(&self) -> Result<(), SyncError> {
        let (data_path, targets) = (self.0.options.data_path.clone(), self.0.options.targets.clone());
        let surveyed = blocking(move || {
            let failed = |path: PathBuf| move |source| SyncError::File { doing: "read", path, source };
            let found = tree::look(&data_path).map_err(failed(data_path.clone()))?;
            let mut all = Vec::new();
            for target in &targets {
                let path = record_path(target, &data_path);
                let record = Record::read(&path).map_err(failed(path))?;
                all.push(Survey::of(&found.files, &record));
            }
            Ok::<_, SyncError>(all)
        });
        for (remote, survey) in self.0.remotes.iter().zip(surveyed.await??) {
            remote.board.surveyed(&survey);
        }
        Ok(())
    }

    async fn keep(&self, index: usize, stop: &Shutdown) {
        let remote = &self.0.remotes[index];
        let mut due = self.first_due(remote);
        while !stop.is_triggered() {
            remote.board.next_run(due.map_or(0, |due| due.at));
            let by_clock = async {
                match due {
                    // A clock that was set back must not make it wait for years.
                    Some(due) => tokio::time::sleep(due.wait().min(self.0.options.interval)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.wait() => return,
                () = by_clock => {}
                () = remote.wake.notified() => {
                    // A word that came while a run by the clock began, which has taken the wish along.
                    if !*remote.wanted.lock().unwrap_or_else(PoisonError::into_inner) {
                        continue;
                    }
                }
            }
            let begun = now();
            let result = self.run(remote, stop).await;
            due = self.next_due(remote, begun, result.is_err());
        }
    }

    async fn run(&self, remote: &Remote, stop: &Shutdown) -> Result<(), SyncError> {
        {
            // Together, so that who asks either joins this run or gets the next.
            let mut wanted = remote.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            *wanted = false;
            remote.board.begin();
        }
        let run = Run {
            target: &remote.target,
            data_path: &self.0.options.data_path,
            rclone: &self.0.options.rclone,
            board: &remote.board,
            stop,
        };
        let result = run.run().await;
        // What is behind is told with the run's end, and not from before it.
        *self.0.surveyed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        remote.board.end(&result);
        result
    }

    /// When a remote's first run of this process is due.
    fn first_due(&self, remote: &Remote) -> Option<Due> {
        let status = remote.board.status();
        match status.state.as_str() {
            "idle" => self.next_due(remote, status.began, false),
            "failed" => self.next_due(remote, now(), true),
            _ => self.next_due(remote, 0, false),
        }
    }

    /// When the next run is due after one that began then.
    fn next_due(&self, remote: &Remote, begun: i64, has_failed: bool) -> Option<Due> {
        let interval = self.0.options.interval;
        if interval.is_zero() {
            return None;
        }
        let wait = if has_failed { retry_delay(remote.board.status().failures, interval) } else { interval };
        let from = if has_failed { now() } else { begun };
        Some(Due { at: from.saturating_add(i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX)) })
    }
}

/// Wait after so many failures in a row: doubled each time, at most the interval, and never at the same moment for all remotes.
fn retry_delay(failures: u32, interval: Duration) -> Duration {
    let doubled = RETRY_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(RETRY_DELAY_MAX).min(interval).mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// A moment by the host's clock, ns since the epoch: that is what the next process goes by, too.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: i64,
}

impl Due {
    fn wait(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.at.saturating_sub(now())).unwrap_or(0))
    }
}

/// A remote that fails, as a condition.
fn told(status: RemoteStatus) -> (String, Severity, String) {
    let why = status.last_error.as_deref().unwrap_or("it gives no reason");
    let message = format!("{} syncs in a row have failed: {why}", status.failures);
    (status.remote, Severity::Warning, message)
}

impl Remote {
    /// Asks for a run, unless one is under way or was asked for.
    fn ask(&self) -> SyncRun {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let status = self.board.status();
        let is_running = status.state == "running";
        let joined = is_running || *wanted;
        if !is_running {
            *wanted = true;
            self.wake.notify_one();
        }
        let run = if is_running { status.runs_begun } else { status.runs_begun + 1 };
        SyncRun { remote: self.target.label().to_owned(), run, joined }
    }
}

/// What of a store a remote has.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Survey {
    pub(crate) copied_files: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) behind_files: u64,
    pub(crate) behind_bytes: u64,
    pub(crate) behind_since: i64,
}

impl Survey {
    fn of(files: &[tree::StoreFile], record: &Record) -> Self {
        let mut survey = Self::default();
        for file in files {
            if record.need(file) == Need::None {
                survey.copied_files += 1;
                survey.copied_bytes += file.identity.size;
                continue;
            }
            survey.behind_files += 1;
            survey.behind_bytes += file.identity.size;
            let mtime = file.identity.mtime_ns;
            survey.behind_since = if survey.behind_since == 0 { mtime } else { survey.behind_since.min(mtime) };
        }
        survey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_wait_longer_and_longer_and_never_longer_than_the_interval() {
        let hour = Duration::from_secs(3_600);
        let about = |failures, interval| retry_delay(failures, interval).as_secs_f64();
        for (failures, seconds) in [(1, 30.0), (2, 60.0), (4, 240.0), (40, 3_600.0)] {
            let wait = about(failures, hour);
            assert!((seconds * 0.89..seconds * 1.11).contains(&wait), "{failures}: {wait}");
        }
        assert!(about(9, Duration::from_secs(60)) < 67.0);
    }
}
