//! What is known of one service, shared between its supervisor and the RPC side. Every change of state goes through
//! [`Cell::set`], which tells those who wait for it, the event log and the process log.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dccd_rpc::RpcError;
use dccd_rpc::condition::{Condition, Doubt};
use dccd_rpc::root::{
    Endpoint, HeartbeatReply, Progress, ROOT_NAME, RegisterReply, Registration, ServiceExit, ServiceInfo, ServiceState,
};
use dccd_service::process;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ServiceSpec;
use crate::adopt::Record;
use crate::conditions::Board;
use crate::events::{EventLog, unix_nanos};
use crate::exits::{EXITS_KEPT, Ending, History, Was};
use crate::process::Exit;
use crate::replace::ReplaceOrder;
use crate::successor::Successor;
use crate::token::TokenHash;
use crate::watching::Watching;

/// Last words of a service are cut here; the whole of them is in its log.
const FAREWELL_CHARS_MAX: usize = 300;
/// Most numbers in them.
const FLUSHED_MAX: usize = 16;

/// Orders to a supervisor. The queue holds a few; each order is repeated or merged by nature, so that when it is full
/// the sender waits.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run, if you don't.
    Start,
    /// Stop, forget failures, run.
    Restart,
    /// The process of this incarnation is to be replaced, as a failure.
    Recycle(Recycle, u64),
    /// The process is to be replaced by a successor beside it.
    Replace(ReplaceOrder),
    /// Stop for good.
    Stop(StopOrder),
}

/// Why a process that answers is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recycle {
    /// It uses more memory than it may.
    Memory,
    /// It is busy and gets nowhere.
    NoProgress,
}

impl Recycle {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory limit",
            Self::NoProgress => "no progress",
        }
    }
}

/// How to stop for good.
#[derive(Debug)]
pub(crate) struct StopOrder {
    /// Patience before killing.
    pub(crate) patience: Duration,
    /// The process is not to stop but to be left to the next root; only the root's care for it ends.
    pub(crate) keep: bool,
    /// Told how it went.
    pub(crate) done: oneshot::Sender<Stopped>,
}

/// How stopping one service went; `None`: it wasn't running.
pub(crate) type Stopped = Option<Gone>;

/// The end of a process that was asked to stop.
#[derive(Debug)]
pub(crate) struct Gone {
    /// How it ended.
    pub(crate) exit: String,
    /// Whether it had to be killed.
    pub(crate) killed: bool,
    /// What it said it had made durable.
    pub(crate) flushed: Vec<(String, u64)>,
}

/// One service.
pub(crate) struct Cell {
    name: String,
    /// Another one when the configuration was read anew.
    spec: Mutex<Arc<ServiceSpec>>,
    pub(crate) supervision: Arc<Watching>,
    events: Arc<EventLog>,
    board: Arc<Board>,
    state: Mutex<State>,
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) commands: mpsc::Sender<Command>,
}

/// What a process says is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) said: Vec<Condition>,
    /// How much more there is.
    pub(crate) more: u32,
    /// Whether it has looked around.
    pub(crate) settled: bool,
    /// What it can't tell yet.
    pub(crate) doubts: Vec<Doubt>,
}

/// The mutable part of a cell.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: ServiceState,
    pub(crate) reason: Option<String>,
    /// Counts spawns; tells one process of the service from the next.
    pub(crate) incarnation: u64,
    /// Its place in the order of first starts; 0: never started.
    pub(crate) start_number: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) endpoint: Option<Endpoint>,
    version: Option<String>,
    pub(crate) token: Option<TokenHash>,
    /// Whether it has registered with us.
    registered: bool,
    /// Since when its process runs.
    pub(crate) spawned: Option<Instant>,
    /// Since when we wait for its process to register.
    pub(crate) awaited: Option<Instant>,
    /// Whether its process is an earlier root's and has not registered with us yet.
    adopting: bool,
    /// Why that one is not adopted.
    refused: Option<&'static str>,
    pub(crate) ready_since: Option<Instant>,
    pub(crate) last_beat: Option<Instant>,
    pub(crate) last_moved: Option<Instant>,
    pub(crate) over_memory_since: Option<Instant>,
    /// Whether it was asked to shed memory and has not come far enough down yet.
    pub(crate) near_memory_limit: bool,
    pub(crate) progress: Progress,
    /// What its last process that spoke to this root said is wrong. It is true until the next says otherwise.
    pub(crate) told: Option<Told>,
    pub(crate) cpu_pct: Option<f64>,
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<String>,
    farewell: Option<String>,
    flushed: Vec<(String, u64)>,
    /// Whether its last process crashed before this root.
    crashed: bool,
    /// The newest last.
    exits: VecDeque<ServiceExit>,
    /// A process that is to take the service over.
    pub(crate) successor: Option<Successor>,
    /// The process before the present one, which took the service over from it and has outlived it or is about to.
    pub(crate) predecessor: Option<Was>,
}

