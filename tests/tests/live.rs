//! A day in the life of a tree: start, look, ask, read, stop, each through the front door.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::process::Command;
use std::time::Duration;

use dccd_model::{BookLevel, Decimal, Flags, Record as _};
use dccd_ring::{Reader, Waited};
use dccd_rpc::context;
use dccd_rpc::datad::BookSnapshot;
use dccd_testkit::wait_for;
use dccd_tests::{COLLECTOR, Exchange, PATIENCE, Place, Setup, Tree, python};
use serde_json::{Value, json};

const CALL: Duration = Duration::from_secs(5);

fn keys(value: &Value, wanted: &[&str]) {
    for key in wanted {
        assert!(value.get(key).is_some(), "{key} is missing in {value}");
    }
}

#[test]
fn every_view_of_a_running_tree_is_whole_and_its_end_leaves_nothing() {
    let mut exchange = Exchange::busy(200.0, 400.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_live(6);

    let services = tree.run(&["services", "--json"]).code(0).json();
    assert_eq!((&services[0]["name"], &services[1]["name"]), (&json!("dccd-root"), &json!(COLLECTOR)));
    for service in services.as_array().unwrap() {
        keys(service, &["name", "state", "pid", "endpoint", "uptime_s", "restarts", "last_exit", "rss_bytes"]);
        keys(service, &["cpu_pct", "heartbeat_age_ms", "version"]);
        assert_eq!(service["state"], json!("ready"), "{service}");
    }
    let status = wait_for(
        PATIENCE,
        || tree.run(&["status", "--json"]).code(0).json(),
        |status| status["jobs"].as_array().unwrap().iter().all(|job| job["rows"].as_u64() > Some(0)),
    );
    assert_eq!(status["jobs"].as_array().unwrap().len(), 6, "{status}");
    for job in status["jobs"].as_array().unwrap() {
        keys(job, &["job", "kind", "state", "last_run", "last_success", "rows", "errors", "consecutive_errors"]);
        keys(job, &["last_error", "next_run"]);
        assert_eq!((&job["state"], &job["errors"]), (&json!("live"), &json!(0)), "{job}");
        assert!(job["last_success"].as_str().unwrap().ends_with('Z'), "{job}");
    }
    let inventory = tree.run(&["inventory", "--json"]).code(0).json();
    assert_eq!(inventory.as_array().unwrap().len(), 6, "{inventory}");
    for row in inventory.as_array().unwrap() {
        keys(row, &["exchange", "pair", "type", "span", "from", "to", "rows", "gaps", "missing", "bytes", "files"]);
        assert_eq!((&row["exchange"], &row["gaps"]), (&json!("binance"), &json!(0)), "{row}");
    }
    let found = tree.run(&["search", "eth", "--json"]).code(0).json();
    assert_eq!(found[0]["symbol"], json!("ETH/USDT"));
    for (channel, kind) in [("trades", "trade"), ("quotes", "quote"), ("book", "book")] {
        let tail = tree.run(&["tail", &format!("binance/BTC/USDT/{channel}"), "-n", "5", "--json"]).code(0);
        let records: Vec<Value> = tail.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), 5, "{}", tail.out);
        assert!(records.iter().all(|r| r["kind"] == kind), "{records:?}");
    }

    let again = tree.run(&["start", "--foreground"]).code(10);
    assert!(again.err.contains(&tree.root_pid().to_string()), "{}", again.err);
    let other = format!("{}x", tree.place().instance());
    let output = tree.place().foreign(&["start", "--foreground", "--instance", &other]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(12), "{said}");
    assert!(said.contains(&tree.root_pid().to_string()) && said.contains("lock"), "{said}");

    tree.verify();
    tree.drain(&exchange, 0);
    let stored: u64 = dccd_store::inventory(tree.data_path()).unwrap().iter().map(|row| row.rows).sum();
    tree.stop();
    let again = tree.run(&["stop"]).code(11);
    assert!(!again.err.is_empty());
    let _ = tree.run(&["services"]).code(11);
    tree.quiet(&[]);
    tree.verify();
    let audit = tree.audit(&mut exchange);
    assert!(audit.series.iter().all(|s| s.gaps + s.repaired == 0), "{audit:#?}");
    println!("{stored} rows; views whole, nothing left behind");
    reads_elsewhere(&tree, &audit);
}

