//! Copies made by the real rclone, to a directory. Without it these are skipped by name.

mod common;

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Pair, contents, has_rclone, sync};

#[test]
fn only_what_changed_goes_and_nothing_is_taken_away() {
    if !has_rclone("only_what_changed_goes_and_nothing_is_taken_away") {
        return;
    }
    let pair = Pair::new();
    pair.put("binance/trades/BTC-USDT/2026-01-01.parquet", &[1; 100_000]);
    pair.put("binance/trades/BTC-USDT/2026-01-02.parquet", &[2; 10]);
    pair.put("kraken/ohlc/BTC-USD_USD/1h/2026.parquet", &[3; 20]);
    pair.put(".dccd/state/binance/recorder.bin", b"this host's alone");
    pair.put("notes.txt", b"somebody's");
    let status = pair.sync();
    assert_eq!((status.state.as_str(), status.files_done, status.bytes_done), ("idle", 3, 100_030), "{status:?}");
    assert_eq!((status.copied_files, status.behind_files, status.failures), (3, 0, 0), "{status:?}");
    let first = contents(&pair.copy());
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|(path, content)| contents(&pair.data())[path] == *content));
    // Nothing has changed: nothing goes.
    let status = pair.sync();
    assert_eq!((status.state.as_str(), status.files_total), ("idle", 0), "{status:?}");
    // One is replaced by another of the same length, one is new, one is gone.
    pair.put("binance/trades/BTC-USDT/2026-01-02.parquet", &[9; 10]);
    pair.put("binance/trades/BTC-USDT/2026-01-03.parquet", &[4; 7]);
    std::fs::remove_file(pair.data().join("kraken/ohlc/BTC-USD_USD/1h/2026.parquet")).unwrap();
    let engine = pair.engine();
    let before = common::runtime().block_on(engine.status()).remove(0);
    assert_eq!((before.copied_files, before.behind_files, before.behind_bytes), (1, 2, 17), "{before:?}");
    assert!(before.behind_since > 0, "{before:?}");
    let status = sync(&engine);
    assert_eq!((status.files_done, status.bytes_done, status.behind_files), (2, 17, 0), "{status:?}");
    let second = contents(&pair.copy());
    assert_eq!(second["binance/trades/BTC-USDT/2026-01-02.parquet"], [9; 10]);
    assert_eq!(second["kraken/ohlc/BTC-USD_USD/1h/2026.parquet"], [3; 20], "a copy outlives its original");
    assert_eq!(second.len(), 4);
}

