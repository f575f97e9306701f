//! Starting, watching, restarting and giving up.
#![allow(clippy::print_stdout, reason = "tests say what they measure and what they skip")]

mod tree;

use std::time::{Duration, Instant};

use dccd_registry::RegistryError;
use dccd_root::Policy;
use dccd_rpc::CallError;
use dccd_rpc::root::{EnsureError, ServiceState};
use rustix::process::Signal;
use tree::{PATIENCE, Place, Tree, alive, quick, send, wait_for};

#[tokio::test]
async fn registered_means_ready() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    let info = tree.until_state("a", ServiceState::Ready).await;
    let pid = info.pid.unwrap();
    assert_eq!(info.endpoint.unwrap().unix_path().unwrap(), tree.place.runtime().service_socket("a"));
    assert_eq!(info.version.as_deref(), Some(dccd_rpc::BUILD));
    let title = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(title.trim(), "a");
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command_line.starts_with(b"a\0--service\0a\0"), "{}", String::from_utf8_lossy(&command_line));
    // Heartbeats bring memory and counters.
    let info = tree.until("a", "with a heartbeat", |info| info.rss_bytes.is_some() && info.cpu_pct.is_some()).await;
    assert_eq!(info.counters, [("steps".to_owned(), 1)]);
    let list = tree.registry.list(PATIENCE).await.unwrap();
    assert_eq!(list[0].name, "dccd-root");
    assert_eq!(list[0].state, ServiceState::Ready);
    assert!(tree.registry.status(PATIENCE).await.unwrap().ready);
    let (place, report) = tree.stop().await;
    assert_eq!(report.services.len(), 1);
    assert_eq!(place.notes("flushed"), ["a SIGTERM"]);
}

#[tokio::test]
async fn a_token_is_good_for_its_process_as_often_as_that_asks() {
    let place = Place::new();
    place.mode("a", "tokens");
    let services = [place.spec("a", Policy::Temporary, true)];
    let tree = Tree::start(place, &services).await;
    let place = &tree.place;
    wait_for("eight tries", async || (place.notes("tokens").len() == 8).then_some(())).await;
    let refused = "dccd-root refused";
    assert_eq!(
        place.notes("tokens"),
        [
            format!("early heartbeat: {refused}: this process is not a"),
            format!("wrong: {refused}: the token is wrong"),
            format!("missing: {refused}: the token is wrong"),
            format!("foreign: {refused}: this process was not started as this service"),
            "right: accepted".to_owned(),
            "again: accepted".to_owned(),
            format!("again, foreign: {refused}: this process was not started as this service"),
            format!("again, wrong: {refused}: the token is wrong"),
        ]
    );
    tree.stop().await;
}

#[tokio::test]
async fn a_registration_whose_answer_is_lost_is_made_again() {
    let place = Place::new();
    place.mode("a", "lost-answer");
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    let info = tree.until("a", "with a heartbeat", |info| info.rss_bytes.is_some()).await;
    assert_eq!((info.restarts, info.last_exit), (0, None));
    let (place, _) = tree.stop().await;
    assert!(place.log("a").contains("no answer to the registration; trying again"), "{}", place.log("a"));
}

#[tokio::test]
async fn another_process_can_neither_register_nor_beat_for_a_service() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    tree.until_state("a", ServiceState::Ready).await;
    let beat = tree.registry.heartbeat("a", Default::default(), PATIENCE).await.unwrap_err();
    assert_eq!(beat.to_string(), "dccd-root refused: this process is not a");
    let farewell = tree.registry.deregister("a", "never", Vec::new(), PATIENCE).await.unwrap_err();
    assert_eq!(farewell.to_string(), "dccd-root refused: this process is not a");
    let unknown = tree.registry.heartbeat("x", Default::default(), PATIENCE).await.unwrap_err();
    assert_eq!(unknown.to_string(), "service \"x\" is unknown (known: a)");
    tree.stop().await;
}

