//! One task per service: runs its process, sees it end or hang, and decides what comes next. Each has its own timers,
//! so that one service's backoff never delays another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_rpc::root::ServiceState;
use dccd_service::{RotatingFile, chain};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::adopt::{Candidate, Record, predecessor_gone};
use crate::budget::{Budget, Decision};
use crate::cell::{Cell, Command, StopOrder, Stopped};
use crate::context::Context;
use crate::exits::{Ending, Saver};
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
    Stopped(StopOrder, Stopped),
}

/// What comes after a failure.
enum After {
    /// The next process.
    Again,
    /// None, until somebody asks.
    Rest,
    /// None any more.
    Stopped(StopOrder),
}

/// Runs until it is told to stop for good, or the root drops the other end of the queue. Begins with the process of an
/// earlier root, if there is one; `restarts`: when earlier roots had to restart the service.
pub(crate) async fn supervise(
    ctx: Arc<Context>,
    cell: Arc<Cell>,
    mut commands: mpsc::Receiver<Command>,
    candidate: Option<Candidate>,
    restarts: Vec<Instant>,
) {
    let budget = Budget::restored(restarts);
    let mut supervisor = Supervisor { ctx, cell, budget, saver: Saver::default(), candidate };
    while let Some(command) = commands.recv().await {
        let stopped = match command {
            Command::Start => supervisor.run(&mut commands).await,
            Command::Restart => {
                supervisor.cell.forgive_crash();
                supervisor.budget.reset();
                supervisor.run(&mut commands).await
            }
            Command::Recycle(..) | Command::Replace(_) => None,
            Command::Stop(order) => Some((order, None)),
        };
        if let Some((order, stopped)) = stopped {
            supervisor.stopped(&order).await;
            // Whoever asked may be gone.
            let _ = order.done.send(stopped);
            return;
        }
    }
}

pub(crate) struct Supervisor {
    pub(crate) ctx: Arc<Context>,
    pub(crate) cell: Arc<Cell>,
    budget: Budget,
    saver: Saver,
    /// A process of an earlier root, until it is dealt with.
    candidate: Option<Candidate>,
}

impl Supervisor {
    /// Shows that the service has stopped for good; one that is left to the next root has not.
    async fn stopped(&mut self, order: &StopOrder) {
        if !order.keep {
            self.cell.set(ServiceState::Stopped, None);
            // Somebody wanted it: the next start begins with all restarts again.
            self.budget.reset();
        }
        self.remember(!order.keep).await;
    }

    /// Keeps for the next root how the processes have ended; `fresh`: and that the restarts count no more.
    async fn remember(&mut self, fresh: bool) {
        let history = self.cell.history(self.budget.restarts(), fresh);
        self.saver.save(&self.ctx.data_path, self.cell.name(), history).await;
    }

    pub(crate) fn supervision(&self) -> Supervision {
        self.ctx.supervision.get()
    }

    /// Runs processes of the service until it needs none any more. `Some`: it stops for good.
    async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<(StopOrder, Stopped)> {
        if self.cell.forgive_crash() {
            let exit = self.cell.state().last_exit.clone().unwrap_or_default();
            match self.failed(exit, None, commands).await {
                After::Again => {}
                After::Rest => return None,
                After::Stopped(order) => return Some((order, None)),
            }
        }
        loop {
            if self.candidate.is_none() {
                self.cell.set(ServiceState::Starting, None);
            }
            let ready_before = self.cell.state().incarnation;
            let (exit, clean) = match self.run_once(commands).await {
                End::Failed { exit, clean } => (exit, clean),
                End::Restart => {
                    self.budget.reset();
                    self.remember(false).await;
                    continue;
                }
                End::Replaced => {
                    self.remember(false).await;
                    continue;
                }
                End::Stopped(order, stopped) => return Some((order, stopped)),
            };
            let again = match self.cell.spec().policy {
                Policy::Permanent => true,
                Policy::Transient => !clean,
                Policy::Temporary => false,
            };
            if !again || self.ctx.is_stopping() {
                self.cell.set(ServiceState::Stopped, Some(exit));
                self.remember(false).await;
                return None;
            }
            let ready_for = {
                let state = self.cell.state();
                let spawned_one = state.incarnation > ready_before;
                state.ready_since.filter(|_| spawned_one).map(|since| since.elapsed())
            };
            match self.failed(exit, ready_for, commands).await {
                After::Again => {}
                After::Rest => return None,
                After::Stopped(order) => return Some((order, None)),
            }
        }
    }

