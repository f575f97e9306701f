//! Frame complete in user space → record visible in the ring, of two markets' trades at 10,000 messages a second.

use std::time::Duration;

use dccd_tests::Tree;

use crate::usage::{LOOK, Usage, let_pass};
use crate::venue::{MESSAGES_PER_SECOND, Venue};

/// Measures with evenly spaced messages, and with bursts.
pub(crate) fn run(venue: &Venue, time: Duration) {
    for (pace, even) in [("evenly spaced", true), ("in bursts, one a millisecond", false)] {
        at(venue, time, pace, even);
    }
}

fn at(venue: &Venue, time: Duration, pace: &str, even: bool) {
    let symbols = venue.pair();
    let channels = venue.fast_channels();
    let mut options = venue.options(symbols);
    options.market.even = even;
    // Few while it subscribes: of trades from before that an exchange may tell some after it.
    let few = MESSAGES_PER_SECOND / 100.0;
    (options.market.trades_per_second, options.market.book_updates_per_second) = venue.rates(few);
    let mut exchange = dccd_tests::Exchange::start(options);
    let mut setup = venue.setup(&exchange);
    setup.channels = channels.iter().map(|channel| (*channel).to_owned()).collect();
    let tree = Tree::start(&setup);
    let pid = tree.collector().and_then(|s| s.pid).expect("it runs");
    tree.wait_fresh(2 * channels.len());
    venue.settle_pace(&exchange, &tree);
    let (before, frames_before) = (Usage::of(pid), tree.stats().expect("it answers").frames);
    let quantiles = Quantiles::watch(&tree, time, || {});
    let (after, frames) = (Usage::of(pid), tree.stats().expect("it answers").frames - frames_before);
    println!(
        "  {:13} {:6.0} messages/s {pace}: frame to ring {quantiles}; {:.1} % of a core",
        venue.name,
        frames as f64 / after.since(&before),
        after.cpu_percent(&before),
    );
    venue.end(tree, &mut exchange);
}

/// Quantiles of one-second windows.
pub(crate) struct Quantiles {
    p50: Vec<u64>,
    p99: Vec<u64>,
}

impl Quantiles {
    /// Those of a datad's windows during this time; `each` is called with each look.
    pub(crate) fn watch(tree: &Tree, time: Duration, mut each: impl FnMut()) -> Self {
        let mut seen = Self { p50: Vec::new(), p99: Vec::new() };
        for _ in 0..time.as_millis() / LOOK.as_millis() {
            let_pass(LOOK);
            seen.look(tree);
            each();
        }
        seen
    }

    fn look(&mut self, tree: &Tree) {
        let stats = tree.stats().expect("it answers");
        self.p50.push(stats.frame_to_ring_p50);
        self.p99.push(stats.frame_to_ring_p99);
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sorted = |values: &[u64]| {
            let mut values = values.to_vec();
            values.sort_unstable();
            values
        };
        let (p50, p99) = (sorted(&self.p50), sorted(&self.p99));
        let micros = |values: &[u64], at: usize| values.get(at).map_or(0.0, |ns| *ns as f64 / 1000.0);
        write!(
            f,
            "p50 {:.1} µs, p99 {:.1} µs (medians of one-second windows; best p50 {:.1}, worst p99 {:.1})",
            micros(&p50, p50.len() / 2),
            micros(&p99, p99.len() / 2),
            micros(&p50, 0),
            micros(&p99, p99.len().saturating_sub(1)),
        )
    }
}
