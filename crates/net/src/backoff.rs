//! How long to wait before the next attempt: doubling, bounded, with jitter so that a crowd doesn't come back as one.

use std::time::Duration;

/// The shape of the waits between attempts. It never says "give up".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure, before jitter.
    pub base: Duration,
    /// No wait is longer than this.
    pub max: Duration,
}

impl Backoff {
    /// The waits of one endless series of attempts, with jitter drawn from `seed`.
    pub fn delays(self, seed: u64) -> Delays {
        Delays { backoff: self, failures: 0, random: fastrand::Rng::with_seed(seed) }
    }
}

impl Default for Backoff {
    /// 250 ms, doubling up to 30 s.
    fn default() -> Self {
        Backoff { base: Duration::from_millis(250), max: Duration::from_secs(30) }
    }
}

/// The running series of waits of one [`Backoff`].
#[derive(Debug, Clone)]
pub struct Delays {
    backoff: Backoff,
    failures: u32,
    random: fastrand::Rng,
}

impl Delays {
    /// The wait after one more failure: between a half and the whole of `base * 2^failures`, at most `max`.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.backoff.base.saturating_mul(1 << self.failures.min(24)).min(self.backoff.max);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(0.5 + 0.5 * self.random.f64())
    }

    /// How many failures in a row there were.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It has worked for long enough: the next failure counts as the first.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// A share of a whole drawn evenly from `low..high`, from the same source of chance.
    pub(crate) fn share(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random.f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_never_end() {
        let backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(5) };
        let mut delays = backoff.delays(7);
        for ceiling_ms in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let delay = delays.next_delay();
            let ceiling = Duration::from_millis(ceiling_ms);
            assert!(delay >= ceiling / 2 && delay <= ceiling, "{delay:?} for {ceiling:?}");
        }
        for _ in 0..10_000 {
            assert!(delays.next_delay() <= backoff.max);
        }
        delays.reset();
        assert!(delays.next_delay() <= backoff.base);
    }

    #[test]
    fn a_seed_repeats_its_waits_and_another_differs() {
        let series = |seed| -> Vec<Duration> {
            let mut delays = Backoff::default().delays(seed);
            (0..8).map(|_| delays.next_delay()).collect()
        };
        assert_eq!(series(1), series(1));
        assert_ne!(series(1), series(2));
    }
}
