//! What a process that hangs is at: its threads as the kernel sees them, its tasks as they say themselves.
//!
//! On SIGQUIT a service writes both into its log and goes on. A thread of its own does it, so that it does while every other
//! one is stuck. The root sends that signal before it kills a service that hangs, and looks at the threads from outside
//! besides, because a process that is stopped (SIGSTOP, a debugger, a dead disk) says nothing.

use std::fmt;
use std::fs;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use crate::Tasks;

/// Most threads that are looked at.
const THREADS_MAX: usize = 128;
/// Time for the thread that the kernel chose for the signal, the main one mostly, to go back to what it was at.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(50);
/// Most lines of a kernel's stack that are kept.
const STACK_LINES_MAX: usize = 12;

/// One thread of a process, as the kernel shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadState {
    /// The kernel's number of it.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// `R`: it runs; `S`: it waits; `D`: it waits in the kernel, for a disk mostly; `T`: it is stopped; `t`: it is traced.
    pub state: char,
    /// CPU time used so far, in the kernel's clock ticks.
    pub ticks: u64,
    /// The kernel's function in which it waits, and its system call's number; empty where the kernel doesn't tell.
    pub waits_in: String,
    /// The kernel's part of its stack, innermost first; empty where we may not see it.
    pub kernel_stack: Vec<String>,
}

impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.state {
            'R' => "runs",
            'S' => "waits",
            'D' => "waits for a device",
            'T' => "is STOPPED",
            't' => "is traced",
            'Z' | 'X' => "has ended",
            _ => "is in another state",
        };
        write!(f, "thread {} {}: {what} ({})", self.id, self.name, self.state)?;
        if !self.waits_in.is_empty() {
            write!(f, ", in {}", self.waits_in)?;
        }
        if !self.kernel_stack.is_empty() {
            write!(f, ", kernel stack: {}", self.kernel_stack.join(" < "))?;
        }
        Ok(())
    }
}

/// The threads of a process; none when it is gone.
#[must_use]
pub fn threads(pid: u32) -> Vec<ThreadState> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut threads: Vec<ThreadState> =
        ids.take(THREADS_MAX).filter_map(|id| thread(Path::new(&format!("/proc/{pid}/task/{id}")), id)).collect();
    threads.sort_by_key(|thread| thread.id);
    threads
}

fn thread(directory: &Path, id: u32) -> Option<ThreadState> {
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let (name, state, ticks) = stat(&read("stat"))?;
    let known = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text != "0");
    let call = read("syscall").split(' ').next().and_then(known).filter(|call| call != "running");
    let waits_in = match (known(&read("wchan")), call) {
        (Some(function), Some(call)) => format!("{function} (system call {call})"),
        (Some(function), None) => function,
        (None, Some(call)) => format!("system call {call}"),
        (None, None) => String::new(),
    };
    // Of one that runs or is stopped it is whatever it was interrupted in.
    let kernel_stack = if matches!(state, 'R' | 'T' | 't') { String::new() } else { read("stack") };
    let kernel_stack = kernel_stack.lines().take(STACK_LINES_MAX).map(frame).collect();
    Some(ThreadState { id, name, state, ticks, waits_in, kernel_stack })
}

/// `[<0>] do_epoll_wait+0x61a/0x740` is `do_epoll_wait`.
fn frame(line: &str) -> String {
    let function = line.split_once("] ").map_or(line, |(_, function)| function);
    function.split('+').next().unwrap_or_default().trim().to_owned()
}

/// Name, state and CPU ticks of a `stat` file.
fn stat(text: &str) -> Option<(String, char, u64)> {
    // The name may hold anything, brackets too.
    let (head, tail) = text.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split(' ');
    let state = fields.next()?.chars().next()?;
    // The 14th and 15th of all; the state was the third.
    let mut times = fields.skip(10).map(|field| field.parse::<u64>().unwrap_or(0));
    Some((name, state, times.next()? + times.next()?))
}

/// Writes everything into this process's log.
pub(crate) fn log(tasks: &Tasks, why: &str) {
    tracing::warn!(why, "what this process is at:");
    for task in tasks.states() {
        tracing::warn!("{task}");
    }
    for thread in threads(std::process::id()) {
        tracing::warn!("{thread}");
    }
}

/// Answers each SIGQUIT with [`log`], from a thread of its own, for as long as the process lives.
pub(crate) fn on_signal(tasks: Tasks) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        signal(SignalKind::quit())?
    };
    let answer = move || {
        runtime.block_on(async {
            while signals.recv().await.is_some() {
                tokio::time::sleep(SETTLE).await;
                log(&tasks, "SIGQUIT");
            }
        });
    };
    std::thread::Builder::new().name("dump".into()).stack_size(256 * 1024).spawn(answer)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_a_process_are_seen_from_outside() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let seen = threads(child.id());
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].id, child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(threads(child.id()), []);
    }

    #[test]
    fn what_the_kernel_shows_is_read() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 95 0 0 0 12 30 0 0 20 0 1 0 4711";
        assert_eq!(stat(text), Some(("a) b".to_owned(), 'S', 42)));
        assert_eq!(stat("7 (a) S 1"), None);
        assert_eq!(frame("[<0>] do_epoll_wait+0x61a/0x740"), "do_epoll_wait");
        let thread = ThreadState { id: 7, name: "hot".to_owned(), state: 'T', ..ThreadState::default() };
        assert_eq!(thread.to_string(), "thread 7 hot: is STOPPED (T)");
        let waits = ThreadState {
            state: 'S',
            waits_in: "futex_wait_queue (system call 202)".to_owned(),
            kernel_stack: vec!["futex_wait".to_owned(), "do_futex".to_owned()],
            ..thread
        };
        let words = "thread 7 hot: waits (S), in futex_wait_queue (system call 202), kernel stack: futex_wait < do_futex";
        assert_eq!(waits.to_string(), words);
    }
}
