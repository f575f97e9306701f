//! What `dccd-root` offers: to its services registration and heartbeats, to clients the registry, events and stopping.
//! Wire types are positional (bincode): append fields and methods at the end and raise [`ROOT_PROTOCOL`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::condition::{Condition, Conditions, Doubt};
use crate::{Hello, HelloReply, RpcError};

/// Version of this contract.
pub const ROOT_PROTOCOL: u32 = 5;

/// The root's name in listings, logs and errors.
pub const ROOT_NAME: &str = "dccd-root";

/// The service manager and registry of one instance.
#[tarpc::service]
pub trait RootService {
    /// First call of a connection; refuses a caller that speaks another version.
    async fn hello(hello: Hello) -> Result<HelloReply, RpcError>;
    /// A service says that it is ready. Needs the token of its spawn, from the very process that was spawned; the next root
    /// adopts the process by it. Saying it again is answered again: the first answer may have been lost.
    async fn register(registration: Registration) -> Result<RegisterReply, RpcError>;
    /// A service says that it lives, and what it has done so far; it hears what the root wants of it.
    async fn heartbeat(name: String, progress: Progress) -> Result<HeartbeatReply, RpcError>;
    /// A service says that it is about to exit, why, and what it has made durable at the last: number by name.
    async fn deregister(name: String, reason: String, flushed: Vec<(String, u64)>) -> Result<(), RpcError>;
    /// All services, the root first.
    async fn list() -> Result<Vec<ServiceInfo>, RpcError>;
    /// Where a ready service listens; `None` while it isn't ready. Starts nothing.
    async fn find(name: String) -> Result<Option<Endpoint>, RpcError>;
    /// Starts the service if it isn't running, exactly once however many ask, and answers when it is ready.
    async fn ensure(name: String) -> Result<Endpoint, EnsureError>;
    /// Events after `cursor` (0: from the oldest kept), waiting for one if there is none yet. An empty answer means that
    /// nothing happened before the call's deadline came near: ask again.
    async fn watch(cursor: u64) -> Result<Events, RpcError>;
    /// Stops every service in order and then the root; answers when the services are flushed and gone. A second call
    /// joins the first; if it asks for force, the stop already under way is forced. [`RpcError::Unavailable`] while the root
    /// hands over: the next one is to be asked.
    async fn stop(request: StopRequest) -> Result<StopReport, RpcError>;
    /// Stops one service and starts it again, with a fresh count of restarts; answers when it is ready.
    async fn restart(name: String) -> Result<Endpoint, EnsureError>;
    /// The root itself.
    async fn status() -> Result<RootStatus, RpcError>;
    /// The root ends without its services, which go on, and starts anew in the same process; the new one adopts them.
    /// Answers when they are let go of.
    async fn hand_over() -> Result<(), RpcError>;
    /// Reads the configuration anew. A bad one is refused and changes nothing; of a valid one only what is different takes
    /// effect. `dry_run`: only says what would be done.
    async fn reload(dry_run: bool) -> Result<ReloadReport, RpcError>;
    /// Lets a service (`None`: all of them, the root included) log by these directives; `None`: as configured again. It holds
    /// until the root ends, for all processes of the service. A running one follows with its next heartbeat.
    async fn set_log_level(service: Option<String>, directives: Option<String>) -> Result<(), RpcError>;
    /// By what directives each service logs, the root first.
    async fn log_levels() -> Result<Vec<ServiceLogLevel>, RpcError>;
    /// What is wrong now, all of it. Answers at once where `revision` is not the present one (0 never is), else when
    /// something changes, or shortly before the call's deadline with the same again.
    async fn watch_conditions(revision: u64) -> Result<Conditions, RpcError>;
    /// Replaces a service's process by one that is ready before the old one leaves; answers when it is. Where the old one goes on
    /// instead: [`EnsureError::Kept`]. A service that can't be replaced so, or isn't ready, is restarted as by `restart`.
    async fn replace(name: String) -> Result<Endpoint, EnsureError>;
    /// A process that is to take a service over says that it could, or why it can't. After `Ok` to the former it may have the old one leave.
    async fn stand_by(registration: Registration, trouble: Option<String>) -> Result<(), RpcError>;
}

/// What a service says of itself when it is ready.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The service's name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Its build.
    pub version: String,
    /// Protocol number of its own contract.
    pub protocol: u32,
    /// The token it was given at spawn; good for this process alone.
    pub token: String,
    /// What is wrong from the first, in words; `None` when nothing is. Heartbeats say how it goes on.
    pub degraded: Option<String>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret as long as the process lives.
        f.debug_struct("Registration")
            .field("name", &self.name)
            .field("pid", &self.pid)
            .field("endpoint", &self.endpoint)
            .field("version", &self.version)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// What the root asks of a registered service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterReply {
    /// Time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// Silence after which the root kills and restarts the service.
    pub heartbeat_timeout: Duration,
    /// By what directives it is to log; `None`: as it was told at its start.
    pub log_level: Option<String>,
}

