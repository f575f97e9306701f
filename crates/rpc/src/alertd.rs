//! What `alertd` offers to clients: what it told whom, and to be told that somebody knows. Wire types are positional (bincode):
//! append fields and methods at the end and raise [`ALERTD_PROTOCOL`].

use serde::{Deserialize, Serialize};

use crate::condition::Severity;
use crate::{Hello, HelloReply, RpcError};

/// Version of this contract.
pub const ALERTD_PROTOCOL: u32 = 1;

/// The service's name.
pub const ALERTD_NAME: &str = "alertd";

/// The service that turns conditions into messages.
#[tarpc::service]
pub trait Alertd {
    /// First call of a connection; refuses a client that speaks another version.
    async fn hello(hello: Hello) -> Result<HelloReply, RpcError>;
    /// What is wrong, what lately was, and how the webhooks are.
    async fn alerts() -> Result<AlertList, RpcError>;
    /// Somebody knows of these alerts (ids; none: of all that are open): nothing more is told of them until they recover or
    /// `until` (ns since the epoch; 0: until they recover). Answers with them.
    async fn acknowledge(ids: Vec<String>, until: i64) -> Result<Vec<AlertInfo>, RpcError>;
}

/// Where an alert is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// It has to hold a little longer before it is told.
    Pending,
    /// It holds.
    Open,
    /// It is over.
    Recovered,
}

impl AlertState {
    /// The name in listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Open => "open",
            Self::Recovered => "recovered",
        }
    }
}

/// One streak of something being wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertInfo {
    /// Its id; empty where nobody keeps alerts because there is no webhook.
    pub id: String,
    /// Where it is in its life.
    pub state: AlertState,
    /// The service that is concerned.
    pub service: String,
    /// What is wrong: `service_failed`, `data_stale`, …
    pub kind: String,
    /// What it is about; empty: the service itself.
    pub subject: String,
    /// The gravest that it was.
    pub severity: Severity,
    /// In words, as said last.
    pub message: String,
    /// Since when it holds: ns since the epoch.
    pub since: i64,
    /// When it was over; 0: it isn't.
    pub recovered: i64,
    /// How often it was raised.
    pub count: u64,
    /// Whether a message about it was made.
    pub told: bool,
    /// Until when nothing more is told of it: 0: it was not acknowledged, [`i64::MAX`]: until it recovers.
    pub acknowledged_until: i64,
}

/// How one webhook is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookInfo {
    /// Its host; the rest of its address is secret.
    pub host: String,
    /// `slack` or `json`.
    pub format: String,
    /// Messages that were delivered.
    pub sent: u64,
    /// Messages that wait for their delivery.
    pub waiting: u64,
    /// Messages that were held back by the hourly limit and wait to be told as a number.
    pub held_back: u64,
    /// Messages given up: refused again and again, too old, or too many.
    pub lost: u64,
    /// When the last one was delivered: ns since the epoch; 0: never.
    pub last_success: i64,
    /// Since when deliveries fail: ns since the epoch; 0: they don't.
    pub failing_since: i64,
    /// Why the last attempt failed, while they fail.
    pub last_error: Option<String>,
}

/// Everything that alertd knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertList {
    /// Those that hold, the gravest first, then those that are over, the latest first.
    pub alerts: Vec<AlertInfo>,
    /// In the order of the configuration.
    pub webhooks: Vec<WebhookInfo>,
}
