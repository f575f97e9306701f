//! How far one remote is, as everybody is told: the run writes, clients and the saved state read.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use dccd_rpc::syncd::RemoteStatus;
use dccd_service::Counter;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::engine::Survey;
use crate::error::SyncError;
use crate::target::Target;

/// Paths of files under way that are shown at most.
const COPYING_MAX: usize = 4;

/// What a remote's runs add up to, over all remotes of this process.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Files copied.
    pub files: Counter,
    /// Bytes copied.
    pub bytes: Counter,
    /// Runs that have ended.
    pub runs: Counter,
    /// Runs that have failed.
    pub errors: Counter,
}

/// What is kept of a remote over restarts, in `status.json`; times in ns since the epoch, 0: never.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Saved {
    remote: String,
    is_running: bool,
    began: i64,
    ended: i64,
    last_success: i64,
    files_total: u64,
    bytes_total: u64,
    files_done: u64,
    bytes_done: u64,
    failures: u32,
    last_error: Option<String>,
}

/// One remote's state.
#[derive(Debug)]
pub(crate) struct Board {
    path: PathBuf,
    counters: Counters,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    status: RemoteStatus,
    /// When the present run began.
    since: Option<Instant>,
    /// Bytes of files that are through; those of files under way come on top.
    settled_bytes: u64,
}

