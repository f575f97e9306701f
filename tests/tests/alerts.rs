//! Alerts of whole trees: told once, and their ends; kept while nobody can be told; never with the address of a webhook in them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use dccd_rpc::root::ServiceInfo;
use dccd_sim::{Disconnection, Fault, Target};
use dccd_testkit::{Hook, wait_for};
use dccd_tests::{COLLECTOR, Exchange, PATIENCE, Place, Setup, Tree};
use serde_json::Value;

/// The path of every webhook here, which nobody may see.
const SECRET: &str = "/services/T0/s3cret";
/// Something is told after a second, and its end after two.
const SOON: &str = "hold: 1, clear_after: 2";

/// A tree that tells these webhooks, in JSON, what is wrong.
fn setup(exchange: &Exchange, urls: &[String], more: &str) -> Setup {
    let hooks: Vec<String> = urls.iter().map(|url| format!("{{url: '{url}', format: json}}")).collect();
    let base = Setup::new(exchange);
    let more = format!("{}alerts: {{webhooks: [{}], {more}}}\n", base.more, hooks.join(", "));
    Setup { more, ..base }
}

/// What a webhook took, as event and kind, each message once.
fn told(hook: &Hook) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let messages = hook.taken().into_iter().map(|body| serde_json::from_str::<Value>(&body).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let fresh = messages.filter(|message| seen.insert(text(&message["id"])));
    fresh.map(|message| format!("{} {}", text(&message["event"]), text(&message["kind"]))).collect()
}

fn alertd(tree: &Tree) -> Option<ServiceInfo> {
    tree.services()?.into_iter().find(|service| service.name == "alertd")
}

fn list(tree: &Tree) -> Value {
    tree.run(&["alerts", "list", "--all", "--json"]).code(0).json()
}

/// Kills the collector until that is a storm.
fn storm(tree: &mut Tree) {
    let mut pid = tree.collector().unwrap().pid.unwrap();
    for _ in 0..3 {
        tree.kill(pid);
        pid = tree.wait_ready(Some(pid));
    }
}

/// Whether a file below a directory has the secret in it.
fn leaks(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(leaks(&path));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(6).any(|window| window == b"s3cret")) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_ban_is_told_once_and_so_is_its_end() {
    let mut exchange = Exchange::busy(50.0, 100.0);
    let hook = Hook::start();
    let mut tree = Tree::start(&setup(&exchange, &[hook.url(SECRET)], "hold: 3, clear_after: 3, stale_after: 20"));
    tree.wait_live(6);
    assert!(alertd(&tree).is_none(), "nothing is wrong, and it runs");
    assert_eq!(list(&tree)["webhooks"][0]["sent"], Value::Null, "nothing was ever kept");
    exchange.inject(Fault::RestLimit { count: 1, ban_ms: Some(6_000) });
    // What it misses it asks for.
    exchange.inject(Fault::Disconnect { target: Target::default(), how: Disconnection::Abrupt });
    let is_ban = |told: &Vec<String>| told.iter().any(|message| message == "alert ban");
    wait_for(PATIENCE, || told(&hook), is_ban);
    assert!(alertd(&tree).is_some_and(|service| service.state.is_ready() && !service.eager));
    let ended = |told: &Vec<String>| told.iter().any(|message| message == "recovered ban");
    wait_for(PATIENCE * 4, || told(&hook), ended);
    tree.wait_fresh(6);
    assert_eq!(told(&hook), ["alert ban", "recovered ban"]);
    let first: Value = serde_json::from_str(&hook.taken()[0]).unwrap();
    assert_eq!((&first["service"], &first["instance"]), (&COLLECTOR.into(), &tree.place().instance().into()));
    assert_eq!(first["alerts"][0]["subject"], "binance");
    let listed = list(&tree);
    assert_eq!((&listed["live"], &listed["alerts"][0]["state"]), (&true.into(), &"recovered".into()), "{listed}");
    assert_eq!((&listed["webhooks"][0]["sent"], &listed["webhooks"][0]["failing"]), (&2.into(), &false.into()));
    tree.drain(&exchange, 0);
    tree.stop();
    tree.audit(&mut exchange);
    assert_eq!(leaks(tree.data_path()), [""; 0]);
    assert!(!tree.root_said().contains("s3cret"), "{}", tree.root_said());
}

