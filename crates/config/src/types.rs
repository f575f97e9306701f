//! The configuration, typed. Every field is described in `docs/reference/configuration.md`; units are in the types.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dccd_model::{Channel, ExchangeName, Span, Symbol};
use serde::{Deserialize, Deserializer};

use crate::{Alerts, Moment, Secret};

/// The whole file, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Config {
    /// General settings.
    pub settings: Settings,
    /// Where data lies and goes.
    pub storage: Storage,
    /// Series of candles to keep complete.
    pub histo_jobs: Vec<HistoJob>,
    /// Series to record live.
    pub stream_jobs: Vec<StreamJob>,
    /// Whom to tell when something fails.
    pub alerts: Alerts,
    /// What is said of single exchanges; [`Config::exchange`] answers for those of which nothing is said, too.
    pub exchanges: BTreeMap<ExchangeName, ExchangeConfig>,
    /// How the processes behave.
    pub daemon: Daemon,
    /// Absolute form of the directory that holds the data.
    #[serde(skip)]
    pub(crate) data_path: PathBuf,
}

impl Config {
    /// The directory that holds the data, absolute: `storage.local_path`, or `settings.data_path` when that is empty.
    #[must_use]
    pub fn data_path(&self) -> &Path {
        &self.data_path
    }

    /// The settings of one exchange, defaults where the file says nothing.
    #[must_use]
    pub fn exchange(&self, name: &ExchangeName) -> ExchangeConfig {
        self.exchanges.get(name).cloned().unwrap_or_default()
    }

    /// The exchanges that have a job which this version runs, in alphabetical order: each gets a `datad`.
    #[must_use]
    pub fn collected_exchanges(&self) -> Vec<ExchangeName> {
        let known = |name: &ExchangeName| crate::catalog::find(name.as_str());
        let histo = self.histo_jobs.iter().map(|job| &job.exchange).filter(|name| known(name).is_some_and(|e| e.history));
        let stream =
            self.stream_jobs.iter().map(|job| &job.exchange).filter(|name| known(name).is_some_and(|e| e.live.is_some()));
        let names: std::collections::BTreeSet<_> = histo.chain(stream).collect();
        names.into_iter().cloned().collect()
    }

    /// The stream jobs of one exchange that this version runs: none where it collects nothing of it live.
    pub fn live_jobs<'a>(&'a self, name: &'a ExchangeName) -> impl Iterator<Item = &'a StreamJob> {
        let is_live = crate::catalog::find(name.as_str()).is_some_and(|exchange| exchange.live.is_some());
        self.stream_jobs.iter().filter(move |job| is_live && job.exchange == *name)
    }

    /// The limits of the service of one exchange: its own where it has one, the common ones elsewhere.
    #[must_use]
    pub fn limits(&self, name: &ExchangeName) -> Limits {
        let own = self.exchanges.get(name).map(|e| e.limits.clone()).unwrap_or_default();
        Limits {
            max_memory_mb: own.max_memory_mb.or(self.daemon.limits.max_memory_mb),
            max_cpu_pct: own.max_cpu_pct.or(self.daemon.limits.max_cpu_pct),
        }
    }
}

/// `settings`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// The directory as it is written, `~` expanded; [`Config::data_path`] is what to use.
    pub data_path: PathBuf,
    /// The zone in which dates are read and printed.
    pub timezone: Timezone,
    /// Host name or address on which the web interface listens.
    pub ui_host: String,
    /// Port of the web interface.
    pub ui_port: u16,
    /// Token that the web interface asks for.
    pub ui_auth_token: Option<Secret>,
}

/// `settings.timezone`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timezone {
    /// The host's.
    Local,
    /// UTC.
    Utc,
    /// An IANA name, as in `Europe/Paris`.
    Named(String),
}

impl std::fmt::Display for Timezone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Utc => "UTC",
            Self::Named(name) => name,
        })
    }
}

impl Timezone {
    pub(crate) fn from_text(text: &str) -> Self {
        match text {
            text if text.eq_ignore_ascii_case("local") => Self::Local,
            text if text.eq_ignore_ascii_case("utc") => Self::Utc,
            name => Self::Named(name.to_owned()),
        }
    }

