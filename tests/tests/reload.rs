//! Taking a new configuration in: what is different changes, everything else goes on, and a bad file changes nothing.

use std::time::Duration;

use dccd_ring::Reader;
use dccd_testkit::wait_for;
use dccd_tests::{Exchange, Place, Setup, Tree, config_of};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// Puts a configuration in place and reloads; what became of the collector.
fn reload(tree: &Tree, setup: &Setup) -> String {
    reloaded(tree, setup)["change"].as_str().unwrap_or_default().to_owned()
}

/// The same, with what is said of it.
fn reloaded(tree: &Tree, setup: &Setup) -> Value {
    tree.place().put("config.yml", &setup.text(tree.data_path()));
    let report = tree.run(&["reload", "--json"]).code(0).json();
    let service = report["services"].as_array().unwrap().iter().find(|s| s["name"] == "datad.binance");
    let service = service.unwrap_or(&Value::Null);
    assert_eq!(service["error"], Value::Null, "{report:#}");
    service.clone()
}

fn pid(tree: &Tree) -> Option<u32> {
    tree.collector().and_then(|service| service.pid)
}

fn open_feeds(tree: &Tree) -> Vec<String> {
    let mut names: Vec<String> = tree.feeds().iter().map(|feed| format!("{} {}", feed.symbol, feed.channel)).collect();
    names.sort();
    names
}

