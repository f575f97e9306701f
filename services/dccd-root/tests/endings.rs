//! How processes end: what is kept of it, what one that hangs says, what limits do.

mod tree;

use std::fs::{self, File};
use std::io::Read as _;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use dccd_root::{Policy, Supervision};
use dccd_rpc::root::{ServiceExit, ServiceInfo, ServiceState};
use rustix::process::Signal;
use tree::process::{ready_pids, root_process};
use tree::{PATIENCE, Place, Tree, alive, quick, send};

fn reasons(info: &ServiceInfo) -> Vec<&str> {
    info.exits.iter().map(|exit| exit.reason.as_str()).collect()
}

#[tokio::test]
async fn exits_are_kept_with_their_causes_over_roots() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    let first = tree.until("a", "with a heartbeat", |info| info.rss_bytes.is_some()).await.pid.unwrap();
    send(first, Signal::KILL);
    tree.place.mode("a", "crash");
    let failed = tree.until_state("a", ServiceState::Failed).await;
    let [killed, crashed, ..] = &failed.exits[..] else { panic!("{:?}", failed.exits) };
    assert_eq!((killed.pid, killed.reason.as_str(), killed.killed), (Some(first), "SIGKILL", false));
    assert_eq!((killed.code, killed.signal.as_deref()), (None, Some("SIGKILL")));
    assert!(killed.ran_s.unwrap() > 0.0 && killed.rss_bytes.unwrap() > 0 && killed.ts > 0, "{killed:?}");
    assert!(killed.detail.as_deref().unwrap().starts_with("not killed by dccd; it used "), "{killed:?}");
    let ServiceExit { reason, code, last_words, detail, .. } = crashed;
    assert_eq!((reason.as_str(), *code, detail), ("exit 1", Some(1), &None));
    assert_eq!(last_words.as_deref(), Some("the service failed: told to crash"));
    assert_eq!(reasons(&failed), ["SIGKILL", "exit 1", "exit 1", "exit 1", "exit 1", "exit 1"]);
    let (place, _) = tree.stop().await;
    let tree = Tree::start(place, &services).await;
    assert_eq!(tree.info("a").await.exits[..6], failed.exits);
    // The newest twenty are kept.
    tree.place.mode("a", "run");
    for _ in 0..20 {
        tree.registry.restart("a", PATIENCE).await.unwrap();
    }
    let info = tree.info("a").await;
    assert_eq!(reasons(&info), ["restart"; 20]);
    assert_eq!((info.exits[19].code, info.exits[19].killed), (Some(0), false));
    assert_eq!(info.exits[19].last_words.as_deref(), Some("SIGTERM"));
    let data = tree.place.data();
    let (_place, _) = tree.stop().await;
    let saved = dccd_root::load_state(&data).unwrap().unwrap();
    assert_eq!(saved.services[1].exits[19].reason, "stop");
}

#[tokio::test]
async fn a_crash_loop_gets_no_fresh_count_from_the_next_root_but_from_an_orderly_stop() {
    let place = Place::new();
    place.mode("a", "crash");
    let services = [place.spec("a", Policy::Permanent, true)];
    let options = |place: &Place| {
        let mut options = place.options(&services);
        options.supervision.restart.max_restarts = 2;
        options
    };
    let with = options(&place);
    let tree = Tree::start_with(place, with).await;
    tree.until_state("a", ServiceState::Failed).await;
    let spawns = |place: &Place| place.notes("spawns").len();
    assert_eq!(spawns(&tree.place), 3);
    let mut place = tree.hand_over().await;
    for root in 1..3 {
        let with = options(&place);
        let tree = Tree::start_with(place, with).await;
        let info = tree.until_state("a", ServiceState::Failed).await;
        assert_eq!((spawns(&tree.place), info.restarts), (3 + root, 2), "each root tries it once");
        place = if root == 1 { tree.hand_over().await } else { tree.stop().await.0 };
    }
    let with = options(&place);
    let tree = Tree::start_with(place, with).await;
    let info = tree.until("a", "failed", |info| info.state == ServiceState::Failed && info.restarts == 2).await;
    assert_eq!((spawns(&tree.place), info.exits.len()), (8, 8));
    tree.stop().await;
}

