//! What a service reports in its heartbeats: counters that cost one atomic addition, and its condition in words.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dccd_rpc::root;

use crate::{Conditions, process};

/// Most counters one service may have; further names are ignored, so that a name made of data can't grow without end.
const COUNTERS_MAX: usize = 64;

/// One counter; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to it. Relaxed: a statistic, it orders nothing.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Inner {
    counters: Mutex<Vec<(String, Counter)>>,
    busy: AtomicBool,
    degraded: Mutex<Option<String>>,
    conditions: Conditions,
}

/// A service's progress; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Inner>);

impl Progress {
    /// Nothing done yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter of that name, made if it is new. Keep it: counting through it takes no lock.
    #[must_use]
    pub fn counter(&self, name: &str) -> Counter {
        let mut counters = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = counters.iter().find(|(n, _)| n == name) {
            return counter.clone();
        }
        let counter = Counter::default();
        if counters.len() < COUNTERS_MAX {
            counters.push((name.to_owned(), counter.clone()));
        }
        counter
    }

    /// Sets a counter by name; looks it up under a lock.
    pub fn set(&self, name: &str, value: u64) {
        self.counter(name).set(value);
    }

    /// Whether there is work to do now. A service that is busy while no counter moves is taken for stuck, and shown as
    /// degraded.
    pub fn busy(&self, busy: bool) {
        self.0.busy.store(busy, Ordering::Relaxed);
    }

    /// What is wrong, in words; `None` when nothing is.
    pub fn degraded(&self, reason: Option<String>) {
        *self.0.degraded.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// What is wrong and worth telling somebody; alerts are made of it.
    #[must_use]
    pub fn conditions(&self) -> &Conditions {
        &self.0.conditions
    }

    /// What is wrong, as was said last.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.degraded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state as a heartbeat carries it, with the memory and CPU time of this process.
    #[must_use]
    pub fn snapshot(&self) -> root::Progress {
        let (conditions, conditions_more) = self.0.conditions.snapshot();
        let counters = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        root::Progress {
            counters: counters.iter().map(|(name, counter)| (name.clone(), counter.get())).collect(),
            busy: self.0.busy.load(Ordering::Relaxed),
            degraded: self.trouble(),
            rss_bytes: process::rss_bytes().unwrap_or(0),
            cpu_us: process::cpu_us(),
            conditions,
            conditions_more,
            conditions_unsettled: !self.0.conditions.is_settled(),
            conditions_doubted: self.0.conditions.doubts(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shared_and_bounded() {
        let progress = Progress::new();
        let frames = progress.counter("frames");
        progress.counter("frames").add(2);
        frames.add(1);
        progress.busy(true);
        progress.degraded(Some("disk full".into()));
        let snapshot = progress.snapshot();
        assert_eq!(snapshot.counters, [("frames".to_owned(), 3)]);
        assert!(snapshot.busy && snapshot.rss_bytes > 0);
        assert_eq!(snapshot.degraded.as_deref(), Some("disk full"));
        for n in 0..200 {
            progress.set(&format!("c{n}"), n);
        }
        assert_eq!(progress.snapshot().counters.len(), COUNTERS_MAX);
    }
}
