//! How the processes of a service have ended, and how much of its restarts is used up: kept over roots in
//! `<data_path>/.dccd/state/exits/<service>.json`, written to a temporary file and renamed.
//!
//! A root that crashes and is started again must not give a service that crashes a fresh count each time. An orderly stop does:
//! somebody wanted it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dccd_rpc::root::ServiceExit;
use serde::{Deserialize, Serialize};

use crate::confine::Kills;
use crate::events::unix_nanos;
use crate::files::Writer;
use crate::process::Exit;
use crate::state_file;

/// Patience with the disk where a service is about to be started.
const LOAD_PATIENCE: Duration = Duration::from_millis(250);
/// Exits of a service that are kept.
pub(crate) const EXITS_KEPT: usize = 20;
/// How the process of a service ends whose place a successor takes.
pub(crate) const HANDED_OVER: &str = "handed over";

/// What stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    /// The newest last.
    #[serde(default)]
    pub(crate) exits: Vec<ServiceExit>,
    /// Restarts after failures since the last orderly stop.
    #[serde(default)]
    pub(crate) restarts: u64,
    /// When those of the present window were: ns since the epoch, host clock.
    #[serde(default)]
    window: Vec<i64>,
}

impl History {
    /// With the restarts of the window at these moments.
    pub(crate) fn new(exits: Vec<ServiceExit>, restarts: u64, window: impl Iterator<Item = Instant>) -> Self {
        let now = unix_nanos();
        let ago = |then: Instant| i64::try_from(then.elapsed().as_nanos()).unwrap_or(i64::MAX);
        Self { exits, restarts, window: window.map(|then| now.saturating_sub(ago(then))).collect() }
    }

    /// What was kept, or nothing where the disk doesn't answer soon: it must not hold up the root.
    pub(crate) fn load_soon(data_path: &Path, service: &str) -> Self {
        let (sender, loaded) = std::sync::mpsc::sync_channel(1);
        let (path, name) = (data_path.to_owned(), service.to_owned());
        // A thread of its own, which a disk that hangs may keep for ever.
        let load = move || drop(sender.send(Self::load(&path, &name)));
        let started = std::thread::Builder::new().name("exits".to_owned()).spawn(load);
        let history = started.ok().and_then(|_| loaded.recv_timeout(LOAD_PATIENCE).ok());
        history.unwrap_or_else(|| {
            tracing::warn!(service, "the disk gives no answer; the history of a service begins anew");
            Self::default()
        })
    }

    /// The one that was saved last; an empty one where there is none, or none that can be read.
    pub(crate) fn load(data_path: &Path, service: &str) -> Self {
        let path = file(data_path, service);
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let mut history: Self = read.unwrap_or_else(|error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "the history of a service cannot be read; it begins anew");
            }
            Self::default()
        });
        history.exits.drain(..history.exits.len().saturating_sub(EXITS_KEPT));
        history
    }

    /// When the restarts of the window were, oldest first. One from the future (the host's clock was set back) counts as just now.
    pub(crate) fn window(&self) -> Vec<Instant> {
        let (now, clock) = (Instant::now(), unix_nanos());
        let ago = |&then: &i64| Duration::from_nanos(u64::try_from(clock.saturating_sub(then)).unwrap_or(0));
        let mut window: Vec<Instant> = self.window.iter().filter_map(|then| now.checked_sub(ago(then))).collect();
        window.sort_unstable();
        window
    }

    fn save(&self, data_path: &Path, service: &str) -> io::Result<()> {
        let path = file(data_path, service);
        fs::create_dir_all(directory(data_path))?;
        let temporary = path.with_extension("json.tmp");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(&temporary, path)
    }
}

fn directory(data_path: &Path) -> PathBuf {
    state_file::directory(data_path).join("exits")
}

fn file(data_path: &Path, service: &str) -> PathBuf {
    directory(data_path).join(format!("{service}.json"))
}

/// Saves the histories of one service, one after another.
#[derive(Debug, Default)]
pub(crate) struct Saver(Writer);

impl Saver {
    /// Saves it. A disk that takes no writes costs this file only, and a service's restart does not wait long for it.
    pub(crate) async fn save(&mut self, data_path: &Path, service: &str, history: History) {
        let (data_path, name) = (data_path.to_owned(), service.to_owned());
        if let Err(error) = self.0.write(move || history.save(&data_path, &name)).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(service, error, "cannot save the service's history");
        }
    }
}

