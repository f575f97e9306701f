//! The engine under a clock of the test: streaks, flapping, recoveries, limits, silences, restarts.

use std::time::Duration;

use dccd_config::Secret;
use dccd_net::Retry;
use dccd_rpc::alertd::AlertState;
use dccd_rpc::condition::{Condition, Conditions, Doubt, ServiceConditions, Severity};
use dccd_rpc::root::ROOT_NAME;
use serde_json::Value;

use super::{Attempt, Engine};
use crate::options::{AlertdOptions, Format, Webhook};
use crate::saved::Saved;

const S: i64 = 1_000_000_000;
const NOW: i64 = 1_700_000_000 * S;

fn options() -> AlertdOptions {
    let webhook = |url: &str, min_severity| Webhook { url: Secret::new(url), format: Format::Json, min_severity };
    AlertdOptions {
        instance: "main".to_owned(),
        data_path: "/nowhere".into(),
        webhooks: vec![webhook("https://one.example/s3cret", Severity::Info)],
        hold: Duration::from_secs(10),
        clear_after: Duration::from_secs(60),
        repeat_after: Duration::ZERO,
        max_per_hour: 20,
    }
}

fn condition(kind: &str, subject: &str, severity: Severity) -> Condition {
    let (kind, subject) = (kind.to_owned(), subject.to_owned());
    Condition { kind, subject, severity, message: "it is so".to_owned(), since: NOW, count: 1 }
}

fn of(service: &str, said: Vec<Condition>) -> ServiceConditions {
    let service = service.to_owned();
    ServiceConditions { service, heard: true, found: vec![], said, more: 0, settled: true, doubts: vec![] }
}

fn report(services: Vec<ServiceConditions>) -> Conditions {
    let root = of(ROOT_NAME, vec![]);
    Conditions { revision: 1, services: std::iter::once(root).chain(services).collect() }
}

/// Stale feeds of a collector, by their names.
fn stale(feeds: &[&str]) -> Conditions {
    let conditions = feeds.iter().map(|feed| condition("data_stale", feed, Severity::Warning)).collect();
    report(vec![of("datad.x", conditions)])
}

/// An engine, the time, and a webhook that takes everything unless it is told otherwise.
struct Bench {
    engine: Engine,
    now: i64,
    /// Events and subjects of what was delivered.
    delivered: Vec<String>,
    documents: Vec<Value>,
    answer: Result<(), (String, Retry)>,
}

impl Bench {
    fn with(options: &AlertdOptions) -> Self {
        Self {
            engine: Engine::new(options, "lab".to_owned(), Saved::new()),
            now: NOW,
            delivered: Vec::new(),
            documents: Vec::new(),
            answer: Ok(()),
        }
    }

    fn new() -> Self {
        Self::with(&options())
    }

    /// Hears a report at once, then lets so many seconds pass, looking whenever the engine wants to.
    fn hear(&mut self, report: &Conditions, seconds: i64) {
        self.engine.report(report, self.now);
        self.pass(seconds);
    }

    fn pass(&mut self, seconds: i64) {
        let end = self.now + seconds * S;
        loop {
            self.engine.advance(self.now);
            for attempt in self.engine.due(self.now) {
                self.posted(&attempt);
                self.engine.settle(attempt.hook, &attempt.id, self.answer.clone(), self.now);
            }
            let next = self.engine.next_look(self.now).max(self.now + 1_000_000);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
        }
    }

    fn posted(&mut self, attempt: &Attempt) {
        if self.answer.is_err() {
            return;
        }
        let document: Value = serde_json::from_slice(&attempt.document).unwrap();
        let alerts = document["alerts"].as_array().unwrap().iter();
        let subjects: Vec<&str> = alerts.map(|alert| alert["subject"].as_str().unwrap()).collect();
        self.delivered.push(format!("{} {} {}", document["event"].as_str().unwrap(), attempt.hook, subjects.join(",")));
        self.documents.push(document);
    }

    /// What was delivered since the last time.
    fn delivered(&mut self) -> Vec<String> {
        std::mem::take(&mut self.delivered)
    }

    /// As a process that was killed and started again: with nothing but what was saved.
    fn restart(&mut self, options: &AlertdOptions) {
        let saved: Saved = serde_json::from_slice(&self.engine.take_changes().unwrap()).unwrap();
        self.engine = Engine::new(options, "lab".to_owned(), saved);
    }
}

