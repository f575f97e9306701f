//! What a root that is killed leaves, and what the next one makes of it.

mod tree;

use std::time::{Duration, Instant};

use dccd_registry::Registry;
use dccd_root::Policy;
use dccd_rpc::root::{Endpoint, Registration, ServiceState};
use rustix::process::Signal;
use tree::process::{ready_pids, root_process, root_process_with};
use tree::{PATIENCE, Place, Tree, alive, mode_of, send, wait_for};

/// The next root, in this process, with the services of the first.
async fn next(place: Place) -> Tree {
    let services = ["a", "b"].map(|name| place.spec(name, Policy::Permanent, true));
    Tree::start(place, &services).await
}

#[tokio::test]
async fn services_go_on_without_their_root_and_each_next_one_adopts_them() {
    let born = Instant::now();
    let place = Place::new();
    let mut root = root_process(&place);
    let (_, pids) = ready_pids(&place).await;
    for n in 0..5 {
        if n == 0 {
            // The kernel hangs up on a group with a stopped process when its last relative outside dies.
            send(pids[0], Signal::STOP);
            let stat = format!("/proc/{}/stat", pids[0]);
            let stopped = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "));
            wait_for("the stop", async || stopped().then_some(())).await;
        }
        root.kill();
        assert!(pids.iter().all(|&pid| alive(pid)));
        root = root_process(&place);
        let (registry, now) = ready_pids(&place).await;
        assert_eq!(now, pids);
        for info in &registry.list(PATIENCE).await.unwrap()[1..] {
            assert_eq!((info.restarts, info.last_exit.as_deref()), (0, None), "{info:?}");
        }
    }
    root.kill();
    let tree = next(place).await;
    let a = tree.until_state("a", ServiceState::Ready).await;
    let b = tree.until_state("b", ServiceState::Ready).await;
    assert_eq!([a.pid.unwrap(), b.pid.unwrap()], pids[..]);
    // Its own uptime, not that of this root. (The kernel counts it in hundredths.)
    let (own, root) = (a.uptime_s.unwrap(), tree.info("dccd-root").await.uptime_s.unwrap());
    assert!(own > root && own <= born.elapsed().as_secs_f64() + 0.01, "{own} {root}");
    // Heartbeats arrive, and the count goes on.
    tree.until("a", "beating", |info| info.rss_bytes.is_some()).await;
    send(pids[0], Signal::KILL);
    let again = tree.until("a", "restarted", |info| info.restarts == 1 && info.state == ServiceState::Ready).await;
    assert_eq!(again.last_exit.as_deref(), Some("exit unknown, adopted"));
    let runtime = tree.place.runtime();
    let (place, report) = tree.stop().await;
    let mut exits: Vec<_> = report.services.iter().map(|s| (s.name.as_str(), s.exit.as_str(), s.killed)).collect();
    exits.sort_unstable();
    assert_eq!(exits, [("a", "exit 0", false), ("b", "exit unknown, adopted", false)]);
    assert!(!alive(pids[1]) && runtime.recorded_services().is_empty());
    assert!(place.log("b").contains("adopted by the next dccd-root") && place.log("b").contains("flushing"));
}

#[tokio::test]
async fn without_a_root_for_its_grace_a_service_flushes_and_exits() {
    let place = Place::new();
    place.mode("b", "silent");
    let mut root = root_process_with(&place, 200);
    let runtime = place.runtime();
    let registry = wait_for("the root", async || Registry::connect_in(&runtime, PATIENCE).await.ok()).await;
    registry.ensure("a", PATIENCE).await.unwrap();
    // The one that never registers has read its token once it listens.
    let socket = runtime.service_socket("b");
    wait_for("the silent service's socket", async || socket.exists().then_some(())).await;
    let pids: Vec<u32> = place.notes("spawns").iter().map(|line| line.split_once(' ').unwrap().1.parse().unwrap()).collect();
    root.kill();
    for &pid in &pids {
        wait_for("the end of a service without a root", async || (!alive(pid)).then_some(())).await;
    }
    assert_eq!(place.notes("flushed"), ["a dccd-root is gone"]);
    // Their last words had no reader any more, and are in their logs all the same.
    let log = place.log("a");
    assert!(log.contains("going on, and waiting for the next one") && log.contains("no dccd-root has come"), "{log}");
    assert!(!runtime.service_socket("a").exists() && runtime.recorded_services().is_empty());
}