#[test]
fn an_exchange_that_goes_away_is_told_once_however_many_feeds_it_has() {
    let mut exchange = Exchange::busy(50.0, 100.0);
    let hook = Hook::start();
    let mut tree = Tree::start(&setup(&exchange, &[hook.url(SECRET)], "hold: 1, clear_after: 3, stale_after: 4"));
    tree.wait_live(6);
    exchange.inject(Fault::Down { ms: 12_000 });
    let ended = |told: &Vec<String>| told.iter().any(|message| message.starts_with("recovered"));
    let told_of = wait_for(PATIENCE * 2, || told(&hook), ended);
    assert_eq!(told_of, ["alert disconnected", "recovered disconnected"]);
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    tree.audit(&mut exchange);
}

#[test]
fn an_end_is_told_by_the_process_after_a_crash_though_a_gap_stays_open() {
    let mut exchange = Exchange::busy(50.0, 100.0);
    let hook = Hook::start();
    let base = setup(&exchange, &[hook.url(SECRET)], "hold: 1, clear_after: 3, stale_after: 4");
    // Books begin with a request, and none is answered here for a while.
    let channels = ["trades", "quotes"].map(str::to_owned).to_vec();
    let mut tree = Tree::start(&Setup { channels, ..base });
    tree.wait_live(4);
    exchange.inject(Fault::Down { ms: 12_000 });
    // Whoever asks for what is missing is banned, for longer than this test.
    exchange.inject(Fault::RestLimit { count: 1, ban_ms: Some(600_000) });
    let has = |told: &Vec<String>, message: &str| told.iter().any(|known| known == message);
    wait_for(PATIENCE, || told(&hook), |told| has(told, "alert disconnected"));
    let pid = tree.collector().and_then(|service| service.pid);
    tree.kill(pid.unwrap());
    tree.wait_ready(pid);
    let told_of = wait_for(PATIENCE * 2, || told(&hook), |told| has(told, "recovered disconnected"));
    assert!(!has(&told_of, "recovered ban"), "{told_of:?}");
    assert!(tree.feeds().iter().any(|feed| feed.open_gaps > 0), "no gap is open");
    exchange.stop();
    tree.stop();
}

#[test]
fn what_cannot_be_delivered_waits_over_the_death_of_everybody() {
    let mut exchange = Exchange::busy(20.0, 20.0);
    let hook = Hook::start();
    let address = hook.address();
    let mut tree = Tree::start(&setup(&exchange, &[hook.url(SECRET)], SOON));
    drop(hook);
    storm(&mut tree);
    let waits = |list: &Value| list["webhooks"][0]["waiting"] == 1 && list["webhooks"][0]["failing"] == true;
    let listed = wait_for(PATIENCE, || list(&tree), waits);
    assert_eq!((&listed["alerts"][0]["kind"], &listed["alerts"][0]["told"]), (&"restart_storm".into(), &true.into()));
    // Its own process, twice, then the root's; the disk alone knows.
    for _ in 0..2 {
        let pid = alertd(&tree).and_then(|service| service.pid).unwrap();
        tree.kill(pid);
        let another = |service: &Option<ServiceInfo>| {
            service.as_ref().is_some_and(|s| s.state.is_ready() && s.pid.is_some() && s.pid != Some(pid))
        };
        wait_for(PATIENCE, || alertd(&tree), another);
    }
    let waits = wait_for(PATIENCE, || list(&tree), waits);
    assert_eq!(waits["alerts"][0]["id"], listed["alerts"][0]["id"], "still the same streak");
    tree.stop();
    let saved = tree.run(&["alerts", "list", "--json"]).code(0);
    assert_eq!((&saved.json()["live"], &saved.json()["webhooks"][0]["waiting"]), (&false.into(), &1.into()));
    assert!(!saved.out.contains("s3cret") && !saved.err.contains("s3cret"));
    let hook = Hook::start_at(address);
    tree.start_root();
    // The next root knows of no storm: it is over, too.
    let both = |told: &Vec<String>| told.len() >= 2;
    assert_eq!(wait_for(PATIENCE, || told(&hook), both), ["alert restart_storm", "recovered restart_storm"]);
    tree.stop();
    exchange.stop();
    assert_eq!(leaks(tree.data_path()), [""; 0]);
}

#[test]
fn a_kill_in_the_middle_of_a_delivery_loses_nothing_and_repeats_it_under_its_id() {
    let mut exchange = Exchange::busy(20.0, 20.0);
    let hook = Hook::start();
    hook.delay(Duration::from_secs(5));
    let mut tree = Tree::start(&setup(&exchange, &[hook.url(SECRET)], SOON));
    storm(&mut tree);
    // It has the message, and alertd has no answer yet.
    wait_for(PATIENCE, || hook.posts().len(), |posts| *posts == 1);
    tree.kill(alertd(&tree).and_then(|service| service.pid).unwrap());
    hook.delay(Duration::ZERO);
    let sent = |list: &Value| list["webhooks"][0]["sent"] == 1;
    wait_for(PATIENCE, || list(&tree), sent);
    assert!(hook.posts().len() == 2 && told(&hook) == ["alert restart_storm"], "{:?}", hook.posts());
    tree.stop();
    exchange.stop();
}

