//! What a service manager hears of a root, and what a root tells its services while they run: how much to log.

mod tree;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use dccd_registry::RegistryError;
use dccd_root::{Notify, Policy};
use dccd_rpc::{CallError, RpcError};
use rustix::process::Signal;
use tree::{PATIENCE, Place, Tree, alive, send, wait_for};

/// A service manager: what it has heard so far.
struct Ear {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Ear {
    /// One that expects a sign of life so often.
    fn new(place: &Place, watchdog: Option<Duration>) -> (Self, Notify) {
        let path = place.dir.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (Self { socket, heard: Vec::new() }, Notify::at(&path, watchdog).unwrap())
    }

    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(n) = self.socket.recv(&mut buffer) {
            self.heard.push(String::from_utf8(buffer[..n].to_vec()).unwrap());
        }
    }

    /// Waits for a message of which this is a line.
    async fn until(&mut self, what: &str) -> String {
        let ear = std::cell::RefCell::new(self);
        wait_for(what, async || {
            let mut ear = ear.borrow_mut();
            ear.listen();
            ear.heard.iter().find(|message| message.lines().any(|line| line.starts_with(what))).cloned()
        })
        .await
    }
}

#[tokio::test]
async fn a_service_manager_hears_when_all_are_ready_that_we_live_and_when_we_stop() {
    let place = Place::new();
    place.mode("b", "silent");
    let (mut ear, notify) = Ear::new(&place, Some(Duration::from_millis(20)));
    let mut options = place.options(&["a", "b"].map(|name| place.spec(name, Policy::Permanent, true)));
    options.notify = Some(notify);
    let tree = Tree::start_with(place, options).await;
    ear.until("STATUS=1 of 2 services ready; b starting").await;
    // Alive while it starts, too; not ready before the last one is.
    ear.until("WATCHDOG=1").await;
    assert!(!ear.heard.iter().any(|message| message.contains("READY=1")), "{:?}", ear.heard);
    tree.place.mode("b", "");
    tree.registry.restart("b", PATIENCE).await.unwrap();
    let ready = ear.until("READY=1").await;
    assert_eq!(ready, format!("READY=1\nMAINPID={}\nSTATUS=2 of 2 services ready", std::process::id()));
    ear.heard.clear();
    ear.until("WATCHDOG=1").await;

    let pid = tree.info("a").await.pid.unwrap();
    send(pid, Signal::KILL);
    // Whatever comes between.
    wait_for("another process", async || {
        Some(tree.info("a").await).filter(|info| info.pid != Some(pid) && info.state.is_ready())
    })
    .await;
    ear.heard.clear();
    tree.stop().await;
    ear.listen();
    let first = ear.heard.iter().position(|message| message.starts_with("STOPPING=1\nSTATUS=stopping")).unwrap();
    assert!(!ear.heard[first + 1..].iter().any(|message| message.contains("STOPPING") || message.contains("READY")));
}

#[tokio::test]
async fn a_service_that_cannot_start_keeps_nobody_from_being_ready() {
    let place = Place::new();
    place.mode("b", "crash-early");
    let (mut ear, notify) = Ear::new(&place, None);
    let mut options = place.options(&["a", "b"].map(|name| place.spec(name, Policy::Permanent, true)));
    options.notify = Some(notify);
    let tree = Tree::start_with(place, options).await;
    let ready = ear.until("READY=1").await;
    assert!(ready.contains("STATUS=1 of 2 services ready; b backoff (exit 1"), "{ready}");
    assert!(!ear.heard.iter().any(|message| message.contains("WATCHDOG")), "nobody asked for it");
    tree.stop().await;
}

#[tokio::test]
async fn a_root_that_replaces_itself_is_reloading_and_not_stopping() {
    let place = Place::new();
    let (mut ear, notify) = Ear::new(&place, None);
    let spec = place.spec("a", Policy::Permanent, true);
    let mut options = place.options(std::slice::from_ref(&spec));
    options.notify = Some(notify);
    let tree = Tree::start_with(place, options).await;
    ear.until("READY=1").await;
    let pid = tree.info("a").await.pid.unwrap();
    ear.heard.clear();
    let place = tree.hand_over().await;
    let reloading = ear.until("RELOADING=1").await;
    let usec = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(usec.parse::<u64>().unwrap() > 0);
    assert!(!ear.heard.iter().any(|message| message.contains("STOPPING")), "{:?}", ear.heard);
    assert!(alive(pid));
    std::fs::remove_file(place.dir.path().join("notify.sock")).unwrap();
    let (mut ear, notify) = Ear::new(&place, None);
    let mut options = place.options(std::slice::from_ref(&spec));
    options.notify = Some(notify);
    let tree = Tree::start_with(place, options).await;
    ear.until("READY=1").await;
    tree.stop().await;
}

#[tokio::test]
async fn a_service_logs_as_it_is_told_and_so_does_its_next_process() {
    let place = Place::new();
    let tree = Tree::start(place, &[]).await;
    let unknown = tree.registry.set_log_level(Some("a"), Some("debug"), PATIENCE).await.unwrap_err();
    assert!(matches!(unknown, RegistryError::Call(CallError::Answer(RpcError::Unknown { .. }))), "{unknown}");
    let (place, _) = tree.stop().await;

    let spec = place.spec("a", Policy::Permanent, true);
    let tree = Tree::start(place, &[spec]).await;
    let registry = &tree.registry;
    let pid = tree.until("a", "is ready", |info| info.state.is_ready()).await.pid.unwrap();
    let wrong = registry.set_log_level(Some("a"), Some("degub"), PATIENCE).await.unwrap_err();
    assert!(matches!(&wrong, RegistryError::Call(CallError::Answer(RpcError::Invalid { .. }))), "{wrong}");
    registry.set_log_level(Some("a"), Some("info,x=debug"), PATIENCE).await.unwrap();
    let changes = || tree.place.log("a").matches("what is logged has changed level=\"info,x=debug\"").count();
    wait_for("the running process to follow", async || (changes() == 1).then_some(())).await;
    let levels = registry.log_levels(PATIENCE).await.unwrap();
    assert_eq!((levels[0].service.as_str(), levels[0].configured), ("dccd-root", true));
    assert_eq!((levels[1].level.as_str(), levels[1].configured), ("info,x=debug", false));
    send(pid, Signal::KILL);
    wait_for("its next process to follow", async || (changes() == 2).then_some(())).await;
    registry.set_log_level(None, None, PATIENCE).await.unwrap();
    let back = || tree.place.log("a").contains("what is logged has changed level=\"info\"");
    wait_for("the configured level", async || back().then_some(())).await;
    tree.stop().await;
}