#[test]
fn a_streak_is_told_once_and_so_is_its_end() {
    let mut bench = Bench::new();
    bench.hear(&stale(&["a"]), 9);
    assert_eq!(bench.delivered(), [""; 0], "it has to hold first");
    bench.pass(2);
    assert_eq!(bench.delivered(), ["alert 0 a"]);
    for _ in 0..100 {
        bench.hear(&stale(&["a"]), 60);
    }
    assert_eq!(bench.delivered(), [""; 0], "once per streak");
    bench.hear(&stale(&[]), 59);
    assert_eq!(bench.delivered(), [""; 0], "it may come back");
    bench.pass(2);
    assert_eq!(bench.delivered(), ["recovered 0 a"]);
    let list = bench.engine.list();
    assert_eq!((list.alerts.len(), list.alerts[0].state, list.alerts[0].told), (1, AlertState::Recovered, true));
    assert!(bench.engine.is_idle());
    bench.hear(&stale(&["a"]), 11);
    assert_eq!(bench.delivered(), ["alert 0 a"], "another streak");
    let ids: Vec<_> = bench.documents.iter().map(|document| document["id"].as_str().unwrap()).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
}

#[test]
fn what_comes_and_goes_is_one_streak_and_what_came_once_shortly_is_none() {
    let mut bench = Bench::new();
    bench.hear(&stale(&["a"]), 3);
    bench.hear(&stale(&[]), 120);
    assert_eq!((bench.delivered(), bench.engine.list().alerts.len()), (vec![], 0));
    // Five seconds on, five off: it never holds, and yet it is wrong.
    for _ in 0..100 {
        bench.hear(&stale(&["a"]), 5);
        bench.hear(&stale(&[]), 5);
    }
    assert_eq!(bench.delivered(), ["alert 0 a"]);
    bench.pass(60);
    assert_eq!(bench.delivered(), ["recovered 0 a"]);
}

#[test]
fn silence_of_a_service_that_has_not_spoken_ends_nothing() {
    let mut bench = Bench::new();
    bench.hear(&stale(&["a"]), 11);
    assert_eq!(bench.delivered(), ["alert 0 a"]);
    let unheard = report(vec![ServiceConditions { heard: false, ..of("datad.x", vec![]) }]);
    let overfull = report(vec![ServiceConditions { more: 3, ..of("datad.x", vec![]) }]);
    let unsettled = report(vec![ServiceConditions { settled: false, ..of("datad.x", vec![]) }]);
    for report in [unheard, overfull, unsettled, Conditions { revision: 0, services: vec![of("alertd", vec![])] }] {
        bench.hear(&report, 3_600);
        assert_eq!(bench.delivered(), [""; 0], "{report:?}");
    }
    // One that no root knows any more is given up after a day.
    bench.hear(&report(vec![]), 23 * 3_600);
    assert_eq!(bench.delivered(), [""; 0]);
    bench.pass(3_700);
    assert_eq!(bench.delivered(), ["recovered 0 a"]);
}

#[test]
fn what_a_new_process_was_seen_to_be_well_is_over_while_something_else_is_in_doubt() {
    let mut bench = Bench::new();
    let gap = condition("gap_not_repaired", "b", Severity::Warning);
    let stale = |subject| condition("data_stale", subject, Severity::Critical);
    bench.hear(&report(vec![of("datad.x", vec![stale("a"), stale("b"), gap])]), 11);
    assert_eq!(bench.delivered(), ["alert 0 a,b", "alert 0 b"]);
    let doubt = |kind: &str, subject: Option<&str>| Doubt { kind: kind.to_owned(), subject: subject.map(str::to_owned) };
    let doubting = |doubts| report(vec![ServiceConditions { doubts, ..of("datad.x", vec![]) }]);
    bench.hear(&doubting(vec![doubt("data_stale", Some("b")), doubt("gap_not_repaired", None)]), 3_600);
    assert_eq!(bench.delivered(), ["recovered 0 a"]);
    bench.hear(&doubting(vec![doubt("gap_not_repaired", None)]), 61);
    assert_eq!(bench.delivered(), ["recovered 0 b"]);
    // It was so: the same streak goes on.
    bench.hear(&report(vec![of("datad.x", vec![condition("gap_not_repaired", "b", Severity::Warning)])]), 3_600);
    assert_eq!(bench.delivered(), [""; 0]);
    bench.hear(&doubting(vec![]), 61);
    assert_eq!(bench.delivered(), ["recovered 0 b"]);
}

