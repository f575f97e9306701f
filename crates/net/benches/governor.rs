//! What leave for one request costs, with the account in this process and in the file that processes share:
//! `cargo bench -p dccd-net --bench governor`.
//!
//! One acquire and one settle each; nobody else asks, so that nothing is waited for.

#![allow(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use dccd_net::{Governor, GovernorOptions, Priority, SystemClock};

fn main() {
    // `cargo test --benches` and `cargo bench` hand over arguments of the standard harness; a test run is a short one.
    let requests = if std::env::args().any(|arg| arg == "--bench") { 200_000 } else { 100 };
    let dir = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (name, ledger_file) in [("process", None), ("file", Some(dir.path().join("x.ledger")))] {
        let options = GovernorOptions { ledger_file, ..GovernorOptions::new(u32::MAX, Duration::from_secs(60)) };
        let governor = Governor::new(options, Arc::new(SystemClock));
        let begun = Instant::now();
        runtime.block_on(async {
            for _ in 0..requests {
                let permit = governor.acquire(1, Priority::Live, Duration::ZERO).await.expect("room");
                permit.settle(200, |_| None);
            }
        });
        let each = begun.elapsed() / requests;
        println!("governor account={name:<7}: {:.2} us a request (acquire and settle)", each.as_nanos() as f64 / 1e3);
    }
}
