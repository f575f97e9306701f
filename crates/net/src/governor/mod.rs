//! The ledger of request weights of one exchange and IP: who may send now, and when nobody may.
//!
//! All processes of the host draw on one ledger, kept in a small file that each locks for some microseconds (`shared.rs`);
//! without the file the account is the process's own. Windows are fixed and lie on whole multiples of their length since
//! the epoch (a minute's window begins on the minute), as exchanges count; others grant one request at intervals. The
//! server's own count, where it sends one, corrects ours upwards, so that requests from elsewhere are seen. Those who wait
//! go by priority, over all processes. A refusal (`429`, `418`, `403`) freezes the ledger for all of them; the freeze is
//! kept in a file of its own too, which survives a restart of the host. A wait is always bounded by its caller.

mod error;
mod freeze;
mod ledger;
mod options;
mod place;
mod record;
mod shared;
mod state;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::{Clock, nanos};
use crate::retry::retry_after;
pub use error::GovernorError;
use freeze::Freeze;
pub use options::{GovernorOptions, Priority, Quota};
pub use place::{LimitsDirError, ledger_file, limits_dir};
use state::{State, Turn};

/// When it is the turn of somebody in another process, who takes it within moments.
const YIELD: Duration = Duration::from_millis(5);

/// How long a `429` without `Retry-After` freezes where there is no window whose end could be waited for.
const PACED_FREEZE: Duration = Duration::from_secs(5);

/// The ledger as it stands, for status and metrics: what all processes that share it use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Weight used in the running window, by all that is known of; at intervals: requests of the burst used up.
    pub used: u32,
    /// The window's limit; at intervals: the burst.
    pub limit: u32,
    /// When there is more to take, the next window or the next request granted: nanoseconds since the Unix epoch.
    pub window_ends: i64,
    /// Until when nothing may be sent: nanoseconds since the Unix epoch; `None` while requests go out.
    pub frozen_until: Option<i64>,
    /// The status that froze the ledger, while it is frozen; 0 or a success where the exchange said it in a body.
    pub frozen_status: Option<u16>,
    /// Requests that wait for their turn, in all processes.
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

/// Why not now, and when to look again; the latter is for whoever waits, the former for whoever doesn't.
struct Refused {
    error: GovernorError,
    look_in: Duration,
}

impl Governor {
    /// The ledger that the other processes draw on already, or an empty one; and the freeze that an earlier process left
    /// in the freeze file.
    pub fn new(options: GovernorOptions, clock: Arc<dyn Clock>) -> Arc<Self> {
        let state = Mutex::new(State::new(&options));
        let governor = Governor { options, clock, state, changed: Notify::new() };
        governor.with(|_, _| {});
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
        let limit = self.options.quota.limit();
        if weight > limit {
            return Err(GovernorError::TooHeavy { weight, limit });
        }
        let give_up = Instant::now() + max_wait;
        let place = Place::take(self, priority);
        loop {
            let changed = pin!(self.changed.notified());
            let waits = Instant::now() < give_up;
            let Refused { error, look_in } = match self.try_take(&place, weight, waits) {
                Ok(permit) => return Ok(permit),
                Err(refused) => refused,
            };
            let now = Instant::now();
            if now >= give_up || matches!(error, GovernorError::Frozen { retry_in, .. } if now + retry_in > give_up) {
                return Err(error);
            }
            // A millisecond past the edge, so that a wall clock that runs a little behind the timer has passed it too.
            let wake = (now + look_in + Duration::from_millis(1)).min(give_up);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn try_take(self: &Arc<Self>, place: &Place<'_>, weight: u32, waits: bool) -> Result<Permit, Refused> {
        let quota = self.options.quota;
        self.with(|state, now| {
            if let Some(freeze) = state.ledger.freeze {
                let retry_in = since(now, freeze.until);
                let error = GovernorError::Frozen { status: freeze.status, retry_in };
                return Err(Refused { error, look_in: retry_in });
            }
            let turn = state.turn(place.priority, place.ticket);
            let room = state.ledger.room(quota, place.priority, weight, now);
            if turn == Turn::Ours && room.is_ok() {
                state.take(weight, now);
                state.show(place.ticket, false, now);
                let window = state.ledger.window_ends;
                return Ok(Permit { governor: Arc::clone(self), weight, window, open: true });
            }
            state.show(place.ticket, waits, now);
            let retry_in = since(now, room.err().unwrap_or_else(|| state.ledger.more_at(quota, now)));
            // There is room, and one elsewhere is about to take it.
            let look_in = if turn == Turn::OthersElsewhere && room.is_ok() { YIELD } else { retry_in };
            let error = match quota {
                Quota::Interval { every, .. } => GovernorError::Paced { every, retry_in },
                Quota::Window { .. } => {
                    GovernorError::Exhausted { weight, used: state.ledger.used, limit: quota.limit(), retry_in }
                }
            };
            Err(Refused { error, look_in: look_in.min(state.renew_within()) })
        })
    }

    /// Forbids all requests, of all processes, for `wait` from now on because the exchange answered `status`; 0 or 200
    /// where it said so in the body of an answer. Never shortens a freeze.
    pub fn freeze(&self, status: u16, wait: Duration) {
        let news =
            self.with(|state, now| state.freeze(Freeze { until: now.saturating_add(nanos(wait)), status, since: now }));
        if news {
            tracing::warn!(status, wait_s = wait.as_secs_f64(), "the exchange refuses requests; none are sent meanwhile");
        }
    }

    /// How it counts.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.options.quota
    }

    /// The ledger as it stands.
    pub fn snapshot(&self) -> Snapshot {
        let quota = self.options.quota;
        self.with(|state, now| {
            let ledger = &state.ledger;
            let elsewhere: usize =
                ledger.others(state.owner).map(|other| usize::try_from(other.count).unwrap_or(usize::MAX)).sum();
            Snapshot {
                used: ledger.used(quota, now),
                limit: quota.limit(),
                window_ends: ledger.more_at(quota, now),
                frozen_until: ledger.freeze.map(|freeze| freeze.until),
                frozen_status: ledger.freeze.map(|freeze| freeze.status),
                waiting: state.waiting.len() + elsewhere,
            }
        })
    }

    /// Does `work` on the ledger as it stands now, in this process and all others.
    fn with<R>(&self, work: impl FnOnce(&mut State, i64) -> R) -> R {
        self.lock().with(|| self.clock.now_ns(), work)
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
        let ticket = governor.lock().queue(priority, governor.clock.now_ns());
        Place { governor, priority, ticket }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let shown = self.governor.lock().unqueue(self.ticket);
        if shown {
            self.governor.with(State::renew_mark);
        }
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
            429 => asked(match options.quota {
                Quota::Window { .. } => {
                    let snapshot = governor.snapshot();
                    since(governor.clock.now_ns(), snapshot.window_ends)
                }
                Quota::Interval { .. } => PACED_FREEZE,
            }),
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
        self.governor.with(|state, _| {
            // An answer from another window says nothing about this one.
            if state.ledger.window_ends == self.window {
                state.landed(self.weight);
                if let Some(counted) = counted {
                    let counted = counted.saturating_add(state.ledger.in_flight);
                    state.ledger.used = state.ledger.used.max(counted);
                }
            }
        });
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
