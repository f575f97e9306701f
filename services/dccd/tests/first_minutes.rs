//! `dccd init` and `dccd doctor`, as somebody meets them who has nothing yet.

mod common;

use common::{Exchange, Host};
use serde_json::Value;

/// A check by name.
fn found<'a>(findings: &'a Value, check: &str) -> &'a Value {
    let findings = findings.as_array().unwrap();
    findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check} in {findings:?}"))
}

#[test]
fn from_nothing_to_a_host_that_is_fit() {
    let host = Host::new();
    let nothing = host.run(&["doctor", "--json"]).code(1);
    assert_eq!(found(&nothing.json(), "configuration")["remedy"], "dccd init writes one; --config FILE names another");

    let asked = host.run(&["init"]).code(2);
    assert!(asked.err.contains("name --exchange, --pairs, --channels or --span, or take"), "{}", asked.err);
    for (args, words) in [
        (&["--exchange", "mtgox"][..], "expected one of binance"),
        (&["--exchange", "binance", "--pairs", "btc", "--span", "1h"], "invalid value 'btc'"),
        (&["--exchange", "binance", "--pairs", "BTC/USDT", "--channels", "trade"], "none of trades, book, quotes, ohlc"),
        (&["--exchange", "binance", "--pairs", "BTC/USDT", "--span", "5"], "no span"),
        (&["--exchange", "binance", "--pairs", "BTC/USDT", "--channels", "none"], "anything to collect"),
        (&["--yes", "--start", "soon"], "expected a date"),
    ] {
        let ran = host.run(&[&["init"], args].concat()).code(2);
        assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
    }
    assert!(!host.path().join("config.yml").exists());

    let exchange = Exchange::start(&host, 0);
    let at = ["init", "--yes", "--rest-url", &exchange.rest_url, "--ws-url", &exchange.ws_url];
    let unknown = host.run(&[&at[..], &["--pairs", "BTC/USDX"]].concat()).code(1);
    assert!(unknown.err.contains("binance/BTC/USDX: the exchange doesn't list this market; did you mean BTC/USDT"));
    let wrote = host.run(&[&at[..], &["--pairs", "BTC/USDT,ETH/USDT", "--span", "1h"]].concat()).code(0);
    assert!(wrote.err.contains("wrote config.yml") && wrote.err.contains("dccd doctor"), "{}", wrote.err);
    let valid = host.run(&["validate"]).code(0);
    assert!(valid.out.contains("histo_jobs: 1\nstream_jobs: 1\n") && !valid.err.contains("warning"), "{valid:?}");
    let before = std::fs::read(host.path().join("config.yml")).unwrap();
    let add = |more: &[&str]| host.run_own(&[&["add", "--exchange", "binance", "--span", "1h"], more].concat());
    let unknown = add(&["--pair", "BTC/USDD"]).code(1);
    let refused = "binance/BTC/USDD: the exchange doesn't list this market; did you mean BTC/USDT";
    assert!(unknown.err.contains(refused) && unknown.err.contains("--no-check adds it all the same"), "{}", unknown.err);
    assert_eq!(std::fs::read(host.path().join("config.yml")).unwrap(), before, "nothing was written");
    let added = add(&["--pair", "BTC/USDD", "--no-check"]).code(0);
    assert!(added.out.starts_with("added BTC/USDD to the job") && added.err.is_empty(), "{added:?}");
    host.run_own(&["remove", "--exchange", "binance", "--span", "1h", "--pair", "BTC/USDD"]).code(0);
    assert_eq!(std::fs::read(host.path().join("config.yml")).unwrap(), before);
    let again = host.run(&["init", "--yes"]).code(1);
    assert!(again.err.contains("config.yml is there already; --force replaces it"), "{}", again.err);
    assert_eq!(std::fs::read(host.path().join("config.yml")).unwrap(), before);

    let fit = host.run_own(&["doctor", "--json"]).code(0).json();
    for check in [
        "configuration",
        "runtime directory",
        "open files",
        "shared memory",
        "secrets",
        "data directory",
        "disk",
        "locks",
        "dns binance",
        "rest binance",
        "clock binance",
        "websocket binance",
    ] {
        assert_ne!(found(&fit, check)["status"], "failed", "{fit}");
    }
    // Nothing was made by looking.
    assert!(!host.path().join("data").exists());
    let table = host.run_own(&["doctor"]).code(0);
    assert!(table.out.starts_with("check ") && table.out.contains("websocket binance"), "{}", table.out);
}

