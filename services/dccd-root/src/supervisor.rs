//! One task per service: runs its process, sees it end or hang, and decides what comes next. Each has its own timers,
//! so that one service's backoff never delays another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_registry::ProcessWatch;
use dccd_rpc::root::ServiceState;
use dccd_service::{PidLock, chain, log};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use crate::budget::{Budget, Decision};
use crate::cell::{Cell, Command, StopOrder};
use crate::context::Context;
use crate::process::{Process, describe};
use crate::{Policy, Supervision};

/// A timer of ours that fires this late says that the root itself was held up (stopped, swapped out, suspended); what
/// seems overdue then is excused once.
const OWN_DELAY_MAX: Duration = Duration::from_millis(500);

/// How one process of the service came to its end.
enum End {
    /// By itself, or killed by us for this failure.
    Failed { exit: String, clean: bool },
    /// Somebody asked for a new one.
    Restart,
    /// The service stops for good.
    Stopped(StopOrder, Option<(String, bool)>),
}

/// Runs until it is told to stop for good, or the root drops the other end of the queue.
pub(crate) async fn supervise(ctx: Arc<Context>, cell: Arc<Cell>, mut commands: mpsc::Receiver<Command>) {
    let mut supervisor = Supervisor { budget: Budget::new(ctx.supervision.restart), ctx, cell };
    while let Some(command) = commands.recv().await {
        match command {
            Command::Start => {}
            Command::Restart => supervisor.budget.reset(),
            Command::Recycle(_) => continue,
            Command::Stop(order) => {
                supervisor.cell.set(ServiceState::Stopped, None);
                // Whoever asked may be gone.
                let _ = order.done.send(None);
                return;
            }
        }
        if let Some((order, stopped)) = supervisor.run(&mut commands).await {
            let _ = order.done.send(stopped);
            return;
        }
    }
}

struct Supervisor {
    ctx: Arc<Context>,
    cell: Arc<Cell>,
    budget: Budget,
}

impl Supervisor {
    fn supervision(&self) -> &Supervision {
        &self.ctx.supervision
    }

    /// Runs processes of the service until it needs none any more. `Some`: it stops for good.
    async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<(StopOrder, Option<(String, bool)>)> {
        loop {
            self.cell.set(ServiceState::Starting, None);
            let ready_before = self.cell.state().incarnation;
            let (exit, clean) = match self.run_once(commands).await {
                End::Failed { exit, clean } => (exit, clean),
                End::Restart => {
                    self.budget.reset();
                    continue;
                }
                End::Stopped(order, stopped) => {
                    self.cell.set(ServiceState::Stopped, None);
                    return Some((order, stopped));
                }
            };
            let again = match self.cell.spec.policy {
                Policy::Permanent => true,
                Policy::Transient => !clean,
                Policy::Temporary => false,
            };
            if !again || self.ctx.is_stopping() {
                self.cell.set(ServiceState::Stopped, Some(exit));
                return None;
            }
            let ready_for = {
                let state = self.cell.state();
                let spawned_one = state.incarnation > ready_before;
                state.ready_since.filter(|_| spawned_one).map(|since| since.elapsed())
            };
            match self.budget.failed(Instant::now(), ready_for, chance()) {
                Decision::GiveUp => {
                    let restart = &self.supervision().restart;
                    let reason =
                        format!("{exit}, after {} restarts within {} s", restart.max_restarts, restart.window.as_secs());
                    self.cell.set(ServiceState::Failed, Some(reason));
                    return None;
                }
                Decision::Restart(delay) => {
                    self.cell.state().restarts += 1;
                    let reason = format!("{exit}; restart in {:.1} s", delay.as_secs_f64());
                    self.cell.set(ServiceState::Backoff, Some(reason));
                    match self.back_off(delay, commands).await {
                        None => {}
                        Some(End::Restart) => self.budget.reset(),
                        Some(End::Stopped(order, stopped)) => {
                            self.cell.set(ServiceState::Stopped, None);
                            return Some((order, stopped));
                        }
                        Some(End::Failed { .. }) => return None,
                    }
                }
            }
        }
    }

    /// Waits for the next start; `None`: time is up.
    async fn back_off(&self, delay: Duration, commands: &mut mpsc::Receiver<Command>) -> Option<End> {
        if delay.is_zero() {
            return None;
        }
        let until = tokio::time::Instant::now() + delay;
        loop {
            tokio::select! {
                () = sleep_until(until) => return None,
                command = commands.recv() => match command {
                    Some(Command::Start | Command::Recycle(_)) => {}
                    Some(Command::Restart) => return Some(End::Restart),
                    Some(Command::Stop(order)) => return Some(End::Stopped(order, None)),
                    None => return Some(End::Failed { exit: "the root ended".to_owned(), clean: true }),
                },
            }
        }
    }