#[tokio::test]
async fn a_killed_service_is_back_at_once() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    // Only the first restart comes without this delay.
    options.supervision.restart.base_delay = PATIENCE * 3;
    options.supervision.restart.max_delay = PATIENCE * 3;
    let tree = Tree::start_with(place, options).await;
    let first = tree.until_state("a", ServiceState::Ready).await.pid.unwrap();
    let killed = Instant::now();
    send(first, Signal::KILL);
    let again = tree.until("a", "ready again", |info| info.restarts == 1 && info.state == ServiceState::Ready).await;
    println!("killed to ready again: {:?}", killed.elapsed());
    assert_ne!(again.pid.unwrap(), first);
    assert_eq!(again.last_exit.as_deref(), Some("SIGKILL"));
    send(again.pid.unwrap(), Signal::ABORT);
    let waiting = tree.until_state("a", ServiceState::Backoff).await;
    assert_eq!(waiting.last_exit.as_deref(), Some("SIGABRT"));
    assert!(waiting.reason.unwrap().starts_with("SIGABRT; restart in"));
    // A backoff doesn't hold up the stop.
    let (_, report) = tree.stop().await;
    assert_eq!(report.services, []);
}

#[tokio::test]
async fn five_restarts_then_failed_and_a_restart_by_hand_heals() {
    let place = Place::new();
    place.mode("a", "crash");
    let services = [place.spec("a", Policy::Permanent, true), place.spec("b", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    let info = tree.until_state("a", ServiceState::Failed).await;
    assert_eq!(info.restarts, 5);
    assert_eq!(info.last_exit.as_deref(), Some("exit 1"));
    assert_eq!(info.reason.as_deref(), Some("exit 1 (the service failed: told to crash), after 5 restarts within 600 s"));
    assert_eq!(tree.place.notes("spawns").iter().filter(|line| line.starts_with("a ")).count(), 6);
    assert!(tree.place.log("a").contains("told to crash"), "{}", tree.place.log("a"));
    // The other one never noticed.
    let b = tree.until_state("b", ServiceState::Ready).await;
    assert_eq!(b.restarts, 0);
    let error = tree.registry.ensure("a", PATIENCE).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Ensure(CallError::Answer(EnsureError::Failed { .. }))), "{error}");
    let status = tree.registry.status(PATIENCE).await.unwrap();
    assert_eq!((status.ready, status.missing), (false, vec!["a".to_owned()]));
    // The whole history is there for those who watch.
    let events = tree.registry.watch(0, PATIENCE).await.unwrap();
    assert_eq!(events.events.iter().filter(|e| e.service == "a" && e.state == ServiceState::Backoff).count(), 5);
    tree.place.mode("a", "run");
    tree.registry.restart("a", PATIENCE).await.unwrap();
    let healed = tree.info("a").await;
    assert_eq!(healed.state, ServiceState::Ready);
    // With all its restarts again.
    send(healed.pid.unwrap(), Signal::KILL);
    tree.until("a", "ready again", |info| info.restarts == 6 && info.state == ServiceState::Ready).await;
    tree.stop().await;
}

#[tokio::test]
async fn a_service_that_never_registers_is_a_failure() {
    let place = Place::new();
    place.mode("a", "silent");
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    options.supervision.start_timeout = Duration::from_millis(300);
    options.supervision.restart.max_restarts = 1;
    let tree = Tree::start_with(place, options).await;
    let info = tree.until_state("a", ServiceState::Failed).await;
    assert_eq!(info.last_exit.as_deref(), Some("start timeout"));
    tree.stop().await;
}

#[tokio::test]
async fn a_missing_executable_is_a_failure_with_its_reason() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    options.executable = "/nowhere/dccd".into();
    let tree = Tree::start_with(place, options).await;
    let info = tree.until_state("a", ServiceState::Failed).await;
    let reason = info.reason.unwrap();
    assert!(reason.starts_with("cannot start /nowhere/dccd: No such file"), "{reason}");
    tree.stop().await;
}

#[tokio::test]
async fn a_crash_takes_the_whole_process_group_along() {
    let place = Place::new();
    place.mode("a", "grandchild");
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    let pid = tree.until_state("a", ServiceState::Ready).await.pid.unwrap();
    let grandchild: u32 = tree.place.notes("grandchild")[0].parse().unwrap();
    assert!(alive(grandchild));
    send(pid, Signal::KILL);
    wait_for("the end of the grandchild", async || (!alive(grandchild)).then_some(())).await;
    tree.stop().await;
}

