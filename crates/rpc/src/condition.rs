//! What is wrong, as a state and not as an event: a condition is reported as long as it holds, so that neither a message that is lost
//! nor a process that is restarted can make anybody miss its beginning or its end.
//! Wire types are positional (bincode): append fields at the end; they travel in the root's contract.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How grave something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is to be done.
    Info,
    /// It works, and something is missing or soon will be.
    Warning,
    /// Data is being lost, or will be if nobody acts.
    Critical,
}

impl Severity {
    /// The name in listings, messages and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that is wrong. Within a service, kind and subject name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What it is, in snake case: `data_stale`, `disk_low`.
    pub kind: String,
    /// What it is about: `binance/BTC/USDT/trades`, a path, a remote; empty: the service itself.
    pub subject: String,
    /// How grave it is now.
    pub severity: Severity,
    /// What is wrong, in words, and what to do where that is known. Changes with what is known.
    pub message: String,
    /// Since when it holds: ns since the epoch, host clock.
    pub since: i64,
    /// How often it was raised since then: failures in a row. 1 where nothing is counted.
    pub count: u64,
}

/// The conditions of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceConditions {
    /// The service.
    pub service: String,
    /// Whether a process of it has spoken to this root. While none has, a condition that is not listed may hold all the same.
    pub heard: bool,
    /// What is wrong, the gravest where there are too many.
    pub conditions: Vec<Condition>,
    /// How many more there are; then, too, one that is not listed may hold.
    pub more: u32,
}

/// The conditions of a whole tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Tells one state from the next; another root's differ.
    pub revision: u64,
    /// Every service that the root knows, the root first.
    pub services: Vec<ServiceConditions>,
}
