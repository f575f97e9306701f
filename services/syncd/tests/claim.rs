//! Whose a place is: another store's files are not replaced there. With the real rclone and a directory; without it these are skipped by
//! name.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Pair, contents, has_rclone, sync};
use dccd_rpc::syncd::RemoteStatus;

const DAY: &str = "x/trades/A-B/2026-01-01.parquet";

/// A store that is copied to where another one's copy is.
fn beside(other: &Pair) -> Pair {
    let mut pair = Pair::new();
    pair.remote.clone_from(&other.remote);
    pair
}

fn refused(status: &RemoteStatus) -> &str {
    assert_eq!((status.state.as_str(), status.files_done, status.failures), ("failed", 0, 1), "{status:?}");
    status.last_error.as_deref().unwrap_or_default()
}

/// Copies a tree with its times.
fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(done.success(), "{done}");
}

#[test]
fn another_stores_files_are_replaced_only_when_that_is_wanted() {
    if !has_rclone("another_stores_files_are_replaced_only_when_that_is_wanted") {
        return;
    }
    let one = Pair::new();
    one.put(DAY, &[1; 10]);
    assert_eq!(one.sync().state, "idle");
    let first = contents(&one.copy());
    // The same day of another market's store; and one that has nothing in common yet.
    let two = beside(&one);
    two.put(DAY, &[2; 10]);
    let three = beside(&one);
    three.put("y/trades/A-B/2026-01-01.parquet", &[3; 10]);
    for other in [&two, &three] {
        let status = other.sync();
        let error = refused(&status);
        let copy = one.copy();
        let way_out = format!("dccd sync --now --replace --remote {}", copy.display());
        assert!(error.starts_with("another store is copied there already (its id begins with "), "{error}");
        assert!(error.contains("nothing was copied") && error.ends_with(&way_out), "{error}");
        assert!(contents(&one.copy()) == first);
    }
    two.engine().allow(&[]).unwrap();
    assert_eq!(two.sync().state, "idle");
    assert_eq!(contents(&one.copy())[DAY], [2; 10]);
    // Neither is asked again.
    for store in [&one, &two] {
        store.put(DAY, &[7; 20]);
        assert_eq!(store.sync().state, "idle");
    }
}

#[test]
fn a_store_made_of_a_copy_is_the_same_store() {
    if !has_rclone("a_store_made_of_a_copy_is_the_same_store") {
        return;
    }
    let one = Pair::new();
    one.put(DAY, &[1; 10]);
    one.put("x/trades/A-B/2026-01-02.parquet", &[1; 10]);
    assert_eq!(one.sync().state, "idle");
    let id = || std::fs::read_to_string(one.copy().join(".dccd/store-id")).unwrap();
    let first = id();
    // All of it, and what a look at it shows.
    for is_whole in [true, false] {
        let restored = beside(&one);
        copy(&one.copy(), &restored.data());
        if !is_whole {
            std::fs::remove_dir_all(restored.data().join(".dccd")).unwrap();
        }
        restored.put("x/trades/A-B/2026-01-02.parquet", &[9; 30]);
        let status = sync(&restored.engine());
        assert_eq!((status.state.as_str(), status.last_error), ("idle", None));
        assert_eq!(std::fs::read_to_string(restored.data().join(".dccd/store-id")).unwrap(), first);
    }
    assert_eq!(id(), first);
    assert_eq!(contents(&one.copy())["x/trades/A-B/2026-01-02.parquet"], [9; 30]);
}

#[test]
fn a_place_without_an_id_is_told_by_its_files() {
    if !has_rclone("a_place_without_an_id_is_told_by_its_files") {
        return;
    }
    let one = Pair::new();
    one.put(DAY, &[1; 10]);
    assert_eq!(one.sync().state, "idle");
    // As a former version has left it.
    let forget = || {
        std::fs::remove_dir_all(one.copy().join(".dccd")).unwrap();
        let directory = std::fs::read_dir(one.data().join(".dccd/sync")).unwrap().next().unwrap().unwrap().path();
        std::fs::remove_file(directory.join("claim")).unwrap();
        std::fs::remove_file(one.data().join(".dccd/store-id")).unwrap();
        directory
    };
    forget();
    let two = beside(&one);
    two.put(DAY, &[2; 10]);
    let status = two.sync();
    let error = refused(&status);
    assert!(
        error.contains(&format!(
            "there are other files of the same names, as of another store (1 of 1 differ; the first: {DAY})"
        )),
        "{error}"
    );
    assert_eq!(contents(&one.copy())[DAY], [1; 10]);
    assert!(!one.copy().join(".dccd").exists(), "a place that was refused is not marked");
    // Who has copied there before goes on, with all that has changed, and marks it.
    one.put(DAY, &[3; 20]);
    assert_eq!(one.sync().state, "idle");
    assert!(one.copy().join(".dccd/store-id").exists());
    // Also without a record, as long as most is as it was.
    std::fs::remove_dir_all(forget()).unwrap();
    one.put("x/trades/A-B/2026-01-02.parquet", &[1; 10]);
    assert_eq!(one.sync().state, "idle");
}