#[test]
fn what_is_wanted_as_before_notices_nothing_and_all_that_was_sent_is_stored_or_declared() {
    let mut exchange = Exchange::busy(100.0, 100.0);
    let whole = Setup::new(&exchange);
    let one = Setup { pairs: vec!["BTC/USDT".to_owned()], ..whole.clone() };
    let mut tree = Tree::start(&whole);
    let feeds = tree.wait_live(6);
    let ring = &feeds.iter().find(|feed| feed.symbol == "BTC/USDT" && feed.channel == "trades").unwrap().ring;
    let reader = Reader::open(ring).unwrap();
    let (generation, first) = (reader.generation(), pid(&tree));
    for _ in 0..2 {
        assert_eq!(reload(&tree, &one), "reloaded");
        assert_eq!(open_feeds(&tree), ["BTC/USDT book", "BTC/USDT quotes", "BTC/USDT trades"]);
        let cursor = reader.cursor();
        wait_for(PATIENCE, || reader.cursor(), |now| *now > cursor + 20);
        assert_eq!(reload(&tree, &whole), "reloaded");
        tree.wait_live(6);
        tree.wait_fresh(6);
    }
    assert_eq!(reload(&tree, &whole), "unchanged");
    assert_eq!((pid(&tree), reader.generation()), (first, generation), "the collector went on");
    // Its successor, after a crash, is told the new, and so is the next root.
    assert_eq!(reload(&tree, &one), "reloaded");
    tree.kill(first.unwrap());
    tree.wait_ready(first);
    assert_eq!(tree.wait_live(3).len(), 3);
    assert_eq!(reload(&tree, &whole), "reloaded");
    tree.wait_live(6);
    let second = pid(&tree);
    tree.kill_root();
    tree.start_root();
    let adopted = wait_for(PATIENCE, || tree.collector(), |s| s.as_ref().is_some_and(|s| s.endpoint.is_some())).unwrap();
    assert_eq!(adopted.pid, second, "it is what the next root would have started");
    // What only a new process can take in: one that is ready before the old one leaves, and else one after the other.
    let last_exit = |tree: &Tree| tree.collector().and_then(|service| service.last_exit);
    let rings = Setup { exchange: "ring_slots: 4096".to_owned(), ..whole };
    tree.wait_fresh(6);
    let details = &reloaded(&tree, &rings)["details"];
    assert!(
        details[0].as_str().is_some_and(|word| word.starts_with("ring_slots: ") && word.ends_with(" → 4096")),
        "{details}"
    );
    assert_eq!(details[1], "a new process took over without a moment between");
    assert_eq!(last_exit(&tree).as_deref(), Some("handed over"), "{}", tree.log());
    assert_ne!(pid(&tree), second);
    tree.wait_live(6);
    let details = &reloaded(&tree, &Setup { depth: 500, ..rings })["details"];
    assert!(details[0].as_str().is_some_and(|word| word.starts_with("depth: ") && word.ends_with(" → 500")), "{details}");
    assert!(
        details[1].as_str().is_some_and(|word| word.starts_with("stopped and started again: its successor ")),
        "{details}"
    );
    assert_eq!(last_exit(&tree).as_deref(), Some("exit 0"), "{}", tree.log());
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    tree.audit(&mut exchange);
    tree.verify();
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let mut exchange = Exchange::busy(50.0, 50.0);
    let setup = Setup::new(&exchange);
    let mut tree = Tree::start(&setup);
    tree.wait_live(6);
    let first = pid(&tree);
    let pipe = |name: &str| {
        let path = tree.place().path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        path
    };
    pipe("pipe");
    let waits = Setup { more: "daemon: {rpc: {address: '127.0.0.1:0', token_file: ./pipe}}\n".to_owned(), ..setup.clone() };
    for (text, why) in [
        (&*waits.text(tree.data_path()), "/pipe is a pipe; it must be a regular file"),
        ("stream_jobs: [", "is not closed"),
        ("stream_jobs:\n  - {exchange: binanse, pairs: [BTC/USDT], channels: [trades]}\n", "did you mean binance?"),
        (&format!("settings: {{data_path: '{}'}}\n", tree.data_path().display()), "no job is left"),
        (&Setup { data_path: None, ..setup.clone() }.text(&tree.place().path().join("elsewhere")), "the store cannot move"),
    ] {
        tree.place().put("config.yml", text);
        let ran = tree.run(&["reload"]).code(1);
        assert!(ran.err.contains(why) && ran.err.contains("nothing was changed"), "{why}: {}", ran.err);
        assert_eq!((pid(&tree), open_feeds(&tree).len()), (first, 6));
    }
    // Nor is anything waited for that nobody writes.
    std::fs::remove_file(tree.place().path().join("config.yml")).unwrap();
    let config = pipe("config.yml");
    let ran = tree.run(&["reload"]).code(1);
    assert!(ran.err.contains("config.yml is no regular file") && ran.err.contains("nothing was changed"), "{}", ran.err);
    std::fs::remove_file(config).unwrap();
    // Nor does asking what would be.
    let jobs = "histo_jobs: [{exchange: binance, pairs: [BTC/USDT], span: 60, start: \"2026-11-01\"}]\n";
    let wider = Setup { pairs: setup.pairs[..1].to_vec(), more: format!("{}{jobs}", setup.more), ..setup.clone() };
    tree.place().put("config.yml", &wider.text(tree.data_path()));
    let ran = tree.run(&["reload", "--dry-run"]).code(0);
    for what in ["would be reloaded", "binance/BTC/USDT/1m is kept complete", "binance/ETH/USDT/book is recorded no more"] {
        assert!(ran.out.contains(what), "{what}: {}", ran.out);
    }
    assert_eq!(open_feeds(&tree).len(), 6);
    assert_eq!(reload(&tree, &wider), "reloaded");
    let job = |tree: &Tree| {
        let status = tree.run(&["status", "--json"]).code(0).json();
        status["jobs"].as_array().unwrap().iter().find(|job| job["job"] == "binance/BTC/USDT/1m").cloned()
    };
    wait_for(PATIENCE, || job(&tree), |job| job.as_ref().is_some_and(|job| job["rows"].as_u64() > Some(0)));
    assert_eq!(reload(&tree, &setup), "reloaded");
    assert_eq!(job(&tree), None);
    tree.stop();
    exchange.stop();
}

