//! The root's own cost, with thirty services below it that do nothing but live: `cargo xtask bench root`.
//!
//! From its start until all are ready, from a `kill -9` of one until it is ready again, what it uses while nothing happens but thirty
//! heartbeats a second, and how long its answers take. Timings are printed, never asserted.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]

#[path = "../tests/tree/mod.rs"]
mod tree;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dccd_registry::Registry;
use dccd_rpc::root::ServiceState;
use rustix::process::Signal;
use tree::process::root_process_of;
use tree::{PATIENCE, Place, send, wait_for};

const SERVICES: usize = 30;
const STARTS: usize = 5;
const CALLS: usize = 1_000;
/// Time for which the idle root is looked at.
const IDLE: Duration = Duration::from_secs(20);

/// Smallest, median and largest, in milliseconds.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    format!("{:.2} / {:.2} / {:.2} ms (min, median, max of {})", ms(least), ms(median), ms(most), times.len())
}

/// Follows the events until `done` says so.
async fn follow(registry: &Registry, cursor: &mut u64, mut done: impl FnMut(&str, ServiceState) -> bool) {
    loop {
        let events = registry.watch(*cursor, PATIENCE).await.unwrap();
        *cursor = events.cursor;
        if events.events.iter().any(|event| done(&event.service, event.state)) {
            return;
        }
    }
}

/// CPU time of a process, and its resident memory in KiB.
fn usage(pid: u32) -> (Duration, u64) {
    let ticks: u64 = dccd_service::dump::threads(pid).iter().map(|thread| thread.ticks).sum();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (dccd_service::process::ticks(ticks), rss.trim().trim_end_matches(" kB").parse().unwrap())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let mut starts = Vec::new();
    for last in (0..STARTS).rev() {
        let place = Place::new();
        let begun = Instant::now();
        let mut root = root_process_of(&place, SERVICES);
        let runtime = place.runtime();
        let registry = wait_for("the root", async || Registry::connect_in(&runtime, PATIENCE).await.ok()).await;
        let (mut cursor, mut ready) = (0, BTreeSet::new());
        follow(&registry, &mut cursor, |service, state| {
            if state == ServiceState::Ready {
                ready.insert(service.to_owned());
            }
            ready.len() == SERVICES
        })
        .await;
        starts.push(begun.elapsed());
        if last == 0 {
            measure(&registry, root.0.id(), cursor).await;
        }
        registry.stop(false, None).await.unwrap();
        root.0.wait().unwrap();
    }
    println!("start to {SERVICES} services ready: {}", spread(starts));
}

async fn measure(registry: &Registry, root: u32, mut cursor: u64) {
    let (cpu_before, _) = usage(root);
    let begun = Instant::now();
    tokio::time::sleep(IDLE).await;
    let (cpu, rss) = usage(root);
    let share = (cpu - cpu_before).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!(
        "idle root: {:.1} MiB resident, {:.2} % of a core over {} s",
        rss as f64 / 1024.0,
        share * 100.0,
        IDLE.as_secs()
    );

    let (mut finds, mut lists, mut statuses) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let begun = Instant::now();
        registry.find("s00", PATIENCE).await.unwrap();
        finds.push(begun.elapsed());
        let begun = Instant::now();
        registry.list(PATIENCE).await.unwrap();
        lists.push(begun.elapsed());
        let begun = Instant::now();
        registry.status(PATIENCE).await.unwrap();
        statuses.push(begun.elapsed());
    }
    println!("look-up of one service: {}", spread(finds));
    println!("list of all services:   {}", spread(lists));
    println!("status of the root:     {}", spread(statuses));

    let mut crashes = Vec::new();
    for info in &registry.list(PATIENCE).await.unwrap()[1..] {
        let begun = Instant::now();
        send(info.pid.unwrap(), Signal::KILL);
        follow(registry, &mut cursor, |service, state| service == info.name && state == ServiceState::Ready).await;
        crashes.push(begun.elapsed());
    }
    println!("crash to ready again:   {}", spread(crashes));
}
