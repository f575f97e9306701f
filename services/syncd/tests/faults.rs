//! What the real rclone can't be made to do: a program in its place hangs, lies, and talks without end.

mod common;

use std::time::Duration;

use common::{Pair, runtime, sync};
use dccd_service::{Shutdown, ShutdownReason};
use dccd_testkit::wait_for;
use syncd::Counters;

const PATIENCE: Duration = Duration::from_secs(30);
/// What it is, and that nothing is at the remote yet.
const EMPTY: &str =
    "case \"$1\" in version) echo 'rclone v1.60.1-DEV'; exit 0;; cat|lsjson) exit 3;; rcat) cat >/dev/null; exit 0;; esac\n";

fn pair(script: &str) -> Pair {
    let mut pair = Pair::new();
    pair.put("x/trades/A-B/2026-01-01.parquet", &[1; 10]);
    pair.put("x/trades/A-B/2026-01-02.parquet", &[2; 10]);
    pair.fake(&format!("{EMPTY}{script}"));
    pair
}

fn error(script: &str) -> String {
    let status = pair(script).sync();
    assert_eq!((status.state.as_str(), status.failures), ("failed", 1), "{status:?}");
    status.last_error.unwrap()
}

#[test]
fn one_that_moves_nothing_is_stopped_with_all_it_has_started() {
    let mut pair = pair("sleep 1000 &\necho $! > \"$(dirname \"$0\")/child\"\ntrap '' TERM\nwhile true; do sleep 1; done");
    pair.rclone.patience = Duration::from_millis(300);
    let status = pair.sync();
    let error = status.last_error.unwrap();
    assert_eq!(error, "no progress for 0 s: rclone was stopped");
    let child: i32 = std::fs::read_to_string(pair.path().join("child")).unwrap().trim().parse().unwrap();
    wait_for(PATIENCE, || is_alive(child), |alive| !alive);
}

#[test]
fn one_that_claims_success_and_did_nothing_is_not_believed() {
    let said = error("exit 0");
    assert_eq!(said, "rclone ended well and has accounted for 0 of 2 files");
    let half = r#"echo '{"level":"info","msg":"x","stats":{"transfers":1,"checks":0}}' >&2"#;
    assert_eq!(error(half), "rclone ended well and has accounted for 1 of 2 files");
}

#[test]
fn garbage_without_end_is_bounded_and_said_in_a_line() {
    let said = error("head -c 50000000 /dev/zero | tr '\\0' 'x' >&2; exit 9");
    assert!(said.starts_with("rclone ended with code 9: xxxx") && said.len() < 2_000, "{} bytes", said.len());
}

#[test]
fn secrets_in_its_words_are_hidden() {
    let said = error("echo 'Failed: https://ann:hunter2@nas.example/dav: token=hunter2 refused' >&2; exit 1");
    assert!(said.contains("https://***@nas.example/dav: token=*** refused"), "{said}");
}

#[test]
fn one_that_cannot_say_whose_a_place_is_copies_nothing_there() {
    let (short, long) = (Duration::from_millis(300), Duration::from_secs(30));
    for (script, patience, why) in [
        (
            "echo 'Failed to cat: token=hunter2 refused' >&2; exit 1",
            long,
            "rclone ended with code 1: Failed to cat: token=*** refused",
        ),
        ("sleep 1000", short, "no progress for 0 s: rclone was stopped"),
        ("head -c 9000000 /dev/zero | tr '\\0' 'x'; exit 9", long, "rclone ended with code 9: it gives no reason"),
    ] {
        let mut pair = pair("");
        let version = "[ \"$1\" = version ] && { echo 'rclone v1.60.1-DEV'; exit 0; }\n";
        pair.fake(&format!("{version}[ \"$1\" = cat ] || touch \"$(dirname \"$0\")/done\"\n{script}"));
        pair.rclone.patience = patience;
        let status = pair.sync();
        assert_eq!((status.state.as_str(), status.files_done, status.last_error.as_deref()), ("failed", 0, Some(why)));
        assert!(!pair.path().join("done").exists(), "it went on");
    }
}

/// A copy that was made before there were marks goes on where none can be put, as with a key that may not look at what isn't there.
#[test]
fn a_place_that_is_known_is_copied_to_also_where_it_cannot_be_marked() {
    let copied = r#"echo '{"level":"info","msg":"x","stats":{"transfers":2,"checks":0}}' >&2"#;
    let mut pair = pair(copied);
    assert_eq!(pair.sync().state, "idle");
    let directory = std::fs::read_dir(pair.data().join(".dccd/sync")).unwrap().next().unwrap().unwrap().path();
    let claim = directory.join("claim");
    assert_eq!(std::fs::read_to_string(&claim).unwrap(), "settled\n");
    std::fs::remove_file(&claim).unwrap();
    let forbidden = "[ \"$1\" = cat ] && { echo 'Failed to cat: 403' >&2; exit 1; }\n";
    pair.fake(&format!("{forbidden}{EMPTY}{copied}"));
    pair.put("x/trades/A-B/2026-01-01.parquet", &[7; 20]);
    let status = pair.sync();
    assert_eq!((status.state.as_str(), status.behind_files, status.last_error), ("idle", 0, None));
    assert!(!claim.exists(), "it is tried again");
    // Who has copied nothing there yet doesn't begin.
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(pair.sync().last_error.as_deref(), Some("rclone ended with code 1: Failed to cat: 403"));
}

