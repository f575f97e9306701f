//! Decides when a failed service starts again, or that it doesn't. Pure: time and chance come as arguments.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::RestartOptions;

/// The restarts of one service.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    restarts: VecDeque<Instant>,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Start again after this delay.
    Restart(Duration),
    /// The restarts of the window are used up.
    GiveUp,
}

impl Budget {
    /// With restarts that an earlier root has made, oldest first.
    pub(crate) fn restored(restarts: Vec<Instant>) -> Self {
        Self { restarts: restarts.into() }
    }

    /// When the restarts that still count were, oldest first.
    pub(crate) fn restarts(&self) -> impl Iterator<Item = Instant> {
        self.restarts.iter().copied()
    }

    /// Forgets earlier failures: somebody asked for a restart.
    pub(crate) fn reset(&mut self) {
        self.restarts.clear();
    }

    /// The service failed after it had been ready for `ready_for` (`None`: it never was). `chance` is uniform in 0..1 and
    /// spreads the delay over 80 % to 120 %, so that services that fail together don't come back together.
    pub(crate) fn failed(
        &mut self,
        options: &RestartOptions,
        now: Instant,
        ready_for: Option<Duration>,
        chance: f64,
    ) -> Decision {
        let stable_after = options.stable_after.unwrap_or(options.window / options.max_restarts.max(1));
        if ready_for.is_some_and(|ready_for| ready_for >= stable_after) {
            self.restarts.clear();
        }
        while self.restarts.front().is_some_and(|&then| now.duration_since(then) > options.window) {
            self.restarts.pop_front();
        }
        let earlier = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        if earlier >= options.max_restarts {
            return Decision::GiveUp;
        }
        self.restarts.push_back(now);
        let Some(doublings) = earlier.checked_sub(1) else { return Decision::Restart(Duration::ZERO) };
        let delay = options.base_delay.saturating_mul(2u32.saturating_pow(doublings)).min(options.max_delay);
        Decision::Restart(delay.mul_f64(0.8 + 0.4 * chance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn at_once_then_doubling_then_final() {
        let options = RestartOptions { max_restarts: 7, ..RestartOptions::default() };
        let mut budget = Budget::default();
        let start = Instant::now();
        let delays: Vec<_> = (0..8).map(|n| budget.failed(&options, start + S * n, None, 0.5)).collect();
        let seconds = [0, 5, 10, 20, 40, 60, 60].map(|s| Decision::Restart(S * s));
        assert_eq!(delays[..7], seconds);
        assert_eq!(delays[7], Decision::GiveUp);
    }

    #[test]
    fn the_sixth_failure_in_the_window_is_final_and_a_restart_by_hand_begins_anew() {
        let options = RestartOptions::default();
        let mut budget = Budget::default();
        let now = Instant::now();
        assert_eq!((0..6).filter(|_| budget.failed(&options, now, None, 0.0) == Decision::GiveUp).count(), 1);
        budget.reset();
        assert_eq!(budget.failed(&options, now, None, 0.0), Decision::Restart(Duration::ZERO));
    }

    #[test]
    fn failures_leave_the_window_and_stability_clears_them() {
        let options = RestartOptions { max_restarts: 2, window: S * 10, ..RestartOptions::default() };
        let mut budget = Budget::default();
        let start = Instant::now();
        assert_eq!(budget.failed(&options, start, None, 0.0), Decision::Restart(Duration::ZERO));
        assert_eq!(budget.failed(&options, start + S * 5, None, 0.0), Decision::Restart(S * 4));
        // The first has left the window, the second has not.
        assert_eq!(budget.failed(&options, start + S * 11, None, 1.0), Decision::Restart(S * 6));
        assert_eq!(budget.failed(&options, start + S * 12, Some(S * 4), 0.0), Decision::GiveUp);
        // Ready for window / max_restarts: stable.
        assert_eq!(budget.failed(&options, start + S * 13, Some(S * 5), 0.0), Decision::Restart(Duration::ZERO));
    }

    #[test]
    fn what_an_earlier_root_has_used_up_counts() {
        let now = Instant::now();
        let options = RestartOptions { max_restarts: 2, window: S * 10, ..RestartOptions::default() };
        let mut budget = Budget::restored(vec![now, now + S * 2]);
        assert_eq!(budget.failed(&options, now + S * 3, None, 0.0), Decision::GiveUp);
        assert_eq!(budget.failed(&options, now + S * 11, None, 0.0), Decision::Restart(S * 4));
        assert_eq!(budget.restarts().collect::<Vec<_>>(), [now + S * 2, now + S * 11]);
    }
}
