//! What is wrong, as the root offers it, and the service that is started to tell.

mod tree;

use std::sync::Arc;
use std::time::Duration;

use dccd_root::{Alerting, Policy};
use dccd_rpc::condition::{Conditions, ServiceConditions};
use dccd_rpc::root::ServiceState;
use rustix::process::Signal;
use tree::{PATIENCE, Place, Tree, send, wait_for};

/// The conditions of one service: whether it has spoken, and what is wrong.
fn of(all: &Conditions, service: &str) -> (bool, Vec<String>) {
    let found: Option<&ServiceConditions> = all.services.iter().find(|of| of.service == service);
    let Some(found) = found else { return (false, Vec::new()) };
    let named = found.all().map(|c| format!("{} {} {}", c.severity, c.kind, c.subject).trim_end().to_owned());
    (found.heard, named.collect())
}

/// Follows the root until what it says of a service is this.
async fn until(tree: &Tree, service: &str, heard: bool, wrong: &[&str]) {
    let mut revision = 0;
    let mut last = Conditions::default();
    let follow = async {
        loop {
            if let Some(now) = tree.registry.conditions(revision, PATIENCE).await.unwrap() {
                assert_ne!(now.revision, revision, "an answer without news");
                (revision, last) = (now.revision, now);
            }
            if of(&last, service) == (heard, wrong.iter().map(|&wrong| wrong.to_owned()).collect()) {
                return;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, follow).await.is_err() {
        panic!("of {service} {wrong:?} was expected, and this is said: {last:?}");
    }
}

#[tokio::test]
async fn what_a_service_says_holds_until_its_next_process_says_otherwise() {
    let place = Place::new();
    place.mode("a", "wrong");
    place.mode("b", "silent");
    let services = ["a", "b"].map(|name| place.spec(name, Policy::Permanent, true));
    let tree = Tree::start(place, &services).await;
    until(&tree, "a", true, &["warning sync_failed nas"]).await;
    until(&tree, "b", false, &[]).await;
    let pid = tree.until_state("a", ServiceState::Ready).await.pid.unwrap();
    tree.place.mode("a", "silent");
    send(pid, Signal::KILL);
    tree.until("a", "with another process", |info| info.pid.is_some_and(|now| now != pid)).await;
    until(&tree, "a", true, &["warning sync_failed nas"]).await;
    tree.place.mode("a", "");
    send(tree.info("a").await.pid.unwrap(), Signal::KILL);
    until(&tree, "a", true, &[]).await;
    // Nothing changes: the answer is that there is none.
    let now = tree.registry.conditions(0, PATIENCE).await.unwrap().unwrap();
    assert_eq!(tree.registry.conditions(now.revision, Duration::from_secs(2)).await.unwrap(), None);
    tree.stop().await;
}

#[tokio::test]
async fn a_service_that_fails_is_wrong_until_it_is_ready_again() {
    let place = Place::new();
    place.mode("a", "crash-early");
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    tree.until_state("a", ServiceState::Failed).await;
    until(&tree, "a", false, &["critical restart_storm", "critical service_failed"]).await;
    tree.place.mode("a", "");
    tree.registry.restart("a", PATIENCE).await.unwrap();
    until(&tree, "a", true, &["critical restart_storm"]).await;
    tree.stop().await;
}

#[tokio::test]
async fn a_service_that_hangs_is_told_with_the_reason_for_its_end() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    options.supervision.heartbeat_timeout = Duration::from_millis(700);
    let tree = Tree::start_with(place, options).await;
    let pid = tree.until_state("a", ServiceState::Ready).await.pid.unwrap();
    send(pid, Signal::STOP);
    until(&tree, "a", true, &["warning service_killed"]).await;
    let all = tree.registry.conditions(0, PATIENCE).await.unwrap().unwrap();
    let killed = all.services.iter().flat_map(ServiceConditions::all).find(|c| c.kind == "service_killed").unwrap();
    assert!(killed.message.starts_with("watchdog"), "{killed:?}");
    tree.stop().await;
}

#[tokio::test]
async fn who_tells_is_started_when_there_is_something_to_tell_and_not_before() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    let teller = place.spec("teller", Policy::Transient, false);
    options.resolve = Arc::new(move |name| (name == "teller").then(|| teller.clone()));
    options.alerting = Some(Alerting { service: "teller".to_owned(), pending: false });
    let tree = Tree::start_with(place, options).await;
    let pid = tree.until_state("a", ServiceState::Ready).await.pid.unwrap();
    until(&tree, "dccd-root", true, &[]).await;
    assert!(tree.registry.list(PATIENCE).await.unwrap().iter().all(|info| info.name != "teller"));
    tree.place.mode("a", "wrong");
    send(pid, Signal::KILL);
    until(&tree, "a", true, &["warning sync_failed nas"]).await;
    let teller = async || tree.registry.list(PATIENCE).await.unwrap().into_iter().find(|info| info.name == "teller");
    let told = wait_for("the one who tells", async || teller().await.filter(|info| info.state.is_ready())).await;
    assert!(!told.eager);
    tree.stop().await;
}

#[tokio::test]
async fn who_left_something_untold_is_started_with_the_root() {
    let place = Place::new();
    let mut options = place.options(&[]);
    let teller = place.spec("teller", Policy::Transient, false);
    options.resolve = Arc::new(move |name| (name == "teller").then(|| teller.clone()));
    options.alerting = Some(Alerting { service: "teller".to_owned(), pending: true });
    let tree = Tree::start_with(place, options).await;
    let ready = async || {
        let all = tree.registry.list(PATIENCE).await.unwrap();
        all.into_iter().find(|info| info.name == "teller" && info.state.is_ready())
    };
    wait_for("the one who tells", ready).await;
    tree.stop().await;
}

#[tokio::test]
async fn a_disk_without_room_is_the_roots_to_tell() {
    let place = Place::new();
    let mut options = place.options(&[]);
    options.disk_low_bytes = u64::MAX;
    let path = options.data_path.display().to_string();
    let tree = Tree::start_with(place, options).await;
    until(&tree, "dccd-root", true, &[&format!("warning disk_low {path}")]).await;
    tree.stop().await;
}

#[tokio::test]
async fn a_store_that_another_directory_has_taken_the_place_of_is_told_until_it_is_back() {
    let place = Place::new();
    let data = place.data();
    let tree = Tree::start(place, &[]).await;
    until(&tree, "dccd-root", true, &[]).await;
    let elsewhere = data.with_extension("elsewhere");
    std::fs::rename(&data, &elsewhere).unwrap();
    std::fs::create_dir(&data).unwrap();
    until(&tree, "dccd-root", true, &[&format!("critical store_moved {}", data.display())]).await;
    assert_eq!(tree.info("dccd-root").await.state, ServiceState::Degraded);
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&elsewhere, &data).unwrap();
    until(&tree, "dccd-root", true, &[]).await;
    tree.stop().await;
}
