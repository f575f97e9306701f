//! What the parts of a root share: its options, the table of services, and whether it is stopping.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dccd_registry::RuntimeDir;
use dccd_rpc::root::{Endpoint, EnsureError, ROOT_NAME, RootStatus, ServiceInfo, ServiceLogLevel, ServiceState, StopReport};
use dccd_rpc::{BUILD, RpcError};
use dccd_service::log::{self, LogFiles};
use dccd_service::{chain, process};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use crate::adopt::{Candidate, Predecessor, predecessor_gone};
use crate::cell::{Cell, Command};
use crate::conditions::Board;
use crate::confine::Limiter;
use crate::events::{EventLog, unix_nanos};
use crate::exits::History;
use crate::levels::Levels;
use crate::process::Process;
use crate::remote::RpcCounters;
use crate::replace::{ReplaceOrder, stand_by_deadline};
use crate::supervisor::supervise;
use crate::watching::Watching;
use crate::{Alerting, Options, Refuse, Reload, Resolve, RootError, ServiceSpec, Sweep};

/// Orders waiting for one supervisor; senders wait while it is full.
const COMMANDS_MAX: usize = 8;
/// Reloads that are under way or wait; one more is refused.
const RELOADS_MAX: usize = 4;

/// The root, as its tasks see it.
pub(crate) struct Context {
    pub(crate) instance: String,
    pub(crate) runtime_dir: RuntimeDir,
    pub(crate) data_path: PathBuf,
    pub(crate) config_path: Option<PathBuf>,
    pub(crate) executable: PathBuf,
    pub(crate) supervision: Arc<Watching>,
    pub(crate) log_files: LogFiles,
    levels: Mutex<Levels>,
    pub(crate) events: Arc<EventLog>,
    /// Set once stopping has begun; then whether it is forced.
    pub(crate) force: watch::Sender<bool>,
    /// How stopping went, once it is done.
    pub(crate) stopped: watch::Sender<Option<StopReport>>,
    pub(crate) sweep: Option<Sweep>,
    /// What remote clients came to.
    pub(crate) rpc: Arc<RpcCounters>,
    /// What is wrong with the root itself, by what it is about.
    troubles: Mutex<BTreeMap<&'static str, String>>,
    pub(crate) limiter: Limiter,
    /// What is wrong.
    pub(crate) board: Arc<Board>,
    alerting: Mutex<Option<Alerting>>,
    disk_low_bytes: AtomicU64,
    /// Processes that are left to the next root.
    kept: Mutex<Vec<Process>>,
    /// Whether this root ends for the next one to take over.
    pub(crate) handing_over: AtomicBool,
    /// The ends of processes that nobody wants any more.
    leftovers: Mutex<Vec<JoinHandle<()>>>,
    resolve: Mutex<Resolve>,
    refuse: Refuse,
    /// Reads the configuration anew; held by the one reload that is under way.
    pub(crate) reload: tokio::sync::Mutex<Option<Reload>>,
    /// Places for those that wait for it.
    pub(crate) reloads: tokio::sync::Semaphore,
    table: Mutex<Table>,
    starts: AtomicU64,
    started: Instant,
    started_ns: i64,
    cpu: Mutex<(Instant, u64, Option<f64>)>,
}

#[derive(Default)]
struct Table {
    cells: BTreeMap<String, Arc<Cell>>,
    stopping: bool,
}

/// What has to be true of a service before a wait for it is over.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Ready, whichever process it is.
    Ready,
    /// Ready, or failed, with a process spawned after this one.
    After(u64),
}

