//! Candles that come live, of all exchanges, through a kill of each: what is in the files is what the exchange's own history says.

use std::collections::BTreeMap;
use std::path::Path;

use dccd_rpc::datad::FeedInfo;
use dccd_sim::deep::DeepOptions;
use dccd_sim::{BitfinexOptions, MarketOptions, SimOptions};
use dccd_store::{CandleSeriesId, candle_coverage};
use dccd_testkit::wait_for;
use dccd_tests::{Exchange, Place, Tree, past};

use super::silence::PATIENCE;

/// Each with its markets; candles of the last four are built from trades, and with numbers of trades that count what was missed is
/// fetched.
const EXCHANGES: [(&str, &[&str]); 8] = [
    ("binance", &["BTC/USDT", "BTC/USDT:USDT"]),
    ("bybit", &["BTC/USDT", "BTC/USDT:USDT"]),
    ("okx", &["BTC/USDT", "BTC/USDT:USDT"]),
    ("bitfinex", &["BTC/USD"]),
    ("coinbase", &["BTC/USD"]),
    ("deribit", &["BTC/USD:BTC"]),
    ("kraken", &["BTC/USD", "ETH/USD"]),
    ("kucoin", &["BTC/USDT"]),
];
/// The exchanges that send closed candles.
const SENT: [&str; 3] = ["binance", "bybit", "okx"];
/// Minutes after the kill that are waited for.
const MINUTES: i64 = 1;

fn exchange(name: &str, symbols: &[&str]) -> Exchange {
    let options = Exchange::options(20.0, 5.0);
    let symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    // Amounts are compared to the last digit.
    let bitfinex = BitfinexOptions { limits: false, dust: false, ..BitfinexOptions::default() };
    let market = MarketOptions { symbols, ..options.market };
    // A short past, so that its beginning is soon found.
    let deep = DeepOptions { listed_ns: past::now().0 - past::DAY, trades_per_hour: 60, ..DeepOptions::default() };
    let deep = (name != "binance").then_some(deep);
    Exchange::start(SimOptions { exchange: name.to_owned(), market, deep, bitfinex, ..options })
}

fn addresses(exchange: &Exchange) -> String {
    let (name, rest, ws) = (exchange.name(), exchange.rest_url(), exchange.ws_url());
    let linear = if name == "binance" { format!(", linear: {{rest_url: '{rest}', ws_url: '{ws}'}}") } else { String::new() };
    format!("  {name}: {{rest_url: '{rest}', ws_url: '{ws}'{linear}, rest_weight_per_minute: 1000000}}\n")
}

fn quoted(symbols: &[&str]) -> String {
    symbols.iter().map(|symbol| format!("'{symbol}'")).collect::<Vec<_>>().join(", ")
}

/// A minute, and its open, high, low, close and volume.
type Row = (i64, [f64; 5]);

/// Open, high, low, close, volume by the open time, as they stand in the files of a series.
fn rows(place: &Place, series: &str) -> BTreeMap<i64, [f64; 5]> {
    let ran = place.run(&["export", series, "--format", "jsonl"]).code(0);
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let numbers = ["open", "high", "low", "close", "volume"].map(|key| row[key].as_f64().unwrap());
        (row["TS"].as_i64().unwrap() / 60_000_000_000, numbers)
    };
    ran.out.lines().map(row).collect()
}

fn series() -> Vec<String> {
    EXCHANGES.iter().flat_map(|(name, symbols)| symbols.iter().map(move |symbol| format!("{name}/{symbol}/1m"))).collect()
}

/// The newest stored minute of each series that is there without a hole.
fn newest(data_path: &Path, series: &[String]) -> BTreeMap<String, i64> {
    let last = |name: &String| {
        let id = CandleSeriesId::of(&name.parse().unwrap()).unwrap();
        let covered: Vec<_> = candle_coverage(data_path, &id).unwrap().covered.iter().collect();
        let [(_, to)] = covered[..] else { return None };
        Some((name.clone(), to.0 / 60_000_000_000 - 1))
    };
    series.iter().filter_map(last).collect()
}

/// Whether candles are the same, to the last digit; but for volumes of inverse contracts, whose trades tell them in dollars.
fn are_same(live: &[Row], truth: &[Row], is_inverse: bool) -> bool {
    // The exchange rounds each of some thousand trades to a hundred-millionth before it adds them up.
    let slack = if is_inverse { 1e-4 } else { 0.0 };
    let is_same =
        |((a, live), (b, truth)): (&Row, &Row)| a == b && live[..4] == truth[..4] && (live[4] - truth[4]).abs() <= slack;
    live.len() == truth.len() && live.iter().zip(truth).all(is_same)
}