/// A process that has ended, as it was known last.
#[derive(Debug)]
pub(crate) struct Was {
    pub(crate) pid: Option<u32>,
    pub(crate) spawned: Option<Instant>,
    pub(crate) rss_bytes: u64,
    pub(crate) last_words: Option<String>,
}

/// The end of a process, as its supervisor knows it.
#[derive(Debug)]
pub(crate) struct Ending {
    /// See [`ServiceExit::reason`].
    pub(crate) reason: String,
    /// What `last_exit` shows.
    pub(crate) shown: String,
    /// How it ended; `None`: it never began.
    pub(crate) status: Option<Exit>,
    pub(crate) killed: bool,
    pub(crate) detail: Option<String>,
}

impl Ending {
    /// Of a process that could not be started.
    pub(crate) fn not_started(reason: String) -> Self {
        Self { shown: reason.clone(), reason, status: None, killed: false, detail: None }
    }

    /// Of one that ended by itself.
    pub(crate) fn by_itself(status: Exit) -> Self {
        let reason = status.to_string();
        Self { shown: reason.clone(), reason, status: Some(status), killed: false, detail: None }
    }

    /// Of one that had to go for this.
    pub(crate) fn failed(why: &str, status: Exit, killed: bool) -> Self {
        Self { reason: why.to_owned(), shown: why.to_owned(), status: Some(status), killed, detail: None }
    }

    /// Of one whose place a successor has taken.
    pub(crate) fn handed_over(status: Exit) -> Self {
        Self::failed(HANDED_OVER, status, false)
    }

    /// With what the kernel has done to it, if that is known; `rss_bytes` as in [`Kills::explained`].
    pub(crate) fn explained(mut self, kills: Option<Kills>, rss_bytes: u64) -> Self {
        if let (Some(kills), Some(status)) = (kills, self.status) {
            let (is_oom, detail) = kills.explained(status, rss_bytes);
            if is_oom {
                (self.reason, self.shown) = ("OOM".to_owned(), "OOM".to_owned());
            }
            self.detail = detail;
        }
        self
    }

    /// Of one that was asked for.
    pub(crate) fn asked(what: &str, status: Exit, killed: bool) -> Self {
        Self { reason: what.to_owned(), shown: status.to_string(), status: Some(status), killed, detail: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(ts: i64) -> ServiceExit {
        ServiceExit {
            ts,
            pid: Some(1),
            reason: "exit 1".to_owned(),
            code: Some(1),
            signal: None,
            killed: false,
            ran_s: Some(0.5),
            rss_bytes: None,
            last_words: None,
            detail: None,
        }
    }

    #[tokio::test]
    async fn a_history_is_kept_and_bounded_and_a_broken_one_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        assert_eq!(History::load(data, "a"), History::default());
        let now = Instant::now();
        let restarts = [now - Duration::from_secs(50), now - Duration::from_secs(5)];
        let history = History::new((0..30).map(exit).collect(), 7, restarts.into_iter());
        Saver::default().save(data, "a", history).await;
        let loaded = History::load(data, "a");
        assert_eq!((loaded.exits.len(), loaded.exits[0].ts, loaded.restarts), (EXITS_KEPT, 10, 7));
        // Wall clock and monotonic clock are read one after the other.
        let off = |(a, b): (&Instant, &Instant)| a.max(b).duration_since(*a.min(b));
        assert!(loaded.window().iter().zip(&restarts).all(|pair| off(pair) < Duration::from_secs(1)));
        assert_eq!(loaded.window().len(), 2);
        let ahead = History { window: vec![i64::MAX], ..History::default() };
        assert!(ahead.window()[0].elapsed() < Duration::from_secs(60));
        fs::write(file(data, "a"), "{").unwrap();
        assert_eq!(History::load(data, "a"), History::default());
    }

    #[test]
    fn a_disk_that_hangs_holds_up_no_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "a");
        fs::create_dir_all(directory(dir.path())).unwrap();
        // Reading it waits for somebody who writes, as reading from such a disk waits for it.
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        assert_eq!(History::load_soon(dir.path(), "a"), History::default());
        fs::remove_file(&path).unwrap();
        fs::write(&path, r#"{"restarts": 7}"#).unwrap();
        assert_eq!(History::load(dir.path(), "a").restarts, 7);
    }
}
