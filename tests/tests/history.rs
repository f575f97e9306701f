//! The past, end to end: the real commands against simulated exchanges with outages, halts, quiet minutes and faults; killed,
//! punched and resumed; held against the truth row by row.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dccd_sim::{Fault, FaultPlan, LedgerReader, LedgerRecord, RestFault, SimOptions};
use dccd_testkit::wait_for;
use dccd_tests::past::{self, DAY, Past, kill_after};
use dccd_tests::{PATIENCE, Place};

/// Moments drawn from it: a failure can be looked at again.
const SEED: u64 = 20_261_127;
const KILLS: usize = 10;

/// Every kind of fault of the REST side, now and then.
fn faulty(options: SimOptions) -> SimOptions {
    let faults: FaultPlan = "seed=5,rest=0.05".parse().unwrap();
    SimOptions { faults, ..options }
}

/// Kills the backfill at random moments until it was killed often enough or is through, then lets it end.
fn backfill_through_kills(place: &Place) {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut kills = 0;
    while kills < KILLS && kill_after(place, &["backfill"], Duration::from_millis(random.u64(20..120))) {
        kills += 1;
    }
    println!("killed {kills} times, seed {SEED}");
    assert!(kills == KILLS, "the backfill was through before it could be killed");
    let _ = place.run(&["backfill"]).code(0);
}

/// How often each page of candles was asked for and answered well.
fn answered(ledger: &Path) -> HashMap<String, usize> {
    let mut pages: HashMap<String, usize> = HashMap::new();
    for record in LedgerReader::open(ledger).unwrap() {
        if let LedgerRecord::Rest { target, status: 200, fault: None, .. } = record.unwrap()
            && target.contains("klines")
        {
            *pages.entry(target).or_default() += 1;
        }
    }
    pages
}

/// Takes rows here and there out of the year files of a series.
fn punch_rows(folder: &Path, keeps: bool) {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut gone = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        // Now and then one, and now and then a stretch.
        let mut stretch = 0;
        gone += past::punch(&file.unwrap().path(), keeps, || {
            stretch = if stretch > 0 {
                stretch - 1
            } else if random.u32(..500) == 0 {
                random.u32(1..80)
            } else {
                0
            };
            stretch > 0
        });
    }
    println!("{gone} rows taken out of {}", folder.display());
    assert!(gone > 50, "{gone} rows are no test");
}

#[test]
fn a_past_with_outages_is_stored_row_by_row_whatever_is_killed_faulty_and_punched() {
    let symbols = ["BTC/USDT", "ETH/USDT"];
    let past = Past::start(faulty(past::options("binance", &symbols, 120, 60)));
    let place = Place::new();
    place.put("config.yml", &past.config(&[("BTC/USDT", 60), ("ETH/USDT", 60), ("BTC/USDT", 3_600)], ""));
    let data = place.path().join("data");
    backfill_through_kills(&place);
    let series = [("BTC/USDT", "1m"), ("ETH/USDT", "1m"), ("BTC/USDT", "1h")];
    for (symbol, span) in series {
        let rows = past.compare(&data, symbol, span, false);
        println!("{symbol} {span}: {rows} rows");
    }
    let _ = place.run(&["verify"]).code(0);

    // Holes: a whole file of one series, half of the rows of another.
    let punched = data.join("binance/ohlc/BTC-USDT/1m");
    for file in std::fs::read_dir(&punched).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    punch_rows(&data.join("binance/ohlc/ETH-USDT/1m"), true);
    let _ = place.run(&["backfill"]).code(0);
    for (symbol, span) in series {
        past.compare(&data, symbol, span, false);
    }
    let inventory = place.run(&["inventory", "--json"]).code(0).json();
    for row in inventory.as_array().unwrap() {
        assert_eq!(row["missing"], row["declared"], "{row}");
    }
    let _ = place.run(&["verify"]).code(0);
}

