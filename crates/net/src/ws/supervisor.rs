//! Decides when to connect, when to open a successor and when an old connection goes.
//!
//! At most one attempt runs at a time, and at most one connection is the newest; older ones overlap with it until they are
//! retired. A newest connection that dies while an older one is still open hands the part back to that one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::address::Secrets;
use super::connect::{Stream, Target, connect};
use super::inbox::Inbox;
use super::reason::Next;
use super::socket::{Socket, Stop};
use super::{CloseCause, CloseReason, LinkOptions, OUTBOX_MESSAGES, SendError};
use crate::backoff::Delays;

/// What the application wants of the supervisor. Wishes for connections are kept once each, so they can't pile up.
#[derive(Debug, Default)]
pub(super) struct Control {
    state: Mutex<Wishes>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Wishes {
    outboxes: Vec<(u32, mpsc::Sender<String>)>,
    replace: Vec<u32>,
    retire: Vec<u32>,
    close: bool,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn send(&self, conn: u32, message: String) -> Result<(), SendError> {
        let wishes = self.lock();
        let Some((_, outbox)) = wishes.outboxes.iter().find(|(other, _)| *other == conn) else {
            return Err(SendError::NotOpen { conn });
        };
        outbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::QueueFull { conn },
            mpsc::error::TrySendError::Closed(_) => SendError::NotOpen { conn },
        })
    }

    pub(super) fn replace(&self, conn: u32) {
        self.wish(|wishes| &mut wishes.replace, conn);
    }

    pub(super) fn retire(&self, conn: u32) {
        self.wish(|wishes| &mut wishes.retire, conn);
    }

    fn wish(&self, list: impl Fn(&mut Wishes) -> &mut Vec<u32>, conn: u32) {
        let mut wishes = self.lock();
        let open = wishes.outboxes.iter().any(|(other, _)| *other == conn);
        let list = list(&mut wishes);
        if open && !list.contains(&conn) {
            list.push(conn);
            drop(wishes);
            self.changed.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.lock().close = true;
        self.changed.notify_one();
    }
}

/// One open connection.
struct Open {
    conn: u32,
    since: Instant,
    /// When its successor is due, or, once it has one, when it goes at the latest.
    due: Option<Instant>,
    superseded: bool,
    task: Id,
    stop: Option<oneshot::Sender<Stop>>,
}

impl Open {
    fn stop(&mut self, stop: Stop) {
        if let Some(sender) = self.stop.take() {
            // An error says that it has ended by itself: its task reports that.
            let _ = sender.send(stop);
        }
    }
}

pub(super) struct Supervisor {
    options: LinkOptions,
    target: Target,
    inbox: Arc<Inbox>,
    control: Arc<Control>,
    delays: Delays,
    open: Vec<Open>,
    sockets: JoinSet<CloseCause>,
    /// The running attempt; never more than one task.
    attempts: JoinSet<Result<(Stream, Secrets), CloseCause>>,
    attempt: Option<u32>,
    /// When the next attempt begins.
    planned: Option<Instant>,
}

impl Supervisor {
    pub(super) fn new(options: LinkOptions, target: Target, inbox: Arc<Inbox>, control: Arc<Control>) -> Self {
        let delays = options.backoff.delays(options.seed);
        Supervisor {
            options,
            target,
            inbox,
            control,
            delays,
            open: Vec::new(),
            sockets: JoinSet::new(),
            attempts: JoinSet::new(),
            attempt: None,
            planned: Some(Instant::now()),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let due = self.next_due();
            tokio::select! {
                () = self.control.changed.notified() => {
                    if self.grant_wishes() {
                        break;
                    }
                }
                Some(done) = self.attempts.join_next() => self.attempted(done.unwrap_or(Err(CloseCause::Panicked))),
                Some(done) = self.sockets.join_next_with_id() => self.ended(done),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.act_on_time(),
            }
        }
        self.close().await;
    }

    fn next_due(&self) -> Option<Instant> {
        self.open.iter().filter_map(|open| open.due).chain(self.planned).min()
    }