#[test]
fn without_a_record_rclone_compares_and_sends_nothing_twice() {
    if !has_rclone("without_a_record_rclone_compares_and_sends_nothing_twice") {
        return;
    }
    let pair = Pair::new();
    pair.put("x/trades/A-B/2026-01-01.parquet", &[1; 1_000]);
    pair.put("x/trades/A-B/2026-01-02.parquet", &[2; 1_000]);
    assert_eq!(pair.sync().state, "idle");
    std::fs::remove_dir_all(pair.data().join(".dccd")).unwrap();
    pair.put("x/trades/A-B/2026-01-02.parquet", &[3; 2_000]);
    let changed = |name: &str| {
        let metadata = std::fs::metadata(pair.copy().join("x/trades/A-B").join(name)).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let before = changed("2026-01-01.parquet");
    let status = pair.sync();
    assert_eq!((status.state.as_str(), status.copied_files, status.behind_files), ("idle", 2, 0), "{status:?}");
    assert_eq!(changed("2026-01-01.parquet"), before, "it was there and was sent again");
    assert_eq!(contents(&pair.copy())["x/trades/A-B/2026-01-02.parquet"], [3; 2_000]);
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn files_replaced_while_they_are_copied_arrive_whole() {
    if !has_rclone("files_replaced_while_they_are_copied_arrive_whole") {
        return;
    }
    let pair = Pair::new();
    let path = "x/trades/A-B/2026-01-01.parquet";
    let write = |n: u8| pair.put(path, &vec![n; 3_000_000 + usize::from(n) * 1_000]);
    write(0);
    let over = AtomicBool::new(false);
    let (mut seen, engine) = (Vec::new(), pair.engine());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (1..=250_u8).cycle() {
                write(n);
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        // Also where the test fails, the writer ends.
        let ended = Over(&over);
        for _ in 0..6 {
            let status = sync(&engine);
            assert_eq!((status.state.as_str(), status.last_error), ("idle", None));
            // A directory that is read while a file in it is replaced may show neither: it goes with the next run.
            let Ok(copy) = std::fs::read(pair.copy().join(path)) else { continue };
            let n = copy[0];
            assert!(copy.iter().all(|byte| *byte == n), "torn");
            assert_eq!(copy.len(), 3_000_000 + usize::from(n) * 1_000, "torn");
            seen.push(n);
        }
        drop(ended);
    });
    seen.dedup();
    assert!(seen.len() > 1, "it never changed: {seen:?}");
    assert_eq!(sync(&engine).behind_files, 0);
    assert_eq!(contents(&pair.copy())[path], std::fs::read(pair.data().join(path)).unwrap());
    let sync_directory = std::fs::read_dir(pair.data().join(".dccd/sync")).unwrap().next().unwrap().unwrap().path();
    assert!(!sync_directory.join("stage").exists(), "links are left behind");
}

/// Of another disk no version can be pinned: what is replaced while it is read is noticed and is sent again.
#[test]
fn files_behind_a_link_to_another_disk_arrive_whole_too() {
    if !has_rclone("files_behind_a_link_to_another_disk_arrive_whole_too") {
        return;
    }
    let pair = Pair::new();
    let Ok(disk) = tempfile::tempdir_in("/dev/shm") else {
        dccd_testkit::skip("files_behind_a_link_to_another_disk_arrive_whole_too", "no second file system");
        return;
    };
    std::os::unix::fs::symlink(disk.path(), pair.data().join("x")).unwrap();
    let (file, new) = (disk.path().join("2026-01-01.parquet"), disk.path().join("new"));
    let write = |n: u8| {
        std::fs::write(&new, vec![n; 3_000_000 + usize::from(n) * 1_000]).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    write(0);
    let over = AtomicBool::new(false);
    let engine = pair.engine();
    let copy = pair.copy().join("x/2026-01-01.parquet");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (1..=250_u8).cycle() {
                write(n);
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let ended = Over(&over);
        for _ in 0..4 {
            let status = sync(&engine);
            // Some notice while they read, and say so.
            let why = status.last_error.unwrap_or_default();
            assert!(status.state == "idle" || why.contains("source file is being updated"), "{}: {why}", status.state);
            if let Ok(copy) = std::fs::read(&copy) {
                assert!(copy.iter().all(|byte| *byte == copy[0]), "torn");
            }
        }
        drop(ended);
    });
    assert_eq!(sync(&engine).behind_files, 0);
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&file).unwrap());
}

#[test]
fn a_failure_says_why_is_counted_and_ends_with_the_next_success() {
    if !has_rclone("a_failure_says_why_is_counted_and_ends_with_the_next_success") {
        return;
    }
    let mut pair = Pair::new();
    pair.put("x/trades/A-B/2026-01-01.parquet", &[1; 10]);
    // A file where the directory should be.
    std::fs::write(pair.copy(), "in the way").unwrap();
    let _ = pair.sync();
    let status = pair.sync();
    assert_eq!((status.state.as_str(), status.failures, status.behind_files), ("failed", 2, 1), "{status:?}");
    let error = status.last_error.unwrap();
    assert!(error.contains("rclone ended with code") && error.contains("not a directory"), "{error}");
    std::fs::remove_file(pair.copy()).unwrap();
    let status = pair.sync();
    assert_eq!((status.state.as_str(), status.failures, status.last_error), ("idle", 0, None));
    pair.remote = "{remote: 'no-such-remote:x'}".to_owned();
    let error = pair.sync().last_error.unwrap();
    assert!(error.contains("no-such-remote") && error.contains("config"), "{error}");
    // One file can't be read; the others go all the same.
    pair.remote = format!("{{remote: '{}'}}", pair.path().join("other").display());
    pair.put("x/trades/A-B/2026-01-02.parquet", &[2; 10]);
    std::fs::create_dir_all(pair.path().join("other/x/trades/A-B/2026-01-01.parquet/in the way")).unwrap();
    let status = pair.sync();
    assert_eq!((status.state.as_str(), status.files_done, status.behind_files), ("failed", 1, 1), "{status:?}");
    assert!(status.last_error.as_ref().unwrap().contains("x/trades/A-B/2026-01-01.parquet: "), "{status:?}");
}

#[test]
fn a_copy_in_the_store_is_refused() {
    if !has_rclone("a_copy_in_the_store_is_refused") {
        return;
    }
    let mut pair = Pair::new();
    std::os::unix::fs::symlink(pair.data(), pair.path().join("link")).unwrap();
    pair.remote = format!("{{remote: '{}'}}", pair.path().join("link/copy").display());
    pair.put("x/trades/A-B/2026-01-01.parquet", &[1; 10]);
    let error = pair.sync().last_error.unwrap();
    assert!(error.contains("lies in the store itself"), "{error}");
}