/// An exchange whose candles come late has not said that they don't exist.
#[test]
fn candles_that_come_late_are_asked_for_again() {
    let mut options = past::options("binance", &["BTC/USDT"], 3, 60);
    options.deep.as_mut().unwrap().late_s = 90;
    let past = Past::start(options);
    let place = Place::new();
    place.put("config.yml", &past.config(&[("BTC/USDT", 60)], ""));
    let data = place.path().join("data");
    for _ in 0..2 {
        let _ = place.run(&["backfill"]).code(0);
        past.compare(&data, "BTC/USDT", "1m", false);
        let coverage = dccd_store::candle_coverage(&data, &past.series("BTC/USDT", "1m")).unwrap();
        let last = coverage.last.unwrap();
        assert!(past::now().0 - last.0 > 2 * past::MINUTE, "nothing was late: {last}");
        assert!(!coverage.covered.contains(dccd_model::UnixNanos(last.0 + past::MINUTE)), "{coverage:?}");
    }
}

#[test]
fn a_file_that_is_damaged_is_fetched_again_by_the_run_that_finds_it() {
    let past = Past::start(past::options("binance", &["BTC/USDT"], 400, 60));
    let place = Place::new();
    place.put("config.yml", &past.config(&[("BTC/USDT", 60)], ""));
    let data = place.path().join("data");
    let _ = place.run(&["backfill", "--end", &dccd_model::time::day_label(past::now().day() - 1)]).code(0);
    // The rows of the year that is written to next.
    let id = past.series("BTC/USDT", "1m");
    let last = dccd_store::candle_coverage(&data, &id).unwrap().last.unwrap();
    let file = data.join(format!("binance/ohlc/BTC-USDT/1m/{}.parquet", dccd_model::grid::year_of(last)));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let ran = place.run(&["backfill"]).code(0);
    assert!(ran.err.contains("set aside"), "{}", ran.err);
    past.compare(&data, "BTC/USDT", "1m", false);
    let _ = place.run(&["verify"]).code(0);
}

#[test]
fn nothing_that_is_known_is_asked_for_again() {
    let past = Past::start(past::options("binance", &["BTC/USDT"], 400, 60));
    let place = Place::new();
    place.put("config.yml", &past.config(&[("BTC/USDT", 60)], ""));
    backfill_through_kills(&place);
    let first = answered(&past.exchange.ledger());
    let _ = place.run(&["backfill"]).code(0);
    past.compare(&place.path().join("data"), "BTC/USDT", "1m", false);
    let again = answered(&past.exchange.ledger());
    let new: Vec<&String> = again.keys().filter(|page| !first.contains_key(*page)).collect();
    assert!(new.len() <= 1, "a complete series costs its newest window: {new:?}");
    // A page that lacks candles is asked for twice before that is believed; those under way at a kill once more, which are four pages
    // and what was read of them but not landed, and the market's first candle.
    let repeated: usize = again.iter().map(|(page, asked)| asked - needed(&past, page).min(*asked)).sum();
    println!("{} pages, {repeated} requests more than each needed, {KILLS} kills", again.len());
    assert!(repeated <= KILLS * 6, "{repeated} requests were repeated");
}

/// How often a page of minutes has to be asked for: one that lacks candles twice, and one that can't be told by its numbers, too.
fn needed(past: &Past, page: &str) -> usize {
    let number = |key: &str| -> Option<i64> { page.split(['?', '&']).find_map(|part| part.strip_prefix(key))?.parse().ok() };
    let (Some(from), Some(to)) = (number("startTime="), number("endTime=")) else { return 2 };
    let (from, to) = (from * 1_000_000, to * 1_000_000);
    let there = past.truth.candles("BTC/USDT", 60, from, to + 1).count();
    if i64::try_from(there).unwrap() == (to - from) / past::MINUTE + 1 { 1 } else { 2 }
}

#[test]
fn candles_of_kraken_are_built_from_trades_where_its_own_do_not_reach() {
    let past = Past::start(faulty(past::options("kraken", &["BTC/USD"], 3, 200)));
    let place = Place::new();
    let fast = ", rest_weight_per_minute: 1000000";
    place.put("config.yml", &past.config(&[("BTC/USD", 60), ("BTC/USD", 300), ("BTC/USD", 3_600)], fast));
    let data = place.path().join("data");
    backfill_through_kills(&place);
    for span in ["1m", "5m", "1h"] {
        let rows = past.compare(&data, "BTC/USD", span, true);
        println!("BTC/USD {span}: {rows} rows");
    }
    std::fs::remove_dir_all(data.join("kraken/ohlc/BTC-USD/5m")).unwrap();
    punch_rows(&data.join("kraken/ohlc/BTC-USD/1m"), false);
    let _ = place.run(&["backfill"]).code(0);
    past.compare(&data, "BTC/USD", "5m", true);
    past.compare(&data, "BTC/USD", "1m", true);
    let _ = place.run(&["verify"]).code(0);
}