    /// The zone's rules. A zone that this host doesn't know is UTC; loading warned of it.
    #[must_use]
    pub fn rules(&self) -> jiff::tz::TimeZone {
        match self {
            Self::Local => jiff::tz::TimeZone::system(),
            Self::Utc => jiff::tz::TimeZone::UTC,
            Self::Named(name) => jiff::tz::TimeZone::get(name).unwrap_or(jiff::tz::TimeZone::UTC),
        }
    }
}

impl<'de> Deserialize<'de> for Timezone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::from_text(&text))
    }
}

/// `storage`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Storage {
    /// Another place for the data than `settings.data_path`; empty: none.
    pub local_path: PathBuf,
    /// Where the store is copied to.
    pub remotes: Vec<Remote>,
    /// Time between two copies; zero: never by itself.
    #[serde(deserialize_with = "seconds")]
    pub sync_interval: Duration,
    /// How much of the journal is kept after it was recorded, so that files can be derived anew; MiB.
    pub journal_keep_mb: u64,
}

/// One of `storage.remotes`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Remote {
    /// What copies: `rclone`.
    pub provider: String,
    /// Where to, in the provider's own form.
    pub remote: String,
}

/// One of `histo_jobs`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HistoJob {
    /// Where it is traded.
    pub exchange: ExchangeName,
    /// What is traded.
    pub pairs: Vec<Symbol>,
    /// Length of a candle.
    pub span: Span,
    /// What the file asks for; the store is Parquet in any case.
    pub format: Format,
    /// First moment wanted; `None`: the market's listing.
    pub start: Option<Moment>,
    /// Where the candles come from.
    pub source: HistorySource,
    /// Attempts for one window.
    pub max_retries: u32,
    /// Wait before the second attempt; it doubles with each further one.
    #[serde(deserialize_with = "seconds")]
    pub retry_delay: Duration,
}

/// `histo_jobs[].format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet, the only one the store has.
    Parquet,
    /// As dccd 2.x had it: accepted, stored as Parquet.
    Csv,
    /// As dccd 2.x had it: accepted, stored as Parquet.
    Xlsx,
}

/// `histo_jobs[].source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistorySource {
    /// The exchange's own candles where they reach back, built from its trades before.
    #[default]
    Auto,
    /// The exchange's own candles alone.
    Candles,
    /// Built from the exchange's trades alone.
    Trades,
}

/// [`StreamJob::depth`] where the file says nothing.
pub const DEPTH_DEFAULT: u32 = 1_000;

/// One of `stream_jobs`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StreamJob {
    /// Where it is traded.
    pub exchange: ExchangeName,
    /// What is traded.
    pub pairs: Vec<Symbol>,
    /// What is recorded of each.
    pub channels: Vec<Channel>,
    /// How old the Parquet parts of the open day get at most.
    #[serde(deserialize_with = "seconds")]
    pub time_step: Duration,
    /// Book levels a side.
    pub depth: u32,
}

/// One of `exchanges`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ExchangeConfig {
    /// Another base address for REST, without a slash at its end.
    pub rest_url: Option<String>,
    /// Another base address for WebSockets, without a slash at its end.
    pub ws_url: Option<String>,
    /// The same for USD-margined derivatives.
    pub linear: Endpoints,
    /// Request weight that all processes of the host may use in a minute; `None`: the exchange's own limit.
    pub rest_weight_per_minute: Option<u32>,
    /// How many connections carry the same streams.
    pub connections: u32,
    /// Which of the exchange's trade streams is recorded.
    pub trade_stream: TradeStream,
    /// Capacity of an order book's ring in slots, a power of two; the other rings have a quarter of it.
    pub ring_slots: u64,
    /// Limits of this exchange's service; `None` inside: the common one.
    pub limits: Limits,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        Self {
            rest_url: None,
            ws_url: None,
            linear: Endpoints::default(),
            rest_weight_per_minute: None,
            connections: 1,
            trade_stream: TradeStream::Trade,
            ring_slots: 65_536,
            limits: Limits::default(),
        }
    }
}

/// A pair of base addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Endpoints {
    /// Base address for REST.
    pub rest_url: Option<String>,
    /// Base address for WebSockets.
    pub ws_url: Option<String>,
}

/// `exchanges.<x>.trade_stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TradeStream {
    /// Every single trade.
    Trade,
    /// Trades of one taker order at one price as one record, where the exchange offers that.
    Aggregated,
}

