//! Processes that are killed at any moment: what was acknowledged is stored, what was lost is declared or fetched.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::time::{Duration, Instant};

use dccd_testkit::{POLL_INTERVAL, wait_for};
use dccd_tests::{COLLECTOR, Exchange, PATIENCE, Setup, Tree};

/// Moments drawn from it: a failure can be looked at again.
const SEED: u64 = 20_261_123;
const KILLS: usize = 50;

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
fn a_collector_whose_root_is_killed_flushes_and_ends_and_the_next_root_goes_on() {
    let mut exchange = Exchange::busy(200.0, 400.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_fresh(6);
    let pid = tree.collector().and_then(|c| c.pid).unwrap();
    let killed = Instant::now();
    tree.kill_root();
    wait_for(PATIENCE, || Tree::exists(pid), |exists| !exists);
    println!("the root was killed; {COLLECTOR} had flushed and ended {:?} later", killed.elapsed());
    assert!(tree.log().contains("everything received is in the store"), "{}", tree.log());
    tree.verify();
    // The next root clears the rings of dead writers away, and leaves none itself.
    tree.start_root();
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    assert_eq!(tree.place().rings(), [""; 0], "rings are left behind");
    tree.audit(&mut exchange);
    tree.verify();
}
