//! What a root is told by the executable: what to run, how to watch over it, what to hold while it runs.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dccd_registry::RuntimeDir;
use dccd_service::log::LogFiles;

use crate::Notify;

use crate::RpcOptions;

use crate::disk::DISK_LOW_BYTES;

/// An error of the executable's own.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Finds the specification of a service that isn't in [`Options::services`]; `None`: there is no such service.
pub type Resolve = Arc<dyn Fn(&str) -> Option<ServiceSpec> + Send + Sync>;

/// Why there is no service of this name and will be none, for those that there is something to say of.
pub type Refuse = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Clears away what processes left behind; called when the root holds its locks and before it starts anything, and again
/// when everything is stopped, before anybody is told. It logs what it finds, and its failures stop neither. It may
/// block, shortly.
pub type Sweep = Arc<dyn Fn() + Send + Sync>;

/// Something to hold as long as the root runs, such as the store's lock.
pub struct BootGuard {
    /// What it is, for errors: "the store's lock".
    pub what: &'static str,
    /// Gets hold of it; what it returns is dropped when the root has ended.
    pub acquire: Box<dyn FnOnce() -> Result<Box<dyn Any + Send>, BoxError> + Send>,
}

impl fmt::Debug for BootGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootGuard").field("what", &self.what).finish_non_exhaustive()
    }
}

/// When a service is started again after its process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Always, however it ended.
    Permanent,
    /// After failures only; one that exits with code 0 has done its work.
    Transient,
    /// Never.
    Temporary,
}

/// What a service may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes. From 90 % on the service is asked to shed what it can, and degraded; above it it is restarted when it
    /// stays there, and killed at once where the kernel keeps the limit (a cgroup).
    pub max_memory_bytes: Option<u64>,
    /// Percent of one core; above it the service is degraded, and gets no more where the kernel keeps the limit.
    pub max_cpu_pct: Option<u32>,
}

/// One service the root can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name, which becomes `argv[0]`.
    pub name: String,
    /// The arguments after `argv[0]`, as [`dccd_service::ServiceArgs::to_args`] makes them.
    pub args: Vec<OsString>,
    /// When it is started again.
    pub policy: Policy,
    /// Whether its process can be replaced by a successor that is started beside it: it understands
    /// [`dccd_service::ServiceArgs::succeeds`].
    pub hands_over: bool,
    /// Whether it starts with the root; others start when somebody first asks for them.
    pub eager: bool,
    /// What it may use.
    pub limits: Limits,
    /// Stands for everything it is told, its arguments and its part of the configuration; [`fingerprint`] makes
    /// one. A process of an earlier root that was told something else is replaced, not adopted.
    ///
    /// [`fingerprint`]: crate::fingerprint
    pub fingerprint: String,
    /// The same of what it can be told at its start alone: where only the rest has changed, a running process takes the
    /// new configuration in by itself.
    pub fixed: String,
    /// The protocol number of its contract that this executable's clients speak; `None`: any. A process of an earlier
    /// root with another one is replaced.
    pub protocol: Option<u32>,
}

/// How often and how soon a failing service is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartOptions {
    /// Most restarts within [`RestartOptions::window`]; the failure after that is final.
    pub max_restarts: u32,
    /// The window of that count.
    pub window: Duration,
    /// Delay of the second restart (the first comes at once); it doubles from one to the next.
    pub base_delay: Duration,
    /// Longest delay.
    pub max_delay: Duration,
    /// A service that was ready this long is stable: earlier failures count no more. `None`: `window / max_restarts`, so
    /// that what fails more slowly could not use up its restarts anyway.
    pub stable_after: Option<Duration>,
}

impl Default for RestartOptions {
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window: Duration::from_secs(600),
            base_delay: Duration::from_secs(5),
            max_delay: Duration::from_secs(60),
            stable_after: None,
        }
    }
}

/// The end of words about what takes effect with the next root.
pub const LATER: &str = ", from the next dccd-root on";

/// A configuration that was read anew and found valid.
pub struct Reloaded {
    /// The services it names, in the order in which eager ones start.
    pub services: Vec<ServiceSpec>,
    /// Finds further ones.
    pub resolve: Resolve,
    /// How to watch over them.
    pub supervision: Supervision,
    /// How much is logged, unless somebody asked for something else.
    pub log_level: String,
    /// Who tells people what is wrong.
    pub alerting: Option<Alerting>,
    /// With less room than this the disk is low: bytes.
    pub disk_low_bytes: u64,
    /// What is another now and takes effect at the next start of the root only: the keys, as in `daemon.http`.
    pub later: Vec<String>,
    /// What is another for each service, in words; of the root itself those that end with [`LATER`] wait for the next one.
    pub details: BTreeMap<String, Vec<String>>,
    /// Makes it the configuration that services read from now on.
    pub commit: Box<dyn FnOnce() -> Result<(), BoxError> + Send>,
}

