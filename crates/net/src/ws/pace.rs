//! How many messages and how many connection attempts a window may hold.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A server's second may begin a little before or after ours ends, and the network presses messages together.
const SECOND: Duration = Duration::from_millis(1_100);

/// The messages of the last second on one connection. Pongs always go out; everything else leaves one place for them.
#[derive(Debug)]
pub(super) struct Pacer {
    limit: usize,
    sent: VecDeque<Instant>,
}

impl Pacer {
    pub(super) fn new(messages_per_second: u32) -> Self {
        let limit = usize::try_from(messages_per_second).unwrap_or(usize::MAX).max(1);
        Pacer { limit, sent: VecDeque::new() }
    }

    /// When a message that isn't a pong may go out; not after `now`: at once.
    pub(super) fn free_at(&mut self, now: Instant) -> Instant {
        self.forget(now);
        // A limit of one has no place to spare.
        let usable = if self.limit > 1 { self.limit - 1 } else { 1 };
        match self.sent.len().checked_sub(usable) {
            None => now,
            Some(over) => self.sent[over] + SECOND,
        }
    }

    /// A message went out.
    pub(super) fn record(&mut self, now: Instant) {
        self.forget(now);
        self.sent.push_back(now);
        // A flood of pings, answered: only the newest matter for when the next message may go.
        if self.sent.len() > self.limit {
            self.sent.pop_front();
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|sent| *sent + SECOND <= now) {
            self.sent.pop_front();
        }
    }
}

/// How often one IP may connect to an exchange: at most so many attempts in any stretch of the window's length.
#[derive(Debug)]
pub struct ConnectBudget {
    limit: usize,
    window: Duration,
    attempts: Mutex<VecDeque<Instant>>,
}

impl ConnectBudget {
    /// `limit` attempts (at least 1) in each `window`.
    pub fn new(limit: u32, window: Duration) -> Arc<Self> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
        Arc::new(ConnectBudget { limit, window, attempts: Mutex::default() })
    }

    /// Takes an attempt, or says when the next one is free.
    pub(super) fn take(&self, now: Instant) -> Result<(), Instant> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        while attempts.front().is_some_and(|attempt| *attempt + self.window <= now) {
            attempts.pop_front();
        }
        match attempts.len().checked_sub(self.limit) {
            Some(over) => Err(attempts[over] + self.window),
            None => {
                attempts.push_back(now);
                Ok(())
            }
        }
    }

    /// When the next attempt is free; not after `now`: at once.
    pub(super) fn free_at(&self, now: Instant) -> Instant {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let running = attempts.iter().filter(|attempt| **attempt + self.window > now).count();
        match running.checked_sub(self.limit) {
            Some(over) => attempts[attempts.len() - running + over] + self.window,
            None => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn four_of_five_go_at_once_and_a_pong_always() {
        let mut pacer = Pacer::new(5);
        let start = Instant::now();
        for _ in 0..4 {
            assert_eq!(pacer.free_at(start), start);
            pacer.record(start);
        }
        assert_eq!(pacer.free_at(start), start + SECOND);
        pacer.record(start);
        assert_eq!(pacer.free_at(start + SECOND), start + SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_ever_holds_more_than_the_limit() {
        let mut pacer = Pacer::new(5);
        let mut now = Instant::now();
        let mut sent = Vec::new();
        for _ in 0..50 {
            now = now.max(pacer.free_at(now));
            pacer.record(now);
            sent.push(now);
        }
        for window in sent.windows(5) {
            assert!(window[4] - window[0] > Duration::from_secs(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_one_still_lets_messages_out() {
        let mut pacer = Pacer::new(1);
        let now = Instant::now();
        assert_eq!(pacer.free_at(now), now);
        pacer.record(now);
        assert_eq!(pacer.free_at(now), now + SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_past_the_budget_wait_for_the_oldest_to_age() {
        let budget = ConnectBudget::new(2, Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(budget.take(start), Ok(()));
        let later = start + Duration::from_secs(4);
        assert_eq!(budget.free_at(later), later);
        assert_eq!(budget.take(later), Ok(()));
        assert_eq!(budget.take(later), Err(start + Duration::from_secs(10)));
        assert_eq!(budget.free_at(later), start + Duration::from_secs(10));
        assert_eq!(budget.take(start + Duration::from_secs(10)), Ok(()));
    }
}
