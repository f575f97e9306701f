//! How long a frame takes from the socket to the ring: quantiles of the last second, and counts by bucket since the start of the
//! process. The hot thread notes each frame in memory of its own and shows the numbers a few times a second; anybody reads them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dccd_rpc::datad::Latencies;
use hdrhistogram::Histogram;
use tokio::time::Instant;

/// Quantiles are those of an interval this long.
const INTERVAL: Duration = Duration::from_secs(1);

/// Upper bounds of the buckets: 1, 2 and 5 of each decade from a microsecond to a second, ns.
const BOUNDS_NS: [u64; 19] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
];
/// One more, for what took longer than all of them.
const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// What the hot thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct SharedLatency {
    /// Median of the last interval, ns.
    pub(crate) p50: AtomicU64,
    /// 99th percentile of the same.
    pub(crate) p99: AtomicU64,
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl SharedLatency {
    /// The counts so far, as the wire has them. A bucket never has fewer than at the last look.
    pub(crate) fn latencies(&self) -> Latencies {
        Latencies {
            bounds_ns: BOUNDS_NS.to_vec(),
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

/// The hot thread's own notes.
pub(crate) struct Latency {
    recent: Histogram<u64>,
    since: Instant,
    counts: [u64; BUCKETS],
    sum_ns: u64,
}

impl Latency {
    /// Nothing noted yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { recent: recent(), since: now, counts: [0; BUCKETS], sum_ns: 0 }
    }

    /// Notes one frame. Allocates nothing.
    pub(crate) fn record(&mut self, ns: u64) {
        self.recent.saturating_record(ns);
        self.counts[BOUNDS_NS.partition_point(|bound| *bound < ns)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Lets others see what was noted.
    pub(crate) fn show(&mut self, shared: &SharedLatency, now: Instant) {
        for (shown, count) in shared.counts.iter().zip(self.counts) {
            shown.store(count, Ordering::Relaxed);
        }
        shared.sum_ns.store(self.sum_ns, Ordering::Relaxed);
        if now.duration_since(self.since) < INTERVAL {
            return;
        }
        if !self.recent.is_empty() {
            shared.p50.store(self.recent.value_at_quantile(0.5), Ordering::Relaxed);
            shared.p99.store(self.recent.value_at_quantile(0.99), Ordering::Relaxed);
            self.recent.reset();
        }
        self.since = now;
    }
}

/// From 1 ns to 10 s, two significant digits.
fn recent() -> Histogram<u64> {
    // The bounds are valid constants; the fallback is the library's own auto-sizing histogram.
    Histogram::new_with_bounds(1, 10_000_000_000, 2).unwrap_or_else(|_| Histogram::new(2).unwrap_or_else(|_| unreachable!()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_longer_than_all_has_one_too() {
        let (shared, now) = (SharedLatency::default(), Instant::now());
        let mut latency = Latency::new(now);
        for ns in [0, 1_000, 1_001, 2_000, 1_000_000_000, 1_000_000_001, 20_000_000_000] {
            latency.record(ns);
        }
        latency.show(&shared, now);
        let shown = shared.latencies();
        assert_eq!((shown.counts[0], shown.counts[1], shown.counts[18], shown.counts[19]), (2, 2, 1, 2));
        assert_eq!((shown.counts.iter().sum::<u64>(), shown.sum_ns), (7, 22_000_004_002));
        assert_eq!((shared.p50.load(Ordering::Relaxed), shown.counts.len()), (0, shown.bounds_ns.len() + 1));
        // Quantiles are those of the interval, counts go on.
        latency.show(&shared, now + INTERVAL);
        assert!(shared.p99.load(Ordering::Relaxed) > 9_000_000_000, "{shared:?}");
        latency.record(5);
        latency.show(&shared, now + INTERVAL * 2);
        assert!(shared.p99.load(Ordering::Relaxed) < 10 && shared.latencies().counts[0] == 3, "{shared:?}");
    }
}
