//! Every fault of the exchange: the tree recovers by itself, and what it stored is what was sent, or says what is missing.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::time::{Duration, Instant};

use dccd_sim::{Corruption, Disconnection, Fault, FaultPlan, Limits, SimOptions, Target};
use dccd_testkit::{POLL_INTERVAL, wait_for};
use dccd_tests::{Exchange, PATIENCE, Setup, Tree, free_port};

const TRADES: &str = "btcusdt@trade";
const QUOTES: &str = "btcusdt@bookTicker";
const BOOK: &str = "btcusdt@depth@100ms";

fn streams() -> [Target; 3] {
    [TRADES, QUOTES, BOOK].map(Target::stream)
}

/// Brings each fault about, waits each time until every feed is live with newer records, and holds store against ledger.
fn endures(faults: &[Fault], expected_in_log: &[&str]) -> dccd_sim::audit::Audit {
    let mut exchange = Exchange::busy(300.0, 500.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_live(6);
    for fault in faults {
        let before = tree.stats().unwrap();
        let (began, opened) = (Instant::now(), exchange.stats().connections_opened);
        exchange.inject(fault.clone());
        if matches!(fault, Fault::Disconnect { .. } | Fault::Down { .. }) {
            wait_for(PATIENCE, || exchange.stats().connections_opened, |now| *now > opened);
        }
        // Twice: what was on its way when the fault came may be taken for recovery.
        tree.wait_fresh(6);
        tree.wait_fresh(6);
        let after = tree.stats().unwrap();
        println!(
            "{fault:?}: all live after {:?}; gaps +{}, made good +{}, unreadable +{}, connects +{}",
            began.elapsed(),
            after.gaps - before.gaps,
            after.gap_repairs - before.gap_repairs,
            after.parse_errors - before.parse_errors,
            after.connects - before.connects,
        );
    }
    let lost = exchange.trades_skipped();
    tree.drain(&exchange, lost);
    assert_eq!(tree.missing_trades(), lost);
    tree.stop();
    tree.quiet(expected_in_log);
    tree.verify();
    tree.audit(&mut exchange)
}

#[test]
fn frames_that_are_lost_late_twice_in_disorder_or_damaged() {
    let mut faults = Vec::new();
    for target in streams() {
        let of = || target.clone();
        faults.extend([
            Fault::Drop { target: of(), count: 3 },
            Fault::Delay { target: of(), count: 2, ms: 150 },
            Fault::Duplicate { target: of(), count: 3 },
            Fault::Corrupt { target: of(), count: 2, how: Corruption::Truncate },
            Fault::Corrupt { target: of(), count: 2, how: Corruption::Flip },
        ]);
    }
    faults.extend([TRADES, BOOK].map(|stream| Fault::Reorder { target: Target::stream(stream), count: 2 }));
    let audit = endures(&faults, &["a frame could not be read", "the book crossed itself"]);
    let trades = audit.series.iter().find(|s| s.series == "btcusdt/trades").unwrap();
    assert!(trades.fetched >= 7 && trades.gaps == 0, "{trades:#?}");
}

#[test]
fn quotes_that_change_places() {
    let _ = endures(&[Fault::Reorder { target: Target::stream(QUOTES), count: 5 }], &[]);
}

#[test]
fn numbers_that_the_exchange_skips() {
    let gap = |channel: &str| Fault::Gap { symbol: "BTC/USDT".to_owned(), channel: channel.to_owned(), count: 3 };
    let audit = endures(&[gap("trades"), gap("book")], &[]);
    let of = |name: &str| audit.series.iter().find(|s| s.series == name).unwrap();
    assert_eq!((of("btcusdt/trades").gaps, of("btcusdt/trades").declared), (1, 3));
    assert_eq!((of("btcusdt/book").gaps, of("ethusdt/book").gaps), (1, 0));
}

/// What the exchange never had lies inside of a hole that is fetched: only that much may stay declared.
#[test]
fn numbers_that_the_exchange_skips_while_nobody_is_connected() {
    let mut exchange = Exchange::busy(300.0, 500.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_live(6);
    exchange.inject(Fault::Down { ms: 1_500 });
    wait_for(PATIENCE, || tree.feeds(), |feeds| feeds.iter().all(|feed| feed.state == "stale"));
    let before = exchange.stats().trades_made;
    wait_for(PATIENCE, || exchange.stats().trades_made, |made| *made > before + 100);
    exchange.inject(Fault::Gap { symbol: "BTC/USDT".to_owned(), channel: "trades".to_owned(), count: 3 });
    let before = exchange.stats().trades_made;
    wait_for(PATIENCE, || exchange.stats().trades_made, |made| *made > before + 100);
    tree.wait_fresh(6);
    tree.drain(&exchange, 3);
    tree.stop();
    tree.audit(&mut exchange);
    assert_eq!(tree.missing_trades(), 3, "declared missing are more than the exchange skipped");
}

#[test]
fn connections_that_end_or_crawl_or_fall_silent() {
    let any = Target::default;
    let faults = [
        Fault::Disconnect { target: any(), how: Disconnection::Clean },
        Fault::Disconnect { target: any(), how: Disconnection::Abrupt },
        Fault::Slow { target: any(), bytes_per_second: 20_000, ms: 1_000 },
        Fault::Silence { target: Target::stream(TRADES), ms: 1_000 },
        Fault::Silence { target: Target::stream(BOOK), ms: 1_000 },
        Fault::StaleSnapshot { symbol: None, count: 3 },
        Fault::Disconnect { target: any(), how: Disconnection::Abrupt },
        Fault::Down { ms: 2_000 },
    ];
    let audit = endures(&faults, &["disconnected from the exchange"]);
    let quotes = audit.series.iter().filter(|s| s.series.ends_with("quotes"));
    for series in quotes {
        assert!(series.gaps >= 4, "four ends of connections, and {series:?}");
    }
    assert!(audit.series.iter().filter(|s| s.series.ends_with("trades")).all(|s| s.gaps == 0 && s.fetched > 0));
}

#[test]
fn requests_that_are_refused_until_a_ban() {
    let faults = [
        Fault::RestLimit { count: 3, ban_ms: Some(2_000) },
        Fault::Disconnect { target: Target::default(), how: Disconnection::Abrupt },
        Fault::Drop { target: Target::stream(TRADES), count: 5 },
    ];
    let audit = endures(&faults, &["disconnected from the exchange", "frozen", "429", "418"]);
    assert!(audit.series.iter().filter(|s| s.series.ends_with("trades")).all(|s| s.gaps == 0));
}

/// Frames and requests meet the simulator's own plan; what befalls connections is drawn here, so that it ends.
#[test]
fn a_mix_by_seed() {
    const SEED: u64 = 4_711;
    let plan = FaultPlan {
        seed: SEED,
        drop: 0.002,
        delay: 0.001,
        duplicate: 0.002,
        reorder: 0.001,
        corrupt: 0.001,
        rest_limit: 0.02,
        stale_snapshot: 0.1,
        ..FaultPlan::default()
    };
    let mut exchange = Exchange::start(SimOptions { faults: plan, ..Exchange::options(300.0, 500.0) });
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_live(6);
    let mut rng = fastrand::Rng::with_seed(SEED);
    let started = Instant::now();
    let mut next = Duration::ZERO;
    let mut count = 0;
    while started.elapsed() < Duration::from_secs(20) {
        if started.elapsed() >= next {
            next += Duration::from_millis(rng.u64(200..2_500));
            count += 1;
            let target = || Target::default();
            let gap =
                |channel: &str, count| Fault::Gap { symbol: "ETH/USDT".to_owned(), channel: channel.to_owned(), count };
            exchange.inject(match rng.u32(0..7) {
                0 => Fault::Disconnect { target: target(), how: Disconnection::Clean },
                1 => Fault::Disconnect { target: target(), how: Disconnection::Abrupt },
                2 => Fault::Down { ms: rng.u64(100..1_500) },
                3 => Fault::Slow { target: target(), bytes_per_second: 20_000, ms: rng.u64(100..1_500) },
                4 => Fault::Silence { target: streams()[rng.usize(0..3)].clone(), ms: rng.u64(100..1_500) },
                5 => gap("trades", rng.u32(1..=5)),
                _ => gap("book", rng.u32(1..=5)),
            });
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    println!("seed {SEED}, {count} faults besides those of frames: {:?}", tree.stats().unwrap());
    tree.wait_fresh(6);
    tree.drain(&exchange, exchange.trades_skipped());
    tree.stop();
    tree.verify();
    let audit = tree.audit(&mut exchange);
    for series in &audit.series {
        println!("{series:?}");
    }
}

#[test]
fn an_exchange_that_is_down_at_the_start_is_waited_for() {
    let listen = free_port();
    let setup = Setup::at(format!("http://{listen}"), format!("ws://{listen}"));
    let mut tree = Tree::start(&setup);
    let collector = tree.collector().unwrap();
    assert_eq!(collector.state.as_str(), "degraded", "{collector:?}");
    assert!(collector.reason.unwrap().contains("waiting for the exchange's markets"));
    let began = Instant::now();
    let mut exchange = Exchange::start(SimOptions { listen, ..Exchange::options(100.0, 100.0) });
    tree.wait_live(6);
    wait_for(PATIENCE, || tree.collector().unwrap(), |c| c.state.as_str() == "ready");
    println!("everything live {:?} after the exchange came", began.elapsed());
    tree.drain(&exchange, 0);
    tree.stop();
    tree.quiet(&["cannot start collecting yet"]);
    tree.audit(&mut exchange);
}

#[test]
fn a_connection_whose_time_is_over_is_replaced_without_a_hole() {
    let limits = Limits { lifetime: Duration::from_secs(13), shutdown_notice: Duration::from_secs(7), ..Limits::default() };
    let mut exchange = Exchange::start(SimOptions { limits, ..Exchange::options(300.0, 500.0) });
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_live(6);
    let began = Instant::now();
    wait_for(PATIENCE, || exchange.stats().connections, |connections| *connections == 2);
    println!("announced and connected again after {:?}", began.elapsed());
    wait_for(PATIENCE, || exchange.stats(), |stats| stats.connections == 1);
    println!("the old one went after {:?}", began.elapsed());
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    tree.quiet(&[]);
    let audit = tree.audit(&mut exchange);
    assert!(audit.series.iter().all(|s| s.gaps + s.repaired + s.fetched == 0), "{:#?}", audit.series);
}
