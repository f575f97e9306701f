//! The root's own life: one per instance, tidy at boot, orderly at the end.
#![allow(clippy::print_stdout, reason = "tests say what they measure and what they skip")]

mod tree;

use std::fs;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dccd_registry::Registry;
use dccd_root::{BootGuard, Policy, Root, RootError};
use dccd_rpc::root::ServiceState;
use dccd_service::{PidLock, PidLockError, Shutdown};
use rustix::process::Signal;
use tree::process::{ready_pids, root_process};
use tree::{PATIENCE, Place, Tree, alive, mode_of, send, wait_for};

#[tokio::test]
async fn sockets_and_locks_are_for_this_user_alone() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    tree.until_state("a", ServiceState::Ready).await;
    let runtime = tree.place.runtime();
    assert_eq!(mode_of(runtime.path()), 0o700);
    for path in [runtime.root_socket(), runtime.root_lock(), runtime.service_socket("a"), runtime.service_lock("a")] {
        assert_eq!(mode_of(&path), 0o600, "{}", path.display());
    }
    let (place, _) = tree.stop().await;
    assert!(!place.runtime().root_socket().exists());
    assert!(!place.runtime().service_socket("a").exists());
}

#[tokio::test]
async fn a_connection_of_another_user_is_closed() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a_connection_of_another_user_is_closed: needs the right to start a process as another user");
        return;
    }
    let tree = Tree::start(Place::new(), &[]).await;
    // Open the way that the permissions close, so that only the check of the peer is left.
    let runtime = tree.place.runtime();
    let open = |path: &std::path::Path| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777));
    for path in [tree.place.dir.path(), runtime.path(), &runtime.root_socket()] {
        open(path).unwrap();
    }
    let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ns.settimeout(20)\nsys.exit(0 if s.recv(1)==b'' else 1)";
    let run = |uid| {
        let mut command = Command::new("python3");
        command.arg("-c").arg(script).arg(runtime.root_socket()).uid(uid).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.status())
    };
    match run(65534).await.unwrap() {
        Ok(status) => assert!(status.success(), "the connection was not closed"),
        Err(error) => println!("skipped: a_connection_of_another_user_is_closed: no python3 ({error})"),
    }
    // Our own connection, made before, lives on.
    tree.registry.list(PATIENCE).await.unwrap();
    tree.stop().await;
}

#[tokio::test]
async fn a_second_root_is_refused_with_the_pid_of_the_first() {
    let tree = Tree::start(Place::new(), &[]).await;
    let second = Root::new(tree.place.options(&[])).run(Shutdown::new()).await.unwrap_err();
    assert!(matches!(second, RootError::AlreadyRunning { pid: Some(pid) } if pid == std::process::id()), "{second}");
    // The first one was not disturbed.
    tree.registry.list(PATIENCE).await.unwrap();
    tree.stop().await;
}

#[tokio::test]
async fn what_the_executable_wants_held_is_held_and_a_refusal_stops_the_boot() {
    let place = Place::new();
    let path = place.data().join("lock");
    let guard = || {
        let path = path.clone();
        BootGuard { what: "the store's lock", acquire: Box::new(move || Ok(Box::new(PidLock::acquire(&path)?))) }
    };
    let mut options = place.options(&[]);
    options.boot_guards.push(guard());
    let tree = Tree::start_with(place, options).await;
    assert_eq!(PidLock::holder(&path).unwrap(), Some(std::process::id()));
    // Another instance with the same store.
    let elsewhere = Place::new();
    let mut options = elsewhere.options(&[]);
    options.boot_guards.push(guard());
    let RootError::Guard { what, source } = Root::new(options).run(Shutdown::new()).await.unwrap_err() else {
        panic!("another error")
    };
    assert_eq!(what, "the store's lock");
    let held = source.downcast_ref::<PidLockError>().unwrap();
    assert!(matches!(held, PidLockError::Held { pid: Some(pid), .. } if *pid == std::process::id()));
    assert!(!elsewhere.runtime().root_socket().exists());
    tree.stop().await;
    assert_eq!(PidLock::holder(&path).unwrap(), None);
}