#[tokio::test]
async fn one_that_crashed_without_a_root_is_started_anew_and_counted() {
    let place = Place::new();
    let mut root = root_process(&place);
    let (_, pids) = ready_pids(&place).await;
    root.kill();
    send(pids[0], Signal::KILL);
    wait_for("its end", async || (!alive(pids[0])).then_some(())).await;
    let tree = next(place).await;
    let a = tree.until_state("a", ServiceState::Ready).await;
    assert!(a.pid != Some(pids[0]) && a.restarts == 1, "{a:?}");
    assert_eq!(a.last_exit.as_deref(), Some("ended without a root"));
    assert_eq!(tree.until_state("b", ServiceState::Ready).await.pid, Some(pids[1]));
    tree.stop().await;
}

#[tokio::test]
async fn one_that_dies_while_the_root_is_executed_anew_leaves_no_zombie() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    let pid = tree.until_state("a", ServiceState::Ready).await.pid.unwrap();
    let place = tree.hand_over().await;
    send(pid, Signal::KILL);
    wait_for("its end", async || (!alive(pid)).then_some(())).await;
    let entry = std::path::PathBuf::from(format!("/proc/{pid}"));
    assert!(entry.exists(), "it is this process's child still");
    let tree = Tree::start(place, &services).await;
    let a = tree.until_state("a", ServiceState::Ready).await;
    assert!(!entry.exists());
    assert_eq!((a.restarts, a.last_exit.as_deref()), (1, Some("SIGKILL")));
    tree.stop().await;
}

#[tokio::test]
async fn a_stop_while_the_root_hands_over_is_not_taken_for_done() {
    let place = Place::new();
    place.mode("a", "stubborn");
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    options.supervision.shutdown_timeout = Duration::from_secs(2);
    let tree = Tree::start_with(place, options).await;
    tree.until_state("a", ServiceState::Ready).await;
    tree.place.mode("a", "run");
    let (first, second) = (tree.registry.clone(), tree.registry.clone());
    // It holds the hand-over up until it is killed.
    let restart = tokio::spawn(async move { first.restart("a", PATIENCE).await });
    tree.until_state("a", ServiceState::Stopping).await;
    let hand_over = tokio::spawn(async move { second.hand_over(PATIENCE).await });
    wait_for("the hand-over", async || tree.registry.status(PATIENCE).await.unwrap().stopping.then_some(())).await;
    let error = tree.registry.stop(false, None).await.unwrap_err();
    assert!(error.to_string().contains("it hands over to the next root just now; ask that one"), "{error}");
    hand_over.await.unwrap().unwrap();
    restart.await.unwrap().unwrap_err();
    tree.task.await.unwrap().unwrap();
    let tree = Tree::start(tree.place, &services).await;
    tree.until_state("a", ServiceState::Ready).await;
    assert_eq!(tree.stop().await.1.services.len(), 1);
}

#[tokio::test]
async fn a_process_with_a_wrong_token_is_not_adopted() {
    let place = Place::new();
    let mut root = root_process(&place);
    let (_, pids) = ready_pids(&place).await;
    root.kill();
    let path = place.runtime().service_record("a");
    assert_eq!(mode_of(&path), 0o600);
    let record = std::fs::read_to_string(&path).unwrap();
    let at = record.find("token_sha256\":\"").unwrap() + 15;
    let other = if &record[at..=at] == "0" { "1" } else { "0" };
    std::fs::write(&path, format!("{}{other}{}", &record[..at], &record[at + 1..])).unwrap();
    let tree = next(place).await;
    let a = tree.until_state("a", ServiceState::Ready).await;
    assert!(a.pid != Some(pids[0]) && a.restarts == 0 && !alive(pids[0]), "{a:?}");
    assert_eq!(a.last_exit.as_deref(), Some("the token is wrong"));
    // It had its time to flush, and is no failure.
    assert_eq!(tree.place.notes("flushed").len(), 1);
    assert_eq!(tree.until_state("b", ServiceState::Ready).await.pid, Some(pids[1]));
    tree.stop().await;
}

