//! A disk without room: recording stops and says so, live data goes on, recording resumes by itself and declares the hole.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use dccd_testkit::{Hook, skip, wait_for};
use dccd_tests::{Exchange, PATIENCE, Setup, Tree};

/// A file system in memory, unmounted at the end.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf, size: &str) -> Result<Self, String> {
        std::fs::create_dir(&path).unwrap();
        let ran =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "dccd-test"]).arg(&path).output();
        match ran {
            Ok(output) if output.status.success() => Ok(Self(path)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes until nothing fits any more.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        let mut block: &[u8] = &[7; 65_536];
        // Smaller and smaller blocks, to the last byte.
        while !block.is_empty() {
            if file.write_all(block).is_err() {
                block = &block[..block.len() / 2];
            }
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn cursors(tree: &Tree) -> Vec<u64> {
    tree.feeds().iter().map(|feed| feed.cursor).collect()
}

#[test]
fn a_full_disk_stops_recording_aloud_and_nothing_else() {
    let mut exchange = Exchange::busy(300.0, 500.0);
    let store = match Small::mount(exchange.path().join("small"), "48m") {
        Ok(store) => store,
        Err(reason) => return skip("a_full_disk_stops_recording_aloud_and_nothing_else", &reason),
    };
    let data_path: &Path = &store.0.join("data");
    let hook = Hook::start();
    let base = Setup::new(&exchange);
    let alerts = format!("alerts: {{webhook_url: '{}', hold: 1, clear_after: 2, stale_after: 5}}\n", hook.url("/x"));
    let more = format!("{}{alerts}", base.more);
    let mut tree = Tree::start(&Setup { data_path: Some(data_path.to_owned()), more, ..base });
    tree.wait_fresh(6);

    let ballast = store.fill();
    let began = Instant::now();
    let stats = wait_for(PATIENCE, || tree.stats().unwrap(), |stats| !stats.recording);
    println!("not recording {:?} after the disk was full: {:?}", began.elapsed(), stats.error);
    assert!(stats.error.unwrap().contains("not recording"));
    let status = tree.run(&["status", "--json"]).code(0).json();
    for job in status["jobs"].as_array().unwrap() {
        assert!(job["last_error"].as_str().is_some_and(|e| e.contains("not recording")), "{job}");
    }
    let told = tree.run(&["status"]).code(0).out;
    assert!(told.contains(" more: not recording: "), "{told}");
    // Somebody is told, although nothing of that can be kept.
    let told = |what: &str| hook.taken().iter().filter(|body| body.contains(what)).count();
    wait_for(PATIENCE, || told("CRITICAL datad.binance: not recording"), |count| *count == 1);
    let shown = tree.run(&["status"]).code(0).out;
    assert!(shown.contains(" critical): dccd alerts list"), "{shown}");
    // Rings go on.
    let before = cursors(&tree);
    wait_for(
        PATIENCE,
        || cursors(&tree),
        |now| now.len() == 6 && now.iter().zip(&before).all(|(now, before)| *now > before + 50),
    );
    assert!(!tree.stats().unwrap().recording);

    std::fs::remove_file(ballast).unwrap();
    let began = Instant::now();
    wait_for(PATIENCE, || tree.stats().unwrap(), |stats| stats.recording && stats.error.is_none());
    println!("recording {:?} after there was room", began.elapsed());
    tree.wait_fresh(6);
    wait_for(PATIENCE, || told("RECOVERED datad.binance: not recording"), |count| *count == 1);
    assert_eq!(told("CRITICAL dccd-root: disk low"), 1, "{:?}", hook.taken());
    tree.drain(&exchange, 0);
    let status = tree.run(&["status", "--json"]).code(0).json();
    assert!(status["jobs"].as_array().unwrap().iter().all(|job| job["last_error"].is_null()), "{status}");
    tree.stop();
    tree.verify();
    let audit = tree.audit(&mut exchange);
    for series in &audit.series {
        let declared = if series.series.ends_with("trades") { series.repaired } else { series.gaps };
        assert!(declared > 0, "nothing tells of the hole in {series:?}");
    }
    println!("{:#?}", audit.total());
}
