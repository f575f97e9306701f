//! Trades as fast as a datad takes them, from the socket to ring and journal, and into the store.

use std::time::Duration;

use dccd_sim::LedgerMode;
use dccd_tests::{Exchange, Tree};

use crate::usage::{LOOK, Usage, let_pass, mib};
use crate::venue::Venue;

pub(crate) fn run(venue: &Venue, time: Duration) {
    let mut options = venue.options(venue.pair());
    options.ledger_mode = LedgerMode::Compact;
    options.market.blast = true;
    options.market.trades_per_second = 1.0;
    options.market.book_updates_per_second = 0.0;
    let mut exchange = Exchange::start(options);
    let mut setup = venue.setup(&exchange);
    setup.channels = vec!["trades".to_owned()];
    let mut tree = Tree::start(&setup);
    let pid = tree.collector().and_then(|s| s.pid).expect("it runs");
    tree.wait_fresh(2);
    let_pass(Duration::from_secs(2));
    let (before, counted) = (Usage::of(pid), tree.stats().expect("it answers"));
    let mut most_private = 0;
    for _ in 0..time.as_millis() / LOOK.as_millis() {
        let_pass(LOOK);
        most_private = Usage::of(pid).private_kib.max(most_private);
    }
    let (after, stats) = (Usage::of(pid), tree.stats().expect("it answers"));
    let per_second = |count: u64| count as f64 / after.since(&before);
    let trades = per_second(stats.records - counted.records);
    println!(
        "  {:13} {trades:.0} trades/s in {:.0} messages/s over {:.0} s; {:.0} % of a core for all threads: {:.0} trades a second of processor time",
        venue.name,
        per_second(stats.frames - counted.frames),
        after.since(&before),
        after.cpu_percent(&before),
        100.0 * trades / after.cpu_percent(&before),
    );
    println!(
        "    memory apart from rings: {:.1} MiB before, {:.1} MiB after, {:.1} MiB at most",
        mib(before.private_kib),
        mib(after.private_kib),
        mib(most_private)
    );
    exchange.pause();
    tree.settle(venue.lost());
    let last = tree.stats().expect("it answers");
    let sent = exchange.stats();
    tree.stop();
    exchange.stop();
    let inventory = dccd_store::inventory(tree.data_path()).expect("it can be read");
    let sum = |of: fn(&dccd_store::InventoryRow) -> u64| inventory.iter().map(of).sum::<u64>();
    let (rows, gaps) = (sum(|row| row.rows), sum(|row| row.gaps));
    println!("    stored {rows} trades, {gaps} gaps, {:.2} bytes a row with ts_recv", sum(|r| r.bytes) as f64 / rows as f64);
    assert_eq!(
        (last.frames, last.connects),
        (sent.frames_sent, sent.connections_opened.into()),
        "frames or connections were lost"
    );
    assert_eq!((rows, gaps), (last.records, 0), "trades are missing, or stored twice");
}