    /// One process, from before its spawn to after its end.
    async fn run_once(&self, commands: &mut mpsc::Receiver<Command>) -> End {
        let cell = &self.cell;
        let predecessor = self.predecessor_gone();
        tokio::pin!(predecessor);
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Start | Command::Restart | Command::Recycle(_)) => {}
                    Some(Command::Stop(order)) => return End::Stopped(order, None),
                    None => return End::Failed { exit: "the root ended".to_owned(), clean: true },
                },
                () = &mut predecessor => break,
            }
        }
        let token = match new_token() {
            Ok(token) => token,
            Err(error) => return self.not_started(format!("no randomness for a token: {error}")),
        };
        cell.begin(token.clone());
        let log_file = log::file(&self.ctx.data_path, cell.name());
        let process = match Process::spawn(&self.ctx.executable, &cell.spec, &token, &log_file) {
            Ok(process) => process,
            Err(error) => {
                let executable = self.ctx.executable.display();
                return self.not_started(format!("cannot start {executable}: {}", chain(&error)));
            }
        };
        cell.spawned(process.pid());
        let mut changes = cell.subscribe();
        loop {
            // What changed up to here is in the deadline.
            changes.mark_unchanged();
            let deadline = cell.deadline();
            let at = deadline.map_or_else(|| Instant::now() + Duration::from_secs(3600), |(at, _)| at);
            tokio::select! {
                biased;
                () = process.exited() => return self.ended(process, None).await,
                command = commands.recv() => match command {
                    Some(Command::Start) => {}
                    Some(Command::Restart) => {
                        self.stop_process(process, self.supervision().shutdown_timeout).await;
                        return End::Restart;
                    }
                    Some(Command::Recycle(why)) => {
                        tracing::warn!(service = cell.name(), pid = process.pid(), why, "replacing a service");
                        self.stop_process(process, self.supervision().shutdown_timeout).await;
                        cell.state().last_exit = Some(why.to_owned());
                        return End::Failed { exit: why.to_owned(), clean: false };
                    }
                    Some(Command::Stop(order)) => {
                        let stopped = self.stop_process(process, order.patience).await;
                        return End::Stopped(order, Some(stopped));
                    }
                    None => {
                        process.kill_group();
                        return self.ended(process, None).await;
                    }
                },
                _ = changes.changed() => {}
                () = sleep_until(at.into()) => {
                    let now = Instant::now();
                    if now.duration_since(at) > OWN_DELAY_MAX {
                        tracing::warn!(service = cell.name(), late_ms = now.duration_since(at).as_millis(), "the root was held up; not taking it out on the service");
                        cell.excuse(now);
                    } else if let Some((current, why)) = cell.deadline()
                        && current <= now
                    {
                        process.kill_group();
                        return self.ended(process, Some(why)).await;
                    }
                }
            }
        }
    }

    fn not_started(&self, reason: String) -> End {
        self.cell.ended(reason.clone());
        End::Failed { exit: reason, clean: false }
    }

    /// Takes leave of a process that exited, or that we killed for `why`.
    async fn ended(&self, process: Process, why: Option<&'static str>) -> End {
        let status = process.reap().await;
        let exit = why.map_or_else(|| describe(status), str::to_owned);
        let clean = why.is_none() && status.is_some_and(|status| status.success());
        let exit = match self.cell.ended(exit.clone()) {
            Some(last_words) => format!("{exit} ({last_words})"),
            None => exit,
        };
        End::Failed { exit, clean }
    }

    /// Asks a process to stop, waits, kills it and its group if need be. Returns how it ended and whether by force.
    async fn stop_process(&self, process: Process, patience: Duration) -> (String, bool) {
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
            timeout(patience, process.exited()).await.is_ok()
        };
        let gently = tokio::select! {
            biased;
            () = forced => false,
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
        let exit = describe(process.reap().await);
        self.cell.ended(exit.clone());
        (exit, !gently)
    }

    /// Waits until no process of an earlier root holds this service's lock: asks it to end, and kills it when it doesn't.
    async fn predecessor_gone(&self) {
        let lock = self.ctx.runtime_dir.service_lock(self.cell.name());
        // Twice, in case another one took the lock over just then. What is left after that shows as a failed start.
        for _ in 0..2 {
            let Ok(Some(pid)) = PidLock::holder(&lock) else { return };
            let Ok(watch) = ProcessWatch::open(pid) else { return };
            if !matches!(PidLock::holder(&lock), Ok(Some(still)) if still == pid) {
                continue;
            }
            let service = self.cell.name();
            tracing::warn!(service, pid, "a process of an earlier root is still there; asking it to end");
            watch.signal(rustix::process::Signal::TERM);
            if timeout(self.supervision().shutdown_timeout, watch.exited()).await.is_err() {
                tracing::warn!(service, pid, "killing a process of an earlier root");
                watch.signal(rustix::process::Signal::KILL);
                let _ = timeout(Duration::from_secs(10), watch.exited()).await;
            }
        }
    }
}

/// 32 random bytes as hexadecimal digits.
fn new_token() -> Result<String, getrandom::Error> {
    use std::fmt::Write;
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)?;
    let mut token = String::with_capacity(64);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    Ok(token)
}

/// Uniform in 0..1; the middle when there is no randomness.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}