#[test]
fn what_the_root_finds_is_over_when_it_says_so_whatever_the_service_knows_of_itself() {
    let mut bench = Bench::new();
    let found = vec![condition("service_failed", "", Severity::Critical)];
    let said = vec![condition("data_stale", "a", Severity::Critical)];
    bench.hear(&report(vec![ServiceConditions { found, ..of("datad.x", said) }]), 11);
    assert_eq!(bench.delivered(), ["alert 0 a", "alert 0 "]);
    bench.hear(&report(vec![ServiceConditions { settled: false, ..of("datad.x", vec![]) }]), 3_600);
    assert_eq!(bench.delivered(), ["recovered 0 "], "the new process has not looked around yet");
    bench.hear(&stale(&[]), 61);
    assert_eq!(bench.delivered(), ["recovered 0 a"]);
}

#[test]
fn what_happens_together_is_told_together() {
    let mut bench = Bench::new();
    let feeds: Vec<String> = (0..25).map(|n| format!("f{n:02}")).collect();
    let names: Vec<&str> = feeds.iter().map(String::as_str).collect();
    bench.hear(&stale(&names), 11);
    assert_eq!(bench.delivered(), ["alert 0 f00,f01,f02,f03,f04,f05,f06,f07,f08,f09"]);
    assert_eq!(bench.documents[0]["more"], 15);
    bench.hear(&stale(&[]), 61);
    assert_eq!(bench.delivered().len(), 1);
    // Of another kind, or of another service, it is another message.
    let other = [of("datad.y", vec![condition("data_stale", "a", Severity::Warning)])];
    let mixed = vec![condition("data_stale", "b", Severity::Warning), condition("ban", "x", Severity::Critical)];
    bench.hear(&report([of("datad.x", mixed)].into_iter().chain(other).collect()), 11);
    assert_eq!(bench.delivered(), ["alert 0 x", "alert 0 b", "alert 0 a"], "the gravest first");
}

#[test]
fn what_gets_graver_is_told_again_and_breaks_a_silence() {
    let mut bench = Bench::new();
    let disk = |severity| report(vec![of("datad.x", vec![condition("disk_low", "/", severity)])]);
    bench.hear(&disk(Severity::Warning), 11);
    let id = bench.engine.ids().remove(0);
    bench.engine.acknowledge(std::slice::from_ref(&id), 0).unwrap();
    assert_eq!(bench.delivered(), ["alert 0 /"]);
    bench.hear(&disk(Severity::Critical), 1);
    assert_eq!(bench.delivered(), ["alert 0 /"]);
    assert_eq!(bench.documents[1]["severity"], "critical");
    bench.hear(&disk(Severity::Warning), 1);
    bench.hear(&disk(Severity::Critical), 1);
    assert_eq!(bench.delivered(), [""; 0], "once per streak, at its gravest");
    assert_eq!(bench.documents[1]["alerts"][0]["id"], id);
}

#[test]
fn each_webhook_hears_what_is_grave_enough_for_it_and_the_ends_of_that() {
    let mut options = options();
    let url = Secret::new("https://two.example/x");
    options.webhooks.push(Webhook { url, format: Format::Json, min_severity: Severity::Critical });
    let mut bench = Bench::with(&options);
    let both = vec![condition("data_stale", "a", Severity::Warning), condition("not_recording", "b", Severity::Critical)];
    bench.hear(&report(vec![of("datad.x", both)]), 11);
    assert_eq!(bench.delivered(), ["alert 0 b", "alert 1 b", "alert 0 a"]);
    bench.hear(&stale(&[]), 61);
    assert_eq!(bench.delivered(), ["recovered 0 b", "recovered 1 b", "recovered 0 a"]);
}

