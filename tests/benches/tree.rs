//! Thirty-two collectors, four instances of the eight exchanges each, against simulated exchanges: `cargo xtask bench tree`.
//!
//! From the start of the four roots until all are ready, from a `kill -9` of one until it is ready again, and how long `dccd services`
//! and `dccd status` take, as processes. (What one root with thirty services costs is measured by `cargo xtask bench root`: there are
//! but eight exchanges.) Timings are printed, never asserted.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]

use std::time::{Duration, Instant};

use dccd_sim::{MarketOptions, SimOptions};
use dccd_testkit::wait_for;
use dccd_tests::{Exchange, PATIENCE, Place, Tree};

const INSTANCES: usize = 4;
const EXCHANGES: [(&str, &str); 8] = [
    ("binance", "BTC/USDT"),
    ("bitfinex", "BTC/USD"),
    ("bybit", "BTC/USDT"),
    ("coinbase", "BTC/USD"),
    ("deribit", "BTC/USD:BTC"),
    ("kraken", "BTC/USD"),
    ("kucoin", "BTC/USDT"),
    ("okx", "BTC/USDT"),
];
const COMMANDS: usize = 20;

/// Smallest, median and largest, in milliseconds.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    format!("{:.0} / {:.0} / {:.0} ms (min, median, max of {})", ms(least), ms(median), ms(most), times.len())
}

fn config(exchanges: &[Exchange], data_path: &std::path::Path) -> String {
    let job = |exchange: &Exchange| {
        let (name, pairs) = (exchange.name(), exchange.symbols().join(", "));
        format!("  - {{exchange: {name}, pairs: [{pairs}], channels: [trades, book, quotes]}}\n")
    };
    let addresses = |exchange: &Exchange| {
        let (name, rest, ws) = (exchange.name(), exchange.rest_url(), exchange.ws_url());
        format!("  {name}: {{rest_url: '{rest}', ws_url: '{ws}', ring_slots: 4096}}\n")
    };
    format!(
        "settings: {{data_path: '{}', timezone: UTC}}\nstream_jobs:\n{}exchanges:\n{}",
        data_path.display(),
        exchanges.iter().map(job).collect::<String>(),
        exchanges.iter().map(addresses).collect::<String>(),
    )
}

fn main() {
    let mut exchanges: Vec<Exchange> = EXCHANGES
        .iter()
        .map(|(name, symbol)| {
            let options = Exchange::options(2.0, 5.0);
            let market = MarketOptions { symbols: vec![(*symbol).to_owned()], ..options.market };
            Exchange::start(SimOptions { exchange: (*name).to_owned(), market, ..options })
        })
        .collect();
    let begun = Instant::now();
    let starting: Vec<_> = (0..INSTANCES)
        .map(|_| {
            let place = Place::new();
            let data_path = place.path().join("data");
            let text = config(&exchanges, &data_path);
            std::thread::spawn(move || {
                let mut tree = Tree::start_with(place, data_path, &text, EXCHANGES[0].0);
                for (name, _) in EXCHANGES {
                    tree.look_at(name);
                    tree.wait_ready(None);
                }
                tree
            })
        })
        .collect();
    let mut trees: Vec<Tree> = starting.into_iter().map(|tree| tree.join().expect("it starts")).collect();
    println!(
        "start of {INSTANCES} roots to {} collectors ready: {:.0} ms",
        INSTANCES * 8,
        begun.elapsed().as_secs_f64() * 1e3
    );
    // Degraded is ready for those who call; this is when nothing is amiss any more.
    let sound = |trees: &[Tree]| {
        let all = trees.iter().filter_map(Tree::services).flatten();
        all.filter(|service| service.state.as_str() == "ready").count()
    };
    wait_for(PATIENCE, || sound(&trees), |count| *count == INSTANCES * 9);
    println!("and to all of them connected and sound: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);

    for (command, args) in
        [("services", &["services"][..]), ("status", &["status"]), ("services --json", &["services", "--json"])]
    {
        let once = |_| {
            let begun = Instant::now();
            let _ = trees[0].run(args).code(0);
            begun.elapsed()
        };
        println!("dccd {command}, the whole process: {}", spread((0..COMMANDS).map(once).collect()));
    }
    let mut crashes = Vec::new();
    for tree in &mut trees {
        for (name, _) in EXCHANGES {
            tree.look_at(name);
            let pid = tree.wait_ready(None);
            let begun = Instant::now();
            tree.kill(pid);
            tree.wait_ready(Some(pid));
            crashes.push(begun.elapsed());
        }
    }
    println!("crash of a collector to ready again: {}", spread(crashes));
    for tree in &mut trees {
        tree.stop();
    }
    exchanges.iter_mut().for_each(Exchange::stop);
}