#[tokio::test]
async fn stale_sockets_are_swept_and_live_ones_stay() {
    let place = Place::new();
    place.runtime().create().unwrap();
    let stale = [place.runtime().service_socket("dead"), place.runtime().root_socket()];
    for path in &stale {
        // Dropping a std listener leaves its socket, as a killed process does.
        drop(UnixListener::bind(path).unwrap());
        assert!(path.exists());
    }
    let live_path = place.runtime().service_socket("live");
    let _live = UnixListener::bind(&live_path).unwrap();
    let mut options = place.options(&[place.spec("a", Policy::Permanent, true)]);
    let (swept, sweeps) = std::sync::mpsc::sync_channel(2);
    let service_lock = place.runtime().service_lock("a");
    options.sweep = Some(Arc::new(move || swept.send(PidLock::holder(&service_lock).unwrap_or(None)).unwrap()));
    let tree = Tree::start_with(place, options).await;
    assert!(!stale[0].exists());
    assert!(live_path.exists());
    UnixStream::connect(&stale[1]).unwrap();
    assert_eq!(sweeps.try_iter().collect::<Vec<_>>(), [None]);
    tree.until_state("a", ServiceState::Ready).await;
    tree.stop().await;
    // Once more, when no service runs any more.
    assert_eq!(sweeps.try_iter().collect::<Vec<_>>(), [None]);
}

#[tokio::test]
async fn lazy_services_stop_before_eager_ones_and_the_last_started_first() {
    let place = Place::new();
    let mut services = vec![place.spec("data", Policy::Permanent, true)];
    services.extend(["one", "two", "three"].map(|name| place.spec(name, Policy::Transient, false)));
    for name in ["data", "one", "two", "three"] {
        place.mode(name, "slow-stop");
    }
    let tree = Tree::start(place, &services).await;
    for name in ["data", "two", "one", "three"] {
        tree.registry.ensure(name, PATIENCE).await.unwrap();
    }
    let report = tree.registry.stop(false, None);
    // A second one joins, from another connection.
    let runtime = tree.place.runtime();
    let joined = async {
        let registry = Registry::connect_in(&runtime, PATIENCE).await.unwrap();
        wait_for("stopping", async || registry.status(PATIENCE).await.unwrap().stopping.then_some(())).await;
        let late = registry.ensure("one", PATIENCE).await.unwrap_err();
        assert_eq!(late.to_string(), "dccd is stopping; one is not started any more");
        dccd_rpc::call("dccd-root", "stop", {
            let transport = dccd_rpc::unix_connect(&runtime.root_socket(), PATIENCE).await.unwrap();
            let client =
                dccd_rpc::spawn_dispatch(dccd_rpc::root::RootServiceClient::new(dccd_rpc::client_config(), transport));
            let hello = dccd_rpc::Hello::new(dccd_rpc::root::ROOT_PROTOCOL);
            client.hello(dccd_rpc::context(PATIENCE), hello).await.unwrap().unwrap();
            async move {
                let request = dccd_rpc::root::StopRequest { force: false, timeout: None };
                client.stop(dccd_rpc::context(PATIENCE), request).await
            }
        })
        .await
        .unwrap()
    };
    // The root lives in this process, which doesn't exit: only the answer is waited for.
    let report = tokio::select! { report = report => report.unwrap(), joined = joined => joined };
    let names: Vec<_> = report.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["three", "one", "two", "data"]);
    assert!(report.services.iter().all(|service| service.exit == "exit 0" && !service.killed), "{report:?}");
    let flushed = tree.place.notes("flushed");
    assert_eq!(flushed, ["three SIGTERM", "one SIGTERM", "two SIGTERM", "data SIGTERM"]);
    let ended = tokio::time::timeout(PATIENCE, tree.task).await.unwrap().unwrap().unwrap();
    assert_eq!(tree::report(ended).services.len(), 4);
}

#[tokio::test]
async fn one_that_is_slow_to_stop_does_not_hold_the_others_up_for_long() {
    let place = Place::new();
    let mut services = vec![place.spec("data", Policy::Permanent, true)];
    services.extend(["one", "two"].map(|name| place.spec(name, Policy::Transient, false)));
    place.mode("two", "stubborn");
    let mut options = place.options(&services);
    options.supervision.shutdown_timeout = Duration::from_secs(4);
    let tree = Tree::start_with(place, options).await;
    for name in ["data", "one", "two"] {
        tree.registry.ensure(name, PATIENCE).await.unwrap();
    }
    let (_, report) = tree.stop().await;
    let mut how: Vec<_> = report.services.iter().map(|s| (s.name.as_str(), s.killed, s.flushed.clone())).collect();
    assert_eq!(how.pop().unwrap(), ("two", true, Vec::new()), "asked first, gone last");
    how.sort_unstable();
    let rows = vec![("rows".to_owned(), 7)];
    assert_eq!(how, [("data", false, rows.clone()), ("one", false, rows)]);
}

