//! The host's clock, as the hot thread reads it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dccd_model::UnixNanos;
use tracing::warn;

/// A host's clock that is further behind what was written is believed all the same.
const BEHIND_MAX: Duration = Duration::from_secs(600);

/// Now, by the host's clock.
pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A clock that never goes back. While the host's does, it creeps by a nanosecond each time that it is asked: what comes later is
/// later, and a gap has a length.
#[derive(Debug, Default)]
pub(crate) struct Monotonic {
    last: UnixNanos,
}

impl Monotonic {
    /// A clock that begins no earlier than `last`.
    pub(crate) fn after(last: UnixNanos) -> Self {
        Self { last }
    }

    /// A clock that goes on after what was written by an earlier process, `written`: where the host's clock has gone back since, it
    /// hardly moves until that has caught up. Where that would take longer than [`BEHIND_MAX`], the host's clock was wrong then, or is
    /// now, and is believed.
    pub(crate) fn going_on(written: UnixNanos) -> Self {
        let now = now();
        let behind = Duration::from_nanos(u64::try_from(written.0.saturating_sub(now.0)).unwrap_or(0));
        if behind > BEHIND_MAX {
            warn!(?behind, "the host's clock is far behind the journal's last entry; times of receipt go back");
            return Self { last: now };
        }
        if behind > Duration::ZERO {
            warn!(
                ?behind,
                "the host's clock has gone back since the journal's last entry; times of receipt hardly move until it has caught up"
            );
        }
        Self { last: written.max(now) }
    }

    /// The last instant given.
    pub(crate) const fn last(&self) -> UnixNanos {
        self.last
    }

    /// Now, or just after the last instant given where the host's clock went back.
    pub(crate) fn now(&mut self) -> UnixNanos {
        self.at_least(now())
    }

    /// This instant, or just after the last one given where that is later.
    pub(crate) fn at_least(&mut self, instant: UnixNanos) -> UnixNanos {
        self.last = if instant < self.last { UnixNanos(self.last.0.saturating_add(1)) } else { instant };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_creeps_until_the_host_s_has_caught_up() {
        let mut clock = Monotonic::after(UnixNanos(100));
        assert_eq!([90, 95, 102, 102, 101, 200].map(|at| clock.at_least(UnixNanos(at)).0), [101, 102, 102, 102, 103, 200]);
    }

    #[test]
    fn a_clock_goes_on_after_what_was_written_unless_that_is_far_ahead() {
        let soon = UnixNanos(now().0 + 60_000_000_000);
        let mut clock = Monotonic::going_on(soon);
        assert_eq!([clock.now().0, clock.now().0], [soon.0 + 1, soon.0 + 2]);
        let before = now();
        let far = UnixNanos(before.0 + 86_400_000_000_000);
        assert!((before..far).contains(&Monotonic::going_on(far).now()));
        assert!(Monotonic::going_on(UnixNanos::UNKNOWN).now() >= before);
    }
}