/// Each kind of fault of the REST side once, between good answers.
fn backfill_with_faults(past: &Past, place: &Place) {
    let mut child = place.command(&["backfill"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let kinds = [
        RestFault::Empty,
        RestFault::Omit,
        RestFault::Duplicate,
        RestFault::Reorder,
        RestFault::Outside,
        RestFault::Truncate,
        RestFault::Error,
        RestFault::Reset,
        RestFault::Delay,
    ];
    for (number, what) in (1..).zip(kinds) {
        let asked = || (past.exchange.stats().rest_requests, child.try_wait().unwrap().is_some());
        wait_for(PATIENCE, asked, |(asked, has_ended)| *asked > 2 * number || *has_ended);
        past.exchange.inject(Fault::Rest { what, count: 1 });
    }
    assert!(child.wait().unwrap().success());
    let records = LedgerReader::open(&past.exchange.ledger()).unwrap().map(Result::unwrap);
    let spoiled = records.filter(|record| matches!(record, LedgerRecord::Rest { fault: Some(_), .. })).count();
    println!("{spoiled} answers were spoiled");
    assert!(spoiled > 3, "{spoiled} faults are no test");
}

/// Candles in which nothing was traded are left out: what an outage and what a lost page leave behind look the same, and only the
/// truth can tell.
fn a_past_without_empty_candles_is_stored_row_by_row(exchange: &str, symbols: [&str; 2], days: i64) {
    let past = Past::start(past::options(exchange, &symbols, days, 60));
    let place = Place::new();
    let [first, second] = symbols;
    place.put("config.yml", &past.config(&[(first, 60), (second, 300), (first, 3_600)], ""));
    let data = place.path().join("data");
    let compare = || {
        for (symbol, span) in [(first, "1m"), (second, "5m"), (first, "1h")] {
            let rows = past.compare(&data, symbol, span, false);
            println!("{exchange} {symbol} {span}: {rows} rows");
        }
    };
    backfill_with_faults(&past, &place);
    compare();
    // A series that is gone is no series that the exchange leaves out.
    let gone = format!("{exchange}/ohlc/{}/5m", second.replace('/', "-"));
    std::fs::remove_dir_all(data.join(gone)).unwrap();
    let _ = place.run(&["backfill"]).code(0);
    compare();
    let _ = place.run(&["verify"]).code(0);
}

#[test]
fn a_past_of_kucoin_is_stored_row_by_row() {
    a_past_without_empty_candles_is_stored_row_by_row("kucoin", ["BTC/USDT", "ETH/USDT"], 40);
}

#[test]
fn a_past_of_coinbase_is_stored_row_by_row() {
    a_past_without_empty_candles_is_stored_row_by_row("coinbase", ["BTC/USD", "ETH/USD"], 10);
}

#[test]
fn a_past_of_bitfinex_is_stored_row_by_row() {
    a_past_without_empty_candles_is_stored_row_by_row("bitfinex", ["BTC/USD", "ETH/USD"], 40);
}

#[test]
fn a_daemon_catches_up_fills_by_itself_and_keeps_what_was_paused() {
    let past = Past::start(past::options("binance", &["BTC/USDT", "ETH/USDT"], 10, 60));
    let place = Place::new();
    place.put("config.yml", &past.config(&[("BTC/USDT", 60), ("ETH/USDT", 3_600)], ""));
    let data = place.path().join("data");
    let _ = place.run(&["start", "--detach"]).code(0);
    // The newest page first, then all that lies before, without being asked.
    let jobs = || place.run(&["status", "--json"]).json()["jobs"].as_array().unwrap().clone();
    let is_whole = |jobs: &Vec<serde_json::Value>| jobs[0]["rows"].as_u64().is_some_and(|rows| rows > 13_000);
    wait_for(PATIENCE, jobs, is_whole);
    let paused = place.run(&["pause", "binance/BTC/USDT/1m"]).code(0);
    assert_eq!(paused.out, "binance/BTC/USDT/1m: paused\n");
    let _ = place.run(&["pause", "binance/BTC/USDT/5m"]).code(1);
    let listed = place.run(&["backfill", "--list", "--json"]).code(0).json();
    assert_eq!(listed[0]["state"], "done", "{listed}");
    let _ = place.run(&["backfill"]).code(0);
    let _ = place.run(&["restart"]).code(0);
    let status = place.run(&["status", "--json"]).code(0).json();
    let state = |job: &str| {
        let jobs = status["jobs"].as_array().unwrap();
        jobs.iter().find(|j| j["job"] == job).map(|j| (j["state"].clone(), j["next_run"].clone())).unwrap()
    };
    assert_eq!(state("binance/BTC/USDT/1m").0, "paused");
    assert!(state("binance/BTC/USDT/1m").1.is_null() && state("binance/ETH/USDT/1h").1.is_string());
    let _ = place.run(&["stop"]).code(0);
    past.compare(&data, "BTC/USDT", "1m", false);
    past.compare(&data, "ETH/USDT", "1h", false);
    let metrics: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join(".dccd/metrics.json")).unwrap()).unwrap();
    assert!(metrics["binance/BTC/USDT/1m"]["rows_collected"].as_u64().unwrap() > 13_000, "{metrics}");
}

