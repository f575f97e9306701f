//! What time it is, through a trait, so that a test can drive it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock.
pub trait Clock: Send + Sync {
    /// Nanoseconds since the Unix epoch, UTC.
    fn now_ns(&self) -> i64;
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ns(&self) -> i64 {
        now_ns()
    }
}

/// A clock that starts where it is told and goes on with tokio's timer: under `tokio::time::pause` it stands still until
/// the test (or an idle runtime) advances it.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start_ns: i64,
    start: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that says `start_ns` now.
    pub fn starting_at(start_ns: i64) -> Self {
        TokioClock { start_ns, start: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now_ns(&self) -> i64 {
        self.start_ns.saturating_add(nanos(self.start.elapsed()))
    }
}

/// The host's clock, without the trait: for the receive times of frames. Saturates outside the years 1677 to 2262.
pub(crate) fn now_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    }
}

/// A duration as nanoseconds that fit a timestamp.
pub(crate) fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
