//! What the command line does without a daemon: exit codes, texts, JSON.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use common::{Host, Ran};
use serde_json::json;

const CONFIG: &str = "
settings: {data_path: ./data, timezone: UTC}
stream_jobs:
  - {exchange: binance, pairs: [BTC/USDT, ETH/USDT], channels: [trades, book]}
";

#[test]
fn a_valid_configuration_is_summed_up() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    let ran = host.run(&["validate"]).code(0);
    assert_eq!(ran.out, "data_path: ./data\ntimezone: UTC\nremotes: 0\nhisto_jobs: 0\nstream_jobs: 1\nConfig is valid.\n");
    assert_eq!(ran.err, format!("checked {}\n", host.path().join("config.yml").display()));
}

#[test]
fn spans_that_an_exchange_does_not_have_are_told_before_it_is_asked() {
    let host = Host::new();
    host.put(
        "config.yml",
        "settings: {data_path: ./data}\nhisto_jobs:\n  - {exchange: okx, pairs: [BTC/USDT], span: 3600}\n",
    );
    assert!(!host.run(&["validate"]).code(0).err.contains("warning"));
    let added = host.run(&["add", "--exchange", "okx", "--pair", "BTC/USDT", "--span", "8h"]).code(0);
    assert!(added.err.contains("okx has no candles of 8h for BTC/USDT; it has those of 1m, 3m"), "{}", added.err);
    // What was known before is not told again.
    let added = host.run(&["add", "--exchange", "okx", "--pair", "ETH/USDT", "--span", "1h"]).code(0);
    assert!(!added.err.contains("8h"), "{}", added.err);
    let validated = host.run(&["validate"]).code(0);
    assert!(validated.err.contains("warning: ") && validated.err.contains("okx has no candles of 8h"), "{}", validated.err);
}

#[test]
fn depths_that_an_exchange_does_not_have_are_told() {
    let host = Host::new();
    let config = |depth: &str| {
        format!(
            "settings: {{data_path: ./data}}\nstream_jobs:\n  - {{exchange: kraken, pairs: [BTC/USD], channels: [book]{depth}}}\n"
        )
    };
    for depth in ["", ", depth: 25", ", depth: 1000"] {
        host.put("config.yml", &config(depth));
        assert!(!host.run(&["validate"]).code(0).err.contains("warning"), "{depth}");
    }
    host.put("config.yml", &config(", depth: 30"));
    let told = host.run(&["validate"]).code(0).err;
    assert!(told.contains("kraken has no books of 30 levels a side: they are 100 deep"), "{told}");
}

#[test]
fn every_error_of_a_configuration_is_shown_at_once() {
    let host = Host::new();
    host.put(
        "bad.yml",
        "settings: {ui_port: 80800}\nstream_jobs:\n  - exchange: binanse\n    pairs: [BTCUSDT]\n    chanels: [trades]\n",
    );
    let ran = host.run(&["validate", "--config", "bad.yml"]).code(1);
    assert_eq!(ran.out, "");
    let expected = "\
error: settings.ui_port: expected a whole number from 1 to 65535, found \"80800\"
 --> bad.yml:1:21
  |
1 | settings: {ui_port: 80800}
  |                     ^^^^^

stream_jobs[0].channels: missing, expected a list, each of it one of trades, book, quotes, ohlc
 --> bad.yml:3:5
  |
3 |   - exchange: binanse
  |     ^

stream_jobs[0].exchange: expected one of binance, bitfinex, bybit, coinbase, deribit, gate, hyperliquid, kraken, \
kucoin, okx, polymarket, found \"binanse\"
 --> bad.yml:3:15
  |
3 |   - exchange: binanse
  |               ^^^^^^^
  = help: did you mean binance?

stream_jobs[0].pairs[0]: expected a symbol such as BTC/USDT, BTC/USDT:USDT or BTC/USD:BTC-261225, found \"BTCUSDT\"
 --> bad.yml:4:13
  |
4 |     pairs: [BTCUSDT]
  |             ^^^^^^^
  = help: did you mean BTC/USDT?

stream_jobs[0].chanels: unknown key, expected one of exchange, pairs, channels, time_step, depth
 --> bad.yml:5:5
  |
5 |     chanels: [trades]
  |     ^^^^^^^
  = help: did you mean channels?

5 errors in bad.yml
";
    assert_eq!(ran.err, expected);
}