#[test]
fn an_exchange_that_is_not_there_is_no_reason_not_to_write_and_is_found() {
    let host = Host::new();
    let args = ["init", "-o", "sub/k.yml", "--exchange", "kraken", "--pairs", "BTC/USD", "--channels", "trades"];
    let nowhere = ["--rest-url", "http://127.0.0.1:9", "--ws-url", "ws://127.0.0.1:9"];
    let ran = host.run(&[&args[..], &nowhere].concat()).code(0);
    assert!(ran.err.contains("warning: kraken could not be asked for its markets, so that none is checked"), "{}", ran.err);
    let looked = host.run_own(&["doctor", "--json", "--config", "sub/k.yml"]).code(1).json();
    for check in ["rest kraken", "websocket kraken"] {
        let finding = found(&looked, check);
        assert_eq!(finding["status"], "failed");
        assert!(finding["remedy"].as_str().unwrap().contains("exchanges.<x>."), "{finding}");
    }
    let added = host.run_own(&["add", "-c", "sub/k.yml", "-e", "kraken", "--pair", "ETH/USD", "--span", "1h"]).code(0);
    assert!(added.err.contains("warning: kraken could not be asked whether it has ETH/USD: "), "{}", added.err);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    host.put("ports.yml", &format!("daemon: {{http: {{address: '{address}'}}}}\n"));
    let ports = || host.run_own(&["doctor", "--json", "--config", "ports.yml"]).json();
    let remedy = "free it, or choose another address in daemon.http.address";
    assert_eq!(found(&ports(), "ports")["remedy"], remedy);
    drop(taken);
    assert_eq!(found(&ports(), "ports")["measured"], format!("{address}: free"));
    assert_eq!(found(&looked, "disk")["status"].as_str().map(|status| status == "failed"), Some(false));
}

/// Whether the real rclone is there or not, what is in its way is found.
#[test]
fn a_remote_that_rclone_does_not_know_is_found() {
    let host = Host::new();
    host.put("bin/rclone", "#!/bin/sh\ncase $1 in version) echo 'rclone v1.60.1-DEV';; listremotes) echo 'other:';; esac\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(host.path().join("bin/rclone"), executable).unwrap();
    let looked = |path: &str, remotes: &str| {
        host.put("config.yml", &format!("settings: {{data_path: ./data}}\nstorage: {{remotes: [{remotes}]}}\n"));
        let mut command = host.own(&["doctor", "--json"]);
        let output = command.env("PATH", format!("{}:{path}", host.path().join("bin").display())).output().unwrap();
        common::Ran::from(output).json()
    };
    let path = std::env::var("PATH").unwrap();
    let fit = looked(&path, "{remote: 'other:x'}, {remote: /mnt/x}");
    assert_eq!(
        (&found(&fit, "rclone")["status"], &found(&fit, "rclone")["measured"]),
        (&"ok".into(), &"rclone 1.60.1-DEV".into())
    );
    let unfit = looked(&path, "{remote: 'other:x'}, {remote: 'mynas:crypto/'}");
    let finding = found(&unfit, "rclone");
    assert_eq!(finding["status"], "failed");
    assert_eq!(finding["measured"], "mynas:crypto/: rclone has no remote named mynas (it knows other)");
    assert!(finding["remedy"].as_str().unwrap().starts_with("make it with: rclone config"), "{finding}");
    // Who copies without rclone needs none.
    let without = looked(&path, "{provider: s3, bucket: b}");
    assert!(without.as_array().unwrap().iter().all(|finding| finding["check"] != "rclone"), "{without}");
}
