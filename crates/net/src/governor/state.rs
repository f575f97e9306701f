//! What a governor keeps between calls: its view of the ledger, the files, and who waits in this process.

use std::time::Duration;

use super::freeze::{Freeze, FreezeFile};
use super::ledger::{Ledger, MARK_LASTS, Waiter};
use super::options::{GovernorOptions, Priority, Quota};
use super::shared::{Found, LedgerFile};
use crate::clock::nanos;

/// One that waits in this process.
pub(super) struct Local {
    pub(super) priority: Priority,
    pub(super) ticket: u64,
    since: i64,
    /// Others may see that it waits: it has found no room.
    shown: bool,
}

/// What was taken while the shared file couldn't be had; added to it once it can.
#[derive(Default)]
struct Unshared {
    window_ends: i64,
    weight: u32,
    in_flight: i64,
}

/// See the module.
pub(super) struct State {
    pub(super) ledger: Ledger,
    /// Bounded by the callers, each of which holds one place for at most its own wait.
    pub(super) waiting: Vec<Local>,
    /// This governor's number in the shared queue.
    pub(super) owner: u64,
    quota: Quota,
    file: Option<LedgerFile>,
    freeze_file: Option<FreezeFile>,
    tickets: u64,
    /// There is a shared file.
    sharing: bool,
    /// The ledger is the shared one, and locked.
    shared: bool,
    unshared: Unshared,
}

impl State {
    pub(super) fn new(options: &GovernorOptions) -> Self {
        State {
            ledger: Ledger::EMPTY,
            waiting: Vec::new(),
            owner: fastrand::u64(1..) ^ (u64::from(std::process::id()) << 32),
            quota: options.quota,
            file: options.ledger_file.clone().map(LedgerFile::new),
            freeze_file: options.freeze_file.clone().map(FreezeFile::new),
            tickets: 0,
            sharing: options.ledger_file.is_some(),
            shared: false,
            unshared: Unshared::default(),
        }
    }

    /// Does `work` on the ledger of all processes as it stands now; `clock` is asked once the file is locked.
    pub(super) fn with<R>(&mut self, clock: impl FnOnce() -> i64, work: impl FnOnce(&mut State, i64) -> R) -> R {
        let mut file = self.file.take();
        let found = file.as_mut().and_then(LedgerFile::lock);
        let now = clock();
        self.shared = found.is_some();
        let before = match &found {
            Some(Found::Ledger(ledger)) => Some(*ledger),
            _ => None,
        };
        if let Some(found) = found {
            self.join(found, now);
        }
        self.ledger.bring_to(self.quota, now);
        if let Some(found) = self.freeze_file.as_mut().and_then(FreezeFile::changed)
            && found.until > now
        {
            self.ledger.freeze(found);
        }
        let result = work(self, now);
        if let Some(file) = file.as_mut().filter(|_| self.shared) {
            file.unlock((before != Some(self.ledger)).then_some(&self.ledger));
        }
        self.file = file;
        result
    }

    /// Takes over what the file says, and adds what it doesn't know of.
    fn join(&mut self, found: Found, now: i64) {
        let mine = self.ledger;
        self.ledger = match found {
            Found::Ledger(ledger) => ledger,
            Found::Garbage => Ledger::spent(self.quota, now),
            // Nobody's, or somebody removed it: what we know is the best there is, and is all in it already.
            Found::Fresh => {
                self.unshared = Unshared::default();
                return;
            }
        };
        if let Some(freeze) = mine.freeze {
            self.ledger.freeze(freeze);
        }
        let unshared = std::mem::take(&mut self.unshared);
        if unshared.weight == 0 && unshared.in_flight == 0 {
            return;
        }
        self.ledger.bring_to(self.quota, now);
        self.ledger.filled = self.ledger.filled.max(mine.filled);
        if self.ledger.window_ends == unshared.window_ends {
            self.ledger.used = self.ledger.used.saturating_add(unshared.weight);
            let in_flight = i64::from(self.ledger.in_flight).saturating_add(unshared.in_flight);
            self.ledger.in_flight = u32::try_from(in_flight.max(0)).unwrap_or(u32::MAX);
        }
    }

