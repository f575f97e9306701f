//! The host's clock, as the hot thread reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use dccd_model::UnixNanos;

/// Now, by the host's clock.
pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A clock that never goes back: what it gave last is the least it gives next.
#[derive(Debug, Default)]
pub(crate) struct Monotonic {
    last: UnixNanos,
}

impl Monotonic {
    /// A clock that begins no earlier than `last`.
    pub(crate) fn after(last: UnixNanos) -> Self {
        Self { last }
    }

    /// Now, or the last instant given where the host's clock went back.
    pub(crate) fn now(&mut self) -> UnixNanos {
        self.at_least(now())
    }

    /// This instant, or the last one given where it is later.
    pub(crate) fn at_least(&mut self, instant: UnixNanos) -> UnixNanos {
        self.last = self.last.max(instant);
        self.last
    }
}
