//! Kraken live, end to end: whole trees against the simulated exchange, with its faults, killed and cut, held against what was sent.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::time::{Duration, Instant};

use dccd_sim::audit::Audit;
use dccd_sim::{Corruption, Disconnection, Fault, FaultPlan, MarketOptions, SimOptions, Target};
use dccd_testkit::{POLL_INTERVAL, wait_for};
use dccd_tests::{Exchange, PATIENCE, Setup, Tree};

const SEED: u64 = 20_261_127;
const KILLS: usize = 15;
const FEEDS: usize = 6;

fn options() -> SimOptions {
    let busy = Exchange::options(300.0, 500.0);
    let symbols = ["BTC/USD", "ETH/USD"].map(str::to_owned).to_vec();
    SimOptions { exchange: "kraken".to_owned(), market: MarketOptions { symbols, ..busy.market }, ..busy }
}

/// Small books, so that levels fall out of them all the time.
fn setup(exchange: &Exchange) -> Setup {
    Setup { depth: 25, ..Setup::new(exchange) }
}

fn end(mut tree: Tree, exchange: &mut Exchange, lost: u64) -> Audit {
    tree.wait_fresh(FEEDS);
    tree.drain(exchange, lost);
    tree.stop();
    tree.verify();
    let audit = tree.audit(exchange);
    for series in &audit.series {
        println!("{series:?}");
    }
    audit
}

fn targets() -> [Target; 3] {
    ["trade:BTC/USD", "ticker:BTC/USD", "book:BTC/USD"].map(Target::stream)
}

#[test]
fn a_quiet_run_stores_what_was_sent() {
    let mut exchange = Exchange::start(options());
    let tree = Tree::start(&setup(&exchange));
    tree.wait_live(FEEDS);
    wait_for(PATIENCE, || exchange.stats().trades_made, |made| *made > 1_000);
    let audit = end(tree, &mut exchange, 0);
    assert!(audit.series.iter().all(|series| series.gaps + series.repaired == 0), "{:#?}", audit.series);
}

#[test]
fn faults_of_frames_and_connections_are_recovered_from() {
    let mut faults = Vec::new();
    for target in targets() {
        let of = || target.clone();
        faults.extend([
            Fault::Drop { target: of(), count: 3 },
            Fault::Delay { target: of(), count: 2, ms: 150 },
            Fault::Duplicate { target: of(), count: 3 },
            Fault::Reorder { target: of(), count: 2 },
            Fault::Corrupt { target: of(), count: 2, how: Corruption::Truncate },
            Fault::Corrupt { target: of(), count: 2, how: Corruption::Flip },
            Fault::Silence { target: of(), ms: 1_000 },
        ]);
    }
    faults.extend([
        Fault::Disconnect { target: Target::default(), how: Disconnection::Clean },
        Fault::Disconnect { target: Target::default(), how: Disconnection::Abrupt },
        Fault::Slow { target: Target::default(), bytes_per_second: 20_000, ms: 1_000 },
        Fault::Down { ms: 2_000 },
    ]);
    let mut exchange = Exchange::start(options());
    let tree = Tree::start(&setup(&exchange));
    tree.wait_live(FEEDS);
    for fault in faults {
        let began = Instant::now();
        exchange.inject(fault.clone());
        tree.wait_fresh(FEEDS);
        tree.wait_fresh(FEEDS);
        println!("{fault:?}: all live after {:?}", began.elapsed());
    }
    let lost = exchange.trades_skipped();
    let audit = end(tree, &mut exchange, lost);
    let trades = audit.series.iter().filter(|series| series.series.ends_with("trades"));
    assert!(trades.clone().all(|series| series.gaps == 0 && series.fetched > 0), "{:#?}", audit.series);
}

#[test]
fn kills_under_load_lose_nothing_undeclared() {
    let plan = FaultPlan { seed: SEED, drop: 0.001, duplicate: 0.002, reorder: 0.004, ..FaultPlan::default() };
    let mut exchange = Exchange::start(SimOptions { faults: plan, ..options() });
    let mut tree = Tree::start(&setup(&exchange));
    tree.wait_live(FEEDS);
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut pid = tree.collector().and_then(|c| c.pid).unwrap();
    for _ in 0..KILLS {
        let (life, born) = (Duration::from_millis(rng.u64(0..900)), Instant::now());
        while born.elapsed() < life {
            std::thread::sleep(POLL_INTERVAL);
        }
        tree.kill(pid);
        pid = tree.wait_ready(Some(pid));
    }
    let audit = end(tree, &mut exchange, 0);
    let trades = audit.series.iter().filter(|series| series.series.ends_with("trades"));
    assert!(trades.clone().all(|series| series.gaps == 0 && series.repaired > 0), "{:#?}", audit.series);
}