impl Context {
    /// A context with a cell for each service, and for each one that an earlier root has left running; none is started yet,
    /// but the latter may register.
    pub(crate) fn new(options: Options) -> Result<Arc<Self>, RootError> {
        let ctx = Arc::new(Self {
            instance: options.instance,
            runtime_dir: options.runtime_dir,
            data_path: options.data_path,
            config_path: options.config_path,
            executable: options.executable,
            supervision: Arc::new(Watching::new(options.supervision)),
            log_files: options.log_files,
            levels: Mutex::default(),
            events: Arc::new(EventLog::new()),
            force: watch::channel(false).0,
            stopped: watch::channel(None).0,
            sweep: options.sweep,
            rpc: Arc::default(),
            troubles: Mutex::default(),
            limiter: Limiter::default(),
            board: Arc::new(Board::new()),
            alerting: Mutex::new(options.alerting),
            disk_low_bytes: AtomicU64::new(options.disk_low_bytes),
            kept: Mutex::default(),
            handing_over: AtomicBool::new(false),
            leftovers: Mutex::default(),
            resolve: Mutex::new(options.resolve),
            refuse: options.refuse,
            reload: tokio::sync::Mutex::new(options.reload),
            reloads: tokio::sync::Semaphore::new(RELOADS_MAX),
            table: Mutex::default(),
            starts: AtomicU64::new(0),
            started: Instant::now(),
            started_ns: unix_nanos(),
            cpu: Mutex::new((Instant::now(), process::cpu_us(), None)),
        });
        for spec in options.services {
            let socket = ctx.runtime_dir.service_socket(&spec.name);
            dccd_rpc::check_socket_path(&socket)
                .map_err(|source| RootError::ServiceSocket { name: spec.name.clone(), source })?;
            let mut table = ctx.table();
            if table.cells.contains_key(&spec.name) {
                return Err(RootError::Duplicate { name: spec.name });
            }
            let cell = ctx.inherit(spec);
            table.cells.insert(cell.name().to_owned(), cell);
        }
        for name in ctx.runtime_dir.recorded_services() {
            let mut table = ctx.table();
            if table.cells.contains_key(&name) {
                continue;
            }
            match ctx.resolve_usable(&name) {
                // Somebody asked the earlier root for it.
                Some(spec) => {
                    let cell = ctx.inherit(spec);
                    table.cells.insert(cell.name().to_owned(), cell);
                }
                None => ctx.end_leftover(name),
            }
        }
        Ok(ctx)
    }

    /// A cell for a service with whatever an earlier root has left of it.
    fn inherit(self: &Arc<Self>, spec: ServiceSpec) -> Arc<Cell> {
        match Predecessor::of(&self.runtime_dir, &spec) {
            Predecessor::None => self.new_cell(spec, None),
            Predecessor::Crashed(record, status) => {
                record.remove(&self.runtime_dir, &spec.name);
                let cell = self.new_cell(spec, None);
                cell.crashed_before(&record, status);
                cell
            }
            Predecessor::Runs(candidate) => self.new_cell(spec, Some(candidate)),
            Predecessor::Stranger => {
                if !spec.eager {
                    // Its supervisor would only deal with it when somebody asks for the service.
                    self.end_leftover(spec.name.clone());
                }
                self.new_cell(spec, None)
            }
        }
    }

    /// Sees to the end of a process of an earlier root that nobody wants any more.
    fn end_leftover(self: &Arc<Self>, name: String) {
        let ctx = Arc::clone(self);
        let ending = tokio::spawn(async move {
            predecessor_gone(&ctx.runtime_dir, &name, ctx.supervision.get().shutdown_timeout).await;
        });
        self.leftovers.lock().unwrap_or_else(PoisonError::into_inner).push(ending);
    }

    /// Waits until those are gone.
    pub(crate) async fn leftovers_gone(&self) {
        let leftovers = std::mem::take(&mut *self.leftovers.lock().unwrap_or_else(PoisonError::into_inner));
        for leftover in leftovers {
            // It only waits, and has its own deadline.
            let _ = leftover.await;
        }
    }