impl State {
    /// What the exit of the present process will say of it.
    pub(crate) fn was(&mut self) -> Was {
        let (pid, spawned, rss_bytes) = (self.pid, self.spawned, self.progress.rss_bytes);
        Was { pid, spawned, rss_bytes, last_words: self.farewell.take() }
    }

    /// Of a process that is about to be spawned, or to be adopted, or takes over.
    pub(crate) fn begin(&mut self, token: TokenHash) {
        self.incarnation += 1;
        (self.token, self.registered) = (Some(token), false);
        (self.adopting, self.refused) = (false, None);
        (self.farewell, self.near_memory_limit) = (None, false);
        self.flushed.clear();
        self.progress = Progress::default();
        (self.version, self.cpu_pct) = (None, None);
        (self.ready_since, self.last_beat, self.last_moved, self.over_memory_since) = (None, None, None, None);
    }
}

impl Cell {
    pub(crate) fn new(
        spec: ServiceSpec,
        supervision: Arc<Watching>,
        events: Arc<EventLog>,
        board: Arc<Board>,
        commands: mpsc::Sender<Command>,
        history: &History,
    ) -> Self {
        let state = State {
            phase: ServiceState::Stopped,
            reason: None,
            incarnation: 0,
            start_number: 0,
            pid: None,
            endpoint: None,
            version: None,
            token: None,
            registered: false,
            spawned: None,
            awaited: None,
            adopting: false,
            refused: None,
            ready_since: None,
            last_beat: None,
            last_moved: None,
            over_memory_since: None,
            near_memory_limit: false,
            progress: Progress::default(),
            told: None,
            cpu_pct: None,
            restarts: history.restarts,
            last_exit: None,
            farewell: None,
            flushed: Vec::new(),
            crashed: false,
            exits: history.exits.iter().cloned().collect(),
            successor: None,
            predecessor: None,
        };
        let (name, spec) = (spec.name.clone(), Mutex::new(Arc::new(spec)));
        Self { name, spec, supervision, events, board, state: Mutex::new(state), changed: watch::channel(0).0, commands }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the service is, and what it is told.
    pub(crate) fn spec(&self) -> Arc<ServiceSpec> {
        Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The service is told something else from now on: its process that runs at a restart, unless it is told otherwise.
    pub(crate) fn respecify(&self, spec: impl Into<Arc<ServiceSpec>>) {
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = spec.into();
        self.changed.send_modify(|n| *n += 1); // its process may be limited otherwise now
    }

    /// Looks at the state; never held across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves fields that are each valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows changes of state (not heartbeats).
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Sends an order to the supervisor; waits while its queue is full. `false` when it has ended.
    pub(crate) async fn command(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Goes over to a phase.
    pub(crate) fn set(&self, phase: ServiceState, reason: Option<String>) {
        self.set_locked(&mut self.state(), phase, reason);
    }

    pub(crate) fn set_locked(&self, state: &mut State, phase: ServiceState, reason: Option<String>) {
        if state.phase == phase && state.reason == reason {
            return;
        }
        let service = self.name();
        let shown = reason.as_deref();
        match phase {
            ServiceState::Failed => tracing::error!(service, pid = state.pid, reason = shown, "service failed"),
            ServiceState::Backoff | ServiceState::Degraded => {
                tracing::warn!(service, pid = state.pid, reason = shown, "service {phase}");
            }
            _ => tracing::info!(service, pid = state.pid, reason = shown, "service {phase}"),
        }
        self.events.push(service, phase, state.pid, shown);
        state.phase = phase;
        state.reason = reason;
        self.changed.send_modify(|n| *n += 1);
    }

    /// Orders the start of a stopped service and marks it as starting, in one step: exactly once, however many ask.
    /// `number` counts the starts of all services: the first one of each sets its place in the order of stopping.
    /// `false` when it isn't stopped, or its supervisor takes no orders.
    pub(crate) fn claim_start(&self, number: impl FnOnce() -> u64) -> bool {
        let mut state = self.state();
        // The supervisor of a stopped service waits for orders, so that there is room; without it nothing is claimed.
        if state.phase != ServiceState::Stopped || self.commands.try_send(Command::Start).is_err() {
            return false;
        }
        if state.start_number == 0 {
            state.start_number = number();
        }
        self.set_locked(&mut state, ServiceState::Starting, None);
        true
    }

    /// A process of an earlier root runs: it may register with us from now on. `number` as in [`Cell::claim_start`].
    pub(crate) fn adopt(&self, record: &Record, number: impl FnOnce() -> u64) {
        // The queue is new and has room.
        if !self.claim_start(number) {
            return;
        }
        self.begin(record.token());
        let mut state = self.state();
        let now = Instant::now();
        state.pid = Some(record.pid);
        state.spawned = Some(now.checked_sub(process::age(record.start_ticks)).unwrap_or(now));
        state.awaited = Some(now);
        state.adopting = true;
        state.restarts = record.restarts;
        state.last_exit.clone_from(&record.last_exit);
        let service = self.name();
        tracing::info!(service, pid = record.pid, "a process of an earlier root runs; waiting for it to register");
    }

    /// The service's last process crashed while there was no root; its status is known where it was a child of ours.
    pub(crate) fn crashed_before(&self, record: &Record, status: Option<ExitStatus>) {
        let mut state = self.state();
        state.restarts = state.restarts.max(record.restarts);
        state.crashed = true;
        let shown = status.map_or_else(|| "ended without a root".to_owned(), |status| Exit::Status(status).to_string());
        tracing::warn!(
            service = self.name(),
            pid = record.pid,
            exit = shown,
            "the service's process ended while there was no root"
        );
        let ending = Ending {
            reason: shown.clone(),
            shown,
            status: status.map(Exit::Status),
            killed: false,
            detail: Some("it ended while there was no dccd-root; when is not known".to_owned()),
        };
        let was = Was { pid: Some(record.pid), ..state.was() };
        self.note(&mut state, was, ending);
    }

    /// Whether the service's last process crashed before this root, and is not answered for yet; from here on it is.
    pub(crate) fn forgive_crash(&self) -> bool {
        std::mem::take(&mut self.state().crashed)
    }

    /// Whether the process is still to register with us after an earlier root.
    pub(crate) fn is_adopting(&self) -> bool {
        self.state().adopting
    }

    /// Why a process of an earlier root is not adopted, once that is certain.
    pub(crate) fn refused(&self) -> Option<&'static str> {
        self.state().refused
    }

    /// A new process is about to be spawned, or one to be adopted.
    pub(crate) fn begin(&self, token: TokenHash) {
        self.state().begin(token);
    }

    /// The process runs.
    pub(crate) fn spawned(&self, pid: u32) {
        let mut state = self.state();
        state.pid = Some(pid);
        let now = Instant::now();
        (state.spawned, state.awaited) = (Some(now), Some(now));
        // The phase is `starting` already; the event that carries the pid is worth having all the same.
        self.events.push(self.name(), state.phase, state.pid, None);
        tracing::info!(service = self.name(), pid, "service spawned");
        self.changed.send_modify(|n| *n += 1);
    }

    /// The process is gone, or never came to be. Returns its last words and what it has flushed.
    pub(crate) fn ended(&self, ending: Ending) -> (Option<String>, Vec<(String, u64)>) {
        let mut state = self.state();
        let was = state.was();
        let last_words = was.last_words.clone();
        self.note(&mut state, was, ending);
        (state.pid, state.endpoint, state.spawned, state.token) = (None, None, None, None);
        (state.awaited, state.last_beat, state.registered) = (None, None, false);
        (state.adopting, state.refused) = (false, None);
        (last_words, std::mem::take(&mut state.flushed))
    }

    /// Writes an exit into the history.
    pub(crate) fn note(&self, state: &mut State, was: Was, ending: Ending) {
        let (code, signal) = ending.status.map_or((None, None), |status| (status.code(), status.signal()));
        let exit = ServiceExit {
            ts: unix_nanos(),
            pid: was.pid,
            reason: ending.reason,
            code,
            signal,
            killed: ending.killed,
            ran_s: was.spawned.map(|spawned| spawned.elapsed().as_secs_f64()),
            rss_bytes: Some(was.rss_bytes).filter(|&bytes| bytes > 0),
            last_words: was.last_words,
            detail: ending.detail,
        };
        tracing::info!(
            service = self.name(),
            pid = exit.pid,
            reason = exit.reason,
            killed = exit.killed,
            ran_s = exit.ran_s,
            detail = exit.detail,
            "service ended"
        );
        if state.exits.len() == EXITS_KEPT {
            state.exits.pop_front();
        }
        state.exits.push_back(exit);
        state.last_exit = Some(ending.shown);
    }

    /// What is to be kept of it for the next root; `fresh`: without the restarts, because it was stopped in order.
    pub(crate) fn history(&self, window: impl Iterator<Item = Instant>, fresh: bool) -> History {
        let state = self.state();
        History::new(state.exits.iter().cloned().collect(), if fresh { 0 } else { state.restarts }, window)
    }

    /// A process says that it is ready. It must be the very one that was spawned, or that an earlier root spawned, with
    /// the token of its spawn.
    pub(crate) fn register(&self, registration: Registration, peer: Option<u32>) -> Result<RegisterReply, RpcError> {
        let refused = |reason: &str| {
            tracing::warn!(service = self.name(), pid = registration.pid, ?peer, reason, "registration refused");
            RpcError::Refused { service: ROOT_NAME.to_owned(), reason: reason.to_owned() }
        };
        let mut state = self.state();
        if state.pid != Some(registration.pid) || peer.is_some_and(|peer| peer != registration.pid) {
            return Err(refused("this process was not started as this service"));
        }
        let Some(token) = &state.token else { return Err(refused("this process was not started as this service")) };
        let wrong = if !token.is_of(&registration.token) {
            Some("the token is wrong")
        } else if state.adopting && self.spec().protocol.is_some_and(|protocol| protocol != registration.protocol) {
            Some("it speaks another version of its contract")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            if state.adopting {
                // Its supervisor replaces it; a child of ours may try again.
                state.refused = Some(wrong);
                self.changed.send_modify(|n| *n += 1);
            }
            return Err(refused(wrong));
        }
        let reply = RegisterReply {
            heartbeat_interval: self.supervision.get().heartbeat_interval,
            heartbeat_timeout: self.supervision.get().heartbeat_timeout,
            log_level: None,
        };
        if state.registered && state.phase.is_ready() {
            // It has not got the first answer.
            tracing::info!(service = self.name(), pid = state.pid, "the service registers once more");
            return Ok(reply);
        }
        if state.phase != ServiceState::Starting {
            return Err(refused("the service is not starting"));
        }
        let now = Instant::now();
        if std::mem::take(&mut state.adopting) {
            let running_s = state.spawned.map(|spawned| now.duration_since(spawned).as_secs_f64());
            let version = &registration.version;
            tracing::info!(service = self.name(), pid = state.pid, running_s, version, "service adopted");
        }
        state.registered = true;
        state.endpoint = Some(registration.endpoint);
        state.version = Some(registration.version);
        (state.ready_since, state.last_beat, state.last_moved) = (Some(now), Some(now), Some(now));
        // At once, so that nobody who waits for it takes it for sound until its first heartbeat.
        let phase = if registration.degraded.is_some() { ServiceState::Degraded } else { ServiceState::Ready };
        self.set_locked(&mut state, phase, registration.degraded);
        Ok(reply)
    }

    /// A process says that it lives.
    pub(crate) fn beat(&self, mut progress: Progress, peer: Option<u32>) -> Result<HeartbeatReply, RpcError> {
        let mut state = self.state();
        self.check_peer(&state, peer)?;
        let now = Instant::now();
        if let Some(last) = state.last_beat {
            let elapsed = now.duration_since(last).as_secs_f64();
            let used = progress.cpu_us.saturating_sub(state.progress.cpu_us);
            if elapsed > 0.0 && state.progress.cpu_us > 0 {
                state.cpu_pct = Some(used as f64 / 10_000.0 / elapsed);
            }
        }
        if !progress.busy || progress.counters != state.progress.counters {
            state.last_moved = Some(now);
        }
        state.last_beat = Some(now);
        let said = std::mem::take(&mut progress.conditions);
        let doubts = std::mem::take(&mut progress.conditions_doubted);
        let (more, settled) = (progress.conditions_more, !progress.conditions_unsettled);
        let told = Some(Told { said, more, settled, doubts });
        if state.told != told {
            state.told = told;
            self.board.changed();
        }
        state.progress = progress;
        if state.phase.is_ready() {
            let reason = self.complaint(&mut state, now);
            let phase = if reason.is_some() { ServiceState::Degraded } else { ServiceState::Ready };
            self.set_locked(&mut state, phase, reason);
        }
        Ok(HeartbeatReply { log_level: None, shed_memory: state.near_memory_limit })
    }

    /// Whether a service that has work to do makes no progress.
    pub(crate) fn is_stuck(&self, state: &State, now: Instant) -> bool {
        state.phase.is_ready()
            && state.last_moved.is_some_and(|moved| now.duration_since(moved) >= self.supervision.get().progress_timeout)
    }

    /// A process says that it is about to exit.
    pub(crate) fn farewell(
        &self,
        mut reason: String,
        mut flushed: Vec<(String, u64)>,
        peer: Option<u32>,
    ) -> Result<(), RpcError> {
        let mut state = self.state();
        self.check_peer(&state, peer)?;
        if let Some((end, _)) = reason.char_indices().nth(FAREWELL_CHARS_MAX) {
            reason.truncate(end);
        }
        tracing::info!(service = self.name(), pid = state.pid, reason, "service says good-bye");
        state.farewell = Some(reason);
        flushed.truncate(FLUSHED_MAX);
        state.flushed = flushed;
        // Nobody should be sent there any more.
        state.endpoint = None;
        Ok(())
    }

    fn check_peer(&self, state: &State, peer: Option<u32>) -> Result<(), RpcError> {
        if state.pid.is_some() && state.registered && (peer.is_none() || peer == state.pid) {
            return Ok(());
        }
        Err(RpcError::Refused { service: ROOT_NAME.to_owned(), reason: format!("this process is not {}", self.name()) })
    }

    /// When silence or slowness becomes a failure: the supervisor's next look at the clock.
    pub(crate) fn deadline(&self) -> Option<(Instant, &'static str)> {
        let state = self.state();
        match (state.ready_since, state.last_beat) {
            (Some(_), Some(beat)) => Some((beat + self.supervision.get().heartbeat_timeout, "watchdog")),
            _ if state.adopting => {
                state.awaited.map(|since| (since + self.supervision.get().adoption_timeout, "not adopted in time"))
            }
            _ => state.awaited.map(|since| (since + self.supervision.get().start_timeout, "start timeout")),
        }
    }

    /// Whether the process has said nothing for longer than one that is well ever does.
    pub(crate) fn is_silent(&self) -> bool {
        let usual = 3 * self.supervision.get().heartbeat_interval;
        self.state().last_beat.is_none_or(|beat| beat.elapsed() > usual)
    }

    /// We ourselves were held up: what is overdue gets its time again.
    pub(crate) fn excuse(&self, now: Instant) {
        let mut state = self.state();
        if let Some(beat) = &mut state.last_beat {
            *beat = now;
        } else if let Some(awaited) = &mut state.awaited {
            *awaited = now;
        }
    }

    /// The service's line in listings.
    pub(crate) fn info(&self) -> ServiceInfo {
        let state = self.state();
        let beats = state.last_beat.is_some();
        ServiceInfo {
            name: self.name().to_owned(),
            state: state.phase,
            pid: state.pid,
            endpoint: state.endpoint.clone(),
            uptime_s: state.spawned.map(|spawned| spawned.elapsed().as_secs_f64()),
            restarts: state.restarts,
            last_exit: state.last_exit.clone(),
            rss_bytes: (beats && state.progress.rss_bytes > 0).then_some(state.progress.rss_bytes),
            cpu_pct: state.cpu_pct.filter(|_| beats),
            heartbeat_age_ms: state.last_beat.map(|beat| u64::try_from(beat.elapsed().as_millis()).unwrap_or(u64::MAX)),
            version: state.version.clone(),
            reason: state.reason.clone(),
            eager: self.spec().eager,
            counters: state.progress.counters.clone(),
            exits: state.exits.iter().cloned().collect(),
        }
    }
}