#[tokio::test]
async fn what_crashes_with_each_of_its_roots_is_given_up_too() {
    let place = Place::new();
    for restarts in 0..2 {
        let mut root = root_process(&place);
        let (registry, pids) = ready_pids(&place).await;
        assert_eq!(registry.list(PATIENCE).await.unwrap()[1].restarts, restarts);
        root.kill();
        send(pids[0], Signal::KILL);
        tree::wait_for("its end", async || (!alive(pids[0])).then_some(())).await;
    }
    let services = ["a", "b"].map(|name| place.spec(name, Policy::Permanent, true));
    let mut options = place.options(&services);
    options.supervision.restart.max_restarts = 1;
    let tree = Tree::start_with(place, options).await;
    let a = tree.until_state("a", ServiceState::Failed).await;
    assert_eq!(a.reason.as_deref(), Some("ended without a root, after 1 restarts within 600 s"));
    assert_eq!(reasons(&a), ["ended without a root"; 2]);
    tree.registry.restart("a", PATIENCE).await.unwrap();
    tree.stop().await;
}

/// Lets a service of this mode hang until it is replaced; gives its log.
async fn hang(mode: &str, supervision: Supervision, reason: &str) -> (Tree, String) {
    let place = Place::new();
    place.mode("a", mode);
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    options.supervision = supervision;
    let tree = Tree::start_with(place, options).await;
    let pid = tree.until("a", "ready", |info| info.state.is_ready()).await.pid.unwrap();
    tree.place.mode("a", "run");
    let hung = |info: &ServiceInfo| info.restarts == 1 && info.state == ServiceState::Ready;
    if mode == "stopped" {
        send(pid, Signal::STOP);
    }
    let info = tree.until("a", "ready again", hung).await;
    assert!(!alive(pid));
    assert_eq!((info.last_exit.as_deref(), reasons(&info)), (Some(reason), vec![reason]));
    let log = tree.place.log("a");
    assert!(log.contains(&format!("pid {pid} hangs ({reason}); its threads, seen by dccd-root:")), "{log}");
    (tree, log)
}

fn impatient() -> Supervision {
    Supervision { heartbeat_timeout: Duration::from_millis(1_500), ..quick() }
}

#[tokio::test]
async fn a_thread_that_is_blocked_is_found_and_named() {
    let (tree, log) = hang("blocked", impatient(), "watchdog").await;
    let main = log.lines().find(|line| line.contains("task main: RUNNING for ")).unwrap_or_else(|| panic!("{log}"));
    let pid = main.rsplit_once("on thread ").unwrap().1;
    assert!(log.contains("task heartbeats: has not had its first turn"), "{log}");
    // As it says itself, where the signal may just have interrupted it, and as the root sees it.
    assert_eq!(log.matches(&format!("thread {pid} a: ")).count(), 2, "{log}");
    assert!(log.contains(&format!("dccd_root: thread {pid} a: waits (S)")), "{log}");
    let exit = &tree.info("a").await.exits[0];
    assert!(exit.killed && exit.signal.as_deref() == Some("SIGKILL"), "{exit:?}");
    assert_eq!(exit.detail.as_deref(), Some("what it was at is in its log"));
    tree.stop().await;
}

#[tokio::test]
async fn a_thread_that_turns_in_a_circle_is_told_from_one_that_waits() {
    let (tree, log) = hang("circle", impatient(), "watchdog").await;
    assert!(log.contains("task main: RUNNING for "), "{log}");
    let turning = |line: &&str| line.contains(" a: runs (R); ") && !line.contains("; 0 ms of CPU time");
    assert!(log.lines().any(|line| turning(&line)), "{log}");
    tree.stop().await;
}

#[tokio::test]
async fn a_process_that_is_stopped_says_nothing_and_the_root_does() {
    let (tree, log) = hang("stopped", impatient(), "watchdog").await;
    assert!(log.contains(" a: is STOPPED (T)") && !log.contains("what this process is at"), "{log}");
    tree.stop().await;
}