#[test]
fn a_job_that_is_paused_while_it_is_filled_stands_still_and_goes_on_when_it_is_resumed() {
    // What a minute's window grants is used up at once, so that the fill is under way for minutes.
    let mut options = past::options("binance", &["BTC/USDT", "ETH/USDT"], 300, 60);
    options.limits.weight_per_minute = 400;
    let past = Past::start(options);
    let place = Place::new();
    place.put("config.yml", &past.config(&[("BTC/USDT", 60), ("ETH/USDT", 3_600)], ", rest_weight_per_minute: 400"));
    let _ = place.run(&["start", "--detach"]).code(0);
    let listed = || place.run(&["backfill", "--list", "--json"]).json().as_array().unwrap().clone();
    let waits =
        |backfills: &Vec<serde_json::Value>| backfills.iter().any(|b| b["series"].to_string().contains("rate limit"));
    let backfills = wait_for(PATIENCE, listed, waits);
    assert!(backfills[0]["started"].as_str().unwrap().ends_with('Z') && backfills[0]["ended"].is_null(), "{backfills:?}");
    let fills = |backfills: &[serde_json::Value], job: &str| {
        let running = backfills.iter().filter(|backfill| backfill["state"] == "running");
        running.flat_map(|b| b["series"].as_array().unwrap()).any(|series| series["job"] == job)
    };
    let is_filling = |backfills: &[serde_json::Value]| fills(backfills, "binance/BTC/USDT/1m");
    assert!(is_filling(&backfills));
    let _ = place.run(&["pause", "binance/BTC/USDT/1m"]).code(0);
    // The other job is not kept waiting, but for a run by the clock that waits for the next minute's window; it may have been filled
    // before.
    let is_other = |backfills: &[serde_json::Value]| {
        let series = backfills.iter().flat_map(|backfill| backfill["series"].as_array().unwrap());
        let is_done = series.into_iter().any(|s| s["job"] == "binance/ETH/USDT/1h" && s["state"] == "done");
        is_done || fills(backfills, "binance/ETH/USDT/1h")
    };
    wait_for(PATIENCE * 3, listed, |backfills: &Vec<_>| !is_filling(backfills) && is_other(backfills));
    let status = place.run(&["status", "--json"]).code(0).json();
    assert_eq!(status["jobs"].as_array().unwrap().iter().filter(|job| job["state"] == "paused").count(), 1, "{status}");
    let _ = place.run(&["resume", "binance/BTC/USDT/1m"]).code(0);
    wait_for(PATIENCE * 3, listed, |backfills: &Vec<_>| is_filling(backfills));
    let _ = place.run(&["stop"]).code(0);
}

