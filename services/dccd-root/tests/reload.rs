//! Reading the configuration anew, seen from the root: many at once, a disk that hangs, services that are wanted no more.

mod tree;

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use dccd_root::{Options, Policy, Reloaded, ServiceSpec};
use dccd_rpc::root::{Change, ServiceState};
use dccd_service::chain;
use tree::{PATIENCE, Place, Tree, quick, wait_for};

/// A configuration with these services and nothing else.
fn reloaded(services: Vec<ServiceSpec>) -> Reloaded {
    Reloaded {
        services,
        resolve: Arc::new(|_| None),
        supervision: quick(),
        log_level: "info".to_owned(),
        alerting: None,
        disk_low_bytes: 0,
        later: Vec::new(),
        details: std::collections::BTreeMap::new(),
        commit: Box::new(|| Ok(())),
    }
}

/// Has the root read what the sender is told, whenever that is; a few of them wait.
fn read_slowly(options: &mut Options) -> SyncSender<Vec<ServiceSpec>> {
    let (sender, wanted) = sync_channel(8);
    let wanted = Mutex::new(wanted);
    options.reload = Some(Arc::new(move || {
        let services = wanted.lock().unwrap().recv().map_err(|_| "half a configuration")?;
        Ok(reloaded(services))
    }));
    sender
}

#[tokio::test]
async fn few_reloads_wait_for_one_that_takes_long_and_more_are_told_so() {
    let place = Place::new();
    let mut options = place.options(&[]);
    let wanted = read_slowly(&mut options);
    let tree = Tree::start_with(place, options).await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let registry = tree.registry.clone();
        asked.spawn(async move { registry.reload(false, PATIENCE).await.map(drop).map_err(|error| chain(&error)) });
    }
    // All but the one that is read and those that wait for it.
    for _ in 0..16 {
        let refused = asked.join_next().await.unwrap().unwrap().unwrap_err();
        assert!(refused.contains("others are under way; try again when they are done"), "{refused}");
    }
    // Others are answered meanwhile.
    tree.registry.list(PATIENCE).await.unwrap();
    for _ in 0..3 {
        wanted.send(Vec::new()).unwrap();
    }
    drop(wanted);
    let done = asked.join_all().await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 3, "{done:?}");
    let refused = done.into_iter().find_map(Result::err).unwrap();
    assert!(refused.contains("half a configuration\nnothing was changed"), "{refused}");
    tree.stop().await;
}

#[tokio::test]
async fn a_disk_that_hangs_is_told_and_holds_up_nothing_else() {
    let place = Place::new();
    let mut options = place.options(&[place.spec("a", Policy::Permanent, true)]);
    let wanted = read_slowly(&mut options);
    let tree = Tree::start_with(place, options).await;
    let refused = tree.registry.reload(false, PATIENCE).await.unwrap_err();
    assert!(chain(&refused).contains("the disk gave no answer within 10 s\nnothing was changed"), "{}", chain(&refused));
    tree.until_state("a", ServiceState::Ready).await;
    // It answers again, for the one who has given up.
    wanted.send(Vec::new()).unwrap();
    wanted.send(Vec::new()).unwrap();
    let report = tree.registry.reload(false, PATIENCE).await.unwrap();
    assert_eq!(report.services[0].change, Change::Stopped);
    tree.stop().await;
}

#[tokio::test]
async fn what_was_wrong_with_a_service_goes_with_it() {
    let place = Place::new();
    place.mode("a", "crash-early");
    let service = place.spec("a", Policy::Permanent, true);
    let mut options = place.options(std::slice::from_ref(&service));
    let wanted = read_slowly(&mut options);
    let tree = Tree::start_with(place, options).await;
    let failed = async || {
        let said = tree.registry.conditions(0, PATIENCE).await.unwrap().unwrap();
        let of = said.services.into_iter().find(|of| of.service == "a").unwrap();
        of.found.iter().any(|condition| condition.kind == "service_failed")
    };
    wait_for("its failure", async || failed().await.then_some(())).await;
    tree.place.mode("a", "");
    for services in [vec![], vec![service]] {
        wanted.send(services).unwrap();
        tree.registry.reload(false, PATIENCE).await.unwrap();
    }
    // Another one of its name, before the root has had a look at it.
    assert!(!failed().await);
    assert_eq!(tree.info("a").await.state, ServiceState::Ready);
    tree.stop().await;
}
