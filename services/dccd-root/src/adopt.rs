//! Processes of an earlier root of this instance: told from all others by what that root wrote down of them, then adopted,
//! or asked to end.
//!
//! A record, `<runtime>/<service>.child` (mode 0600, in a directory of mode 0700), holds pid, start time and the hash of the
//! token of one process. It is written before the process gets its token and removed when the process has ended; that it is
//! there without its process says that the process crashed while there was no root.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use dccd_registry::{ProcessWatch, RuntimeDir};
use dccd_service::{PidLock, process};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::ServiceSpec;
use crate::token::TokenHash;

/// Patience with a process after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// What a root writes down of a process it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pid: u32,
    /// When it began, in the kernel's clock ticks since the host's start.
    pub(crate) start_ticks: u64,
    /// SHA-256 of its token, hexadecimal.
    token_sha256: String,
    /// [`ServiceSpec::fingerprint`] of its start.
    pub(crate) fingerprint: String,
    /// Restarts of the service up to this process.
    pub(crate) restarts: u64,
    /// How the process before it ended.
    pub(crate) last_exit: Option<String>,
}

impl Record {
    /// Of a process that was just started; `None` when it is gone already.
    pub(crate) fn of(
        pid: u32,
        token: &TokenHash,
        spec: &ServiceSpec,
        restarts: u64,
        last_exit: Option<String>,
    ) -> Option<Self> {
        let start_ticks = process::start_ticks(pid)?;
        let (token_sha256, fingerprint) = (token.as_hex().to_owned(), spec.fingerprint.clone());
        Some(Self { pid, start_ticks, token_sha256, fingerprint, restarts, last_exit })
    }

    /// The token that the process has to show.
    pub(crate) fn token(&self) -> TokenHash {
        TokenHash::from_hex(self.token_sha256.clone())
    }

    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&temporary)?.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&temporary, path)
    }

    /// Removes it: of a process that has ended and been heard of.
    pub(crate) fn remove(&self, runtime_dir: &RuntimeDir, service: &str) {
        tracing::debug!(service, pid = self.pid, "removing the record of a process that has ended");
        // One that stays is looked at once more by the next root.
        let _ = fs::remove_file(runtime_dir.service_record(service));
    }

    /// Writes down that the process was told something else meanwhile. If that fails, the next root replaces the process.
    pub(crate) fn retell(path: &Path, fingerprint: String) {
        let Some(record) = Self::load(path) else { return };
        if let Err(error) = (Self { fingerprint, ..record }).save(path) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(path = %path.display(), error, "the next root will start this service anew");
        }
    }

    fn load(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!(path = %path.display(), error = error as &dyn std::error::Error, "a record that cannot be read"))
            .ok()
    }

    /// Reaps a child of ours that has ended: while this process was executed anew, nobody did. Its exit status, if it was one.
    fn reap(&self) -> Option<ExitStatus> {
        // Only a child of ours can be reaped, and until it is its number is no other's.
        ProcessWatch::open(self.pid).ok()?.status()
    }

    /// The process it speaks of, held so that it can't come to mean another; `None` when it is gone.
    fn process(&self) -> Option<ProcessWatch> {
        let watch = ProcessWatch::open(self.pid).ok()?;
        // In this order: whoever had the pid when it was opened still has it if the start time is right now.
        (process::start_ticks(self.pid) == Some(self.start_ticks)).then_some(watch)
    }
}

/// A process that may be adopted.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) record: Record,
    pub(crate) watch: ProcessWatch,
}

/// What is left of a service's last process.
#[derive(Debug)]
pub(crate) enum Predecessor {
    /// Nothing that this service need know.
    None,
    /// It crashed while there was no root; how, where it was a child of ours (this process was the earlier root).
    Crashed(Record, Option<ExitStatus>),
    /// It runs, and is what this root would start.
    Runs(Candidate),
    /// Something else holds the service's lock; it has to end first.
    Stranger,
}

impl Predecessor {
    /// Looks for it. Must be called inside a tokio runtime.
    pub(crate) fn of(runtime_dir: &RuntimeDir, spec: &ServiceSpec) -> Self {
        end_successor(runtime_dir, &spec.name);
        let path = runtime_dir.service_record(&spec.name);
        let holder = PidLock::holder(&runtime_dir.service_lock(&spec.name)).ok().flatten();
        let Some(record) = Record::load(&path) else {
            return if holder.is_some() { Self::Stranger } else { Self::None };
        };
        match record.process() {
            // Without the lock it has not come far, or is as good as gone: it does not get to work.
            Some(watch) if record.fingerprint == spec.fingerprint && holder == Some(record.pid) => {
                Self::Runs(Candidate { record, watch })
            }
            Some(_) => Self::Stranger,
            None if holder.is_some() => {
                record.reap();
                Self::Stranger
            }
            None => {
                let status = record.reap();
                Self::Crashed(record, status)
            }
        }
    }
}

/// Deals with a successor that was started by an earlier root. One that holds the service's lock has taken over, and its record is the
/// service's; any other is ended before it does: nobody waits for it any more, and the process before it goes on.
fn end_successor(runtime_dir: &RuntimeDir, service: &str) {
    let path = runtime_dir.successor_record(service);
    let Some(record) = Record::load(&path) else { return };
    let Some(watch) = record.process() else {
        let _ = fs::remove_file(path);
        return;
    };
    if PidLock::holder(&runtime_dir.service_lock(service)).ok().flatten() == Some(record.pid) {
        // It does the same itself; whoever comes second finds nothing.
        let _ = fs::rename(path, runtime_dir.service_record(service));
        return;
    }
    tracing::warn!(service, pid = record.pid, "ending a successor of a service, which an earlier root had started");
    watch.signal(Signal::KILL);
    let _ = fs::remove_file(path);
}