    /// A process failed that had been ready for so long: waits for the next start, or gives the service up.
    async fn failed(&mut self, exit: String, ready_for: Option<Duration>, commands: &mut mpsc::Receiver<Command>) -> After {
        let decision = self.budget.failed(&self.supervision().restart, Instant::now(), ready_for, chance());
        let Decision::Restart(delay) = decision else {
            let restart = &self.supervision().restart;
            let reason = format!("{exit}, after {} restarts within {} s", restart.max_restarts, restart.window.as_secs());
            self.cell.set(ServiceState::Failed, Some(reason));
            self.remember(false).await;
            return After::Rest;
        };
        self.cell.state().restarts += 1;
        let reason = format!("{exit}; restart in {:.1} s", delay.as_secs_f64());
        self.cell.set(ServiceState::Backoff, Some(reason));
        self.remember(false).await;
        match self.back_off(delay, commands).await {
            None => After::Again,
            Some(End::Restart) => {
                self.budget.reset();
                After::Again
            }
            Some(End::Stopped(order, _)) => After::Stopped(order),
            Some(End::Failed { .. } | End::Replaced) => After::Rest,
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
                    Some(Command::Start | Command::Recycle(..) | Command::Replace(_)) => {}
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
                Ok(mut process) => {
                    process.confine(&self.ctx.limiter, &self.cell.spec());
                    process
                }
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
                    Some(Command::Start | Command::Restart | Command::Recycle(..) | Command::Replace(_)) => {}
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
        let mut process = match Process::spawn(&self.ctx.executable, &cell.spec(), self.log_file()) {
            Ok(process) => process,
            Err(error) => {
                let executable = self.ctx.executable.display();
                return Err(self.not_started(format!("cannot start {executable}: {}", chain(&error))));
            }
        };
        // Before it gets its token, and with that to work.
        process.confine(&self.ctx.limiter, &self.cell.spec());
        self.write_down(process.pid(), &hash);
        cell.spawned(process.pid());
        process.hand(&token);
        Ok(process)
    }

    /// Where the service's processes log.
    pub(crate) fn log_file(&self) -> RotatingFile {
        let files = &self.ctx.log_files;
        RotatingFile::new(files.of(&self.ctx.data_path, self.cell.name()), files.rotation)
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
    async fn watch_over(&mut self, mut process: Process, commands: &mut mpsc::Receiver<Command>) -> End {
        let cell = Arc::clone(&self.cell);
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
                        self.stop_process(process, self.supervision().shutdown_timeout, "restart").await;
                        return End::Restart;
                    }
                    Some(Command::Recycle(why, incarnation)) => {
                        // A second heartbeat may have asked for the end of the process before this one.
                        if incarnation == cell.state().incarnation {
                            return self.recycle(process, why).await;
                        }
                    }
                    Some(Command::Replace(order)) => {
                        let pid = process.pid();
                        match self.replace_beside(process, order, commands).await {
                            Beside::Goes(goes) => process = goes,
                            Beside::Ended(end) => return end,
                        }
                        if process.pid() != pid {
                            self.remember(false).await;
                        }
                    }
                    Some(Command::Stop(order)) if order.keep => {
                        self.ctx.keep(process);
                        return End::Stopped(order, None);
                    }
                    Some(Command::Stop(order)) => {
                        let stopped = self.stop_process(process, order.patience, "stop").await;
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
                    let spec = cell.spec();
                    if process.limits() != Some(spec.limits) {
                        process.confine(&self.ctx.limiter, &spec);
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
                        self.dump(&process, why).await;
                        process.kill_group();
                        return self.ended(process, Some(why)).await;
                    }
                }
            }
        }
    }

    fn not_started(&self, reason: String) -> End {
        self.cell.ended(Ending::not_started(reason.clone()));
        End::Failed { exit: reason, clean: false }
    }
}

/// Uniform in 0..1; the middle when there is no randomness.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}
