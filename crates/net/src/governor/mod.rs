//! The ledger of request weights of one exchange and IP: who may send now, and when nobody may.
//!
//! Windows are fixed and lie on whole multiples of their length since the epoch (a minute's window begins on the minute),
//! as exchanges count. The server's own count, where it sends one, corrects ours upwards, so that requests of other
//! processes on this host are seen. A refusal (`429`, `418`, `403`) freezes the ledger; the freeze is kept in a small file
//! which other processes of the host obey and which survives a restart. A wait is always bounded by its caller.

mod freeze;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::{Clock, nanos};
use crate::retry::{Retry, retry_after};
pub(crate) use freeze::Freeze;
use freeze::FreezeFile;

/// Who goes first. Live requests repair what is being recorded now and would be lost; the others can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Book snapshots and missing trades of open feeds: may use the whole window.
    Live,
    /// The newest candles and trades of jobs: leaves a tenth of the window to the live side.
    Collect,
    /// Old history: leaves three tenths of the window to the others.
    Backfill,
}

impl Priority {
    /// How much of the window's limit may be used before this priority waits, in percent.
    fn share_pct(self) -> u64 {
        match self {
            Priority::Live => 100,
            Priority::Collect => 90,
            Priority::Backfill => 70,
        }
    }
}

/// What an exchange grants one IP.
#[derive(Debug, Clone)]
pub struct GovernorOptions {
    /// The weight that one window may hold, at least 1.
    pub limit_per_window: u32,
    /// The window's length.
    pub window: Duration,
    /// The response header in which the server says how much of the running window is used, where it does.
    pub used_weight_header: Option<&'static str>,
    /// Where a freeze is kept; its folder is made when there is one to keep. Without it a freeze ends with the process and is this process's alone.
    pub freeze_file: Option<PathBuf>,
    /// How long a `418` without `Retry-After` freezes.
    pub banned_freeze: Duration,
    /// How long a `403` without `Retry-After` freezes.
    pub forbidden_freeze: Duration,
}

impl GovernorOptions {
    /// `limit_per_window` weight in each `window`; no header, no file; a ban counts two minutes, a `403` five, unless the server says.
    pub fn new(limit_per_window: u32, window: Duration) -> Self {
        GovernorOptions {
            limit_per_window: limit_per_window.max(1),
            window,
            used_weight_header: None,
            freeze_file: None,
            banned_freeze: Duration::from_secs(120),
            forbidden_freeze: Duration::from_secs(300),
        }
    }
}

/// Why a request may not be sent within the time its caller would wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GovernorError {
    /// The exchange refused earlier requests; asking now would make it worse.
    #[error(
        "requests are frozen for another {retry_in:.0?} because the exchange answered {status}; they go on by themselves"
    )]
    Frozen {
        /// The status that froze the ledger.
        status: u16,
        /// How long the freeze still lasts.
        retry_in: Duration,
    },
    /// The window's weight is used up, or others with more right to it are waiting.
    #[error(
        "{used} of {limit} weight used in this window: no room for {weight} more within the wait; the next window begins in {retry_in:.0?}"
    )]
    Exhausted {
        /// The weight asked for.
        weight: u32,
        /// The weight used so far.
        used: u32,
        /// The window's limit.
        limit: u32,
        /// Until the next window begins.
        retry_in: Duration,
    },
    /// No window could ever hold this request.
    #[error("a request of weight {weight} exceeds the limit of {limit} a window; ask for less at once")]
    TooHeavy {
        /// The weight asked for.
        weight: u32,
        /// The window's limit.
        limit: u32,
    },
}

impl GovernorError {
    /// When asking again may succeed.
    pub fn retry(&self) -> Retry {
        match self {
            GovernorError::Frozen { retry_in, .. } | GovernorError::Exhausted { retry_in, .. } => Retry::After(*retry_in),
            GovernorError::TooHeavy { .. } => Retry::No,
        }
    }
}

/// The ledger as it stands, for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Weight used in the running window, by all that is known of.
    pub used: u32,
    /// The window's limit.
    pub limit: u32,
    /// When the next window begins: nanoseconds since the Unix epoch.
    pub window_ends: i64,
    /// Until when nothing may be sent: nanoseconds since the Unix epoch; `None` while requests go out.
    pub frozen_until: Option<i64>,
    /// The status that froze the ledger, while it is frozen.
    pub frozen_status: Option<u16>,
    /// Requests that wait for their turn.
    pub waiting: usize,
}

