//! Replaces a service's process without a moment between: a successor is started beside it, gets as far as it can without what only one
//! may have, and says so; then the old process leaves, and the successor is the service. Whatever goes wrong before, the old one goes on;
//! whatever goes wrong after, is an end of the service like any other.
//!
//! Who is the service is decided by its lock alone: a successor registers when it holds that, and the record for the next root gets
//! its name in the same step.

use std::time::{Duration, Instant};

use dccd_service::{ServiceArgs, chain};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use crate::ServiceSpec;
use crate::adopt::Record;
use crate::cell::Command;
use crate::exits::{Ending as Ended, HANDED_OVER};
use crate::process::{Exit, Process};
use crate::supervisor::{End, Supervisor};
use crate::token::{TokenHash, new_token};

/// An order to replace a service's process.
#[derive(Debug)]
pub(crate) struct ReplaceOrder {
    /// What the new process is told; `None`: what the old one was.
    pub(crate) spec: Option<ServiceSpec>,
    /// When the successor has to be as far as it can be.
    pub(crate) deadline: Instant,
    /// Told when the old process has left, or why it goes on. Dropped where there is none that could be replaced.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// What came of it.
pub(crate) enum Beside {
    /// This process is the service: the old one, or the new one, which may have to register yet.
    Goes(Process),
    /// It came to an end meanwhile.
    Ended(End),
}

impl Supervisor {
    /// Replaces this process, or lets it go on.
    pub(crate) async fn replace_beside(
        &self,
        old: Process,
        order: ReplaceOrder,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Beside {
        let ReplaceOrder { spec, deadline, done } = order;
        if !self.cell.state().phase.is_ready() {
            return Beside::Goes(old); // whoever asked learns it by the dropped sender
        }
        let spec = spec.map_or_else(|| self.cell.spec(), Into::into);
        match self.start_beside(&old, &spec) {
            Ok(next) => {
                let mut pair = Pair { supervisor: self, old, next, deadline, gone_by: None, killed: false };
                let (ending, answer) = pair.run(commands).await;
                let Pair { old, next, gone_by, killed, .. } = pair;
                let had_the_word = gone_by.is_some() && !killed;
                if answer.is_ok() {
                    self.cell.respecify(spec);
                }
                // Whoever asked may be gone.
                let _ = done.send(answer);
                match ending {
                    Ending::Old => {
                        self.end_successor(next).await;
                        Beside::Goes(old)
                    }
                    Ending::New => {
                        self.succeeded(old, &next, had_the_word).await;
                        Beside::Goes(next)
                    }
                    Ending::Command(command) if self.cell.state().pid == Some(next.pid()) => {
                        // It holds the service's lock already.
                        self.succeeded(old, &next, !killed).await;
                        self.beside_ended(next, command).await
                    }
                    Ending::Command(command) => {
                        self.end_successor(next).await;
                        self.beside_ended(old, command).await
                    }
                }
            }
            Err(reason) => {
                let _ = done.send(Err(reason));
                Beside::Goes(old)
            }
        }
    }

    /// Starts a successor of this process.
    fn start_beside(&self, old: &Process, spec: &ServiceSpec) -> Result<Process, String> {
        let cell = &self.cell;
        let token = new_token().map_err(|error| format!("got no token: {error}"))?;
        let hash = TokenHash::of(&token);
        let mut told = spec.clone();
        told.args.extend(ServiceArgs::succeeding(old.pid()));
        let mut next = Process::spawn(&self.ctx.executable, &told, self.log_file())
            .map_err(|error| format!("could not be started: {}", chain(&error)))?;
        // Before it gets its token, and with that to work.
        next.confine(&self.ctx.limiter, spec);
        let restarts = cell.state().restarts;
        let record = Record::of(next.pid(), &hash, spec, restarts, Some(HANDED_OVER.to_owned()));
        let saved = record.map(|record| record.save(&self.ctx.runtime_dir.successor_record(cell.name())));
        if let Some(Err(error)) = saved {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(service = cell.name(), error, "the next root will not be able to adopt a successor");
        }
        tracing::info!(service = cell.name(), pid = next.pid(), old = old.pid(), "a successor is started");
        cell.expect_successor(next.pid(), hash);
        next.hand(&token);
        Ok(next)
    }

    /// Ends a successor that is not to take over, or has not.
    async fn end_successor(&self, next: Process) {
        self.cell.forget_successor();
        next.kill_group();
        next.reap().await;
        // One that stays is dealt with by the next root.
        let _ = std::fs::remove_file(self.ctx.runtime_dir.successor_record(self.cell.name()));
    }

    /// The old process is gone, and the new one is the service.
    async fn succeeded(&self, old: Process, next: &Process, had_the_word: bool) {
        let old_pid = old.pid();
        let (exit, kills) = old.reap().await;
        let in_order = had_the_word && (exit.is_clean() || exit == Exit::Unknown);
        let ending = if in_order {
            Ended::handed_over(exit)
        } else {
            // How much memory it used is not known any more where the successor has registered.
            let rss_bytes = if self.cell.state().pid == Some(old_pid) { self.cell.state().progress.rss_bytes } else { 0 };
            Ended::by_itself(exit).explained(kills, rss_bytes)
        };
        let exit = &ending.shown;
        tracing::info!(service = self.cell.name(), pid = next.pid(), old = old_pid, exit, "the successor takes over");
        self.cell.succeed(ending);
    }

    /// What was ordered of a process that was about to be replaced.
    async fn beside_ended(&self, old: Process, command: Option<Command>) -> Beside {
        Beside::Ended(match command {
            Some(Command::Restart) => {
                self.stop_process(old, self.supervision().shutdown_timeout, "restart").await;
                End::Restart
            }
            Some(Command::Stop(order)) if order.keep => {
                self.ctx.keep(old);
                End::Stopped(order, None)
            }
            Some(Command::Stop(order)) => {
                let stopped = self.stop_process(old, order.patience, "stop").await;
                End::Stopped(order, Some(stopped))
            }
            _ => {
                old.kill_group();
                self.ended(old, None).await
            }
        })
    }
}

/// A process and its successor.
struct Pair<'a> {
    supervisor: &'a Supervisor,
    old: Process,
    next: Process,
    deadline: Instant,
    /// When the old process has to be gone, once the successor has the word.
    gone_by: Option<Instant>,
    /// The old process was killed, because it hung.
    killed: bool,
}

/// How the two of them came apart.
enum Ending {
    /// The old process goes on.
    Old,
    /// The old process is gone.
    New,
    /// Somebody ordered something else; `None`: the root ends.
    Command(Option<Command>),
}

impl Pair<'_> {
    async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> (Ending, Result<(), String>) {
        let cell = &self.supervisor.cell;
        let mut changes = cell.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(trouble) = cell.successor_trouble() {
                return (Ending::Old, Err(trouble));
            }
            if self.gone_by.is_none() && cell.successor_stands_by() {
                self.gone_by = Some(Instant::now() + self.supervisor.supervision().shutdown_timeout);
            }
            // A successor that has the word is waited for; otherwise the old one is watched over as ever.
            let watchdog = cell.deadline().map(|(at, _)| at).filter(|_| self.gone_by.is_none());
            let until = self.gone_by.unwrap_or(self.deadline);
            let at = watchdog.map_or(until, |at| at.min(until));
            tokio::select! {
                biased;
                () = self.old.exited() => return (Ending::New, Ok(())),
                () = self.next.exited() => {
                    let words = cell.successor_trouble().unwrap_or_else(|| "ended before it took over; see its log".to_owned());
                    return (Ending::Old, Err(words));
                }
                command = commands.recv() => match command {
                    Some(Command::Start | Command::Recycle(..)) => {}
                    Some(Command::Replace(other)) => {
                        let _ = other.done.send(Err("is being started already".to_owned()));
                    }
                    command => return (Ending::Command(command), Err("was given up: something else was ordered".to_owned())),
                },
                _ = changes.changed() => {}
                () = sleep_until(at.into()) => {
                    if self.gone_by.is_none() && Instant::now() >= self.deadline {
                        // Under the cell's lock: from then on it doesn't get the word.
                        if let Err(reason) = cell.give_up_successor() {
                            return (Ending::Old, Err(reason));
                        }
                        continue;
                    }
                    let is_overdue = |at: Instant| at <= Instant::now();
                    let hangs = self.gone_by.is_none() && cell.deadline().is_some_and(|(at, _)| is_overdue(at));
                    if !hangs && !self.gone_by.is_some_and(is_overdue) {
                        continue; // it has told that it lives meanwhile
                    }
                    self.supervisor.dump(&self.old, "it does not leave for its successor").await;
                    self.killed = true;
                    self.old.kill_group();
                }
            }
        }
    }
}

/// Until when a successor has to be ready, for those who are willing to wait so long.
pub(crate) fn stand_by_deadline(deadline: Instant) -> Instant {
    // The rest is for the old one to leave and for the new one to register. A successor that gets no further says so much earlier.
    let left = deadline.saturating_duration_since(Instant::now());
    Instant::now() + (left / 2).min(Duration::from_secs(300))
}