/// Reads the configuration anew. Its error is everything that is wrong with it, in words. It may block, shortly.
pub type Reload = Arc<dyn Fn() -> Result<Reloaded, BoxError> + Send + Sync>;

/// How services are watched over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// Restarts.
    pub restart: RestartOptions,
    /// Patience with a service between spawn and registration.
    pub start_timeout: Duration,
    /// Time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// Silence after which a service is taken for hung, killed and restarted.
    pub heartbeat_timeout: Duration,
    /// A busy service none of whose counters moved for this long is degraded.
    pub progress_timeout: Duration,
    /// One of them that goes on so is taken for hung and replaced, with what it is at in its log; `None`: never.
    pub hung_timeout: Option<Duration>,
    /// How long a service may stay above its memory limit before it is restarted.
    pub memory_grace: Duration,
    /// Patience with a service that was asked to stop, before it is killed.
    pub shutdown_timeout: Duration,
    /// Patience with the process of an earlier root until it registers with this one. (It looks for its root twice a second.)
    pub adoption_timeout: Duration,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restart: RestartOptions::default(),
            start_timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(1),
            heartbeat_timeout: Duration::from_secs(10),
            progress_timeout: Duration::from_secs(30),
            hung_timeout: Some(Duration::from_secs(300)),
            memory_grace: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(60),
            adoption_timeout: Duration::from_secs(10),
        }
    }
}

/// Health and metrics over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// Where it listens; port 0 takes one that is free, which the log names.
    pub address: SocketAddr,
    /// What a client has to show as a bearer token; `None`: nothing, which is for loopback only.
    pub token: Option<String>,
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("HttpOptions").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Who tells people what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerting {
    /// The service: started when something is wrong and it doesn't run.
    pub service: String,
    /// Whether it is wanted in any case, because it left messages undelivered.
    pub pending: bool,
}

/// Everything a root needs.
pub struct Options {
    /// The instance's name.
    pub instance: String,
    /// Its runtime directory.
    pub runtime_dir: RuntimeDir,
    /// The store; logs and state go under its `.dccd`.
    pub data_path: PathBuf,
    /// The configuration file, for `status`.
    pub config_path: Option<PathBuf>,
    /// The executable that plays every role by `argv[0]`; normally [`std::env::current_exe`], resolved at the start so
    /// that replacing the file later changes nothing.
    pub executable: PathBuf,
    /// The services the configuration names, in the order in which eager ones start.
    pub services: Vec<ServiceSpec>,
    /// Finds further, lazy services by name.
    pub resolve: Resolve,
    /// Says why others are not offered.
    pub refuse: Refuse,
    /// How to watch over them.
    pub supervision: Supervision,
    /// What to hold while the root runs, acquired in this order after the instance's own lock.
    pub boot_guards: Vec<BootGuard>,
    /// Clears away what processes left behind, before the first starts and when the last is gone.
    pub sweep: Option<Sweep>,
    /// Health and metrics over HTTP; `None`: not served.
    pub http: Option<HttpOptions>,
    /// Reads the configuration anew; `None`: there is nothing to read.
    pub reload: Option<Reload>,
    /// Whether SIGHUP says to read it anew; not where it says that the terminal has gone.
    pub reload_on_hangup: bool,
    /// Where what the services write is put.
    pub log_files: LogFiles,
    /// The service manager that started us; `None`: nobody did, or wants to hear of us.
    pub notify: Option<Notify>,
    /// The RPC over TCP; `None`: the local sockets only.
    pub rpc: Option<RpcOptions>,
    /// Who tells people what is wrong; `None`: nobody, it is listed only.
    pub alerting: Option<Alerting>,
    /// With less room than this on the store's disk it is low, which is told: bytes.
    pub disk_low_bytes: u64,
}

impl Options {
    /// A root without services, with the defaults everywhere.
    #[must_use]
    pub fn new(instance: &str, runtime_dir: RuntimeDir, data_path: PathBuf, executable: PathBuf) -> Self {
        Self {
            instance: instance.to_owned(),
            runtime_dir,
            data_path,
            config_path: None,
            executable,
            services: Vec::new(),
            resolve: Arc::new(|_| None),
            refuse: Arc::new(|_| None),
            supervision: Supervision::default(),
            boot_guards: Vec::new(),
            sweep: None,
            http: None,
            reload: None,
            reload_on_hangup: false,
            log_files: LogFiles::default(),
            notify: None,
            rpc: None,
            alerting: None,
            disk_low_bytes: DISK_LOW_BYTES,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("instance", &self.instance)
            .field("runtime_dir", &self.runtime_dir)
            .field("data_path", &self.data_path)
            .field("config_path", &self.config_path)
            .field("executable", &self.executable)
            .field("services", &self.services)
            .field("supervision", &self.supervision)
            .field("boot_guards", &self.boot_guards)
            .field("http", &self.http)
            .field("log_files", &self.log_files)
            .field("notify", &self.notify)
            .field("rpc", &self.rpc)
            .field("alerting", &self.alerting)
            .finish_non_exhaustive()
    }
}
