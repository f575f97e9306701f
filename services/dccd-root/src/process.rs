//! One process of a service, spawned or adopted: watched through a pidfd, killed with its whole group.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use dccd_registry::ProcessWatch;
use dccd_service::{RotatingFile, process};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::oneshot;

use crate::capture::capture;
use crate::confine::{Confined, Kills, Limiter};
use crate::{Limits, NOTIFY_VARIABLES, ServiceSpec};

/// Patience with a process after SIGKILL; only one stuck in the kernel (dead disk) needs longer.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// Patience with the last lines of a log.
const LOG_DEADLINE: Duration = Duration::from_secs(2);

/// What glibc's allocator is told, unless the environment says it already: left alone it raises both with each large block that is
/// freed, up to 32 and 64 MiB, and then keeps that much of what a commit of many series or a backfill had taken for a moment.
const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "524288"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];

/// A running process of a service. Dropped without [`Process::reap`] or [`Process::let_go`] it is killed: nothing is left to
/// itself by mistake.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    watch: ProcessWatch,
    own: Option<Own>,
    /// Its limits, once it has them.
    confined: Option<Confined>,
    over: bool,
}

/// What we have of a child of ours and not of an adopted process.
#[derive(Debug)]
struct Own {
    child: Child,
    log: Option<oneshot::Receiver<()>>,
    /// Open as long as we live: its end tells the child that we died.
    stdin: Option<ChildStdin>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// As it said, or as the kernel said.
    Status(ExitStatus),
    /// It was no child of ours; only its parent is told.
    Unknown,
    /// The kernel doesn't let go of it.
    NotReaped,
}

impl Process {
    /// Starts `executable` under the service's name, in a process group of its own. It waits for its token then.
    pub(crate) fn spawn(executable: &Path, spec: &ServiceSpec, log: RotatingFile) -> io::Result<Self> {
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
        for variable in NOTIFY_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command.spawn()?;
        // Gives back our copies of the pipe's writing end, so that the log ends with the child.
        drop(command);
        let made = (|| {
            let pid = pid_of(child.id())?;
            let watch = ProcessWatch::open(child.id())?;
            let log = capture(reader, log)?;
            Ok((pid, watch, log))
        })();
        match made {
            Ok((pid, watch, log)) => {
                let stdin = child.stdin.take();
                Ok(Self { pid, watch, own: Some(Own { child, log: Some(log), stdin }), confined: None, over: false })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Hands a new child its token.
    pub(crate) fn hand(&mut self, token: &str) {
        if let Some(stdin) = self.own.as_mut().and_then(|own| own.stdin.as_mut()) {
            // Fits into the empty pipe, so it can't block. A child that died at once shows in its exit status.
            let _ = writeln!(stdin, "{token}");
        }
    }

    /// Takes over the process of an earlier root. Its output goes where it puts it itself.
    pub(crate) fn adopt(pid: u32, watch: ProcessWatch) -> io::Result<Self> {
        Ok(Self { pid: pid_of(pid)?, watch, own: None, confined: None, over: false })
    }

    /// Limits what it may use, as its specification says.
    pub(crate) fn confine(&mut self, limiter: &Limiter, spec: &ServiceSpec) {
        self.confined = Some(limiter.confine(spec, self.pid));
    }

    /// What it is limited to; `None`: it has not been limited yet.
    pub(crate) fn limits(&self) -> Option<Limits> {
        self.confined.as_ref().map(Confined::limits)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Resolves when the process has exited; a child is a zombie then, until [`Process::reap`].
    pub(crate) async fn exited(&self) {
        self.watch.exited().await;
    }

    /// Asks it to stop. The leader alone: it knows what to do with its own children.
    pub(crate) fn terminate(&self) {
        self.watch.signal(Signal::TERM);
    }

    /// Asks it to write into its log what it is at. One that doesn't know the signal ends by it.
    pub(crate) fn ask_for_dump(&self) {
        self.watch.signal(Signal::QUIT);
    }

    /// Kills it and everything in its group.
    pub(crate) fn kill_group(&self) {
        // A child of ours is not reaped yet, so that the group can't be another's. One that we adopted may be gone together
        // with its number; what it left of its group is not ours to find then.
        let still_ours = self.own.is_some() || process::start_ticks(self.pid()).is_some();
        self.watch.signal(Signal::KILL);
        if !self.over && still_ours {
            // No such group: all gone already.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Kills what is left of the group, takes the exit status and waits for the last line of the log. Says besides what the
    /// kernel has killed meanwhile.
    pub(crate) async fn reap(mut self) -> (Exit, Option<Kills>) {
        let status = self.reap_process().await;
        (status, self.confined.take().map(Confined::finish))
    }

    async fn reap_process(&mut self) -> Exit {
        let exited_before = tokio::time::timeout(Duration::ZERO, self.exited()).await.is_ok();
        if self.own.is_some() || !exited_before {
            self.kill_group();
        }
        let exited = tokio::time::timeout(KILL_DEADLINE, self.exited()).await;
        // From here on dropping this must not wait for it.
        self.over = true;
        if exited.is_err() {
            return Exit::NotReaped;
        }
        let Some(own) = &mut self.own else { return self.watch.status().map_or(Exit::Unknown, Exit::Status) };
        let status = own.child.try_wait().ok().flatten();
        if let Some(log) = own.log.take() {
            // A grandchild that left the group may hold the pipe; its lines are still captured, only not waited for.
            let _ = tokio::time::timeout(LOG_DEADLINE, log).await;
        }
        status.map_or(Exit::NotReaped, Exit::Status)
    }

    /// Leaves the process to the next root: it sees that this one is gone, and goes on.
    pub(crate) fn let_go(mut self) {
        self.over = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.over {
            self.kill_group();
            if let Some(own) = &mut self.own {
                let _ = own.child.wait();
            }
        }
    }
}

fn pid_of(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Exit {
    /// Its exit code, where we were told.
    pub(crate) fn code(self) -> Option<i32> {
        if let Self::Status(status) = self { status.code() } else { None }
    }

    /// The name of the signal that ended it, where we were told.
    pub(crate) fn signal(self) -> Option<String> {
        if let Self::Status(status) = self { status.signal().map(signal_name) } else { None }
    }

    /// Whether it was killed outright, which nobody can do anything about: by somebody, or by the kernel.
    pub(crate) fn is_sigkill(self) -> bool {
        matches!(self, Self::Status(status) if status.signal() == Some(Signal::KILL.as_raw()))
    }

    /// Whether it says of itself that all went well.
    pub(crate) fn is_clean(self) -> bool {
        matches!(self, Self::Status(status) if status.success())
    }
}

impl fmt::Display for Exit {
    /// `exit 1`, `SIGSEGV`, …
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("exit unknown, adopted"),
            Self::NotReaped => f.write_str("not reaped"),
            Self::Status(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exit {code}"),
                (None, Some(signal)) => f.write_str(&signal_name(signal)),
                (None, None) => status.fmt(f),
            },
        }
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
        let describe = |raw| Exit::Status(ExitStatus::from_raw(raw)).to_string();
        assert_eq!(describe(0x100), "exit 1");
        assert_eq!(describe(9), "SIGKILL");
        assert_eq!(describe(11), "SIGSEGV");
        assert_eq!(describe(40), "signal 40");
        assert_eq!(Exit::NotReaped.to_string(), "not reaped");
        assert_eq!(Exit::Unknown.to_string(), "exit unknown, adopted");
        assert!(Exit::Status(ExitStatus::from_raw(0)).is_clean() && !Exit::Unknown.is_clean());
    }
}