/// The ledger. Share it (`Arc`) among all that ask one exchange from this process.
pub struct Governor {
    options: GovernorOptions,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Woken whenever a waiter leaves or the state changes for the better: the next in line looks again.
    changed: Notify,
}

struct State {
    window: i64,
    used: u32,
    /// The part of `used` whose answers haven't come: the server may not have counted it yet.
    in_flight: u32,
    freeze: Option<Freeze>,
    file: Option<FreezeFile>,
    /// Bounded by the callers, each of which holds one place for at most its own wait.
    waiting: Vec<(Priority, u64)>,
    tickets: u64,
}

impl Governor {
    /// A ledger with an empty window, and the freeze that an earlier process left in the freeze file.
    pub fn new(options: GovernorOptions, clock: Arc<dyn Clock>) -> Arc<Self> {
        let file = options.freeze_file.clone().map(FreezeFile::new);
        let state = State { window: i64::MIN, used: 0, in_flight: 0, freeze: None, file, waiting: Vec::new(), tickets: 0 };
        let governor = Governor { options, clock, state: Mutex::new(state), changed: Notify::new() };
        governor.now_in(&mut governor.lock());
        Arc::new(governor)
    }

    /// Waits for room for `weight`, at most `max_wait`, those of higher priority first and then in order of asking.
    /// Fails at once where waiting can't help: the freeze outlasts the wait, or the request is too heavy for any window.
    pub async fn acquire(
        self: &Arc<Self>,
        weight: u32,
        priority: Priority,
        max_wait: Duration,
    ) -> Result<Permit, GovernorError> {
        let limit = self.options.limit_per_window;
        if weight > limit {
            return Err(GovernorError::TooHeavy { weight, limit });
        }
        let give_up = Instant::now() + max_wait;
        let place = Place::take(self, priority);
        loop {
            let changed = pin!(self.changed.notified());
            let error = match self.try_take(&place, weight) {
                Ok(permit) => return Ok(permit),
                Err(error) => error,
            };
            let now = Instant::now();
            let retry_in = match error {
                GovernorError::Frozen { retry_in, .. } if now + retry_in > give_up => return Err(error),
                GovernorError::Frozen { retry_in, .. } | GovernorError::Exhausted { retry_in, .. } => retry_in,
                GovernorError::TooHeavy { .. } => return Err(error),
            };
            if now >= give_up {
                return Err(error);
            }
            // A millisecond past the edge, so that a wall clock that runs a little behind the timer has passed it too.
            let wake = (now + retry_in + Duration::from_millis(1)).min(give_up);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn try_take(self: &Arc<Self>, place: &Place<'_>, weight: u32) -> Result<Permit, GovernorError> {
        let mut state = self.lock();
        let now = self.now_in(&mut state);
        if let Some(freeze) = state.freeze {
            return Err(GovernorError::Frozen { status: freeze.status, retry_in: since(now, freeze.until) });
        }
        let limit = self.options.limit_per_window;
        let share = u64::from(limit) * place.priority.share_pct() / 100;
        let wanted = u64::from(state.used) + u64::from(weight);
        let fits = wanted <= share || (state.used == 0 && weight <= limit);
        let first = !state.waiting.iter().any(|other| *other < (place.priority, place.ticket));
        if !(fits && first) {
            let retry_in = since(now, self.window_ends(&state));
            return Err(GovernorError::Exhausted { weight, used: state.used, limit, retry_in });
        }
        state.used += weight;
        state.in_flight += weight;
        Ok(Permit { governor: Arc::clone(self), weight, window: state.window, open: true })
    }

    /// Forbids all requests for `wait` from now on because the exchange answered `status`. Never shortens a freeze.
    pub fn freeze(&self, status: u16, wait: Duration) {
        let mut state = self.lock();
        let now = self.now_in(&mut state);
        let freeze = Freeze { until: now.saturating_add(nanos(wait)), status, since: now };
        if state.freeze.is_some_and(|running| running.until >= freeze.until) {
            return;
        }
        tracing::warn!(status, wait_s = wait.as_secs_f64(), "the exchange refuses requests; none are sent meanwhile");
        state.freeze = Some(freeze);
        if let Some(file) = &mut state.file
            && let Err(error) = file.write(&freeze)
        {
            tracing::error!(path = %file.path().display(), %error, "cannot keep the freeze on disk; a restart would forget it");
        }
    }

    /// The ledger as it stands.
    pub fn snapshot(&self) -> Snapshot {
        let mut state = self.lock();
        self.now_in(&mut state);
        Snapshot {
            used: state.used,
            limit: self.options.limit_per_window,
            window_ends: self.window_ends(&state),
            frozen_until: state.freeze.map(|freeze| freeze.until),
            frozen_status: state.freeze.map(|freeze| freeze.status),
            waiting: state.waiting.len(),
        }
    }

    /// What time it is; brings the state up to it: a new window, another process's freeze, a freeze that is over.
    fn now_in(&self, state: &mut State) -> i64 {
        let now = self.clock.now_ns();
        let window = now.div_euclid(self.window_ns());
        if window != state.window {
            state.window = window;
            state.used = 0;
            state.in_flight = 0;
        }
        if let Some(found) = state.file.as_mut().and_then(FreezeFile::changed)
            && state.freeze.is_none_or(|running| running.until < found.until)
        {
            state.freeze = Some(found);
        }
        state.freeze = state.freeze.filter(|freeze| freeze.until > now);
        now
    }

    fn window_ns(&self) -> i64 {
        nanos(self.options.window).max(1)
    }

    fn window_ends(&self, state: &State) -> i64 {
        state.window.saturating_add(1).saturating_mul(self.window_ns())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a handful of numbers, each valid whatever panicked in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn since(now: i64, then: i64) -> Duration {
    Duration::from_nanos(u64::try_from(then.saturating_sub(now)).unwrap_or(0))
}

/// A place in the queue; given up when dropped, however the wait ended.
struct Place<'a> {
    governor: &'a Governor,
    priority: Priority,
    ticket: u64,
}

impl<'a> Place<'a> {
    fn take(governor: &'a Governor, priority: Priority) -> Self {
        let mut state = governor.lock();
        state.tickets += 1;
        let ticket = state.tickets;
        state.waiting.push((priority, ticket));
        Place { governor, priority, ticket }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let ticket = self.ticket;
        self.governor.lock().waiting.retain(|(_, other)| *other != ticket);
        self.governor.changed.notify_waiters();
    }
}

/// Leave to send one request. Its weight stays counted until its window ends, whatever comes of the request.
#[must_use = "the weight is taken; send the request and settle it"]
pub struct Permit {
    governor: Arc<Governor>,
    weight: u32,
    window: i64,
    open: bool,
}

impl Permit {
    /// Tells the ledger what the server answered: its own count of the window, a refusal and how long to keep away.
    /// Returns how long requests are frozen by this answer.
    pub fn settle<'h>(mut self, status: u16, header: impl Fn(&str) -> Option<&'h str>) -> Option<Duration> {
        let governor = Arc::clone(&self.governor);
        let options = &governor.options;
        let counted = options.used_weight_header.and_then(&header).and_then(|value| value.trim().parse::<u32>().ok());
        self.close(counted);
        let asked =
            |otherwise| header("retry-after").and_then(|v| retry_after(v, governor.clock.now_ns())).unwrap_or(otherwise);
        let wait = match status {
            429 => {
                let snapshot = governor.snapshot();
                asked(since(governor.clock.now_ns(), snapshot.window_ends))
            }
            418 => asked(options.banned_freeze),
            403 => asked(options.forbidden_freeze),
            _ => return None,
        };
        governor.freeze(status, wait);
        Some(wait)
    }

    /// The answer is here, or none will come: the weight is no longer under way.
    fn close(&mut self, counted: Option<u32>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let mut state = self.governor.lock();
        self.governor.now_in(&mut state);
        // An answer from another window says nothing about this one.
        if state.window == self.window {
            state.in_flight = state.in_flight.saturating_sub(self.weight);
            if let Some(counted) = counted {
                state.used = state.used.max(counted.saturating_add(state.in_flight));
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.close(None);
    }
}

impl std::fmt::Debug for Governor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Governor").field("options", &self.options).field("snapshot", &self.snapshot()).finish()
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("weight", &self.weight).finish()
    }
}
