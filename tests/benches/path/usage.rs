//! What a process uses, as the kernel counts it.

use std::time::{Duration, Instant};

/// Looks at the counters this far apart.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// Waits while something is measured; the only place that lets time pass.
pub(crate) fn let_pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// Memory and processor time at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    at: Instant,
    /// Resident memory of its own, KiB.
    pub(crate) anon_kib: u64,
    /// Resident memory without shared memory: its own, and the pages of the executable and other files that it has mapped. KiB.
    pub(crate) private_kib: u64,
    /// All resident memory, shared memory included, KiB.
    pub(crate) rss_kib: u64,
    cpu: Duration,
}

impl Usage {
    /// That of a process now.
    pub(crate) fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name));
            line.and_then(|l| l.split_ascii_whitespace().nth(1)).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
        };
        let anon_kib = field("RssAnon:");
        Self {
            at: Instant::now(),
            anon_kib,
            private_kib: anon_kib + field("RssFile:"),
            rss_kib: field("VmRSS:"),
            cpu: ticks(&format!("/proc/{pid}/stat")),
        }
    }

    /// Time since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> f64 {
        (self.at - earlier.at).as_secs_f64()
    }

    /// Per cent of a core used since `earlier`, all threads together.
    pub(crate) fn cpu_percent(&self, earlier: &Self) -> f64 {
        100.0 * (self.cpu - earlier.cpu).as_secs_f64() / self.since(earlier)
    }
}

/// User and system time of a process or thread: fields 14 and 15, in ticks of 10 ms. After the name in brackets comes field 3.
fn ticks(path: &str) -> Duration {
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Processor time of each thread of a process, by name; of those that share one together.
pub(crate) fn threads(pid: u32) -> Vec<(String, Duration)> {
    let mut all: Vec<(String, Duration)> = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let path = task.path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default().trim().to_owned();
        let time = ticks(&path.join("stat").to_string_lossy());
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += time,
            None => all.push((name, time)),
        }
    }
    all
}

pub(crate) fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
