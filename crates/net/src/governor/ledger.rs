//! The numbers of the ledger and their rules, without locks, files or clocks.

use std::time::Duration;

use super::freeze::Freeze;
use super::options::{Priority, Quota};
use crate::clock::nanos;

/// Processes whose waiting can be seen by the others; one more waits unseen, and goes when there is room.
pub(super) const QUEUE: usize = 16;

/// A waiting mark counts for so long unless it is renewed: a process that dies while it waits keeps nobody up for more.
pub(super) const MARK_LASTS: Duration = Duration::from_secs(2);

/// One process that waits: on behalf of its first in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    /// The governor's own number, not 0.
    pub(super) owner: u64,
    /// What it waits for.
    pub(super) priority: Priority,
    /// Since when: nanoseconds since the Unix epoch.
    pub(super) since: i64,
    /// Until when this counts: nanoseconds since the Unix epoch.
    pub(super) until: i64,
    /// How many wait there.
    pub(super) count: u32,
}

/// What all processes know of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ledger {
    /// End of the running window; names it. Nanoseconds since the Unix epoch.
    pub(super) window_ends: i64,
    /// Weight used in the running window.
    pub(super) used: u32,
    /// The part of `used` taken in this window whose answers haven't come: the server may not have counted it yet.
    pub(super) in_flight: u32,
    /// When the full burst is free again, for requests at intervals. Nanoseconds since the Unix epoch.
    pub(super) filled: i64,
    /// Nothing may be sent.
    pub(super) freeze: Option<Freeze>,
    /// Who waits in the processes.
    pub(super) queue: [Option<Waiter>; QUEUE],
}

impl Ledger {
    /// Nothing used, nobody waiting.
    pub(super) const EMPTY: Ledger =
        Ledger { window_ends: i64::MIN, used: 0, in_flight: 0, filled: i64::MIN, freeze: None, queue: [None; QUEUE] };

    /// What must be believed where nothing is known: all used, until the running window ends or the burst has grown again.
    pub(super) fn spent(quota: Quota, now: i64) -> Ledger {
        let mut ledger = Ledger::EMPTY;
        ledger.bring_to(quota, now);
        ledger.used = quota.limit();
        ledger.filled = now.saturating_add(grown(quota, quota.limit()));
        ledger
    }

    /// Brings the ledger up to `now`: a new window, a freeze that is over, marks that count no more.
    pub(super) fn bring_to(&mut self, quota: Quota, now: i64) {
        if let Quota::Window { window, .. } = quota {
            let length = nanos(window).max(1);
            let ends = now.div_euclid(length).saturating_add(1).saturating_mul(length);
            if self.window_ends < ends {
                // What is under way may reach the exchange in the new window and count there. It is carried over once:
                // what a process that died had under way is forgotten with the next window.
                self.used = if self.window_ends == ends.saturating_sub(length) { self.in_flight } else { 0 };
                self.in_flight = 0;
            }
            // A clock that was set back: what is used stays so until the window ends that runs now.
            self.window_ends = ends;
        } else {
            self.filled = self.filled.min(now.saturating_add(grown(quota, quota.limit())));
        }
        self.freeze = self.freeze.filter(|freeze| freeze.until > now);
        let latest = now.saturating_add(nanos(MARK_LASTS));
        for place in &mut self.queue {
            *place = place.filter(|waiter| waiter.until > now && waiter.until <= latest);
        }
    }

    /// Whether `weight` may be taken now; if not, when there will be room for some.
    pub(super) fn room(&self, quota: Quota, priority: Priority, weight: u32, now: i64) -> Result<(), i64> {
        match quota {
            Quota::Window { .. } => {
                let limit = u64::from(quota.limit());
                let share = limit * priority.share_pct() / 100;
                let wanted = u64::from(self.used) + u64::from(weight);
                let fits = wanted <= share || (self.used == 0 && wanted <= limit);
                if fits { Ok(()) } else { Err(self.window_ends) }
            }
            Quota::Interval { .. } => {
                let filled = self.filled.max(now).saturating_add(grown(quota, weight));
                let when = filled.saturating_sub(grown(quota, quota.limit()));
                if when <= now { Ok(()) } else { Err(when) }
            }
        }
    }

    /// Takes `weight`, which there must be room for.
    pub(super) fn take(&mut self, quota: Quota, weight: u32, now: i64) {
        self.used = self.used.saturating_add(weight);
        self.in_flight = self.in_flight.saturating_add(weight);
        self.filled = self.filled.max(now).saturating_add(grown(quota, weight));
    }

    /// Whether another process waits with more right to what is free: a higher priority always; the same one only if it
    /// has waited longer and, where there are windows, was left over by the last one. Inside a window equals need not take
    /// turns, which would make each wait for the other at every request.
    pub(super) fn yields(&self, quota: Quota, owner: u64, priority: Priority, since: i64) -> bool {
        let long_enough = match quota {
            Quota::Window { window, .. } => self.window_ends.saturating_sub(nanos(window)),
            Quota::Interval { .. } => i64::MAX,
        };
        self.others(owner).any(|other| {
            other.priority < priority
                || (other.priority == priority && other.since < long_enough && (other.since, other.owner) < (since, owner))
        })
    }

    /// Who waits elsewhere.
    pub(super) fn others(&self, owner: u64) -> impl Iterator<Item = &Waiter> {
        self.queue.iter().flatten().filter(move |waiter| waiter.owner != owner)
    }

    /// Puts up the mark of `owner`, or takes it down.
    pub(super) fn mark(&mut self, owner: u64, waiter: Option<Waiter>) {
        let own = self.queue.iter().position(|place| place.is_some_and(|waiter| waiter.owner == owner));
        let place = own.or_else(|| self.queue.iter().position(Option::is_none));
        if let Some(place) = place.and_then(|place| self.queue.get_mut(place)) {
            *place = waiter;
        }
    }

    /// Forbids all until the freeze ends; never shortens one. Whether it changed anything.
    pub(super) fn freeze(&mut self, freeze: Freeze) -> bool {
        let longer = self.freeze.is_none_or(|running| running.until < freeze.until);
        if longer {
            self.freeze = Some(freeze);
        }
        longer
    }

    /// The weight in use, as people count it.
    pub(super) fn used(&self, quota: Quota, now: i64) -> u32 {
        match quota {
            Quota::Window { .. } => self.used,
            Quota::Interval { every, .. } => {
                let growing = self.filled.saturating_sub(now).max(0);
                let every = nanos(every).max(1);
                u32::try_from(growing.saturating_add(every - 1) / every).unwrap_or(u32::MAX)
            }
        }
    }

    /// When there is more to take than now: the next window, or the next request granted.
    pub(super) fn more_at(&self, quota: Quota, now: i64) -> i64 {
        match quota {
            Quota::Window { .. } => self.window_ends,
            Quota::Interval { every, .. } => {
                let growing = self.filled.saturating_sub(now).max(0);
                let every = nanos(every).max(1);
                let step = if growing % every == 0 { every } else { growing % every };
                now.saturating_add(step)
            }
        }
    }
}

/// In what time the right to so many requests grows.
fn grown(quota: Quota, weight: u32) -> i64 {
    match quota {
        Quota::Window { .. } => 0,
        Quota::Interval { every, .. } => nanos(every).saturating_mul(i64::from(weight)),
    }
}
