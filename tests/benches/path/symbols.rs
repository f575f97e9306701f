//! Many markets on one datad: what 200 of them cost, with trades, book and quotes of each.

use std::time::{Duration, Instant};

use dccd_tests::{Exchange, Tree};

use crate::latency::Quantiles;
use crate::usage::{Usage, mib, threads};
use crate::venue::{CHANNELS, MESSAGES_PER_SECOND, PATIENCE, Venue};

/// Markets.
const SYMBOLS: usize = 200;

pub(crate) fn run(venue: &Venue, time: Duration) {
    let mut options = venue.options(venue.symbols(SYMBOLS));
    options.market.trades_per_second = 0.2 * MESSAGES_PER_SECOND;
    options.market.book_updates_per_second = 0.8 * MESSAGES_PER_SECOND;
    let mut exchange = Exchange::start(options);
    let mut setup = venue.setup(&exchange);
    // As a user has it who says nothing: this is what a commit of all series is weighed against.
    setup.time_step = 60;
    let began = Instant::now();
    let tree = Tree::start(&setup);
    let pid = tree.collector().and_then(|s| s.pid).expect("it runs");
    tree.wait_live_for(SYMBOLS * CHANNELS.len(), PATIENCE);
    let live_after = began.elapsed();
    venue.settle_pace(&exchange, &tree);
    let (before, counted, busy) = (Usage::of(pid), tree.stats().expect("it answers"), threads(pid));
    let mut most = before;
    let quantiles = Quantiles::watch(&tree, time, || {
        let now = Usage::of(pid);
        if now.private_kib > most.private_kib {
            most = now;
        }
    });
    let (after, stats) = (Usage::of(pid), tree.stats().expect("it answers"));
    let per_second = |count: u64| count as f64 / after.since(&before);
    println!(
        "  {:13} {} feeds, all live after {:.1} s; {:.0} messages/s, {:.0} records/s over {:.0} s",
        venue.name,
        SYMBOLS * CHANNELS.len(),
        live_after.as_secs_f64(),
        per_second(stats.frames - counted.frames),
        per_second(stats.records - counted.records),
        after.since(&before),
    );
    println!(
        "    memory apart from rings: {:.1} MiB at the end, {:.1} MiB at most ({:.1} its own, the rest mapped files); rings {:.0} MiB",
        mib(after.private_kib),
        mib(most.private_kib),
        mib(most.anon_kib),
        mib(after.rss_kib - after.private_kib),
    );
    println!("    {:.1} % of a core; frame to ring {quantiles}", after.cpu_percent(&before));
    let mut parts: Vec<(f64, String)> = Vec::new();
    for (name, time) in threads(pid) {
        let earlier = busy.iter().find(|(known, _)| *known == name).map_or(Duration::ZERO, |(_, time)| *time);
        parts.push((100.0 * time.saturating_sub(earlier).as_secs_f64() / after.since(&before), name));
    }
    parts.sort_by(|a, b| b.0.total_cmp(&a.0));
    let parts: Vec<String> = parts.iter().filter(|(p, _)| *p >= 0.1).map(|(p, name)| format!("{name} {p:.1}")).collect();
    println!("    by thread, % of a core: {}", parts.join(", "));
    venue.end(tree, &mut exchange);
}
