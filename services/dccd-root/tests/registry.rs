//! Asking for services: exactly once however many ask, by name, with words for what can't be had.

mod tree;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_registry::{Registry, RegistryError, RuntimeDir};
use dccd_root::Policy;
use dccd_rpc::root::{EnsureError, ROOT_PROTOCOL, RootServiceClient, ServiceState};
use dccd_rpc::{CallError, Hello, RpcError, call, client_config, context, spawn_dispatch, unix_connect};
use dccd_service::chain;
use tree::process::{RootProcess, callers};
use tree::{PATIENCE, Place, Tree, wait_for};

#[tokio::test]
async fn fifty_who_ask_at_once_get_one_process() {
    let place = Place::new();
    let lazy = place.spec("lazy", Policy::Transient, false);
    let other = place.spec("other", Policy::Transient, false);
    let mut options = place.options(&[lazy]);
    options.resolve = Arc::new(move |name| (name == "other").then(|| other.clone()));
    let tree = Tree::start_with(place, options).await;
    assert_eq!(tree.info("lazy").await.state, ServiceState::Stopped);
    assert_eq!(tree.registry.find("lazy", PATIENCE).await.unwrap(), None);
    for name in ["lazy", "other"] {
        let mut callers = Vec::new();
        for n in 0..50 {
            let runtime = tree.place.runtime();
            let shared = tree.registry.clone();
            callers.push(tokio::spawn(async move {
                // Half of them over connections of their own.
                let registry = if n % 2 == 0 { shared } else { Registry::connect_in(&runtime, PATIENCE).await.unwrap() };
                registry.ensure(name, PATIENCE).await.unwrap()
            }));
        }
        for caller in callers {
            assert_eq!(caller.await.unwrap().unix_path().unwrap(), tree.place.runtime().service_socket(name));
        }
        let spawns = tree.place.notes("spawns");
        assert_eq!(spawns.iter().filter(|line| line.starts_with(name)).count(), 1, "{spawns:?}");
    }
    // The callers are gone, the services are not.
    assert_eq!(tree.info("lazy").await.state, ServiceState::Ready);
    assert!(tree.registry.find("other", PATIENCE).await.unwrap().is_some());
    tree.stop().await;
}

#[tokio::test]
async fn two_hundred_who_ask_at_once_get_one_process_and_those_who_die_do_not_take_it_along() {
    let place = Place::new();
    place.mode("lazy", "slow-start");
    let services = [place.spec("lazy", Policy::Transient, false)];
    let tree = Tree::start(place, &services).await;
    let mut dying: Vec<RootProcess> = (0..2).map(|_| callers(&tree.place)).collect();
    let mut living = Vec::new();
    for _ in 0..50 {
        let registry = Registry::connect_in(&tree.place.runtime(), PATIENCE).await.unwrap();
        // Twice over each connection; one of the two gives up.
        let shared = registry.clone();
        let giving_up = tokio::spawn(async move { shared.ensure("lazy", PATIENCE).await });
        living.push((tokio::spawn(async move { registry.ensure("lazy", PATIENCE).await }), giving_up));
    }
    wait_for("a hundred calls of others", async || (tree.place.notes("asked").len() == 2).then_some(())).await;
    tree.until("lazy", "spawned", |info| info.pid.is_some()).await;
    dying.iter_mut().for_each(RootProcess::kill);
    living.iter().for_each(|(_, giving_up)| giving_up.abort());
    std::fs::write(tree.place.data().join("go"), "").unwrap();
    for (call, _) in living {
        call.await.unwrap().unwrap();
    }
    assert_eq!(tree.place.notes("spawns").len(), 1, "{:?}", tree.place.notes("spawns"));
    let info = tree.info("lazy").await;
    assert_eq!((info.state, info.restarts, info.exits), (ServiceState::Ready, 0, Vec::new()));
    tree.stop().await;
}

#[tokio::test]
async fn an_unknown_service_is_refused_with_the_known_ones() {
    let place = Place::new();
    let services = [place.spec("datad.binance", Policy::Permanent, false)];
    let tree = Tree::start(place, &services).await;
    let error = tree.registry.ensure("datad.binanse", PATIENCE).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "service \"datad.binanse\" is unknown (known: datad.binance); services are named by the configuration"
    );
    tree.stop().await;
}

