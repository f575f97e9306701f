//! Waits for the end of a process, also of one that is not our child, without polling: a pidfd.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One process, held by a descriptor that can't come to mean another one when the pid is used again.
#[derive(Debug)]
pub struct ProcessWatch(AsyncFd<OwnedFd>);

impl ProcessWatch {
    /// Watches the process that has this pid now. `NotFound` when there is none. Must be called inside a tokio runtime.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let fd = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(|error| match error {
            rustix::io::Errno::SRCH => io::ErrorKind::NotFound.into(),
            other => io::Error::from(other),
        })?;
        // Deprecated because an arbitrary `AsRawFd` could close its descriptor too early; an `OwnedFd` cannot, and the
        // replacement is `unsafe`.
        #[allow(deprecated)]
        AsyncFd::with_interest(fd, Interest::READABLE).map(Self)
    }

    /// Sends it a signal; does nothing when it has exited.
    pub fn signal(&self, signal: Signal) {
        // It may have exited just now; the caller waits for that anyway.
        let _ = pidfd_send_signal(&self.0, signal);
    }

    /// How an exited process ended; `None` where it lives, or where only another process is told: its parent. Reaps a
    /// child of ours.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(self.0.get_ref().as_fd()), options).ok()??;
        let raw = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => (code & 0xff) << 8,
            (None, signal) => signal?,
        };
        Some(ExitStatus::from_raw(raw))
    }

    /// Resolves when the process has exited (a child of ours is then a zombie, still to be reaped).
    pub async fn exited(&self) {
        // An error means that the runtime is shutting down; there is nobody left to wait then.
        let _ = self.0.readable().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn an_exit_is_seen() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let watch = ProcessWatch::open(child.id()).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), watch.exited()).await.is_err());
        drop(child.stdin.take());
        tokio::time::timeout(Duration::from_secs(5), watch.exited()).await.unwrap();
        assert!(child.try_wait().unwrap().unwrap().success());
        assert_eq!(watch.status(), None, "it was reaped by another");
        assert_eq!(ProcessWatch::open(child.id()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    #[allow(clippy::zombie_processes, reason = "the watch reaps them")]
    async fn the_exit_status_of_a_child_is_told_once() {
        let child = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let watch = ProcessWatch::open(child.id()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), watch.exited()).await.unwrap();
        assert_eq!(watch.status().unwrap().code(), Some(3));
        assert_eq!(watch.status(), None);
        let child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let watch = ProcessWatch::open(child.id()).unwrap();
        assert_eq!(watch.status(), None, "it lives");
        watch.signal(Signal::KILL);
        tokio::time::timeout(Duration::from_secs(5), watch.exited()).await.unwrap();
        assert_eq!(watch.status().unwrap().signal(), Some(9));
    }
}