    /// Takes `weight`, which there must be room for.
    pub(super) fn take(&mut self, weight: u32, now: i64) {
        self.ledger.take(self.quota, weight, now);
        if let Some(unshared) = self.unshared() {
            unshared.weight = unshared.weight.saturating_add(weight);
            unshared.in_flight = unshared.in_flight.saturating_add(i64::from(weight));
        }
    }

    /// The answer to a request of the running window is here, or none will come.
    pub(super) fn landed(&mut self, weight: u32) {
        self.ledger.in_flight = self.ledger.in_flight.saturating_sub(weight);
        if let Some(unshared) = self.unshared() {
            unshared.in_flight = unshared.in_flight.saturating_sub(i64::from(weight));
        }
    }

    /// The account of what the shared file doesn't know; `None` while the file itself is being changed.
    fn unshared(&mut self) -> Option<&mut Unshared> {
        if self.shared || !self.sharing {
            return None;
        }
        if self.unshared.window_ends != self.ledger.window_ends {
            self.unshared = Unshared { window_ends: self.ledger.window_ends, ..Unshared::default() };
        }
        Some(&mut self.unshared)
    }

    /// Forbids all; keeps it on disk too. Never shortens a freeze. Whether it changed anything.
    pub(super) fn freeze(&mut self, freeze: Freeze) -> bool {
        if !self.ledger.freeze(freeze) {
            return false;
        }
        if let Some(file) = &mut self.freeze_file
            && let Err(error) = file.write(&freeze)
        {
            tracing::error!(path = %file.path().display(), %error, "cannot keep the freeze on disk; a restart would forget it");
        }
        true
    }

    /// A place at the end of this process's queue; its ticket.
    pub(super) fn queue(&mut self, priority: Priority, since: i64) -> u64 {
        self.tickets += 1;
        self.waiting.push(Local { priority, ticket: self.tickets, since, shown: false });
        self.tickets
    }

    /// Takes a place out of the queue. Whether others could see it, so that the mark must be renewed.
    pub(super) fn unqueue(&mut self, ticket: u64) -> bool {
        let place = self.waiting.iter().position(|local| local.ticket == ticket);
        place.is_some_and(|place| self.waiting.remove(place).shown)
    }

    /// Whether nobody in this process has more right to what is free, and nobody elsewhere.
    pub(super) fn turn(&self, priority: Priority, ticket: u64) -> Turn {
        if self.waiting.iter().any(|other| (other.priority, other.ticket) < (priority, ticket)) {
            return Turn::OthersHere;
        }
        let since = self.waiting.iter().find(|local| local.ticket == ticket).map_or(i64::MAX, |local| local.since);
        if self.ledger.yields(self.quota, self.owner, priority, since) { Turn::OthersElsewhere } else { Turn::Ours }
    }

    /// Lets the other processes see (or see no more) that a place waits.
    pub(super) fn show(&mut self, ticket: u64, waits: bool, now: i64) {
        if let Some(local) = self.waiting.iter_mut().find(|local| local.ticket == ticket) {
            local.shown = waits;
        }
        self.renew_mark(now);
    }

    /// Brings this process's mark in the shared queue up to date: its first in line, if any.
    pub(super) fn renew_mark(&mut self, now: i64) {
        if !self.shared {
            return;
        }
        let mut shown = self.waiting.iter().filter(|local| local.shown);
        let count = u32::try_from(shown.clone().count()).unwrap_or(u32::MAX);
        let first = shown.by_ref().min_by_key(|local| (local.priority, local.ticket));
        let waiter = first.map(|first| Waiter {
            owner: self.owner,
            priority: first.priority,
            since: first.since,
            until: now.saturating_add(nanos(MARK_LASTS)),
            count,
        });
        self.ledger.mark(self.owner, waiter);
    }

    /// How long a waiter may sleep without telling the others that it still waits.
    pub(super) fn renew_within(&self) -> Duration {
        if self.shared { MARK_LASTS / 4 } else { Duration::MAX }
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Ours,
    OthersHere,
    OthersElsewhere,
}