#[test]
fn a_silence_holds_until_the_recovery_or_as_long_as_was_asked_for() {
    let options = AlertdOptions { repeat_after: Duration::from_secs(600), ..options() };
    let mut bench = Bench::with(&options);
    bench.hear(&stale(&["a"]), 1_211);
    assert_eq!(bench.delivered(), ["alert 0 a", "reminder 0 a", "reminder 0 a"]);
    let known = bench.engine.acknowledge(&[], 0).unwrap();
    assert_eq!((known.len(), known[0].acknowledged_until), (1, i64::MAX));
    bench.pass(86_400);
    assert_eq!(bench.delivered(), [""; 0]);
    bench.engine.acknowledge(&[known[0].id.clone()], bench.now + 900 * S).unwrap();
    bench.pass(899);
    assert_eq!(bench.delivered(), [""; 0]);
    bench.pass(602);
    assert_eq!(bench.delivered(), ["reminder 0 a", "reminder 0 a"], "the silence is over, and it still holds");
    bench.engine.acknowledge(&[], 0).unwrap();
    bench.hear(&stale(&[]), 61);
    assert_eq!(bench.delivered(), ["recovered 0 a"], "who heard of the beginning hears of the end");
    // Known before it was told: not a word.
    let begins = Condition { since: bench.now, ..condition("data_stale", "b", Severity::Warning) };
    bench.hear(&report(vec![of("datad.x", vec![begins])]), 1);
    bench.engine.acknowledge(&[], 0).unwrap();
    bench.pass(3_600);
    bench.hear(&stale(&[]), 61);
    assert_eq!(bench.delivered(), [""; 0]);
    assert_eq!(bench.engine.acknowledge(&["a999".to_owned()], 0), Err("a999".to_owned()));
}

#[test]
fn no_more_than_so_many_an_hour_and_the_rest_as_a_number() {
    let options = AlertdOptions { max_per_hour: 5, ..options() };
    let mut bench = Bench::with(&options);
    // Thirty streaks, one after the other, in less than an hour: sixty messages.
    for n in 0..30 {
        bench.hear(&stale(&[&format!("f{n}")]), 15);
        bench.hear(&stale(&[]), 65);
    }
    let first = bench.delivered();
    assert_eq!(first.len(), 5, "{first:?}");
    bench.pass(2 * 3_600);
    let then = bench.delivered();
    assert_eq!(then.len(), 1, "{then:?}");
    let held: u64 = bench.documents.iter().map(|document| document["held_back"].as_u64().unwrap()).sum();
    let single = bench.documents.iter().filter(|document| document["held_back"] == 0).count();
    assert_eq!(held + single as u64, 60, "every message is told, or counted");
    bench.hear(&stale(&["x"]), 11);
    assert_eq!(bench.delivered(), ["alert 0 x"]);
}

#[test]
fn while_nothing_can_be_delivered_messages_wait_in_their_order_with_longer_and_longer_pauses() {
    let mut bench = Bench::new();
    bench.answer = Err(("cannot connect".to_owned(), Retry::After(Duration::from_secs(1))));
    bench.hear(&stale(&["a"]), 600);
    bench.hear(&stale(&[]), 600);
    let hook = bench.engine.list().webhooks.remove(0);
    assert_eq!((hook.sent, hook.waiting, hook.lost), (0, 2, 0));
    assert_eq!(hook.last_error.as_deref(), Some("cannot connect"));
    assert!(hook.failing_since > NOW && bench.engine.trouble().unwrap().contains("one.example"));
    let failures = bench.engine.saved.outboxes[0].failures;
    assert!((8..20).contains(&failures), "{failures} attempts within twenty minutes");
    bench.answer = Ok(());
    bench.pass(301);
    assert_eq!(bench.delivered(), ["alert 0 a", "recovered 0 a"]);
    assert!(bench.documents[0]["text"].as_str().unwrap().ends_with("delivered late)"), "{}", bench.documents[0]);
    assert_eq!((bench.engine.trouble(), bench.engine.is_idle()), (None, true));
}

#[test]
fn a_webhook_that_asks_for_time_gets_it_and_one_that_refuses_is_given_up_for_that_message() {
    let mut bench = Bench::new();
    bench.answer = Err(("status 429".to_owned(), Retry::After(Duration::from_secs(1_800))));
    bench.hear(&stale(&["a"]), 12);
    bench.answer = Ok(());
    bench.pass(1_780);
    assert_eq!(bench.delivered(), [""; 0]);
    bench.pass(30);
    assert_eq!(bench.delivered(), ["alert 0 a"]);
    bench.answer = Err(("status 404".to_owned(), Retry::No));
    bench.hear(&stale(&["a", "b"]), 120);
    let hook = bench.engine.list().webhooks.remove(0);
    assert_eq!((hook.waiting, hook.lost, hook.last_error.as_deref()), (0, 1, Some("status 404")));
    assert!(hook.failing_since > 0, "it shows as failing until something is delivered");
    bench.answer = Ok(());
    bench.hear(&stale(&["a", "b", "c"]), 300);
    assert_eq!(bench.delivered(), ["alert 0 c"]);
    assert_eq!(bench.engine.list().webhooks[0].failing_since, 0);
}

