//! One ledger file, several governors on it, as several processes have them; on a clock that the test drives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dccd_net::{Governor, GovernorError, GovernorOptions, Priority, TokioClock};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// Ten seconds into a minute.
const START_NS: i64 = 1_700_000_050_000_000_000;
const NO_WAIT: Duration = Duration::ZERO;
const SECOND_NS: i64 = 1_000_000_000;

struct Host {
    dir: tempfile::TempDir,
    clock: TokioClock,
}

impl Host {
    fn new() -> Self {
        Host { dir: tempfile::tempdir().unwrap(), clock: TokioClock::starting_at(START_NS) }
    }

    fn ledger(&self) -> PathBuf {
        self.dir.path().join("x@host_1.ledger")
    }

    /// What another process would have.
    fn governor(&self, options: GovernorOptions) -> Arc<Governor> {
        self.at(&self.ledger(), options)
    }

    fn at(&self, path: &Path, options: GovernorOptions) -> Arc<Governor> {
        let options = GovernorOptions { ledger_file: Some(path.to_path_buf()), ..options };
        Governor::new(options, Arc::new(self.clock))
    }
}

fn windows(limit: u32) -> GovernorOptions {
    GovernorOptions { used_weight_header: Some("x-used"), ..GovernorOptions::new(limit, MINUTE) }
}

fn no_headers<'h>(_: &str) -> Option<&'h str> {
    None
}