#[test]
fn exchanges_come_and_go_and_sighup_is_a_reload_without_a_terminal() {
    let mut exchange = Exchange::busy(50.0, 50.0);
    let setup = Setup::new(&exchange);
    let mut tree = Tree::start(&setup);
    tree.wait_live(6);
    let first = pid(&tree);
    let text = setup.text(tree.data_path());
    let kraken = "  - {exchange: kraken, pairs: [BTC/USD], channels: [trades]}\nexchanges:\n  kraken: {rest_url: 'http://127.0.0.1:9', ws_url: 'ws://127.0.0.1:9'}\n";
    let both = text.replacen("exchanges:\n", kraken, 1);
    tree.place().put("config.yml", &both);
    let names = |tree: &Tree| tree.services().unwrap_or_default().into_iter().map(|s| s.name).collect::<Vec<_>>();
    let root = rustix::process::Pid::from_raw(i32::try_from(tree.root_pid()).unwrap()).unwrap();
    rustix::process::kill_process(root, rustix::process::Signal::HUP).unwrap();
    wait_for(PATIENCE, || names(&tree), |names| *names == ["dccd-root", "datad.binance", "datad.kraken"]);
    wait_for(
        PATIENCE,
        || tree.run(&["reload", "--dry-run", "--json"]).code(0).json(),
        |report| report["services"].as_array().unwrap().iter().all(|s| s["change"] == "unchanged"),
    );
    tree.place().put("config.yml", &text);
    let report = tree.run(&["reload", "--json"]).code(0).json();
    let changes: Vec<_> = report["services"].as_array().unwrap().iter().map(|s| (&s["name"], &s["change"])).collect();
    assert_eq!(changes, [(&"datad.binance".into(), &"unchanged".into()), (&"datad.kraken".into(), &"stopped".into())]);
    assert_eq!(names(&tree), ["dccd-root", "datad.binance"]);
    assert_eq!(pid(&tree), first);
    tree.stop();
    exchange.stop();
}