#[test]
fn a_killed_process_goes_on_where_it_was() {
    let mut bench = Bench::new();
    bench.hear(&stale(&["a"]), 11);
    assert_eq!(bench.delivered(), ["alert 0 a"]);
    bench.restart(&options());
    bench.hear(&stale(&["a"]), 3_600);
    assert_eq!(bench.delivered(), [""; 0], "it was told already");
    // Killed with a message under way, of which nobody noted that it arrived: it goes out again, under the same id.
    bench.engine.report(&stale(&["a", "b"]), bench.now);
    bench.now += 11 * S;
    bench.engine.advance(bench.now);
    let attempt = bench.engine.due(bench.now).remove(0);
    bench.engine.dirty = true;
    bench.restart(&options());
    bench.hear(&stale(&["a", "b"]), 1);
    assert_eq!(bench.delivered(), ["alert 0 b"]);
    assert_eq!(bench.documents.last().unwrap()["id"].as_str(), Some(attempt.id.as_str()));
    // The end came while nobody looked.
    bench.restart(&options());
    bench.hear(&stale(&[]), 61);
    assert_eq!(bench.delivered(), ["recovered 0 a,b"]);
}

#[test]
fn neither_what_is_saved_nor_what_is_listed_holds_an_address() {
    let mut bench = Bench::new();
    bench.answer = Err(("cannot connect to one.example".to_owned(), Retry::Now));
    bench.hear(&stale(&["a"]), 60);
    bench.engine.dirty = true;
    let saved = String::from_utf8(bench.engine.take_changes().unwrap()).unwrap();
    let listed = serde_json::to_string(&bench.engine.list()).unwrap();
    let shown = format!("{:?} {:?}", bench.engine, options());
    assert!([saved, listed, shown].iter().all(|text| !text.contains("s3cret")));
    // Another address is another webhook, and gets nothing that was meant for the first.
    let other = Webhook { url: Secret::new("https://two.example/x"), format: Format::Json, min_severity: Severity::Info };
    bench.engine.dirty = true;
    bench.restart(&AlertdOptions { webhooks: vec![other], ..options() });
    bench.answer = Ok(());
    bench.hear(&stale(&["a"]), 60);
    assert_eq!(bench.delivered(), [""; 0]);
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_wait_for_yesterday() {
    let mut bench = Bench::new();
    bench.answer = Err(("no net".to_owned(), Retry::After(Duration::from_secs(600))));
    bench.hear(&stale(&["a"]), 12);
    bench.answer = Ok(());
    bench.now -= 86_400 * S;
    bench.pass(1);
    assert_eq!(bench.delivered(), ["alert 0 a"]);
    bench.hear(&stale(&[]), 1);
    bench.now -= 86_400 * S;
    bench.pass(62);
    assert_eq!(bench.delivered(), ["recovered 0 a"]);
}

#[test]
fn a_queue_has_an_end_and_a_message_an_age() {
    let options = AlertdOptions { max_per_hour: 10_000, clear_after: Duration::ZERO, hold: Duration::ZERO, ..options() };
    let mut bench = Bench::with(&options);
    bench.answer = Err(("no net".to_owned(), Retry::Now));
    for n in 0..400 {
        bench.hear(&stale(&[&format!("f{n}")]), 1);
        bench.hear(&stale(&[]), 1);
    }
    let hook = bench.engine.list().webhooks.remove(0);
    // 500 wait, with what was told as a number before them, and what will be.
    assert!(hook.waiting <= 502 && hook.held_back < 300, "{hook:?}");
    let mut later = Bench { engine: Engine::new(&options, "lab".to_owned(), bench.engine.saved.clone()), ..Bench::new() };
    later.now = bench.now;
    later.pass(600);
    let held: u64 = later.documents.iter().map(|document| document["held_back"].as_u64().unwrap()).sum();
    let single = later.documents.iter().filter(|document| document["held_back"] == 0).count();
    assert!(held + single as u64 == 800 && single >= 500, "{held} {single}: every message is told, or counted");
    bench.pass(8 * 24 * 3_600);
    let hook = bench.engine.list().webhooks.remove(0);
    assert_eq!((hook.waiting, hook.held_back, hook.lost >= 500), (0, 0, true), "{hook:?}");
}
