//! The ledger of weights on a clock that the test drives.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dccd_net::{Governor, GovernorError, GovernorOptions, Priority, Retry, TokioClock};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// Ten seconds into a minute.
const START_NS: i64 = 1_700_000_050_000_000_000;
const NO_WAIT: Duration = Duration::ZERO;

fn governor(limit: u32) -> Arc<Governor> {
    with(GovernorOptions { used_weight_header: Some("x-used"), ..GovernorOptions::new(limit, MINUTE) })
}

fn with(options: GovernorOptions) -> Arc<Governor> {
    Governor::new(options, Arc::new(TokioClock::starting_at(START_NS)))
}

fn with_file(path: &Path) -> Arc<Governor> {
    with(GovernorOptions { freeze_file: Some(path.to_path_buf()), ..GovernorOptions::new(100, MINUTE) })
}

fn no_headers<'h>(_: &str) -> Option<&'h str> {
    None
}

#[tokio::test(start_paused = true)]
async fn a_full_window_waits_for_the_next_one_which_begins_on_the_minute() {
    let governor = governor(100);
    for _ in 0..10 {
        governor.acquire(10, Priority::Live, NO_WAIT).await.unwrap().settle(200, no_headers);
    }
    assert_eq!(governor.snapshot().used, 100);
    assert_eq!(governor.snapshot().window_ends, START_NS + 50_000_000_000);
    let refused = governor.acquire(1, Priority::Live, Duration::from_secs(5)).await.unwrap_err();
    // It waited its five seconds.
    assert_eq!(refused, GovernorError::Exhausted { weight: 1, used: 100, limit: 100, retry_in: Duration::from_secs(45) });
    assert_eq!(refused.retry(), Retry::After(Duration::from_secs(45)));
    let begun = Instant::now();
    drop(governor.acquire(1, Priority::Live, MINUTE).await.unwrap());
    assert_eq!(begun.elapsed().as_secs(), 45);
    assert_eq!(governor.snapshot().used, 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_go_by_priority_and_then_in_order() {
    let governor = governor(10);
    drop(governor.acquire(10, Priority::Live, NO_WAIT).await.unwrap());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for (name, priority) in [
        ("backfill", Priority::Backfill),
        ("collect 1", Priority::Collect),
        ("live 1", Priority::Live),
        ("collect 2", Priority::Collect),
        ("live 2", Priority::Live),
    ] {
        let (waiter, order) = (Arc::clone(&governor), Arc::clone(&order));
        waiting.push(tokio::spawn(async move {
            drop(waiter.acquire(1, priority, MINUTE).await.unwrap());
            order.lock().unwrap().push(name);
        }));
        while governor.snapshot().waiting < waiting.len() {
            tokio::task::yield_now().await;
        }
    }
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["live 1", "live 2", "collect 1", "collect 2", "backfill"]);
}

#[tokio::test(start_paused = true)]
async fn history_leaves_room_for_the_live_side() {
    let governor = governor(100);
    let taken = |priority| {
        let governor = Arc::clone(&governor);
        async move {
            let mut weight = 0;
            while governor.acquire(5, priority, NO_WAIT).await.is_ok() {
                weight += 5;
            }
            weight
        }
    };
    assert_eq!(taken(Priority::Backfill).await, 70);
    assert_eq!(taken(Priority::Collect).await, 20);
    assert_eq!(taken(Priority::Live).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_lets_the_next_one_through() {
    let governor = governor(10);
    drop(governor.acquire(5, Priority::Live, NO_WAIT).await.unwrap());
    // Too heavy for what is left, and first in line.
    let heavy = tokio::spawn({
        let governor = Arc::clone(&governor);
        async move { governor.acquire(10, Priority::Live, MINUTE).await }
    });
    while governor.snapshot().waiting == 0 {
        tokio::task::yield_now().await;
    }
    assert!(governor.acquire(1, Priority::Live, NO_WAIT).await.is_err(), "nobody passes the first in line");
    let begun = Instant::now();
    let light = tokio::spawn({
        let governor = Arc::clone(&governor);
        async move { governor.acquire(1, Priority::Live, MINUTE).await.map(drop) }
    });
    while governor.snapshot().waiting < 2 {
        tokio::task::yield_now().await;
    }
    heavy.abort();
    light.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(governor.snapshot().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn the_servers_count_shows_what_other_processes_use() {
    let governor = governor(100);
    let first = governor.acquire(10, Priority::Live, NO_WAIT).await.unwrap();
    let second = governor.acquire(10, Priority::Live, NO_WAIT).await.unwrap();
    // The server has counted the first and 40 of others; the second isn't there yet.
    first.settle(200, |name| (name == "x-used").then_some("50"));
    assert_eq!(governor.snapshot().used, 60);
    // It never lowers our own count: answers may overtake each other.
    second.settle(200, |name| (name == "x-used").then_some("20"));
    assert_eq!(governor.snapshot().used, 60);
    assert_eq!(
        governor.acquire(45, Priority::Live, NO_WAIT).await.unwrap_err().retry(),
        Retry::After(Duration::from_secs(50))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_a_window_ends_may_count_in_the_next_but_its_answer_says_nothing_about_that() {
    let governor = governor(100);
    drop(governor.acquire(20, Priority::Live, NO_WAIT).await.unwrap());
    let late = governor.acquire(10, Priority::Live, NO_WAIT).await.unwrap();
    let lost = governor.acquire(3, Priority::Live, NO_WAIT).await.unwrap();
    tokio::time::advance(MINUTE).await;
    late.settle(200, |_| Some("95"));
    assert_eq!(governor.snapshot().used, 13);
    // It is carried over once.
    tokio::time::advance(MINUTE).await;
    assert_eq!(governor.snapshot().used, 0);
    drop(lost);
    assert_eq!(governor.snapshot().used, 0);
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_freeze_and_a_ban_freezes_longer() {
    let governor = governor(100);
    let permit = governor.acquire(1, Priority::Live, NO_WAIT).await.unwrap();
    let frozen = permit.settle(429, |name| (name == "retry-after").then_some("30"));
    assert_eq!(frozen, Some(Duration::from_secs(30)));
    // Nobody is kept waiting for what can't come in time.
    let begun = Instant::now();
    let refused = governor.acquire(1, Priority::Live, Duration::from_secs(29)).await.unwrap_err();
    assert_eq!(refused, GovernorError::Frozen { status: 429, retry_in: Duration::from_secs(30) });
    assert!(begun.elapsed() < Duration::from_secs(1));

    // Whoever can wait for the thaw does; it ends in a ban this time.
    let permit = governor.acquire(1, Priority::Backfill, MINUTE).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 30);
    permit.settle(418, no_headers);
    let snapshot = governor.snapshot();
    assert_eq!((snapshot.frozen_status, snapshot.frozen_until), (Some(418), Some(now_ns(begun) + 120_000_000_000)));

    // A shorter word that comes later doesn't shorten it.
    governor.freeze(429, Duration::from_secs(1));
    assert_eq!(governor.snapshot().frozen_status, Some(418));
    tokio::time::advance(Duration::from_secs(121)).await;
    assert_eq!(governor.snapshot().frozen_until, None);
}

/// What the governor's clock says; `begun` was the test's start.
fn now_ns(begun: Instant) -> i64 {
    START_NS + i64::try_from(begun.elapsed().as_nanos()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_retry_after_counts_until_the_window_ends() {
    let governor = governor(100);
    let frozen = governor.acquire(1, Priority::Live, NO_WAIT).await.unwrap().settle(429, |_| Some("nonsense"));
    assert_eq!(frozen, Some(Duration::from_secs(50)));
    let frozen = governor_403().await;
    assert_eq!(frozen, Some(Duration::from_secs(300)));
}

async fn governor_403() -> Option<Duration> {
    governor(100).acquire(1, Priority::Live, NO_WAIT).await.unwrap().settle(403, no_headers)
}

#[tokio::test(start_paused = true)]
async fn a_freeze_survives_a_restart_and_reaches_other_processes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("freeze.json");
    let one = with_file(&path);
    // Another process of the host, running already.
    let two = with_file(&path);
    assert_eq!(two.snapshot().frozen_until, None);
    one.freeze(418, Duration::from_secs(600));
    assert_eq!(two.snapshot().frozen_until, Some(START_NS + 600_000_000_000));
    assert!(matches!(two.acquire(1, Priority::Live, NO_WAIT).await, Err(GovernorError::Frozen { status: 418, .. })));
    one.freeze(418, Duration::from_secs(900));
    let until = Some(START_NS + 900_000_000_000);
    assert_eq!(two.snapshot().frozen_until, until);
    drop((one, two));
    // A restart.
    let again = with_file(&path);
    assert_eq!(again.snapshot().frozen_until, until);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing but the file is left behind");
}

#[tokio::test(start_paused = true)]
async fn the_first_freeze_makes_the_folder_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/binance/freeze.json");
    let governor = with_file(&path);
    governor.freeze(418, MINUTE);
    assert_eq!(with_file(&path).snapshot().frozen_until, governor.snapshot().frozen_until);
    assert!(path.exists() && governor.snapshot().frozen_until.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_freeze_file_that_makes_no_sense_or_is_over_forbids_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("freeze.json");
    std::fs::write(&path, "half a fil").unwrap();
    with_file(&path).acquire(1, Priority::Live, NO_WAIT).await.unwrap().settle(200, no_headers);
    std::fs::write(&path, format!(r#"{{"until":{},"status":429,"since":0}}"#, START_NS - 1)).unwrap();
    with_file(&path).acquire(1, Priority::Live, NO_WAIT).await.unwrap().settle(200, no_headers);
}

#[tokio::test(start_paused = true)]
async fn a_request_heavier_than_any_window_is_refused_at_once() {
    let refused = governor(100).acquire(101, Priority::Live, MINUTE).await.unwrap_err();
    assert_eq!(refused, GovernorError::TooHeavy { weight: 101, limit: 100 });
    assert_eq!(refused.retry(), Retry::No);
    // Heavier than history's share, but an empty window holds it.
    drop(governor(100).acquire(90, Priority::Backfill, NO_WAIT).await.unwrap());
}