impl Board {
    /// As the last process left it.
    pub(crate) fn load(target: &Target, data_path: &Path, counters: Counters) -> Self {
        let path = target.directory(data_path).join("status.json");
        let saved: Saved =
            std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let state = match &saved {
            saved if saved.is_running => "interrupted",
            saved if saved.began == 0 => "never",
            saved if saved.failures > 0 => "failed",
            _ => "idle",
        };
        let status = RemoteStatus {
            remote: target.label().to_owned(),
            provider: target.provider().to_owned(),
            state: state.to_owned(),
            began: saved.began,
            ended: saved.ended,
            last_success: saved.last_success,
            files_total: saved.files_total,
            bytes_total: saved.bytes_total,
            files_done: saved.files_done,
            bytes_done: saved.bytes_done,
            failures: saved.failures,
            last_error: saved.last_error,
            ..RemoteStatus::default()
        };
        Self { path, counters, inner: Mutex::new(Inner { status, since: None, settled_bytes: 0 }) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The state now.
    pub(crate) fn status(&self) -> RemoteStatus {
        self.with(|inner| {
            let mut status = inner.status.clone();
            if let Some(since) = inner.since {
                #[expect(clippy::cast_precision_loss, reason = "for people")]
                let (done, left) = (status.bytes_done as f64, status.bytes_total.saturating_sub(status.bytes_done) as f64);
                status.bytes_per_second = done / since.elapsed().as_secs_f64().max(0.001);
                status.eta_s = (done > 0.0).then(|| left / status.bytes_per_second);
            }
            status
        })
    }

    /// A run begins.
    pub(crate) fn begin(&self) {
        self.with(|inner| {
            let status = &mut inner.status;
            "running".clone_into(&mut status.state);
            (status.began, status.next_run) = (now(), 0);
            (status.files_total, status.bytes_total, status.files_done, status.bytes_done) = (0, 0, 0, 0);
            status.runs_begun += 1;
            (inner.since, inner.settled_bytes) = (Some(Instant::now()), 0);
        });
        self.save(true);
    }

    /// So much more is to be done.
    pub(crate) fn add_work(&self, files: u64, bytes: u64) {
        self.with(|inner| {
            inner.status.files_total += files;
            inner.status.bytes_total += bytes;
        });
    }

    /// A file is through.
    pub(crate) fn file_done(&self, bytes: u64) {
        self.counters.files.add(1);
        self.counters.bytes.add(bytes);
        self.with(|inner| {
            inner.settled_bytes += bytes;
            inner.status.files_done += 1;
            inner.status.bytes_done = inner.status.bytes_done.max(inner.settled_bytes).min(inner.status.bytes_total);
        });
    }

    /// Bytes moved since `base`, which was [`Board::settled_bytes`] when counting began, and files that are under way.
    pub(crate) fn moving<'a>(&self, base: u64, bytes: u64, copying: impl Iterator<Item = &'a str>) {
        self.with(|inner| {
            let status = &mut inner.status;
            status.bytes_done = status.bytes_done.max((base + bytes).min(status.bytes_total));
            status.copying = copying.take(COPYING_MAX).map(str::to_owned).collect();
        });
    }

    /// Bytes of the files that are through in this run.
    pub(crate) fn settled_bytes(&self) -> u64 {
        self.with(|inner| inner.settled_bytes)
    }

    /// What the remote has of the store now.
    pub(crate) fn surveyed(&self, survey: &Survey) {
        self.with(|inner| {
            let status = &mut inner.status;
            (status.copied_files, status.copied_bytes) = (survey.copied_files, survey.copied_bytes);
            (status.behind_files, status.behind_bytes) = (survey.behind_files, survey.behind_bytes);
            status.behind_since = survey.behind_since;
        });
    }

    /// When the next run is due; 0: not by the clock.
    pub(crate) fn next_run(&self, at: i64) {
        self.with(|inner| inner.status.next_run = at);
    }

    /// The run is over. The one place at which a remote's failures in a row begin, grow and end: whoever alerts hears of them here.
    pub(crate) fn end(&self, result: &Result<(), SyncError>) {
        self.counters.runs.add(1);
        let status = self.with(|inner| {
            let status = &mut inner.status;
            status.bytes_per_second = inner.since.take().map_or(0.0, |since| {
                #[expect(clippy::cast_precision_loss, reason = "for people")]
                let done = status.bytes_done as f64;
                done / since.elapsed().as_secs_f64().max(0.001)
            });
            (status.eta_s, status.ended) = (None, now());
            status.copying.clear();
            status.runs_ended = status.runs_begun;
            match result {
                Ok(()) => {
                    "idle".clone_into(&mut status.state);
                    status.last_success = status.ended;
                    (status.failures, status.last_error) = (0, None);
                }
                Err(SyncError::Stopped) => "interrupted".clone_into(&mut status.state),
                Err(error) => {
                    "failed".clone_into(&mut status.state);
                    status.failures = status.failures.saturating_add(1);
                    status.last_error = Some(dccd_service::chain(error));
                    self.counters.errors.add(1);
                }
            }
            status.clone()
        });
        match result {
            Ok(()) => tracing::info!(
                remote = status.remote,
                files = status.files_done,
                bytes = status.bytes_done,
                "the copy is up to date"
            ),
            Err(SyncError::Stopped) => tracing::info!(remote = status.remote, files = status.files_done, "stopped copying"),
            Err(error) => tracing::warn!(
                remote = status.remote,
                error = %dccd_service::chain(error),
                failures = status.failures,
                files = status.files_done,
                "could not bring the copy up to date"
            ),
        }
        self.save(matches!(result, Err(SyncError::Stopped)));
    }

    /// Writes it down for whoever asks when nothing runs. Failing is no reason not to copy.
    fn save(&self, is_running: bool) {
        let saved = self.with(|inner| {
            let status = &inner.status;
            Saved {
                remote: status.remote.clone(),
                is_running,
                began: status.began,
                ended: status.ended,
                last_success: status.last_success,
                files_total: status.files_total,
                bytes_total: status.bytes_total,
                files_done: status.files_done,
                bytes_done: status.bytes_done,
                failures: status.failures,
                last_error: status.last_error.clone(),
            }
        });
        let written = || {
            // The run that has just begun is the first to this remote.
            self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            let temporary = self.path.with_extension("json.tmp");
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(&saved)?)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &self.path)
        };
        if let Err(error) = written() {
            tracing::warn!(path = %self.path.display(), %error, "cannot save how far the copy is");
        }
    }
}

/// Now, ns since the epoch, host clock.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
