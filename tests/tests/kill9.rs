//! Processes that are killed at any moment: what was acknowledged is stored, what was lost is declared or fetched.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::time::{Duration, Instant};

use dccd_testkit::{POLL_INTERVAL, wait_for};
use dccd_tests::{COLLECTOR, Exchange, PATIENCE, Setup, Tree};

/// Moments drawn from it: a failure can be looked at again.
const SEED: u64 = 20_261_123;
const KILLS: usize = 50;
const ROOT_KILLS: usize = 5;

#[test]
fn fifty_kills_of_the_collector_under_load_lose_nothing_undeclared() {
    let mut exchange = Exchange::busy(500.0, 1_500.0);
    // Fifty restarts within a minute ask for a hundred snapshots: small ones stay within the exchange's request weight.
    let mut tree = Tree::start(&Setup { depth: 100, ..Setup::new(&exchange) });
    tree.wait_live(6);
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut took = Vec::new();
    let mut pid = tree.collector().and_then(|c| c.pid).unwrap();
    for _ in 0..KILLS {
        // A moment of its life: while it starts, while it catches up, in full swing.
        let life = Duration::from_millis(rng.u64(0..600));
        let born = Instant::now();
        while born.elapsed() < life {
            std::thread::sleep(POLL_INTERVAL);
        }
        let killed = Instant::now();
        tree.kill(pid);
        pid = tree.wait_ready(Some(pid));
        took.push(killed.elapsed());
    }
    took.sort_unstable();
    println!(
        "kill to ready, {KILLS} times, seed {SEED}: min {:?}, median {:?}, max {:?}",
        took[0],
        took[KILLS / 2],
        took[KILLS - 1]
    );
    assert_eq!(usize::try_from(tree.collector().unwrap().restarts).unwrap(), KILLS);
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    let audit = tree.audit(&mut exchange);
    tree.verify();
    let quotes = audit.series.iter().filter(|s| s.series.ends_with("quotes"));
    for series in quotes {
        assert!(series.gaps > 0, "nothing tells of {KILLS} outages in {series:?}");
    }
    let trades: Vec<_> = audit.series.iter().filter(|s| s.series.ends_with("trades")).collect();
    assert!(trades.iter().all(|s| s.gaps == 0 && s.repaired > 0 && s.declared == 0), "{trades:#?}");
}

#[test]
fn five_kills_of_the_root_under_load_cost_no_record_and_no_process() {
    let mut exchange = Exchange::busy(500.0, 1_500.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_fresh(6);
    let pid = tree.collector().and_then(|c| c.pid).unwrap();
    let feeds = tree.feeds();
    let generations =
        || feeds.iter().map(|feed| dccd_ring::Reader::open(&feed.ring).unwrap().generation()).collect::<Vec<_>>();
    let before = generations();
    let mut took = Vec::new();
    for _ in 0..ROOT_KILLS {
        tree.kill_root();
        // Nobody looks after it, and everything arrives.
        tree.wait_fresh(6);
        let started = Instant::now();
        tree.start_root();
        took.push(started.elapsed());
        let collector = tree.collector().unwrap();
        assert_eq!((collector.pid, collector.restarts, collector.last_exit), (Some(pid), 0, None));
    }
    took.sort_unstable();
    println!("start of the next root to adopted, {ROOT_KILLS} times: min {:?}, max {:?}", took[0], took[ROOT_KILLS - 1]);
    assert_eq!(generations(), before);
    let services = tree.services().unwrap();
    assert!(services[1].uptime_s > services[0].uptime_s, "{services:#?}");
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    // It has exited; whoever reaps the orphans of this host does so soon.
    wait_for(PATIENCE, || Tree::exists(pid), |exists| !exists);
    let audit = tree.audit(&mut exchange);
    assert!(audit.series.iter().all(|s| s.gaps == 0 && s.repaired == 0 && s.declared == 0), "{:#?}", audit.series);
    tree.verify();
}

#[test]
fn a_collector_that_no_root_comes_for_flushes_and_ends_and_the_next_root_goes_on() {
    let mut exchange = Exchange::busy(200.0, 400.0);
    let setup = Setup::new(&exchange);
    let mut tree = Tree::start(&Setup { more: setup.more.replace("orphan_grace: 60", "orphan_grace: 1"), ..setup });
    tree.wait_fresh(6);
    let pid = tree.collector().and_then(|c| c.pid).unwrap();
    let killed = Instant::now();
    tree.kill_root();
    wait_for(PATIENCE, || Tree::exists(pid), |exists| !exists);
    println!("the root was killed; {COLLECTOR} had flushed and ended {:?} later", killed.elapsed());
    let log = tree.log();
    assert!(log.contains("no dccd-root has come") && log.contains("everything received is in the store"), "{log}");
    assert_eq!(tree.place().rings(), [""; 0], "rings are left behind");
    // The socket of the root that was killed is the next root's to remove.
    assert_eq!(tree.left_behind(), ["root.sock"]);
    tree.verify();
    tree.start_root();
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    tree.audit(&mut exchange);
    tree.verify();
}

#[test]
fn stop_ends_collectors_that_have_lost_their_root() {
    let mut exchange = Exchange::busy(200.0, 400.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_fresh(6);
    let pid = tree.collector().and_then(|c| c.pid).unwrap();
    tree.kill_root();
    let status = tree.run(&["status"]).code(0).out;
    assert!(status.contains(&format!("{COLLECTOR} (pid {pid}) goes on without dccd-root")), "{status}");
    assert!(status.contains("orphaned"), "{status}");
    let stopped = tree.run(&["stop"]).code(0);
    assert!(stopped.err.contains(&format!("{COLLECTOR} is gone")), "{}", stopped.err);
    assert!(tree.log().contains("everything received is in the store"), "{}", tree.log());
    wait_for(PATIENCE, || Tree::exists(pid), |exists| !exists);
    assert_eq!(tree.place().rings(), [""; 0], "rings are left behind");
    assert_eq!(tree.left_behind(), ["root.sock"]);
    let _ = tree.run(&["stop"]).code(11);
    tree.verify();
    exchange.stop();
}