    /// Leaves a process to the next root, from the moment at which this one lets go of it.
    pub(crate) fn keep(&self, process: Process) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    /// Lets go of the processes that are left to the next root.
    pub(crate) fn let_go(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        kept.into_iter().for_each(Process::let_go);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell with its supervisor. If the supervisor panicked, orders to it fail and its process is killed with it.
    fn new_cell(self: &Arc<Self>, spec: ServiceSpec, candidate: Option<Candidate>) -> Arc<Cell> {
        let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
        let history = History::load_soon(&self.data_path, &spec.name);
        let (supervision, events, board) =
            (Arc::clone(&self.supervision), Arc::clone(&self.events), Arc::clone(&self.board));
        let cell = Arc::new(Cell::new(spec, supervision, events, board, sender, &history));
        if let Some(candidate) = &candidate {
            cell.adopt(&candidate.record, || self.next_start());
        }
        tokio::spawn(supervise(Arc::clone(self), Arc::clone(&cell), receiver, candidate, history.window()));
        cell
    }

    fn next_start(&self) -> u64 {
        self.starts.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn cells(&self) -> Vec<Arc<Cell>> {
        self.table().cells.values().cloned().collect()
    }

    pub(crate) fn cell(&self, name: &str) -> Option<Arc<Cell>> {
        self.table().cells.get(name).cloned()
    }

    /// Makes ready to limit services, where any is limited.
    pub(crate) fn prepare_limits(&self) {
        if self.cells().iter().any(|cell| cell.spec().limits != crate::Limits::default()) {
            self.limiter.prepare();
        }
    }

    /// Starts what is to run from the beginning.
    pub(crate) fn start_eager(&self, order: &[String]) {
        for cell in order.iter().filter_map(|name| self.cell(name)).filter(|cell| cell.spec().eager) {
            self.start(&cell);
        }
    }

    /// Knows a further service from now on; it runs when it is started.
    pub(crate) fn add(self: &Arc<Self>, spec: ServiceSpec) {
        let mut table = self.table();
        if !table.cells.contains_key(&spec.name) {
            let cell = self.inherit(spec);
            table.cells.insert(cell.name().to_owned(), cell);
        }
    }

    /// Knows a service no more; it has been stopped for good.
    pub(crate) fn forget(&self, name: &str) {
        self.table().cells.remove(name);
        self.board.forget(name);
    }

    /// Who tells people what is wrong.
    pub(crate) fn alerting(&self) -> Option<Alerting> {
        self.alerting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// With less room than this the store's disk is low, bytes.
    pub(crate) fn disk_low_bytes(&self) -> u64 {
        self.disk_low_bytes.load(Ordering::Relaxed)
    }

    /// What is wrong is told, and taken for wrong, this way from now on.
    pub(crate) fn set_alerting(&self, alerting: Option<Alerting>, disk_low_bytes: u64) {
        *self.alerting.lock().unwrap_or_else(PoisonError::into_inner) = alerting;
        self.disk_low_bytes.store(disk_low_bytes, Ordering::Relaxed);
    }

    /// Finds further services this way from now on.
    pub(crate) fn set_resolve(&self, resolve: Resolve) {
        *self.resolve.lock().unwrap_or_else(PoisonError::into_inner) = resolve;
    }

    /// Orders a start unless the service is on its way already.
    fn start(&self, cell: &Cell) -> bool {
        cell.claim_start(|| self.next_start())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.table().stopping
    }

    /// Begins to stop: no service is added or started from here on. `true` for the first caller.
    pub(crate) fn begin_stopping(&self) -> bool {
        let mut table = self.table();
        !std::mem::replace(&mut table.stopping, true)
    }

    /// The cell of a service that may be started, made on the spot for one that only the executable knows.
    fn wanted_cell(self: &Arc<Self>, name: &str) -> Result<Arc<Cell>, EnsureError> {
        let mut table = self.table();
        if table.stopping {
            return Err(EnsureError::Stopping { name: name.to_owned() });
        }
        if let Some(cell) = table.cells.get(name) {
            return Ok(Arc::clone(cell));
        }
        let Some(spec) = self.resolve_usable(name) else {
            if let Some(reason) = (self.refuse)(name) {
                return Err(EnsureError::NotOffered { name: name.to_owned(), reason });
            }
            return Err(EnsureError::Unknown { name: name.to_owned(), known: table.cells.keys().cloned().collect() });
        };
        let cell = self.new_cell(spec, None);
        table.cells.insert(name.to_owned(), Arc::clone(&cell));
        Ok(cell)
    }

    /// What only the executable knows of, if it can have a socket.
    fn resolve_usable(&self, name: &str) -> Option<ServiceSpec> {
        let usable = |spec: &ServiceSpec| {
            spec.name == name
                && dccd_rpc::check_socket_path(&self.runtime_dir.service_socket(name))
                    .map_err(|error| tracing::warn!(service = name, error = %chain(&error), "service cannot exist"))
                    .is_ok()
        };
        let resolve = Arc::clone(&*self.resolve.lock().unwrap_or_else(PoisonError::into_inner));
        resolve(name).filter(usable)
    }

    /// Starts a service if need be and waits until it is ready.
    pub(crate) async fn ensure(self: &Arc<Self>, name: &str, deadline: Instant) -> Result<Endpoint, EnsureError> {
        let cell = self.wanted_cell(name)?;
        self.start(&cell);
        self.ready(&cell, Wanted::Ready, deadline).await
    }

    /// Replaces a service's process and waits until the new one is ready.
    pub(crate) async fn restart(self: &Arc<Self>, name: &str, deadline: Instant) -> Result<Endpoint, EnsureError> {
        let cell = self.wanted_cell(name)?;
        let before = cell.state().incarnation;
        if !self.start(&cell) {
            cell.command(Command::Restart).await;
        }
        self.ready(&cell, Wanted::After(before), deadline).await
    }

    /// Replaces a service's process without a moment between, by one that is told what `spec` says (`None`: the same as before), and waits
    /// until it is ready. Where the new one doesn't come so far the old one goes on ([`EnsureError::Kept`]). A service that can't be replaced
    /// so, isn't ready, or hangs, is restarted; with that specification, too.
    pub(crate) async fn replace(
        self: &Arc<Self>,
        name: &str,
        spec: Option<ServiceSpec>,
        deadline: Instant,
    ) -> Result<Endpoint, EnsureError> {
        let cell = self.wanted_cell(name)?;
        let before = cell.state().incarnation;
        if cell.spec().hands_over && cell.state().phase.is_ready() && !cell.is_silent() {
            let (done, answer) = oneshot::channel();
            let order = ReplaceOrder { spec: spec.clone(), deadline: stand_by_deadline(deadline), done };
            cell.command(Command::Replace(order)).await;
            match answer.await {
                Ok(Ok(())) => return self.ready(&cell, Wanted::After(before), deadline).await,
                Ok(Err(reason)) if !cell.is_silent() => return Err(EnsureError::Kept { name: name.to_owned(), reason }),
                // It hangs, has stopped meanwhile, or is just starting.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        self.restart_with(name, spec, deadline).await
    }

    /// Restarts a service with another specification, if one is given.
    pub(crate) async fn restart_with(
        self: &Arc<Self>,
        name: &str,
        spec: Option<ServiceSpec>,
        deadline: Instant,
    ) -> Result<Endpoint, EnsureError> {
        if let Some(spec) = spec {
            self.wanted_cell(name)?.respecify(spec);
        }
        self.restart(name, deadline).await
    }

    async fn ready(&self, cell: &Cell, wanted: Wanted, deadline: Instant) -> Result<Endpoint, EnsureError> {
        let mut changes = cell.subscribe();
        let mut stopping = self.force.subscribe();
        let name = || cell.name().to_owned();
        loop {
            {
                let state = cell.state();
                let settled = match wanted {
                    Wanted::Ready => true,
                    Wanted::After(incarnation) => state.incarnation > incarnation,
                };
                if settled {
                    match (state.phase, &state.endpoint) {
                        (phase, Some(endpoint)) if phase.is_ready() => return Ok(endpoint.clone()),
                        (ServiceState::Failed | ServiceState::Stopped, _) => {
                            let reason = state.reason.clone().unwrap_or_else(|| "stopped".to_owned());
                            return Err(EnsureError::Failed { name: name(), reason });
                        }
                        _ => {}
                    }
                }
            }
            if self.is_stopping() {
                return Err(EnsureError::Stopping { name: name() });
            }
            let woken = tokio::select! {
                woken = timeout_at(deadline.into(), changes.changed()) => woken.is_ok(),
                // Stopping has begun; seen above.
                _ = stopping.changed() => true,
            };
            if !woken {
                let state = cell.state();
                return Err(EnsureError::Timeout { name: name(), state: state.phase, reason: state.reason.clone() });
            }
        }
    }

    /// What a service is to log by; `None`: as it was told at its start.
    pub(crate) fn log_level(&self, service: &str) -> Option<String> {
        // Said also where nobody asked for another: a process that was adopted may have been told something else.
        self.level_asked_for(service).or_else(|| Some(log::configured_level()).filter(|level| !level.is_empty()))
    }

    fn level_asked_for(&self, service: &str) -> Option<String> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).of(service).map(str::to_owned)
    }

    /// Sets that, for one or for all; its own the root follows at once.
    pub(crate) fn set_log_level(&self, service: Option<String>, directives: Option<String>) -> Result<(), RpcError> {
        if let Some(directives) = &directives {
            log::check_level(directives)
                .map_err(|error| RpcError::Invalid { argument: "directives".to_owned(), reason: chain(&error) })?;
        }
        if let Some(name) = &service
            && name != ROOT_NAME
            && self.cell(name).is_none()
            && self.resolve_usable(name).is_none()
        {
            return Err(RpcError::Unknown { what: "service".to_owned(), name: name.clone(), known: self.names() });
        }
        tracing::info!(
            service = service.as_deref().unwrap_or("all"),
            level = directives.as_deref(),
            "asked to log by another level"
        );
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).set(service.as_deref(), directives);
        log::set_level(self.level_asked_for(ROOT_NAME).as_deref())
            .map_err(|error| RpcError::Failed { operation: "changing the level".to_owned(), reason: chain(&error) })
    }

    /// Another level is configured from now on. Services follow with their next heartbeat, the root at once.
    pub(crate) fn set_configured_level(&self, level: String) {
        let followed =
            log::set_configured_level(level).and_then(|()| log::set_level(self.level_asked_for(ROOT_NAME).as_deref()));
        if let Err(error) = followed {
            tracing::warn!(error = &error as &dyn std::error::Error, "the configured log level is none");
        }
    }

    /// What each service logs by, the root first.
    pub(crate) fn log_levels(&self) -> Vec<ServiceLogLevel> {
        let level = |service: String| {
            let asked_for = self.level_asked_for(&service);
            let configured = asked_for.is_none();
            ServiceLogLevel { service, level: asked_for.unwrap_or_else(log::configured_level), configured }
        };
        self.names().into_iter().map(level).collect()
    }

    /// The names of all services, the root first.
    fn names(&self) -> Vec<String> {
        let mut names = vec![ROOT_NAME.to_owned()];
        names.extend(self.table().cells.keys().cloned());
        names
    }

    /// All services, the root first.
    pub(crate) fn list(&self) -> Vec<ServiceInfo> {
        let mut services = vec![self.own_info()];
        services.extend(self.cells().iter().map(|cell| cell.info()));
        services
    }

    /// Notes what is wrong with a part of the root itself; `None`: nothing any more.
    pub(crate) fn trouble(&self, part: &'static str, what: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => troubles.insert(part, what),
            None => troubles.remove(part),
        };
    }

    /// What is wrong with the root itself, in words; `None` when nothing is.
    pub(crate) fn troubles(&self) -> Option<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let words: Vec<&str> = troubles.values().map(String::as_str).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn own_info(&self) -> ServiceInfo {
        let status = self.status();
        let (state, reason) = if status.stopping {
            (ServiceState::Stopping, None)
        } else if let Some(missing) = status.missing.first() {
            let more = status.missing.len() - 1;
            let reason = if more == 0 {
                format!("{missing} is not ready")
            } else {
                format!("{missing} and {more} more are not ready")
            };
            (ServiceState::Degraded, Some(reason))
        } else {
            (ServiceState::Ready, None)
        };
        let (state, reason) = match self.troubles() {
            Some(trouble) if !status.stopping => {
                (ServiceState::Degraded, Some(reason.map_or(trouble.clone(), |reason| format!("{reason}; {trouble}"))))
            }
            _ => (state, reason),
        };
        ServiceInfo {
            name: ROOT_NAME.to_owned(),
            state,
            pid: Some(status.pid),
            endpoint: Some(Endpoint::unix(&self.runtime_dir.root_socket())),
            uptime_s: Some(status.uptime_s),
            restarts: 0,
            last_exit: None,
            rss_bytes: process::rss_bytes(),
            cpu_pct: self.own_cpu_pct(),
            heartbeat_age_ms: None,
            version: Some(status.version),
            reason,
            eager: true,
            counters: self.rpc.refused().map(|(why, count)| (format!("rpc_refused_{why}"), count)).to_vec(),
            exits: Vec::new(),
        }
    }

    /// Percent of a core that the root used since the last look, which is kept for a second at least.
    fn own_cpu_pct(&self) -> Option<f64> {
        let mut cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, before, _) = *cpu;
        let elapsed = since.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let used = process::cpu_us();
            let percent = used.saturating_sub(before) as f64 / 10_000.0 / elapsed.as_secs_f64();
            *cpu = (Instant::now(), used, Some(percent));
        }
        cpu.2
    }

    /// The root itself.
    pub(crate) fn status(&self) -> RootStatus {
        let missing: Vec<String> = self
            .cells()
            .iter()
            .filter(|cell| cell.spec().eager && !cell.state().phase.is_ready())
            .map(|cell| cell.name().to_owned())
            .collect();
        RootStatus {
            pid: std::process::id(),
            version: BUILD.to_owned(),
            instance: self.instance.clone(),
            config_path: self.config_path.as_ref().map(|path| path.display().to_string()),
            data_path: self.data_path.display().to_string(),
            runtime_path: self.runtime_dir.path().display().to_string(),
            started: self.started_ns,
            uptime_s: self.started.elapsed().as_secs_f64(),
            stopping: self.is_stopping(),
            ready: missing.is_empty(),
            missing,
        }
    }
}