#[tokio::test]
async fn a_task_that_waits_for_ever_is_found_by_its_progress_and_says_for_what() {
    let supervision = Supervision {
        progress_timeout: Duration::from_millis(100),
        hung_timeout: Some(Duration::from_millis(400)),
        shutdown_timeout: Duration::from_secs(1),
        ..quick()
    };
    let (tree, log) = hang("waits", supervision, "no progress").await;
    let words = "turns, on thread ";
    let asker = log.lines().find(|line| line.contains("task asker: waiting for ")).unwrap_or_else(|| panic!("{log}"));
    assert!(asker.contains(words) && asker.ends_with("; last said: asking one who never answers"), "{asker}");
    let info = tree.info("a").await;
    assert!(info.exits[0].killed, "it took no notice of SIGTERM either");
    assert_eq!((info.state, info.restarts), (ServiceState::Ready, 1), "its successor is let be");
    tree.stop().await;
}

#[tokio::test]
async fn a_service_near_its_memory_limit_is_asked_to_shed_and_one_above_it_is_replaced() {
    let place = Place::new();
    place.mode("a", "sheds");
    let mut near = place.spec("a", Policy::Permanent, true);
    near.limits.max_memory_bytes = Some(325 << 20);
    let mut above = place.spec("b", Policy::Permanent, true);
    above.limits.max_memory_bytes = Some(1 << 20);
    let mut options = place.options(&[near, above]);
    options.supervision.memory_grace = Duration::from_millis(100);
    let tree = Tree::start_with(place, options).await;
    tree.until("a", "relieved", |info| info.state == ServiceState::Ready && !tree.place.notes("shed").is_empty()).await;
    assert_eq!(tree.place.notes("shed"), [(300 << 20).to_string()]);
    let events = tree.registry.watch(0, PATIENCE).await.unwrap().events;
    let warned = events.iter().find(|event| event.service == "a" && event.state == ServiceState::Degraded).unwrap();
    assert!(
        warned.reason.as_deref().unwrap().ends_with(" of its 325 MiB of memory; it was asked to shed some"),
        "{warned:?}"
    );
    assert_eq!(tree.info("a").await.exits, []);
    let b = tree.until("b", "replaced", |info| info.restarts >= 1).await;
    assert_eq!((b.exits[0].reason.as_str(), b.exits[0].killed), ("memory limit", false));
    assert_eq!(b.last_exit.as_deref(), Some("memory limit"));
    tree.stop().await;
}

/// A file that a write waits at until somebody reads, as it does at a disk that hangs.
fn stuck(place: &Place, file: &str) -> std::path::PathBuf {
    let path = place.data().join(".dccd/state").join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    path
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_neither_services_nor_the_end() {
    let place = Place::new();
    let (saved, history) = (stuck(&place, "services.json.tmp"), stuck(&place, "exits/a.json.tmp"));
    // A sweep that never ends, once there is something to sweep.
    let mut options = place.options(&[place.spec("a", Policy::Permanent, true)]);
    let (disk, sweeps) = sync_channel::<()>(1);
    let sweeps = std::sync::Mutex::new(sweeps);
    let runs = std::sync::atomic::AtomicU32::new(0);
    options.sweep = Some(Arc::new(move || {
        if runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            let _ = sweeps.lock().unwrap().recv();
        }
    }));
    let tree = Tree::start_with(place, options).await;
    let first = tree.until_state("a", ServiceState::Ready).await.pid.unwrap();
    send(first, Signal::KILL);
    tree.until("a", "with another process", |info| info.state.is_ready() && info.pid != Some(first)).await;
    let (_place, report) = tree.stop().await;
    assert_eq!(report.services.len(), 1);
    // Threads that wait are let go, for the test's own end.
    drop(disk);
    for path in [saved, history] {
        File::open(path).unwrap().read_to_end(&mut Vec::new()).unwrap();
    }
}
