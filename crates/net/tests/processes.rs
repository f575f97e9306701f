//! Several real processes on one ledger: this test binary starts itself.

#![allow(clippy::print_stdout, reason = "a role tells the test that started it how far it is")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{http_answer, listen, request_head};
use dccd_net::{Clock, Governor, GovernorOptions, HttpClient, HttpOptions, Priority, SystemClock, TokioClock, ledger_file};
use tokio::io::AsyncWriteExt;

/// Long enough that a process held up by others doesn't skip a whole one between leave and request.
const WINDOW: Duration = Duration::from_secs(2);
const LIMIT: u32 = 60;
const WEIGHT: u32 = 5;
const PROCESSES: usize = 3;
const REQUESTS_EACH: usize = 12;
/// Ten years: no test run meets the end of one.
const AGE: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Runs a role of this file in a process of its own.
fn start(role: &str, dir: &Path, address: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", role, "--nocapture", "--ignored"])
        .env("LEDGER_DIR", dir)
        .env("LEDGER_ADDRESS", address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn governor(options: GovernorOptions) -> Arc<Governor> {
    let (dir, address) = (std::env::var("LEDGER_DIR").unwrap(), std::env::var("LEDGER_ADDRESS").unwrap());
    let ledger_file = Some(ledger_file(Path::new(&dir), "sim", &address));
    Governor::new(GovernorOptions { ledger_file, ..options }, Arc::new(SystemClock))
}

#[tokio::test]
#[ignore = "a role that another test starts"]
async fn role_of_one_that_asks() {
    let governor = governor(GovernorOptions::new(LIMIT, WINDOW));
    let client = HttpClient::new(HttpOptions::new(std::env::var("LEDGER_ADDRESS").unwrap(), governor)).unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS_EACH {
        let client = client.clone();
        asking.spawn(async move { client.get("/", WEIGHT, Priority::Live).await.map(drop) });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap().unwrap();
    }
}

#[tokio::test]
#[ignore = "a role that another test starts"]
async fn role_of_one_that_holds_weight() {
    let governor = governor(GovernorOptions::new(100, AGE));
    let _held = governor.acquire(40, Priority::Live, Duration::ZERO).await.unwrap();
    println!("held");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn several_processes_never_exceed_the_limit_of_any_window() {
    let (listener, address) = listen().await;
    let windows = Arc::new(Mutex::new(BTreeMap::<u128, u32>::new()));
    let counted = Arc::clone(&windows);
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                request_head(&mut stream).await;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                *counted.lock().unwrap().entry(now.as_nanos() / WINDOW.as_nanos()).or_default() += WEIGHT;
                stream.write_all(http_answer("200 OK", "connection: close\r\n", "{}").as_bytes()).await.unwrap();
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let base = format!("http://{address}");
    let processes: Vec<Child> = (0..PROCESSES).map(|_| start("role_of_one_that_asks", dir.path(), &base)).collect();
    let ended = tokio::task::spawn_blocking(|| {
        processes.into_iter().map(|process| process.wait_with_output().unwrap()).collect::<Vec<_>>()
    });
    for output in tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    server.abort();
    let windows = windows.lock().unwrap();
    let all = u32::try_from(PROCESSES * REQUESTS_EACH).unwrap() * WEIGHT;
    assert_eq!(windows.values().sum::<u32>(), all);
    assert!(windows.values().all(|used| *used <= LIMIT), "{windows:?}");
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_its_weight_behind_for_a_window_and_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = start("role_of_one_that_holds_weight", dir.path(), "http://sim:1");
    let mut said = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("held") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended before it held anything");
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let used_at = |ahead: Duration| {
        let options = GovernorOptions {
            ledger_file: Some(ledger_file(dir.path(), "sim", "http://sim:1")),
            ..GovernorOptions::new(100, AGE)
        };
        let now = SystemClock.now_ns() + i64::try_from(ahead.as_nanos()).unwrap();
        Governor::new(options, Arc::new(TokioClock::starting_at(now))).snapshot().used
    };
    assert_eq!(used_at(Duration::ZERO), 40);
    // It may have been under way when the next window began; after that it is gone.
    assert_eq!(used_at(AGE), 40);
    assert_eq!(used_at(2 * AGE), 0);
}