#[test]
fn an_interrupted_backfill_says_so_and_goes_on() {
    let past = Past::start(past::options("binance", &["BTC/USDT"], 400, 60));
    let place = Place::new();
    place.put("config.yml", &past.config(&[("BTC/USDT", 60)], ""));
    let data = place.path().join("data");
    let mut child = place.command(&["backfill"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let stage = data.join(".dccd/parts/binance/ohlc/BTC-USDT/1m/stage.bin");
    let staged = || std::fs::metadata(&stage).map_or(0, |metadata| metadata.len());
    wait_for(PATIENCE, staged, |bytes| *bytes > 200_000);
    child.kill().unwrap();
    child.wait().unwrap();
    let listed = place.run(&["backfill", "--list", "--json"]).code(0).json();
    assert_eq!(listed[0]["state"], "interrupted", "{listed}");
    let started = past::now().0 - 400 * DAY;
    let rows = |data: &Path| {
        let id = past.series("BTC/USDT", "1m");
        let from = dccd_model::UnixNanos(started);
        dccd_store::read_candles(data, &id, from, past::now()).unwrap().count()
    };
    let stored = rows(&data);
    let _ = place.run(&["backfill"]).code(0);
    assert!(rows(&data) > stored);
    past.compare(&data, "BTC/USDT", "1m", false);
}

/// The most weight that was used in one minute, and how many requests were refused, by the exchange's own ledger.
fn weights(ledger: &Path) -> (u32, usize, usize) {
    let mut most = 0;
    let (mut limited, mut banned) = (0, 0);
    for record in LedgerReader::open(ledger).unwrap() {
        if let LedgerRecord::Rest { status, used, .. } = record.unwrap() {
            most = most.max(used);
            limited += usize::from(status == 429);
            banned += usize::from(status == 418);
        }
    }
    (most, limited, banned)
}

/// Three stores, one host: a daemon and two commands beside it.
fn three_places(past: &Past, more: &str) -> [Place; 3] {
    // One runtime directory is what makes them one host's, as it is for a user.
    let first = Place::new();
    let mut places = [first, Place::new(), Place::new()];
    let shared = places[0].path().join("run");
    for place in &mut places {
        place.put("config.yml", &past.config(&[("BTC/USDT", 60)], more));
        place.share_runtime(&shared);
    }
    places
}

#[test]
fn a_daemon_and_two_backfills_stay_within_the_exchange_s_limit() {
    // A limit that one of them alone would use up at once.
    let mut options = past::options("binance", &["BTC/USDT"], 300, 60);
    options.limits.weight_per_minute = 400;
    let past = Past::start(options);
    let places = three_places(&past, ", rest_weight_per_minute: 400");
    let _ = places[0].run(&["start", "--detach"]).code(0);
    let mut children: Vec<_> = places[1..]
        .iter()
        .map(|place| place.command(&["backfill"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    // Together they want some 1,300 weight; what a window grants is used up within seconds of its beginning.
    let used = || weights(&past.exchange.ledger()).0;
    wait_for(PATIENCE * 3, used, |used| *used > 200);
    std::thread::sleep(Duration::from_secs(3));
    for child in &mut children {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(),
            rustix::process::Signal::INT,
        )
        .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
    let _ = places[0].run(&["stop"]).code(0);
    // Each of them got its part of the budget.
    for place in &places {
        let stored = place.run(&["inventory", "--json"]).code(0).json();
        println!("{} rows", stored[0]["rows"]);
        assert!(stored[0]["rows"].as_u64() > Some(0), "one of the three got nothing: {stored}");
    }
    let (most, limited, banned) = weights(&past.exchange.ledger());
    println!("{most} of 400 weight used in a minute at most, {limited} refused");
    assert!(most <= 400 && limited == 0 && banned == 0, "{most} used, {limited} refused, {banned} banned");
}

#[test]
fn a_ban_that_one_process_meets_stops_them_all() {
    let past = Past::start(past::options("binance", &["BTC/USDT"], 2_000, 60));
    let places = three_places(&past, "");
    let mut children: Vec<_> = places
        .iter()
        .map(|place| place.command(&["backfill"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    let asked = || LedgerReader::open(&past.exchange.ledger()).unwrap().count();
    wait_for(PATIENCE, asked, |asked| *asked > 100);
    past.exchange.inject(dccd_sim::Fault::RestLimit { count: 1, ban_ms: Some(600_000) });
    // Those under way when it comes meet it, too: four pages at most for each process.
    let stopped = || {
        let before = weights(&past.exchange.ledger());
        std::thread::sleep(Duration::from_millis(500));
        (before, weights(&past.exchange.ledger()))
    };
    let (_, (_, limited, banned)) = wait_for(PATIENCE, stopped, |(before, after)| before == after && before.1 > 0);
    println!("{limited} answers of 429 and {banned} of 418 before all three kept away");
    assert!(limited + banned <= 1 + 3 * 5, "{limited} of 429, {banned} of 418");
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