#[test]
fn a_missing_configuration_names_the_places() {
    let host = Host::new();
    for (command, code) in [("validate", 1), ("start", 12), ("status", 1), ("inventory", 1)] {
        let ran = host.run(&[command]).code(code);
        assert_eq!(ran.out, "");
        let home = host.path().join(".config/dccd/config.yml");
        let looked = format!("error: no configuration found: looked for config.yml, {}; write one ", home.display());
        assert!(ran.err.starts_with(&looked) && ran.err.contains("`dccd demo` needs none"), "{}", ran.err);
    }
    let ran = host.run(&["validate", "-c", "nowhere.yml"]).code(1);
    assert_eq!(
        ran.err,
        "error: cannot read the configuration nowhere.yml (--config)\n  because: No such file or directory (os error 2)\n"
    );
    let ran = Ran::from(host.command(&["validate"]).env("DCCD_CONFIG", "elsewhere.yml").output().unwrap()).code(1);
    assert!(ran.err.contains("elsewhere.yml ($DCCD_CONFIG)"), "{}", ran.err);
}

#[test]
fn without_a_daemon_the_code_is_11() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    for args in [
        &["stop"][..],
        &["services"],
        &["services", "--json"],
        &["restart"],
        &["restart", "datad.binance"],
        &["tail", "binance/BTC/USDT/trades"],
    ] {
        // Rings of the usual instance may be somebody's.
        let ran = host.run_own(args).code(11);
        assert!(ran.out.is_empty() && ran.err.contains("dccd is not running"), "{args:?}: {ran:?}");
    }
    let ran = host.run(&["stop", "--instance", "no/name"]).code(2);
    assert!(ran.err.contains("is not an instance name"), "{}", ran.err);
}

#[test]
fn status_without_a_daemon_lists_the_configured_jobs() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    let status = host.run(&["status", "--json"]).code(0).json();
    assert_eq!(status["daemon"]["running"], json!(false));
    assert_eq!(status["daemon"]["pid"], json!(null));
    let jobs = status["jobs"].as_array().unwrap();
    let names: Vec<_> = jobs.iter().map(|job| job["job"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["binance/BTC/USDT/trades", "binance/BTC/USDT/book", "binance/ETH/USDT/trades", "binance/ETH/USDT/book"]
    );
    let keys: Vec<_> = jobs[0].as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "job",
        "kind",
        "state",
        "last_run",
        "last_success",
        "rows",
        "errors",
        "consecutive_errors",
        "last_error",
        "next_run",
        "market",
    ];
    expected.sort_unstable();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);

    // What a datad saved last is shown.
    host.put(
        "data/.dccd/state/binance/jobs.json",
        r#"[{"job":"binance/BTC/USDT/book","kind":"stream","state":"live","last_run":1723161253937000000,
            "last_success":1723161254000000000,"rows":42,"errors":1,"consecutive_errors":0,"last_error":"x"}]"#,
    );
    let job = host.run(&["status", "--json"]).code(0).json()["jobs"][1].clone();
    assert_eq!(
        job,
        json!({"job": "binance/BTC/USDT/book", "kind": "stream", "state": "stopped", "last_run": "2024-08-08T23:54:13.937Z",
            "last_success": "2024-08-08T23:54:14Z", "rows": 42, "errors": 1, "consecutive_errors": 0, "last_error": "x",
            "next_run": null, "market": null})
    );
    let text = host.run(&["status"]).code(0).out;
    assert!(text.starts_with("dccd is not running"), "{text}");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["job", "last_run", "last_success", "rows", "errors", "state"]), "{text}");
    assert!(
        lines.contains(&vec![
            "binance/BTC/USDT/book",
            "2024-08-08",
            "23:54:13",
            "2024-08-08",
            "23:54:14",
            "42",
            "1",
            "stopped"
        ]),
        "{text}"
    );
}

#[test]
fn an_empty_store_has_an_empty_inventory() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    assert_eq!(host.run(&["inventory", "--json"]).code(0).json(), json!([]));
    let words: Vec<String> = host.run(&["inventory"]).code(0).out.split_whitespace().map(str::to_owned).collect();
    assert_eq!(words[..8], ["exchange", "pair", "type", "span", "from", "to", "rows", "gaps"]);
    assert_eq!(host.run(&["verify", "--json"]).code(0).json(), json!({"clean": true, "series": []}));
}