#[tokio::test]
async fn a_service_that_will_never_be_is_refused_with_the_reason() {
    let place = Place::new();
    let mut options = place.options(&[place.spec("datad.binance", Policy::Permanent, false)]);
    options.refuse = Arc::new(|name| name.strip_prefix("brokerd.").map(|exchange| format!("no trading on {exchange}")));
    let tree = Tree::start_with(place, options).await;
    let error = tree.registry.ensure("brokerd.deribit", PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "service \"brokerd.deribit\" is not offered: no trading on deribit");
    let error = tree.registry.ensure("brokerx.deribit", PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("is unknown"), "{error}");
    tree.stop().await;
}

#[tokio::test]
async fn a_service_that_is_not_ready_in_time_says_where_it_is() {
    let place = Place::new();
    place.mode("a", "silent");
    let services = [place.spec("a", Policy::Permanent, false)];
    let tree = Tree::start(place, &services).await;
    let error = tree.registry.ensure("a", Duration::from_millis(300)).await.unwrap_err();
    assert!(
        matches!(
            &error,
            RegistryError::Ensure(CallError::Answer(EnsureError::Timeout { state: ServiceState::Starting, .. }))
        ),
        "{error}"
    );
    tree.stop().await;
}

#[tokio::test]
async fn a_lazy_service_that_has_ended_starts_again_when_asked_for() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Transient, false)];
    let tree = Tree::start(place, &services).await;
    tree.registry.ensure("a", PATIENCE).await.unwrap();
    let pid = tree.info("a").await.pid.unwrap();
    tree::send(pid, rustix::process::Signal::TERM);
    tree.until_state("a", ServiceState::Stopped).await;
    tree.registry.ensure("a", PATIENCE).await.unwrap();
    assert_ne!(tree.info("a").await.pid.unwrap(), pid);
    tree.stop().await;
}

#[tokio::test]
async fn who_watches_hears_of_each_change_in_order() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, false)];
    let tree = Tree::start(place, &services).await;
    // Nothing has happened yet: the call comes back empty.
    let quiet = tree.registry.watch(0, Duration::from_millis(200)).await.unwrap();
    assert_eq!((quiet.cursor, quiet.events.len()), (0, 0));
    let watcher = {
        let registry = tree.registry.clone();
        tokio::spawn(async move {
            let (mut cursor, mut states) = (0, Vec::new());
            while states.last() != Some(&ServiceState::Ready) {
                let events = registry.watch(cursor, PATIENCE).await.unwrap();
                assert_eq!(events.lost, 0);
                cursor = events.cursor;
                states.extend(events.events.into_iter().map(|event| event.state));
            }
            states
        })
    };
    tree.registry.ensure("a", PATIENCE).await.unwrap();
    let mut states = watcher.await.unwrap();
    states.dedup();
    assert_eq!(states, [ServiceState::Starting, ServiceState::Ready]);
    tree.stop().await;
}

#[tokio::test]
async fn hello_comes_first_and_versions_must_agree() {
    let tree = Tree::start(Place::new(), &[]).await;
    let socket = tree.place.runtime().root_socket();
    let transport = unix_connect(&socket, PATIENCE).await.unwrap();
    let client = spawn_dispatch(RootServiceClient::new(client_config(), transport));
    let early = call("dccd-root", "list", client.list(context(PATIENCE))).await.unwrap_err();
    assert!(chain(&early).contains("the first call of a connection is hello"), "{}", chain(&early));
    let old = Hello { protocol: ROOT_PROTOCOL + 1, build: "9.9.9".to_owned(), token: None };
    let refused = call("dccd-root", "hello", client.hello(context(PATIENCE), old)).await.unwrap_err();
    assert!(matches!(&refused, CallError::Answer(RpcError::Protocol { theirs, .. }) if *theirs == ROOT_PROTOCOL + 1));
    assert!(refused.to_string().contains("9.9.9"), "{refused}");
    // Refused is not greeted.
    client.list(context(PATIENCE)).await.unwrap_err();
    client.hello(context(PATIENCE), Hello::new(ROOT_PROTOCOL)).await.unwrap().unwrap();
    client.list(context(PATIENCE)).await.unwrap().unwrap();
    tree.stop().await;
}

#[tokio::test]
async fn without_a_root_the_registry_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = RuntimeDir::at(dir.path().join("run"));
    let begun = Instant::now();
    let error = Registry::connect_in(&runtime, PATIENCE).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotRunning { .. }), "{error}");
    assert!(error.to_string().ends_with("start it with: dccd start"), "{error}");
    assert!(begun.elapsed() < PATIENCE / 2);
}