/// What the root says to a service that lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// By what directives it is to log; `None`: as it was told at its start.
    pub log_level: Option<String>,
    /// It comes near its memory limit: it should give back what it can do without.
    pub shed_memory: bool,
}

/// How much a service logs; as JSON one element of `log-level --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLogLevel {
    /// The service.
    pub service: String,
    /// By what directives it logs.
    pub level: String,
    /// Whether that is as configured.
    pub configured: bool,
}

/// Where a service listens: `unix:<path>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint(pub String);

impl Endpoint {
    /// The endpoint of a Unix socket.
    #[must_use]
    pub fn unix(path: &std::path::Path) -> Self {
        Self(format!("unix:{}", path.display()))
    }

    /// The socket's path, if it is one.
    #[must_use]
    pub fn unix_path(&self) -> Option<&std::path::Path> {
        self.0.strip_prefix("unix:").map(std::path::Path::new)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a service has done since its start, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Counters by name; they only grow, a service that stands still is recognised by them.
    pub counters: Vec<(String, u64)>,
    /// Whether it has work to do now: busy and no counter moving means no progress.
    pub busy: bool,
    /// What is wrong, in words; `None` when nothing is.
    pub degraded: Option<String>,
    /// Resident memory in bytes; 0: unknown.
    pub rss_bytes: u64,
    /// CPU time used since its start, all threads, in microseconds.
    pub cpu_us: u64,
    /// What is wrong and worth telling somebody, each for itself; the gravest where there are too many.
    pub conditions: Vec<Condition>,
    /// How many more there are.
    pub conditions_more: u32,
    /// Whether it has only begun to look around: what is not among the conditions may hold all the same.
    pub conditions_unsettled: bool,
    /// What it can't tell yet of those that are not among the conditions, now that it has looked around.
    pub conditions_doubted: Vec<Doubt>,
}

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Spawned, not yet registered.
    Starting,
    /// Registered.
    Ready,
    /// Registered, but something is wrong.
    Degraded,
    /// Asked to exit.
    Stopping,
    /// Not running, and nobody wants it to.
    Stopped,
    /// Waiting for its next start after a failure.
    Backoff,
    /// Given up after too many failures.
    Failed,
}

impl ServiceState {
    /// The name in listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        }
    }

    /// Whether clients can call it.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of `dccd services`; as JSON it is exactly one element of `services --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Name, e.g. `datad.binance`.
    pub name: String,
    /// Where it is in its life.
    pub state: ServiceState,
    /// Its process while it has one.
    pub pid: Option<u32>,
    /// Where it listens once it is ready.
    pub endpoint: Option<Endpoint>,
    /// Seconds since the process was spawned; `None` without a process.
    pub uptime_s: Option<f64>,
    /// Restarts after failures; an adopted service's count goes on.
    pub restarts: u64,
    /// How the last process ended: `exit 1`, `SIGKILL`, `watchdog`, `start timeout`, …
    pub last_exit: Option<String>,
    /// Resident memory in bytes.
    pub rss_bytes: Option<u64>,
    /// CPU use between the last two heartbeats, percent of one core.
    pub cpu_pct: Option<f64>,
    /// Milliseconds since the last heartbeat.
    pub heartbeat_age_ms: Option<u64>,
    /// Its build.
    pub version: Option<String>,
    /// Why it is degraded, backing off, stopped or failed; `None` where nothing is to be said.
    pub reason: Option<String>,
    /// Whether it starts with the root.
    pub eager: bool,
    /// Its progress counters.
    pub counters: Vec<(String, u64)>,
    /// How its last processes ended, the newest last; at most 20. Those of earlier roots are among them.
    #[serde(default)]
    pub exits: Vec<ServiceExit>,
}

/// How one process of a service ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceExit {
    /// Host time at which it was known, ns since the epoch.
    pub ts: i64,
    /// Its process; `None`: it could not be started.
    pub pid: Option<u32>,
    /// Why, in few words: what it did by itself (`exit 1`, `SIGSEGV`, `OOM`), what it was killed for (`watchdog`, `no progress`,
    /// `memory limit`, `start timeout`), or what was asked for (`stop`, `restart`).
    pub reason: String,
    /// Its exit code, where it ended by one and we were told.
    pub code: Option<i32>,
    /// The signal that ended it, e.g. `SIGKILL`, where it ended by one and we were told.
    pub signal: Option<String>,
    /// Whether dccd killed it; [`ServiceExit::reason`] says why.
    pub killed: bool,
    /// Seconds that it ran; `None`: unknown.
    pub ran_s: Option<f64>,
    /// Resident memory in its last heartbeat, bytes; `None`: it sent none.
    pub rss_bytes: Option<u64>,
    /// What it said of its end itself.
    pub last_words: Option<String>,
    /// What else is known of the cause, in words.
    pub detail: Option<String>,
}