#[tokio::test]
async fn another_process_cannot_be_adopted_in_its_place() {
    let place = Place::new();
    let mut root = root_process(&place);
    let (_, pids) = ready_pids(&place).await;
    root.kill();
    send(pids[0], Signal::STOP);
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    options.supervision.adoption_timeout = PATIENCE * 2;
    let tree = Tree::start_with(place, options).await;
    let registration = Registration {
        name: "a".to_owned(),
        pid: pids[0],
        endpoint: Endpoint("unix:/tmp/mine".to_owned()),
        version: "test".to_owned(),
        protocol: 0,
        token: "0".repeat(64),
        degraded: None,
    };
    let refused = tree.registry.register(registration.clone(), PATIENCE).await.unwrap_err();
    assert_eq!(refused.to_string(), "dccd-root refused: this process was not started as this service");
    let own = Registration { pid: std::process::id(), ..registration };
    tree.registry.register(own, PATIENCE).await.unwrap_err();
    assert_eq!(tree.info("a").await.state, ServiceState::Starting);
    send(pids[0], Signal::CONT);
    let a = tree.until_state("a", ServiceState::Ready).await;
    assert_eq!(a.pid, Some(pids[0]), "the right one was not disturbed");
    // The other service isn't wanted by this root.
    wait_for("the end of what nobody wants", async || (!alive(pids[1])).then_some(())).await;
    tree.stop().await;
}

#[tokio::test]
async fn one_that_hangs_or_is_another_than_wanted_is_replaced() {
    let place = Place::new();
    let mut root = root_process(&place);
    let (_, pids) = ready_pids(&place).await;
    root.kill();
    send(pids[0], Signal::STOP);
    let mut services = ["a", "b"].map(|name| place.spec(name, Policy::Permanent, true));
    services[1].protocol = Some(7);
    let mut options = place.options(&services);
    options.supervision.adoption_timeout = Duration::from_secs(3);
    options.supervision.shutdown_timeout = Duration::from_millis(500);
    let tree = Tree::start_with(place, options).await;
    let a = tree.until("a", "replaced", |info| info.state == ServiceState::Ready && info.pid != Some(pids[0])).await;
    assert_eq!((a.restarts, a.last_exit.as_deref()), (0, Some("not adopted in time")));
    let b = tree.until("b", "replaced", |info| info.state == ServiceState::Ready && info.pid != Some(pids[1])).await;
    assert_eq!((b.restarts, b.last_exit.as_deref()), (0, Some("it speaks another version of its contract")));
    assert!(!alive(pids[0]) && !alive(pids[1]));
    // Told something else at its start: it is replaced without being asked.
    let place = tree.hand_over().await;
    let mut services = ["a", "b"].map(|name| place.spec(name, Policy::Permanent, true));
    services[0].fingerprint = "another configuration".to_owned();
    let tree = Tree::start(place, &services).await;
    let again = tree.until_state("a", ServiceState::Ready).await;
    assert_ne!(again.pid, a.pid);
    assert_eq!(tree.until_state("b", ServiceState::Ready).await.pid, b.pid);
    tree.stop().await;
}

#[tokio::test]
async fn a_root_that_hands_over_leaves_everything_to_the_next() {
    let place = Place::new();
    let specs = |place: &Place| {
        [place.spec("eager", Policy::Permanent, true), place.spec("lazy", Policy::Transient, false)].to_vec()
    };
    let tree = Tree::start(place, &[]).await;
    let place = tree.hand_over().await;
    let services = specs(&place);
    let tree = Tree::start(place, &services).await;
    let eager = tree.until_state("eager", ServiceState::Ready).await;
    tree.registry.ensure("lazy", PATIENCE).await.unwrap();
    let lazy = tree.info("lazy").await;
    send(lazy.pid.unwrap(), Signal::KILL);
    let lazy = tree.until("lazy", "restarted", |info| info.restarts == 1 && info.state == ServiceState::Ready).await;
    let place = tree.hand_over().await;
    assert!(alive(eager.pid.unwrap()) && alive(lazy.pid.unwrap()));
    // Nobody configured it here: somebody asked for it.
    let mut options = place.options(&services[..1]);
    let resolved = services[1].clone();
    options.resolve = std::sync::Arc::new(move |name| (name == resolved.name).then(|| resolved.clone()));
    let tree = Tree::start_with(place, options).await;
    assert_eq!(tree.until_state("eager", ServiceState::Ready).await.pid, eager.pid);
    let adopted = tree.until_state("lazy", ServiceState::Ready).await;
    assert_eq!((adopted.pid, adopted.restarts, adopted.last_exit.as_deref()), (lazy.pid, 1, Some("SIGKILL")));
    assert!(tree.place.notes("flushed").is_empty());
    let (_, report) = tree.stop().await;
    // In order, and told how: they are children of this process all the same.
    let stopped: Vec<_> = report.services.iter().map(|s| (s.name.as_str(), s.exit.as_str())).collect();
    assert_eq!(stopped, [("lazy", "exit 0"), ("eager", "exit 0")]);
}