async fn take(governor: &Arc<Governor>, weight: u32, priority: Priority) -> Result<(), GovernorError> {
    governor.acquire(weight, priority, NO_WAIT).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn what_one_uses_is_missing_for_the_other() {
    let host = Host::new();
    let (one, two) = (host.governor(windows(100)), host.governor(windows(100)));
    take(&one, 40, Priority::Live).await.unwrap();
    take(&two, 40, Priority::Live).await.unwrap();
    assert_eq!((one.snapshot().used, two.snapshot().used), (80, 80));
    let refused = take(&one, 21, Priority::Live).await.unwrap_err();
    assert_eq!(refused, GovernorError::Exhausted { weight: 21, used: 80, limit: 100, retry_in: Duration::from_secs(50) });
    // History leaves its share to others, whoever used the rest.
    assert!(take(&two, 1, Priority::Backfill).await.is_err());
    // One that starts later, and a new window.
    assert_eq!(host.governor(windows(100)).snapshot().used, 80);
    let begun = Instant::now();
    drop(two.acquire(100, Priority::Live, MINUTE).await.unwrap());
    assert_eq!((begun.elapsed().as_secs(), one.snapshot().used), (50, 100));
}

#[tokio::test(start_paused = true)]
async fn the_servers_count_is_joined_to_what_all_have_under_way() {
    let host = Host::new();
    let (one, two) = (host.governor(windows(100)), host.governor(windows(100)));
    let first = one.acquire(10, Priority::Live, NO_WAIT).await.unwrap();
    let second = two.acquire(10, Priority::Live, NO_WAIT).await.unwrap();
    first.settle(200, |name| (name == "x-used").then_some("50"));
    assert_eq!(two.snapshot().used, 60);
    second.settle(200, |name| (name == "x-used").then_some("70"));
    assert_eq!(one.snapshot().used, 70);
}

#[tokio::test(start_paused = true)]
async fn a_ban_seen_by_one_stops_all_before_their_next_request() {
    let host = Host::new();
    let (one, two) = (host.governor(windows(100)), host.governor(windows(100)));
    let waiting = tokio::spawn({
        let two = Arc::clone(&two);
        async move {
            drop(two.acquire(100, Priority::Live, NO_WAIT).await.unwrap());
            // Would go in the next window.
            two.acquire(1, Priority::Live, 2 * MINUTE).await.map(drop)
        }
    });
    while one.snapshot().waiting == 0 {
        tokio::task::yield_now().await;
    }
    one.freeze(418, Duration::from_secs(600));
    let refused = take(&two, 1, Priority::Live).await.unwrap_err();
    assert_eq!(refused, GovernorError::Frozen { status: 418, retry_in: Duration::from_secs(600) });
    assert!(matches!(waiting.await.unwrap(), Err(GovernorError::Frozen { status: 418, .. })));
    let snapshot = host.governor(windows(100)).snapshot();
    assert_eq!((snapshot.frozen_status, snapshot.frozen_until), (Some(418), Some(START_NS + 600 * SECOND_NS)));
    tokio::time::advance(Duration::from_secs(601)).await;
    take(&two, 1, Priority::Live).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_freeze_said_in_a_body_is_worded_so() {
    let host = Host::new();
    let (one, two) = (host.governor(windows(100)), host.governor(windows(100)));
    for status in [0, 200] {
        one.freeze(status, (u32::from(status) + 1) * Duration::from_secs(10));
        let refused = take(&two, 1, Priority::Live).await.unwrap_err();
        assert!(refused.to_string().contains("because the exchange said its rate limit is exceeded"), "{refused}");
    }
    one.freeze(429, 2 * 3600 * Duration::from_secs(1));
    let refused = take(&two, 1, Priority::Live).await.unwrap_err();
    assert!(refused.to_string().contains("because the exchange answered 429"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_live_side_of_one_goes_before_the_history_of_another() {
    let host = Host::new();
    let governors = [host.governor(windows(10)), host.governor(windows(10)), host.governor(windows(10))];
    take(&governors[0], 10, Priority::Live).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for (governor, priority) in governors.iter().zip([Priority::Backfill, Priority::Collect, Priority::Live]) {
        let (waiter, order) = (Arc::clone(governor), Arc::clone(&order));
        waiting.push(tokio::spawn(async move {
            drop(waiter.acquire(2, priority, MINUTE).await.unwrap());
            order.lock().unwrap().push(priority);
        }));
        while governors[0].snapshot().waiting < waiting.len() {
            tokio::task::yield_now().await;
        }
    }
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [Priority::Live, Priority::Collect, Priority::Backfill]);
    assert_eq!(governors[0].snapshot().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_of_a_dead_process_holds_nobody_up_for_long() {
    let host = Host::new();
    let (dead, alive) = (host.governor(windows(10)), host.governor(windows(10)));
    take(&alive, 10, Priority::Live).await.unwrap();
    let waiter = tokio::spawn({
        let dead = Arc::clone(&dead);
        async move { dead.acquire(1, Priority::Live, MINUTE).await.map(drop) }
    });
    while alive.snapshot().waiting == 0 {
        tokio::task::yield_now().await;
    }
    // As after kill -9: its mark stays in the file, because the mark is what stands there when the file is put back.
    let marked = fs::read(host.ledger()).unwrap();
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    assert_eq!(alive.snapshot().waiting, 0, "one that gives up takes its mark down");
    fs::write(host.ledger(), marked).unwrap();
    assert_eq!(alive.snapshot().waiting, 1);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(alive.snapshot().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_without_pause_does_not_starve_its_equal() {
    let host = Host::new();
    let (greedy, modest) = (host.governor(windows(10)), host.governor(windows(10)));
    let taken = Arc::new(AtomicUsize::new(0));
    let hog = tokio::spawn({
        let taken = Arc::clone(&taken);
        async move {
            loop {
                drop(greedy.acquire(1, Priority::Backfill, 2 * MINUTE).await.unwrap());
                taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for _ in 0..5 {
        while modest.snapshot().used < 7 || modest.snapshot().waiting == 0 {
            // The other may have stepped aside for some milliseconds, which must pass.
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        // The greedy one has set its timer already and wakes first when the window begins.
        tokio::time::advance(Duration::from_millis(250)).await;
        let begun = Instant::now();
        // A task as the other is one: the runtime lets the test itself go before all tasks.
        let modest = Arc::clone(&modest);
        let asked = tokio::spawn(async move { modest.acquire(1, Priority::Backfill, 10 * MINUTE).await.map(drop) });
        asked.await.unwrap().unwrap();
        assert!(begun.elapsed() <= MINUTE + Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    hog.abort();
    assert!(taken.load(Ordering::Relaxed) >= 4 * 6, "the greedy one has the rest: {taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_makes_no_sense_counts_as_a_full_window() {
    for garbage in [&b"half a record"[..], &[0; 572], &[0xff; 5_000]] {
        let host = Host::new();
        fs::write(host.ledger(), garbage).unwrap();
        let governor = host.governor(windows(100));
        assert_eq!(governor.snapshot().used, 100);
        assert!(take(&governor, 1, Priority::Live).await.is_err());
        let begun = Instant::now();
        drop(governor.acquire(60, Priority::Live, MINUTE).await.unwrap());
        assert_eq!((begun.elapsed().as_secs(), host.governor(windows(100)).snapshot().used), (50, 60));
    }
    let host = Host::new();
    fs::write(host.ledger(), "half a record").unwrap();
    let paced = host.governor(GovernorOptions::paced(Duration::from_secs(1), 3));
    let begun = Instant::now();
    drop(paced.acquire(1, Priority::Live, MINUTE).await.unwrap());
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_torn_record_counts_as_a_full_window() {
    let host = Host::new();
    let governor = host.governor(windows(100));
    take(&governor, 10, Priority::Live).await.unwrap();
    let file = File::options().write(true).open(host.ledger()).unwrap();
    file.set_len(100).unwrap();
    assert_eq!(governor.snapshot().used, 100);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_was_removed_is_made_again_and_nothing_is_forgotten() {
    let host = Host::new();
    let (one, two) = (host.governor(windows(100)), host.governor(windows(100)));
    take(&one, 30, Priority::Live).await.unwrap();
    assert_eq!(two.snapshot().used, 30);
    fs::remove_file(host.ledger()).unwrap();
    take(&two, 30, Priority::Live).await.unwrap();
    assert_eq!((one.snapshot().used, two.snapshot().used), (60, 60));
    assert!(host.ledger().exists());
}

#[tokio::test(start_paused = true)]
async fn one_request_is_granted_at_each_interval_over_all() {
    let host = Host::new();
    let options = || GovernorOptions::paced(Duration::from_secs(2), 3);
    let (one, two) = (host.governor(options()), host.governor(options()));
    // A rest behind it: three at once.
    take(&one, 1, Priority::Backfill).await.unwrap();
    take(&two, 1, Priority::Backfill).await.unwrap();
    take(&one, 1, Priority::Backfill).await.unwrap();
    let refused = take(&two, 1, Priority::Live).await.unwrap_err();
    assert_eq!(refused, GovernorError::Paced { every: Duration::from_secs(2), retry_in: Duration::from_secs(2) });
    let snapshot = two.snapshot();
    assert_eq!((snapshot.used, snapshot.limit, snapshot.window_ends), (3, 3, START_NS + 2 * SECOND_NS));
    let begun = Instant::now();
    for turn in 1..=4 {
        let governor = if turn % 2 == 0 { &one } else { &two };
        drop(governor.acquire(1, Priority::Backfill, MINUTE).await.unwrap());
        assert_eq!(begun.elapsed().as_secs(), 2 * turn);
    }
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(one.snapshot().used, 2);
    assert_eq!(one.acquire(4, Priority::Live, MINUTE).await.unwrap_err(), GovernorError::TooHeavy { weight: 4, limit: 3 });
    // Refused without a word on how long: there is no window to wait for.
    let frozen = one.acquire(1, Priority::Live, NO_WAIT).await.unwrap().settle(429, no_headers);
    assert_eq!(frozen, Some(Duration::from_secs(5)));
}

#[tokio::test(start_paused = true)]
async fn the_next_request_granted_goes_to_the_highest_priority_anywhere_and_equals_take_turns() {
    let host = Host::new();
    let options = || GovernorOptions::paced(Duration::from_secs(1), 1);
    let governors = [host.governor(options()), host.governor(options())];
    take(&governors[0], 1, Priority::Live).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for (name, process, priority) in [
        ("backfill 0", 0, Priority::Backfill),
        ("backfill 1", 1, Priority::Backfill),
        ("backfill 0 again", 0, Priority::Backfill),
        ("live 1", 1, Priority::Live),
        ("collect 0", 0, Priority::Collect),
    ] {
        let (waiter, order) = (Arc::clone(&governors[process]), Arc::clone(&order));
        waiting.push(tokio::spawn(async move {
            drop(waiter.acquire(1, priority, MINUTE).await.unwrap());
            order.lock().unwrap().push(name);
        }));
        while governors[0].snapshot().waiting < waiting.len() {
            // Each a little later than the one before.
            tokio::time::advance(Duration::from_micros(10)).await;
        }
    }
    for task in waiting {
        task.await.unwrap();
    }
    let expected = ["live 1", "collect 0", "backfill 0", "backfill 1", "backfill 0 again"];
    assert_eq!(*order.lock().unwrap(), expected);
}

/// Counts the warnings of this thread.
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn where_the_file_cannot_be_made_each_counts_alone_after_one_warning() {
    let host = Host::new();
    let warnings = Arc::new(AtomicUsize::new(0));
    let guard = tracing::subscriber::set_default(Warnings(Arc::clone(&warnings)));
    // Root may write anywhere, read-only or not; where there is no folder nobody may.
    let governor = host.at(&host.dir.path().join("missing/x.ledger"), windows(100));
    for _ in 0..20 {
        take(&governor, 5, Priority::Live).await.unwrap();
    }
    // The file is tried again a second (of the real clock) later.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1_200) {
        assert!(take(&governor, 5, Priority::Live).await.is_err());
        std::thread::yield_now();
    }
    drop(guard);
    assert_eq!(warnings.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_used_while_somebody_stopped_held_the_lock_is_added_afterwards() {
    let host = Host::new();
    let (one, two) = (host.governor(windows(100)), host.governor(windows(100)));
    take(&two, 10, Priority::Live).await.unwrap();
    let stopped = File::options().read(true).write(true).open(host.ledger()).unwrap();
    stopped.lock().unwrap();
    // It knew of nothing but an empty window when it last saw the file.
    take(&one, 30, Priority::Live).await.unwrap();
    let held = one.acquire(5, Priority::Live, NO_WAIT).await.unwrap();
    assert_eq!(one.snapshot().used, 35);
    one.freeze(429, Duration::from_secs(20));
    drop(stopped);
    // Both left the file alone for a second of the real clock after they couldn't have it.
    let give_up = std::time::Instant::now() + Duration::from_secs(10);
    while one.snapshot().used != 45 {
        assert!(std::time::Instant::now() < give_up, "{:?}", one.snapshot());
        std::thread::yield_now();
    }
    assert_eq!((two.snapshot().used, two.snapshot().frozen_status), (45, Some(429)));
    // The 5 are under way and not in the server's count of others.
    held.settle(200, |name| (name == "x-used").then_some("60"));
    assert_eq!(two.snapshot().used, 60);
}