/// Why a service can't be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum EnsureError {
    /// No service of that name can exist here.
    #[error("service \"{name}\" is unknown (known: {}); services are named by the configuration", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// It failed for good; `dccd restart` tries again.
    #[error("{name} has failed: {reason}; see `dccd logs {name}`, then `dccd restart {name}`")]
    Failed {
        /// The service.
        name: String,
        /// Why, with its last exit.
        reason: String,
    },
    /// It wasn't ready before the deadline.
    #[error("{name} was not ready in time ({state}{})", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    Timeout {
        /// The service.
        name: String,
        /// Its state at the deadline.
        state: ServiceState,
        /// What is known of the cause.
        reason: Option<String>,
    },
    /// The root is stopping.
    #[error("dccd is stopping; {name} is not started any more")]
    Stopping {
        /// The service.
        name: String,
    },
    /// There is none, and there is something to say of that.
    #[error("service \"{name}\" is not offered: {reason}")]
    NotOffered {
        /// The name asked for.
        name: String,
        /// Why.
        reason: String,
    },
    /// It was to be replaced, and the new process did not come so far.
    #[error("{name} goes on as it was: its successor {reason}; `dccd restart {name} --cold` stops it first")]
    Kept {
        /// The service.
        name: String,
        /// Why, going on from "its successor".
        reason: String,
    },
}

/// A run of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// Cursor for the next call.
    pub cursor: u64,
    /// In order.
    pub events: Vec<Event>,
    /// Events after the caller's cursor that are kept no longer.
    pub lost: u64,
}

/// A service changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the event, from 1.
    pub sequence: u64,
    /// Host time, ns since the epoch.
    pub ts: i64,
    /// The service.
    pub service: String,
    /// Its new state.
    pub state: ServiceState,
    /// Its process, while it has one.
    pub pid: Option<u32>,
    /// Why, where there is something to say.
    pub reason: Option<String>,
}

/// How to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// Kill at once instead of letting services flush. What the journal has acknowledged is safe all the same.
    pub force: bool,
    /// Patience with each service before it is killed; `None`: the configured `shutdown_timeout`.
    pub timeout: Option<Duration>,
}

/// How stopping went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReport {
    /// In the order in which they were gone.
    pub services: Vec<StoppedService>,
    /// Time from the request to the last exit.
    pub took: Duration,
}

/// How one service stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedService {
    /// The service.
    pub name: String,
    /// How its process ended: `exit 0`, `SIGKILL`, …
    pub exit: String,
    /// Whether it had to be killed.
    pub killed: bool,
    /// From the request to its exit.
    pub took: Duration,
    /// What it said it had made durable at the last: number by name, e.g. `rows`.
    pub flushed: Vec<(String, u64)>,
}

/// How reading the configuration anew went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Nothing was done; this is what would be.
    pub dry_run: bool,
    /// Keys that are different and take effect only with the root's next start, e.g. `daemon.http`.
    pub later: Vec<String>,
    /// All services, those that are left alone, too.
    pub services: Vec<ReloadedService>,
}

/// What became of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedService {
    /// The service.
    pub name: String,
    /// What was done.
    pub change: Change,
    /// What is different for it, in words.
    pub details: Vec<String>,
    /// Why it is not as it should be.
    pub error: Option<String>,
}

impl ReloadedService {
    /// One about which nothing more is to be said.
    #[must_use]
    pub fn of(name: &str, change: Change) -> Self {
        Self { name: name.to_owned(), change, details: Vec::new(), error: None }
    }
}

/// What a new configuration meant for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Nothing.
    Unchanged,
    /// It took in what is different, and went on.
    Reloaded,
    /// It was started anew.
    Restarted,
    /// It is wanted now.
    Started,
    /// It is wanted no more.
    Stopped,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unchanged => "unchanged",
            Self::Reloaded => "reloaded",
            Self::Restarted => "restarted",
            Self::Started => "started",
            Self::Stopped => "stopped",
        })
    }
}

/// The root itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootStatus {
    /// Its process.
    pub pid: u32,
    /// Its build.
    pub version: String,
    /// The instance's name.
    pub instance: String,
    /// The configuration file it was started with.
    pub config_path: Option<String>,
    /// The store.
    pub data_path: String,
    /// The runtime directory.
    pub runtime_path: String,
    /// Host time of its start, ns since the epoch.
    pub started: i64,
    /// Seconds since its start.
    pub uptime_s: f64,
    /// Whether it is stopping.
    pub stopping: bool,
    /// Whether every eager service is ready.
    pub ready: bool,
    /// Eager services that are not ready.
    pub missing: Vec<String>,
}
