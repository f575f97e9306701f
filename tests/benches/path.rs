//! The path of a live collector, measured on real processes: `cargo xtask bench path`.
//!
//! - *idle*: resident memory and CPU of a datad whose feeds are silent.
//! - *latency*: frame complete in user space → record visible in the ring, at a steady 10,000 messages a second.
//! - *throughput*: trades a second from the simulator's socket to ring and journal when the exchange sends as fast as we
//!   read, with memory before and after, and whether the store has every trade in the end.
//!
//! A timing is printed, never asserted; what is lost or stored twice fails the run.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]

use std::time::{Duration, Instant};

use dccd_sim::{LedgerMode, MarketOptions, SimOptions};
use dccd_tests::{Exchange, Setup, Tree};

/// Looks at the counters this far apart.
const LOOK: Duration = Duration::from_millis(500);

fn main() {
    let only = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    for (name, run) in [("idle", idle as fn()), ("latency", latency), ("throughput", throughput)] {
        if only.as_deref().is_none_or(|only| only == name) {
            println!("\n{name}");
            run();
        }
    }
}

/// Waits while something is measured; the only place that lets time pass.
fn let_pass(time: Duration) {
    std::thread::park_timeout(time);
}

#[derive(Clone, Copy)]
struct Usage {
    at: Instant,
    /// Resident memory without shared memory, and with it, KiB.
    rss_private_kib: u64,
    rss_kib: u64,
    cpu: Duration,
}

fn usage(pid: u32) -> Usage {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.split_ascii_whitespace().nth(1)).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // After the name in brackets: state is field 3; user and system time are fields 14 and 15, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
    Usage {
        at: Instant::now(),
        rss_private_kib: field("RssAnon:") + field("RssFile:"),
        rss_kib: field("VmRSS:"),
        cpu: Duration::from_millis(ticks * 10),
    }
}

fn cpu_percent(from: Usage, to: Usage) -> f64 {
    100.0 * (to.cpu - from.cpu).as_secs_f64() / (to.at - from.at).as_secs_f64()
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn idle() {
    let mut exchange = Exchange::busy(0.0, 0.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    let pid = tree.collector().and_then(|s| s.pid).expect("it runs");
    let root = tree.root_pid();
    let_pass(Duration::from_secs(3));
    let (before, root_before) = (usage(pid), usage(root));
    let_pass(Duration::from_secs(5));
    let (after, root_after) = (usage(pid), usage(root));
    println!("  datad      {:6.1} MiB resident, {:4.2} % of a core", mib(after.rss_kib), cpu_percent(before, after));
    println!(
        "  dccd-root  {:6.1} MiB resident, {:4.2} % of a core",
        mib(root_after.rss_kib),
        cpu_percent(root_before, root_after)
    );
    tree.stop();
    exchange.stop();
}

fn latency() {
    for (pace, even) in [("evenly spaced", true), ("in bursts of ten, one a millisecond", false)] {
        latency_at(pace, even);
    }
}

fn latency_at(pace: &str, even: bool) {
    let mut options = Exchange::options(10_000.0, 0.0);
    options.market.even = even;
    let mut exchange = Exchange::start(options);
    let mut setup = Setup::new(&exchange);
    setup.channels = vec!["trades".to_owned()];
    let mut tree = Tree::start(&setup);
    let pid = tree.collector().and_then(|s| s.pid).expect("it runs");
    tree.wait_fresh(2);
    let_pass(Duration::from_secs(2));
    let before = usage(pid);
    let frames_before = tree.stats().expect("it answers").frames;
    let mut p50 = Vec::new();
    let mut p99 = Vec::new();
    for _ in 0..20 {
        let_pass(LOOK);
        let stats = tree.stats().expect("it answers");
        p50.push(stats.frame_to_ring_p50);
        p99.push(stats.frame_to_ring_p99);
    }
    let after = usage(pid);
    let frames = tree.stats().expect("it answers").frames - frames_before;
    p50.sort_unstable();
    p99.sort_unstable();
    let micros = |ns: u64| ns as f64 / 1000.0;
    println!(
        "  {:.0} frames/s {pace}: frame to ring p50 {:.1} µs, p99 {:.1} µs (medians of one-second windows; best p50 {:.1}, worst p99 {:.1}); {:.1} % of a core",
        frames as f64 / (after.at - before.at).as_secs_f64(),
        micros(p50[p50.len() / 2]),
        micros(p99[p99.len() / 2]),
        micros(p50[0]),
        micros(p99[p99.len() - 1]),
        cpu_percent(before, after),
    );
    tree.stop();
    exchange.stop();
}

fn throughput() {
    let mut exchange = Exchange::start(SimOptions {
        ledger_mode: LedgerMode::Compact,
        market: MarketOptions {
            blast: true,
            trades_per_second: 1.0,
            book_updates_per_second: 0.0,
            ..Exchange::options(1.0, 0.0).market
        },
        ..SimOptions::default()
    });
    let mut setup = Setup::new(&exchange);
    setup.channels = vec!["trades".to_owned()];
    let mut tree = Tree::start(&setup);
    let pid = tree.collector().and_then(|s| s.pid).expect("it runs");
    tree.wait_fresh(2);
    let_pass(Duration::from_secs(2));
    let before = usage(pid);
    let frames_before = tree.stats().expect("it answers").frames;
    let mut most_private = 0;
    for _ in 0..20 {
        let_pass(LOOK);
        most_private = usage(pid).rss_private_kib.max(most_private);
    }
    let after = usage(pid);
    let frames = tree.stats().expect("it answers").frames - frames_before;
    println!(
        "  {:.0} trades/s over {:.0} s; {:.0} % of a core for all threads",
        frames as f64 / (after.at - before.at).as_secs_f64(),
        (after.at - before.at).as_secs_f64(),
        cpu_percent(before, after),
    );
    println!(
        "  memory apart from rings: {:.1} MiB before, {:.1} MiB after, {:.1} MiB at most",
        mib(before.rss_private_kib),
        mib(after.rss_private_kib),
        mib(most_private)
    );
    exchange.pause();
    tree.settle(0);
    tree.stop();
    exchange.stop();
    let inventory = dccd_store::inventory(tree.data_path()).expect("it can be read");
    let rows: u64 = inventory.iter().map(|r| r.rows).sum();
    let bytes: u64 = inventory.iter().map(|r| r.bytes).sum();
    let gaps: u64 = inventory.iter().map(|r| r.gaps).sum();
    println!("  stored {rows} trades, {gaps} gaps, {:.2} bytes a row with ts_recv", bytes as f64 / rows as f64);
    assert_eq!(gaps, 0, "trades are missing");
}
