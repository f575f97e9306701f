//! The store is a function of the journal: derived twice, and live, it is the same to the byte.
#![allow(clippy::print_stdout, reason = "tests print their numbers")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datad::{DeriveOptions, derive};
use dccd_model::ExchangeName;
use dccd_sim::{Disconnection, Fault, Target};
use dccd_tests::{Exchange, Setup, Tree};

/// Every Parquet file below the exchange's directory, by its path from there.
fn files(data_path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(path: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&data_path.join("binance"), data_path, &mut found);
    found
}

#[test]
fn a_journal_gives_the_same_files_every_time_and_live() {
    let mut exchange = Exchange::busy(300.0, 600.0);
    let mut tree = Tree::start(&Setup::new(&exchange));
    tree.wait_fresh(6);
    // An eventful run: a lost connection, lost frames, a kill, a second process.
    exchange.inject(Fault::Disconnect { target: Target::default(), how: Disconnection::Abrupt });
    tree.wait_fresh(6);
    exchange.inject(Fault::Drop { target: Target::default(), count: 5 });
    let pid = tree.collector().and_then(|c| c.pid).unwrap();
    tree.kill(pid);
    tree.wait_ready(Some(pid));
    tree.wait_fresh(6);
    tree.drain(&exchange, 0);
    tree.stop();
    tree.audit(&mut exchange);

    let copy = exchange.path().join("journal");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(tree.data_path().join(".dccd/journal/binance")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let binance: ExchangeName = "binance".parse().unwrap();
    let derived: Vec<_> = [1, 3_600]
        .into_iter()
        .map(|seconds| {
            let data_path = exchange.path().join(format!("derived-{seconds}"));
            let options = DeriveOptions {
                markets: tree.data_path().join(".dccd/state/binance/markets.json"),
                aggregated_trades: false,
                depth: Some(1_000),
                time_step: Duration::from_secs(seconds),
            };
            let report = derive(&copy, &data_path, &binance, &options).unwrap();
            println!("derived with a step of {seconds} s: {report:?}");
            files(&data_path)
        })
        .collect();
    let live = files(tree.data_path());
    assert_eq!(live.keys().collect::<Vec<_>>(), derived[0].keys().collect::<Vec<_>>());
    assert_eq!(live.len(), 6);
    for (path, bytes) in &live {
        assert!(!bytes.is_empty());
        let same: Vec<bool> = derived.iter().map(|files| files[path] == *bytes).collect();
        assert_eq!(same, [true, true], "{} differs from live", path.display());
    }
    println!("{} files, {} bytes, the same three times", live.len(), live.values().map(Vec::len).sum::<usize>());
}
