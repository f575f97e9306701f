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

/// Something that a process can't tell yet: it may be wrong without being among its conditions, as when an earlier process said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// The kind.
    pub kind: String,
    /// The subject; `None`: whatever is of this kind.
    pub subject: Option<String>,
}

/// The conditions of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceConditions {
    /// The service.
    pub service: String,
    /// Whether a process of it has spoken to this root. While none has, what is not listed may hold all the same.
    pub heard: bool,
    /// What the root has found wrong with it.
    pub found: Vec<Condition>,
    /// What it says is wrong, the gravest where there are too many.
    pub said: Vec<Condition>,
    /// How many more it says there are; then, too, one that is not listed may hold.
    pub more: u32,
    /// Whether it has looked around since its start; before, it may have things wrong of which it doesn't know yet.
    pub settled: bool,
    /// What it can't tell yet, now that it has.
    pub doubts: Vec<Doubt>,
}

impl ServiceConditions {
    /// Whether what is not listed of this kind and subject is over, as far as its own process says it: it has spoken, and would say it.
    #[must_use]
    pub fn says_over(&self, kind: &str, subject: &str) -> bool {
        let is_doubted =
            |doubt: &Doubt| doubt.kind == kind && doubt.subject.as_ref().is_none_or(|doubted| doubted == subject);
        self.heard && self.settled && self.more == 0 && !self.doubts.iter().any(is_doubted)
    }

    /// All that is wrong.
    pub fn all(&self) -> impl Iterator<Item = &Condition> {
        self.found.iter().chain(&self.said)
    }
}

/// The conditions of a whole tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Tells one state from the next; another root's differ.
    pub revision: u64,
    /// Every service that the root knows, the root first.
    pub services: Vec<ServiceConditions>,
}