/// What pyarrow and duckdb make of the store.
fn reads_elsewhere(tree: &Tree, audit: &dccd_sim::audit::Audit) {
    let Some(python) = python("pyarrow_and_duckdb_read_the_store", &["pyarrow", "duckdb"]) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/readers/store_reader.py");
    let ran = Command::new(python).arg(script).arg(tree.data_path()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");
    let read: Value = serde_json::from_str(&out).unwrap();
    let columns = json!({
        "trades": [["TS", "int64"], ["price", "double"], ["amount", "double"], ["side", "string"], ["tid", "string"],
            ["ts_recv", "int64"]],
        "orderbook": [["TS", "int64"], ["side", "string"], ["price", "double"], ["amount", "double"], ["count", "int64"],
            ["is_snapshot", "bool"], ["ts_recv", "int64"], ["update_id", "int64"], ["epoch", "int32"]],
        "quotes": [["TS", "int64"], ["bid", "double"], ["bid_amount", "double"], ["ask", "double"], ["ask_amount", "double"],
            ["ts_recv", "int64"]],
    });
    let series = read.as_array().unwrap();
    assert_eq!(series.len(), 6, "{read}");
    for s in series {
        let kind = s["kind"].as_str().unwrap();
        assert_eq!(s["columns"], columns[kind], "{s}");
        assert_eq!(s["pyarrow_rows"], s["duckdb_rows"], "{s}");
        assert_eq!(s["sorted"], json!(true), "{s}");
        let keys: Vec<&str> = s["metadata"].as_object().unwrap().keys().map(String::as_str).collect();
        for key in ["dccd.version", "dccd.exchange", "dccd.symbol", "dccd.series", "dccd.gaps"] {
            assert!(keys.contains(&key), "{key} is missing in {s}");
        }
        let id = s["pair"].as_str().unwrap().replace('-', "").to_lowercase();
        let name = format!("{id}/{}", if kind == "orderbook" { "book" } else { kind });
        let sent = audit.series.iter().find(|a| a.series == name).unwrap_or_else(|| panic!("no {name} in the audit"));
        assert_eq!(s["records"].as_u64(), Some(sent.stored), "{s}");
    }
    println!("pyarrow and duckdb read all {} series alike", series.len());
}

#[test]
fn a_reader_in_another_language_reads_the_live_ring() {
    let name = "a_reader_in_another_language_reads_the_live_ring";
    let Some(python) = python(name, &[]) else { return };
    let exchange = Exchange::busy(200.0, 200.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    let feeds = tree.wait_live(6);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/readers/ring_reader.py");
    for feed in feeds {
        let ran = Command::new(&python).args([script, &feed.ring, "-n", "50", "--json"]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let text = String::from_utf8(ran.stdout).unwrap();
        let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), 50);
        for pair in records.windows(2) {
            assert_eq!(pair[1]["sequence"].as_u64(), pair[0]["sequence"].as_u64().map(|n| n + 1), "{}", feed.ring);
        }
    }
    tree.stop();
}

#[test]
fn feeds_and_books_by_rpc_agree_with_the_rings() {
    let exchange = Exchange::busy(200.0, 800.0);
    let setup = Setup { pairs: vec!["BTC/USDT".to_owned()], ..Setup::new(&exchange) };
    let mut tree = Tree::start(&setup);
    tree.wait_live(3);

    // A feed that nobody configured: it flows, it outlives the client that opened it, and nothing is recorded.
    let opened = tree
        .ask("open_feed", |c| async move { c.open_feed(context(CALL), "ETH/USDT".into(), "trades".into()).await })
        .unwrap();
    assert!(!opened.recorded && opened.holders == 1, "{opened:?}");
    let mut reader = Reader::open(&opened.ring).unwrap().from_oldest();
    assert!(matches!(reader.wait_next::<7>(PATIENCE), Waited::Record { .. }), "no record in {}", opened.ring);
    tree.wait_live(4);
    tree.flush();
    assert!(!tree.data_path().join("binance/trades/ETH-USDT").exists(), "it was recorded");
    let close =
        || tree.ask("close_feed", |c| async move { c.close_feed(context(CALL), "ETH/USDT".into(), "trades".into()).await });
    assert_eq!(close().unwrap().state, "closed");
    assert!(!tree.place().rings().contains(&opened.ring));
    assert!(close().unwrap_err().contains("no feed"), "closed twice");
    let kept =
        tree.ask("close_feed", |c| async move { c.close_feed(context(CALL), "BTC/USDT".into(), "book".into()).await });
    assert!(kept.unwrap_err().contains("the configuration wants it"));
    let refused =
        tree.ask("open_feed", |c| async move { c.open_feed(context(CALL), "BTC/USTD".into(), "trades".into()).await });
    assert!(refused.unwrap_err().contains("did you mean BTC/USDT"));

    // From a snapshot on, the ring's records give every later snapshot.
    let book = || tree.ask("book", |c| async move { c.book(context(CALL), "BTC/USDT".into(), 0).await }).unwrap();
    let first = book();
    assert!(first.bids.len() > 100 && first.asks.len() > 100, "{} bids", first.bids.len());
    let mut reader = Reader::open(&first.ring).unwrap().from_sequence(first.sequence);
    let mut sides = Sides::of(&first);
    let mut applied = 0;
    for _ in 0..5 {
        let target = reader.sequence() + 400;
        let later = wait_for(PATIENCE, book, |later| later.sequence >= target);
        while reader.sequence() < later.sequence {
            match reader.wait_next::<7>(PATIENCE) {
                Waited::Record { words, .. } => sides.apply(&BookLevel::decode(&words)),
                other => panic!("{other:?}"),
            }
            applied += 1;
        }
        assert_eq!(sides, Sides::of(&later), "after {applied} records");
    }
    println!("{applied} records from the ring on top of the first snapshot give 5 later ones");
    tree.stop();
    tree.quiet(&[]);
}

/// A book as texts, kept without the product's own.
#[derive(Debug, PartialEq)]
struct Sides([std::collections::BTreeMap<String, String>; 2]);

impl Sides {
    fn of(snapshot: &BookSnapshot) -> Self {
        Self(
            [&snapshot.bids, &snapshot.asks]
                .map(|side| side.iter().map(|(price, amount)| (plain(price), plain(amount))).collect()),
        )
    }

    fn apply(&mut self, level: &BookLevel) {
        assert!(!level.flags.contains(Flags::SNAPSHOT | Flags::GAP), "{level:?}");
        let side = &mut self.0[usize::from(level.side == dccd_model::BookSide::Ask)];
        if level.amount.mantissa == 0 {
            side.remove(&plain(&level.price.to_string()));
        } else {
            side.insert(plain(&level.price.to_string()), plain(&level.amount.to_string()));
        }
    }
}

/// `1.50` and `1.5` are one price.
fn plain(text: &str) -> String {
    Decimal::parse(text.as_bytes()).unwrap().normalized().to_string()
}

#[test]
fn a_ladder_is_what_the_exchange_has() {
    let exchange = Exchange::busy(100.0, 500.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_live(6);
    tree.drain(&exchange, 0);
    let book = tree.ask("book", |c| async move { c.book(context(CALL), "BTC/USDT".into(), 0).await }).unwrap();
    let there = exchange.book("BTC/USDT").unwrap();
    let texts = |side: &[(Decimal, Decimal)]| -> Vec<(String, String)> {
        side.iter().map(|(p, a)| (plain(&p.to_string()), plain(&a.to_string()))).collect()
    };
    let ours =
        |side: &[(String, String)]| -> Vec<(String, String)> { side.iter().map(|(p, a)| (plain(p), plain(a))).collect() };
    assert_eq!(book.update_id, there.update_id);
    assert_eq!((ours(&book.bids), ours(&book.asks)), (texts(&there.bids), texts(&there.asks)));
    tree.stop();
}

#[test]
fn what_is_wrong_at_the_start_is_said() {
    let place = Place::new();
    // A configuration that is none.
    place.put("config.yml", "settings: {data_path: ./data}\nstream_jobs:\n  - {exchange: binanse, pairs: [BTC/USDT]}\n");
    let ran = place.run(&["start", "--foreground"]);
    assert_eq!(ran.code, Some(12), "{ran:?}");
    assert!(ran.err.contains("binanse") && ran.err.contains("binance") && ran.err.contains("config.yml:3"), "{}", ran.err);
    let ran = place.run(&["start", "--foreground", "--config", "nowhere.yml"]);
    assert!(ran.code == Some(12) && ran.err.contains("nowhere.yml"), "{ran:?}");
    // A runtime directory that no socket's path fits into.
    let setup = Setup::at("http://127.0.0.1:1".to_owned(), "ws://127.0.0.1:1".to_owned());
    place.put("config.yml", &setup.text(&place.path().join("data")));
    let deep = place.path().join("d".repeat(90));
    std::fs::create_dir(&deep).unwrap();
    std::fs::set_permissions(&deep, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let output = place.command(&["start", "--foreground"]).env("XDG_RUNTIME_DIR", &deep).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(12), "{said}");
    assert!(said.contains("bytes") && said.contains(&"d".repeat(90)), "{said}");
    println!("a path too long: {}", said.trim_end());
    if rustix::process::geteuid().is_root() {
        dccd_testkit::skip("a_store_without_permission", "root may write everywhere");
        return;
    }
    let closed = place.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    place.put("config.yml", &setup.text(&closed.join("data")));
    let ran = place.run(&["start", "--foreground"]).code(12);
    assert!(ran.err.contains("closed"), "{}", ran.err);
}

#[test]
fn a_symbol_that_the_exchange_does_not_have_keeps_nothing_else_from_going_on() {
    let mut exchange = Exchange::busy(100.0, 100.0);
    let mut setup = Setup::new(&exchange);
    setup.pairs.push("BTC/USDD".to_owned());
    let mut tree = Tree::start(&setup);
    tree.wait_live(6);
    let status = tree.run(&["status", "--json"]).code(0).json();
    let wrong: Vec<&Value> = status["jobs"].as_array().unwrap().iter().filter(|job| job["state"] == "error").collect();
    assert_eq!(wrong.len(), 3, "{status}");
    for job in wrong {
        let said = job["last_error"].as_str().unwrap();
        assert!(said.contains("BTC/USDD") && said.contains("did you mean BTC/USDT"), "{job}");
    }
    tree.drain(&exchange, 0);
    tree.stop();
    tree.quiet(&["cannot open a feed"]);
    tree.audit(&mut exchange);
}