#[tokio::test]
async fn what_is_wrong_shows_as_degraded() {
    let place = Place::new();
    place.mode("full", "degraded");
    place.mode("idle", "stuck");
    let mut fat = place.spec("fat", Policy::Permanent, true);
    fat.limits.max_memory_bytes = Some(1);
    place.mode("lame", "degraded-from-the-first");
    let eager = |name| place.spec(name, Policy::Permanent, true);
    let services = [eager("full"), eager("idle"), eager("lame"), fat];
    let mut options = place.options(&services);
    options.supervision.progress_timeout = Duration::from_millis(100);
    options.supervision.memory_grace = Duration::from_millis(200);
    let tree = Tree::start_with(place, options).await;
    // Whoever waits until it is ready sees at once that it is not sound.
    tree.registry.ensure("lame", PATIENCE).await.unwrap();
    let lame = tree.info("lame").await;
    assert_eq!((lame.state, lame.reason.as_deref()), (ServiceState::Degraded, Some("no exchange")));
    let full = tree.until_state("full", ServiceState::Degraded).await;
    assert_eq!(full.reason.as_deref(), Some("disk full"));
    let idle = tree.until_state("idle", ServiceState::Degraded).await;
    assert!(idle.reason.unwrap().starts_with("busy, but no progress"));
    // Degraded is ready for those who call it.
    tree.registry.ensure("full", PATIENCE).await.unwrap();
    let fat = tree.until("fat", "replaced", |info| info.restarts >= 1).await;
    assert_eq!(fat.last_exit.as_deref(), Some("memory limit"));
    tree.stop().await;
}

#[tokio::test]
async fn policies_say_who_comes_back() {
    let place = Place::new();
    for name in ["transient", "temporary", "permanent"] {
        place.mode(name, "done");
    }
    place.mode("transient-crash", "crash");
    let services = [
        place.spec("transient", Policy::Transient, true),
        place.spec("temporary", Policy::Temporary, true),
        place.spec("permanent", Policy::Permanent, true),
        place.spec("transient-crash", Policy::Transient, true),
    ];
    let tree = Tree::start(place, &services).await;
    for (name, state, exit) in [
        ("transient", ServiceState::Stopped, "exit 0"),
        ("temporary", ServiceState::Stopped, "exit 0"),
        ("permanent", ServiceState::Failed, "exit 0"),
        ("transient-crash", ServiceState::Failed, "exit 1"),
    ] {
        let info = tree.until(name, "at rest", |info| info.state == state && info.last_exit.is_some()).await;
        assert_eq!(info.last_exit.as_deref(), Some(exit), "{name}");
    }
    tree.stop().await;
}

#[tokio::test]
async fn a_stable_service_gets_its_restarts_back() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    options.supervision = quick();
    options.supervision.restart.max_restarts = 1;
    options.supervision.restart.stable_after = Some(Duration::ZERO);
    let tree = Tree::start_with(place, options).await;
    for n in 0..3 {
        let info = tree.until("a", "ready", |info| info.restarts == n && info.state == ServiceState::Ready).await;
        send(info.pid.unwrap(), Signal::KILL);
    }
    tree.until("a", "ready", |info| info.restarts == 3 && info.state == ServiceState::Ready).await;
    tree.stop().await;
}

#[tokio::test]
async fn output_is_captured() {
    let place = Place::new();
    place.mode("a", "chatty");
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    tree.until_state("a", ServiceState::Ready).await;
    let (place, _) = tree.stop().await;
    let log = place.log("a");
    assert!(log.contains("on stdout\n") && log.contains("on stderr\n"), "{log}");
    let long: Vec<usize> = log.lines().filter(|line| line.starts_with("xxx")).map(str::len).collect();
    assert_eq!(long.iter().sum::<usize>(), 40_000, "{long:?}");
    assert!(log.contains(" INFO ") && log.contains("ready"), "{log}");
}

#[tokio::test]
async fn a_panic_is_logged_and_restarted() {
    let place = Place::new();
    place.mode("a", "panic");
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    let info = tree.until_state("a", ServiceState::Failed).await;
    assert_eq!(info.last_exit.as_deref(), Some("exit 101"));
    let log = tree.place.log("a");
    assert!(log.contains("panic: told to panic") && log.contains("service.rs"), "{log}");
    tree.stop().await;
}