    fn act_on_time(&mut self) {
        let now = Instant::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.planned) {
            self.planned = None;
            self.try_to_begin(now);
        }
        let mut successor_due = false;
        for open in &mut self.open {
            if is_due(open.due) {
                open.due = None;
                if open.superseded {
                    open.stop(Stop::Retired);
                } else {
                    successor_due = true;
                }
            }
        }
        if successor_due {
            self.plan(now);
        }
    }

    /// Plans the next attempt unless one runs or is planned already.
    fn plan(&mut self, at: Instant) {
        if self.attempt.is_none() && self.planned.is_none() {
            self.planned = Some(at);
        }
    }

    fn try_to_begin(&mut self, now: Instant) {
        if let Err(free_at) = self.options.connects_per_window.take(now) {
            tracing::warn!(endpoint = %self.target.endpoint, wait = ?(free_at - now), "the budget of connects is used up");
            self.planned = Some(free_at);
            return;
        }
        let conn = self.options.conn_ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.attempt = Some(conn);
        let (target, options) = (self.target.clone(), self.options.clone());
        self.attempts.spawn(async move { connect(&target, &options).await });
    }

    fn attempted(&mut self, result: Result<(Stream, Secrets), CloseCause>) {
        let Some(conn) = self.attempt.take() else { return };
        match result {
            Ok((stream, secrets)) => self.opened(conn, stream, secrets),
            Err(cause) => {
                let delay = self.delay_after(&cause);
                self.plan(Instant::now() + delay);
                self.report(conn, cause, Next::Reconnect(delay));
            }
        }
    }

    fn opened(&mut self, conn: u32, stream: Stream, secrets: Secrets) {
        let now = Instant::now();
        let mut replaces = None;
        for old in &mut self.open {
            // Retired ones that are saying goodbye have no successor to wait for.
            if old.stop.is_some() {
                old.superseded = true;
                old.due = Some(now + self.options.retire_grace);
                replaces = Some(old.conn);
            }
        }
        let lifetime = self.options.lifetime.map(|lifetime| lifetime.mul_f64(self.delays.share(0.90, 0.97)));
        let (stop, stopped) = oneshot::channel();
        // Bounded; full: `send` says so and the application decides.
        let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
        self.control.lock().outboxes.push((conn, outbox));
        // In the inbox before the task runs, whose frames follow.
        self.inbox.opened(conn, replaces);
        let socket = Socket::new(conn, (stream, secrets), Arc::clone(&self.inbox), messages, stopped, &self.options);
        let task = self.sockets.spawn(socket.run()).id();
        self.open.push(Open { conn, since: now, due: lifetime.map(|l| now + l), superseded: false, task, stop: Some(stop) });
    }

    fn ended(&mut self, done: Result<(Id, CloseCause), JoinError>) {
        let (task, cause) = done.unwrap_or_else(|error| (error.id(), CloseCause::Panicked));
        let Some(at) = self.open.iter().position(|open| open.task == task) else { return };
        let open = self.open.remove(at);
        let conn = open.conn;
        self.control.lock().outboxes.retain(|(other, _)| *other != conn);
        let now = Instant::now();
        if open.superseded {
            return self.report(conn, cause, Next::Successor);
        }
        if now - open.since >= self.options.stable_after {
            self.delays.reset();
        }
        let next = if self.attempt.is_some() {
            Next::Reconnect(Duration::ZERO)
        } else {
            let delay = self.delay_after(&cause);
            self.planned = Some(now + delay);
            Next::Reconnect(delay)
        };
        // An older connection that still flows covers the time until then, and is the one to replace.
        if let Some(older) = self.open.iter_mut().rev().find(|older| older.stop.is_some()) {
            older.superseded = false;
            older.due = None;
        }
        self.report(conn, cause, next);
    }

    /// The wait before the next attempt: what the backoff, the server and the budget of connects ask for, whichever is longest.
    fn delay_after(&mut self, cause: &CloseCause) -> Duration {
        let now = Instant::now();
        let budget = self.options.connects_per_window.free_at(now).saturating_duration_since(now);
        self.delays.next_delay().max(cause.retry_after()).max(budget)
    }

    fn report(&self, conn: u32, cause: CloseCause, next: Next) {
        let retry_in = match next {
            Next::Reconnect(delay) => Some(delay),
            Next::Successor | Next::Nothing => None,
        };
        let reason = CloseReason { cause, endpoint: Arc::clone(&self.target.endpoint), next };
        tracing::debug!(conn, %reason, "connection closed");
        self.inbox.closed(conn, reason, retry_in);
    }

    /// Returns whether the link is to close.
    fn grant_wishes(&mut self) -> bool {
        let (replace, retire, close) = {
            let mut wishes = self.control.lock();
            (std::mem::take(&mut wishes.replace), std::mem::take(&mut wishes.retire), wishes.close)
        };
        for conn in retire {
            if let Some(open) = self.open.iter_mut().find(|open| open.conn == conn) {
                open.stop(Stop::Retired);
                open.due = None;
            }
        }
        for conn in replace {
            if self.open.iter().any(|open| open.conn == conn && !open.superseded && open.stop.is_some()) {
                self.plan(Instant::now());
            }
        }
        close
    }

    /// Says goodbye on all connections at once. What isn't gone in time is cut off.
    async fn close(&mut self) {
        self.attempts.abort_all();
        self.attempt = None;
        for open in &mut self.open {
            open.stop(Stop::Requested);
        }
        // Each socket bounds its own goodbye; a little more, so that its own bound is the one that counts.
        let deadline = Instant::now() + self.options.close_timeout.mul_f64(1.2);
        while let Ok(Some(done)) = timeout_at(deadline, self.sockets.join_next_with_id()).await {
            let (task, cause) = done.unwrap_or_else(|error| (error.id(), CloseCause::Panicked));
            if let Some(at) = self.open.iter().position(|open| open.task == task) {
                let conn = self.open.remove(at).conn;
                self.report(conn, cause, Next::Nothing);
            }
        }
        for open in std::mem::take(&mut self.open) {
            self.report(open.conn, CloseCause::Requested, Next::Nothing);
        }
        self.control.lock().outboxes.clear();
    }
}
