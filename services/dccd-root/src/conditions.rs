//! What is wrong in the tree: what the services say of themselves, and what the root sees of them and of the disk. Begins the service
//! that tells people of it, when there is something to tell.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dccd_rpc::condition::{Condition, Conditions, ServiceConditions, Severity};
use dccd_rpc::root::{EnsureError, ROOT_NAME, ServiceState};
use dccd_service::chain;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::cell::{Cell, Told};
use crate::context::Context;
use crate::disk::{DISK_FULL_BYTES, Disk, DiskWatch};
use crate::events::unix_nanos;
use crate::stop::finished;

/// Between two looks at the services.
const LOOK: Duration = Duration::from_secs(1);
/// Looks at services between two looks at the disk.
const DISK_EVERY: u64 = 10;
/// Restarts within [`STORM_WINDOW`] that are a storm.
const STORM_RESTARTS: usize = 3;
/// See there; a storm is over when they are older.
const STORM_WINDOW: Duration = Duration::from_secs(600);
/// For how long it is worth telling that a process had to be killed.
const KILL_TOLD: Duration = Duration::from_secs(120);
/// A service that ought to run and isn't ready for so long is down.
const DOWN_AFTER: Duration = Duration::from_secs(120);
/// Patience with the start of the service that tells.
const ENSURE_DEADLINE: Duration = Duration::from_secs(30);
/// Before it is tried again when that went wrong.
const ENSURE_PAUSE: Duration = Duration::from_secs(30);

/// The conditions that the root has found by itself, and the number of the present state of all.
#[derive(Debug)]
pub(crate) struct Board {
    revision: watch::Sender<u64>,
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// By service, kind and subject.
    found: BTreeMap<(String, &'static str, String), Condition>,
    /// Whether the disk was looked at.
    disk_known: bool,
}

impl Board {
    /// Nothing is known.
    pub(crate) fn new() -> Self {
        // Differs from whatever an earlier root said.
        let first = u64::try_from(unix_nanos() / 1_000).unwrap_or(0).max(1);
        Self { revision: watch::channel(first).0, own: Mutex::default() }
    }

