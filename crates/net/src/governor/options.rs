//! What an exchange grants, and whose request goes first.

use std::path::PathBuf;
use std::time::Duration;

use super::place::{ledger_file, limits_dir};

/// Who goes first. Live requests repair what is being recorded now and would be lost; the others can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Book snapshots and missing trades of open feeds: may use the whole window.
    Live,
    /// The newest candles and trades of jobs: leaves a tenth of the window to the live side.
    Collect,
    /// Old history: leaves three tenths of the window to the others.
    Backfill,
}

impl Priority {
    /// How much of the window's limit may be used before this priority waits, in percent.
    pub(super) fn share_pct(self) -> u64 {
        match self {
            Priority::Live => 100,
            Priority::Collect => 90,
            Priority::Backfill => 70,
        }
    }
}

/// How an exchange counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// So much weight in each window. Windows are fixed and lie on whole multiples of their length since the epoch.
    Window {
        /// The weight that one window may hold, at least 1.
        weight: u32,
        /// The window's length.
        window: Duration,
    },
    /// One request (of weight 1) every so often; after a rest, some at once. There are no shares here: what is granted
    /// next goes to the highest priority that waits.
    Interval {
        /// The time in which the right to one more request grows.
        every: Duration,
        /// How many requests may go out at once after a rest, at least 1.
        burst: u32,
    },
}

impl Quota {
    /// The heaviest request that can ever go out.
    pub(super) fn limit(self) -> u32 {
        match self {
            Quota::Window { weight, .. } => weight.max(1),
            Quota::Interval { burst, .. } => burst.max(1),
        }
    }
}

/// What an exchange grants one IP, and where the processes of this host keep account of it.
#[derive(Debug, Clone)]
pub struct GovernorOptions {
    /// How the exchange counts.
    pub quota: Quota,
    /// The response header in which the server says how much of the running window is used, where it does.
    pub used_weight_header: Option<&'static str>,
    /// The ledger that all processes of this host draw on. Without it, or while it can't be used, the account is this
    /// process's alone. Its folder must exist.
    pub ledger_file: Option<PathBuf>,
    /// Where a freeze is kept; its folder is made when there is one to keep. Without it a freeze is forgotten with the
    /// ledger: at the next start of the host, or of the process where there is no shared ledger either.
    pub freeze_file: Option<PathBuf>,
    /// How long a `418` without `Retry-After` freezes.
    pub banned_freeze: Duration,
    /// How long a `403` without `Retry-After` freezes.
    pub forbidden_freeze: Duration,
}

impl GovernorOptions {
    /// `limit_per_window` weight in each `window`; no header, no files; a ban counts two minutes, a `403` five, unless
    /// the server says.
    pub fn new(limit_per_window: u32, window: Duration) -> Self {
        GovernorOptions::of(Quota::Window { weight: limit_per_window, window })
    }

    /// One request every `every`, `burst` of them at once after a rest; the rest as in [`GovernorOptions::new`].
    pub fn paced(every: Duration, burst: u32) -> Self {
        GovernorOptions::of(Quota::Interval { every, burst })
    }

    /// The same for a quota that is known as such.
    pub fn of(quota: Quota) -> Self {
        GovernorOptions {
            quota,
            used_weight_header: None,
            ledger_file: None,
            freeze_file: None,
            banned_freeze: Duration::from_secs(120),
            forbidden_freeze: Duration::from_secs(300),
        }
    }

    /// Draws on the ledger that all processes of this user and host share for `exchange` at the host of `base_url`: a
    /// command beside a service, or two commands, stay within one quota. Where the ledger's folder can't be used this is
    /// logged, and the account is this process's alone.
    #[must_use]
    pub fn shared(mut self, exchange: &str, base_url: &str) -> Self {
        match limits_dir() {
            Ok(dir) => self.ledger_file = Some(ledger_file(&dir, exchange, base_url)),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(exchange, %error, cause, "requests are counted in this process alone, not together with others");
            }
        }
        self
    }
}
