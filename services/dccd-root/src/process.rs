//! One child process: spawned with its token on standard input, watched through a pidfd, killed with its whole group.

use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use dccd_registry::ProcessWatch;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::sync::oneshot;

use crate::ServiceSpec;
use crate::capture::{RotatingFile, capture};

/// Patience with a process after SIGKILL; only one stuck in the kernel (dead disk) needs longer.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// Patience with the last lines of a log.
const LOG_DEADLINE: Duration = Duration::from_secs(2);

/// What glibc's allocator is told, unless the environment says it already: left alone it raises both with each large block that is
/// freed, up to 32 and 64 MiB, and then keeps that much of what a commit of many series or a backfill had taken for a moment.
const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "524288"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];

/// A running child. Dropped without [`Process::reap`] it is killed: nothing we started is left to itself.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    watch: ProcessWatch,
    log: Option<oneshot::Receiver<()>>,
    /// Open as long as we live: its end tells the child that we died.
    _stdin: Option<ChildStdin>,
    reaped: bool,
}

impl Process {
    /// Starts `executable` under the service's name, in a process group of its own, and hands it the token.
    pub(crate) fn spawn(executable: &Path, spec: &ServiceSpec, token: &str, log_file: &Path) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(executable);
        command
            .arg0(&spec.name)
            .args(&spec.args)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let unsaid = ALLOCATOR.iter().filter(|(name, _)| std::env::var_os(name).is_none());
        command.envs(unsaid.copied());
        let mut child = command.spawn()?;
        // Gives back our copies of the pipe's writing end, so that the log ends with the child.
        drop(command);
        let made = (|| {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            let watch = ProcessWatch::open(child.id())?;
            let log = capture(reader, RotatingFile::new(log_file.to_owned()))?;
            let mut stdin = child.stdin.take();
            if let Some(stdin) = &mut stdin {
                // Fits into the empty pipe, so it can't block. A child that died at once shows in its exit status.
                let _ = writeln!(stdin, "{token}");
            }
            Ok((pid, watch, log, stdin))
        })();
        match made {
            Ok((pid, watch, log, stdin)) => Ok(Self { child, pid, watch, log: Some(log), _stdin: stdin, reaped: false }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resolves when the process has exited; it is a zombie then, until [`Process::reap`].
    pub(crate) async fn exited(&self) {
        self.watch.exited().await;
    }

    /// Asks it to stop. The leader alone: it knows what to do with its own children.
    pub(crate) fn terminate(&self) {
        // It may have exited just now, which is what we want.
        let _ = kill_process(self.pid, Signal::TERM);
    }

    /// Kills it and everything in its group. The process is not reaped yet, so that the group can't be another's.
    pub(crate) fn kill_group(&self) {
        if !self.reaped {
            // No such group: all gone already.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Kills what is left of the group, takes the exit status and waits for the last line of the log. `None` when the
    /// process can't be killed because the kernel doesn't let go of it.
    pub(crate) async fn reap(mut self) -> Option<ExitStatus> {
        self.kill_group();
        let exited = tokio::time::timeout(KILL_DEADLINE, self.exited()).await;
        // From here on dropping this must not wait for it.
        self.reaped = true;
        exited.ok()?;
        let status = self.child.try_wait().ok().flatten();
        if let Some(log) = self.log.take() {
            // A grandchild that left the group may hold the pipe; its lines are still captured, only not waited for.
            let _ = tokio::time::timeout(LOG_DEADLINE, log).await;
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill_group();
            let _ = self.child.wait();
        }
    }
}

/// `exit 1`, `SIGSEGV`, …
pub(crate) fn describe(status: Option<ExitStatus>) -> String {
    match status {
        None => "not reaped".to_owned(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => signal_name(signal),
            (None, None) => status.to_string(),
        },
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_described() {
        assert_eq!(describe(Some(ExitStatus::from_raw(0x100))), "exit 1");
        assert_eq!(describe(Some(ExitStatus::from_raw(9))), "SIGKILL");
        assert_eq!(describe(Some(ExitStatus::from_raw(11))), "SIGSEGV");
        assert_eq!(describe(Some(ExitStatus::from_raw(40))), "signal 40");
        assert_eq!(describe(None), "not reaped");
    }
}