#[test]
fn a_live_job_that_is_paused_stays_so_over_a_crash_and_its_loss_is_declared() {
    let mut exchange = Exchange::busy(100.0, 100.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_live(6);
    let ran = tree.run(&["pause", "binance/ETH/USDT"]).code(1);
    assert!(ran.err.contains("live jobs are meant with --live"), "{}", ran.err);
    let paused = tree.run(&["pause", "binance/ETH/USDT", "--live"]).code(0);
    let named = tree.run(&["pause", "binance/BTC/USDT/quotes"]).code(0);
    assert_eq!((paused.out.lines().count(), named.out.as_str()), (3, "binance/BTC/USDT/quotes: paused\n"));
    let left = ["BTC/USDT book", "BTC/USDT trades"];
    assert_eq!(open_feeds(&tree), left);
    let first = pid(&tree);
    tree.kill(first.unwrap());
    tree.wait_ready(first);
    tree.wait_live(2);
    assert_eq!(open_feeds(&tree), left);
    assert_eq!(reload(&tree, &Setup::new(&exchange)), "unchanged");
    let states = |tree: &Tree| {
        let status = tree.run(&["status", "--json"]).code(0).json();
        status["jobs"].as_array().unwrap().iter().filter(|job| job["state"] == "paused").count()
    };
    assert_eq!(states(&tree), 4);
    assert_eq!(tree.run(&["resume", "--live"]).code(0).out.lines().count(), 6);
    // A pause ends with the market that it was of: it doesn't come back with it after the next crash.
    let whole = Setup::new(&exchange);
    let _ = tree.run(&["pause", "binance/ETH/USDT/quotes"]).code(0);
    assert_eq!(reload(&tree, &Setup { pairs: vec!["BTC/USDT".to_owned()], ..whole.clone() }), "reloaded");
    assert_eq!(reload(&tree, &whole), "reloaded");
    tree.wait_live(6);
    let second = pid(&tree);
    tree.kill(second.unwrap());
    tree.wait_ready(second);
    tree.wait_live(6);
    tree.wait_fresh(6);
    assert_eq!(states(&tree), 0);
    tree.drain(&exchange, 0);
    tree.stop();
    tree.audit(&mut exchange);
    tree.verify();
}

#[test]
fn a_feed_that_only_a_client_held_for_a_while_declares_what_was_not_recorded_when_it_comes_back() {
    let mut exchange = Exchange::busy(100.0, 100.0);
    let whole = Setup::new(&exchange);
    let one = Setup { pairs: vec!["BTC/USDT".to_owned()], ..whole.clone() };
    let mut tree = Tree::start(&whole);
    tree.wait_fresh(6);
    tree.stop();
    tree.place().put("config.yml", &one.text(tree.data_path()));
    tree.start_root();
    tree.wait_live(3);
    for channel in ["trades", "quotes", "book"] {
        let open = |c: dccd_rpc::datad::DatadClient| async move {
            c.open_feed(dccd_rpc::context(PATIENCE), "ETH/USDT".to_owned(), channel.to_owned()).await
        };
        assert!(!tree.ask("open_feed", open).unwrap().recorded);
    }
    tree.wait_fresh(6);
    // Over a crash, too: a client's feed is opened again.
    let first = pid(&tree);
    tree.kill(first.unwrap());
    tree.wait_ready(first);
    tree.wait_fresh(6);
    assert_eq!(reload(&tree, &whole), "reloaded");
    tree.wait_fresh(6);
    assert!(tree.feeds().iter().all(|feed| feed.recorded));
    // What was never recorded is not fetched.
    tree.drain(&exchange, u64::MAX);
    tree.stop();
    let audit = tree.audit(&mut exchange);
    let of_eth = audit.series.iter().filter(|series| series.series.starts_with("ethusdt"));
    let declared: Vec<u64> = of_eth.map(|series| series.declared).collect();
    assert!(declared.len() == 3 && declared.iter().all(|count| *count > 0), "{audit:#?}");
    tree.verify();
}

/// What the kernel lets a process map privately, as `/proc/<pid>/limits` has it.
#[test]
fn where_one_collector_cannot_be_told_to_pause_none_is() {
    let exchanges = [("binance", "BTC/USDT"), ("kraken", "BTC/USD")];
    let exchanges = exchanges.map(|(name, symbol)| Exchange::of(name, &[symbol], 20.0, 20.0));
    let place = Place::new();
    let data_path = place.path().join("data");
    let mut tree = Tree::start_with(place, data_path.clone(), &config_of(&exchanges, "trades", &data_path, ""), "binance");
    tree.wait_live(1);
    tree.look_at("kraken");
    tree.wait_ready(None);
    tree.wait_live(1);
    let hung = Pid::from_raw(i32::try_from(pid(&tree).unwrap()).unwrap()).unwrap();
    kill_process(hung, Signal::STOP).unwrap();
    let refused = tree.run(&["pause", "--live"]).code(1);
    for words in [
        "datad.kraken gives no answer",
        "and can't be told now; nothing was changed",
        "name the others: `dccd pause --live binance`",
    ] {
        assert!(refused.err.contains(words), "{}", refused.err);
    }
    let paused = |tree: &Tree| {
        let status = tree.run(&["status", "--json"]).code(0).json();
        let jobs = status["jobs"].as_array().unwrap().iter().filter(|job| job["state"] == "paused");
        jobs.map(|job| job["job"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paused(&tree), [""; 0]);
    // It may have been found to hang, and is another process then.
    let _ = kill_process(hung, Signal::CONT);
    wait_for(PATIENCE, || tree.run(&["pause", "--live"]).code, |code| *code == Some(0));
    assert_eq!(paused(&tree), ["binance/BTC/USDT/trades", "kraken/BTC/USD/trades"]);
    tree.stop();
}

fn data_limit(pid: Option<u32>) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.unwrap())).unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max data size")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(3).unwrap_or_default().to_owned()
}

#[test]
fn limits_apply_to_the_process_that_runs_and_are_lifted_again() {
    let mut exchange = Exchange::busy(50.0, 50.0);
    let setup = Setup::new(&exchange);
    let mut tree = Tree::start(&setup);
    tree.wait_live(6);
    let (first, before) = (pid(&tree), data_limit(pid(&tree)));
    let limited = setup.more.replacen("daemon: {", "daemon: {limits: {max_memory_mb: 4096}, ", 1);
    assert_eq!(reload(&tree, &Setup { more: limited, ..setup.clone() }), "reloaded");
    let log = std::fs::read_to_string(tree.data_path().join(".dccd/logs/dccd-root.log")).unwrap_or_default();
    if log.contains("limits are kept by the kernel") {
        dccd_testkit::skip("limits of a running process without a cgroup", "there are cgroups here");
        return;
    }
    let bytes = ((4_096_u64 * 2 + 256) << 20).to_string();
    wait_for(PATIENCE, || data_limit(first), |limit| *limit == bytes);
    assert_eq!(reload(&tree, &setup), "reloaded");
    wait_for(PATIENCE, || data_limit(first), |limit| *limit == before);
    assert_eq!(pid(&tree), first);
    tree.stop();
    exchange.stop();
}
