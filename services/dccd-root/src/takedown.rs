//! Taking leave of a process: asking it to stop, killing it, finding out why it ended, and, of one that hangs, what it is at.

use std::time::{Duration, Instant};

use dccd_rpc::root::ServiceState;
use dccd_service::dump::{self, ThreadState};
use dccd_service::{RotatingFile, log};
use tokio::time::timeout;

use crate::cell::{Gone, Recycle};
use crate::exits::Ending;
use crate::process::Process;
use crate::supervisor::{End, Supervisor};

/// What an exit says of a process that was killed after it was looked at.
const LOOKED_AT: &str = "what it was at is in its log";
/// Time that a process which hangs has to write down what it is at.
const DUMP_PATIENCE: Duration = Duration::from_millis(500);

impl Supervisor {
    /// Replaces a process that answers, as a failure.
    pub(crate) async fn recycle(&self, process: Process, why: Recycle) -> End {
        let (service, pid, why) = (self.cell.name(), process.pid(), (why, why.as_str()));
        tracing::warn!(service, pid, why = why.1, "replacing a service");
        self.cell.set(ServiceState::Stopping, Some(why.1.to_owned()));
        let patience = match why.0 {
            Recycle::Memory => self.supervision().shutdown_timeout,
            // It has had its time; what can still flush does so quickly.
            Recycle::NoProgress => {
                self.dump(&process, why.1).await;
                self.supervision().shutdown_timeout.min(self.supervision().heartbeat_timeout)
            }
        };
        self.stop_process(process, patience, why.1).await;
        self.cell.state().last_exit = Some(why.1.to_owned());
        End::Failed { exit: why.1.to_owned(), clean: false }
    }

    /// Asks a process of an earlier root to end, because it can't be adopted.
    pub(crate) async fn replace(&self, process: Process, why: &'static str) -> End {
        tracing::warn!(service = self.cell.name(), pid = process.pid(), why, "replacing a process of an earlier root");
        self.stop_process(process, self.supervision().shutdown_timeout, why).await;
        self.cell.state().last_exit = Some(why.to_owned());
        End::Replaced
    }

    /// Takes leave of a process that exited, or that we killed for `why`.
    pub(crate) async fn ended(&self, process: Process, why: Option<&'static str>) -> End {
        let never_adopted = self.cell.is_adopting();
        let (status, kill) = process.reap().await;
        self.forget();
        let clean = why.is_none() && status.is_clean();
        let ending = match why {
            Some(why) => Ending { detail: Some(LOOKED_AT.to_owned()), ..Ending::failed(why, status, true) },
            None => Ending::by_itself(status).explained(kill, self.cell.state().progress.rss_bytes),
        };
        let exit = ending.shown.clone();
        let exit = match self.cell.ended(ending).0 {
            Some(last_words) => format!("{exit} ({last_words})"),
            None => exit,
        };
        if never_adopted { End::Replaced } else { End::Failed { exit, clean } }
    }

    /// Removes what was written down of a process that has ended.
    fn forget(&self) {
        // What stays is taken for a crash by the next root, or written over by this one.
        let _ = std::fs::remove_file(self.ctx.runtime_dir.service_record(self.cell.name()));
        // Of a successor that died before it took over.
        let _ = std::fs::remove_file(self.ctx.runtime_dir.successor_record(self.cell.name()));
    }

    /// Asks a process to stop, for this reason, waits, kills it and its group if need be.
    pub(crate) async fn stop_process(&self, process: Process, patience: Duration, reason: &str) -> Gone {
        self.cell.set(ServiceState::Stopping, None);
        let mut force = self.ctx.force.subscribe();
        let forced = async {
            if force.wait_for(|force| *force).await.is_err() {
                // The root is going down by itself; patience decides.
                std::future::pending::<()>().await;
            }
        };
        let gently = async {
            process.terminate();
            if timeout(patience, process.exited()).await.is_ok() {
                return (true, None);
            }
            self.dump(&process, "it does not stop").await;
            (false, Some(LOOKED_AT.to_owned()))
        };
        let (gently, detail) = tokio::select! {
            biased;
            () = forced => (false, None),
            gently = gently => gently,
        };
        if !gently {
            tracing::warn!(
                service = self.cell.name(),
                pid = process.pid(),
                patience_s = patience.as_secs_f64(),
                "killing a service"
            );
        }
        let (status, _) = process.reap().await;
        self.forget();
        let (_, flushed) = self.cell.ended(Ending { detail, ..Ending::asked(reason, status, !gently) });
        Gone { exit: status.to_string(), killed: !gently, flushed }
    }

    /// Lets a process that hangs write into its log what it is at, and writes there how its threads look from outside: one that is
    /// stopped says nothing itself.
    pub(crate) async fn dump(&self, process: &Process, why: &str) {
        let (service, pid) = (self.cell.name(), process.pid());
        tracing::warn!(service, pid, why, "the service hangs; what it is at is in its log");
        let (begun, before) = (Instant::now(), dump::threads(pid));
        process.ask_for_dump();
        if before.iter().any(|thread| !matches!(thread.state, 'T' | 't')) {
            // It goes on by itself, or ends by the signal.
            let _ = timeout(DUMP_PATIENCE, process.exited()).await;
        }
        let text = seen_from_outside(pid, why, &before, &dump::threads(pid), begun.elapsed());
        let files = &self.ctx.log_files;
        let (path, rotation) = (files.of(&self.ctx.data_path, service), files.rotation);
        // A disk that hangs must not hold this up for ever, and the log is not worth more than that.
        let write = tokio::task::spawn_blocking(move || RotatingFile::new(path, rotation).append(text.as_bytes()));
        let _ = timeout(DUMP_PATIENCE, write).await;
    }
}

/// The threads of a process before and after a while, as lines of a log.
fn seen_from_outside(pid: u32, why: &str, before: &[ThreadState], after: &[ThreadState], passed: Duration) -> String {
    let mut text = log::line(&format!("pid {pid} hangs ({why}); its threads, seen by dccd-root:"));
    for thread in after {
        let earlier = before.iter().find(|earlier| earlier.id == thread.id).map_or(0, |earlier| earlier.ticks);
        let used_ms = dccd_service::process::ticks(thread.ticks.saturating_sub(earlier)).as_millis();
        text.push_str(&log::line(&format!("{thread}; {used_ms} ms of CPU time in the last {} ms", passed.as_millis())));
    }
    if after.is_empty() {
        text.push_str(&log::line("none any more: it ended by itself just then"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_turns_in_a_circle_shows_by_its_cpu_time() {
        let thread = |id, ticks| ThreadState { id, name: "hot".to_owned(), state: 'R', ticks, ..ThreadState::default() };
        let (before, after) = ([thread(7, 100)], [thread(7, 150), thread(8, 0)]);
        let text = seen_from_outside(7, "watchdog", &before, &after, Duration::from_millis(510));
        let lines: Vec<_> = text.lines().map(|line| line.split_once(": ").unwrap().1).collect();
        assert_eq!(
            lines,
            [
                "pid 7 hangs (watchdog); its threads, seen by dccd-root:",
                "thread 7 hot: runs (R); 500 ms of CPU time in the last 510 ms",
                "thread 8 hot: runs (R); 0 ms of CPU time in the last 510 ms",
            ]
        );
        let gone = seen_from_outside(7, "watchdog", &before, &[], Duration::ZERO);
        assert!(gone.ends_with("none any more: it ended by itself just then\n"));
    }
}
