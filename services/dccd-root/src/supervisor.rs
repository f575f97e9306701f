//! One task per service: runs its process, sees it end or hang, and decides what comes next. Each has its own timers,
//! so that one service's backoff never delays another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_rpc::root::ServiceState;
use dccd_service::{chain, log};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use crate::adopt::{Candidate, Record, predecessor_gone};
use crate::budget::{Budget, Decision};
use crate::cell::{Cell, Command, StopOrder};
use crate::context::Context;
use crate::process::Process;
use crate::replace::Beside;
use crate::token::{TokenHash, new_token};
use crate::{Policy, Supervision};

/// A timer of ours that fires this late says that the root itself was held up (stopped, swapped out, suspended); what
/// seems overdue then is excused once.
const OWN_DELAY_MAX: Duration = Duration::from_millis(500);

/// How one process of the service came to its end.
pub(crate) enum End {
    /// By itself, or killed by us for this failure.
    Failed { exit: String, clean: bool },
    /// Somebody asked for a new one.
    Restart,
    /// It was an earlier root's, and is not adopted.
    Replaced,
    /// The service stops for good.
    Stopped(StopOrder, Option<(String, bool)>),
}

/// Runs until it is told to stop for good, or the root drops the other end of the queue. Begins with the process of an
/// earlier root, if there is one.
pub(crate) async fn supervise(
    ctx: Arc<Context>,
    cell: Arc<Cell>,
    mut commands: mpsc::Receiver<Command>,
    candidate: Option<Candidate>,
) {
    let mut supervisor = Supervisor { budget: Budget::new(ctx.supervision.restart), ctx, cell, candidate };
    while let Some(command) = commands.recv().await {
        match command {
            Command::Start => {}
            Command::Restart => supervisor.budget.reset(),
            Command::Recycle(_) | Command::Replace(_) => continue,
            Command::Stop(order) => {
                supervisor.stopped(&order);
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

pub(crate) struct Supervisor {
    pub(crate) ctx: Arc<Context>,
    pub(crate) cell: Arc<Cell>,
    budget: Budget,
    /// A process of an earlier root, until it is dealt with.
    candidate: Option<Candidate>,
}

impl Supervisor {
    /// Shows that the service has stopped for good; one that is left to the next root has not.
    fn stopped(&self, order: &StopOrder) {
        if !order.keep {
            self.cell.set(ServiceState::Stopped, None);
        }
    }

    pub(crate) fn supervision(&self) -> &Supervision {
        &self.ctx.supervision
    }

    /// Runs processes of the service until it needs none any more. `Some`: it stops for good.
    async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<(StopOrder, Option<(String, bool)>)> {
        loop {
            if self.candidate.is_none() {
                self.cell.set(ServiceState::Starting, None);
            }
            let ready_before = self.cell.state().incarnation;
            let (exit, clean) = match self.run_once(commands).await {
                End::Failed { exit, clean } => (exit, clean),
                End::Restart => {
                    self.budget.reset();
                    continue;
                }
                End::Replaced => continue,
                End::Stopped(order, stopped) => {
                    self.stopped(&order);
                    return Some((order, stopped));
                }
            };
            let again = match self.cell.spec().policy {
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
                            self.stopped(&order);
                            return Some((order, stopped));
                        }
                        Some(End::Failed { .. } | End::Replaced) => return None,
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
                    Some(Command::Start | Command::Recycle(_) | Command::Replace(_)) => {}
                    Some(Command::Restart) => return Some(End::Restart),
                    Some(Command::Stop(order)) => return Some(End::Stopped(order, None)),
                    None => return Some(End::Failed { exit: "the root ended".to_owned(), clean: true }),
                },
            }
        }
    }

    /// One process, from before its spawn or adoption to after its end.
    async fn run_once(&mut self, commands: &mut mpsc::Receiver<Command>) -> End {
        let process = match self.candidate.take() {
            Some(Candidate { record, watch }) => match Process::adopt(record.pid, watch) {
                Ok(process) => process,
                Err(error) => return self.not_started(format!("cannot adopt {}: {}", record.pid, chain(&error))),
            },
            None => match self.start(commands).await {
                Ok(process) => process,
                Err(end) => return end,
            },
        };
        self.watch_over(process, commands).await
    }

    /// A new process, when no other runs as this service any more.
    async fn start(&self, commands: &mut mpsc::Receiver<Command>) -> Result<Process, End> {
        let cell = &self.cell;
        let predecessor = predecessor_gone(&self.ctx.runtime_dir, cell.name(), self.supervision().shutdown_timeout);
        tokio::pin!(predecessor);
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Start | Command::Restart | Command::Recycle(_) | Command::Replace(_)) => {}
                    Some(Command::Stop(order)) => return Err(End::Stopped(order, None)),
                    None => return Err(End::Failed { exit: "the root ended".to_owned(), clean: true }),
                },
                () = &mut predecessor => break,
            }
        }
        let token = match new_token() {
            Ok(token) => token,
            Err(error) => return Err(self.not_started(format!("no randomness for a token: {error}"))),
        };
        let hash = TokenHash::of(&token);
        cell.begin(hash.clone());
        let log_file = log::file(&self.ctx.data_path, cell.name());
        let mut process = match Process::spawn(&self.ctx.executable, &cell.spec(), &log_file) {
            Ok(process) => process,
            Err(error) => {
                let executable = self.ctx.executable.display();
                return Err(self.not_started(format!("cannot start {executable}: {}", chain(&error))));
            }
        };
        self.write_down(process.pid(), &hash);
        cell.spawned(process.pid());
        process.hand(&token);
        Ok(process)
    }

    /// Writes down of a new process what the next root needs to adopt it.
    fn write_down(&self, pid: u32, token: &TokenHash) {
        let (restarts, last_exit) = {
            let state = self.cell.state();
            (state.restarts, state.last_exit.clone())
        };
        let Some(record) = Record::of(pid, token, &self.cell.spec(), restarts, last_exit) else { return };
        if let Err(error) = record.save(&self.ctx.runtime_dir.service_record(self.cell.name())) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(service = self.cell.name(), pid, error, "the next root will not be able to adopt this process");
        }
    }

    /// A process, to after its end.
    async fn watch_over(&self, mut process: Process, commands: &mut mpsc::Receiver<Command>) -> End {
        let cell = &self.cell;
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
                    Some(Command::Replace(order)) => match self.replace_beside(process, order, commands).await {
                        Beside::Goes(goes) => process = goes,
                        Beside::Ended(end) => return end,
                    },
                    Some(Command::Stop(order)) if order.keep => {
                        self.ctx.keep(process);
                        return End::Stopped(order, None);
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
                _ = changes.changed() => {
                    if let Some(why) = cell.refused() {
                        return self.replace(process, why).await;
                    }
                }
                () = sleep_until(at.into()) => {
                    let now = Instant::now();
                    if now.duration_since(at) > OWN_DELAY_MAX {
                        tracing::warn!(service = cell.name(), late_ms = now.duration_since(at).as_millis(), "the root was held up; not taking it out on the service");
                        cell.excuse(now);
                    } else if let Some((current, why)) = cell.deadline()
                        && current <= now
                    {
                        if cell.is_adopting() {
                            return self.replace(process, why).await;
                        }
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

    /// Asks a process of an earlier root to end, because it can't be adopted.
    async fn replace(&self, process: Process, why: &'static str) -> End {
        tracing::warn!(service = self.cell.name(), pid = process.pid(), why, "replacing a process of an earlier root");
        self.stop_process(process, self.supervision().shutdown_timeout).await;
        self.cell.state().last_exit = Some(why.to_owned());
        End::Replaced
    }

    /// Takes leave of a process that exited, or that we killed for `why`.
    pub(crate) async fn ended(&self, process: Process, why: Option<&'static str>) -> End {
        let never_adopted = self.cell.is_adopting();
        let status = process.reap().await;
        self.forget();
        let exit = why.map_or_else(|| status.to_string(), str::to_owned);
        let clean = why.is_none() && status.is_clean();
        let exit = match self.cell.ended(exit.clone()) {
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

    /// Asks a process to stop, waits, kills it and its group if need be. Returns how it ended and whether by force.
    pub(crate) async fn stop_process(&self, process: Process, patience: Duration) -> (String, bool) {
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
        let exit = process.reap().await.to_string();
        self.forget();
        self.cell.ended(exit.clone());
        (exit, !gently)
    }
}

/// Uniform in 0..1; the middle when there is no randomness.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}