#[test]
fn a_silence_is_asked_for_by_id_and_a_list_needs_no_webhook() {
    let mut exchange = Exchange::busy(20.0, 20.0);
    let hook = Hook::start();
    hook.answer(404);
    let mut tree = Tree::start(&setup(&exchange, &[hook.url(SECRET)], &format!("{SOON}, repeat_after: 1")));
    storm(&mut tree);
    let given_up = |list: &Value| list["webhooks"][0]["lost"].as_u64() >= Some(1);
    let listed = wait_for(PATIENCE, || list(&tree), given_up);
    let error = listed["webhooks"][0]["last_error"].as_str().unwrap();
    assert!(error.contains("status 404") && !error.contains("s3cret"), "{error}");
    let id = listed["alerts"][0]["id"].as_str().unwrap();
    let unknown = tree.run(&["alerts", "ack", "a999"]).code(1);
    assert!(unknown.err.contains("open alert \"a999\" is unknown") && unknown.err.contains(id), "{}", unknown.err);
    let silenced = tree.run(&["alerts", "ack", id, "--for", "2h", "--json"]).code(0).json();
    assert_eq!((&silenced[0]["id"], &silenced[0]["acknowledged"]), (&id.into(), &true.into()));
    assert!(silenced[0]["acknowledged_until"].is_string(), "{silenced}");
    // Who was told so relies on it.
    let pid = alertd(&tree).and_then(|service| service.pid).unwrap();
    tree.kill(pid);
    wait_for(PATIENCE, || alertd(&tree), |now| now.as_ref().is_some_and(|s| s.state.is_ready() && s.pid != Some(pid)));
    assert_eq!(list(&tree)["alerts"][0]["acknowledged_until"], silenced[0]["acknowledged_until"]);
    let all = tree.run(&["alerts", "ack", "all"]).code(0);
    assert!(all.out.contains("until it recovers"), "{}", all.out);
    tree.stop();

    let mut tree = Tree::start(&Setup::new(&exchange));
    storm(&mut tree);
    let told_nobody = |list: &Value| list["alerts"][0]["kind"] == "restart_storm";
    let listed = wait_for(PATIENCE, || list(&tree), told_nobody);
    assert_eq!((&listed["alerts"][0]["told"], &listed["webhooks"]), (&false.into(), &Value::Array(vec![])));
    assert!(alertd(&tree).is_none(), "whom should it tell?");
    let shown = tree.run(&["alerts", "list"]).code(0);
    assert!(shown.err.contains("nobody is told") && shown.out.contains("restart_storm"), "{shown:?}");
    tree.stop();
    exchange.stop();
}

#[test]
fn a_test_message_says_of_each_webhook_how_it_went() {
    let (good, bad) = (Hook::start(), Hook::start());
    bad.answer(403);
    let place = Place::new();
    let config = format!(
        "alerts: {{webhook_url: '{}', webhooks: [{{url: '{}', format: json}}]}}\n",
        good.url(SECRET),
        bad.url(SECRET)
    );
    place.put("config.yml", &config);
    let tried = place.run(&["alerts", "test", "--json"]).code(1);
    let json = tried.json();
    assert_eq!((&json[0]["delivered"], &json[1]["delivered"]), (&true.into(), &false.into()), "{json}");
    assert!(json[1]["error"].as_str().unwrap().contains("status 403"), "{json}");
    assert!(!tried.out.contains("s3cret") && !tried.err.contains("s3cret"), "{tried:?}");
    let slack: Value = serde_json::from_str(&good.taken()[0]).unwrap();
    assert!(slack.as_object().unwrap().len() == 1 && slack["text"].as_str().unwrap().contains("TEST"), "{slack}");
    bad.answer(204);
    let well = place.run(&["alerts", "test"]).code(0);
    assert_eq!(well.out.lines().filter(|line| line.contains(": delivered in ")).count(), 2, "{}", well.out);
    place.put("config.yml", "alerts: {}\n");
    let none = place.run(&["alerts", "test"]).code(1);
    assert!(none.err.contains("names no webhook"), "{}", none.err);
    let offline = place.run(&["alerts", "list"]).code(0);
    assert!(offline.err.contains("dccd is not running") && offline.err.contains("nothing is wrong"), "{offline:?}");
    let ack = place.run(&["alerts", "ack", "all"]).code(11);
    assert!(ack.err.contains("dccd is not running"), "{}", ack.err);
}