    /// Something is different.
    pub(crate) fn changed(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// Follows the number of the present state.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A service is known no more: nothing is wrong with it.
    pub(crate) fn forget(&self, service: &str) {
        self.own().found.retain(|(name, ..), _| name != service);
        self.changed();
    }

    /// Whether something was found.
    fn holds(&self, service: &str, kind: &'static str, subject: &str) -> bool {
        self.own().found.contains_key(&(service.to_owned(), kind, subject.to_owned()))
    }

    /// Whether something holds of a service, as was just seen.
    fn set(&self, service: &str, kind: &'static str, subject: &str, wrong: Option<(Severity, String)>) {
        let name = (service.to_owned(), kind, subject.to_owned());
        let mut own = self.own();
        let news = match (wrong, own.found.get_mut(&name)) {
            (None, None) => false,
            (None, Some(_)) => own.found.remove(&name).is_some(),
            (Some((severity, message)), Some(known)) => {
                let news = known.severity != severity || known.message != message;
                (known.severity, known.message) = (severity, message);
                news
            }
            (Some((severity, message)), None) => {
                let (kind, subject) = (kind.to_owned(), subject.to_owned());
                let condition = Condition { kind, subject, severity, message, since: unix_nanos(), count: 1 };
                own.found.insert(name, condition);
                true
            }
        };
        drop(own);
        if news {
            self.changed();
        }
    }
}

/// What is wrong now, by service.
pub(crate) fn report(ctx: &Context) -> Conditions {
    // Before the rest: what changes meanwhile is reported once more.
    let revision = *ctx.board.revision.borrow();
    let own = ctx.board.own();
    let found = |service: &str| {
        let of = own.found.iter().filter(|((name, ..), _)| name == service);
        of.map(|(_, condition)| condition.clone()).collect::<Vec<_>>()
    };
    let root = ServiceConditions {
        service: ROOT_NAME.to_owned(),
        heard: own.disk_known,
        found: found(ROOT_NAME),
        said: Vec::new(),
        more: 0,
        settled: true,
        doubts: Vec::new(),
    };
    let of = |cell: &Arc<Cell>| {
        let told = cell.state().told.clone();
        let heard = told.is_some();
        let Told { said, more, settled, doubts } = told.unwrap_or_default();
        let (service, found) = (cell.name().to_owned(), found(cell.name()));
        ServiceConditions { service, heard, found, said, more, settled, doubts }
    };
    Conditions { revision, services: std::iter::once(root).chain(ctx.cells().iter().map(of)).collect() }
}

/// Looks at services and disk until everything is stopped, and sees to it that somebody tells what is wrong. Ended by a panic, only
/// alerts would be missing.
pub(crate) async fn keep(ctx: Arc<Context>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = ctx.board.subscribe();
    let mut watches: HashMap<String, ServiceWatch> = HashMap::new();
    let mut disk = DiskWatch::default();
    // The store as it was found at the start.
    let mut place = None;
    let mut teller = Teller::default();
    let mut looks = 0_u64;
    loop {
        tokio::select! {
            _ = finished(&ctx) => return,
            _ = ticks.tick() => {
                let now = Instant::now();
                let cells = ctx.cells();
                watches.retain(|name, _| cells.iter().any(|cell| cell.name() == name));
                for cell in cells {
                    watches.entry(cell.name().to_owned()).or_default().look(&ctx.board, &cell, now);
                }
                if looks.is_multiple_of(DISK_EVERY) {
                    look_at_disk(&ctx, &mut disk, &mut place).await;
                }
                looks += 1;
            }
            _ = changes.changed() => {}
        }
        teller.see_to_it(&ctx);
    }
}

async fn look_at_disk(ctx: &Context, disk: &mut DiskWatch, place: &mut Option<(u64, u64)>) {
    let found = disk.look(&ctx.data_path).await;
    let path = ctx.data_path.display().to_string();
    if let Ok(found) = &found {
        let moved = (*place.get_or_insert(found.place) != found.place).then(|| moved(&path));
        ctx.trouble("store", moved.clone());
        ctx.board.set(ROOT_NAME, "store_moved", &path, moved.map(|message| (Severity::Critical, message)));
    }
    // One that is low has to have a little more than that before it isn't.
    let was_low = ctx.board.holds(ROOT_NAME, "disk_low", &path);
    let low = ctx.disk_low_bytes();
    let limit = if was_low { low.saturating_add(low / 10) } else { low };
    let (low, silent) = match found {
        Ok(found) => (room(found, limit, &path), None),
        Err(reason) => (None, Some((Severity::Critical, reason))),
    };
    if silent.is_none() {
        ctx.board.set(ROOT_NAME, "disk_low", &path, low);
    }
    ctx.board.set(ROOT_NAME, "disk_silent", &path, silent);
    if !std::mem::replace(&mut ctx.board.own().disk_known, true) {
        ctx.board.changed();
    }
}

/// Another directory stands where the store was: what runs has the old one open, and what it opens is in the new one.
fn moved(path: &str) -> String {
    format!(
        "another directory stands at {path} than at the start: it was moved, removed or unmounted, and what is recorded now is torn apart; \
         stop dccd, bring the directory back, start dccd"
    )
}

/// What is to be said of the room on a disk.
fn room(disk: Disk, low: u64, path: &str) -> Option<(Severity, String)> {
    let severity = match disk.free {
        ..DISK_FULL_BYTES => Severity::Critical,
        free if free < low => Severity::Warning,
        _ => return None,
    };
    // To half a GiB, so that what is said doesn't change with every look.
    let step = if severity == Severity::Critical { 64 } else { 512 };
    let size_mib = disk.size >> 20;
    let free_mib = (disk.free >> 20).max(1).next_multiple_of(step).min(size_mib);
    Some((
        severity,
        format!(
            "less than {free_mib} MiB of {size_mib} MiB are free on the disk of {path}; make room, or nothing is recorded when it is full"
        ),
    ))
}

/// What the root remembers of one service between two looks.
#[derive(Debug, Default)]
struct ServiceWatch {
    /// Since when it ought to run and isn't ready.
    down_since: Option<Instant>,
    restarts: Option<u64>,
    restarted: VecDeque<Instant>,
    /// When its last process had to be killed, and why.
    killed: Option<(Instant, String)>,
}

impl ServiceWatch {
    fn look(&mut self, board: &Board, cell: &Cell, now: Instant) {
        let (phase, reason, restarts, last_exit, stuck) = {
            let state = cell.state();
            let stuck = cell.is_stuck(&state, now);
            (state.phase, state.reason.clone(), state.restarts, state.last_exit.clone(), stuck)
        };
        let name = cell.name();
        // The restarts under an earlier root are none of now.
        let before = self.restarts.replace(restarts).unwrap_or(restarts);
        for _ in 0..restarts.saturating_sub(before).min(STORM_RESTARTS as u64) {
            self.restarted.push_back(now);
        }
        if restarts > before
            && let Some(exit) = last_exit.filter(|exit| was_killed(exit))
        {
            self.killed = Some((now, exit));
        }
        self.restarted.retain(|at| now.duration_since(*at) < STORM_WINDOW);
        let failed = phase == ServiceState::Failed;
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let message =
            format!("it has failed{why}; it is not started again: see `dccd logs {name}`, then `dccd restart {name}`");
        board.set(name, "service_failed", "", failed.then_some((Severity::Critical, message)));

        let storm = self.restarted.len() >= STORM_RESTARTS;
        let minutes = STORM_WINDOW.as_secs() / 60;
        let message =
            format!("it was restarted {STORM_RESTARTS} times or more within {minutes} minutes; see `dccd logs {name}`");
        board.set(name, "restart_storm", "", storm.then_some((Severity::Critical, message)));

        let settled = |at: &Instant| now.duration_since(*at) >= KILL_TOLD && phase.is_ready();
        if self.killed.as_ref().is_some_and(|(at, _)| settled(at)) {
            self.killed = None;
        }
        let killed =
            self.killed.as_ref().map(|(_, why)| (Severity::Warning, format!("{why}: it was killed and started again")));
        board.set(name, "service_killed", "", killed);

        let message = "it has work to do and makes no progress".to_owned();
        board.set(name, "service_stuck", "", stuck.then_some((Severity::Warning, message)));

        let waits = matches!(phase, ServiceState::Starting | ServiceState::Backoff);
        self.down_since = if waits { self.down_since.or(Some(now)) } else { None };
        let down = self.down_since.is_some_and(|since| now.duration_since(since) >= DOWN_AFTER);
        let message = format!("it has not been ready for {} minutes{why}", DOWN_AFTER.as_secs() / 60);
        board.set(name, "service_down", "", down.then_some((Severity::Critical, message)));
    }
}

/// Whether an exit was the root's doing.
fn was_killed(exit: &str) -> bool {
    ["watchdog", "start timeout", "memory limit", "no progress", "OOM"].iter().any(|why| exit.starts_with(why))
}

/// Sees to it that the service that tells runs while there is something to tell.
#[derive(Debug, Default)]
struct Teller {
    begun: bool,
    starting: Option<JoinHandle<()>>,
    not_before: Option<Instant>,
}

impl Teller {
    fn see_to_it(&mut self, ctx: &Arc<Context>) {
        let Some(alerting) = ctx.alerting() else { return };
        if let Some(starting) = &self.starting {
            if !starting.is_finished() {
                return;
            }
            self.starting = None;
        }
        if ctx.is_stopping() || self.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let runs = ctx.cell(&alerting.service).is_some_and(|cell| cell.state().phase != ServiceState::Stopped);
        let wanted = (alerting.pending && !self.begun) || (!runs && is_something_wrong(ctx));
        self.begun = true;
        if runs || !wanted {
            return;
        }
        self.not_before = Some(Instant::now() + ENSURE_PAUSE);
        let (ctx, service) = (Arc::clone(ctx), alerting.service.clone());
        self.starting = Some(tokio::spawn(async move {
            match ctx.ensure(&service, Instant::now() + ENSURE_DEADLINE).await {
                Ok(_) | Err(EnsureError::Stopping { .. }) => {}
                Err(error) => tracing::error!(service, error = %chain(&error), "nobody can be told what is wrong"),
            }
        }));
    }
}

fn is_something_wrong(ctx: &Context) -> bool {
    let told = |cell: &Arc<Cell>| cell.state().told.as_ref().is_some_and(|told| !told.said.is_empty());
    !ctx.board.own().found.is_empty() || ctx.cells().iter().any(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_changes_with_what_is_found_and_not_with_each_look() {
        let board = Board::new();
        let mut changes = board.subscribe();
        let mut set = |severity: Option<Severity>| {
            board.set("x", "service_failed", "", severity.map(|severity| (severity, "it has failed".to_owned())));
            let news = changes.has_changed().unwrap();
            changes.mark_unchanged();
            news
        };
        assert!(!set(None));
        assert!(set(Some(Severity::Warning)) && !set(Some(Severity::Warning)) && set(Some(Severity::Critical)));
        let since = board.own().found.values().next().unwrap().since;
        assert!(since > 0 && set(None) && board.own().found.is_empty());
    }

    #[test]
    fn a_service_that_is_known_no_more_has_nothing_wrong() {
        let board = Board::new();
        let wrong = || Some((Severity::Warning, "it has failed".to_owned()));
        for service in ["x", "y"] {
            board.set(service, "service_failed", "", wrong());
        }
        let changes = board.subscribe();
        board.forget("x");
        assert!(changes.has_changed().unwrap(), "who follows is to hear of it");
        assert_eq!((board.holds("x", "service_failed", ""), board.holds("y", "service_failed", "")), (false, true));
    }

    #[test]
    fn a_disk_is_low_below_the_limit_and_critical_below_the_least() {
        let of = |free| room(Disk { free, size: 1 << 40, place: (1, 2) }, 4 << 30, "/data").map(|(severity, _)| severity);
        assert_eq!(of(4 << 30), None);
        assert_eq!(of((4 << 30) - 1), Some(Severity::Warning));
        assert_eq!(of(DISK_FULL_BYTES - 1), Some(Severity::Critical));
        let said = |free| room(Disk { free, size: 1 << 40, place: (1, 2) }, 4 << 30, "/data").unwrap().1;
        assert_eq!(said(3 << 30), said((3 << 30) - 5), "a few bytes are no news");
        assert!(said(3 << 30).starts_with("less than 3072 MiB of 1048576 MiB"), "{}", said(3 << 30));
    }
}