/// Waits until trades of so many markets come; candles come when the first minute is over.
fn wait_trading(tree: &Tree, markets: usize) {
    let trading = |feeds: &Vec<FeedInfo>| feeds.iter().filter(|feed| feed.channel == "trades" && feed.last_recv > 0).count();
    wait_for(PATIENCE, || tree.feeds(), |feeds| trading(feeds) == markets);
}

#[test]
fn live_candles_are_those_of_the_exchanges_history_whatever_was_killed() {
    let exchanges: Vec<Exchange> = EXCHANGES.iter().map(|(name, symbols)| exchange(name, symbols)).collect();
    let place = Place::new();
    let data_path = place.path().join("data");
    let list = |line: &dyn Fn(&str, &[&str]) -> String| {
        EXCHANGES.iter().map(|(name, symbols)| line(name, symbols)).collect::<String>()
    };
    let at: String = exchanges.iter().map(addresses).collect();
    let jobs = list(&|name, symbols| {
        format!("  - {{exchange: {name}, pairs: [{}], channels: [trades, ohlc], time_step: 1}}\n", quoted(symbols))
    });
    let text = format!(
        "settings: {{data_path: '{}', timezone: UTC}}\nstream_jobs:\n{jobs}exchanges:\n{at}\
         daemon: {{restart: {{max_restarts: 1000, window: 600, base_delay: 0, max_delay: 1}}}}\n",
        data_path.display(),
    );
    let mut tree = Tree::start_with(place, data_path.clone(), &text, "binance");
    let mut pids = Vec::new();
    for (name, symbols) in EXCHANGES {
        tree.look_at(name);
        pids.push(tree.wait_ready(None));
        wait_trading(&tree, symbols.len());
    }
    let all = series();
    let stored = wait_for(PATIENCE, || newest(&data_path, &all), |newest| all.iter().all(|name| newest.contains_key(name)));
    for ((name, symbols), pid) in EXCHANGES.iter().zip(pids) {
        tree.look_at(name);
        tree.kill(pid);
        tree.wait_ready(Some(pid));
        wait_trading(&tree, symbols.len());
    }
    let killed = stored.values().copied().max().unwrap();
    let is_later =
        |newest: &BTreeMap<String, i64>| all.iter().all(|name| newest.get(name).is_some_and(|at| *at > killed + MINUTES));
    wait_for(PATIENCE, || newest(&data_path, &all), is_later);
    for (name, _) in EXCHANGES {
        tree.look_at(name);
        let feeds = tree.feeds();
        let compared: Vec<_> = feeds.iter().filter(|feed| feed.channel == "ohlc").map(|feed| feed.compared).collect();
        let is_right = |compared: &Option<(u64, u64)>| match compared {
            Some((agreed, differed)) => SENT.contains(&name) && *agreed > 0 && *differed == 0,
            None => !SENT.contains(&name),
        };
        assert!(compared.iter().all(is_right), "{name}: {compared:?}");
    }
    tree.stop();
    tree.verify();
    let truth = Place::new();
    let live: Vec<_> = all.iter().map(|name| rows(tree.place(), name)).collect();
    let first = live.iter().filter_map(|rows| rows.keys().next()).min().unwrap();
    let start = jiff::Timestamp::from_second(first * 60).unwrap();
    let jobs = list(&|name, symbols| {
        format!("  - {{exchange: {name}, pairs: [{}], span: 60, start: '{start}'}}\n", quoted(symbols))
    });
    truth.put(
        "config.yml",
        &format!("settings: {{data_path: '{}'}}\nhisto_jobs:\n{jobs}exchanges:\n{at}", truth.path().join("data").display()),
    );
    let _ = truth.run(&["backfill", "--parallel"]).code(0);
    for (name, live) in all.iter().zip(live) {
        let truth = rows(&truth, name);
        let (first, last) = (*live.keys().next().unwrap(), *live.keys().last().unwrap());
        // The last one may come later over REST: it isn't believed before there is one after it.
        let whole = |rows: &BTreeMap<i64, [f64; 5]>| {
            rows.range(first..last).map(|(minute, row)| (*minute, *row)).collect::<Vec<_>>()
        };
        assert!(
            are_same(&whole(&live), &whole(&truth), name.contains(":BTC")),
            "{name}: {:?} {:?}",
            whole(&live),
            whole(&truth)
        );
        assert!(last - first >= MINUTES, "{name}: {first} to {last}");
        println!("{name}: {} candles, all of the exchange's own history", live.len());
    }
}