/// `daemon`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Daemon {
    /// The RPC over TCP; `None`: the local socket only.
    pub rpc: Option<Rpc>,
    /// File to hold the root's pid.
    pub pid_file: Option<PathBuf>,
    /// Working directory of the processes.
    pub work_dir: Option<PathBuf>,
    /// One log file for all; `None`: one per service under `<data_path>/.dccd/logs`.
    pub log_file: Option<PathBuf>,
    /// How much is logged.
    pub log_level: LogLevel,
    /// The form of the logs.
    pub log_format: LogFormat,
    /// When a log file is put aside.
    pub log_rotate: LogRotate,
    /// How long a stop may take before the processes are killed.
    #[serde(deserialize_with = "seconds")]
    pub shutdown_timeout: Duration,
    /// How long a service goes on without a root.
    #[serde(deserialize_with = "seconds")]
    pub orphan_grace: Duration,
    /// Limits of each service.
    pub limits: Limits,
    /// When a service that failed is started again.
    pub restart: Restart,
    /// Health and metrics over HTTP; `None`: not served.
    pub http: Option<Http>,
}

/// `daemon.rpc`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rpc {
    /// Where it listens.
    pub address: SocketAddr,
    /// How a client proves itself.
    pub auth: RpcAuth,
    /// What it proves itself with.
    pub token: Option<Secret>,
    /// The file that holds it instead.
    pub token_file: Option<PathBuf>,
    /// With what TLS is spoken; `None`: it isn't.
    pub tls: Option<RpcTls>,
    /// What clients may take.
    pub limits: RpcLimits,
}

/// `daemon.rpc.tls`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RpcTls {
    /// PEM file of the certificate, with what leads to its authority.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

/// `daemon.rpc.limits`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RpcLimits {
    /// Connections that have shown the token.
    pub max_connections: u32,
    /// The same from one address.
    pub max_connections_per_address: u32,
    /// Connections that haven't yet.
    pub max_unauthenticated: u32,
    /// How long these may take.
    #[serde(deserialize_with = "seconds")]
    pub auth_timeout: Duration,
    /// How long a connection may be silent.
    #[serde(deserialize_with = "seconds")]
    pub idle_timeout: Duration,
    /// Longest message of a client, KiB.
    pub max_frame_kb: u32,
    /// Messages of a connection a second.
    pub max_requests_per_second: u32,
    /// Bytes of a connection a second, KiB.
    pub max_kb_per_second: u32,
}

/// `daemon.rpc.auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RpcAuth {
    /// By the token.
    Token,
    /// Not at all; on loopback only.
    None,
}

/// `daemon.http`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    /// Bearer token that it asks for.
    pub token: Option<Secret>,
}

/// `daemon.limits`, `exchanges.<x>.limits`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Limits {
    /// Resident memory, MiB; `None`: no limit.
    pub max_memory_mb: Option<u64>,
    /// Processor time in percent of one core; `None`: no limit.
    pub max_cpu_pct: Option<u32>,
}

/// `daemon.restart`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Restart {
    /// Restarts in the window after which a service is given up.
    pub max_restarts: u32,
    /// The window.
    #[serde(deserialize_with = "seconds")]
    pub window: Duration,
    /// Wait before the second restart (the first is at once); it doubles with each further one.
    #[serde(deserialize_with = "seconds")]
    pub base_delay: Duration,
    /// Longest wait.
    #[serde(deserialize_with = "seconds")]
    pub max_delay: Duration,
    /// A service that says nothing for this long hangs, and is killed.
    #[serde(deserialize_with = "seconds")]
    pub heartbeat_timeout: Duration,
    /// A service that is busy and gets nowhere for this long is degraded.
    #[serde(deserialize_with = "seconds")]
    pub progress_timeout: Duration,
    /// One that goes on so for this long hangs, and is replaced; zero: never.
    #[serde(deserialize_with = "seconds")]
    pub hung_timeout: Duration,
}

/// `daemon.log_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happened.
    Info,
    /// What was unexpected, nothing lost.
    Warn,
    /// What somebody must look at.
    Error,
}

impl LogLevel {
    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl std::fmt::Display for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// `daemon.log_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `daemon.log_rotate`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LogRotate {
    /// Size at which a file is put aside, MiB.
    pub max_mb: u64,
    /// Age at which it is, too, in days.
    pub max_age_days: u64,
    /// How many of those are kept.
    pub keep: u32,
}

pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
}
