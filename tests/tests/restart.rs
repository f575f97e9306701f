//! What a restart must not cost: readers stay attached, and an exchange that doesn't answer keeps nobody from getting ready.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use dccd_ring::{Reader, Waited};
use dccd_testkit::wait_for;
use dccd_tests::{Exchange, Setup, Tree};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn readers_stay_attached_over_an_ordered_restart() {
    let mut exchange = Exchange::busy(100.0, 100.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    let feeds = tree.wait_live(6);
    let feed = feeds.iter().find(|f| f.channel == "trades").unwrap();
    let mut reader = Reader::open(&feed.ring).unwrap();
    let (generation, cursor) = (reader.generation(), reader.cursor());
    let old = tree.collector().and_then(|s| s.pid);
    let _ = tree.run(&["restart", "datad.binance"]).code(0);
    tree.wait_ready(old);
    let mut last = 0;
    wait_for(
        PATIENCE,
        || {
            if let Waited::Record { sequence, .. } = reader.wait_next::<7>(Duration::from_millis(100)) {
                last = sequence;
            }
            (reader.generation(), last)
        },
        |(now, last)| *now == generation + 1 && *last > cursor,
    );
    tree.stop();
    exchange.stop();
    assert_eq!(tree.place().rings(), Vec::<String>::new(), "a stopped instance leaves no rings");
}

#[test]
fn the_root_is_replaced_under_its_services() {
    let mut exchange = Exchange::busy(100.0, 100.0);
    let setup = Setup::new(&exchange);
    let mut tree = Tree::start(&setup);
    let feeds = tree.wait_live(6);
    let reader = Reader::open(&feeds[0].ring).unwrap();
    let generation = reader.generation();
    let pid = tree.collector().and_then(|s| s.pid).unwrap();
    let root = tree.services().unwrap()[0].clone();
    for _ in 0..2 {
        let ran = tree.run(&["restart", "dccd-root"]).code(0);
        assert!(ran.err.contains(&format!("datad.binance goes on (pid {pid})")), "{}", ran.err);
    }
    let services = tree.services().unwrap();
    // The same process, as a service manager or a terminal looks after it, and all the same another root.
    assert_eq!((services[0].pid, services[1].pid, services[1].restarts), (root.pid, Some(pid), 0));
    assert!(services[0].uptime_s < services[1].uptime_s, "{services:#?}");
    assert_eq!(Reader::open(&feeds[0].ring).unwrap().generation(), generation);
    // A configuration that is wrong is found before anything happens.
    tree.place().put("config.yml", "stream_jobs: [");
    let _ = tree.run(&["restart", "dccd-root"]).code(1);
    assert_eq!(tree.collector().and_then(|s| s.pid), Some(pid));
    // One that says something else of a service replaces its process.
    tree.place().put("config.yml", &Setup { time_step: 2, ..setup }.text(tree.data_path()));
    let ran = tree.run(&["restart", "dccd-root"]).code(0);
    assert!(ran.err.contains(&format!("datad.binance was replaced (pid {pid}, now ")), "{}", ran.err);
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    tree.audit(&mut exchange);
    tree.verify();
}

#[test]
fn an_exchange_that_accepts_and_says_nothing_keeps_nobody_waiting() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let mut tree = Tree::start(&Setup::at(format!("http://{address}"), format!("ws://{address}")));
    let service = wait_for(PATIENCE, || tree.collector(), |s| s.as_ref().is_some_and(|s| s.reason.is_some())).unwrap();
    assert_eq!((service.state.as_str(), service.restarts), ("degraded", 0), "{service:?}");
    let reason = service.reason.unwrap();
    assert!(reason.contains("waiting for the exchange's markets"), "{reason}");
    tree.stop();
}

#[test]
fn a_store_whose_state_was_removed_takes_rows_again() {
    let mut exchange = Exchange::busy(200.0, 200.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    let rows = |tree: &Tree| {
        let listing = tree.run(&["inventory", "--json"]).code(0).json();
        let trades = listing.as_array().unwrap().iter().filter(|row| row["type"] == "trades");
        trades.map(|row| row["rows"].as_u64().unwrap()).sum::<u64>()
    };
    let record = |tree: &mut Tree| {
        tree.wait_live(6);
        wait_for(PATIENCE, || tree.stats().map_or(0, |s| s.records), |records| *records > 2_000);
        tree.stop();
    };
    record(&mut tree);
    let before = rows(&tree);
    std::fs::remove_dir_all(tree.data_path().join(".dccd")).unwrap();
    tree.start_root();
    record(&mut tree);
    let after = rows(&tree);
    assert!(before > 50 && after > before + 50, "{before} trades before, {after} after");
    // Again, and what was missed this time is fetched, too.
    std::fs::remove_dir_all(tree.data_path().join(".dccd")).unwrap();
    tree.start_root();
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    tree.audit(&mut exchange);
    tree.verify();
}