/// A process that has lost its root.
#[derive(Debug)]
pub struct Orphan {
    /// Its service.
    pub name: String,
    /// Its process.
    pub pid: u32,
    watch: ProcessWatch,
}

/// The processes that a root of this instance has left, where none runs now. Must be called inside a tokio runtime.
#[must_use]
pub fn orphans(runtime_dir: &RuntimeDir) -> Vec<Orphan> {
    let orphan = |name: String| {
        let record = Record::load(&runtime_dir.service_record(&name))?;
        Some(Orphan { pid: record.pid, watch: record.process()?, name })
    };
    runtime_dir.recorded_services().into_iter().filter_map(orphan).collect()
}

impl Orphan {
    /// Asks it to flush and end, and kills it if it doesn't in time. Whether it had to be killed.
    pub async fn end(&self, patience: Duration) -> bool {
        end(&self.watch, &self.name, self.pid, patience).await
    }
}

/// Asks a process to end and waits; kills it when that takes too long. Whether it had to be killed.
async fn end(watch: &ProcessWatch, service: &str, pid: u32, patience: Duration) -> bool {
    if !patience.is_zero() {
        watch.signal(Signal::TERM);
        if timeout(patience, watch.exited()).await.is_ok() {
            return false;
        }
    }
    tracing::warn!(service, pid, "killing a process of an earlier root");
    watch.signal(Signal::KILL);
    // One that the kernel doesn't let go of shows in what comes next.
    let _ = timeout(KILL_DEADLINE, watch.exited()).await;
    true
}

/// Waits until no process of an earlier root runs as this service: asks it to end, and kills it when it doesn't.
pub(crate) async fn predecessor_gone(runtime_dir: &RuntimeDir, service: &str, patience: Duration) {
    let lock = runtime_dir.service_lock(service);
    let record = || Record::load(&runtime_dir.service_record(service));
    let old = record();
    let is_old =
        |record: &Record| old.as_ref().is_some_and(|old| (old.pid, old.start_ticks) == (record.pid, record.start_ticks));
    let recorded = old.as_ref().and_then(|record| Some((record.pid, record.process()?)));
    if let Some((pid, watch)) = recorded {
        tracing::warn!(service, pid, "a process of an earlier root is still there; asking it to end");
        end(&watch, service, pid, patience).await;
        // A child of ours it may be all the same, where this process was the earlier root.
        let _ = watch.status();
    }
    // Twice, in case another one took the lock over just then. What is left after that shows as a failed start.
    for _ in 0..2 {
        let Ok(Some(pid)) = PidLock::holder(&lock) else { break };
        // A process that was started meanwhile has a record of its own, and is none of an earlier root.
        if record().is_some_and(|record| record.pid == pid && !is_old(&record)) {
            return;
        }
        let Ok(watch) = ProcessWatch::open(pid) else { break };
        if !matches!(PidLock::holder(&lock), Ok(Some(still)) if still == pid) {
            continue;
        }
        tracing::warn!(service, pid, "a process of an earlier root is still there; asking it to end");
        end(&watch, service, pid, patience).await;
    }
    if record().is_some_and(|record| is_old(&record)) {
        let _ = fs::remove_file(runtime_dir.service_record(service));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Policy};

    fn spec(fingerprint: &str) -> ServiceSpec {
        ServiceSpec {
            name: "x".to_owned(),
            args: Vec::new(),
            policy: Policy::Permanent,
            hands_over: false,
            eager: true,
            limits: Limits::default(),
            fixed: String::new(),
            fingerprint: fingerprint.to_owned(),
            protocol: None,
        }
    }

    #[tokio::test]
    async fn a_process_is_adoptable_by_pid_start_time_lock_and_fingerprint_together() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = RuntimeDir::at(dir.path());
        let path = runtime.service_record("x");
        let look = |fingerprint| Predecessor::of(&runtime, &spec(fingerprint));
        assert!(matches!(look("f"), Predecessor::None));
        let own = std::process::id();
        let record = Record::of(own, &TokenHash::of("t"), &spec("f"), 3, Some("exit 1".to_owned())).unwrap();
        record.save(&path).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap()) & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains("\"t\""), "the token itself is not written down");
        assert!(matches!(look("f"), Predecessor::Stranger), "it runs and has no lock");
        let lock = PidLock::acquire(&runtime.service_lock("x")).unwrap();
        let Predecessor::Runs(found) = look("f") else { panic!("it is adoptable") };
        assert_eq!(found.record, record);
        assert!(found.record.token().is_of("t"));
        assert!(matches!(look("g"), Predecessor::Stranger), "it was told something else");
        Record { start_ticks: record.start_ticks + 1, ..record.clone() }.save(&path).unwrap();
        assert!(matches!(look("f"), Predecessor::Stranger), "another process has the pid, and the lock");
        fs::write(&path, "{").unwrap();
        assert!(matches!(look("f"), Predecessor::Stranger), "a record that is no record");
        drop(lock);
        Record { start_ticks: record.start_ticks + 1, ..record.clone() }.save(&path).unwrap();
        assert!(matches!(look("f"), Predecessor::Crashed(_, None)), "its process is gone");
        assert_eq!(orphans(&runtime).len(), 0);
        record.save(&path).unwrap();
        assert_eq!(orphans(&runtime).iter().map(|o| (o.name.as_str(), o.pid)).collect::<Vec<_>>(), [("x", own)]);
    }
}