#[test]
fn logs_shows_the_last_lines_and_names_what_there_is() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    let ran = host.run(&["logs", "datad.binance"]).code(1);
    assert!(ran.err.contains("datad.binance has no log in") && ran.err.contains("there are: none yet"), "{}", ran.err);
    host.put("data/.dccd/logs/datad.binance.log", "one\ntwo\nthree\n");
    assert_eq!(host.run(&["logs", "datad.binance", "-n", "2"]).code(0).out, "two\nthree\n");
    let ran = host.run(&["logs", "dccd-root"]).code(1);
    assert!(ran.err.contains("dccd-root has no log in") && ran.err.contains("there are: datad.binance"), "{}", ran.err);
}

#[test]
fn a_followed_log_goes_on_through_rotation_until_a_signal() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    let path = host.put("data/.dccd/logs/datad.binance.log", "one\n");
    let mut child = host
        .command(&["logs", "datad.binance", "-f", "-n", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "one");
    std::fs::write(&path, "one\ntwo\n").unwrap();
    assert_eq!(lines.next().unwrap(), "two");
    std::fs::rename(&path, path.with_extension("log.1")).unwrap();
    std::fs::write(&path, "three\n").unwrap();
    assert_eq!(lines.next().unwrap(), "three");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn interrupt(child: &std::process::Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[test]
fn search_uses_what_the_service_kept() {
    let host = Host::new();
    host.put("config.yml", CONFIG);
    let adapter = dccd_exchange::adapter("binance", &dccd_exchange::AdapterOptions::default()).unwrap();
    let market = |id: &str, base: &str| {
        format!(
            r#"{{"symbol":"{id}","status":"TRADING","baseAsset":"{base}","quoteAsset":"USDT","isSpotTradingAllowed":true,
            "permissions":["SPOT"],"filters":[{{"filterType":"PRICE_FILTER","tickSize":"0.01000000"}},
            {{"filterType":"LOT_SIZE","stepSize":"0.00001000","minQty":"0.00001000","maxQty":"9000.00000000"}}]}}"#
        )
    };
    let body = format!(r#"{{"symbols":[{},{}]}}"#, market("BTCUSDT", "BTC"), market("ETHUSDT", "ETH"));
    let markets = adapter.parse_markets(body.as_bytes()).unwrap();
    host.put("data/.dccd/state/binance/markets.json", &serde_json::to_string(&markets).unwrap());
    let hits = host.run(&["search", "btcusdt", "--json"]).code(0).json();
    assert_eq!(hits[0]["symbol"], json!("BTC/USDT"));
    assert_eq!(hits[0]["exchange"], json!("binance"));
    assert_eq!(hits[0]["price_tick"], json!("0.01000000"));
    let text = host.run(&["search", "eth"]).code(0).out;
    assert!(text.lines().nth(1).unwrap().starts_with("ETH/USDT"), "{text}");
    let ran = host.run(&["search", "btc", "--exchange", "binanse"]).code(2);
    assert!(ran.err.contains("exchange \"binanse\" cannot be searched, expected one of binance"), "{}", ran.err);
}

#[test]
fn an_exchange_that_is_down_makes_search_fail_with_its_address() {
    let host = Host::new();
    // Port 1 of the loopback has no listener.
    host.put("config.yml", &format!("{CONFIG}exchanges: {{binance: {{rest_url: 'http://127.0.0.1:1'}}}}\n"));
    let ran = host.run(&["search", "btc", "--exchange", "binance"]).code(1);
    assert!(ran.err.contains("cannot search binance") && ran.err.contains("127.0.0.1:1"), "{}", ran.err);
    // What the exchange told the service holds for a search, too: it isn't even tried.
    let freeze = r#"{"until": 4102444800000000000, "status": 418, "since": 0}"#;
    host.put("data/.dccd/state/binance/freeze.json", freeze);
    let ran = host.run(&["search", "btc", "--exchange", "binance"]).code(1);
    assert!(ran.err.contains("418"), "{}", ran.err);
}

#[test]
fn completions_are_printed_and_installed() {
    let host = Host::new();
    for (shell, mark) in [("bash", "_dccd"), ("zsh", "#compdef dccd"), ("fish", "complete -c dccd")] {
        let ran = host.run(&["completion", shell]).code(0);
        assert!(ran.out.contains(mark) && ran.err.is_empty(), "{shell}");
    }
    host.run(&["completion", "bash", "--install-completion"]).code(0);
    let bash = host.path().join(".local/share/bash-completion/completions/dccd");
    assert!(std::fs::read_to_string(bash).unwrap().contains("_dccd"));
    let ran = Ran::from(host.command(&["--install-completion"]).env("SHELL", "/usr/bin/fish").output().unwrap()).code(0);
    assert!(ran.err.contains("fish"), "{}", ran.err);
    assert!(host.path().join(".config/fish/completions/dccd.fish").is_file());
    let ran = host.run(&["--install-completion"]).code(1);
    assert!(ran.err.contains("name one of bash"), "{}", ran.err);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let host = Host::new();
    // The script is longer than a pipe holds.
    let mut child = host.command(&["completion", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().unwrap()).code(0);
    assert_eq!(ran.err, "");
}

#[test]
fn candles_are_not_tailed() {
    let ran = Host::new().run(&["tail", "binance/BTC/USDT/1h"]).code(2);
    assert!(ran.err.contains("series of candles"), "{}", ran.err);
}

#[test]
fn markets_are_added_to_the_configuration_and_removed_in_place() {
    let host = Host::new();
    let text = "# mine\nsettings: {data_path: ./data}\nhisto_jobs:\n  # hourly\n  - exchange: binance\n    pairs: [BTC/USDT] # major\n    span: 1h\n";
    let path = host.put("config.yml", text);
    let file = || std::fs::read_to_string(&path).unwrap();
    let run = |command: &str, exchange: &str, pair: &str, span: &str| {
        host.run_own(&[command, "--exchange", exchange, "--pair", pair, "--span", span])
    };
    // The exchange's list, as it was kept last.
    let market = |symbol: &str, status: &str| {
        let id = symbol.replace('/', "");
        format!(
            r#"{{"symbol":"{symbol}","id":"{id}","status":"{status}","price_tick":null,"amount_step":null,"amount_min":null,"amount_max":null,"notional_min":null}}"#
        )
    };
    let markets = [market("BTC/USDT", "trading"), market("ETH/USDT", "trading"), market("LUNA/USDT", "halted")].join(",");
    host.put("data/.dccd/state/binance/markets.json", &format!(r#"{{"markets":[{markets}],"skipped":0}}"#));
    let ran = run("add", "binance", "ETH/USDT", "3600").code(0);
    assert_eq!(ran.out, format!("added ETH/USDT to the job in line 5 of {}\n", path.display()));
    assert_eq!(ran.err, "", "no daemon runs");
    assert_eq!(file(), text.replace("[BTC/USDT]", "[BTC/USDT, ETH/USDT]"));
    let ran = run("add", "binance", "ETH/USDT", "1h").code(1);
    let edit = format!("error: cannot edit {}: ", path.display());
    assert_eq!(ran.err, format!("{edit}binance/ETH/USDT/1h is already asked for on line 6\n"));
    let ran = run("add", "gate", "BTC/USD", "1m").code(0);
    assert_eq!(ran.out, format!("added a job for gate BTC/USD 1m in line 8 of {}\n", path.display()));
    assert_eq!(ran.err, "warning: this version doesn't fetch the history of gate yet: the job is kept and not run\n");
    let ran = run("remove", "gate", "BTC/USD", "60").code(0);
    assert!(ran.out.starts_with("removed BTC/USD and with it the job that was in line 8 of "), "{}", ran.out);
    assert_eq!(ran.err, "what is stored of gate/BTC/USD/1m stays\n");
    let ran = run("remove", "binance", "ETH/USDT", "1h").code(0);
    assert_eq!(ran.out, format!("removed ETH/USDT from the job in line 5 of {}\n", path.display()));
    assert_eq!(file(), text);

    let ran = host.run_own(&["run", "binance/BTC/USTD"]).code(1);
    assert!(ran.err.ends_with("`dccd status` lists the jobs; did you mean binance/BTC/USDT?\n"), "{}", ran.err);
    let ran = run("remove", "binance", "BTC/USDC", "1h").code(1);
    let message = "no history job asks for binance/BTC/USDC/1h; did you mean binance/BTC/USDT/1h?\n";
    assert_eq!(ran.err, format!("{edit}{message}"));
    let ran = run("add", "binanse", "BTC/USDT", "1h").code(1);
    assert!(ran.err.contains("nothing was written") && ran.err.contains("did you mean binance?"), "{}", ran.err);
    let ran = run("add", "binance", "BTC/USDT", "30").code(1);
    assert!(ran.err.contains("expected a number of seconds, 60 or more"), "{}", ran.err);
    run("add", "binance", "BTCUSDT", "1h").code(2);
    host.run_own(&["add", "--exchange", "binance"]).code(2);
    assert_eq!(file(), text);
}