#[tokio::test]
async fn one_that_does_not_stop_is_killed_with_its_group() {
    let place = Place::new();
    place.mode("a", "stubborn");
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    options.supervision.shutdown_timeout = Duration::from_millis(200);
    let tree = Tree::start_with(place, options).await;
    let pid = tree.until_state("a", ServiceState::Ready).await.pid.unwrap();
    let (_, report) = tree.stop().await;
    let stopped = &report.services[0];
    assert_eq!((stopped.exit.as_str(), stopped.killed), ("SIGKILL", true));
    assert!(!alive(pid));
}

#[tokio::test]
async fn a_forced_stop_ends_a_patient_one() {
    let place = Place::new();
    place.mode("a", "stubborn");
    let services = [place.spec("a", Policy::Permanent, true)];
    let mut options = place.options(&services);
    options.supervision.shutdown_timeout = PATIENCE * 10;
    let tree = Tree::start_with(place, options).await;
    tree.until_state("a", ServiceState::Ready).await;
    tree.shutdown.trigger(dccd_service::ShutdownReason::Terminate);
    tree.until_state("a", ServiceState::Stopping).await;
    let forced = tree.registry.stop(true, None);
    let report = tokio::select! {
        ended = tokio::time::timeout(PATIENCE, tree.task) => tree::report(ended.expect("a forced stop ends").unwrap().unwrap()),
        _ = forced => panic!("the root is in this process, which does not exit"),
    };
    assert!(report.services[0].killed);
}

#[tokio::test]
async fn the_state_is_saved_and_says_stopped_at_the_end() {
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    assert_eq!(dccd_root::load_state(&place.data()).unwrap(), None);
    let tree = Tree::start(place, &services).await;
    tree.until_state("a", ServiceState::Ready).await;
    let data = tree.place.data();
    let state_of_a = || {
        let saved = dccd_root::load_state(&data).unwrap()?;
        assert_eq!(saved.daemon.instance, "test");
        saved.services.into_iter().find(|info| info.name == "a").map(|info| info.state)
    };
    wait_for("ready in the file", async || (state_of_a() == Some(ServiceState::Ready)).then_some(())).await;
    tree.stop().await;
    // The directory went with the place; look before it does.
    let place = Place::new();
    let services = [place.spec("a", Policy::Permanent, true)];
    let tree = Tree::start(place, &services).await;
    tree.until_state("a", ServiceState::Ready).await;
    let (place, _) = tree.stop().await;
    let saved = dccd_root::load_state(&place.data()).unwrap().unwrap();
    assert_eq!(saved.services[1].state, ServiceState::Stopped);
    assert!(saved.daemon.stopping);
}

#[tokio::test]
async fn a_root_that_does_not_read_delays_no_service() {
    let place = Place::new();
    place.mode("a", "log-flood");
    let mut root = root_process(&place);
    let runtime = place.runtime();
    wait_for("the root", async || Registry::connect_in(&runtime, PATIENCE).await.ok()).await;
    wait_for("the flood", async || (!place.log("a").is_empty()).then_some(())).await;
    send(root.0.id(), Signal::STOP);
    wait_for("the end of the flood", async || (!place.notes("flooded").is_empty()).then_some(())).await;
    send(root.0.id(), Signal::CONT);
    // Every line is there, in the one way or the other.
    wait_for("all lines", async || (place.log("a").matches("a line that fills").count() == 20_000).then_some(())).await;
    send(root.0.id(), Signal::TERM);
    assert!(root.0.wait().unwrap().success());
}

#[tokio::test]
async fn sigint_stops_a_root_with_everything_flushed() {
    let place = Place::new();
    let mut root = root_process(&place);
    let (_, pids) = ready_pids(&place).await;
    send(root.0.id(), Signal::INT);
    assert_eq!(root.0.wait().unwrap().code(), Some(0));
    assert!(pids.iter().all(|&pid| !alive(pid)));
    assert_eq!(place.notes("flushed").len(), 2);
    assert!(!place.runtime().root_socket().exists());
    let mut errors = String::new();
    root.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}