#[test]
fn one_that_is_missing_too_old_or_another_program_is_named() {
    let mut pair = pair("");
    pair.fake("echo 'rclone v1.50.2'");
    assert_eq!(pair.sync().last_error.unwrap(), "rclone 1.50.2 is too old; 1.53 or later is needed");
    pair.fake("echo 'usage: something else'");
    let said = pair.sync().last_error.unwrap();
    assert_eq!(said, "rclone does not answer to `rclone version` as it should: usage: something else");
    pair.rclone.program = pair.path().join("not-there");
    let said = pair.sync().last_error.unwrap();
    assert!(said.contains("install rclone (Debian: apt install rclone) or use provider: s3"), "{said}");
}

#[test]
fn what_it_said_was_copied_is_kept_when_it_dies() {
    let pair = pair(
        "[ -e \"$(dirname \"$0\")/again\" ] && exit 3\ntouch \"$(dirname \"$0\")/again\"\n\
         echo '{\"level\":\"info\",\"msg\":\"Copied (new)\",\"object\":\"x/trades/A-B/2026-01-01.parquet\"}' >&2\nkill -9 $$",
    );
    let status = pair.sync();
    assert_eq!((status.files_done, status.copied_files, status.behind_files), (1, 1, 1), "{status:?}");
    assert!(status.last_error.unwrap().contains("signal 9"));
    // The other one may be there in half: it is forced, and looked up by itself.
    let status = pair.sync();
    assert_eq!((status.files_total, status.copied_files, status.behind_files), (1, 1, 1), "{status:?}");
}

#[test]
fn stopping_ends_it_and_is_no_failure() {
    let pair = pair("echo $$ > \"$(dirname \"$0\")/leader\"\nexec sleep 1000");
    let engine = pair.engine();
    let stop = Shutdown::new();
    engine.begin(&[]).unwrap();
    let leader = pair.path().join("leader");
    runtime().block_on(async {
        let started = async {
            while !std::fs::read_to_string(&leader).is_ok_and(|text| text.ends_with('\n')) {
                tokio::time::sleep(dccd_testkit::POLL_INTERVAL).await;
            }
            // Who asks while it runs joins it.
            let runs = engine.begin(&[]).unwrap();
            assert!(runs[0].joined && runs[0].run == 1, "{runs:?}");
            stop.trigger(ShutdownReason::Terminate);
        };
        tokio::join!(started, engine.work(&stop));
    });
    let leader: i32 = std::fs::read_to_string(&leader).unwrap().trim().parse().unwrap();
    assert!(!is_alive(leader));
    let status = runtime().block_on(engine.status()).remove(0);
    assert_eq!((status.state.as_str(), status.failures, status.behind_files), ("interrupted", 0, 2), "{status:?}");
    // And so it is told to those who ask later.
    let later = runtime().block_on(pair.engine().status()).remove(0);
    assert_eq!((later.state.as_str(), later.behind_files), ("interrupted", 2), "{later:?}");
}

#[test]
fn a_remote_that_another_process_copies_to_is_left_to_it() {
    let pair = pair("exit 0");
    let sync_directory = || std::fs::read_dir(pair.data().join(".dccd/sync")).unwrap().next().unwrap().unwrap().path();
    let _ = pair.sync();
    let lock = std::fs::File::options().write(true).open(sync_directory().join("lock")).unwrap();
    lock.lock().unwrap();
    let error = pair.sync().last_error.unwrap();
    assert!(error.contains("another process is copying to"), "{error}");
}

#[test]
fn failures_in_a_row_are_retried_by_the_clock_and_degrade_the_service() {
    let pair = pair("echo run >> \"$(dirname \"$0\")/runs\"; exit 1");
    let options = syncd::SyncOptions { interval: Duration::from_millis(10), ..pair.options() };
    let engine = syncd::Engine::new(options, Counters::default());
    let progress = dccd_service::Progress::new();
    let stop = Shutdown::new();
    runtime().block_on(async {
        let watched = async {
            loop {
                if let Some(reason) = progress.snapshot().degraded {
                    stop.trigger(ShutdownReason::Requested);
                    return reason;
                }
                tokio::time::sleep(dccd_testkit::POLL_INTERVAL).await;
            }
        };
        let (reason, ()) = tokio::join!(watched, engine.work_aloud(&stop, &progress));
        assert!(reason.contains("syncs in a row have failed: rclone ended with code 1"), "{reason}");
    });
    let runs = std::fs::read_to_string(pair.path().join("runs")).unwrap().lines().count();
    assert!(runs >= 3, "{runs}");
    let _ = sync(&engine);
}

fn is_alive(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}
