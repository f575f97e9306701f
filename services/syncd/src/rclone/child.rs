//! A child with a process group of its own, ended as a whole.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

use super::ANSWER_DEADLINE;
use crate::error::SyncError;

/// Time to end in order after SIGTERM; then it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Patience with a process after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// The child and whatever it has started. Dropped while it runs, it is killed.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    /// `None` when it was reaped: its number may be another's by then.
    leader: Option<Pid>,
}

impl Group {
    pub(crate) fn of(child: Child) -> Self {
        let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Self { child, leader }
    }

    /// Resolves when the leader has exited.
    pub(crate) async fn exited(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.leader = None;
        status
    }

    /// The same of one that has closed its output, and so has nothing left to do. One that stays is ended.
    pub(crate) async fn exited_soon(&mut self) -> Result<io::Result<ExitStatus>, SyncError> {
        if let Ok(status) = tokio::time::timeout(ANSWER_DEADLINE, self.exited()).await {
            return Ok(status);
        }
        self.end().await;
        Err(SyncError::Stalled { what: "rclone", after: ANSWER_DEADLINE })
    }

    /// Ends it: asked first, then killed.
    pub(crate) async fn end(&mut self) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            if tokio::time::timeout(KILL_DEADLINE, self.child.wait()).await.is_err() {
                tracing::warn!(pid = ?self.leader, "rclone can't be killed; is a file system stuck?");
            }
        }
        self.leader = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // No such group: it has gone already.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// How a process ended, in words.
pub(crate) fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}
